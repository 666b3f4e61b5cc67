//! The largest events, from the append to the peer that reads them.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::event::{Draft, InvalidDraft, MAX_EVENT_BYTES, MAX_EXTENSIONS};
use antiphon_kernel::ids::{Dot, EventId};
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record};
use antiphon_kernel::internals::log::{EpochEnd, Log, LogOptions};
use antiphon_kernel::log::AppendError;
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::Node;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A draft whose record will have this size.
fn sized(bytes: usize, extensions: usize, deps: &VClock, dot: Dot) -> Draft {
    let mut draft = Draft::new("test.happened", vec![]).subject("large");
    draft.extensions = (0..extensions).map(|n| (format!("x{n}"), "v".repeat(1024).into())).collect();
    let assigned = EncodedDraft { id: EventId::from_parts(1, 1), dot, deps, time: NOW };
    let size = |draft: &Draft| encode_record(&draft.clone().time(Timestamp::from_micros(1000)), &assigned).len();
    draft.data = vec![7; bytes - size(&draft)].into();
    let over = size(&draft) - bytes;
    draft.data = draft.data.slice(over..);
    draft
}

/// Found from outside: events of the last 57 bytes below the bound were acknowledged, and not read again by anybody.
#[test]
fn what_is_acknowledged_is_read_here_and_by_peers() {
    let stores: Vec<Arc<dyn Store>> = (0..2).map(|_| Arc::new(MemoryStore::new()) as Arc<dyn Store>).collect();
    let (mut writer, mut reader) = (Node::new(0, 2, Arc::clone(&stores[0])), Node::new(1, 2, Arc::clone(&stores[1])));
    for _ in 0..40 {
        reader.append("seen", &VClock::new(), NOW, Durability::Sync);
        reader.log.begin_epoch(EpochEnd::Restored, NOW).unwrap();
        reader.log.commit(Durability::Sync).unwrap();
    }
    writer.pull(&reader).unwrap();
    let seen: Vec<_> = writer.log.reader().heads().iter().map(|(origin, head)| (origin, head.counter)).collect();
    let seen = VClock::from_sorted(&seen).unwrap();
    let options = LogOptions { max_append_bytes: MAX_EVENT_BYTES, ..LogOptions::default() };
    writer.log = Log::open(Arc::clone(&stores[0]), options).unwrap();
    let origin = writer.log.reader().local().origin();
    // With deps in the first event alone: what they name is known after it.
    let mut deps = seen.clone();
    for (number, (below, extensions)) in [(0, 0), (0, MAX_EXTENSIONS), (1, 1), (57, 0)].into_iter().enumerate() {
        let dot = Dot::new(origin, number as u64 + 1).unwrap();
        let over = sized(MAX_EVENT_BYTES + 1, extensions, &deps, dot);
        let refused = writer.log.append(&[over], &seen, NOW).unwrap_err();
        let AppendError::Draft { source: InvalidDraft::TooLarge { bytes, .. }, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!(bytes, MAX_EVENT_BYTES + 1);
        let draft = sized(MAX_EVENT_BYTES - below, extensions, &deps, dot);
        let appended = writer.log.append(std::slice::from_ref(&draft), &seen, NOW).unwrap().remove(0);
        writer.log.commit(Durability::Sync).unwrap();
        let entry = writer.log.reader().entry(appended.seq).unwrap().unwrap();
        assert_eq!((entry.record.len(), entry.event().unwrap().deps.len()), (MAX_EVENT_BYTES - below, deps.len()));
        let (asked, reply) = reader.ask(&writer, 10, false);
        let frame = encode(&Message::Reply(reply));
        let Message::Reply(reply) = decode(&frame).unwrap() else { panic!("another message came out") };
        assert_eq!(reader.take(0, &asked, &reply, Durability::Sync).unwrap().map(|taken| taken.stored), Some(1));
        let view = reader.log.reader();
        let there = view.entry(view.find(appended.id).unwrap().unwrap()).unwrap().unwrap();
        assert_eq!(there.event().unwrap().data, &draft.data[..]);
        deps = VClock::new();
    }
}
