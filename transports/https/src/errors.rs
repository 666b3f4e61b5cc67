//! From what the HTTP stack reports to what the kernel counts: by type, along the chain of causes.

use std::error::Error as StdError;
use std::io;

use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_transport_common::from_alert;
use reqwest::StatusCode;
use rustls::{Error as TlsError, InvalidMessage, PeerIncompatible};

/// The alert of a peer that speaks other versions of TLS alone.
const PROTOCOL_VERSION: u8 = 70;

/// What a failed request was.
pub(crate) fn from_reqwest(error: reqwest::Error) -> TransportError {
    // The URL is configuration's to show.
    let error = error.without_url();
    TransportError::new(kind_of(&error), describe(&error)).caused_by(error)
}

fn kind_of(error: &reqwest::Error) -> TransportErrorKind {
    if error.is_dns() {
        return TransportErrorKind::Dns;
    }
    let mut found = None;
    walk(error, &mut |cause| {
        // The innermost cause is the most precise, except that nothing is more precise than TLS.
        let tls = [TransportErrorKind::Tls, TransportErrorKind::Scheme, TransportErrorKind::CertificateRefused];
        if !found.is_some_and(|found| tls.contains(&found)) {
            found = cause_kind(cause).or(found);
        }
    });
    // Later in a session such a byte is damage, or an attack.
    if found == Some(TransportErrorKind::Scheme) && !error.is_connect() {
        found = Some(TransportErrorKind::Tls);
    }
    found.unwrap_or_else(|| {
        if error.is_timeout() {
            TransportErrorKind::Timeout
        } else if error.is_builder() {
            TransportErrorKind::Configuration
        } else if error.is_decode() {
            TransportErrorKind::Unexpected
        } else {
            TransportErrorKind::Reset
        }
    })
}

fn cause_kind(cause: &(dyn StdError + 'static)) -> Option<TransportErrorKind> {
    if let Some(tls) = cause.downcast_ref::<TlsError>() {
        return Some(match tls {
            // The first byte is no record of TLS: something answers in clear, as a server of plain HTTP does.
            TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => TransportErrorKind::Scheme,
            _ => tls_words(tls).map_or(TransportErrorKind::Tls, |(kind, _)| kind),
        });
    }
    if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
        return if hyper.is_incomplete_message() {
            Some(TransportErrorKind::Eof)
        } else if hyper.is_parse() {
            Some(TransportErrorKind::Unexpected)
        } else if hyper.is_timeout() {
            Some(TransportErrorKind::Timeout)
        } else if hyper.is_canceled() || hyper.is_closed() {
            Some(TransportErrorKind::Reset)
        } else {
            None
        };
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some(TransportErrorKind::ConnectionRefused),
        io::ErrorKind::UnexpectedEof => Some(TransportErrorKind::Eof),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => Some(TransportErrorKind::Reset),
        // What to look at is the same: the path.
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Some(TransportErrorKind::Timeout),
        // How chunked encoding that is none is reported.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Some(TransportErrorKind::Unexpected),
        _ => None,
    }
}

/// What an error of TLS means where its own words do not say it.
fn tls_words(error: &TlsError) -> Option<(TransportErrorKind, &'static str)> {
    match error {
        TlsError::AlertReceived(alert) => from_alert((*alert).into()),
        TlsError::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => from_alert(PROTOCOL_VERSION),
        _ => None,
    }
}

/// Visits an error and its causes, outermost first.
fn walk(error: &(dyn StdError + 'static), visit: &mut dyn FnMut(&(dyn StdError + 'static))) {
    visit(error);
    // `source` of an I/O error skips the error it wraps, which is where TLS puts the reason.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inner {
        Some(inner) => walk(inner, visit),
        None => {
            if let Some(source) = error.source() {
                walk(source, visit);
            }
        }
    }
}

fn describe(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    walk(error, &mut |cause| {
        let part = cause.to_string();
        // Wrappers repeat what they wrap.
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        if let Some((_, words)) = cause.downcast_ref().and_then(tls_words) {
            text.push_str("; ");
            text.push_str(words);
        }
    });
    text
}

/// What a status says that is not an answer.
pub(crate) fn from_status(status: StatusCode) -> TransportError {
    let (category, what) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (TransportErrorKind::Auth, "the key was not accepted"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            (TransportErrorKind::Busy, "it has no room now")
        }
        StatusCode::INTERNAL_SERVER_ERROR => (TransportErrorKind::PeerFault, "it reports a failure of its own"),
        StatusCode::UPGRADE_REQUIRED => (TransportErrorKind::Scheme, "it speaks TLS on this port"),
        _ if status.is_redirection() => (TransportErrorKind::Redirect, "redirects are never followed"),
        _ => (TransportErrorKind::Unexpected, "not how an Antiphon node answers"),
    };
    TransportError::new(category, format!("HTTP status {}: {what}", status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_category() {
        let of = |code: u16| from_status(StatusCode::from_u16(code).unwrap_or_default()).kind();
        assert_eq!((of(401), of(403)), (TransportErrorKind::Auth, TransportErrorKind::Auth));
        assert_eq!((of(301), of(308)), (TransportErrorKind::Redirect, TransportErrorKind::Redirect));
        assert_eq!(of(426), TransportErrorKind::Scheme);
        assert_eq!((of(429), of(503)), (TransportErrorKind::Busy, TransportErrorKind::Busy));
        assert_eq!((of(404), of(502)), (TransportErrorKind::Unexpected, TransportErrorKind::Unexpected));
        assert_eq!(of(500), TransportErrorKind::PeerFault);
    }

    #[test]
    fn an_alert_about_our_certificate_is_no_fault_of_the_peer_s() {
        let alert = |alert| TlsError::AlertReceived(alert);
        let outer = io::Error::other(alert(rustls::AlertDescription::CertificateRequired));
        let mut seen = Vec::new();
        walk(&outer, &mut |cause| seen.extend(cause_kind(cause)));
        assert!(seen.contains(&TransportErrorKind::CertificateRefused), "{seen:?}");
        assert!(describe(&outer).ends_with("; the peer asks for a certificate, and got none"), "{}", describe(&outer));
        let old = alert(rustls::AlertDescription::ProtocolVersion);
        assert_eq!(cause_kind(&old), Some(TransportErrorKind::Tls));
        assert!(describe(&old).contains("no version of TLS that is accepted here"));
        assert_eq!(cause_kind(&alert(rustls::AlertDescription::HandshakeFailure)), Some(TransportErrorKind::Tls));
    }

    #[test]
    fn a_tls_reason_inside_an_io_error_is_found() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let outer = io::Error::other(inner);
        let mut seen = Vec::new();
        walk(&outer, &mut |cause| seen.extend(cause_kind(cause)));
        assert!(seen.contains(&TransportErrorKind::Tls), "{seen:?}");
    }
}
