//! A bridge into another database. Outside of the store, events may come again: after a crash between the row and the
//! replay position, or when the bridge is rebuilt. The row's key is the event's id, so each is there once.
//! `cargo run -p antiphon-kernel --example sqlite_bridge`
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use antiphon_kernel::testing::MemoryStore;
use antiphon_kernel::{Cortex, Draft, Event, EventReplayer, Projection, ReplayError, Seq};
use rusqlite::{Connection, params};

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Bridge(Connection);

impl Bridge {
    fn open(file: &Path) -> rusqlite::Result<Self> {
        let sqlite = Connection::open(file)?;
        sqlite.execute_batch(
            "CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, subject TEXT, text TEXT, happened TEXT)",
        )?;
        Ok(Self(sqlite))
    }
}

impl EventReplayer for Bridge {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn families(&self) -> Vec<String> {
        Vec::new()
    }

    fn replay_event(&mut self, event: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        // A type that is none of ours is no error: others may use the same log.
        if event.event_type != "note.written" {
            return Ok(());
        }
        let text = std::str::from_utf8(&event.data)?;
        let row = params![event.id.to_string(), event.subject, text, event.time.to_string()];
        self.0.execute("INSERT OR IGNORE INTO notes VALUES (?1, ?2, ?3, ?4)", row)?;
        Ok(())
    }
}

fn rows(file: &Path) -> rusqlite::Result<i64> {
    Connection::open(file)?.query_row("SELECT count(*) FROM notes", [], |row| row.get(0))
}

/// Bridges a hundred notes, twice; returns how many rows there are after each time.
pub async fn run(file: &Path) -> Outcome<[i64; 2]> {
    let cortex = Cortex::builder(Arc::new(MemoryStore::new())).causal_replayer(Bridge::open(file)?).start().await?;
    for n in 0..100 {
        cortex.append(Draft::new("note.written", format!("note {n}")).subject(format!("notes/{n}"))).await?;
    }
    cortex.append(Draft::new("something.else", "")).await?;
    let bridge = &cortex.replayers()[0];
    bridge.wait_replayed(Seq::new(101)).await?;
    let once = rows(file)?;
    bridge.rebuild().await?;
    bridge.wait_rebuilt().await?;
    let twice = rows(file)?;
    cortex.stop().await;
    Ok([once, twice])
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    println!("rows after one replay and after another: {:?}", run(&folder.path().join("notes.db")).await?);
    Ok(())
}
