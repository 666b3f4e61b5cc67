//! What the two ends of a connection alone have in common.

use antiphon_kernel::transport::{TransportError, TransportErrorKind};
use antiphon_transport_common::failure;
use quinn::Connection;

/// The label of `tls-exporter` (RFC 9266).
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Keying material that TLS exports for this connection.
pub(crate) fn channel(connection: &Connection) -> Result<[u8; 32], TransportError> {
    let mut channel = [0; 32];
    connection
        .export_keying_material(&mut channel, LABEL, b"")
        .map_err(|_| failure(TransportErrorKind::Tls, "TLS exports no keying material for this connection"))?;
    Ok(channel)
}
