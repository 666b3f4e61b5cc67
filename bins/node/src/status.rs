//! How a node and its peers fare, as JSON: for commands, the status page, and other programs.

use std::collections::BTreeMap;

use antiphon_kernel::condition::Condition;
use antiphon_kernel::doubles::Double;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{Origin, PeerName};
use antiphon_kernel::log::{claimed_epochs as claimed, read_epoch_change, read_epoch_peer};
use antiphon_kernel::state::PeerState;
use antiphon_kernel::time::Timestamp;
use anyhow::Result;
use serde_json::{Value, json};

use crate::error_text::with_causes;
use crate::forks;
use crate::node::Node;
use crate::space;

/// So many peers are listed on the page, those that need attention first.
pub(crate) const PAGE_PEERS: usize = 200;

/// Everything, all peers by name.
pub(crate) fn of(node: &Node) -> Result<Value> {
    let now = Timestamp::now();
    let peers = node.peers()?;
    let floor = node.cortex().syncer().min_free();
    let mut status = about(node, now)?;
    let suspects = forks::suspects(node)?;
    let most = space::most_origins(&node.cortex().view().origins());
    status["peers"] = peers.iter().map(|peer| peer_json(peer, floor, most.as_ref(), now, &suspects)).collect();
    if !node.is_serving() {
        // Nobody pulls them, whatever is configured: what state they would be in is not known.
        for peer in status["peers"].as_array_mut().into_iter().flatten() {
            (peer["state"], peer["phase"]) = (Value::Null, Value::Null);
        }
    }
    Ok(status)
}

/// The same for the page: with how far behind each peer was lately, and no more peers than a page can show.
pub(crate) fn page(node: &Node) -> String {
    let now = Timestamp::now();
    let made = node.peers().and_then(|mut peers| {
        let mut status = about(node, now)?;
        let mut states = BTreeMap::<&str, u32>::new();
        for peer in &peers {
            *states.entry(Condition::of(peer, now).as_str()).or_default() += 1;
        }
        status["peers_total"] = peers.len().into();
        status["peers_by_state"] = json!(states);
        peers.sort_by_key(|peer| (Condition::of(peer, now), peer.name.clone()));
        let floor = node.cortex().syncer().min_free();
        let suspects = forks::suspects(node)?;
        let most = space::most_origins(&node.cortex().view().origins());
        let listed = peers.iter().take(PAGE_PEERS).map(|peer| {
            let mut entry = peer_json(peer, floor, most.as_ref(), now, &suspects);
            entry["lag_history"] = json!(node.history().of(&peer.name));
            entry
        });
        status["peers"] = listed.collect();
        Ok(status)
    });
    made.unwrap_or_else(|error| json!({ "error": with_causes(&error) })).to_string()
}

fn about(node: &Node, now: Timestamp) -> Result<Value> {
    let cortex = node.cortex();
    let view = cortex.view();
    let identity = view.identity(now);
    let memory = cortex.service().budget().usage();
    let origins = view.origins();
    let (brought, largest) = space::json(&origins);
    let (free, floor) = (view.store().free_bytes().ok().flatten(), cortex.syncer().min_free());
    let evidence = node.evidence_bytes();
    let change = read_epoch_change(&**view.store())?;
    let epoch_peer = read_epoch_peer(&**view.store())?;
    let replayers: Vec<_> = cortex.replayers().iter().map(|replayer| replayer.status()).collect();
    Ok(json!({
        "name": identity.name,
        "cortex_id": identity.cortex_id,
        "epoch": identity.epoch.to_string(),
        "epoch_change": change.map(|change| json!({
            "from": change.from.to_string(), "why": change.why, "reason": change.why.to_string(),
            "at": change.at.to_string(), "peer": epoch_peer, "on_purpose": change.why.is_on_purpose(),
        })),
        "claimed_epochs": claimed_epochs(node)?,
        "version": identity.version,
        "serving": node.is_serving(),
        "mode": cortex.service().mode(),
        "now": now.to_string(),
        "started_at": node.started_at().to_string(),
        "events": view.visible().get(),
        "durable_events": identity.head.seq.get(),
        "origins": view.heads().len(),
        "digest": identity.digest.to_string(),
        "forks": antiphon_kernel::log::forks(&**view.store())?.len(),
        "doubles": doubles(node),
        "configured_name": Some(&node.config().node.name).filter(|name| name.as_str() != identity.name),
        "keys": cortex.service().accepted_keys(),
        "keys_from": node.config().keys_from(),
        "open_files_limit": nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        "conflicts": replayers.iter().map(|replayer| replayer.conflicts).sum::<u64>(),
        "read_only": view.failure(),
        "appends_refused": view.refuses_appends(now).map(|why| json!({
            "why": why.as_str(), "reason": why.to_string(), "remedy": why.remedy(),
        })),
        "memory_budget_bytes": memory.limit,
        "memory_used_bytes": memory.used,
        "memory_waiting": memory.waiting,
        "memory_refused": memory.refused,
        "disk_free_bytes": free,
        "disk_floor_bytes": floor,
        "disk_trouble": space::trouble(free, floor, &origins, evidence.unwrap_or(0)),
        "brought": brought,
        "largest_origins": largest,
        "evidence_bytes": evidence,
        "certificate_until": certificate_until(node),
        "certificate_trouble": node.certificate_trouble(),
        "certificate_holds": node.certificate_holds(),
        "answers_peers": node.answers_peers(),
        "reload_refused": node.reloads().refused,
        "replayers": replayers,
    }))
}

