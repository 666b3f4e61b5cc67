//! A peer that shows another history each time. The evidence of it is bounded, and the warning before the disk is full names
//! the peer that took the space.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{Epoch, EventId, PeerName};
use antiphon_kernel::internals::log::{Log, LogOptions, Pin, put_pin};
use antiphon_kernel::log::forks;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Identity, RequestId};
use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, Store as _};
use antiphon_kernel::testing::{Author, MemoryStore, Tamper, seeded_keys};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};

use super::byzantine::{Byzantine, identity};
use super::forger::{Forged, Forger, Page, asked, author, id, ports, scraped, source_id};
use crate::support::{Place, until};

const MIB: u64 = 1 << 20;
/// The number of origins with two histories.
const ORIGINS: u8 = 12;
/// The number of histories that the peer shows of the first of them, one after another.
const VERSIONS: u64 = 10;
/// The size of each made-up event in bytes.
const SIZE: usize = 3 << 20;
/// The most evidence that a node keeps of one peer, in bytes.
const KEPT: u64 = 16 * MIB;

fn forked(n: u8) -> Author {
    author(&seeded_keys(n), Epoch::new(1))
}

/// An origin with one history. Each version has one more event of it: a node that holds that event took the version.
fn unforked() -> Author {
    author(&seeded_keys(0xcc), Epoch::new(1))
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    std::iter::repeat_with(word).flatten().take(length).collect()
}

/// The peer's log in one version. Version 0 differs from no other node's log.
fn version(version: u64) -> Log {
    let store = Arc::new(MemoryStore::new());
    Log::create(&*store, &identity()).unwrap();
    let mut log =
        Log::open(store, LogOptions { log: Some(crate::support::log_id()), ..LogOptions::default() }).unwrap();
    let source = PeerName::new("source").unwrap();
    let mut pins = Batch::new();
    put_pin(&mut pins, &source, &Pin::of_id(source_id(), Timestamp::from_micros(0)));
    log.stage_state(&pins).unwrap();
    log.commit(Durability::Sync).unwrap();

    // Cursors of one version stay valid in the next: events that both have are the same bytes at the same seq.
    let id = |n: u64| EventId::from_parts(1_700_000_000_000 + n, u128::from(n));
    let mut page = Page::default();
    let mut own = unforked();
    page.add(&mut own, id(1), &Draft::new("forged", noise(1, 2 << 20)).subject("doc/1"));
    if version > 0 {
        for n in 1..=ORIGINS {
            let seed = if n == 1 { 1000 + version } else { 100 + u64::from(n) };
            page.add(
                &mut forked(n),
                id(1000 + u64::from(n)),
                &Draft::new("forged", noise(seed, SIZE)).subject("doc/1"),
            );
        }
    }
    for n in 1..=version {
        page.add(&mut own, id(1 + n), &Draft::new("forged", "1").subject("doc/1").json());
    }
    let request = RequestId { process: log.reader().process(), number: 1 };
    let batch = page.batch(request, source_id(), Cursor::start(Epoch::new(1)));
    log.ingest(&source, &asked(request, source_id()), &batch, Timestamp::from_micros(0)).unwrap();
    log.commit(Durability::Sync).unwrap();
    log
}

/// A peer that replaces its log, and answers as if the new one had been there all along.
struct Rewriter(Mutex<Log>);

impl Rewriter {
    fn show(&self, to: Log) {
        *self.0.lock().unwrap() = to;
    }
}

impl Tamper for Rewriter {
    fn answer(&self, request: &FetchRequest, _: FetchReply) -> Option<Vec<FetchReply>> {
        let view = self.0.lock().unwrap().reader();
        Some(vec![view.answer(request).unwrap()])
    }

    fn identity(&self, _: Identity) -> Identity {
        self.0.lock().unwrap().reader().identity(Timestamp::now())
    }
}

/// A floor in MiB at which this disk is worth a warning and peers are still pulled.
fn nearly_full() -> u64 {
    let stat = nix::sys::statvfs::statvfs(&std::env::temp_dir()).unwrap();
    let free = stat.blocks_available() * stat.fragment_size() / MIB;
    free * 5 / 8
}

/// The value of a metric, given with its labels.
fn gauge(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in: {text}")).parse::<f64>().unwrap() as u64
}

