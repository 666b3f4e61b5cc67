//! Events that a repair found whole behind a hole: they wait beside the log, and join it once peers have filled the hole.
//! Without that, what nobody else holds of them would be lost for one damaged event before them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::core::Log;
use super::entry::damaged;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{EventView, StoredChain, decode_log_entry, encode_log_entry};
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::ids::Origin;
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// How much of one origin is looked at before a commit.
const GROUP_BYTES: usize = 4 << 20;

/// An event that waits, and the digest that its chain had there, where that is known.
struct Waits {
    counter: u64,
    digest: Digest,
    record: EventBytes,
}

/// Lets an event wait: it is whole, and what it follows on is not here.
pub(super) fn put_waiting(
    changes: &mut Batch,
    event: &EventView<'_>,
    joined: Timestamp,
    digest: Option<Digest>,
    record: &[u8],
) {
    let key = keys::waiting(event.dot.origin(), event.dot.counter());
    let digest = digest.unwrap_or(Digest::ZERO).to_bytes();
    changes.put_parts(Family::Evidence, &key, &[&encode_log_entry(joined), &digest, record]);
}

/// When it joined the log that was damaged, its chain's digest there if that is known, and the record.
pub(super) fn decode_waiting(value: &[u8]) -> Result<(Timestamp, Digest, &[u8]), StoreError> {
    let (joined, rest) = decode_log_entry(value).map_err(|e| damaged(Family::Evidence, &e))?;
    let short = || StoreError::corrupt("family `evidence`: an event that waits is too short");
    let (digest, record) = rest.split_first_chunk::<16>().ok_or_else(short)?;
    Ok((joined, Digest::from_bytes(*digest), record))
}

/// The origins of which something waits.
pub(super) fn waiting_origins(store: &dyn Store) -> Result<BTreeSet<Origin>, StoreError> {
    let (mut origins, mut fault) = (BTreeSet::new(), None);
    store.scan(Family::Evidence, KeyRange::prefix(keys::WAITING), &mut |key, _| match keys::place_of_waiting(key) {
        Some((origin, _)) => {
            origins.insert(origin);
            ControlFlow::Continue(())
        }
        None => {
            fault = Some(StoreError::corrupt("family `evidence`: a key is no event's that waits"));
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(origins), Err)
}

impl Log {
    /// The chain with this event at its end; `None` unless it follows on what is here, and its causes are here.
    pub(super) fn followed_by(&self, event: &EventView<'_>, record: &[u8]) -> Option<StoredChain> {
        let mut chain = self.chains.get(&event.dot.origin()).cloned().unwrap_or_default();
        let newcomer = !self.chains.contains_key(&event.dot.origin());
        if newcomer && self.chains.len() >= MAX_CLOCK_ENTRIES {
            return None;
        }
        let held = |(origin, counter)| self.chains.get(&origin).is_some_and(|chain| chain.counter >= counter);
        let follows = event.dot.counter() == chain.counter + 1 && event.id > chain.last_id;
        if !follows || !event.deps.iter().all(held) || chain.clock.merge(&event.deps).is_err() {
            return None;
        }
        (chain.counter, chain.digest, chain.last_id) = (event.dot.counter(), chain.digest.chain(record), event.id);
        Some(chain)
    }

    /// Stages what waits and can join by now, and forgets what came from peers meanwhile. Returns how much that was; call
    /// it again after the commit until it is nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rejoin(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let mut done = 0;
        for origin in self.waiting.clone() {
            self.usable()?;
            done += self.rejoin_origin(origin, now)?;
        }
        Ok(done)
    }

    fn rejoin_origin(&mut self, origin: Origin, now: Timestamp) -> Result<u64, StoreError> {
        let Some(waits) = self.next_waiting(origin)? else {
            self.waiting.remove(&origin);
            return Ok(0);
        };
        let (mut gone, mut done, mut joined) = (Batch::new(), 0, 0_u64);
        for Waits { counter, digest, record } in waits {
            let held = self.chains.get(&origin).map_or(0, |chain| chain.counter);
            if counter <= held {
                if digest != Digest::ZERO && self.view.chain_digest(origin, counter)?.is_some_and(|ours| ours != digest)
                {
                    // Another event stands there now. Kept, for people; nothing can follow on it.
                    tracing::error!(%origin, counter, "an event from before the repair differs from the one that peers hold");
                    self.waiting.remove(&origin);
                    break;
                }
            } else {
                let event = EventView::decode(&record).map_err(|fault| {
                    StoreError::unreadable(format_args!("family `evidence`: {origin}:{counter} that waits"), &fault)
                })?;
                let Some(chain) = self.followed_by(&event, &record) else { break };
                // What was decided about a fork may have changed what it followed on.
                let touches =
                    |&(of, from): &(Origin, u64)| of == origin && counter >= from || event.deps.get(of) >= from;
                if self.decisions.keys().any(touches) || digest != Digest::ZERO && digest != chain.digest {
                    tracing::warn!(%origin, counter, "an event that waits since the repair follows on another history now; see \
                        `antiphon fork evidence`");
                    self.waiting.remove(&origin);
                    break;
                }
                let (id, dot, digest) = (event.id, event.dot, chain.digest);
                self.set_chain(origin, chain);
                self.stage_event(id, dot, digest, &record, now);
                joined += 1;
            }
            gone.delete(Family::Evidence, &keys::waiting(origin, counter));
            done += 1;
        }
        self.stage_state(&gone)?;
        if joined > 0 {
            tracing::info!(%origin, events = joined, "events that waited behind a hole join the log");
        }
        Ok(done)
    }

    /// The first that wait of an origin, none as long as they cannot join; `None` where nothing waits.
    fn next_waiting(&self, origin: Origin) -> Result<Option<Vec<Waits>>, StoreError> {
        let (mut waits, mut bytes, mut fault, mut any) = (Vec::new(), 0, None, false);
        let prefix = keys::waiting_of(origin);
        let held = self.chains.get(&origin).map_or(0, |chain| chain.counter);
        // This is asked after each commit: of what cannot join, one entry is looked at.
        let joins = |counter: u64, record: &[u8]| {
            counter <= held || EventView::decode(record).is_ok_and(|event| self.followed_by(&event, record).is_some())
        };
        self.store().scan(Family::Evidence, KeyRange::prefix(&prefix), &mut |key, value| {
            any = true;
            match (keys::place_of_waiting(key), decode_waiting(value)) {
                (Some((_, counter)), Ok((_, _, record))) if waits.is_empty() && !joins(counter, record) => {
                    ControlFlow::Break(())
                }
                (Some((_, counter)), Ok((_, digest, record))) => {
                    bytes += record.len();
                    waits.push(Waits { counter, digest, record: Bytes::copy_from_slice(record) });
                    if bytes < GROUP_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                }
                (None, _) => ControlFlow::Break(()),
                (_, Err(error)) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        fault.map_or(Ok(any.then_some(waits)), Err)
    }
}
