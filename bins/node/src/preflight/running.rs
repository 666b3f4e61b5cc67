//! The node that serves, or its store.

use antiphon_kernel::error_code::ErrorCode;

use super::findings::Findings;
use crate::api::Request;
use crate::config::NodeConfig;
use crate::reply::{Level, Replayer, Status};
use crate::socket::Backend;
use crate::status_text::{claimed, doubles, epoch_reason, many_origins, name_differs, reload_refused, suspected};

/// Asks the node that serves, or looks whether its store opens.
pub(super) async fn node(config: &NodeConfig, serves: bool, findings: &mut Findings) -> Option<Status> {
    let asked = async {
        let mut backend = Backend::open(config.clone()).await?;
        let status = backend.ask::<Status>(Request::Status).await;
        backend.close().await;
        status
    };
    let status = match asked.await {
        Ok(status) => status,
        Err(error) => {
            let otherwise = if serves {
                "what follows was looked at without it"
            } else {
                "fix that; then start it with `antiphon serve`"
            };
            findings.failed("node", &error, otherwise);
            return None;
        }
    };
    if let Some(refused) = status.appends_refused.as_ref().filter(|_| status.read_only.is_none()) {
        findings.add("appends", Level::Fail, format!("each is refused: {}", refused.reason), &refused.remedy);
    }
    if !serves {
        findings.add("node", Level::Warn, "it does not run; its store opens", "start it with `antiphon serve`");
        return None;
    }
    findings.ok("node", format!("{} serves, with {} events", status.name, status.events));
    if let Some(why) = &status.read_only {
        let remedy = status.appends_refused.as_ref().map(|refused| refused.remedy.as_str());
        let remedy = remedy.unwrap_or("look at the disk and the node's log");
        findings.add("store", Level::Fail, format!("it cannot be written: {why}"), remedy);
    }
    if let Some(says) = reload_refused(&status) {
        findings.add(
            "reload",
            Level::Warn,
            says,
            "fix that, and `antiphon reload`; or restart the node, where it says so",
        );
    }
    epochs(&status, findings);
    if let Some(says) = doubles(&status) {
        findings.coded("identity", Level::Fail, says, ErrorCode::PeerDouble);
    }
    if let Some(says) = name_differs(&status) {
        let remedy = "name the data directory of that node in node.data_dir, or write the name that the data have";
        findings.add("identity", Level::Warn, says, remedy);
    }
    if let Some(says) = many_origins(status.origins) {
        let remedy =
            "`antiphon digest --by-origin` shows who has many: avoid restores and copies, or begin a new federation";
        findings.add("origins", Level::Warn, says, remedy);
    }
    if let Some(says) = &status.disk_trouble {
        findings.add("disk space", Level::Warn, says, "`antiphon status --json` lists who brought how much");
    }
    if status.forks > 0 {
        findings.add("forks", Level::Fail, format!("{} are not resolved", status.forks), "`antiphon fork list`");
    }
    for says in suspected(&status) {
        let (says, remedy) = says.split_once("; ").unwrap_or((says.as_str(), ""));
        findings.add("forks", Level::Fail, says, remedy);
    }
    status.replayers.iter().for_each(|one| replayer(one, findings));
    Some(status)
}

fn epochs(status: &Status, findings: &mut Findings) {
    if let Some(change) = &status.epoch_change {
        let says = format!("changed on {}: {}", change.at, epoch_reason(change));
        match &change.peer {
            None => findings.ok("epoch", says),
            Some(peer) => {
                let remedy = format!(
                    "if this node was neither copied nor set back, that peer or one that it pulls makes events up: `antiphon pause-peer {peer}`"
                );
                findings.add("epoch", Level::Warn, says, &remedy);
            }
        }
    }
    for says in claimed(status) {
        let (says, remedy) = says.split_once("; ").unwrap_or((says.as_str(), ""));
        findings.add("epoch", Level::Warn, says, remedy);
    }
}

fn replayer(replayer: &Replayer, findings: &mut Findings) {
    let check = format!("replayer {}", replayer.name);
    if let Some(error) = &replayer.last_error {
        let remedy = match replayer.fails_at {
            Some(cursor) => format!("`antiphon replay retry`, or `antiphon replay skip {cursor}`"),
            None => "`antiphon verify`, then `antiphon replay retry`".to_owned(),
        };
        findings.add(check, Level::Fail, format!("halted: {error}"), &remedy);
    } else if let Some(cursor) = replayer.hangs_at {
        findings.add(
            check,
            Level::Fail,
            format!("hangs in the event at cursor {cursor}"),
            "look at that event; restart the node",
        );
    } else if replayer.parked > 0 {
        findings.add(check, Level::Warn, format!("{} events parked", replayer.parked), "`antiphon replay list`");
    } else {
        findings.ok(check, format!("{} places to go", replayer.lag_events));
    }
}
