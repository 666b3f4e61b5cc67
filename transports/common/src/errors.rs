//! Failures, named as the kernel counts them.

use antiphon_kernel::codec::WireError;
use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;

/// The longest detail that goes into the log; a peer chooses parts of some.
const MAX_DETAIL: usize = 400;

/// What the TLS library means by `CaUsedAsEndEntity`.
const AUTHORITY_AS_SERVER: &str = "; its certificate is an authority's (CA:TRUE), which no server may show";

/// What a peer's alert of TLS means, by its number (RFC 8446, section 6): what kind of failure it is, and in words. `None` if the
/// number says all that is known.
#[must_use]
pub const fn from_alert(alert: u8) -> Option<(TransportErrorKind, &'static str)> {
    let words = match alert {
        42 => "the peer cannot read our certificate",
        43 => "our certificate is not one for clients (extendedKeyUsage has no clientAuth)",
        44 => "our certificate is revoked",
        45 => "our certificate is not valid now",
        46 | 49 => "the peer does not accept our certificate",
        48 => {
            "our certificate is of no authority that the peer trusts, or the peer has no current list of that authority"
        }
        70 => return Some((TransportErrorKind::Tls, "the peer speaks no version of TLS that is accepted here")),
        116 => "the peer asks for a certificate, and got none",
        _ => return None,
    };
    Some((TransportErrorKind::CertificateRefused, words))
}

/// A peer that cannot be dialled as it is configured.
pub fn configuration(detail: impl Into<String>) -> TransportError {
    TransportError::new(TransportErrorKind::Configuration, detail)
}

/// A failure of this kind.
pub fn failure(kind: TransportErrorKind, detail: impl Into<String>) -> TransportError {
    TransportError::new(kind, detail)
}

/// What a frame that cannot be used was.
#[must_use]
pub fn from_wire(error: &WireError) -> TransportError {
    TransportError::new(error.kind(), error.to_string())
}

/// The error as it may be shown: bounded, on one line, and without the key even if a peer sent it back.
#[must_use]
pub fn presentable(error: &TransportError, key: &str) -> TransportError {
    let mut detail = error.detail().to_owned();
    if !key.is_empty() {
        detail = detail.replace(key, "[key]");
    }
    if detail.contains("CaUsedAsEndEntity") {
        detail.push_str(AUTHORITY_AS_SERVER);
    }
    let detail = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL).collect::<String>();
    error.clone().with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_key_and_no_end_of_line() {
        let error = failure(TransportErrorKind::Unexpected, format!("it said\n\u{1b}[31msecret{}", "x".repeat(1000)));
        let shown = presentable(&error, "secret");
        assert!(!shown.detail().contains("secret") && !shown.detail().contains('\n'));
        assert!(shown.detail().contains("[key]") && shown.detail().chars().count() <= MAX_DETAIL);
    }
}
