//! `antiphon serve`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::config::NodeConfig;
use crate::monitor::{self, Monitor};
use crate::node::Node;
use crate::terminal::LogWriter;
use crate::{admin, exposed, reload};

use super::show;

/// Colours are for people who look at a terminal; <https://no-color.org> is honoured.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sends a state to systemd, where it waits for one.
fn tell_systemd(state: NotifyState<'_>) {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let sent = match socket.as_encoded_bytes().strip_prefix(b"@") {
        // systemd in containers and some supervisors give an abstract socket, which the crate takes for a path.
        Some(name) => notify_abstract(name, &state),
        None => sd_notify::notify(&[state]),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "systemd was not told");
    }
}

#[cfg(target_os = "linux")]
fn notify_abstract(name: &[u8], state: &NotifyState<'_>) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.send(format!("{state}\n").as_bytes()).map(|_| ())
}

#[cfg(not(target_os = "linux"))]
fn notify_abstract(_: &[u8], _: &NotifyState<'_>) -> std::io::Result<()> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

/// What an operator should know before anything goes wrong.
fn warn_of(config: &NodeConfig, node: &Node) {
    for warning in exposed::warnings(config) {
        tracing::warn!("{warning}");
    }
    let name = node.cortex().view().local().name;
    if name != config.node.name.as_str() {
        tracing::warn!("{}", show::other_name(&name, config.node.name.as_str()));
    }
}

pub(super) async fn run(config: NodeConfig, format: LogFormat) -> Result<()> {
    // What this node makes is its owner's alone: the data, the socket, what a backup writes.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || LogWriter::new(std::io::stderr(), terminal))
        .with_ansi(coloured());
    match format {
        LogFormat::Human => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    // Asked for before anything is open, so that a signal during start is a graceful stop as well.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let socket = config.socket();
    // As `config check` and a reload would: what those refuse must not be found by a peer that never answers.
    config.check(&config.shared_keys()?)?;
    // Without a listener nobody would take what was counted away again, and it would pile up.
    let counted = config.listen.metrics.map(|_| monitor::count()).transpose()?;
    let node = admin::open_to_serve(config).await?;
    warn_of(&node.config(), &node);
    let monitor = async {
        node.listen().await?;
        Monitor::start(&node, counted).await
    };
    let monitor = match monitor.await {
        Ok(monitor) => monitor,
        Err(error) => {
            node.stop().await;
            return Err(error);
        }
    };
    let commands = admin::listen(&socket, &node)?;
    tell_systemd(NotifyState::Ready);
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
    if let Some(monitor) = monitor {
        monitor.shutdown().await;
    }
    node.stop().await;
    // Left behind it would only cost the next command one failed connection.
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    Ok(())
}
