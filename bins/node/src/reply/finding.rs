//! Findings of `antiphon doctor`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is wrong.
    Ok,
    /// The node works, but needs attention.
    Warn,
    /// Something does not work.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// `ok`, `warn` (needs attention) or `fail` (does not work).
    #[schemars(with = "String")]
    pub level: Level,
    /// What was found, in one sentence.
    pub says: String,
    /// The stable code of the failure; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub code: Option<String>,
    /// What to do; absent if nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remedy: Option<String>,
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// Whether no check failed.
    pub ok: bool,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
}
