//! Raw and typed access reach the same data.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{CortexId, Epoch, EventId, PeerName};
use antiphon_kernel::log::{AppendError, CausalContext};
use antiphon_kernel::state::{AppendAndSetError, StateError, peer_cortex_id_key, peer_cursor_key, peer_seen_key};
use antiphon_kernel::testing::{CommitFault, MemoryStore};
use antiphon_kernel::time::Timestamp;

#[tokio::test]
async fn keys_and_types_reach_the_same_data() {
    let cortex = Cortex::builder(Arc::new(MemoryStore::new())).start().await.unwrap();
    let state = cortex.state();
    let name = PeerName::new("bravo").unwrap();
    let fresh = state.peer_state(&name, "https://b:1").unwrap();
    assert_eq!((fresh.cortex_id, fresh.cursor, fresh.last_seen, fresh.lag), (None, None, None, None));
    state.reset_peer(&name).await.unwrap();

    let id = CortexId::from_bytes([7; 16]);
    state.set(&peer_cortex_id_key(&name), &id.to_string()).await.unwrap();
    let cursor = Cursor { epoch: Epoch::new(3), seq: Seq::new(9), last_event: EventId::from_parts(1, 2) };
    state.set_peer_cursor(&name, cursor).await.unwrap();
    assert_eq!(state.get(&peer_cursor_key(&name)).unwrap(), Some(cursor.to_string()));
    state.set(&peer_cursor_key(&name), &cursor.to_string()).await.unwrap();
    let time: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    state.set(&peer_seen_key(&name), &time.to_string()).await.unwrap();
    assert_eq!(state.get(&peer_seen_key(&name)).unwrap().as_deref(), Some("2026-01-02T03:04:05Z"));
    state.set_peer_seen(&name, time).await.unwrap();
    let known = state.peer_state(&name, "https://b:1").unwrap();
    assert_eq!((known.cortex_id, known.cursor, known.last_seen), (Some(id), Some(cursor), Some(time)));
    assert_eq!(known.last_event, Some(cursor.last_event));

    for key in [peer_cortex_id_key(&name), peer_cursor_key(&name), peer_seen_key(&name)] {
        state.delete(&key).await.unwrap();
        state.delete(&key).await.unwrap();
        assert_eq!(state.get(&key).unwrap(), None);
        assert!(matches!(state.set(&key, "nonsense").await, Err(StateError::Value { .. })));
    }
    state.set("my.setting", "on").await.unwrap();
    assert_eq!(state.get("my.setting").unwrap().as_deref(), Some("on"));
    state.delete("my.setting").await.unwrap();
    for bad in ["", "peer:x", "peer:a:last_event:cortex_id", "peer:bravo:other", &"x".repeat(257)] {
        assert!(matches!(state.get(bad), Err(StateError::Key { .. })), "{bad}");
    }
    cortex.stop().await;
}

#[tokio::test]
async fn the_clock_is_what_is_held() {
    let cortex = Cortex::builder(Arc::new(MemoryStore::new())).start().await.unwrap();
    let state = cortex.state();
    let appended = cortex.append(Draft::new("t", "x")).await.unwrap();
    let held = state.clock();
    assert!(held.contains(appended.dot));
    state.set_clock(&held).unwrap();
    assert!(matches!(state.set_clock(&VClock::new()), Err(StateError::ClockNotHeld)));
    assert_eq!(state.get("clock").unwrap(), Some(held.to_string()));
    assert!(matches!(state.set("clock", "").await, Err(StateError::ClockNotHeld)));
    assert!(matches!(state.delete("clock").await, Err(StateError::ClockNotHeld)));
    for name in ["vclock", "vector_clock"] {
        let refused = state.set(name, "{}").await.unwrap_err();
        assert!(refused.to_string().contains("the clock is at `clock`"), "{refused}");
        assert!(state.get(name).is_err() && state.delete(name).await.is_err());
    }
    cortex.stop().await;
}

/// A crash, at any point, leaves both or neither; a refusal leaves neither.
#[tokio::test]
async fn events_and_a_value_are_there_together_or_not_at_all() {
    let store = Arc::new(MemoryStore::new());
    let cortex = Cortex::builder(store.clone()).max_append_bytes(200).start().await.unwrap();
    let state = cortex.state();
    let set = |n: usize, size: usize| {
        let drafts = vec![Draft::new("t", vec![0; size]), Draft::new("t", "x")];
        let (state, value) = (state.clone(), n.to_string());
        async move { state.append_and_set(drafts, CausalContext::Replayed, "import/x", &value).await }
    };
    assert_eq!(set(2, 10).await.unwrap().len(), 2);
    assert!(matches!(set(4, 300).await, Err(AppendAndSetError::Append(AppendError::Draft { index: 0, .. }))));
    let foreign = state.append_and_set(vec![Draft::new("t", "x")], CausalContext::Replayed, "clock", "1").await;
    assert!(matches!(foreign, Err(AppendAndSetError::State(StateError::Key { .. }))));
    assert_eq!((cortex.reader().head().seq.get(), state.get("import/x").unwrap().as_deref()), (2, Some("2")));
    for fault in CommitFault::ALL {
        store.fail_commits([fault]);
        assert!(set(4, 10).await.is_err());
        // The store is opened and read again before the next write.
        cortex.append(Draft::new("t", "y")).await.unwrap();
        let (value, head) = (state.get("import/x").unwrap().unwrap(), cortex.reader().head().seq.get());
        assert_eq!(
            (value.as_str(), head),
            match fault {
                CommitFault::Lost => ("2", 3),
                CommitFault::Applied => ("4", 6),
                CommitFault::AtReopen => ("4", 9),
            }
        );
    }
    cortex.stop().await;
}

#[tokio::test]
async fn options_hold_from_the_first_start_on() {
    let store = Arc::new(MemoryStore::new());
    for start in 1..=2 {
        let cortex = Cortex::builder(store.clone()).max_append_bytes(200).start().await.unwrap();
        assert!(cortex.append(Draft::new("t", vec![0; 300])).await.is_err(), "start {start}");
        cortex.append(Draft::new("t", "small")).await.unwrap();
        cortex.stop().await;
    }
}
