//! What a status says to people, where it needs attention.

use antiphon_kernel::clock::MAX_CLOCK_ENTRIES;
use serde_json::Value;

use crate::terminal::printable;

pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// Of which cortexes two processes live, if there are any.
pub fn doubles(status: &Value) -> Option<String> {
    let one = |double: &Value| {
        let names: Vec<_> = double["peers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let peers = if names.is_empty() { String::new() } else { format!(" (peer {})", printable(&names.join(", "))) };
        match double["own"] == true {
            true => format!("ANOTHER NODE RUNS AS THIS ONE{peers}, from a copy of its data directory"),
            false => format!(
                "two nodes run as cortex {}{peers}, one from a copy of the other's data directory",
                text(&double["cortex_id"])
            ),
        }
    };
    let all: Vec<_> = status["doubles"].as_array().into_iter().flatten().map(one).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// That the store holds another name than the configuration gives.
pub fn other_name(stored: &str, configured: &str) -> String {
    let stored = printable(stored);
    format!("node.name is `{configured}`, but these data are of `{stored}`: is this its data directory?")
}

/// The same by a status, if it is so.
pub fn name_differs(status: &Value) -> Option<String> {
    Some(other_name(status["name"].as_str()?, status["configured_name"].as_str()?))
}

/// From so many origins on it is time to act: one more a new epoch, and 1,024 at most.
const MANY_ORIGINS: u64 = 900;

/// That the node's own appends will end, if the log has many origins.
pub fn many_origins(status: &Value) -> Option<String> {
    let origins = status["origins"].as_u64().filter(|origins| *origins >= MANY_ORIGINS)?;
    Some(format!(
        "the log has {origins} of at most {MAX_CLOCK_ENTRIES} origins: at the bound this node cannot append once it needs a new epoch"
    ))
}

/// Why the epoch changed last, and which peer showed that it had to.
pub fn epoch_reason(change: &Value) -> String {
    let reason = text(&change["reason"]);
    match change["peer"].as_str() {
        Some(peer) => format!("{reason} (shown by {})", printable(peer)),
        None => reason,
    }
}

/// Epochs under this node's id that it did not begin, with what to do.
pub fn claimed(status: &Value) -> impl Iterator<Item = String> {
    status["claimed_epochs"].as_array().into_iter().flatten().map(|claimed| {
        let peer = text(&claimed["peer"]);
        format!(
            "{peer} brought {} events under this node's id, of epoch {}, which this store did not begin; if no backup from before that epoch \
             was restored here, the events are made up: stop pulling that peer with `antiphon pause-peer {peer}`",
            claimed["events"],
            text(&claimed["epoch"])
        )
    })
}

/// That the last reload was refused, if it was.
pub fn reload_refused(status: &Value) -> Option<String> {
    let why = printable(&status["reload_refused"].as_str()?.replace('\n', "; "));
    Some(format!("the last reload was refused, and the configuration from before goes on: {why}"))
}

/// For a status: which peers may have shown what no owner holds, and what to do.
pub fn suspected(status: &Value) -> impl Iterator<Item = String> {
    status["peers"].as_array().into_iter().flatten().filter_map(|peer| {
        let count = peer["suspect_forks"].as_u64().filter(|count| *count > 0)?;
        let name = text(&peer["name"]);
        Some(format!(
            "{name} needs attention: in {count} forks it, or a node that it pulls, brought what the origin's own cortex is not known to hold; \
             see `antiphon fork list`, and stop pulling it with `antiphon pause-peer {name}`"
        ))
    })
}
