//! The status of a node and its peers, as commands, the status page and other programs get it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::condition::Condition;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::{CortexId, Origin, PeerName};
use antiphon_kernel::internals::doubles;
use antiphon_kernel::internals::log::{self, read_epoch_change, read_epoch_peer};
use antiphon_kernel::log::Exclusion;
use antiphon_kernel::service;
use antiphon_kernel::state::PeerState;
use antiphon_kernel::store::Store as _;
use antiphon_kernel::time::Timestamp;
use anyhow::Result;

use super::{forks, space};
use crate::node::Node;
use crate::remedy::{of_health, remedy};
use crate::reply::{
    AppendsRefused, ClaimedEpoch, Double, EpochChange, Excluded, Location, Peer, PendingCortex, Puller, Status,
};

/// Everything, all peers by name. Reads the store.
pub(crate) fn report(node: &Node) -> Result<Status> {
    let now = Timestamp::now();
    let cortex = node.cortex();
    let view = cortex.reader();
    let identity = view.identity(now);
    let memory = cortex.service().budget().usage();
    let origins = view.origins();
    let (free, floor) = (view.store().free_bytes().ok().flatten(), cortex.syncer().min_free());
    let evidence = node.evidence_bytes();
    let copies = view.copies();
    let peers = node.peers()?;
    let replayers: Vec<_> = cortex.replayers().iter().map(|replayer| replayer.status()).collect();
    let config = node.config();
    let refused = |why: log::AppendsRefused| AppendsRefused {
        why: why.as_str().to_owned(),
        reason: why.to_string(),
        code: Some(why.code().to_string()),
        remedy: remedy(why.code()).to_owned(),
    };
    let context = PeerContext {
        floor,
        most: space::most_origins(&origins),
        now,
        suspects: forks::suspects(node)?,
        serving: node.is_serving(),
        held: copies.held,
    };
    Ok(Status {
        log: identity.log,
        epoch: identity.epoch.to_string(),
        epoch_change: epoch_change(node)?,
        claimed_epochs: claimed_epochs(node)?,
        version: identity.version,
        serving: node.is_serving(),
        mode: cortex.service().mode(),
        now,
        started_at: node.started_at(),
        events: view.visible().get(),
        durable_events: identity.head.seq.get(),
        own_events: copies.own,
        own_events_only_here: copies.only_here,
        pulled_by: pullers(node, &peers, now),
        pending: pending(node),
        origins: view.heads().len(),
        digest: identity.digest.to_string(),
        forks: forks::known(node)?.len(),
        doubles: doubles(node),
        configured_name: Some(config.node.name.clone()).filter(|name| name.as_str() != identity.name),
        name: identity.name,
        cortex_id: identity.cortex_id,
        keys: cortex.service().accepted_keys(),
        keys_from: config.keys_from().map(str::to_owned),
        open_files_limit: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .ok()
            .map(|(soft, _)| soft),
        conflicts: replayers.iter().map(|replayer| replayer.conflicts).sum(),
        read_only: view.failure(),
        appends_refused: view.refuses_appends(now).map(refused),
        memory_budget_bytes: memory.limit,
        memory_used_bytes: memory.used,
        memory_waiting: memory.waiting,
        memory_refused: memory.refused,
        disk_free_bytes: free,
        disk_floor_bytes: floor,
        disk_trouble: space::trouble(free, floor, &origins, evidence.unwrap_or(0)),
        brought: space::brought(&origins),
        largest_origins: space::largest_origins(&origins),
        evidence_bytes: evidence,
        certificate_until: node.certificate_day(),
        certificate_trouble: node.certificate_trouble(),
        certificate_holds: node.certificate_holds(),
        client_list_trouble: node.client_list_trouble(),
        answers_peers: node.answers_peers(),
        reload_refused: node.reloads().refused,
        replayers: replayers.into_iter().map(Into::into).collect(),
        peers: peers.into_iter().map(|peer| context.peer(peer)).collect(),
        peers_total: None,
        peers_by_state: None,
        changes: None,
    })
}

fn excluded(exclusion: &Exclusion) -> Excluded {
    let &Exclusion { cortex, cause, since, .. } = exclusion;
    Excluded { cortex_id: cortex, cause, reason: cause.to_string(), since }
}

