//! What is wrong, or will be, and what to do about it, as `antiphon doctor` reports it. Changes nothing that is kept. The store
//! of a node that does not run is opened as its start would open it, which may bring its log into order.

mod addresses;
mod certificates;
mod disk;
mod key;
mod limits;
mod peers;
mod running;

use std::path::Path;

use serde::Serialize;

use crate::admin::Backend;
use crate::config::NodeConfig;
use crate::error_text::with_causes;
use crate::hidden;
use crate::replayers::Replayers;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found, in one sentence.
    pub says: String,
    /// What to do, unless nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: impl Into<String>, level: Level, says: impl Into<String>, remedy: &str) {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.0.push(Finding { check: check.into(), level, says: says.into(), remedy });
    }

    fn ok(&mut self, check: impl Into<String>, says: impl Into<String>) {
        self.add(check, Level::Ok, says, "");
    }
}

/// Looks at everything that a configuration names.
pub async fn run(file: &Path) -> Vec<Finding> {
    run_with(file, &Replayers::default()).await
}

/// The same, with the replayers of a custom node.
pub(crate) async fn run_with(file: &Path, replayers: &Replayers) -> Vec<Finding> {
    let mut findings = Findings::default();
    match NodeConfig::load(file) {
        Ok(mut config) => {
            config.replayers = replayers.clone();
            findings.ok("configuration", format!("{} reads well", file.display()));
            examine(&config, &mut findings).await;
        }
        Err(error) => {
            findings.add("configuration", Level::Fail, with_causes(&error), "fix it; nothing else was looked at");
            if let Ok(Some(_)) = Backend::serving(file).await {
                let says = "one serves, with the configuration from before; started now, it would not";
                findings.add("node", Level::Warn, says, "fix the configuration before it is restarted");
            }
        }
    }
    findings.0
}

async fn examine(config: &NodeConfig, findings: &mut Findings) {
    let serves = tokio::net::UnixStream::connect(config.socket()).await.is_ok() || hidden::find(config).await.is_some();
    let status = running::node(config, serves, findings).await;
    key::key(config, status.as_ref(), findings);
    certificates::certificates(config, findings);
    limits::limits(status.as_ref(), findings);
    disk::disk(config, findings);
    addresses::addresses(config, serves, findings).await;
    peers::peers(config, status.as_ref(), findings).await;
}
