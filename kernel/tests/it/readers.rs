//! Readers of a log whose history changes under them: each event comes at least once, or the reader gets to know.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::log::{Log, LogOptions, salvage};
use antiphon_kernel::log::{CursorUnknown, LogReader, Mismatch, ReadError};
use antiphon_kernel::store::{Durability, Family, Store};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;
use futures_util::StreamExt as _;

use crate::support::{Node, shown_fork};

fn now() -> Timestamp {
    Timestamp::from_micros(5_000_000)
}

fn node(n: usize) -> (Arc<MemoryStore>, Node) {
    let store = Arc::new(MemoryStore::new());
    let node = Node::new(n, 2, Arc::clone(&store) as Arc<dyn Store>);
    (store, node)
}

fn append(log: &mut Log, subjects: &[&str]) {
    for subject in subjects {
        let draft = Draft::new("t", (*subject).to_owned()).subject(*subject);
        log.append(&[draft], &VClock::new(), now()).unwrap();
        log.commit(Durability::Sync).unwrap();
    }
}

/// What a reader gets that reads to the end, and where it is then.
fn read(view: &LogReader, after: Option<Cursor>) -> Result<(Vec<String>, Cursor), CursorUnknown> {
    let (mut subjects, mut at) = (Vec::new(), after);
    loop {
        let page = match view.page(at.as_ref(), 2, usize::MAX) {
            Ok(page) => page,
            Err(ReadError::CursorUnknown(unknown)) => return Err(unknown),
            Err(error) => panic!("{error}"),
        };
        subjects.extend(page.entries.iter().map(|entry| entry.event().unwrap().subject.to_owned()));
        at = Some(page.next);
        if page.entries.is_empty() {
            assert_eq!(page.next, page.head);
            return Ok((subjects, page.next));
        }
    }
}

/// The cursor at a sequence number, as a reader got it with the event.
fn at(view: &LogReader, seq: u64) -> Cursor {
    view.entry(Seq::new(seq)).unwrap().unwrap().cursor().unwrap().unwrap()
}

#[test]
fn a_reader_continues_after_any_event() {
    let (_, mut node) = node(0);
    append(&mut node.log, &["a", "b", "c", "d", "e"]);
    let view = node.log.reader();
    assert_eq!(read(&view, None).unwrap().0, ["a", "b", "c", "d", "e"]);
    assert_eq!(read(&view, Some(at(&view, 2))).unwrap().0, ["c", "d", "e"]);
    let (none, end) = read(&view, Some(at(&view, 5))).unwrap();
    assert_eq!((none.len(), end), (0, view.head_cursor()));
    let text = end.to_string();
    node.restart();
    append(&mut node.log, &["f"]);
    assert_eq!(read(&node.log.reader(), Some(text.parse().unwrap())).unwrap().0, ["f"], "over a restart");
}

#[test]
fn after_a_restore_what_was_read_beyond_the_backup_is_unknown_and_the_rest_goes_on() {
    let (store, mut node) = node(0);
    append(&mut node.log, &["a", "b", "c"]);
    let backup = store.durable_copy();
    append(&mut node.log, &["d", "e", "f"]);
    let view = node.log.reader();
    let cursors: Vec<_> = (1..=6).map(|seq| at(&view, seq)).collect();
    let mut restored = Log::open(Arc::new(backup), LogOptions { restored: true, ..LogOptions::default() }).unwrap();
    append(&mut restored, &["new 4", "new 5", "new 6", "new 7"]);
    let view = restored.reader();
    for cursor in &cursors[..3] {
        let rest = ["a", "b", "c", "new 4", "new 5", "new 6", "new 7"];
        assert_eq!(read(&view, Some(*cursor)).unwrap().0, rest[usize::try_from(cursor.seq.get()).unwrap()..]);
    }
    for cursor in &cursors[3..] {
        let unknown = read(&view, Some(*cursor)).unwrap_err();
        assert_eq!((unknown.cursor, unknown.mismatch), (*cursor, Mismatch::Changed { shared: Seq::new(3) }));
        assert_eq!(read(&view, Some(unknown.resume)).unwrap().0, ["new 4", "new 5", "new 6", "new 7"]);
    }
}

