//! A payload is bytes: on its way into a log, out of it, into a page, into the answers to commands and past the node's
//! replayer, few bytes are allocated for each byte of its record. A tree of what only has to be passed on would take a hundred times its text.
//!
//! A binary of its own with one test, because the counter counts the whole process.

#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::budget::Account;
use antiphon_kernel::clock::VClock;
use antiphon_kernel::config::{FederationMode, SharedKey};
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::{CloudEventText, Draft, EventBytes, MAX_EVENT_BYTES, from_cloud_event};
use antiphon_kernel::internals::log::{Bounded, Log, LogOptions, event_outside, keys_outside};
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::log::LogEntry;
use antiphon_kernel::replay::latest::{self, LatestBySubject};
use antiphon_kernel::service::Credential;
use antiphon_kernel::service::{HeldText, PageError, Service};
use antiphon_kernel::store::{Batch, Durability, Family, Store, StoreError};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};
use futures_util::StreamExt as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1024 * 1024;
/// For each byte of a record, so many bytes may be allocated on one path, freed ones included.
const FACTOR: usize = 4;
/// Room for buffers whose size does not depend on the record.
const FIXED: usize = 512 * 1024;
/// How many bytes of a text the admin socket takes at a time.
const PIECE: usize = 64 * 1024;

fn allocated<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(ALLOCATOR);
    let made = work();
    (region.change().bytes_allocated, made)
}

/// Copies the only event of the log to where events are that were set aside: the value is a version, the time it joined and the
/// record, and the key is `a`, an epoch and the sequence number.
fn set_aside(store: &dyn Store, entry: &LogEntry) {
    let mut changes = Batch::new();
    let key = [&b"a"[..], &1_u64.to_be_bytes(), &entry.seq.get().to_be_bytes()].concat();
    let joined = entry.joined.as_micros().to_be_bytes();
    changes.put_parts(Family::Evidence, &key, &[&[2], &joined, &entry.record]);
    store.commit(&changes, Durability::Sync).unwrap();
}

/// Takes a text a piece at a time, as the admin socket does; returns its length.
fn taken(mut text: HeldText) -> usize {
    let (mut piece, mut bytes) = (Vec::with_capacity(2 * PIECE), 0);
    loop {
        let more = text.fill(&mut piece, PIECE);
        bytes += piece.len();
        piece.clear();
        if !more {
            assert_eq!(bytes, text.length());
            return bytes;
        }
    }
}

/// What a command takes of one event, found by `read` and made into text by `make`.
fn command(
    runtime: &Runtime,
    service: &Service,
    read: impl Fn(usize) -> Result<Option<Bounded<LogEntry>>, StoreError> + Clone + Send + 'static,
    make: impl FnOnce(&LogEntry) -> Result<CloudEventText<EventBytes>, StoreError> + Clone + Send + 'static,
) -> (usize, usize) {
    let read = move |bytes| Ok::<_, PageError>(read(bytes)?.unwrap());
    let text = async { service.text(&Account::Commands, read, move |entry| Ok(make(entry).unwrap())).await };
    allocated(|| taken(runtime.block_on(text).unwrap()))
}

/// Payloads of 3 MiB that are small as text and large as anything else, by content type.
fn payloads() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let size = 3 * MIB;
    let objects = format!("[{}{{}}]", r#"{"":0},"#.repeat(size / 7));
    let deep = "[".repeat(size / 2) + &"]".repeat(size / 2);
    let lines = format!("[{}0]", "0,\n".repeat(size / 3));
    let text: String = "line\n\"quoted\"\t€ ".repeat(size / 18);
    vec![
        ("many objects", "application/json", objects.into_bytes()),
        ("deep nesting", "application/json", deep.into_bytes()),
        ("line breaks", "application/vnd.x+json", lines.into_bytes()),
        ("text", "text/plain", text.into_bytes()),
        ("bytes", "application/octet-stream", (0..size).map(|n| (n % 251) as u8).collect()),
        ("no JSON", "application/json", vec![b'{'; size]),
    ]
}

