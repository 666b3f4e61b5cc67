//! What was found out about a fork: whether it proves one, and how much of it is kept. Decisions.

use super::forks::{Fork, forget_evidence, forks, size_of_evidence};
use super::held::LogState;
use super::taint::MAX_WITHHELD;
use crate::codec::{RecordRef, encode_fork, encode_log_entry};
use crate::error_code::ErrorCode;
use crate::event::{EventBytes, check_id};
use crate::identity::{ChainStart, ClockHash, Sealed, Signature, start_of};
use crate::ids::{CortexId, Origin, PeerName};
use crate::limits::PeerLimits;
use crate::mutant::{self, Mutant};
use crate::protocol::Heads;
use crate::store::{Batch, Family, Store, StoreError, keys};
use crate::time::Timestamp;

/// The most bytes of evidence that are kept of one holder.
const MAX_EVIDENCE_BYTES: usize = 16 << 20;

/// What was found out about a fork: the peer's events from the first difference on, as many as are worth keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkFinding {
    /// The peer's name here.
    pub peer: PeerName,
    /// Who it is.
    pub holder: CortexId,
    /// The origin.
    pub origin: Origin,
    /// The first counter at which the histories differ.
    pub from: u64,
    /// How the origin begins there, if the histories differ from the first event on and the peer showed it.
    pub inception: Option<EventBytes>,
    /// Its events from there, in order.
    pub records: Vec<EventBytes>,
    /// The seals of the groups that end in them, each with the hash of the clock that was sealed.
    pub seals: Vec<(Signature, ClockHash)>,
}

/// Why a finding was not kept: a mere claim changes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAFork {
    /// What the peer showed does not prove it.
    #[error("the peer claims another history of {origin} at counter {from}, but what it shows does not prove it")]
    Unproven {
        /// The origin.
        origin: Origin,
        /// The counter.
        from: u64,
    },
    /// The two differed there once, and hold the same by now: that is taken note of instead.
    #[error("the histories of {origin} agree again at counter {from}")]
    Over {
        /// The origin.
        origin: Origin,
        /// The counter.
        from: u64,
    },
    /// As many are known with this cortex as one question can name. Nothing more is pulled from it before some are resolved.
    #[error("{holder} differs in more than {MAX_WITHHELD} histories")]
    TooMany {
        /// The cortex.
        holder: CortexId,
    },
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fork that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedFork {
    /// The fork.
    pub fork: Fork,
    /// It was known before, so each question to its holder lists it.
    pub listed: bool,
}

impl NotAFork {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unproven { .. } => ErrorCode::ForkUnproven,
            Self::Over { .. } => ErrorCode::ForkEnded,
            Self::TooMany { .. } => ErrorCode::ForkTooMany,
            Self::Store(error) => error.code(),
        }
    }
}

/// What a finding proves.
#[derive(Debug)]
pub(super) enum Proof {
    /// A fork, with the evidence to keep.
    Fork(Box<Fork>, Batch),
    /// What is known of the holder's version is out of date, or ours left when another fork was resolved: nothing differs by
    /// now.
    Over,
}

