//! From what quinn reports to what the kernel counts, by type.

use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_transport_common::{failure, from_alert};
use quinn::{ClosedStream, ConnectError, ConnectionError, ReadError, VarInt, WriteError};

use crate::codes;

/// TLS alerts stand above this in QUIC's error codes (RFC 9001, 4.8).
const CRYPTO: u64 = 0x100;
/// TLS: no application protocol in common.
const NO_APPLICATION_PROTOCOL: u64 = CRYPTO + 120;
/// QUIC: the server refuses the connection (RFC 9000, 20.1).
const CONNECTION_REFUSED: u64 = 0x2;

pub(crate) fn from_connection(error: &ConnectionError) -> TransportError {
    // What the other side says of our certificate.
    if let ConnectionError::ConnectionClosed(close) = error
        && let Some((kind, words)) = alert(close.error_code.into())
    {
        return failure(kind, format!("{error}; {words}"));
    }
    let category = match error {
        ConnectionError::VersionMismatch => TransportErrorKind::Version,
        ConnectionError::TransportError(error) => transport(error.code.into()),
        ConnectionError::ConnectionClosed(close) => transport(close.error_code.into()),
        ConnectionError::ApplicationClosed(close) => application(close.error_code),
        ConnectionError::TimedOut => TransportErrorKind::Timeout,
        ConnectionError::Reset | ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
            TransportErrorKind::Reset
        }
    };
    failure(category, error.to_string())
}

/// What the alert of TLS in an error code says.
fn alert(code: u64) -> Option<(TransportErrorKind, &'static str)> {
    from_alert(u8::try_from(code.checked_sub(CRYPTO)?).ok()?)
}

const fn transport(code: u64) -> TransportErrorKind {
    match code {
        // Another version of Antiphon, or something else that speaks QUIC.
        NO_APPLICATION_PROTOCOL => TransportErrorKind::Version,
        CONNECTION_REFUSED => TransportErrorKind::Busy,
        CRYPTO..=0x1ff => TransportErrorKind::Tls,
        _ => TransportErrorKind::Reset,
    }
}

fn application(code: VarInt) -> TransportErrorKind {
    match code {
        codes::KEY => TransportErrorKind::Auth,
        codes::BUSY | codes::STOPPING => TransportErrorKind::Busy,
        codes::GREET_AGAIN => TransportErrorKind::Reset,
        codes::PROTOCOL => TransportErrorKind::Protocol,
        _ => TransportErrorKind::Reset,
    }
}

pub(crate) fn from_connect(error: &ConnectError) -> TransportError {
    failure(TransportErrorKind::Unexpected, format!("it cannot be dialled: {error}"))
}

pub(crate) fn from_read(error: &ReadError) -> TransportError {
    match error {
        ReadError::ConnectionLost(error) => from_connection(error),
        ReadError::Reset(code) => failure(application(*code), "it gave the answer up"),
        other => failure(TransportErrorKind::Reset, other.to_string()),
    }
}

pub(crate) fn from_write(error: &WriteError) -> TransportError {
    match error {
        WriteError::ConnectionLost(error) => from_connection(error),
        WriteError::Stopped(code) => failure(application(*code), "it does not want to read the question"),
        other => failure(TransportErrorKind::Reset, other.to_string()),
    }
}

pub(crate) fn from_closed(_: ClosedStream) -> TransportError {
    failure(TransportErrorKind::Reset, "the stream is closed already")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_have_their_category() {
        assert_eq!(application(codes::KEY), TransportErrorKind::Auth);
        assert_eq!(application(codes::STOPPING), TransportErrorKind::Busy);
        assert_eq!(transport(CONNECTION_REFUSED), TransportErrorKind::Busy);
        // TLS: bad certificate.
        assert_eq!(transport(CRYPTO + 42), TransportErrorKind::Tls);
        // TLS: certificate required, of the other side; and no number of TLS at all.
        assert_eq!(alert(CRYPTO + 116).map(|(kind, _)| kind), Some(TransportErrorKind::CertificateRefused));
        assert_eq!((alert(116), alert(CRYPTO + 256 + 116)), (None, None));
        assert_eq!(transport(NO_APPLICATION_PROTOCOL), TransportErrorKind::Version);
        assert_eq!(transport(0xa), TransportErrorKind::Reset);
        assert_eq!(from_connection(&ConnectionError::TimedOut).kind(), TransportErrorKind::Timeout);
    }
}
