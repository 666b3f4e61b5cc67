//! The addresses that the node listens on.

use super::findings::Findings;
use crate::config::NodeConfig;
use crate::reply::Level;

/// Whether what it is to listen on is free, where it does not run.
pub(super) async fn addresses(config: &NodeConfig, serves: bool, findings: &mut Findings) {
    if serves {
        return;
    }
    let tcp = [("listen.https", config.listen.https), ("listen.metrics", config.listen.metrics)];
    for (check, addr) in tcp.into_iter().filter_map(|(check, addr)| Some((check, addr?))) {
        match tokio::net::TcpListener::bind(addr).await {
            Ok(_) => findings.ok(check, format!("{addr} is free")),
            Err(error) => findings.add(
                check,
                Level::Fail,
                format!("{addr}: {error}"),
                "another process has it (this node itself, if node.data_dir was changed), or it is no address of this machine",
            ),
        }
    }
    if let Some(addr) = config.listen.quic {
        match tokio::net::UdpSocket::bind(addr).await {
            Ok(_) => findings.ok("listen.quic", format!("{addr} is free (UDP)")),
            Err(error) => findings.add(
                "listen.quic",
                Level::Fail,
                format!("{addr} (UDP): {error}"),
                "another process has it (this node itself, if node.data_dir was changed), or it is no address of this machine",
            ),
        }
    }
}
