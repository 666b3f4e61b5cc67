//! Readers get each event of the log, whether it can be read here or not, and nothing of the system's own.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{Absence, EventRef, RecordRef};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::{Draft, EventBytes};
use antiphon_kernel::ids::Dot;
use antiphon_kernel::internals::log::Bounded;
use antiphon_kernel::internals::replay::ReplayCore;
use antiphon_kernel::log::{EntryContent, LogEntry, LogReader, Unread, verify};
use antiphon_kernel::protocol::FetchReply;
use antiphon_kernel::replay::latest::{self, LatestBySubject};
use antiphon_kernel::service::Credential;
use antiphon_kernel::store::{Durability, Family, Store};
use antiphon_kernel::testing::{MemoryStore, rewrite, seeded_keys};
use antiphon_kernel::time::Timestamp;
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::support::{Node, two};

const NOW: Timestamp = Timestamp::from_micros(5_000_000);

fn less(record: &EventBytes, why: Absence) -> EventBytes {
    RecordRef::decode(record).unwrap().without(None, Some(why))
}

/// A node that holds a whole event, one without its data, a record of the system's own, one of a newer version, an erased one,
/// and two more of the system's own.
fn node() -> (Node, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let mut nodes =
        vec![Node::new(0, 2, Arc::new(MemoryStore::new())), Node::new(1, 2, Arc::clone(&store) as Arc<dyn Store>)];
    for subject in ["a", "b", "c", "d", "e", "f", "g"] {
        nodes[0].append(subject, &VClock::new(), NOW, Durability::Sync);
    }
    let (bravo, alpha) = two(&mut nodes, 1, 0);
    let (asked, reply) = bravo.ask(alpha, 10, false);
    let FetchReply::Batch(mut batch) = reply else { panic!("{reply:?}") };
    let by = Dot::new(alpha.log.reader().local().origin(), 1).unwrap();
    // What a newer version writes of the system's own may have attributes.
    let system = |record: &EventBytes| EventBytes::from([&[3, 1], &record[2..]].concat());
    rewrite(&mut batch, seeded_keys(1), |record| match EventRef::decode_dot(record).unwrap().1.counter() {
        2 => less(record, Absence::Missing),
        4 => [&[3], &record[1..]].concat().into(),
        5 => less(record, Absence::Erased { by }),
        3 | 6 | 7 => system(record),
        _ => record.clone(),
    });
    bravo.take(0, &asked, &FetchReply::Batch(batch), Durability::Sync).unwrap();
    (nodes.remove(1), store)
}

fn seqs(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.get()).collect()
}

fn at(view: &LogReader, seq: u64) -> Option<Cursor> {
    view.entry(Seq::new(seq)).unwrap().unwrap().cursor().unwrap()
}

#[test]
fn a_page_has_each_event_and_the_cursor_passes_the_rest() {
    let (node, _) = node();
    let view = node.log.reader();
    assert!(verify(&view).unwrap().is_clean());
    let page = view.page(None, 10, usize::MAX).unwrap();
    assert_eq!((seqs(&page.entries), page.next), (vec![1, 2, 4, 5], page.head));
    let why = |entry: &LogEntry| match entry.content().unwrap() {
        EntryContent::Event(_) => None,
        EntryContent::Unread(record, why) => {
            assert_eq!(record.dot.counter(), entry.seq.get());
            Some(why)
        }
        other => panic!("{other:?}"),
    };
    let whys: Vec<_> = page.entries.iter().map(why).collect();
    assert_eq!(whys, [None, Some(Unread::Missing), Some(Unread::Newer), Some(Unread::Erased)]);
    let system = view.entry(Seq::new(3)).unwrap().unwrap();
    assert!(matches!(system.content(), Ok(EntryContent::System(_))) && system.to_cloud_event().is_err());
    // One at a time, each cursor leads on.
    let (mut cursor, mut read) = (None, Vec::new());
    loop {
        let page = view.page(cursor.as_ref(), 1, usize::MAX).unwrap();
        read.extend(seqs(&page.entries));
        cursor = Some(page.next);
        if page.next == page.head {
            break;
        }
    }
    assert_eq!(read, [1, 2, 4, 5]);
    // Only records of the system's own are left: the page is empty, and its cursor is the head.
    let page = view.page(at(&view, 5).as_ref(), 10, usize::MAX).unwrap();
    assert_eq!((page.entries.len(), page.next), (0, page.head));
}