#[test]
fn a_log_that_was_set_back_in_silence_is_told_from_the_one_that_was_read() {
    let (store, mut node) = node(0);
    append(&mut node.log, &["a", "b"]);
    let image = store.durable_copy();
    append(&mut node.log, &["c", "d", "e"]);
    let view = node.log.reader();
    let (third, fifth) = (at(&view, 3), at(&view, 5));
    let mut back = Log::open(Arc::new(image), LogOptions::default()).unwrap();
    assert_eq!(back.reader().local().epoch, third.epoch, "it does not know");
    let beyond = read(&back.reader(), Some(fifth)).unwrap_err();
    assert_eq!(beyond.mismatch, Mismatch::Beyond { head: Seq::new(2) });
    assert_eq!(read(&back.reader(), Some(beyond.resume)).unwrap().0, ["a", "b"]);
    append(&mut back, &["other c"]);
    let other = read(&back.reader(), Some(third)).unwrap_err();
    assert_eq!(other.mismatch, Mismatch::Witness);
    assert_eq!(read(&back.reader(), Some(other.resume)).unwrap().0, ["a", "b", "other c"]);
}

/// After a rollback peers' events may come in another order, and the one at the reader's sequence number be the same all the same.
#[test]
fn a_witness_that_fits_does_not_count_once_a_rollback_is_known() {
    let (store, mut zero) = node(0);
    let (_, mut one) = node(1);
    append(&mut zero.log, &["own"]);
    let image = store.durable_copy();
    append(&mut zero.log, &["lost"]);
    one.pull(&zero).unwrap();
    append(&mut one.log, &["theirs"]);
    zero.pull(&one).unwrap();
    let read_before = at(&zero.log.reader(), 3);
    let mut set_back = Node::over(0, Arc::new(image) as Arc<dyn Store>);
    set_back.pull(&one).unwrap();
    let view = set_back.log.reader();
    assert_eq!(at(&view, 3).last_event, read_before.last_event);
    assert_ne!(view.local().epoch, read_before.epoch);
    let unknown = read(&view, Some(read_before)).unwrap_err();
    assert_eq!(unknown.mismatch, Mismatch::Changed { shared: Seq::new(1) });
    assert_eq!(read(&view, Some(unknown.resume)).unwrap().0.len(), 2);
}

#[test]
fn a_lost_tail_is_told_to_readers_of_what_was_lost() {
    let (store, node) = node(0);
    let mut log = node.log;
    append(&mut log, &["a", "b", "c"]);
    let image = store.durable_copy();
    append(&mut log, &["d", "e"]);
    let view = log.reader();
    let (third, fifth) = (at(&view, 3), at(&view, 5));
    // While it runs.
    store.reopen_as(&image);
    store.fail_commits([CommitFault::Lost]);
    let draft = Draft::new("t", "refused");
    log.append(&[draft], &VClock::new(), now()).unwrap();
    assert!(log.commit(Durability::Sync).is_err());
    log.recover().unwrap();
    append(&mut log, &["new d", "new e", "new f"]);
    let unknown = read(&view, Some(fifth)).unwrap_err();
    assert_eq!(unknown.mismatch, Mismatch::Changed { shared: Seq::new(3) });
    assert_eq!(read(&view, Some(third)).unwrap().0, ["new d", "new e", "new f"]);
    // And after a restart.
    let log = Log::open(Arc::clone(&store) as Arc<dyn Store>, LogOptions::default()).unwrap();
    assert_eq!(read(&log.reader(), Some(fifth)).unwrap_err().mismatch, unknown.mismatch);
}

