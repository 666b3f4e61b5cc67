//! What is wrong, or will be, and what to do about it, as `antiphon doctor` reports it. Changes nothing that is kept. The store
//! of a node that does not run is opened as its start would open it, which may bring its log into order.

mod addresses;
mod certificates;
mod disk;
mod findings;
mod key;
mod limits;
mod peers;
mod running;

use std::path::Path;

use crate::config::NodeConfig;
use crate::replayers::Replayers;
use crate::reply::{Finding, Level};
use crate::socket::{Backend, find_hidden};

use findings::Findings;

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
            findings.failed("configuration", &error, "fix it; nothing else was looked at");
            if let Ok(Some(_)) = Backend::serving(file).await {
                let says = "one serves, with the configuration from before; started now, it would not";
                findings.add("node", Level::Warn, says, "fix the configuration before it is restarted");
            }
        }
    }
    findings.into_list()
}

async fn examine(config: &NodeConfig, findings: &mut Findings) {
    let serves = tokio::net::UnixStream::connect(config.socket()).await.is_ok() || find_hidden(config).await.is_some();
    let status = running::node(config, serves, findings).await;
    key::key(config, status.as_ref(), findings);
    certificates::certificates(config, findings);
    limits::limits(status.as_ref(), findings);
    disk::disk(config, findings);
    addresses::addresses(config, serves, findings).await;
    peers::peers(config, status.as_ref(), findings).await;
}
