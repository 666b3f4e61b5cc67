//! Values of the kernel's families. Each begins with a version byte.

use super::encoding::{Decode, Encode, decode_prefix};
use super::{Entries, entries_from, entries_of};
use crate::checksum::checksum;
use crate::clock::VClock;
use crate::codec::RecordRef;
use crate::cursor::{Cursor, Seq};
use crate::digest::{DIGEST_ALGORITHM, Digest};
use crate::error_code::ErrorCode;
use crate::health::{ErrorCategory, PeerHealth};
use crate::identity::{ChainStart, ClockHash, PublicKey, Sealed, Signature, clock_hash};
use crate::ids::{CortexId, Dot, Epoch, EventId, LogId, Origin, PeerName};
use crate::log::{EpochChange, EpochEnd, Exclusion, ExclusionCause, Fork, LocalIdentity, OriginNote, Pin};
use crate::replay::{Build, BuildNumber, Builds, Mark};
use crate::store::{Unreadable, is_newer};
use crate::time::Timestamp;

mod segment;

pub(crate) use segment::{SegmentBuilder, SegmentRef, SegmentRun, decode_run, encode_run};

const VERSION: u8 = 2;

/// A stored value that does not read back: damage, or a newer version's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {what} does not decode: {reason}")]
pub(crate) struct StoredError {
    what: &'static str,
    reason: String,
    newer: bool,
}

impl StoredError {
    /// The stable code of this failure.
    pub(crate) const fn code(&self) -> ErrorCode {
        if self.newer { ErrorCode::StoreNewerFormat } else { ErrorCode::StoreCorrupt }
    }
}

impl StoredError {
    fn new(what: &'static str, reason: impl Into<String>) -> Self {
        Self { what, reason: reason.into(), newer: false }
    }

    /// Of a byte that says in which form the value is.
    fn unknown(what: &'static str, form: &str, value: u8, known: u8) -> Self {
        let newer = is_newer(value, known);
        Self { what, reason: format!("{form} {value} wrote it, and this build reads {form} {known}"), newer }
    }
}

impl Unreadable for StoredError {
    fn is_newer(&self) -> bool {
        self.newer
    }
}

fn write(value: impl Encode) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    value.encode(&mut bytes);
    bytes
}

fn read<'a, T: Decode<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, StoredError> {
    read_body(what, unversioned(what, bytes)?)
}

fn read_body<'a, T: Decode<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, StoredError> {
    let (value, after) = decode_prefix(body).map_err(|e| StoredError::new(what, e.to_string()))?;
    if !after.is_empty() {
        return Err(StoredError::new(what, "bytes follow it"));
    }
    Ok(value)
}

fn unversioned<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], StoredError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((&version, _)) => Err(StoredError::unknown(what, "version", version, VERSION)),
        None => Err(StoredError::new(what, "it is empty")),
    }
}

pub(crate) fn encode_origin_note(note: &OriginNote) -> Vec<u8> {
    let brought_by = note.brought_by.as_ref().map(PeerName::as_str);
    write((brought_by, note.reserved, note.bytes, note.events))
}

pub(crate) fn decode_origin_note(bytes: &[u8]) -> Result<OriginNote, StoredError> {
    const WHAT: &str = "note of an origin";
    let (brought_by, reserved, bytes, events): (Option<String>, bool, u64, u64) = read(WHAT, bytes)?;
    let fault = |_| StoredError::new(WHAT, "it names no peer");
    let brought_by = brought_by.map(|name| PeerName::new(&name).map_err(fault)).transpose()?;
    Ok(OriginNote { brought_by, reserved, bytes, events })
}

/// The value under a dot of which a part is missing: the key says all.
pub(crate) const fn encode_debt() -> [u8; 1] {
    [VERSION]
}

pub(crate) fn decode_debt(bytes: &[u8]) -> Result<(), StoredError> {
    match unversioned("debt", bytes)? {
        [] => Ok(()),
        _ => Err(StoredError::new("debt", "bytes follow it")),
    }
}

