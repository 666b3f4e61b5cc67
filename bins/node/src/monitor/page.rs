//! The status for the page: with the lag of each peer in the last minutes, the last changes of states, and no more peers than a
//! page can show.

use std::collections::BTreeMap;

use anyhow::Result;

use super::history::{History, PAGE_PEERS};
use crate::api;
use crate::error_text::{code, explained};
use crate::node::Node;
use crate::reply::{Failure, Status};

/// The JSON. Reads the store.
pub(super) fn json(node: &Node, history: &History) -> String {
    let made = page(node, history).and_then(|status| Ok(serde_json::to_string(&status)?));
    let failure = |error: anyhow::Error| {
        let code = code(&error).map(|code| code.to_string());
        serde_json::to_string(&Failure { error: explained(&error), code })
    };
    made.or_else(failure).unwrap_or_default()
}

fn page(node: &Node, history: &History) -> Result<Status> {
    let mut status = api::report(node)?;
    let mut states = BTreeMap::<String, u32>::new();
    for state in status.peers.iter().filter_map(|peer| peer.state) {
        *states.entry(state.as_str().to_owned()).or_default() += 1;
    }
    status.peers_total = Some(status.peers.len());
    status.peers_by_state = Some(states);
    status.changes = Some(history.changes());
    // States are in the order of urgency.
    status.peers.sort_by_cached_key(|peer| (peer.state, peer.name.clone()));
    status.peers.truncate(PAGE_PEERS);
    for peer in &mut status.peers {
        peer.lag_history = Some(history.of(&peer.name));
    }
    Ok(status)
}
