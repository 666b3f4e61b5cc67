//! Limits of the system.

use super::findings::Findings;
use crate::reply::{Level, Status};

/// 1,024 connections, the store's files, and some room.
const FILES: u64 = 4096;

/// The node's own limit where it serves, and otherwise that of the user who would start it from here.
pub(super) fn limits(status: Option<&Status>, findings: &mut Findings) {
    let own = || nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft);
    let (whose, limit) = match status {
        Some(status) => ("the node", status.open_files_limit),
        None => ("a node that is started from here", own()),
    };
    match limit {
        Some(soft) if soft < FILES => findings.add(
            "open files",
            Level::Warn,
            format!("{whose} may open {soft}; a busy one needs {FILES}"),
            "`ulimit -n 65536`, or LimitNOFILE=65536 in its unit",
        ),
        Some(soft) => findings.ok("open files", format!("{whose} may open {soft}")),
        None => findings.add("open files", Level::Warn, "their limit is not known", "look at `ulimit -n`"),
    }
}
