//! Taking over from a damaged store what is whole: every event that can be read, is what its digest says, and follows on
//! what was taken over before it. The rest comes back from peers, as ordinary events.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::LocalIdentity;
use super::core::{Log, LogOptions};
use super::entry::{damaged, record_at, stored_dot};
use super::epoch_change::EpochEnd;
use super::held::{LogState, NewEvent};
use super::lineage::Lineage;
use super::minted::{minted, put_minted};
use super::open::OpenError;
use super::rejoin::followed_by;
use crate::codec::{RecordRef, decode_chain, decode_identity, decode_log_entry};
use crate::cursor::Seq;
use crate::ids::{EventId, Origin};
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, Unreadable as _, keys};
use crate::time::Timestamp;

/// So many sequence numbers without an entry, behind the last that is known, and the log is taken to be over.
const ENOUGH_MISSES: u64 = 4096;
/// How much is written at once.
const GROUP_BYTES: usize = 4 << 20;

/// What could be taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// How many events.
    pub kept: u64,
    /// The last sequence number up to which every event is where it was.
    pub unmoved: u64,
    /// How many stand behind a hole, or lack a cause. They wait beside the log, and join it once that came from peers.
    pub waiting: u64,
    /// What was there and could not be taken into the log: of each origin, the first and the last counter.
    pub lost: Vec<(Origin, u64, u64)>,
    /// What else could not be read, for people.
    pub notes: Vec<String>,
}

/// Makes a log in the empty store `to`, of the same cortex under a new epoch, with everything of `from` that is whole.
/// What is known of peers and what an operator decided goes along; cursors and the state of replayers do not, so that
/// peers are asked for what is missing, and replayers begin again.
///
/// # Errors
/// [`OpenError`] where not even the identity can be read, a newer version wrote an event, or `to` cannot be written.
pub fn salvage(from: &dyn Store, to: Arc<dyn Store>, now: Timestamp) -> Result<Salvaged, OpenError> {
    let identity = from.get(Family::Meta, keys::META_IDENTITY)?.ok_or(OpenError::NotInitialised)?;
    let identity = decode_identity(&identity).map_err(|e| damaged(Family::Meta, &e))?;
    Log::create(&*to, &identity)?;
    let mut salvaged = Salvaged::default();
    copy_state(from, &*to, &mut salvaged)?;
    copy_epochs(from, &*to, &identity, now, &mut salvaged)?;
    let mut log = Log::open(to, LogOptions::default())?;
    log.begin_epoch(EpochEnd::Repaired, now)?;
    let mut known = chains_of(from, &mut salvaged);
    take_over(&mut log, from, &mut known, &mut salvaged, now)?;
    // Where it cannot be read it is forgotten, and cursors of earlier epochs are unknown.
    let lineage = Lineage::read(from).unwrap_or_default();
    log.replace_lineage(lineage, identity.epoch, Seq::new(salvaged.unmoved))?;
    log.commit(Durability::Sync)?;
    for (&origin, &last) in &known {
        let kept = log.reader().heads().get(origin).map_or(0, |head| head.counter);
        if kept < last {
            salvaged.lost.push((origin, kept + 1, last));
        }
    }
    Ok(salvaged)
}