#[test]
fn no_path_allocates_more_than_a_few_bytes_for_each_of_a_record() {
    assert!(allocated(|| vec![1_u8; 3 * MIB]).0 >= 3 * MIB, "the allocator does not count");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let mut beyond = Vec::new();
    for (name, content_type, data) in payloads() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RocksStore::open_with(dir.path(), Create::IfMissing).unwrap());
        Log::begin(&*store, "alpha", None).unwrap();
        let options = LogOptions { max_append_bytes: MAX_EVENT_BYTES, ..LogOptions::default() };
        let mut log = Log::open(Arc::clone(&store), options).unwrap();
        let mut draft = Draft::new("t", data).subject("s");
        draft.datacontenttype = Some(content_type.to_owned());
        let (append, _) = allocated(|| {
            log.append(std::slice::from_ref(&draft), &VClock::new(), Timestamp::now()).unwrap();
            log.commit(Durability::Sync).unwrap();
        });
        let view = log.reader();
        let (one, entry) = allocated(|| view.entry(Seq::new(1)).unwrap().unwrap());
        let size = entry.record.len();
        let (out, text) = allocated(|| entry.to_cloud_event().unwrap().into_string());
        let (into, again) = allocated(|| from_cloud_event(&text).unwrap());
        assert_eq!(again.data.len(), draft.data.len());
        let service = Service::new(view.clone(), SharedKey::default(), FederationMode::Sync);
        let (page, bytes) = allocated(|| {
            runtime.block_on(async {
                let page = service
                    .admit(&Credential::Key(None))
                    .unwrap()
                    .page(None, 10, Duration::ZERO)
                    .await
                    .unwrap()
                    .unwrap();
                let (announced, mut bytes) = (page.bytes, 0);
                let mut pieces = std::pin::pin!(page.into_pieces());
                while let Some(piece) = pieces.next().await {
                    bytes += piece.unwrap().len() as u64;
                }
                assert_eq!(bytes, announced);
                bytes
            })
        });
        assert_eq!(bytes, text.len() as u64 + 2);
        let (log_page, bytes) = allocated(|| {
            runtime.block_on(async {
                let mut texts = service.command_page(None, 10, 1 << 22).await.unwrap().into_texts();
                let bytes = taken(texts.next().await.unwrap().unwrap());
                assert!(texts.next().await.unwrap().is_none());
                bytes
            })
        });
        assert_eq!(bytes, text.len());
        let mut replay = ReplayCore::open(view.clone(), Box::new(LatestBySubject::default())).unwrap();
        let (replayed, step) = allocated(|| replay.step().unwrap());
        assert!(matches!(step, ReplayStep::Replayed(1)), "{step:?}");
        let (listed, mut newest) = allocated(|| latest::read(&*store, Some("s"), None, 10).unwrap().found);
        let newest = newest.pop().unwrap();
        let (wanted, from) = (newest.clone(), view.clone());
        let (newest_text, _) =
            command(&runtime, &service, move |bytes| wanted.find(&from, bytes), move |entry| newest.text(entry));
        let (from, id) = (view.clone(), entry.id().unwrap());
        let (by_id, _) =
            command(&runtime, &service, move |bytes| from.find_within(id, bytes), LogEntry::to_cloud_event_alone);
        set_aside(&*store, &entry);
        let (keys, mut outside) = allocated(|| keys_outside(&*store, 0, 10, MIB).unwrap());
        let (from, key) = (Arc::clone(&store), outside.pop().unwrap());
        let read = move |bytes| event_outside(&*from, &key, bytes);
        let (evidence, _) = command(&runtime, &service, read, LogEntry::to_cloud_event);
        let paths = [
            ("append", append),
            ("read", one),
            ("out", out),
            ("import", into),
            ("GET /v1/events", page),
            ("log", log_page),
            ("replay", replayed),
            ("view", listed + newest_text),
            ("conflicts", by_id),
            ("fork evidence", keys + evidence),
        ];
        for (path, spent) in paths {
            eprintln!("{name}, {path}: {:.2} bytes a byte", spent as f64 / size as f64);
            if spent > FACTOR * size + FIXED {
                beyond.push(format!("{name}, {path}: {spent} bytes allocated for a record of {size}"));
            }
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}
