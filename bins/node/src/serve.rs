//! A node that serves: signals, servers, monitor, admin socket, systemd.

use std::sync::Arc;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::NodeConfig;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::status_text::other_name;
use crate::systemd::{ping_watchdog, tell_systemd};
use crate::version::REVISION;
use crate::{exposed, reload, socket};

/// What an operator should know before anything goes wrong.
fn warn_of(config: &NodeConfig, node: &Node) {
    for warning in exposed::warnings(config).into_iter().chain(config.list_troubles()) {
        tracing::warn!("{warning}");
    }
    let name = node.cortex().reader().local().name;
    if name != config.node.name.as_str() {
        tracing::warn!("{}", other_name(&name, config.node.name.as_str()));
    }
}

/// One line that says which program serves which data.
fn log_start(node: &Node) {
    let (local, events, config) = (node.cortex().reader().local(), node.cortex().reader().visible(), node.config());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        revision = REVISION,
        name = %local.name,
        id = %local.cortex_id,
        epoch = %local.epoch,
        events = events.get(),
        data_dir = %config.data_dir().display(),
        "the node serves"
    );
}

/// Runs a node until SIGINT or SIGTERM. SIGHUP reloads its configuration.
///
/// # Errors
/// The configuration cannot be used, the store does not open, or an address cannot be listened on.
pub async fn serve(config: NodeConfig) -> Result<()> {
    serve_with(config, |_| std::future::ready(())).await
}

/// The same, with a task next to the node.
pub(crate) async fn serve_with<F>(config: NodeConfig, run: impl FnOnce(Arc<Node>) -> F + Send) -> Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    // What this node makes is its owner's alone: the data, the socket, what a backup writes.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    // Asked for before anything is open, so that a signal during start is a graceful stop as well.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let path = config.socket();
    // As `config check` and a reload would: what those refuse must not be found by a peer that never answers.
    config.check(&config.shared_keys()?)?;
    // Without a listener no scraper would take what was counted, and it would pile up.
    let metrics = config.listen.metrics.map(|_| antiphon_metrics::install()).transpose()?;
    let node = socket::open_to_serve(config).await?;
    warn_of(&node.config(), &node);
    let monitor = async {
        node.listen().await?;
        Monitor::start(&node, metrics).await
    };
    let monitor = match monitor.await {
        Ok(monitor) => monitor,
        Err(error) => {
            node.stop().await;
            return Err(error);
        }
    };
    let commands = socket::listen(&path, &node)?;
    log_start(&node);
    tell_systemd(NotifyState::Ready);
    let tasks = [tokio::spawn(run(Arc::clone(&node))), tokio::spawn(ping_watchdog(node.cortex().log().clone()))];
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            // It says in the log how that went. A stop does not wait for it.
            _ = hangup.recv() => {
                let node = Arc::clone(&node);
                tokio::spawn(async move { drop(reload::reload(&node).await) });
            }
        }
    }
    tracing::info!("stopping");
    tell_systemd(NotifyState::Stopping);
    drop(commands);
    tasks.iter().for_each(JoinHandle::abort);
    if let Some(monitor) = monitor {
        monitor.shutdown().await;
    }
    node.stop().await;
    // Left behind it would only cost the next command one failed connection.
    let _ = std::fs::remove_file(&path);
    tracing::info!("stopped");
    Ok(())
}
