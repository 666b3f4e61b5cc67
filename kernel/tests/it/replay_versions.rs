//! A program with another version of its replayer.

use std::ops::ControlFlow;
use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::event::Event;
use antiphon_kernel::internals::replay::{ReplayCore, ReplayStep};
use antiphon_kernel::replay::{EventReplayer, OpenReplayerError, Projection, ReplayError, read_current};
use antiphon_kernel::store::{Durability, Family, KeyRange, Store};
use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::time::Timestamp;

use crate::support::Node;

/// Each version has a family of its own.
struct Notes(u32);

impl EventReplayer for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn version(&self) -> u32 {
        self.0
    }

    fn families(&self) -> Vec<String> {
        vec![format!("notes{}", self.0)]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        Ok(projection.put(&format!("notes{}", self.0), &event.seq.get().to_be_bytes(), &event.data)?)
    }
}

fn open(node: &Node, version: u32) -> Result<ReplayCore, OpenReplayerError> {
    ReplayCore::open(node.log.reader(), Box::new(Notes(version)))
}

fn drain(core: &mut ReplayCore) {
    while !matches!(core.step().unwrap(), ReplayStep::CaughtUp) {}
}

/// How many keys readers see in a family, and how many are stored there.
fn keys(store: &dyn Store, family: &str) -> (usize, usize) {
    let (mut read, mut stored) = (0, 0);
    let count = |count: &mut usize| {
        *count += 1;
        ControlFlow::Continue(())
    };
    let all = KeyRange::prefix(&[]);
    read_current(store, "notes", |state| state.scan(family, all, |_, _| count(&mut read))).unwrap();
    store.scan(Family::User(family), all, &mut |_, _| count(&mut stored)).unwrap();
    (read, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_rebuilt_and_an_older_one_does_not_start() {
    let store = Arc::new(MemoryStore::new());
    let mut node = Node::new(0, 1, Arc::clone(&store) as Arc<dyn Store>);
    for n in 0..3 {
        node.append(&format!("s{n}"), &VClock::new(), Timestamp::from_micros(1), Durability::Sync);
    }
    drain(&mut open(&node, 1).unwrap());
    assert_eq!(keys(&*store, "notes1"), (3, 3));
    // Until the new state is complete, readers see the old one.
    let second = open(&node, 2).unwrap();
    assert_eq!((second.position().get(), second.filling().map(|filling| filling.version)), (3, Some(2)));
    assert_eq!((keys(&*store, "notes1"), keys(&*store, "notes2")), ((3, 3), (0, 0)));
    let build = second.filling().unwrap().build;
    // A restart continues.
    let mut second = open(&node, 2).unwrap();
    assert_eq!(second.filling().map(|filling| filling.build), Some(build));
    while second.filling().is_some_and(|filling| filling.position < filling.until) {
        second.step().unwrap();
    }
    assert_eq!(keys(&*store, "notes2"), (0, 3));
    // The old program may come back until then, and what the new one began is deleted.
    let mut first = open(&node, 1).unwrap();
    assert_eq!(first.filling(), None);
    drain(&mut first);
    assert_eq!((keys(&*store, "notes1"), keys(&*store, "notes2")), ((3, 3), (0, 0)));
    // A third one in place of the second gives up what that began.
    drop(open(&node, 2).unwrap());
    drain(&mut open(&node, 3).unwrap());
    for (family, found) in [("notes1", (0, 0)), ("notes2", (0, 0)), ("notes3", (3, 3))] {
        assert_eq!(keys(&*store, family), found, "{family}");
    }
    let refused = open(&node, 2).err().unwrap();
    assert!(matches!(refused, OpenReplayerError::Downgrade { stored: 3, version: 2, .. }), "{refused}");
    drop(node);
    let refused = Cortex::builder(Arc::clone(&store)).causal_replayer(Notes(2)).start().await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::ReplayDowngrade);
    assert_eq!(keys(&*store, "notes3"), (3, 3));
}
