//! How systemd learns of a node's state.

use std::time::Duration;

use antiphon_kernel::log::LogHandle;
use sd_notify::NotifyState;

/// Sends a state to systemd, where it waits for one.
pub(crate) fn tell_systemd(state: NotifyState<'_>) {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let sent = match socket.as_encoded_bytes().strip_prefix(b"@") {
        // systemd in containers and some supervisors give an abstract socket, which the crate takes for a path.
        Some(name) => notify_abstract(name, &state),
        None => sd_notify::notify(&[state]),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "systemd was not notified");
    }
}

/// Pings systemd's watchdog, if it has one for this process, while the log's writer works. A writer that hangs or ended pings no more,
/// and systemd restarts the node.
pub(crate) async fn ping_watchdog(log: LogHandle) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut every = tokio::time::interval((limit / 3).max(Duration::from_millis(1)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if !log.lives().await {
            return;
        }
        tell_systemd(NotifyState::Watchdog);
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