/// The number of nodes that are listed of those which pull this one: ids in questions are claims.
const LISTED_PULLERS: usize = 200;
/// A node that its quota slowed is shown so for this long.
const SLOWED_FOR: Duration = Duration::from_secs(10);

/// Who pulls this node.
fn pullers(node: &Node, peers: &[PeerState], now: Timestamp) -> Vec<Puller> {
    let mut pullers = node.cortex().service().pullers();
    let peer = |cortex| peers.iter().find(|peer| peer.cortex_id == Some(cortex)).map(|peer| peer.name.clone());
    pullers.sort_by_cached_key(|puller| {
        let name = puller.is_proven.then(|| peer(puller.cortex)).flatten();
        // Peers first: made-up askers must not hide them. By name: the page must not shuffle them with each question.
        let asked = if name.is_none() { Reverse(puller.asked) } else { Reverse(Timestamp::from_micros(0)) };
        (name.is_none(), name, asked, puller.cortex)
    });
    pullers.truncate(LISTED_PULLERS);
    let one = |puller: service::Puller| Puller {
        cortex_id: puller.cortex,
        proven: puller.is_proven,
        peer: puller.is_proven.then(|| peer(puller.cortex)).flatten(),
        address: puller.address.as_deref().map(str::to_owned),
        asked: puller.asked,
        connected: puller.is_open,
        read_up_to: puller.after.map(|cursor| cursor.seq.get()),
        sent_events: puller.sent.events,
        sent_bytes: puller.sent.bytes,
        slowed: puller.slowed.is_some_and(|at| now.saturating_since(at) < SLOWED_FOR),
        refused_over_quota: puller.sent.over_quota,
    };
    pullers.into_iter().map(one).collect()
}

/// Who wants to connect, the newest first.
fn pending(node: &Node) -> Vec<PendingCortex> {
    let pending = node.cortex().service().pending();
    let one = |pending: &service::Pending| PendingCortex {
        cortex_id: pending.cortex,
        fingerprint: pending.fingerprint.clone(),
        name: pending.name.clone(),
        since: pending.since,
        asked: pending.asked,
        refused: pending.refused,
    };
    let mut pending: Vec<_> = pending.iter().map(one).collect();
    pending.sort_by_key(|pending| Reverse(pending.since));
    pending
}

/// Why the epoch changed last.
fn epoch_change(node: &Node) -> Result<Option<EpochChange>> {
    let store = &**node.store();
    let peer = read_epoch_peer(store)?;
    Ok(read_epoch_change(store)?.map(|change| EpochChange {
        from: change.from.to_string(),
        why: change.why,
        reason: change.why.to_string(),
        at: change.at.to_string(),
        peer,
        on_purpose: change.why.is_on_purpose(),
    }))
}

/// The cortexes of which two processes live, with the names of the peers that are pinned to them.
fn doubles(node: &Node) -> Vec<Double> {
    let known = node.peers().unwrap_or_default();
    let view = node.cortex().reader();
    let own = view.local().cortex_id;
    let one = |double: doubles::Double| {
        let pinned = known.iter().filter(|peer| peer.cortex_id == Some(double.cortex)).map(|peer| peer.name.clone());
        Double {
            cortex_id: double.cortex,
            own: double.cortex == own,
            peers: pinned.chain(double.peer).collect(),
            since: double.since.to_string(),
        }
    };
    view.doubles().list().into_iter().map(one).collect()
}

/// Epochs under this node's id that came from peers, that its store did not begin, and of which events are in the log.
fn claimed_epochs(node: &Node) -> Result<Vec<ClaimedEpoch>> {
    let view = node.cortex().reader();
    let (cortex, heads) = (view.local().cortex_id, view.heads());
    let claimed = log::claimed_epochs(&**view.store())?.into_iter().filter_map(|claimed| {
        let events = heads.get(Origin::new(cortex, claimed.epoch))?.counter;
        let (epoch, since) = (claimed.epoch.to_string(), claimed.since.to_string());
        Some(ClaimedEpoch { epoch, peer: claimed.peer, since, events })
    });
    Ok(claimed.collect())
}

