//! From what quinn reports to what the kernel counts, by type.

use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::TransportError;
use antiphon_transport_common::failure;
use quinn::{ClosedStream, ConnectError, ConnectionError, ReadError, VarInt, WriteError};

use crate::codes;

/// TLS alerts stand above this in QUIC's error codes (RFC 9001, 4.8).
const CRYPTO: u64 = 0x100;
/// TLS: no application protocol in common.
const NO_APPLICATION_PROTOCOL: u64 = CRYPTO + 120;
/// QUIC: the server refuses the connection (RFC 9000, 20.1).
const CONNECTION_REFUSED: u64 = 0x2;

pub(crate) fn from_connection(error: &ConnectionError) -> TransportError {
    let category = match error {
        ConnectionError::VersionMismatch => ErrorCategory::Version,
        ConnectionError::TransportError(error) => transport(error.code.into()),
        ConnectionError::ConnectionClosed(close) => transport(close.error_code.into()),
        ConnectionError::ApplicationClosed(close) => application(close.error_code),
        ConnectionError::TimedOut => ErrorCategory::Timeout,
        ConnectionError::Reset | ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
            ErrorCategory::Reset
        }
    };
    failure(category, error.to_string())
}

const fn transport(code: u64) -> ErrorCategory {
    match code {
        NO_APPLICATION_PROTOCOL => ErrorCategory::Unexpected,
        CONNECTION_REFUSED => ErrorCategory::Busy,
        CRYPTO..=0x1ff => ErrorCategory::Tls,
        _ => ErrorCategory::Reset,
    }
}

fn application(code: VarInt) -> ErrorCategory {
    match code {
        codes::KEY => ErrorCategory::Auth,
        codes::BUSY => ErrorCategory::Busy,
        codes::PROTOCOL => ErrorCategory::Protocol,
        _ => ErrorCategory::Reset,
    }
}

pub(crate) fn from_connect(error: &ConnectError) -> TransportError {
    failure(ErrorCategory::Unexpected, format!("it cannot be dialled: {error}"))
}

pub(crate) fn from_read(error: &ReadError) -> TransportError {
    match error {
        ReadError::ConnectionLost(error) => from_connection(error),
        ReadError::Reset(code) => failure(application(*code), "it gave the answer up"),
        other => failure(ErrorCategory::Reset, other.to_string()),
    }
}

pub(crate) fn from_write(error: &WriteError) -> TransportError {
    match error {
        WriteError::ConnectionLost(error) => from_connection(error),
        WriteError::Stopped(code) => failure(application(*code), "it does not want to read the question"),
        other => failure(ErrorCategory::Reset, other.to_string()),
    }
}

pub(crate) fn from_closed(_: ClosedStream) -> TransportError {
    failure(ErrorCategory::Reset, "the stream is closed already")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_have_their_category() {
        assert_eq!(application(codes::KEY), ErrorCategory::Auth);
        assert_eq!(application(codes::STOPPING), ErrorCategory::Reset);
        assert_eq!(transport(CONNECTION_REFUSED), ErrorCategory::Busy);
        // TLS: bad certificate.
        assert_eq!(transport(CRYPTO + 42), ErrorCategory::Tls);
        assert_eq!(transport(NO_APPLICATION_PROTOCOL), ErrorCategory::Unexpected);
        assert_eq!(transport(0xa), ErrorCategory::Reset);
        assert_eq!(from_connection(&ConnectionError::TimedOut).category(), ErrorCategory::Timeout);
    }
}
