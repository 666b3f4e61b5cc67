//! The findings so far.

use crate::reply::{Finding, Level};

#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, check: impl Into<String>, level: Level, says: impl Into<String>, remedy: &str) {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.0.push(Finding { check: check.into(), level, says: says.into(), remedy });
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
