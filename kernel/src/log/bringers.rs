//! Which peer brought what: of each origin, from which event on, whenever that is another peer than before. Where two
//! histories of an origin differ, that names the peer that brought the one which is held here.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::entry::damaged;
use super::forks::Fork;
use super::{read_pin, taint::Taint};
use crate::codec::{decode_brought, encode_brought};
use crate::ids::{CortexId, Origin, PeerName};
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// The peer that brought an origin's event at a counter. `None` for what was appended here, and for what came before this
/// was noted.
///
/// # Errors
/// [`StoreError`].
pub fn brought_by(store: &dyn Store, origin: Origin, counter: u64) -> Result<Option<PeerName>, StoreError> {
    let mut found = None;
    scan(store, &keys::bringers_of(origin), &keys::bringers_of(origin), |from, peer| {
        if from > counter {
            return ControlFlow::Break(());
        }
        found = Some(peer);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn scan(
    store: &dyn Store,
    from: &[u8],
    prefix: &[u8],
    mut visit: impl FnMut(u64, PeerName) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut fault = None;
    store.scan(Family::Evidence, KeyRange { from, prefix }, &mut |key, value| {
        match (keys::place_of_bringer(key), decode_brought(value)) {
            (Some((_, counter)), Ok((peer, _))) => return visit(counter, peer),
            (None, _) => fault = Some(StoreError::corrupt("family `evidence`: a key is no bringer's")),
            (_, Err(error)) => fault = Some(damaged(Family::Evidence, &error)),
        }
        ControlFlow::Break(())
    })?;
    fault.map_or(Ok(()), Err)
}

/// Who brought which version of a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bringers {
    /// The peer that brought the version held here; `None` where it was written here, or is not known.
    pub ours: Option<PeerName>,
    /// The peers of which one showed a version that the origin's own cortex does not hold, as far as that is known. Empty
    /// where both versions are the owner's: it runs twice, or was set back.
    pub suspects: Vec<PeerName>,
}

/// Who brought which version of a fork, as seen from a cortex.
///
/// # Errors
/// [`StoreError`].
pub fn bringers(store: &dyn Store, own: CortexId, fork: &Fork) -> Result<Bringers, StoreError> {
    let ours = brought_by(store, fork.origin, fork.from)?;
    let cortex = match &ours {
        Some(peer) => read_pin(store, peer)?.map(|pin| pin.cortex_id),
        None => Some(own),
    };
    let owner = fork.origin.cortex();
    let mut suspects = Vec::new();
    if cortex != Some(owner) {
        suspects.extend(ours.clone());
    }
    if fork.holder != owner {
        suspects.push(fork.peer.clone());
    }
    suspects.dedup();
    Ok(Bringers { ours, suspects })
}

/// Which peer brought an origin last, of those that were asked about.
pub(super) type LastBringers = BTreeMap<Origin, Option<PeerName>>;

/// Returns the changes that note from which event on a peer brings these origins, where another one did before.
pub(super) fn note_bringer<'a>(
    store: &dyn Store,
    origins: impl Iterator<Item = &'a Origin>,
    (peer, now): (&PeerName, Timestamp),
    last: &mut LastBringers,
    held: &dyn Fn(Origin) -> u64,
) -> Result<Batch, StoreError> {
    let mut changes = Batch::new();
    for &origin in origins {
        if last_bringer(store, origin, last)?.as_ref() == Some(peer) {
            continue;
        }
        changes.put(Family::Evidence, &keys::bringer(origin, held(origin) + 1), &encode_brought(peer, now));
        last.insert(origin, Some(peer.clone()));
    }
    Ok(changes)
}

fn last_bringer(store: &dyn Store, origin: Origin, last: &mut LastBringers) -> Result<Option<PeerName>, StoreError> {
    if let Some(known) = last.get(&origin) {
        return Ok(known.clone());
    }
    let newest = store.last(Family::Evidence, &keys::bringers_of(origin))?;
    let read = |(_, value): (_, Vec<u8>)| decode_brought(&value).map_err(|e| damaged(Family::Evidence, &e));
    let newest = newest.map(read).transpose()?.map(|(peer, _)| peer);
    last.insert(origin, newest.clone());
    Ok(newest)
}

/// Events leave the log: who brought them is not known of what comes to their counters.
pub(super) fn forget_bringers(store: &dyn Store, gone: &Taint, changes: &mut Batch) -> Result<(), StoreError> {
    for (origin, first) in gone.iter() {
        let prefix = keys::bringers_of(origin);
        scan(store, &keys::bringer(origin, first), &prefix, |counter, _| {
            changes.delete(Family::Evidence, &keys::bringer(origin, counter));
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}