/// The 9 bytes before the record of an event that is kept outside of the log: version, time it joined (microseconds, big-endian).
pub(crate) fn encode_log_entry(joined: Timestamp) -> [u8; 9] {
    let mut head = [VERSION; 9];
    head[1..].copy_from_slice(&joined.as_micros().to_be_bytes());
    head
}

/// When an event that is kept outside of the log joined it, and its record.
pub(crate) fn decode_log_entry(bytes: &[u8]) -> Result<(Timestamp, &[u8]), StoredError> {
    let body = unversioned("log entry", bytes)?;
    let (time, record) =
        body.split_first_chunk::<8>().ok_or_else(|| StoredError::new("log entry", "it is too short"))?;
    Ok((Timestamp::from_micros(i64::from_be_bytes(*time)), record))
}

/// Where a dot stands in the log, and its chain's digest there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredDot {
    /// Its sequence number.
    pub seq: Seq,
    /// The digest of the origin's chain up to it.
    pub digest: Digest,
}

/// The tip of one origin's chain, and what the next event's causal delta is relative to. By default that of a chain without
/// events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChain {
    /// The highest counter.
    pub counter: u64,
    /// The digest there.
    pub digest: Digest,
    /// The id of the event there.
    pub last_id: EventId,
    /// The full clock of the event there, without the origin's own entry.
    pub clock: VClock,
    /// What it begins with.
    pub start: ChainStart,
}

impl StoredChain {
    /// A chain without events that begins with this.
    #[must_use]
    pub fn of(start: ChainStart) -> Self {
        let last_id = EventId::from_bytes([0; 16]);
        Self { counter: 0, digest: start.digest, last_id, clock: VClock::new(), start }
    }

    /// What the owner of this origin seals if a group ends here.
    pub(crate) fn sealed(&self, origin: Origin) -> Sealed {
        let &Self { counter, digest, last_id, ref clock, .. } = self;
        Sealed { origin, counter, digest, id: last_id, clock: clock_hash(clock) }
    }

    /// Moves the tip to the next event, whose digest this is. Its causes are merged into the clock apart: what a clock that grows too
    /// large means is the caller's to say.
    pub(crate) fn advance(&mut self, event: &RecordRef<'_>, digest: Digest) {
        (self.counter, self.digest, self.last_id) = (event.dot.counter(), digest, event.id);
    }
}

impl Default for StoredChain {
    fn default() -> Self {
        Self::of(ChainStart::NONE)
    }
}

pub(crate) fn encode_chain(chain: &StoredChain) -> Vec<u8> {
    write((
        chain.counter,
        DIGEST_ALGORITHM,
        chain.digest.to_bytes(),
        chain.last_id.to_bytes(),
        (entries_of(&chain.clock), chain.start.digest.to_bytes(), chain.start.key.to_bytes()),
    ))
}

pub(crate) fn decode_chain(bytes: &[u8]) -> Result<StoredChain, StoredError> {
    type Wire = (u64, u8, [u8; 32], [u8; 16], (Entries, [u8; 32], [u8; 32]));
    let (counter, algorithm, digest, last_id, (clock, start, key)): Wire = read("chain", bytes)?;
    if algorithm != DIGEST_ALGORITHM {
        return Err(StoredError::unknown("chain", "digest algorithm", algorithm, DIGEST_ALGORITHM));
    }
    Ok(StoredChain {
        counter,
        digest: Digest::from_bytes(digest),
        last_id: EventId::from_bytes(last_id),
        clock: clock_from("chain", clock)?,
        start: ChainStart { digest: Digest::from_bytes(start), key: PublicKey::from_bytes(key) },
    })
}

/// The end of a group in an origin's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupEnd {
    /// The counter of its last event.
    pub(crate) counter: u64,
    /// The chain's digest there.
    pub(crate) digest: Digest,
    /// The hash of the full clock of that event.
    pub(crate) clock: ClockHash,
    /// The owner's seal.
    pub(crate) seal: Signature,
}

impl GroupEnd {
    /// The end of a group that was sealed.
    pub(crate) const fn of(&Sealed { counter, digest, clock, .. }: &Sealed, seal: Signature) -> Self {
        Self { counter, digest, clock, seal }
    }
}