#[test]
fn an_event_that_cannot_be_read_is_a_cloud_event_that_says_why() {
    let (node, _) = node();
    let view = node.log.reader();
    for (seq, why) in [(2, "missing"), (4, "newer"), (5, "erased")] {
        let entry = view.entry(Seq::new(seq)).unwrap().unwrap();
        let text: Value = serde_json::from_str(&entry.to_cloud_event().unwrap().into_string()).unwrap();
        let record = entry.read().unwrap();
        assert_eq!((&text["type"], &text["antiphonabsent"]), (&"antiphon.absent".into(), &why.into()));
        assert_eq!((&text["specversion"], &text["id"]), (&"1.0".into(), &record.id.to_string().into()));
        assert_eq!(text["antiphoncursor"], at(&view, seq).unwrap().to_string());
        assert_eq!(
            (&text["antiphonseq"], &text["antiphoncounter"]),
            (&seq.to_string().into(), &seq.to_string().into())
        );
        assert!(text["source"].as_str().unwrap().starts_with("urn:antiphon:"));
        assert!(text.get("data").is_none() && text.get("data_base64").is_none());
        let alone: Value = serde_json::from_str(&entry.to_cloud_event_alone().unwrap().into_string()).unwrap();
        assert!(alone.get("antiphonseq").is_none() && alone["antiphonabsent"] == why);
    }
}

#[tokio::test]
async fn streams_and_pages_of_text_leave_out_the_systems_own() {
    let (node, store) = node();
    drop(node);
    let cortex = Cortex::builder(store).start().await.unwrap();
    let page = cortex
        .service()
        .admit(&Credential::Key(None))
        .unwrap()
        .page(None, 10, std::time::Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((page.events, page.next.seq), (4, Seq::new(7)));
    let (next, bytes) = (page.next, page.bytes);
    let pieces: Vec<_> = page.into_pieces().map(|piece| piece.unwrap()).collect().await;
    let text = pieces.concat();
    assert_eq!(text.len() as u64, bytes, "as it was measured");
    let events: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let absent: Vec<_> = events.iter().map(|event| event["antiphonabsent"].as_str().unwrap_or("")).collect();
    assert_eq!(absent, ["", "missing", "newer", "erased"]);
    let one = cortex
        .service()
        .admit(&Credential::Key(None))
        .unwrap()
        .page(None, 2, std::time::Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let rest = cortex
        .service()
        .admit(&Credential::Key(None))
        .unwrap()
        .page(Some(one.next), 2, std::time::Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((one.events, rest.events), (2, 2));
    // The stream waits behind the last of them, and continues with what comes.
    let mut stream = Box::pin(cortex.subscribe(None).map(|entry| entry.unwrap().seq.get()));
    assert_eq!(stream.by_ref().take(4).collect::<Vec<_>>().await, [1, 2, 4, 5]);
    let (appended, followed) = tokio::join!(cortex.append(Draft::new("t", "h")), stream.next());
    assert_eq!((appended.unwrap().seq, followed), (Seq::new(8), Some(8)));
    let last = cortex
        .service()
        .admit(&Credential::Key(None))
        .unwrap()
        .page(Some(next), 10, std::time::Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((last.events, last.next.seq), (1, Seq::new(8)));
    cortex.stop().await;
}

/// The newest event of a subject may lose a part after it was replayed.
#[test]
fn the_newest_event_of_a_subject_is_shown_without_its_parts() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    node.append("a", &VClock::new(), NOW, Durability::Sync);
    let view = node.log.reader();
    let mut replay = ReplayCore::open(view.clone(), Box::new(LatestBySubject::default())).unwrap();
    replay.step().unwrap();
    let value = store.get(Family::Log, &1_u64.to_be_bytes()).unwrap().unwrap();
    let whole = view.entry(Seq::new(1)).unwrap().unwrap().record;
    let record = less(&whole, Absence::Missing);
    // The segment has one entry, and its table ends with the length of the record.
    let table = value.len() - whole.len() - 1;
    let length = u8::try_from(record.len()).unwrap();
    store.tamper(Family::Log, &1_u64.to_be_bytes(), Some(&[&value[..table], &[length], &record[..]].concat()));
    let page = latest::read(&*store, None, None, 10).unwrap();
    let Some(Bounded::Whole(entry)) = page.found[0].find(&view, usize::MAX).unwrap() else { panic!("{page:?}") };
    let text: Value = serde_json::from_str(&page.found[0].text(&entry).unwrap().into_string()).unwrap();
    assert_eq!((&text["subject"], &text["antiphonabsent"]), (&"a".into(), &"missing".into()));
    assert_eq!((&text["type"], &text["concurrent"]), (&"antiphon.absent".into(), &false.into()));
}