#[test]
fn a_copy_goes_on_for_readers_of_what_was_copied() {
    let (store, mut node) = node(0);
    append(&mut node.log, &["a", "b"]);
    let copy = store.durable_copy();
    append(&mut node.log, &["c"]);
    copy.move_to(7);
    // What was noted of how far it was durable went with it.
    let mut log = Log::open(Arc::new(copy), LogOptions::default()).unwrap();
    append(&mut log, &["other c"]);
    let view = node.log.reader();
    assert_eq!(read(&log.reader(), Some(at(&view, 2))).unwrap().0, ["other c"]);
    assert_eq!(
        read(&log.reader(), Some(at(&view, 3))).unwrap_err().mismatch,
        Mismatch::Changed { shared: Seq::new(2) }
    );
}

/// Two histories of node 0's origin: the reader of node 1 has read events that leave the log.
#[test]
fn a_fork_that_is_resolved_keeps_the_cursors_before_it() {
    let (store, mut zero) = node(0);
    let (_, mut one) = node(1);
    append(&mut one.log, &["first here"]);
    append(&mut zero.log, &["one"]);
    let twin_store = Arc::new(store.durable_copy());
    let mut twin = Node::over(0, twin_store as Arc<dyn Store>);
    append(&mut zero.log, &["two", "three"]);
    append(&mut twin.log, &["other two"]);
    one.pull(&zero).unwrap();
    append(&mut one.log, &["last here"]);
    let view = one.log.reader();
    assert_eq!(read(&view, None).unwrap().0, ["first here", "one", "two", "three", "last here"]);
    let cursors: Vec<_> = (1..=5).map(|seq| at(&view, seq)).collect();
    let origin = zero.log.reader().local().origin();
    let finding = shown_fork(0, &twin.log.reader(), origin, 2);
    let fork = one.log.note_fork(&finding, now()).unwrap().fork;
    one.log.commit(Durability::Sync).unwrap();
    assert!(read(&view, Some(cursors[4])).is_ok(), "nothing has changed here yet");
    assert_eq!(one.log.resolve_fork(fork.theirs, now()).unwrap().set_aside, 2);
    for cursor in &cursors[..2] {
        let rest = ["first here", "one", "last here"];
        assert_eq!(read(&view, Some(*cursor)).unwrap().0, rest[usize::try_from(cursor.seq.get()).unwrap()..]);
    }
    for cursor in &cursors[2..] {
        let unknown = read(&view, Some(*cursor)).unwrap_err();
        assert_eq!(unknown.mismatch, Mismatch::Changed { shared: Seq::new(2) });
        assert_eq!(read(&view, Some(unknown.resume)).unwrap().0, ["last here"]);
    }
}

#[tokio::test]
async fn a_stream_ends_with_an_error_where_what_it_gave_has_changed_and_goes_on_where_not() {
    let (store, mut zero) = node(0);
    let (_, mut one) = node(1);
    append(&mut zero.log, &["one"]);
    let mut twin = Node::over(0, Arc::new(store.durable_copy()) as Arc<dyn Store>);
    append(&mut zero.log, &["two"]);
    append(&mut twin.log, &["other two"]);
    one.pull(&zero).unwrap();
    let view = one.log.reader();
    let (mut early, mut late) = (Box::pin(view.follow(None)), Box::pin(view.follow(None)));
    // The early one has a page with both; it was read to its end by the late one.
    for _ in 0..2 {
        late.next().await.unwrap().unwrap();
    }
    let first = early.next().await.unwrap().unwrap();
    let mut behind = Box::pin(view.follow(first.cursor().unwrap()));
    let origin = zero.log.reader().local().origin();
    let finding = shown_fork(0, &twin.log.reader(), origin, 2);
    let fork = one.log.note_fork(&finding, now()).unwrap().fork;
    one.log.commit(Durability::Sync).unwrap();
    one.log.resolve_fork(fork.theirs, now()).unwrap();
    append(&mut one.log, &["new"]);
    assert!(matches!(late.next().await, Some(Err(ReadError::CursorUnknown(_)))));
    assert!(late.next().await.is_none());
    assert_eq!(behind.next().await.unwrap().unwrap().event().unwrap().subject, "new");
}