pub(crate) fn encode_group_ends(ends: &[GroupEnd]) -> Vec<u8> {
    let of = |end: &GroupEnd| (end.counter, end.digest.to_bytes(), end.clock, end.seal.to_bytes());
    write(ends.iter().map(of).collect::<Vec<_>>())
}

pub(crate) fn decode_group_ends(bytes: &[u8]) -> Result<Vec<GroupEnd>, StoredError> {
    let ends: Vec<(u64, [u8; 32], ClockHash, [u8; 64])> = read("ends of groups", bytes)?;
    let end = |(counter, digest, clock, seal)| GroupEnd {
        counter,
        digest: Digest::from_bytes(digest),
        clock,
        seal: Signature::from_bytes(seal),
    };
    let ends: Vec<_> = ends.into_iter().map(end).collect();
    match ends.is_sorted_by(|a, b| a.counter < b.counter) && !ends.is_empty() {
        true => Ok(ends),
        false => Err(StoredError::new("ends of groups", "their counters do not increase")),
    }
}

/// The counter and the digest of a chain's tip alone.
pub(crate) fn decode_tip(bytes: &[u8]) -> Result<(u64, Digest), StoredError> {
    let fault = |error: super::encoding::DecodeError| StoredError::new("chain", error.to_string());
    let ((counter, algorithm, digest), _) = decode_prefix(unversioned("chain", bytes)?).map_err(fault)?;
    if algorithm != DIGEST_ALGORITHM {
        return Err(StoredError::unknown("chain", "digest algorithm", algorithm, DIGEST_ALGORITHM));
    }
    Ok((counter, Digest::from_bytes(digest)))
}

fn clock_from(what: &'static str, entries: Entries) -> Result<VClock, StoredError> {
    VClock::from_sorted(&entries_from(entries)).map_err(|e| StoredError::new(what, e.to_string()))
}

pub(crate) fn encode_cursor(cursor: &Cursor) -> Vec<u8> {
    write((cursor.epoch.get(), cursor.seq.get(), cursor.last_event.to_bytes()))
}

pub(crate) fn decode_cursor(bytes: &[u8]) -> Result<Cursor, StoredError> {
    let (epoch, seq, last_event): (u64, u64, [u8; 16]) = read("cursor", bytes)?;
    Ok(Cursor { epoch: Epoch::new(epoch), seq: Seq::new(seq), last_event: EventId::from_bytes(last_event) })
}

pub(crate) fn encode_timestamp(time: Timestamp) -> Vec<u8> {
    write(time.as_micros())
}

pub(crate) fn decode_timestamp(bytes: &[u8]) -> Result<Timestamp, StoredError> {
    read("time", bytes).map(Timestamp::from_micros)
}

pub(crate) fn encode_pin(pin: &Pin) -> Vec<u8> {
    let root = pin.root.map(PublicKey::to_bytes);
    write((pin.cortex_id.to_bytes(), root, pin.statement, pin.since.as_micros()))
}

pub(crate) fn decode_pin(bytes: &[u8]) -> Result<Pin, StoredError> {
    type Wire = ([u8; 16], Option<[u8; 32]>, u64, i64);
    let (cortex_id, root, statement, since): Wire = read("pin", bytes)?;
    Ok(Pin {
        cortex_id: CortexId::from_bytes(cortex_id),
        root: root.map(PublicKey::from_bytes),
        statement,
        since: Timestamp::from_micros(since),
    })
}

type WireHealth = (Option<String>, Option<i64>, u32, Option<i64>, u8);

pub(crate) fn encode_health(health: &PeerHealth) -> Vec<u8> {
    write((
        health.version.clone(),
        health.last_success.map(Timestamp::as_micros),
        health.consecutive_failures,
        health.last_failure.map(Timestamp::as_micros),
        health.last_error.map_or(0, ErrorCategory::number),
    ))
}

