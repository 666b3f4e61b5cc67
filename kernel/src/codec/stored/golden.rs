//! The bytes of every stored value. A change of them is a change of the store's format.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::ids::MAX_COUNTER;
use crate::replay::{Build, BuildNumber, Builds};

/// Decodes the bytes of a value, and encodes what they hold.
type Again = fn(&[u8]) -> Result<Vec<u8>, StoredError>;

/// A value of each kind: its name, its bytes, and how it is decoded and encoded again.
struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    again: Again,
}

fn golden(name: &'static str, bytes: impl AsRef<[u8]>, again: Again) -> Golden {
    Golden { name, bytes: bytes.as_ref().to_vec(), again }
}

fn origin(n: u8) -> Origin {
    Origin::new(CortexId::from_bytes([n; 16]), Epoch::new(u64::from(n) << 56 | 5))
}

const AT: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

/// A clock whose counters have every length that an integer can have.
fn clock() -> VClock {
    let counters = [1, 250, 251, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, MAX_COUNTER];
    let entries: Vec<_> = (1..).map(origin).zip(counters).collect();
    VClock::from_sorted(&entries).unwrap()
}

fn segment(entries: &[(Timestamp, &[u8])]) -> Vec<u8> {
    let (mut builder, mut value) = (SegmentBuilder::default(), Vec::new());
    for &(joined, record) in entries {
        builder.push(joined, bytes::Bytes::copy_from_slice(record));
    }
    builder.finish(|parts| value = parts.concat());
    value
}

fn positions() -> Vec<Golden> {
    let id = EventId::from_parts(1_764_000_000_000, 7);
    let digest = Digest::of(b"chain");
    let start = ChainStart { digest: Digest::of(b"start"), key: PublicKey::from_bytes([8; 32]) };
    let chain = StoredChain { counter: 70_000, digest, last_id: id, clock: clock(), start };
    let end = |counter| GroupEnd { counter, digest, clock: [7; 32], seal: Signature::from_bytes([9; 64]) };
    let again_ends: Again = |bytes| decode_group_ends(bytes).map(|ends| encode_group_ends(&ends));
    let again_chain: Again = |bytes| decode_chain(bytes).map(|chain| encode_chain(&chain));
    let run = SegmentRun { segment: Seq::new(65_536), place: 250, count: 6, before: digest };
    let longest = SegmentRun { segment: Seq::new(u64::MAX), place: 0, count: 256, before: digest };
    let again_segment: Again = |bytes| Ok(segment(&SegmentRef::decode(bytes)?.iter().collect::<Vec<_>>()));
    let cursor = Cursor { epoch: Epoch::new(0xecb3_099c_4849_a269), seq: Seq::new(251), last_event: id };
    let lineage = [(Epoch::new(3), Seq::new(4)), (Epoch::new(u64::MAX), Seq::ZERO)];
    vec![
        golden("dot", encode_run(&run), |bytes| decode_run(bytes).map(|run| encode_run(&run))),
        golden("dot, longest", encode_run(&longest), |bytes| decode_run(bytes).map(|run| encode_run(&run))),
        golden("segment", segment(&[(AT, b"record"), (AT, b"another")]), again_segment),
        golden("segment of one large record", segment(&[(AT, &[b'r'; 300])]), again_segment),
        golden("chain", encode_chain(&chain), again_chain),
        golden("chain without events", encode_chain(&StoredChain::default()), again_chain),
        golden("ends of groups", encode_group_ends(&[end(3), end(70_000)]), again_ends),
        golden("cursor", encode_cursor(&cursor), |bytes| decode_cursor(bytes).map(|cursor| encode_cursor(&cursor))),
        golden("lineage", encode_lineage(&lineage), |bytes| {
            decode_lineage(bytes).map(|lineage| encode_lineage(&lineage))
        }),
        golden("decision", encode_decision(digest), |bytes| decode_decision(bytes).map(encode_decision)),
        golden("debt", encode_debt(), |bytes| decode_debt(bytes).map(|()| encode_debt().to_vec())),
        golden("event outside of the log", [&encode_log_entry(AT)[..], b"record"].concat(), |bytes| {
            decode_log_entry(bytes).map(|(joined, record)| [&encode_log_entry(joined)[..], record].concat())
        }),
        golden("noted head", encode_noted_head(Epoch::new(3), Seq::new(4)), |bytes| {
            let (epoch, seq) = decode_noted_head(bytes).ok_or_else(|| StoredError::new("noted head", "not whole"))?;
            Ok(encode_noted_head(epoch, seq).to_vec())
        }),
    ]
}

