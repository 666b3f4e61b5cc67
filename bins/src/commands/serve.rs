//! `antiphon serve`.

use std::sync::Arc;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::admin;
use crate::cli::LogFormat;
use crate::config::NodeConfig;
use crate::node::Node;

pub(super) async fn run(config: NodeConfig, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    // Asked for before anything is open, so that a signal during start is a graceful stop as well.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let socket = config.socket();
    let node = Arc::new(Node::open(config, true).await?);
    let servers = match node.listen().await {
        Ok(servers) => servers,
        Err(error) => {
            node.stop().await;
            return Err(error);
        }
    };
    let commands = admin::listen(&socket, Arc::clone(&node))?;
    servers.tell();
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    commands.abort();
    servers.shutdown().await;
    node.stop().await;
    // Left behind it would only cost the next command one failed connection.
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    Ok(())
}