pub(crate) fn decode_health(bytes: &[u8]) -> Result<PeerHealth, StoredError> {
    let (version, last_success, consecutive_failures, last_failure, code): WireHealth = read("health", bytes)?;
    Ok(PeerHealth {
        version,
        last_success: last_success.map(Timestamp::from_micros),
        consecutive_failures,
        last_failure: last_failure.map(Timestamp::from_micros),
        last_error: ErrorCategory::from_number(code),
        failing_since: ErrorCategory::from_number(code).and(last_failure).map(Timestamp::from_micros),
    })
}

/// The cortexes of which nothing is taken from a peer.
pub(crate) fn encode_exclusions(exclusions: &[Exclusion]) -> Vec<u8> {
    let of = |one: &Exclusion| (one.cortex.to_bytes(), one.cause.number(), one.count, one.since.as_micros());
    write(exclusions.iter().map(of).collect::<Vec<_>>())
}

pub(crate) fn decode_exclusions(bytes: &[u8]) -> Result<Vec<Exclusion>, StoredError> {
    const WHAT: &str = "exclusions";
    let exclusions: Vec<([u8; 16], u8, u64, i64)> = read(WHAT, bytes)?;
    let one = |(cortex, cause, count, since)| {
        let known = ExclusionCause::from_number(cause);
        let cause = known.ok_or_else(|| StoredError::new(WHAT, format!("cause {cause} is not known here")))?;
        let (cortex, since) = (CortexId::from_bytes(cortex), Timestamp::from_micros(since));
        Ok(Exclusion { cortex, cause, count, since })
    };
    exclusions.into_iter().map(one).collect()
}

/// What exactly failed last with a peer.
pub(crate) fn encode_failure(detail: &str) -> Vec<u8> {
    write(detail)
}

pub(crate) fn decode_failure(bytes: &[u8]) -> Result<String, StoredError> {
    read("failure of a peer", bytes)
}

pub(crate) fn encode_identity(identity: &LocalIdentity) -> Vec<u8> {
    let log = identity.log.map(LogId::to_bytes);
    write((identity.cortex_id.to_bytes(), identity.epoch.get(), identity.name.clone(), log))
}

pub(crate) fn decode_identity(bytes: &[u8]) -> Result<LocalIdentity, StoredError> {
    type Wire = ([u8; 16], u64, String, Option<[u8; 16]>);
    let (cortex_id, epoch, name, log): Wire = read("identity", bytes)?;
    let log = log.map(LogId::from_bytes);
    Ok(LocalIdentity { log, ..LocalIdentity::new(CortexId::from_bytes(cortex_id), Epoch::new(epoch), name) })
}

pub(crate) fn encode_epoch_change(change: &EpochChange) -> Vec<u8> {
    write((change.from.get(), change.why.code(), change.at.as_micros()))
}

pub(crate) fn decode_epoch_change(bytes: &[u8]) -> Result<EpochChange, StoredError> {
    let (from, why, at): (u64, u8, i64) = read("change of epoch", bytes)?;
    let why = EpochEnd::from_code(why)
        .ok_or_else(|| StoredError::new("change of epoch", format!("reason {why} is not known here")))?;
    Ok(EpochChange { from: Epoch::new(from), why, at: Timestamp::from_micros(at) })
}

/// Which peer made an end of an epoch necessary.
pub(crate) fn encode_epoch_peer(from: Epoch, peer: &PeerName) -> Vec<u8> {
    write((from.get(), peer.as_str().to_owned()))
}

pub(crate) fn decode_epoch_peer(bytes: &[u8]) -> Result<(Epoch, PeerName), StoredError> {
    const WHAT: &str = "peer of an epoch's end";
    let (from, peer): (u64, String) = read(WHAT, bytes)?;
    Ok((Epoch::new(from), peer_name(WHAT, &peer)?))
}

/// Which peer brought something, and when it first did.
pub(crate) fn encode_brought(peer: &PeerName, at: Timestamp) -> Vec<u8> {
    write((peer.as_str().to_owned(), at.as_micros()))
}

