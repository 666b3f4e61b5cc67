//! Keys of the kernel's families: all of them, and nowhere else. Integers are big-endian, so that byte order is their
//! order.

use crate::cursor::Seq;
use crate::digest::Digest;
use crate::ids::{CortexId, Dot, Epoch, Origin, PeerName};
use crate::replay::BuildNumber;

/// `meta`: the format's version.
pub(crate) const META_FORMAT: &[u8] = b"format";
/// `meta`: who this cortex is, and in which epoch.
pub(crate) const META_IDENTITY: &[u8] = b"identity";
/// `meta`: the newest event id this cortex made, in any epoch.
pub(crate) const META_LAST_ID: &[u8] = b"last_id";
/// `meta`: where the data stood when they were opened last.
pub(crate) const META_PLACE: &[u8] = b"place";
/// `meta`: when and why the epoch was changed last.
pub(crate) const META_EPOCH_CHANGE: &[u8] = b"epoch_change";

/// `meta`: which peer made the last change of epoch necessary.
pub(crate) const META_EPOCH_PEER: &[u8] = b"epoch_peer";
/// `meta`: the epochs that this cortex began itself.
pub(crate) const META_MINTED: &[u8] = b"minted/";
/// `meta`: epochs under this cortex's id that peers brought and it did not begin.
pub(crate) const META_CLAIMED: &[u8] = b"claimed/";

/// `meta`: that this cortex began an epoch.
pub(crate) fn minted(epoch: Epoch) -> Vec<u8> {
    [META_MINTED, &epoch.get().to_be_bytes()].concat()
}

/// `meta`: which peer brought an epoch under this cortex's id that it did not begin.
pub(crate) fn claimed(epoch: Epoch) -> Vec<u8> {
    [META_CLAIMED, &epoch.get().to_be_bytes()].concat()
}

/// The epoch in a key of [`minted`] or [`claimed`], behind its prefix.
pub(crate) fn epoch_after(prefix: &[u8], key: &[u8]) -> Option<Epoch> {
    let epoch = key.strip_prefix(prefix)?.try_into().ok()?;
    Some(Epoch::new(u64::from_be_bytes(epoch)))
}

/// `meta`: what is kept of an origin besides its chain is under this prefix.
pub(crate) const META_ORIGINS: &[u8] = b"origin/";

/// `meta`: who brought an origin, and how much space it takes.
pub(crate) fn origin_note(origin: Origin) -> Vec<u8> {
    [META_ORIGINS, &origin.to_bytes()].concat()
}

/// The origin in a key of [`origin_note`].
pub(crate) fn origin_of_note(key: &[u8]) -> Option<Origin> {
    key.strip_prefix(META_ORIGINS)?.try_into().ok().map(Origin::from_bytes)
}

/// `meta`: how far the log is that of earlier epochs.
pub(crate) const META_LINEAGE: &[u8] = b"lineage";

/// `replay`: which builds a replayer has.
pub(crate) fn replay_builds(replayer: &str) -> Vec<u8> {
    named(replayer, FIELD_BUILDS, &[])
}

/// The replayer whose builds are under this key of `replay`.
pub(crate) fn replayer_of_builds(key: &[u8]) -> Option<&str> {
    let name = key.strip_suffix(&[0, FIELD_BUILDS])?;
    std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'))
}

/// `replay`: everything of one build of a replayer.
pub(crate) fn replay_build(replayer: &str, build: BuildNumber) -> Vec<u8> {
    [replayer.as_bytes(), &[0], &build.to_bytes()].concat()
}

/// `replay`: the frontier of a subject.
pub(crate) fn replay_frontier(replayer: &str, build: BuildNumber, subject: &str) -> Vec<u8> {
    built(replayer, build, FIELD_FRONTIER, subject.as_bytes())
}

/// `replay`: all frontiers of a build.
pub(crate) fn replay_frontier_prefix(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_FRONTIER, &[])
}

/// `replay`: a parked event, by its sequence number.
pub(crate) fn replay_parked(replayer: &str, build: BuildNumber, seq: Seq) -> Vec<u8> {
    built(replayer, build, FIELD_PARKED, &log(seq))
}

/// `replay`: all parked events of a build, in order of their sequence numbers.
pub(crate) fn replay_parked_prefix(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_PARKED, &[])
}

