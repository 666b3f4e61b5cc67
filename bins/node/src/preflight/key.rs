//! The shared key.

use super::findings::Findings;
use crate::config::NodeConfig;
use crate::error_text::with_causes;
use crate::exposed::is_open_to_others;
use crate::reply::{Level, Status};

/// Whether the node has its keys from an environment that is not this command's, so that this one may have others.
pub(super) fn other_keys(config: &NodeConfig, status: Option<&Status>) -> bool {
    let theirs = status.and_then(|status| status.keys_from.as_deref());
    theirs == Some("environment") && config.keys_from() != Some("environment")
}

pub(super) fn key(config: &NodeConfig, status: Option<&Status>, findings: &mut Findings) {
    let keys = match config.shared_keys() {
        Ok(keys) => keys,
        Err(error) => {
            let remedy = "copy it from a node that has it; only a new federation makes one, with `antiphon key`";
            return findings.add("key", Level::Fail, with_causes(&error), remedy);
        }
    };
    // The node that serves may have them from an environment of its own.
    let used = status.map_or(keys.len(), |status| status.keys);
    if used > 0 && other_keys(config, status) {
        findings.add(
            "key",
            Level::Warn,
            "the node's comes from its environment, and this command's does not: peers may refuse what they are asked here",
            "run it with the node's ANTIPHON_SHARED_KEY, or let federation.key_file alone name the key for both",
        );
    } else if let Err(error) = config.check_listeners(&keys) {
        findings.add("key", Level::Fail, with_causes(&error), "then `antiphon config check`");
    } else if used == 0 {
        findings.add(
            "key",
            Level::Warn,
            "there is none: any caller that reaches this node may read its log",
            "give all nodes the same one: copy it, or make a first with `antiphon key`",
        );
    } else if used > 1 {
        let says = format!("{used} are valid; leave the old one out once every node presents the new one");
        findings.add("key", Level::Warn, says, "then `antiphon reload`");
    } else {
        findings.ok("key", "there is one");
    }
    let file = config.federation.key_file.as_ref().map(|file| config.path(file));
    if let Some(file) = file.filter(|file| is_open_to_others(file)) {
        let says = format!("others than its owner may read {}", file.display());
        findings.add("key", Level::Warn, says, &format!("chmod 600 {}", file.display()));
    }
}
