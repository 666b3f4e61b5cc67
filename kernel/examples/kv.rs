//! A replicated key-value store: every node takes writes, all end with the same values, and writes that had not seen each
//! other are kept until an application resolves them. `cargo run -p antiphon-kernel --example kv`
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::replay::{conflicts, read_current};
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore};
use antiphon_kernel::{
    Appended, CausalContext, Cortex, Draft, Event, EventReplayer, Peer, Projection, ReplayError, ReplayOptions, WaitFor,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Turns events into values: `id ‖ value` under the subject. Of two that had not seen each other, the greater id wins, on
/// every node alike, whichever came first.
struct Values;

impl EventReplayer for Values {
    fn name(&self) -> &str {
        "values"
    }

    fn families(&self) -> Vec<String> {
        vec!["values".to_owned()]
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { causality: true, ..ReplayOptions::default() }
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let (Some(key), "kv.put") = (&event.subject, event.event_type.as_str()) else { return Ok(()) };
        let value = [&event.id.to_bytes()[..], &event.data].concat();
        let before = projection.get("values", key.as_bytes())?.unwrap_or_default();
        let yields = matches!(projection.relation(), Some(antiphon_kernel::replay::Relation::Concurrent { .. }));
        // A later write wins by causality; only among concurrent ones the id decides.
        if !yields || value[..16] > before[..16.min(before.len())] {
            projection.put("values", key.as_bytes(), &value)?;
        }
        Ok(())
    }
}

struct Kv(Cortex);

impl Kv {
    async fn open(name: &str, network: &MemoryNetwork, peers: &[&str]) -> Outcome<Self> {
        // With `antiphon-storage` and `antiphon-quic` in their place, this is the whole difference to production.
        let mut builder = Cortex::builder(Arc::new(MemoryStore::new())).name(name).log(LOG).transport(network.clone());
        for peer in peers {
            builder = builder.peer(Peer::new(*peer, format!("memory://{peer}")));
        }
        let cortex = builder.causal_replayer(Values).start().await?;
        network.serve(name, cortex.service().clone());
        Ok(Self(cortex))
    }

    /// Writes, and returns when the write is durable here and can be read here.
    async fn put(&self, key: &str, value: &str) -> Outcome<Appended> {
        let event = self.0.append(Draft::new("kv.put", value.to_owned()).subject(key)).await?;
        self.0.replayers()[0].wait_replayed(event.seq).await?;
        Ok(event)
    }

    fn get(&self, key: &str) -> Outcome<Option<String>> {
        let value = read_current(&**self.0.reader().store(), "values", |state| state.get("values", key.as_bytes()))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value[16..]).into_owned()))
    }

    /// Keys written on several nodes that had not seen each other's writes.
    fn contested(&self) -> Outcome<Vec<String>> {
        Ok(conflicts(&**self.0.reader().store(), "values")?.into_iter().map(|conflict| conflict.subject).collect())
    }

    /// Decides: a write that has seen exactly what was in conflict.
    async fn settle(&self, key: &str, value: &str) -> Outcome<()> {
        let open = conflicts(&**self.0.reader().store(), "values")?;
        let context = open.iter().find(|conflict| conflict.subject == key).ok_or("it is not contested")?.context();
        let draft = Draft::new("kv.put", value.to_owned()).subject(key);
        let event = self.0.log().append(vec![draft], CausalContext::Exactly(context)).await?;
        self.0.replayers()[0].wait_replayed(event[0].seq).await?;
        Ok(())
    }
}

/// Two nodes write one key, and one of them settles it.
pub async fn run() -> Outcome<()> {
    let network = MemoryNetwork::new();
    let alpha = Kv::open("alpha", &network, &["bravo"]).await?;
    let first = alpha.put("color", "red").await?;
    let bravo = Kv::open("bravo", &network, &["alpha"]).await?;
    alpha.0.wait_replicated(&first, WaitFor::Count(1), Duration::from_secs(20)).await?;
    // Neither sees the other's write before its own.
    network.partition(&["alpha"], &["bravo"]);
    bravo.put("color", "blue").await?;
    alpha.put("color", "green").await?;
    network.heal();
    let both = async {
        while bravo.contested().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both).await?;
    println!("contested: {:?}; bravo reads {:?} meanwhile", bravo.contested()?, bravo.get("color")?);
    bravo.settle("color", "teal").await?;
    println!("settled: {:?}", bravo.get("color")?);
    assert_eq!((bravo.get("color")?.as_deref(), bravo.contested()?.len()), (Some("teal"), 0));
    bravo.0.stop().await;
    alpha.0.stop().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    run().await
}
