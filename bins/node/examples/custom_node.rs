//! A node of one's own: the node that a file configures, with a replayer and a subcommand more.
//!
//! ```sh
//! antiphon init
//! cargo run -p antiphon-node --example custom_node -- serve
//! ```

use std::path::PathBuf;

use antiphon_kernel::{Draft, Event, EventReplayer, Projection, ReplayError};
use antiphon_node::{Level, NodeBuilder};
use clap::{Parser, Subcommand};

/// Counts the events of each type, in the node's own store.
struct Counts;

impl EventReplayer for Counts {
    fn name(&self) -> &str {
        "counts"
    }

    fn families(&self) -> Vec<String> {
        vec!["counts".to_owned()]
    }

    fn replay_event(&mut self, event: &Event, counts: &mut Projection<'_>) -> Result<(), ReplayError> {
        let key = event.event_type.as_bytes();
        let before = counts.get("counts", key)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        Ok(counts.put("counts", key, &(before + 1).to_be_bytes())?)
    }
}

/// A node that counts events.
#[derive(Parser)]
#[command(version = antiphon_node::VERSION)]
struct Cli {
    /// The node's configuration.
    #[arg(long, default_value = "antiphon.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node until SIGINT or SIGTERM.
    Serve,
    /// Print the status as JSON.
    Status,
    /// Let the node that serves read its configuration again.
    Reload,
    /// Check everything that the configuration names.
    Doctor,
    /// Print how many events are not counted yet.
    Lag,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    let node = NodeBuilder::new(cli.config).replayer(|| Counts);
    match cli.command {
        Command::Serve => {
            // Code of your own next to the node: here it appends one event.
            let started = |node: std::sync::Arc<antiphon_node::Node>| async move {
                if let Err(error) = node.cortex().append(Draft::new("node.started", "{}")).await {
                    tracing::error!(%error, "the start was not appended");
                }
            };
            node.serve_with(started).await?;
        }
        Command::Status => println!("{}", serde_json::to_string_pretty(&node.status().await?)?),
        Command::Reload => println!("{}", serde_json::to_string(&node.reload().await?)?),
        Command::Doctor => {
            let findings = node.doctor().await;
            findings.iter().for_each(|found| println!("{:?} {}: {}", found.level, found.check, found.says));
            anyhow::ensure!(findings.iter().all(|found| found.level != Level::Fail), "something does not work");
        }
        Command::Lag => {
            let status = node.status().await?;
            let counts = status.replayers.iter().find(|replayer| replayer.name == "counts");
            println!("{}", counts.map_or(0, |counts| counts.lag_events));
        }
    }
    Ok(())
}