/// Whether the node's files are where its path leads to.
pub(super) async fn location(node: &Node) -> Result<Location> {
    let store = Arc::clone(node.store());
    let displaced = tokio::task::spawn_blocking(move || store.check_location()).await?.err();
    Ok(Location {
        name: node.config().node.name.clone(),
        process: std::process::id(),
        displaced: displaced.map(|error| error.to_string()),
    })
}

/// What the report about a peer depends on besides its state.
struct PeerContext {
    floor: u64,
    most: Option<(PeerName, u64)>,
    now: Timestamp,
    suspects: BTreeMap<PeerName, usize>,
    serving: bool,
    /// How many own events each cortex is known to hold.
    held: BTreeMap<CortexId, u64>,
}

impl PeerContext {
    fn peer(&self, peer: PeerState) -> Peer {
        let state = Condition::of(&peer, self.now);
        let (reason, remedy) = self.trouble(&peer, state);
        Peer {
            suspect_forks: self.suspects.get(&peer.name).copied().unwrap_or(0),
            name: peer.name,
            endpoint: peer.endpoint,
            mode: peer.mode,
            // No node pulls them, whatever is configured: what state they would be in is not known.
            phase: self.serving.then_some(peer.phase),
            state: self.serving.then_some(state),
            cortex_id: peer.cortex_id,
            cursor: peer.cursor.map(|cursor| cursor.to_string()),
            last_event: peer.last_event,
            last_seen: peer.last_seen,
            lag_events: peer.lag.map(|lag| lag.events),
            lag_seconds: peer.lag.and_then(|lag| lag.behind).map(|behind| behind.as_secs_f64()),
            skew_seconds: peer.skew_ms.map(|ms| ms as f64 / 1000.0),
            version: peer.health.version,
            consecutive_failures: peer.health.consecutive_failures,
            last_error: peer.health.last_error,
            code: peer.health.last_error.map(|error| error.code().to_string()),
            detail: peer.detail,
            reason,
            remedy: remedy.map(str::to_owned),
            holds_own_events: peer.cortex_id.and_then(|cortex| self.held.get(&cortex).copied()),
            received_events: peer.received.events,
            withheld_histories: peer.withheld.histories,
            withheld_events: peer.withheld.events,
            excluded: peer.excluded.iter().map(excluded).collect(),
            slowed: peer.slowed,
            lag_history: None,
        }
    }

    /// What is wrong with a peer, and what to do.
    fn trouble(&self, peer: &PeerState, state: Condition) -> (Option<String>, Option<&'static str>) {
        let advice = of_health(&peer.health, self.now);
        match (peer.health.last_error, state) {
            (_, Condition::NoSpace) => (
                Some(format!("{} is not pulled: the disk here has less than {} MiB left", peer.name, self.floor >> 20)),
                Some(remedy(ErrorCode::SyncNoSpace)),
            ),
            (None, Condition::Withheld) => (
                Some(format!(
                    "{}: the histories of {} origins differ from those here, and at least {} of its events do not come",
                    peer.name, peer.withheld.histories, peer.withheld.events
                )),
                Some(remedy(ErrorCode::ForkFound)),
            ),
            (Some(error), _) => {
                let detail = match (error, &self.most) {
                    (ErrorCategory::TooManyOrigins, Some((by, count))) => {
                        format!("; {by} brought {count} of the origins held here")
                    }
                    _ => peer.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default(),
                };
                (Some(format!("{} {}{detail}", peer.name, error.reason())), advice)
            }
            (None, _) => (None, None),
        }
    }
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
                (false, true) => "rejected",
                (false, false) => "backing_off",
            };
            table.push_str(&format!("| `{error}` | `{state}` | {} | {} |\n", error.reason(), remedy(error.code())));
        }
        crate::documented::check("operations.md", "failures", &table);
    }

    #[test]
    fn the_documentation_lists_every_rule_that_an_answer_may_break() {
        let rows: String = antiphon_kernel::rule::Rule::ALL.iter().map(|rule| format!("| {rule} |\n")).collect();
        crate::documented::check("operations.md", "rules", &format!("| what an answer did |\n|---|\n{rows}"));
    }
}