/// Pins, forks and decisions, and what applications keep.
fn copy_state(from: &dyn Store, to: &dyn Store, salvaged: &mut Salvaged) -> Result<(), StoreError> {
    let state = keys::state("");
    let all =
        [(Family::Pins, &[][..]), (Family::Evidence, &[]), (Family::Meta, &state), (Family::Meta, keys::META_CLAIMED)];
    for (family, prefix) in all {
        let mut changes = Batch::new();
        let read = from.scan(family, KeyRange::prefix(prefix), &mut |key, value| {
            // A debt comes with the event that it is of, if that is taken over.
            if family != Family::Evidence || !key.starts_with(keys::DEBTS) {
                changes.put(family, key, value);
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            salvaged.notes.push(format!("not all of `{family}` can be read: {error}"));
        }
        to.commit(&changes, Durability::Relaxed)?;
    }
    if let Ok(Some(last)) = from.get(Family::Meta, keys::META_LAST_ID)
        && last.len() == size_of::<EventId>()
    {
        let mut changes = Batch::new();
        changes.put(Family::Meta, keys::META_LAST_ID, &last);
        to.commit(&changes, Durability::Relaxed)?;
    }
    Ok(())
}

/// Which epochs are its own, and which others came under its id.
fn copy_epochs(
    from: &dyn Store,
    to: &dyn Store,
    identity: &LocalIdentity,
    now: Timestamp,
    salvaged: &mut Salvaged,
) -> Result<(), StoreError> {
    let mut changes = Batch::new();
    match minted(from, identity) {
        Ok(minted) => minted.into_iter().for_each(|epoch| put_minted(&mut changes, epoch, now)),
        Err(error) => salvaged.notes.push(format!("which epochs this node began cannot be read whole: {error}")),
    }
    to.commit(&changes, Durability::Relaxed)
}

/// How far each origin reached, as far as that can be read.
fn chains_of(from: &dyn Store, salvaged: &mut Salvaged) -> BTreeMap<Origin, u64> {
    let mut known = BTreeMap::new();
    let read = from.scan(Family::Clocks, KeyRange::prefix(&[]), &mut |key, value| {
        if let (Some(origin), Ok(chain)) = (keys::origin_of_chain(key), decode_chain(value)) {
            known.insert(origin, chain.counter);
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = read {
        salvaged.notes.push(format!("how far each origin reached cannot be read whole: {error}"));
    }
    known
}

fn take_over(
    log: &mut Log,
    from: &dyn Store,
    known: &mut BTreeMap<Origin, u64>,
    salvaged: &mut Salvaged,
    now: Timestamp,
) -> Result<(), StoreError> {
    let counted: u64 = known.values().sum();
    let last = from.last(Family::Log, &[]).ok().flatten().and_then(|(key, _)| keys::seq_of_log(&key));
    let end = counted.max(last.map_or(0, Seq::get));
    let (mut place, mut misses, mut unread) = (0, 0, 0_u64);
    while place < end || misses < ENOUGH_MISSES {
        place += 1;
        match from.get(Family::Log, &keys::log(Seq::new(place))) {
            Ok(None) => misses += 1,
            Ok(Some(entry)) => {
                misses = 0;
                take_entry(log, from, (Seq::new(place), &entry), known, salvaged, now)?;
            }
            Err(_) => {
                misses = 0;
                unread += 1;
            }
        }
        if log.staged_bytes() >= GROUP_BYTES {
            log.commit(Durability::Relaxed)?;
        }
    }
    if unread > 0 {
        salvaged.notes.push(format!("{unread} places of the log cannot be read"));
    }
    log.stage_last_id()?;
    log.commit(Durability::Sync)?;
    log.sync()
}

/// Takes one entry, if it is whole: into the log if it follows on what is here, and beside it if not.
fn take_entry(
    log: &mut Log,
    from: &dyn Store,
    (place, entry): (Seq, &[u8]),
    known: &mut BTreeMap<Origin, u64>,
    salvaged: &mut Salvaged,
    now: Timestamp,
) -> Result<(), StoreError> {
    // What is damaged is lost here. What a newer version wrote is whole, and must not be left out.
    let (joined, record) = match decode_log_entry(entry) {
        Ok(entry) => entry,
        Err(fault) if fault.is_newer() => return Err(damaged(Family::Log, &fault)),
        Err(_) => return Ok(()),
    };
    let event = match RecordRef::decode(record) {
        Ok(event) => event,
        Err(fault) if fault.is_newer() => return Err(record_at(place, &fault)),
        Err(_) => return Ok(()),
    };
    let (origin, counter) = (event.dot.origin(), event.dot.counter());
    let reached = known.entry(origin).or_insert(0);
    *reached = counter.max(*reached);
    // Any cortex may have continued an epoch of ours, under any id.
    log.raise_last_id(&event, now);
    // Where the index cannot be read, nothing speaks against a record that the store's own checks let pass.
    let digest = stored_dot(from, origin, counter).ok().flatten().map(|dot| dot.digest);
    let here = log.counter(origin);
    match followed_by(&event, log) {
        Some(chain) if digest.is_none_or(|digest| digest == chain.digest) => {
            let record = bytes::Bytes::copy_from_slice(record);
            let new = NewEvent { id: event.id, dot: event.dot, digest: chain.digest, record };
            log.set_chain(origin, chain);
            log.stage_new(&new, joined);
            if event.is_missing() {
                log.stage_debt(event.dot);
            }
            salvaged.kept += 1;
            if log.head().seq == place {
                salvaged.unmoved = place.get();
            }
        }
        None if counter > here => {
            log.stage_waiting(&event, joined, digest, record)?;
            salvaged.waiting += 1;
        }
        _ => {}
    }
    Ok(())
}
