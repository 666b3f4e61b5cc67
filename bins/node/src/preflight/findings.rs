//! The findings so far.

use antiphon_kernel::error_code::ErrorCode;

use crate::error_text;
use crate::remedy::remedy;
use crate::reply::{Finding, Level};

#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, check: impl Into<String>, level: Level, says: impl Into<String>, remedy: &str) {
        self.push(check.into(), level, says.into(), None, remedy);
    }

    /// Adds a failure with a code, and what to do about that code.
    pub(super) fn coded(&mut self, check: impl Into<String>, level: Level, says: impl Into<String>, code: ErrorCode) {
        self.push(check.into(), level, says.into(), Some(code), remedy(code));
    }

    /// Adds an error. `otherwise` is what to do if it has no code.
    pub(super) fn failed(&mut self, check: impl Into<String>, error: &anyhow::Error, otherwise: &str) {
        let code = error_text::code(error);
        self.push(
            check.into(),
            Level::Fail,
            error_text::with_causes(error),
            code,
            code.map_or(otherwise, |code| remedy(code)),
        );
    }

    fn push(&mut self, check: String, level: Level, says: String, code: Option<ErrorCode>, remedy: &str) {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.0.push(Finding { check, level, says, code: code.map(|code| code.to_string()), remedy });
    }

    pub(super) fn ok(&mut self, check: impl Into<String>, says: impl Into<String>) {
        self.add(check, Level::Ok, says, "");
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        self.0
    }
}