fn peers() -> Vec<Golden> {
    let bravo = PeerName::new("bravo").unwrap();
    let root = Some(PublicKey::from_bytes([8; 32]));
    let pin = Pin { cortex_id: CortexId::from_bytes([7; 16]), root, statement: 300, since: AT };
    let by_id = Pin::of_id(CortexId::from_bytes([7; 16]), AT);
    let mut health = PeerHealth { version: Some("0.1.0".into()), ..PeerHealth::default() };
    health.succeeded(AT);
    health.failed(Timestamp::from_micros(-5), ErrorCategory::Dns);
    let again_health: Again = |bytes| decode_health(bytes).map(|health| encode_health(&health));
    let again_time: Again = |bytes| decode_timestamp(bytes).map(encode_timestamp);
    let identity = LocalIdentity::new(pin.cortex_id, Epoch::new(8), "délta".into());
    let exclusions = [(1, ExclusionCause::Forks), (2, ExclusionCause::Origins)].map(|(n, cause)| Exclusion {
        cortex: CortexId::from_bytes([n; 16]),
        cause,
        count: 64 * u64::from(n),
        since: AT,
    });
    let of_log = LocalIdentity { log: Some(LogId::from_bytes([9; 16])), ..identity.clone() };
    let change = EpochChange { from: Epoch::new(3), why: EpochEnd::Restored, at: AT };
    let note = OriginNote { brought_by: Some(bravo.clone()), reserved: true, bytes: 300, events: 2 };
    let again_note: Again = |bytes| decode_origin_note(bytes).map(|note| encode_origin_note(&note));
    vec![
        golden("time", encode_timestamp(AT), again_time),
        golden("time, earliest", encode_timestamp(Timestamp::from_micros(i64::MIN)), again_time),
        golden("time before 1970", encode_timestamp(Timestamp::from_micros(-1)), again_time),
        golden("pin", encode_pin(&pin), |bytes| decode_pin(bytes).map(|pin| encode_pin(&pin))),
        golden("pin by its id alone", encode_pin(&by_id), |bytes| decode_pin(bytes).map(|pin| encode_pin(&pin))),
        golden("health", encode_health(&health), again_health),
        golden("health at first", encode_health(&PeerHealth::default()), again_health),
        golden("failure", encode_failure(&"é".repeat(200)), |bytes| {
            decode_failure(bytes).map(|detail| encode_failure(&detail))
        }),
        golden("exclusions", encode_exclusions(&exclusions), |bytes| {
            decode_exclusions(bytes).map(|exclusions| encode_exclusions(&exclusions))
        }),
        golden("identity of a log", encode_identity(&of_log), |bytes| {
            decode_identity(bytes).map(|identity| encode_identity(&identity))
        }),
        golden("identity", encode_identity(&identity), |bytes| {
            decode_identity(bytes).map(|identity| encode_identity(&identity))
        }),
        golden("change of epoch", encode_epoch_change(&change), |bytes| {
            decode_epoch_change(bytes).map(|change| encode_epoch_change(&change))
        }),
        golden("peer of an epoch's end", encode_epoch_peer(Epoch::new(3), &bravo), |bytes| {
            decode_epoch_peer(bytes).map(|(epoch, peer)| encode_epoch_peer(epoch, &peer))
        }),
        golden("bringer", encode_brought(&bravo, AT), |bytes| {
            decode_brought(bytes).map(|(peer, at)| encode_brought(&peer, at))
        }),
        golden("note of an origin", encode_origin_note(&note), again_note),
        golden("note of an own origin", encode_origin_note(&OriginNote::default()), again_note),
        golden("fork", encode_fork(&fork(&bravo)), |bytes| {
            let (from, ours, theirs, peer, since) = decode_fork(bytes)?;
            Ok(encode_fork(&Fork { from, ours, theirs, since, ..fork(&peer) }))
        }),
    ]
}

