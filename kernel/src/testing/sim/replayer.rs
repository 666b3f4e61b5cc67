//! An application that counts how often each event was applied, and that fails, panics and dies as it is told to.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Event;
use crate::replay::{EventReplayer, OnFailure, Projection, ReplayError, ReplayOptions};

pub(super) const NAME: &str = "counting";
pub(super) const FAMILY: &str = "applied";

/// Every so many-th attempt fails; 0 for none. Shared with the simulation.
#[derive(Debug, Default)]
pub(super) struct Mood {
    pub(super) fails_every: AtomicU64,
    attempts: AtomicU64,
}

pub(super) struct Counting {
    pub(super) mood: Arc<Mood>,
    pub(super) on_failure: OnFailure,
    pub(super) version: u32,
}

impl EventReplayer for Counting {
    fn name(&self) -> &str {
        NAME
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { on_failure: self.on_failure, ..ReplayOptions::default() }
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        // Counted before it fails: a failure must take this back.
        let key = event.seq.get().to_be_bytes();
        let before = projection.get(FAMILY, &key)?.map_or(0, |bytes| bytes.first().copied().unwrap_or(0));
        projection.put(FAMILY, &key, &[before.saturating_add(1)])?;
        let every = self.mood.fails_every.load(Ordering::Relaxed);
        let attempt = self.mood.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        if every == 0 || !attempt.is_multiple_of(every) {
            return Ok(());
        }
        if (attempt / every).is_multiple_of(2) {
            // Past the panic hook: it is expected.
            resume_unwind(Box::new("asked to panic"));
        }
        Err("asked to fail".into())
    }
}
