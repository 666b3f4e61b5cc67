//! What an error says: its causes, its code, and what to do about it.

use std::error::Error;

use antiphon_https as https;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::log::InDoubt;
use antiphon_quic as quic;
use antiphon_transport_common::{CertificateError, RevocationListError};

use crate::remedy;

/// The error and its causes, joined by colons; a cause that is quoted already, as those of libraries often are, is not said again.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn code_of(error: &(dyn Error + 'static)) -> Option<ErrorCode> {
    ErrorCode::of(error)
        .or_else(|| error.downcast_ref::<https::ServerError>().map(https::ServerError::code))
        .or_else(|| error.downcast_ref::<quic::ServerError>().map(quic::ServerError::code))
        .or_else(|| error.downcast_ref::<CertificateError>().map(CertificateError::code))
        .or_else(|| error.downcast_ref::<RevocationListError>().map(RevocationListError::code))
}

/// The code of an error: of the outermost one of its chain that has a code.
pub fn code(error: &anyhow::Error) -> Option<ErrorCode> {
    // It is attached to other errors, and not one of the chain.
    let doubt = error.downcast_ref::<InDoubt>().map(InDoubt::code);
    doubt.or_else(|| error.chain().find_map(code_of))
}

/// The error with its causes and its code.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let text = chain(error);
    code(error).map_or_else(|| text.clone(), |code| format!("{text} ({code})"))
}

/// The error with its causes, its code, and what to do about it.
pub fn explained(error: &anyhow::Error) -> String {
    with_remedy(&chain(error), code(error).map(ErrorCode::as_str))
}

/// A text with its code, and what to do about it.
pub fn with_remedy(text: &str, code: Option<&str>) -> String {
    let Some(code) = code else { return text.to_owned() };
    let remedy = remedy::of_text(code).map(|remedy| format!(". {}.", sentence(remedy)));
    format!("{text} ({code}){}", remedy.unwrap_or_default())
}

/// A remedy as the beginning of a sentence.
fn sentence(remedy: &str) -> String {
    let mut chars = remedy.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use antiphon_https::ServerError;
    use antiphon_kernel::store::{StoreError, StoreErrorKind};
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let (addr, source) = (([127, 0, 0, 1], 1).into(), std::io::Error::other("it is taken"));
        let error = anyhow::Error::from(ServerError::Listen { addr, source }).context("listen.https");
        let said = with_causes(&error);
        assert_eq!(said, "listen.https: cannot listen on 127.0.0.1:1: it is taken (AP-LISTEN-003)");
        let error = anyhow::anyhow!("no room").context("the store could not be opened");
        assert_eq!(explained(&error), "the store could not be opened: no room");
    }

    #[test]
    fn an_error_with_a_code_ends_with_its_remedy() {
        let used = StoreError::new(StoreErrorKind::InUse, "/data/LOCK is held");
        let error = anyhow::Error::from(used).context("the node was not started");
        let said = explained(&error);
        assert!(
            said.starts_with("the node was not started: ") && said.contains("/data/LOCK is held (AP-STORE-003). Stop "),
            "{said}"
        );
        assert!(said.ends_with('.'), "{said}");
    }

    #[test]
    fn a_doubt_has_its_own_code_whatever_caused_it() {
        let error = Err::<(), _>(StoreError::new(StoreErrorKind::Io, "x"))
            .context(InDoubt)
            .context("the import ended")
            .unwrap_err();
        assert_eq!(code(&error), Some(ErrorCode::AppendInDoubt));
    }

    #[test]
    fn a_code_of_another_version_has_no_remedy_here() {
        assert_eq!(with_remedy("it failed", Some("AP-NEW-001")), "it failed (AP-NEW-001)");
        assert_eq!(with_remedy("it failed", None), "it failed");
    }
}