fn fork(peer: &PeerName) -> Fork {
    let (origin, holder) = (origin(1), CortexId::from_bytes([2; 16]));
    let (ours, theirs) = (Digest::of(b"ours"), Digest::of(b"theirs"));
    Fork { origin, from: 2, ours, theirs, peer: peer.clone(), holder, since: AT }
}

fn replay() -> Vec<Golden> {
    let id = EventId::from_parts(1_764_000_000_000, 7);
    let mark = |n, counter, weight| Mark { dot: Dot::new(origin(n), counter).unwrap(), id, weight };
    let frontier = [mark(1, 1, 0), mark(2, MAX_COUNTER, 300)];
    let parked = (Some("orders/4711".to_owned()), 70_000, "why".to_owned(), clock());
    let skipped = (id, None, "why".to_owned(), AT);
    let again_frontier: Again = |bytes| decode_frontier(bytes).map(|marks| encode_frontier(&marks));
    let build = |number, version, families: &[&str]| Build {
        number: BuildNumber::new(number),
        version,
        families: families.iter().map(|&family| family.to_owned()).collect(),
    };
    let builds = Builds {
        last: BuildNumber::new(300),
        current: Some(build(299, 1, &["notes"])),
        filling: Some(build(300, 2, &["notes", "totals"])),
        emptying: vec![build(7, 1, &[])],
    };
    let again_builds: Again = |bytes| decode_builds(bytes).map(|builds| encode_builds(&builds));
    vec![
        golden("builds", encode_builds(&builds), again_builds),
        golden("builds before the first", encode_builds(&Builds::default()), again_builds),
        golden("replay position", encode_replay_position(Seq::new(6), &clock()), |bytes| {
            decode_replay_position(bytes).map(|(seq, clock)| encode_replay_position(seq, &clock))
        }),
        golden("frontier", encode_frontier(&frontier), again_frontier),
        golden("frontier without events", encode_frontier(&[]), again_frontier),
        golden("parked event", encode_parked(&parked), |bytes| {
            decode_parked(bytes).map(|parked| encode_parked(&parked))
        }),
        golden("skipped event", encode_skipped(&skipped), |bytes| {
            decode_skipped(bytes).map(|skipped| encode_skipped(&skipped))
        }),
        golden("conflicts", encode_conflicts(u64::MAX), |bytes| decode_conflicts(bytes).map(encode_conflicts)),
        golden("tries", encode_tries(Seq::new(4), 2), |bytes| {
            decode_tries(bytes).map(|(position, tries)| encode_tries(position, tries))
        }),
    ]
}

fn all() -> Vec<Golden> {
    [positions(), peers(), replay()].into_iter().flatten().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_each_stored_value_stay() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stored.txt");
    let mut made = String::new();
    for value in all() {
        writeln!(made, "{}\n  {}", value.name, hex(&value.bytes)).unwrap();
    }
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        std::fs::write(&path, made).unwrap();
    } else {
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            kept, made,
            "the store's format changed. If that is meant, with its version: run this test with ANTIPHON_WRITE_DOCS=1"
        );
    }
}

#[test]
fn each_stored_value_is_encoded_again_as_it_was() {
    for value in all() {
        assert_eq!(hex(&(value.again)(&value.bytes).unwrap()), hex(&value.bytes), "{}", value.name);
    }
}

#[test]
fn damage_of_a_stored_value_is_an_error_or_another_value() {
    for value in all() {
        // The record of such an event ends where the value ends, so a shorter one is a value.
        let least = if value.name == "event outside of the log" { 9 } else { value.bytes.len() };
        for end in 0..least {
            assert!((value.again)(&value.bytes[..end]).is_err(), "{} cut at {end}", value.name);
        }
        for at in 0..value.bytes.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = value.bytes.clone();
                damaged[at] = byte;
                if let Ok(again) = (value.again)(&damaged) {
                    assert!(again.len() <= damaged.len(), "{} with {byte} at {at}", value.name);
                }
            }
        }
    }
}
