//! From what the HTTP stack reports to what the kernel counts: by type, along the chain of causes.

use std::error::Error as StdError;
use std::io;

use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::TransportError;
use reqwest::StatusCode;

/// What a failed request was.
pub(crate) fn from_reqwest(error: reqwest::Error) -> TransportError {
    // The URL is configuration's to show.
    let error = error.without_url();
    TransportError::new(category_of(&error), describe(&error))
}

fn category_of(error: &reqwest::Error) -> ErrorCategory {
    if error.is_dns() {
        return ErrorCategory::Dns;
    }
    let mut found = None;
    walk(error, &mut |cause| {
        // The innermost cause is the most precise, except that nothing is more precise than TLS.
        if !matches!(found, Some(ErrorCategory::Tls | ErrorCategory::Scheme)) {
            found = cause_category(cause).or(found);
        }
    });
    // Later in a session such a byte is damage, or an attack.
    if found == Some(ErrorCategory::Scheme) && !error.is_connect() {
        found = Some(ErrorCategory::Tls);
    }
    found.unwrap_or_else(|| {
        if error.is_timeout() {
            ErrorCategory::Timeout
        } else if error.is_builder() {
            ErrorCategory::Configuration
        } else if error.is_decode() {
            ErrorCategory::Unexpected
        } else {
            ErrorCategory::Reset
        }
    })
}

fn cause_category(cause: &(dyn StdError + 'static)) -> Option<ErrorCategory> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        // The first byte is no record of TLS: something answers in clear, as a server of plain HTTP does.
        let clear = matches!(tls, rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        return Some(if clear { ErrorCategory::Scheme } else { ErrorCategory::Tls });
    }
    if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
        return if hyper.is_incomplete_message() {
            Some(ErrorCategory::Eof)
        } else if hyper.is_parse() {
            Some(ErrorCategory::Unexpected)
        } else if hyper.is_timeout() {
            Some(ErrorCategory::Timeout)
        } else if hyper.is_canceled() || hyper.is_closed() {
            Some(ErrorCategory::Reset)
        } else {
            None
        };
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some(ErrorCategory::ConnectionRefused),
        io::ErrorKind::UnexpectedEof => Some(ErrorCategory::Eof),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => Some(ErrorCategory::Reset),
        // What to look at is the same: the path.
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Some(ErrorCategory::Timeout),
        // How chunked encoding that is none is reported.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Some(ErrorCategory::Unexpected),
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
    });
    text
}

/// What a status says that is not an answer.
pub(crate) fn from_status(status: StatusCode) -> TransportError {
    let (category, what) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (ErrorCategory::Auth, "the key was not accepted"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (ErrorCategory::Busy, "it has no room now"),
        StatusCode::INTERNAL_SERVER_ERROR => (ErrorCategory::PeerFault, "it reports a failure of its own"),
        StatusCode::UPGRADE_REQUIRED => (ErrorCategory::Scheme, "it speaks TLS on this port"),
        _ if status.is_redirection() => (ErrorCategory::Redirect, "redirects are never followed"),
        _ => (ErrorCategory::Unexpected, "not how an Antiphon node answers"),
    };
    TransportError::new(category, format!("HTTP status {}: {what}", status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_category() {
        let of = |code: u16| from_status(StatusCode::from_u16(code).unwrap_or_default()).category();
        assert_eq!((of(401), of(403)), (ErrorCategory::Auth, ErrorCategory::Auth));
        assert_eq!((of(301), of(308)), (ErrorCategory::Redirect, ErrorCategory::Redirect));
        assert_eq!(of(426), ErrorCategory::Scheme);
        assert_eq!((of(429), of(503)), (ErrorCategory::Busy, ErrorCategory::Busy));
        assert_eq!((of(404), of(502)), (ErrorCategory::Unexpected, ErrorCategory::Unexpected));
        assert_eq!(of(500), ErrorCategory::PeerFault);
    }

    #[test]
    fn a_tls_reason_inside_an_io_error_is_found() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let outer = io::Error::other(inner);
        let mut seen = Vec::new();
        walk(&outer, &mut |cause| seen.extend(cause_category(cause)));
        assert!(seen.contains(&ErrorCategory::Tls), "{seen:?}");
    }
}
