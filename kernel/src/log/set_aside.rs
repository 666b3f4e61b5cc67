//! Ending a fork: the losing suffix of an origin, and what depends on it, leave the log and are kept as evidence.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::core::Log;
use super::entry::record_at;
use super::epoch::EpochEnd;
use super::forks::{Fork, forks};
use super::origins::{OriginNote, put_origin_note};
use super::withheld::Withheld;
use crate::codec::{EventView, StoredChain, StoredDot, encode_chain, encode_decision, encode_dot, encode_log_entry};
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::Origin;
use crate::store::{Batch, Durability, Family, KeyRange, StoreError, StoreErrorKind, keys};
use crate::time::Timestamp;

/// The most that is rewritten at once: it is one batch, in memory.
const MAX_REWRITE_BYTES: usize = 1 << 30;

/// What became of a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The origin.
    pub origin: Origin,
    /// From which counter on its histories differed.
    pub from: u64,
    /// How many events left the log; 0 where the version that was kept is the one held here.
    pub set_aside: u64,
}

/// Why a fork was not resolved. Where a write failed it may have been all the same, wholly; else nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No fork that is known here has a version of this digest.
    #[error("no fork known here has a version {keep}; known are: {known}")]
    Unknown {
        /// The digest.
        keep: Digest,
        /// Those that there are.
        known: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Log {
    /// Ends a fork here in favour of the version with this digest at the first difference. If that is the one held here,
    /// there is nothing to do: the others set theirs aside. Otherwise our suffix of the origin and all that depends on it
    /// move to the evidence, the log closes ranks, all cursors are forgotten, every replayer is marked to begin again, and
    /// a new epoch begins, in one batch. Commits at once, and what was staged before with it.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve_fork(&mut self, keep: Digest, now: Timestamp) -> Result<Resolved, ResolveError> {
        self.usable()?;
        self.commit(Durability::Sync)?;
        let known = forks(&**self.store())?;
        if let Some(fork) = known.iter().find(|fork| fork.ours == keep) {
            self.decide(fork, keep, false)?;
            return Ok(Resolved { origin: fork.origin, from: fork.from, set_aside: 0 });
        }
        let Some(fork) = known.iter().find(|fork| fork.theirs == keep) else {
            let versions = known.iter().flat_map(|fork| [fork.ours.to_string(), fork.theirs.to_string()]);
            let known = versions.collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(ResolveError::Unknown { keep, known });
        };
        if self.view.chain_digest(fork.origin, fork.from)?.is_none() {
            // Another version was decided for before, and never came.
            self.decide(fork, keep, true)?;
            return Ok(Resolved { origin: fork.origin, from: fork.from, set_aside: 0 });
        }
        let set_aside = self.set_aside(fork.origin, fork.from, keep, now)?;
        Ok(Resolved { origin: fork.origin, from: fork.from, set_aside })
    }

    fn decide(&mut self, fork: &Fork, keep: Digest, over: bool) -> Result<(), StoreError> {
        let mut changes = Batch::new();
        changes.put(Family::Evidence, &keys::decision(fork.origin, fork.from), &encode_decision(keep));
        if over {
            self.forget_forks(fork.origin, &mut changes)?;
        }
        self.stage_state(&changes)?;
        self.commit(Durability::Sync)?;
        self.decisions.insert((fork.origin, fork.from), keep);
        Ok(())
    }

    fn set_aside(&mut self, origin: Origin, from: u64, keep: Digest, now: Timestamp) -> Result<u64, StoreError> {
        let head = self.head.seq;
        let mut withheld = Withheld::of(BTreeMap::from([(origin, from)]));
        let mut changes = Batch::new();
        self.begin_epoch(EpochEnd::Resolved, now)?;
        let epoch = self.identity.epoch;
        // The next place to fill, once the first event that leaves was met.
        let (mut next, mut moved, mut fault) = (None::<Seq>, 0, None);
        let mut first = head.next();
        // Each origin's tip as of the last event that stays, with its full clock.
        let mut tips: BTreeMap<Origin, StoredChain> = BTreeMap::new();
        let mut sizes: BTreeMap<Origin, (u64, u64)> = BTreeMap::new();
        let mut digests = BTreeMap::new();
        let scanned = self.view.scan(Seq::ZERO, head, &mut |seq, joined, record| {
            let event = match EventView::decode(record) {
                Ok(event) => event,
                Err(error) => {
                    fault = Some(record_at(seq, &error));
                    return ControlFlow::Break(());
                }
            };
            let (author, counter) = (event.dot.origin(), event.dot.counter());
            let chain: &mut Digest = digests.entry(author).or_default();
            *chain = chain.chain(record);
            if withheld.follow(&event) {
                moved += 1;
                first = first.min(seq);
                next.get_or_insert(seq);
                changes.put_parts(Family::Evidence, &keys::set_aside(epoch, seq), &[&encode_log_entry(joined), record]);
                changes.delete(Family::Dots, &keys::dot(author, counter));
            } else {
                let size = sizes.entry(author).or_default();
                *size = (size.0 + record.len() as u64, size.1 + 1);
                let tip = tips.entry(author).or_default();
                if let Err(error) = tip.clock.merge(&event.deps) {
                    fault = Some(StoreError::corrupt(format!("the clock at place {seq}: {error}")));
                    return ControlFlow::Break(());
                }
                (tip.counter, tip.digest, tip.last_id) = (counter, *chain, event.id);
                if let Some(seq) = next {
                    changes.put_parts(Family::Log, &keys::log(seq), &[&encode_log_entry(joined), record]);
                    changes.put(
                        Family::Dots,
                        &keys::dot(author, counter),
                        &encode_dot(&StoredDot { seq, digest: *chain }),
                    );
                    next = Some(seq.next());
                }
            }
            if changes.bytes() > MAX_REWRITE_BYTES {
                let why = "more than 1 GiB of the log would have to be rewritten at once; begin a new node and let it \
                           pull what is to be kept";
                fault = Some(StoreError::new(StoreErrorKind::NoSpace, why));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let staged = scanned.and(fault.map_or(Ok(()), Err)).and_then(|()| {
            self.are_whole(&digests)?;
            let next = next.ok_or_else(|| StoreError::corrupt(format!("family `log`: {origin}:{from} is missing")))?;
            // What a reader has read up to there is what it would read today.
            self.lineage.cut(first.prev());
            self.lineage.put(&mut changes);
            for place in next.get()..=head.get() {
                changes.delete(Family::Log, &keys::log(Seq::new(place)));
            }
            for (author, _) in withheld.iter() {
                match tips.get(&author) {
                    Some(tip) => {
                        changes.put(Family::Clocks, &keys::chain(author), &encode_chain(tip));
                        let (bytes, events) = sizes.get(&author).copied().unwrap_or_default();
                        let note = self.view.shared.notes().get(&author).cloned().unwrap_or_default();
                        put_origin_note(&mut changes, author, &OriginNote { bytes, events, ..note });
                    }
                    None => {
                        changes.delete(Family::Clocks, &keys::chain(author));
                        changes.delete(Family::Meta, &keys::origin_note(author));
                    }
                }
            }
            self.forget_bringers(&withheld, &mut changes)?;
            changes.put(Family::Evidence, &keys::decision(origin, from), &encode_decision(keep));
            self.begin_again(origin, &mut changes)?;
            self.stage_state(&changes)
        });
        // Nothing of it may be left staged; and everything in memory is to be read again.
        self.view.shared.note_rewriting();
        let view = self.view.clone();
        let moving = view.shared.move_places();
        let tried = staged.is_ok();
        let committed = staged.and_then(|()| self.commit(Durability::Sync));
        if tried {
            self.view.shared.durable_mut().rewrites += 1;
            // What was asked for on top of what is gone must not be applied.
            self.options.process = (self.options.entropy)() as u64;
            self.view.shared.set_process(self.options.process);
        }
        self.fail(&StoreError::new(StoreErrorKind::ReadOnly, "the log is being rewritten"));
        let recovered = self.recover_rewritten(moving);
        self.view.shared.note_rewriting();
        committed?;
        if let Err(error) = recovered {
            // What was asked for is done, and durable. Whoever reads or writes next meets the damage.
            tracing::error!(%error, %origin, from, "a fork was resolved, and then the log could not be read again");
        }
        tracing::warn!(%origin, from, events = moved, "a fork was resolved: events were set aside");
        Ok(moved)
    }

    /// What leaves the log is decided by what its records say, so they must be those that were written.
    fn are_whole(&self, digests: &BTreeMap<Origin, Digest>) -> Result<(), StoreError> {
        let read = |origin| digests.get(origin).copied().unwrap_or_default();
        match self.chains.iter().find(|(origin, chain)| read(origin) != chain.digest) {
            Some((origin, _)) => Err(StoreError::corrupt(format!(
                "family `log`: the records of {origin} are not those that were digested"
            ))),
            None => Ok(()),
        }
    }

    /// Cursors pass events that are no longer held, and replayers have replayed them.
    fn begin_again(&self, origin: Origin, changes: &mut Batch) -> Result<(), StoreError> {
        let (store, mut replayers) = (self.store(), Vec::new());
        store.scan(Family::Cursors, KeyRange::prefix(&[]), &mut |key, _| {
            if keys::is_cursor(key) {
                changes.delete(Family::Cursors, key);
            }
            ControlFlow::Continue(())
        })?;
        store.scan(Family::Replay, KeyRange::prefix(&[]), &mut |key, _| {
            replayers.extend(keys::replayer_of_position(key).map(str::to_owned));
            ControlFlow::Continue(())
        })?;
        for replayer in replayers {
            changes.put(Family::Replay, &keys::replay_rebuild(&replayer), &[1]);
        }
        self.forget_forks(origin, changes)
    }

    /// They are found again where they are not over.
    fn forget_forks(&self, origin: Origin, changes: &mut Batch) -> Result<(), StoreError> {
        for fork in forks(&**self.store())?.iter().filter(|fork| fork.origin == origin) {
            changes.delete(Family::Evidence, &keys::fork(origin, fork.holder));
            // What it kept from crossing lies behind the cursor.
            changes.delete(Family::Cursors, &keys::peer_cursor(&fork.peer));
        }
        Ok(())
    }
}