pub(crate) fn decode_brought(bytes: &[u8]) -> Result<(PeerName, Timestamp), StoredError> {
    const WHAT: &str = "name of a bringer";
    let (peer, at): (String, i64) = read(WHAT, bytes)?;
    Ok((peer_name(WHAT, &peer)?, Timestamp::from_micros(at)))
}

fn peer_name(what: &'static str, name: &str) -> Result<PeerName, StoredError> {
    PeerName::new(name).map_err(|e| StoredError::new(what, e.to_string()))
}

/// Of earlier epochs, oldest first, how far the log of today is theirs.
pub(crate) fn encode_lineage(lineage: &[(Epoch, Seq)]) -> Vec<u8> {
    write(lineage.iter().map(|(epoch, seq)| (epoch.get(), seq.get())).collect::<Vec<_>>())
}

pub(crate) fn decode_lineage(bytes: &[u8]) -> Result<Vec<(Epoch, Seq)>, StoredError> {
    let entries: Vec<(u64, u64)> = read("lineage", bytes)?;
    Ok(entries.into_iter().map(|(epoch, seq)| (Epoch::new(epoch), Seq::new(seq))).collect())
}

/// How far a log was durable: epoch and sequence number, with a checksum of its own because it is written without care.
pub(crate) fn encode_noted_head(epoch: Epoch, seq: Seq) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&epoch.get().to_be_bytes());
    bytes[8..16].copy_from_slice(&seq.get().to_be_bytes());
    let sum = checksum(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum);
    bytes
}

/// `None` for anything but what was written whole.
pub(crate) fn decode_noted_head(bytes: &[u8]) -> Option<(Epoch, Seq)> {
    let (head, sum) = bytes.get(..32)?.split_at(16);
    let (epoch, seq) = head.split_at(8);
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
    (checksum(head) == sum).then_some((Epoch::new(word(epoch)?), Seq::new(word(seq)?)))
}

pub(crate) fn encode_decision(keep: Digest) -> Vec<u8> {
    write((DIGEST_ALGORITHM, keep.to_bytes()))
}

pub(crate) fn decode_decision(bytes: &[u8]) -> Result<Digest, StoredError> {
    let (algorithm, keep): (u8, [u8; 32]) = read("decision", bytes)?;
    if algorithm != DIGEST_ALGORITHM {
        return Err(StoredError::unknown("decision", "digest algorithm", algorithm, DIGEST_ALGORITHM));
    }
    Ok(Digest::from_bytes(keep))
}

/// Where, our digest, theirs, the peer's name, since when.
type StoredFork = (u64, Digest, Digest, PeerName, Timestamp);

pub(crate) fn encode_fork(fork: &Fork) -> Vec<u8> {
    let digests = (DIGEST_ALGORITHM, fork.ours.to_bytes(), fork.theirs.to_bytes());
    write((fork.from, digests, fork.peer.as_str().to_owned(), fork.since.as_micros()))
}

pub(crate) fn decode_fork(bytes: &[u8]) -> Result<StoredFork, StoredError> {
    type Wire = (u64, (u8, [u8; 32], [u8; 32]), String, i64);
    let (from, (algorithm, ours, theirs), peer, since): Wire = read("fork", bytes)?;
    if algorithm != DIGEST_ALGORITHM {
        return Err(StoredError::unknown("fork", "digest algorithm", algorithm, DIGEST_ALGORITHM));
    }
    let peer = peer_name("fork", &peer)?;
    Ok((from, Digest::from_bytes(ours), Digest::from_bytes(theirs), peer, Timestamp::from_micros(since)))
}

/// A build in bytes: number, version, families.
type WireBuild = (u64, u32, Vec<String>);

pub(crate) fn encode_builds(builds: &Builds) -> Vec<u8> {
    let build = |build: &Build| (build.number.get(), build.version, build.families.clone());
    let emptying: Vec<WireBuild> = builds.emptying.iter().map(build).collect();
    write((builds.last.get(), builds.current.as_ref().map(build), builds.filling.as_ref().map(build), emptying))
}

