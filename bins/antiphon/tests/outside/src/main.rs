//! The program of the README, in a crate with one dependency line.

use antiphon::{Cortex, Draft, Event, EventReplayer, Peer, Projection, Quic, ReplayError, RocksStore, SharedKey};

/// Keeps the newest note of each subject.
struct Notes;

impl EventReplayer for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn families(&self) -> Vec<String> {
        vec!["notes".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, notes: &mut Projection<'_>) -> Result<(), ReplayError> {
        let subject = event.subject.as_deref().unwrap_or_default();
        Ok(notes.put("notes", subject.as_bytes(), &event.data)?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cortex = Cortex::builder(RocksStore::open("alpha")?)
        .name("alpha")
        .shared_key(SharedKey::from_env()?)
        .serve(Quic::on("0.0.0.0:7443").tls("alpha.pem", "alpha.key"))
        .peer(Peer::new("bravo", "quic://bravo.example:7443").ca("ca.pem"))
        .causal_replayer(Notes)
        .start()
        .await?;
    let event = cortex.append(Draft::new("note.written", r#"{"text":"hello"}"#).subject("notes/1").json()).await?;
    cortex.wait_replayed(&event).await?;
    println!("event {} is durable and replayed", event.id);
    cortex.stop().await;
    Ok(())
}