/// `replay`: an event that was skipped, by its sequence number.
pub(crate) fn replay_skipped(replayer: &str, build: BuildNumber, seq: Seq) -> Vec<u8> {
    built(replayer, build, FIELD_SKIPPED, &log(seq))
}

/// `replay`: all skipped events of a build, in order of their sequence numbers.
pub(crate) fn replay_skipped_prefix(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_SKIPPED, &[])
}

/// `replay`: how many processes began at a sequence number and did not get past it.
pub(crate) fn replay_tries(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_TRIES, &[])
}

/// `replay`: how many subjects are in conflict.
pub(crate) fn replay_conflicts(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_CONFLICTS, &[])
}

/// `meta`: what an application keeps through `State::set` stands under this prefix.
const META_STATE_PREFIX: &[u8] = b"state/";

/// `evidence`: forks that are known.
pub(crate) const FORKS: &[u8] = b"f";

/// `evidence`: that a cortex holds another history of an origin.
pub(crate) fn fork(origin: Origin, holder: CortexId) -> Vec<u8> {
    [FORKS, &origin.to_bytes(), &holder.to_bytes()].concat()
}

/// Origin and holder in a key of [`fork`].
pub(crate) fn fork_of(key: &[u8]) -> Option<(Origin, CortexId)> {
    let rest = key.strip_prefix(FORKS)?;
    let (origin, holder) = rest.split_first_chunk::<24>()?;
    Some((Origin::from_bytes(*origin), CortexId::from_bytes(holder.try_into().ok()?)))
}

/// `evidence`: decisions of an operator.
pub(crate) const DECISIONS: &[u8] = b"k";

/// `evidence`: which version of an origin's event at a counter an operator decided to keep.
pub(crate) fn decision(origin: Origin, counter: u64) -> Vec<u8> {
    [DECISIONS, &origin.to_bytes(), &counter.to_be_bytes()].concat()
}

/// Origin and counter in a key of [`decision`].
pub(crate) fn decision_of(key: &[u8]) -> Option<(Origin, u64)> {
    let (origin, counter) = key.strip_prefix(DECISIONS)?.split_first_chunk::<24>()?;
    Some((Origin::from_bytes(*origin), u64::from_be_bytes(counter.try_into().ok()?)))
}

/// `evidence`: an event of another version, which is named by its digest at the first difference.
pub(crate) fn evidence(origin: Origin, version: Digest, counter: u64) -> Vec<u8> {
    [&evidence_of(origin, version)[..], &counter.to_be_bytes()].concat()
}

/// `evidence`: all events of another version, which is named by its digest at the first difference.
pub(crate) fn evidence_of(origin: Origin, version: Digest) -> Vec<u8> {
    [b"r", &origin.to_bytes()[..], &version.to_bytes()].concat()
}

/// `evidence`: events that were set aside and came back as new ones since.
pub(crate) const CAME_BACK: &[u8] = b"n";

/// `evidence`: the key of an event that was set aside, once it came back.
pub(crate) fn came_back(set_aside: &[u8]) -> Vec<u8> {
    [CAME_BACK, set_aside.strip_prefix(SET_ASIDE).unwrap_or(set_aside)].concat()
}

/// `evidence`: events that were set aside.
pub(crate) const SET_ASIDE: &[u8] = b"a";

/// The sequence number that an event had, in a key of [`set_aside`].
pub(crate) fn place_of_set_aside(key: &[u8]) -> Option<Seq> {
    let rest = key.strip_prefix(SET_ASIDE).or_else(|| key.strip_prefix(CAME_BACK))?;
    let (_epoch, place) = rest.split_first_chunk::<8>()?;
    seq_of_log(place)
}

/// `evidence`: an event that was set aside, by the epoch that began then and the sequence number it had.
pub(crate) fn set_aside(epoch: Epoch, seq: Seq) -> Vec<u8> {
    [SET_ASIDE, &epoch.get().to_be_bytes()[..], &log(seq)].concat()
}

/// `evidence`: events that wait behind a hole since a repair.
pub(crate) const WAITING: &[u8] = b"w";

/// `evidence`: all that wait of one origin, in order.
pub(crate) fn waiting_of(origin: Origin) -> Vec<u8> {
    [WAITING, &origin.to_bytes()].concat()
}

