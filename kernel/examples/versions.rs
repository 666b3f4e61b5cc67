//! A replayer whose program changes what it makes of events: the next version of it rebuilds the state, and readers see the old
//! one meanwhile. `cargo run -p antiphon-kernel --example versions`
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::sync::Arc;

use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::{Cortex, Draft, Event, EventReplayer, Projection, ReplayError};

/// Keeps notes by subject. Version 1 kept them as they were written; version 2 keeps them in capitals.
struct Notes {
    version: u32,
}

impl EventReplayer for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn version(&self) -> u32 {
        // A program returns a constant here, and raises it when `replay_event` changes.
        self.version
    }

    fn families(&self) -> Vec<String> {
        vec!["notes".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, notes: &mut Projection<'_>) -> Result<(), ReplayError> {
        let subject = event.subject.as_deref().unwrap_or_default();
        let mut note = event.data.to_vec();
        if self.version > 1 {
            note.make_ascii_uppercase();
        }
        Ok(notes.put("notes", subject.as_bytes(), &note)?)
    }
}

/// Reads one note, and the version that wrote it.
async fn note(cortex: &Cortex) -> Result<(u32, String), Box<dyn Error>> {
    let notes = cortex.replayer("notes").ok_or("it was given to the builder")?;
    let read = notes.read(|state| Ok((state.version(), state.get("notes", b"notes/1")?))).await?;
    let (version, note) = read.value;
    Ok((version, String::from_utf8(note.unwrap_or_default())?))
}

/// Writes a note with the first program, and reads it with the second.
pub async fn run() -> Result<[(u32, String); 2], Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let cortex = Cortex::builder(Arc::clone(&store)).causal_replayer(Notes { version: 1 }).start().await?;
    let event = cortex.append(Draft::new("note.written", "hello").subject("notes/1")).await?;
    cortex.wait_replayed(&event).await?;
    let before = note(&cortex).await?;
    cortex.stop().await;
    drop(cortex);
    // The second program starts on the same data.
    let cortex = Cortex::builder(store).causal_replayer(Notes { version: 2 }).start().await?;
    cortex.replayer("notes").ok_or("it was given to the builder")?.wait_rebuilt().await?;
    let after = note(&cortex).await?;
    cortex.stop().await;
    Ok([before, after])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("before and after the upgrade: {:?}", run().await?);
    Ok(())
}
