//! The tests of `docs/guides/testing.md` pass, and the guide shows them as they are.

use std::fs;
use std::path::Path;

use antiphon::testing::{CommitFault, Federation, simulate, until};
use antiphon::{AppendError, Draft, Durability, Event, EventReplayer, Projection, ReadAt, ReplayError};
use std::time::Duration;

/// Counts the notes of each subject.
struct Notes;

impl EventReplayer for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn families(&self) -> Vec<String> {
        vec!["notes".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, notes: &mut Projection<'_>) -> Result<(), ReplayError> {
        let key = event.subject.as_deref().unwrap_or_default().as_bytes();
        let count = notes.get("notes", key)?.map_or(0, |count| count[0]);
        Ok(notes.put("notes", key, &[count + 1])?)
    }
}

/// How many notes of a subject one cortex has counted.
async fn count(federation: &Federation, n: usize, subject: &'static str) -> u8 {
    let handle = federation.cortex(n).replayer("notes").unwrap();
    let read = handle.read(move |notes| notes.get("notes", subject.as_bytes()));
    let ReadAt { value, .. } = read.await.unwrap();
    value.map_or(0, |count| count[0])
}

fn note(subject: &str) -> Draft {
    Draft::new("note.written", "hello").subject(subject)
}

#[tokio::test]
async fn both_sides_of_a_partition_write() {
    let federation = Federation::of(3, || Notes).await.unwrap();
    federation.partition(&[0], &[1, 2]);
    federation.cortex(0).append(note("a")).await.unwrap();
    federation.cortex(1).append(note("a")).await.unwrap();
    federation.heal().await;
    federation.converged().await;
    for n in 0..3 {
        assert_eq!(count(&federation, n, "a").await, 2);
    }
    federation.stop().await;
}

#[tokio::test]
async fn a_crash_counts_no_note_twice() {
    let mut federation = Federation::of(2, || Notes).await.unwrap();
    let event = federation.cortex(0).append(note("a")).await.unwrap();
    federation.cortex(0).wait_replayed(&event).await.unwrap();
    federation.crash(0).await;
    federation.restart(0).await.unwrap();
    federation.converged().await;
    assert_eq!(count(&federation, 0, "a").await, 1);
    federation.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_path_delays_a_note() {
    let federation = Federation::of(2, || Notes).await.unwrap();
    federation.network().delay("node-0", "node-1", Duration::from_secs(5));
    federation.network().drop_next("node-0", "node-1", 1);
    federation.cortex(0).append(note("a")).await.unwrap();
    until("the note arrives", || federation.cortex(1).reader().head().seq.get() == 1).await;
    federation.stop().await;
}

#[tokio::test]
async fn a_note_in_doubt_is_not_lost() {
    let federation = Federation::with(1, |builder| {
        builder.causal_replayer(Notes).durability(Durability::Sync).max_append_bytes(1024)
    });
    let federation = federation.await.unwrap();
    federation.store(0).fail_commits([CommitFault::Applied]);
    let result = federation.cortex(0).append(note("a")).await;
    assert!(matches!(result, Err(AppendError::InDoubt(_))));
    federation.cortex(0).append(note("b")).await.unwrap();
    federation.converged().await;
    assert_eq!(count(&federation, 0, "a").await, 1);
    federation.stop().await;
}

#[test]
fn a_crash_at_any_moment_counts_no_note_twice() {
    for seed in 0..20 {
        simulate(seed, async || {
            let mut federation = Federation::of(2, || Notes).await.unwrap();
            federation.cortex(0).append(note("a")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(seed)).await;
            federation.crash(1).await;
            federation.restart(1).await.unwrap();
            federation.converged().await;
            assert_eq!(count(&federation, 1, "a").await, 1, "seed {seed}");
            federation.stop().await;
        });
    }
}

#[test]
fn the_guide_shows_these_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = fs::read_to_string(here.join("tests/it/testing_guide.rs")).unwrap();
    let guide = fs::read_to_string(here.join("../../docs/guides/testing.md")).unwrap();
    let shown: Vec<_> = guide.split("```rust\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    assert_eq!(shown.len(), 7);
    for block in shown {
        assert!(tests.contains(block), "docs/guides/testing.md shows what is no test:\n{block}");
    }
}
