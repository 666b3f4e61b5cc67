//! What a status says to people, where it needs attention.

use antiphon_kernel::clock::MAX_CLOCK_ENTRIES;

use crate::reply::{Double, EpochChange, Status};
use crate::terminal::printable;

/// Of which cortexes two processes live, if there are any.
pub fn doubles(status: &Status) -> Option<String> {
    let one = |double: &Double| {
        let names: Vec<_> = double.peers.iter().map(|peer| peer.as_str()).collect();
        let peers = if names.is_empty() { String::new() } else { format!(" (peer {})", names.join(", ")) };
        match double.own {
            true => format!("ANOTHER NODE RUNS AS THIS ONE{peers}, from a copy of its data directory"),
            false => format!(
                "two nodes run as cortex {}{peers}, one from a copy of the other's data directory",
                double.cortex_id
            ),
        }
    };
    let all: Vec<_> = status.doubles.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// That the store holds another name than the configuration gives.
pub(crate) fn other_name(stored: &str, configured: &str) -> String {
    let stored = printable(stored);
    format!("node.name is `{configured}`, but these data are of `{stored}`: is this its data directory?")
}

/// The same by a status, if it is so.
pub fn name_differs(status: &Status) -> Option<String> {
    Some(other_name(&status.name, status.configured_name.as_ref()?.as_str()))
}

/// From this number of origins on it is time to act: one more a new epoch, and 1,024 at most.
const MANY_ORIGINS: usize = 900;

/// That the node's own appends will end, if the log has this number of origins.
pub fn many_origins(origins: usize) -> Option<String> {
    (origins >= MANY_ORIGINS).then(|| {
        format!(
            "the log has {origins} of at most {MAX_CLOCK_ENTRIES} origins: at the bound this node cannot append once it needs a new epoch"
        )
    })
}

/// Why the epoch changed last, and which peer showed that it had to.
pub fn epoch_reason(change: &EpochChange) -> String {
    let reason = printable(&change.reason);
    match &change.peer {
        Some(peer) => format!("{reason} (shown by {peer})"),
        None => reason,
    }
}

/// Epochs under this node's id that it did not begin, with what to do.
pub fn claimed(status: &Status) -> impl Iterator<Item = String> {
    status.claimed_epochs.iter().map(|claimed| {
        let peer = &claimed.peer;
        format!(
            "{peer} brought {} events under this node's id, of epoch {}, which this store did not begin; if no backup from before that epoch \
             was restored here, the events are made up: stop pulling that peer with `antiphon pause-peer {peer}`",
            claimed.events, claimed.epoch
        )
    })
}

/// That the last reload was refused, if it was.
pub fn reload_refused(status: &Status) -> Option<String> {
    let why = printable(&status.reload_refused.as_ref()?.replace('\n', "; "));
    Some(format!("the last reload was refused, and the configuration from before goes on: {why}"))
}

/// For a status: which peers may have shown what no owner holds, and what to do.
pub fn suspected(status: &Status) -> impl Iterator<Item = String> {
    status.peers.iter().filter(|peer| peer.suspect_forks > 0).map(|peer| {
        let (name, count) = (&peer.name, peer.suspect_forks);
        format!(
            "{name} needs attention: in {count} forks it, or a node that it pulls, brought what the origin's own cortex is not known to hold; \
             see `antiphon fork list`, and stop pulling it with `antiphon pause-peer {name}`"
        )
    })
}