/// Checks what a peer showed of its version. `known` are the histories that are known to differ from the holder's.
pub(super) fn plan_fork(
    finding: &ForkFinding,
    known: &Heads,
    now: Timestamp,
    held: &dyn LogState,
) -> Result<Proof, NotAFork> {
    let &ForkFinding { origin, from, holder, .. } = finding;
    if known.len() >= MAX_WITHHELD && known.get(origin).is_none() {
        return Err(NotAFork::TooMany { holder });
    }
    let unproven = || NotAFork::Unproven { origin, from };
    let start = start(finding, held).ok_or_else(unproven)?;
    let before = match from {
        0 => return Err(unproven()),
        1 => start.digest,
        _ => held.digest_at(origin, from - 1)?.ok_or_else(unproven)?,
    };
    // What was decided for counts where it is not held yet.
    let ours = held.digest_at(origin, from)?.or_else(|| held.decided(origin, from));
    let (mut evidence, mut group, mut seals) = (Batch::new(), Batch::new(), finding.seals.iter());
    let (mut digest, mut theirs) = (before, None);
    for (counter, record) in (from..).zip(&finding.records) {
        let event = RecordRef::decode(record).map_err(|_| unproven())?;
        check_id(event.id).map_err(|_| unproven())?;
        if event.dot.origin() != origin || event.dot.counter() != counter {
            return Err(unproven());
        }
        digest = event.digest_after(digest);
        let version = *theirs.get_or_insert(digest);
        let key = keys::evidence(origin, version, counter);
        group.put_parts(Family::Evidence, &key, &[&encode_log_entry(now), record]);
        if event.ends_group {
            // Only the owner can have written another history.
            let &(seal, clock) = seals.next().ok_or_else(unproven)?;
            let sealed = Sealed { origin, counter, digest, id: event.id, clock };
            if !sealed.is_sealed_by(&start.key, &seal) && !mutant::is(Mutant::ForkNotSealed) {
                return Err(unproven());
            }
            evidence.extend(&std::mem::take(&mut group));
        }
    }
    let theirs = theirs.filter(|_| !evidence.is_empty()).ok_or_else(unproven)?;
    match ours {
        Some(ours) if ours != theirs => {
            let fork = Fork { origin, from, ours, theirs, peer: finding.peer.clone(), holder, since: now };
            Ok(Proof::Fork(Box::new(fork), evidence))
        }
        _ if known.get(origin).is_some_and(|head| head.counter == from) => Ok(Proof::Over),
        _ => Err(unproven()),
    }
}

/// Returns what the peer's chain begins with: its own inception if the histories differ from the first event on, or else ours.
fn start(finding: &ForkFinding, held: &dyn LogState) -> Option<ChainStart> {
    match &finding.inception {
        Some(inception) if finding.from == 1 => start_of(inception, finding.origin, held.identity().log).ok(),
        _ => held.start(finding.origin).ok().flatten(),
    }
}

/// Returns the changes of a store that keep a fork. Evidence of the same origin and holder gives way to the new one, which is
/// left out where the holder, or the cortex that wrote it, has as much already: a fork is known without it, and a peer could show another
/// history each time.
pub(super) fn keep_fork(
    store: &dyn Store,
    fork: &Fork,
    evidence: Batch,
    limits: &PeerLimits,
) -> Result<Batch, StoreError> {
    let known = forks(store)?;
    let writer = fork.origin.cortex();
    let size = |counts: &dyn Fn(&Fork) -> bool| {
        let others = known.iter().filter(|one| (one.origin, one.holder) != (fork.origin, fork.holder) && counts(one));
        others.map(|other| size_of_evidence(store, other)).sum::<Result<usize, _>>()
    };
    let most =
        |cortex| limits.of(cortex).evidence_bytes.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let shown = evidence.bytes() + size(&|one| one.holder == fork.holder)?;
    let written = evidence.bytes() + size(&|one| one.origin.cortex() == writer)?;
    let mut changes = evidence;
    if shown > MAX_EVIDENCE_BYTES.min(most(fork.holder)) || written > most(writer) {
        tracing::warn!(
            peer = %fork.peer, origin = %fork.origin,
            "the evidence of another fork is not kept: {shown} bytes that this peer showed, {written} bytes that the cortex wrote"
        );
        changes = Batch::new();
    }
    let earlier = known.iter().find(|one| one.holder == fork.holder && one.origin == fork.origin);
    if let Some(earlier) = earlier.filter(|earlier| earlier.theirs != fork.theirs) {
        forget_evidence(store, earlier, &known, &mut changes)?;
    }
    changes.put(Family::Evidence, &keys::fork(fork.origin, fork.holder), &encode_fork(fork));
    Ok(changes)
}

/// Returns the changes of a store that forget a fork which ended.
pub(super) fn forget_fork(store: &dyn Store, finding: &ForkFinding) -> Result<Batch, StoreError> {
    let &ForkFinding { origin, holder, .. } = finding;
    let mut over = Batch::new();
    let known = forks(store)?;
    if let Some(fork) = known.iter().find(|fork| fork.origin == origin && fork.holder == holder) {
        forget_evidence(store, fork, &known, &mut over)?;
    }
    over.delete(Family::Evidence, &keys::fork(origin, holder));
    over.delete(Family::Cursors, &keys::peer_cursor(&finding.peer));
    Ok(over)
}
