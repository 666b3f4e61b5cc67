//! A chat log: everyone writes, everyone reads the same lines, an answer never before what it answers.
//! `cargo run -p antiphon-kernel --example chat`

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore};
use antiphon_kernel::{Cortex, Draft, Event, EventReplayer, Peer, Projection, ReplayError};
use futures_util::StreamExt as _;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Keeps nothing. It says how far this person has read, and so what their next line answers.
struct Reader;

impl EventReplayer for Reader {
    fn name(&self) -> &str {
        "reader"
    }

    fn families(&self) -> Vec<String> {
        Vec::new()
    }

    fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        Ok(())
    }
}

async fn join(name: &str, network: &MemoryNetwork, peers: &[&str]) -> Outcome<Cortex> {
    let mut builder = Cortex::builder(Arc::new(MemoryStore::new())).name(name).log(LOG).transport(network.clone());
    for peer in peers {
        builder = builder.peer(Peer::new(*peer, format!("memory://{peer}")));
    }
    let cortex = builder.causal_replayer(Reader).start().await?;
    network.serve(name, cortex.service().clone());
    Ok(cortex)
}

async fn say(who: &Cortex, line: &str) -> Outcome<()> {
    who.append(Draft::new("chat.said", format!("{}: {line}", who.reader().local().name)).subject("room")).await?;
    Ok(())
}

/// The first `count` lines of the room, in the order of one log.
async fn read(who: &Cortex, count: usize) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    let mut log = pin!(who.subscribe(None).take(count));
    while let Some(entry) = tokio::time::timeout(Duration::from_secs(20), log.next()).await? {
        lines.push(String::from_utf8_lossy(entry?.event()?.data).into_owned());
    }
    Ok(lines)
}

/// Two people talk; returns what each of them sees.
pub async fn run() -> Outcome<[Vec<String>; 2]> {
    let network = MemoryNetwork::new();
    let ada = join("ada", &network, &[]).await?;
    say(&ada, "is anybody there?").await?;
    let bob = join("bob", &network, &["ada"]).await?;
    read(&bob, 1).await?;
    say(&bob, "here!").await?;
    let seen = [read(&ada, 1).await?, read(&bob, 2).await?];
    bob.stop().await;
    ada.stop().await;
    Ok(seen)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let [_, bob] = run().await?;
    println!("{}", bob.join("\n"));
    Ok(())
}