/// The cortexes of which two processes live, with the names of the peers that are pinned to them.
fn doubles(node: &Node) -> Vec<Value> {
    let peers = node.peers().unwrap_or_default();
    let view = node.cortex().view();
    let own = view.local().cortex_id;
    let one = |double: Double| {
        let pinned = peers.iter().filter(|peer| peer.cortex_id == Some(double.cortex)).map(|peer| &peer.name);
        let peers: Vec<_> = pinned.chain(&double.peer).collect();
        json!({ "cortex_id": double.cortex, "own": double.cortex == own, "peers": peers, "since": double.since.to_string() })
    };
    view.doubles().list().into_iter().map(one).collect()
}

/// Epochs under this node's id that came from peers, that its store did not begin, and of which events are in the log.
fn claimed_epochs(node: &Node) -> Result<Vec<Value>> {
    let view = node.cortex().view();
    let (cortex, heads) = (view.local().cortex_id, view.heads());
    let peers = claimed(&**view.store())?.into_iter().filter_map(|claimed| {
        let events = heads.get(Origin::new(cortex, claimed.epoch))?.counter;
        let (epoch, since) = (claimed.epoch.to_string(), claimed.since.to_string());
        Some(json!({ "epoch": epoch, "peer": claimed.peer, "since": since, "events": events }))
    });
    Ok(peers.collect())
}

/// Until which day the certificate holds that is shown.
pub(crate) fn certificate_until(node: &Node) -> Option<String> {
    Some(jiff::Timestamp::from_second(node.certificate_until()?).ok()?.strftime("%F").to_string())
}

fn peer_json(
    peer: &PeerState,
    floor: u64,
    most: Option<&(PeerName, u64)>,
    now: Timestamp,
    suspects: &BTreeMap<PeerName, usize>,
) -> Value {
    let error = peer.health.last_error;
    let state = Condition::of(peer, now);
    let (reason, remedy) = match (error, state) {
        (_, Condition::NoSpace) => (
            Some(format!("{} is not pulled: the disk here has less than {} MiB left", peer.name, floor >> 20)),
            Some("free some space, or set `node.min_free_mib` lower"),
        ),
        (None, Condition::Withheld) => (
            Some(format!(
                "{}: the histories of {} origins differ from those here, and at least {} of its events do not come",
                peer.name, peer.withheld.histories, peer.withheld.events
            )),
            Some("run `antiphon fork list`, which shows how to end each fork"),
        ),
        (Some(ErrorCategory::TooManyOrigins), _) if most.is_some() => {
            let (by, count) = most.map(|(by, count)| (by.as_str(), *count)).unwrap_or_default();
            let reason = format!("{} {}", peer.name, ErrorCategory::TooManyOrigins.reason());
            (Some(format!("{reason}; {by} brought {count} of the origins held here")), peer.health.remedy(now))
        }
        (Some(error), _) => {
            let detail = peer.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            (Some(format!("{} {}{detail}", peer.name, error.reason())), peer.health.remedy(now))
        }
        (None, _) => (None, None),
    };
    json!({
        "name": peer.name,
        "endpoint": peer.endpoint,
        "mode": peer.mode,
        "phase": peer.phase,
        "state": state,
        "cortex_id": peer.cortex_id,
        "cursor": peer.cursor.map(|c| c.to_string()),
        "last_event": peer.last_event,
        "last_seen": peer.last_seen,
        "lag_events": peer.lag.map(|l| l.events),
        "lag_seconds": peer.lag.and_then(|l| l.behind).map(|behind| behind.as_secs_f64()),
        "skew_seconds": peer.skew_ms.map(|ms| ms as f64 / 1000.0),
        "version": peer.health.version,
        "consecutive_failures": peer.health.consecutive_failures,
        "last_error": error,
        "detail": peer.detail,
        "reason": reason,
        "remedy": remedy,
        "received_events": peer.received.events,
        "suspect_forks": suspects.get(&peer.name).copied().unwrap_or(0),
        "withheld_histories": peer.withheld.histories,
        "withheld_events": peer.withheld.events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_failure_with_its_remedy() {
        let mut table = String::from("| failure | state | the peer ... | what to do |\n|---|---|---|---|\n");
        for error in ErrorCategory::ALL {
            let state = match (error.halts(), error.is_refusal()) {
                (true, _) => "halted",
                (false, true) => "refused",
                (false, false) => "backing_off",
            };
            table.push_str(&format!("| `{error}` | `{state}` | {} | {} |\n", error.reason(), error.remedy()));
        }
        crate::documented("operations.md", "failures", &table);
    }

    #[test]
    fn the_documentation_lists_every_rule_that_an_answer_may_break() {
        let rows: String = antiphon_kernel::rule::Rule::ALL.iter().map(|rule| format!("| {rule} |\n")).collect();
        crate::documented("operations.md", "rules", &format!("| what an answer did |\n|---|\n{rows}"));
    }
}