pub(crate) fn decode_builds(bytes: &[u8]) -> Result<Builds, StoredError> {
    const WHAT: &str = "builds";
    type Wire = (u64, Option<WireBuild>, Option<WireBuild>, Vec<WireBuild>);
    let (last, current, filling, emptying): Wire = read(WHAT, bytes)?;
    let build = |(number, version, families): WireBuild| {
        let number = (1..=last).contains(&number).then_some(BuildNumber::new(number));
        let number = number.ok_or_else(|| StoredError::new(WHAT, "a number was never given out"))?;
        Ok(Build { number, version, families })
    };
    Ok(Builds {
        last: BuildNumber::new(last),
        current: current.map(build).transpose()?,
        filling: filling.map(build).transpose()?,
        emptying: emptying.into_iter().map(build).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn encode_replay_position(seq: Seq, clock: &VClock) -> Vec<u8> {
    write((seq.get(), entries_of(clock)))
}

pub(crate) fn decode_replay_position(bytes: &[u8]) -> Result<(Seq, VClock), StoredError> {
    let (seq, clock): (u64, Entries) = read("replay position", bytes)?;
    Ok((Seq::new(seq), clock_from("replay position", clock)?))
}

type WireMark = ([u8; 24], u64, [u8; 16], u64);

pub(crate) fn encode_frontier(marks: &[Mark]) -> Vec<u8> {
    let of = |mark: &Mark| (mark.dot.origin().to_bytes(), mark.dot.counter(), mark.id.to_bytes(), mark.weight);
    write(marks.iter().map(of).collect::<Vec<WireMark>>())
}

pub(crate) fn decode_frontier(bytes: &[u8]) -> Result<Vec<Mark>, StoredError> {
    const WHAT: &str = "frontier";
    let marks: Vec<WireMark> = read(WHAT, bytes)?;
    let fault = || StoredError::new(WHAT, "a counter is out of range");
    marks
        .into_iter()
        .map(|(origin, counter, id, weight)| {
            let dot = Dot::new(Origin::from_bytes(origin), counter).ok_or_else(fault)?;
            Ok(Mark { dot, id: EventId::from_bytes(id), weight })
        })
        .collect()
}

/// What is kept of an event that a replayer set aside: subject, how often it was tried, what it said, the event's clock.
pub(crate) type StoredParked = (Option<String>, u32, String, VClock);

pub(crate) fn encode_parked((subject, tries, error, clock): &StoredParked) -> Vec<u8> {
    write((subject, tries, error, entries_of(clock)))
}

pub(crate) fn decode_parked(bytes: &[u8]) -> Result<StoredParked, StoredError> {
    let (subject, tries, error, clock): (Option<String>, u32, String, Entries) = read("parked event", bytes)?;
    Ok((subject, tries, error, clock_from("parked event", clock)?))
}

/// What is kept of an event that was skipped: its id, its subject, what it had failed with, when it was skipped.
pub(crate) type StoredSkipped = (EventId, Option<String>, String, Timestamp);

pub(crate) fn encode_skipped((id, subject, error, at): &StoredSkipped) -> Vec<u8> {
    write((id.to_bytes(), subject, error, at.as_micros()))
}

pub(crate) fn decode_skipped(bytes: &[u8]) -> Result<StoredSkipped, StoredError> {
    let (id, subject, error, at): ([u8; 16], Option<String>, String, i64) = read("skipped event", bytes)?;
    Ok((EventId::from_bytes(id), subject, error, Timestamp::from_micros(at)))
}

pub(crate) fn encode_conflicts(count: u64) -> Vec<u8> {
    write((count,))
}

pub(crate) fn decode_conflicts(bytes: &[u8]) -> Result<u64, StoredError> {
    let (count,): (u64,) = read("conflicts", bytes)?;
    Ok(count)
}

pub(crate) fn encode_tries(position: Seq, tries: u32) -> Vec<u8> {
    write((position.get(), tries))
}

pub(crate) fn decode_tries(bytes: &[u8]) -> Result<(Seq, u32), StoredError> {
    let (position, tries): (u64, u32) = read("tries", bytes)?;
    Ok((Seq::new(position), tries))
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