#[test]
fn a_repair_keeps_the_cursors_before_the_damage() {
    let (store, mut node) = node(0);
    append(&mut node.log, &["a", "b", "c", "d"]);
    let view = node.log.reader();
    let (second, fourth) = (at(&view, 2), at(&view, 4));
    let old_epoch = node.log.reader().local().epoch;
    drop(node);
    store.tamper(Family::Log, &3_u64.to_be_bytes(), Some(b"\x01damaged"));
    let repaired = Arc::new(MemoryStore::new());
    let salvaged = salvage(&*store, Arc::clone(&repaired) as Arc<dyn Store>, now()).unwrap();
    assert_eq!((salvaged.kept, salvaged.waiting, salvaged.unmoved), (2, 1, 2));
    let log = Log::open(repaired, LogOptions::default()).unwrap();
    assert_ne!(log.reader().local().epoch, old_epoch);
    assert_eq!(read(&log.reader(), Some(second)).unwrap().0.len(), 0);
    assert_eq!(read(&log.reader(), Some(fourth)).unwrap_err().mismatch, Mismatch::Changed { shared: Seq::new(2) });
}

/// A clone learns that it is one after its epoch has ended for another reason.
#[test]
fn a_fork_of_an_earlier_epoch_shows_where_its_cursors_end() {
    let (store, mut zero) = node(0);
    append(&mut zero.log, &["a"]);
    let twin_store = Arc::new(store.durable_copy());
    append(&mut zero.log, &["b", "c", "d"]);
    let mut twin = Node::over(0, Arc::clone(&twin_store) as Arc<dyn Store>);
    append(&mut twin.log, &["other b", "other c"]);
    drop(twin);
    let restored = LogOptions { restored: true, ..LogOptions::default() };
    let mut twin = Log::open(twin_store as Arc<dyn Store>, restored).unwrap();
    let (first, fourth) = (at(&zero.log.reader(), 1), at(&zero.log.reader(), 4));
    let before = read(&twin.reader(), Some(fourth)).unwrap_err();
    assert_eq!(before.mismatch, Mismatch::Changed { shared: Seq::new(3) }, "it cannot know yet");
    let origin = zero.log.reader().local().origin();
    let finding = shown_fork(1, &zero.log.reader(), origin, 2);
    twin.note_fork(&finding, now()).unwrap();
    twin.commit(Durability::Sync).unwrap();
    let unknown = read(&twin.reader(), Some(fourth)).unwrap_err();
    assert_eq!(unknown.mismatch, Mismatch::Changed { shared: Seq::new(1) });
    assert_eq!(read(&twin.reader(), Some(unknown.resume)).unwrap().0, ["other b", "other c"]);
    assert_eq!(read(&twin.reader(), Some(first)).unwrap().0, ["other b", "other c"]);
}

#[test]
fn a_cursor_of_another_node_is_unknown() {
    let (_, mut zero) = node(0);
    let (_, mut one) = node(1);
    append(&mut zero.log, &["a", "b"]);
    append(&mut one.log, &["c"]);
    one.pull(&zero).unwrap();
    let theirs = at(&zero.log.reader(), 2);
    let unknown = read(&one.log.reader(), Some(theirs)).unwrap_err();
    assert_eq!((unknown.mismatch, unknown.resume.seq), (Mismatch::Epoch, Seq::ZERO));
    let made_up = Cursor { epoch: one.log.reader().local().epoch, ..theirs };
    assert_eq!(read(&one.log.reader(), Some(made_up)).unwrap_err().mismatch, Mismatch::Witness);
}
