//! Leaving one cortex out of what is asked of a peer, and taking it in again.

use std::sync::Arc;

use crate::blocking::blocking;
use crate::ids::{CortexId, PeerName};
use crate::log::{Exclusion, ExclusionCause, LogHandle, LogReader, exclusions, put_exclusions};
use crate::protocol::MAX_EXCLUDED;
use crate::store::{Batch, Family, StoreError, keys};
use crate::time::Timestamp;

/// What an exclusion for this cause is measured by, as of now: `need` of a quota.
fn count(view: &LogReader, holder: CortexId, cause: ExclusionCause, need: u64) -> u64 {
    match cause {
        ExclusionCause::Forks => view.withheld_from(holder).histories,
        ExclusionCause::Origins => view.heads().len() as u64,
        ExclusionCause::StoredQuota | ExclusionCause::OriginQuota => need,
    }
}

/// Whether the cause of an exclusion lasts.
fn lasts(view: &LogReader, peer: &PeerName, holder: CortexId, one: &Exclusion) -> Result<bool, StoreError> {
    Ok(match one.cause {
        ExclusionCause::StoredQuota => view.stored_room(one.cortex) < one.count,
        ExclusionCause::OriginQuota => view.origins_room(one.cortex, (peer, holder), Timestamp::now())? < one.count,
        cause => count(view, holder, cause, 0) >= one.count,
    })
}

async fn read(log: &LogHandle, peer: &PeerName) -> Result<Vec<Exclusion>, StoreError> {
    let (store, peer) = (Arc::clone(log.reader().store()), peer.clone());
    blocking(move || exclusions(&*store, &peer)).await
}

/// Excludes a cortex from what is asked of a peer from now on. Returns false if that cannot help: it is excluded already, or as
/// many are as one question can name. `need` is what a quota has no room for.
pub(super) async fn exclude(
    log: &LogHandle,
    (peer, holder): (&PeerName, CortexId),
    cortex: CortexId,
    (cause, need): (ExclusionCause, u64),
) -> Result<bool, StoreError> {
    let mut all = read(log, peer).await?;
    if all.len() >= MAX_EXCLUDED || all.iter().any(|one| one.cortex == cortex) {
        return Ok(false);
    }
    let count = count(log.reader(), holder, cause, need);
    all.push(Exclusion { cortex, cause, count, since: Timestamp::now() });
    let mut changes = Batch::new();
    put_exclusions(&mut changes, peer, all);
    log.write_state(changes).await?;
    tracing::warn!(%peer, %cortex, "no event of this cortex is taken from peer {peer} for now, because {cause}; others are");
    Ok(true)
}

/// Ends the exclusions whose cause ended, together with the cursor, which passed what was excluded. Returns whether any did.
pub(super) async fn end_exclusions(log: &LogHandle, peer: &PeerName, holder: CortexId) -> Result<bool, StoreError> {
    let all = read(log, peer).await?;
    if all.is_empty() {
        return Ok(false);
    }
    let (view, name) = (log.reader().clone(), peer.clone());
    let split = blocking(move || {
        let (mut last, mut ended) = (Vec::new(), Vec::new());
        for one in all {
            if lasts(&view, &name, holder, &one)? { last.push(one) } else { ended.push(one) }
        }
        Ok::<_, StoreError>((last, ended))
    });
    let (last, ended) = split.await?;
    if ended.is_empty() {
        return Ok(false);
    }
    let mut changes = Batch::new();
    put_exclusions(&mut changes, peer, last);
    changes.delete(Family::Cursors, &keys::peer_cursor(peer));
    log.write_state(changes).await?;
    for Exclusion { cortex, .. } in ended {
        tracing::info!(%peer, %cortex, "events of this cortex are taken from peer {peer} again");
    }
    Ok(true)
}