/// `evidence`: an event that waits.
pub(crate) fn waiting(origin: Origin, counter: u64) -> Vec<u8> {
    [&waiting_of(origin)[..], &counter.to_be_bytes()].concat()
}

/// Which event waits under a key of [`waiting`].
pub(crate) fn place_of_waiting(key: &[u8]) -> Option<(Origin, u64)> {
    let (origin, counter) = key.strip_prefix(WAITING)?.split_first_chunk::<24>()?;
    Some((Origin::from_bytes(*origin), u64::from_be_bytes(counter.try_into().ok()?)))
}

/// `evidence`: which peer brought an origin, from which event on.
const BRINGERS: &[u8] = b"b";

/// `evidence`: all such of one origin, in order.
pub(crate) fn bringers_of(origin: Origin) -> Vec<u8> {
    [BRINGERS, &origin.to_bytes()].concat()
}

/// `evidence`: that a peer brought an origin from a counter on.
pub(crate) fn bringer(origin: Origin, from: u64) -> Vec<u8> {
    [&bringers_of(origin)[..], &from.to_be_bytes()].concat()
}

/// Origin and counter in a key of [`bringer`].
pub(crate) fn place_of_bringer(key: &[u8]) -> Option<(Origin, u64)> {
    let (origin, counter) = key.strip_prefix(BRINGERS)?.split_first_chunk::<24>()?;
    Some((Origin::from_bytes(*origin), u64::from_be_bytes(counter.try_into().ok()?)))
}

/// `evidence`: events of the log of which a part is missing.
pub(crate) const DEBTS: &[u8] = b"m";

/// `evidence`: that a part of an event is missing.
pub(crate) fn debt(dot: Dot) -> Vec<u8> {
    [DEBTS, &self::dot(dot.origin(), dot.counter())].concat()
}

/// The event in a key of [`debt`].
pub(crate) fn dot_of_debt(key: &[u8]) -> Option<Dot> {
    let (origin, counter) = key.strip_prefix(DEBTS)?.split_first_chunk::<24>()?;
    Dot::new(Origin::from_bytes(*origin), u64::from_be_bytes(counter.try_into().ok()?))
}

/// Whether a key of `cursors` is that of a cursor.
pub(crate) fn is_cursor(key: &[u8]) -> bool {
    key.ends_with(&[0, FIELD_CURSOR])
}

const FIELD_CURSOR: u8 = b'c';
const FIELD_CONFLICTS: u8 = b'x';
const FIELD_SEEN: u8 = b's';
const FIELD_FAILURE: u8 = b'e';
const FIELD_EXCLUSIONS: u8 = b'x';
const FIELD_POSITION: u8 = b'p';
const FIELD_CLOCK: u8 = b'o';
const FIELD_FRONTIER: u8 = b'f';
const FIELD_PARKED: u8 = b'q';
const FIELD_SKIPPED: u8 = b'a';
const FIELD_TRIES: u8 = b't';
const FIELD_BUILDS: u8 = b'b';

/// `log`: Seq of a segment's first entry.
pub(crate) fn log(seq: Seq) -> [u8; 8] {
    seq.get().to_be_bytes()
}

/// The Seq in a key of `log`.
pub(crate) fn seq_of_log(key: &[u8]) -> Option<Seq> {
    key.try_into().ok().map(|bytes| Seq::new(u64::from_be_bytes(bytes)))
}

/// `dots`: origin ‖ counter of its first event in a segment.
pub(crate) fn dot(origin: Origin, counter: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..24].copy_from_slice(&origin.to_bytes());
    key[24..].copy_from_slice(&counter.to_be_bytes());
    key
}

/// `dots`: all entries of an origin.
pub(crate) fn dots_of(origin: Origin) -> [u8; 24] {
    origin.to_bytes()
}

/// Origin and counter in a key of `dots`.
pub(crate) fn dot_of(key: &[u8]) -> Option<(Origin, u64)> {
    let (origin, counter) = key.split_first_chunk::<24>()?;
    Some((Origin::from_bytes(*origin), u64::from_be_bytes(counter.try_into().ok()?)))
}

/// `marks`: the ends of an origin's groups from this counter on; with counter 0, how the origin begins.
pub(crate) fn mark(origin: Origin, counter: u64) -> [u8; 32] {
    dot(origin, counter)
}

/// `marks`: all entries of an origin.
pub(crate) fn marks_of(origin: Origin) -> [u8; 24] {
    origin.to_bytes()
}