#[test]
fn a_peer_that_keeps_forking_fills_no_disk_and_is_named_before_the_space_is_gone() {
    let mut hub = Forger::new("hub", &[]);
    let event =
        |n| Forged { keys: seeded_keys(n), epoch: Epoch::new(1), id: id(u64::from(n)), subject: "doc/1", data: "1" };
    hub.write(&(1..=ORIGINS).map(event).collect::<Vec<_>>());
    let rewriter = Arc::new(Rewriter(Mutex::new(version(0))));
    let mallory = Byzantine::new(Arc::clone(&rewriter) as Arc<dyn Tamper>);
    let ((port, metrics), floor) = (ports(), nearly_full());
    let bravo = Place::new(&format!(
        "node: {{ name: bravo, data_dir: data, min_free_mib: {floor} }}\nlisten: {{ https: \"127.0.0.1:{port}\", metrics: \
         \"127.0.0.1:{metrics}\" }}\nfederation:\n  interval: 1s\n  allow_plaintext_loopback: true\n  peers:\n    - {{ name: hub, \
         endpoint: \"http://127.0.0.1:{}\" }}\n    - {{ name: mallory, endpoint: \"http://127.0.0.1:{}\" }}\n",
        hub.port(),
        mallory.port()
    ));
    let serving = bravo.serve();
    for n in 0..=VERSIONS {
        rewriter.show(version(n));
        until("bravo takes the version", || {
            (bravo.json(&["status"])["events"] == u64::from(ORIGINS) + 1 + n).then_some(())
        });
    }
    let status = until("the store flushes evidence to its files", || {
        let status = bravo.json(&["status"]);
        status["evidence_bytes"].as_u64().is_some_and(|bytes| bytes > 0).then_some(status)
    });
    assert_eq!(status["forks"], ORIGINS, "each fork is known, also without evidence: {status}");
    // The peer showed 63 MiB. Replaced evidence stays in files until they are compacted.
    let bytes = status["evidence_bytes"].as_u64().unwrap();
    assert!(bytes < 2 * KEPT, "{bytes}");
    let brought = status["brought"].as_array().unwrap().iter().find(|one| one["peer"] == "mallory").unwrap();
    assert!(brought["origins"] == 1 && brought["bytes"].as_u64().unwrap() > 2 * MIB, "{status}");
    let largest = &status["largest_origins"][0];
    assert_eq!(
        (&largest["origin"], &largest["brought_by"]),
        (&unforked().origin().to_string().into(), &"mallory".into())
    );

    let trouble = status["disk_trouble"].as_str().unwrap();
    let largest = format!("The largest origin is {} with 2 MiB.", unforked().origin());
    for part in ["The most, 2 MiB, came from peer mallory.", &largest, "Evidence of forks has "] {
        assert!(trouble.contains(part), "{part} is not in: {trouble}");
    }
    for command in ["status", "doctor"] {
        let (_, out, _) = bravo.run(&[command]);
        assert!(out.contains("came from peer mallory"), "{command}: {out}");
    }
    let text = scraped(metrics);
    assert!(gauge(&text, "antiphon_peer_brought_bytes{cortex=\"bravo\",peer=\"mallory\"}") > 2 * MIB, "{text}");
    assert!(
        gauge(&text, &format!("antiphon_origin_bytes{{cortex=\"bravo\",origin=\"{}\"}}", unforked().origin()))
            > 2 * MIB,
        "{text}"
    );
    let bytes = gauge(&text, "antiphon_store_bytes{cortex=\"bravo\",family=\"evidence\"}");
    assert!(bytes > 0 && bytes < 2 * KEPT, "{bytes}");

    assert_eq!(serving.terminate(), 0);
    let store = RocksStore::open_with(bravo.dir.path().join("data"), Create::Never).unwrap();
    assert_eq!(forks(&store).unwrap().len(), usize::from(ORIGINS));
    let mut kept = 0;
    let all = store.scan(Family::Evidence, KeyRange::prefix(&[]), &mut |key, value| {
        kept += (key.len() + value.len()) as u64;
        ControlFlow::Continue(())
    });
    all.unwrap();
    assert!(kept > KEPT / 2 && kept <= KEPT, "{kept} bytes of evidence");
}
