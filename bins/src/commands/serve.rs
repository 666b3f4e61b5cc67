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
use crate::{admin, reload};

/// Colours are for people who look at a terminal; <https://no-color.org> is honoured.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells systemd, where it is there and waits for it.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}

pub(super) async fn run(config: NodeConfig, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured());
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
    let node = Arc::new(admin::open_to_serve(config).await?);
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
    let commands = admin::listen(&socket, Arc::clone(&node))?;
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
    commands.abort();
    if let Some(monitor) = monitor {
        monitor.shutdown().await;
    }
    node.stop().await;
    // Left behind it would only cost the next command one failed connection.
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    Ok(())
}