/// Origin and counter in a key of `marks`.
pub(crate) fn mark_of(key: &[u8]) -> Option<(Origin, u64)> {
    dot_of(key)
}

/// `clocks`: origin.
pub(crate) fn chain(origin: Origin) -> [u8; 24] {
    origin.to_bytes()
}

/// The origin in a key of `clocks`.
pub(crate) fn origin_of_chain(key: &[u8]) -> Option<Origin> {
    key.try_into().ok().map(Origin::from_bytes)
}

/// A name, a zero (which no name contains), a field.
fn named(name: &str, field: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 2 + rest.len());
    key.extend_from_slice(name.as_bytes());
    key.extend_from_slice(&[0, field]);
    key.extend_from_slice(rest);
    key
}

/// A replayer's name, a zero, a build's number, a field.
fn built(replayer: &str, build: BuildNumber, field: u8, rest: &[u8]) -> Vec<u8> {
    [&replay_build(replayer, build)[..], &[field], rest].concat()
}

/// `cursors`: a peer's cursor.
pub(crate) fn peer_cursor(peer: &PeerName) -> Vec<u8> {
    named(peer.as_str(), FIELD_CURSOR, &[])
}

/// `cursors`: when a peer was last reached.
pub(crate) fn peer_seen(peer: &PeerName) -> Vec<u8> {
    named(peer.as_str(), FIELD_SEEN, &[])
}

/// `cursors`: the cortexes of which nothing is taken from a peer.
pub(crate) fn peer_exclusions(peer: &PeerName) -> Vec<u8> {
    named(peer.as_str(), FIELD_EXCLUSIONS, &[])
}

/// `cursors`: what exactly failed last with a peer, while it lasts.
pub(crate) fn peer_failure(peer: &PeerName) -> Vec<u8> {
    named(peer.as_str(), FIELD_FAILURE, &[])
}

/// `pins` and `health`: a peer's name.
pub(crate) fn peer(peer: &PeerName) -> &[u8] {
    peer.as_str().as_bytes()
}

/// `replay`: a build's position.
pub(crate) fn replay_position(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_POSITION, &[])
}

/// `replay`: an origin's last full clock as of a build's position.
pub(crate) fn replay_clock(replayer: &str, build: BuildNumber, origin: Origin) -> Vec<u8> {
    built(replayer, build, FIELD_CLOCK, &origin.to_bytes())
}

/// `replay`: all such clocks of a build.
pub(crate) fn replay_clock_prefix(replayer: &str, build: BuildNumber) -> Vec<u8> {
    built(replayer, build, FIELD_CLOCK, &[])
}

/// `meta`: what an application keeps under this name.
pub(crate) fn state(name: &str) -> Vec<u8> {
    [META_STATE_PREFIX, name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_the_order_of_places_and_counters() {
        let origin = Origin::new(CortexId::from_bytes([1; 16]), Epoch::new(1));
        assert!(log(Seq::new(255)) < log(Seq::new(256)));
        assert!(dot(origin, 255) < dot(origin, 256));
        assert_eq!(seq_of_log(&log(Seq::new(77))), Some(Seq::new(77)));
        assert_eq!(seq_of_log(b"short"), None);
        assert_eq!(origin_of_chain(&chain(origin)), Some(origin));
    }

    #[test]
    fn no_name_reaches_into_another_ones_keys() {
        let (a, ab) = (PeerName::new("a").unwrap(), PeerName::new("a-c").unwrap());
        assert!(!peer_cursor(&ab).starts_with(&peer_cursor(&a)));
        assert_ne!(peer_cursor(&a), peer_seen(&a));
        let (one, two) = (BuildNumber::new(1), BuildNumber::new(2));
        assert!(replay_clock("r", one, Origin::from_bytes([0; 24])).starts_with(&replay_clock_prefix("r", one)));
        assert_ne!(replay_position("r", one), replay_clock_prefix("r", one));
        assert!(!replay_position("r", two).starts_with(&replay_build("r", one)));
        assert_eq!(replayer_of_builds(&replay_builds("r")), Some("r"));
        // The subject of a frontier is any text.
        assert_eq!(replayer_of_builds(&replay_frontier("r", one, "\0b")), None);
        assert!(state("x").starts_with(META_STATE_PREFIX));
    }
}
