//! Readers and checks while the log is rewritten, opened again, or written: they wait, and never tell of damage that there is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::internals::log::Log;
use antiphon_kernel::log::{CausalContext, LogHandle, LogReader, VerifyReport, verify};
use antiphon_kernel::store::{Durability, Store, StoreError};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;

use crate::forward::forward;
use crate::support::{Node, shown_fork};

type Hook = Box<dyn FnOnce() + Send>;
type Read = Box<dyn Fn(&LogReader) -> Result<(), String> + Send>;

/// Calls a hook once, when it was opened again: what is in memory is older than what is stored by then.
struct Hooked {
    inner: MemoryStore,
    hook: Mutex<Option<Hook>>,
}

impl Store for Hooked {
    forward!(inner: get scan scan_floor last commit sync ensure_families check keys create_keys);

    fn reopen(&self) -> Result<(), StoreError> {
        let opened = self.inner.reopen();
        if let Some(hook) = self.hook.lock().unwrap().take() {
            hook();
        }
        opened
    }
}

fn append(log: &mut Log, subjects: &[&str]) {
    for subject in subjects {
        let draft = Draft::new("t", (*subject).to_owned()).subject(*subject);
        log.append(&[draft], &VClock::new(), Timestamp::from_micros(1)).unwrap();
        log.commit(Durability::Sync).unwrap();
    }
}

/// Every way to read, each on a thread of its own; what each said.
fn readers(view: &LogReader, last: antiphon_kernel::ids::EventId) -> Receiver<Result<(), String>> {
    let (said, heard) = channel();
    let all = usize::MAX;
    let reads: [Read; 6] = [
        Box::new(move |view| view.page(None, all, all).map(drop).map_err(|e| e.to_string())),
        Box::new(move |view| view.entries(Seq::ZERO, all, all).map(drop).map_err(|e| e.to_string())),
        Box::new(move |view| view.durable_entries(Seq::ZERO, all, all).map(drop).map_err(|e| e.to_string())),
        Box::new(|view| view.entry(view.head().seq).map(drop).map_err(|e| e.to_string())),
        Box::new(move |view| view.find(last).map(drop).map_err(|e| e.to_string())),
        Box::new(|view| match verify(view) {
            Ok(report) if report.is_clean() => Ok(()),
            Ok(report) => Err(report.faults.join("; ")),
            Err(error) => Err(error.to_string()),
        }),
    ];
    for read in reads {
        let (said, view) = (said.clone(), view.clone());
        std::thread::spawn(move || drop(said.send(read(&view))));
    }
    heard
}

#[test]
fn readers_wait_while_a_fork_is_resolved() {
    let inner = MemoryStore::new();
    let store = Arc::new(Hooked { inner, hook: Mutex::default() });
    let mut one = Node::new(1, 2, Arc::clone(&store) as Arc<dyn Store>);
    let zero_store = Arc::new(MemoryStore::new());
    let mut zero = Node::new(0, 2, Arc::clone(&zero_store) as Arc<dyn Store>);
    append(&mut zero.log, &["one"]);
    let mut twin = Node::over(0, Arc::new(zero_store.durable_copy()) as Arc<dyn Store>);
    append(&mut zero.log, &["two", "three"]);
    append(&mut twin.log, &["other two"]);
    one.pull(&zero).unwrap();
    let last = one.log.reader().head_cursor().last_event;
    let origin = zero.log.reader().local().origin();
    let finding = shown_fork(0, &twin.log.reader(), origin, 2);
    let fork = one.log.note_fork(&finding, Timestamp::from_micros(1)).unwrap().fork;
    one.log.commit(Durability::Sync).unwrap();

    let (view, early) = (one.log.reader(), Arc::new(Mutex::new(Vec::new())));
    let (asked, answers) = channel();
    let before = Arc::clone(&early);
    *store.hook.lock().unwrap() = Some(Box::new(move || {
        let heard = readers(&view, last);
        // Whatever does not wait says what it saw at once.
        before.lock().unwrap().extend(heard.recv_timeout(Duration::from_millis(200)).ok());
        asked.send(heard).unwrap();
    }));
    assert_eq!(one.log.resolve_fork(fork.theirs, Timestamp::from_micros(1)).unwrap().set_aside, 2);
    let heard = answers.recv().expect("the store was opened again");
    let mut said = early.lock().unwrap().clone();
    said.extend(heard.iter());
    assert_eq!((said.len(), said.iter().find(|said| said.is_err())), (6, None));
}

/// A store that cannot be opened again is no damaged one, as long as nothing says so.
#[test]
fn what_does_not_fit_after_a_failed_write_is_told_as_that_failure() {
    let store = Arc::new(MemoryStore::new());
    let Node { mut log, .. } = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    append(&mut log, &["kept"]);
    let image = store.durable_copy();
    append(&mut log, &["gone"]);
    store.reopen_as(&image);
    store.fail_commits([CommitFault::Lost]);
    let draft = Draft::new("t", "refused");
    log.append(&[draft], &VClock::new(), Timestamp::from_micros(1)).unwrap();
    log.commit(Durability::Sync).unwrap_err();
    // It is open again, and does not get as far as to read what is there.
    store.fail_sync();
    log.recover().unwrap_err();
    let view = log.reader();
    let mut said = Vec::new();
    said.extend(view.page(None, 10, usize::MAX).err().map(|error| error.to_string()));
    said.extend(view.entries(Seq::ZERO, 10, usize::MAX).err().map(|error| error.to_string()));
    assert_eq!(said.len(), 2, "what is in memory is not there any more");
    assert!(said.iter().all(|text| text.contains("until the store is open again")), "{said:?}");
    assert!(said.iter().all(|text| !text.contains("damaged")), "{said:?}");
    log.recover().unwrap();
    assert_eq!(view.page(None, 10, usize::MAX).unwrap().entries.len(), 1);
}

/// A check of a node that serves, while events come: found by reading the code, where the end of the log and of the index were
/// read at different times, and the log was called damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_while_events_come_is_clean() {
    let node = Node::new(0, 1, Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let log = LogHandle::start(node.log, Durability::Relaxed).unwrap();
    let (done, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (log, done, checks) = (log.clone(), Arc::clone(&done), Arc::clone(&checks));
        tokio::spawn(async move {
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                // A log that grows faster than it is checked takes longer each time.
                if written < 20 * (1 + checks.load(Ordering::Relaxed)) {
                    log.append(vec![Draft::new("t", "x")], CausalContext::Replayed).await.unwrap();
                    written += 1;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let view = log.reader().clone();
    let checked = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut reports = Vec::<VerifyReport>::new();
        // Fifty checks, and as many more as it takes for events to come between two of them.
        while reports.len() < 50 || reports[0].events == reports[reports.len() - 1].events {
            assert!(Instant::now() < deadline, "no event came while the log was checked");
            reports.push(verify(&view).unwrap());
            checks.fetch_add(1, Ordering::Relaxed);
        }
        reports
    });
    let reports = checked.await.unwrap();
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    log.close().await;
    for report in &reports {
        assert!(report.is_clean(), "{:?}", report.faults);
    }
}
