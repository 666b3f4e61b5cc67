//! Commands that change what a node does: modes, peers, reload, epoch.

use std::path::Path;

use antiphon_kernel::config::{FederationMode, PeerMode};
use antiphon_kernel::ids::{CortexId, PeerName};
use antiphon_node::api::Request;
use antiphon_node::reply::{
    CortexAllowed, ModeSet, NewEpoch, PeerModeSet, PeerReset, PendingCortex, PendingCortexes, Reloaded, Status,
};
use antiphon_node::socket::Backend;
use antiphon_node::terminal::printable;
use anyhow::Result;

use super::ask::ask;
use crate::output::done;

pub(super) async fn reload(file: &Path, json: bool) -> Result<()> {
    // The node reads it as well, and says what is wrong with it.
    let (mut backend, _) = Backend::reach(file).await?;
    let changes = backend.ask(Request::Reload).await;
    backend.close().await;
    let changes = changes?;
    done(&changes, json, &reloaded(&changes))
}

/// What a reload changed, for people.
fn reloaded(changes: &Reloaded) -> String {
    let mut lines = Vec::new();
    for (names, what) in [
        (&changes.added, "pulled from now on"),
        (&changes.removed, "not pulled any more"),
        (&changes.moved, "dialled again"),
    ] {
        let names: Vec<_> = names.iter().map(PeerName::as_str).collect();
        if !names.is_empty() {
            lines.push(format!("{what}: {}", names.join(", ")));
        }
    }
    lines.extend(changes.modes.iter().map(|change| format!("{}: {}", change.peer, change.mode)));
    lines.extend(changes.interval_seconds.map(|seconds| format!("interval, in seconds: {seconds:?}")));
    lines.extend(changes.mode.map(|mode| format!("mode: {mode}")));
    lines.extend(changes.min_free_mib.map(|mib| format!("MiB that stay free: {mib}")));
    lines.extend(changes.memory_budget_mib.map(|mib| format!("memory budget, in MiB: {mib}")));
    if changes.limits_changed {
        lines.push("other quotas apply".to_owned());
    }
    if changes.key_changed {
        lines.push("another key is presented; connections were opened again".to_owned());
    }
    match changes.keys {
        _ if !changes.accepted_keys_changed => {}
        0 => lines.push("NO KEY IS NEEDED ANY MORE: any caller that reaches this node may read its log".to_owned()),
        keys => lines.push(format!("keys that are accepted now: {keys}")),
    }
    if changes.authorities_changed {
        lines.push("other authorities or revocation lists are used; connections were opened again".to_owned());
    }
    if changes.client_certificates_changed {
        lines.push("another client certificate is shown to peers; connections were opened again".to_owned());
    }
    if changes.certificate_changed {
        let until = changes.certificate_until.as_deref().unwrap_or_default();
        lines.push(format!("another certificate is shown; it holds until {until}"));
    }
    if changes.client_authority_changed {
        lines.push("another authority or revocation list of the clients is in use".to_owned());
    }
    lines.extend(changes.overridden.iter().cloned());
    if lines.is_empty() {
        lines.push("nothing changed".to_owned());
    }
    lines.extend(changes.troubles.iter().cloned());
    lines.extend(changes.certificate_trouble.clone());
    lines.join("\n")
}

pub(super) async fn reset_peer(file: &Path, name: PeerName, json: bool) -> Result<()> {
    let text = format!("{name}: pin, cursor and health are cleared");
    done(&ask::<PeerReset>(file, Request::ResetPeer { name }).await?, json, &text)
}

pub(super) async fn set_peer(file: &Path, name: PeerName, mode: PeerMode, json: bool) -> Result<()> {
    let text = match mode {
        PeerMode::Paused => format!("{name} is paused: not pulled, still served"),
        PeerMode::Sync => format!("{name} is pulled again"),
    };
    let set: PeerModeSet = ask(file, Request::SetPeerMode { name, mode }).await?;
    let differs = set.in_file.filter(|written| *written != mode).map(PeerMode::as_str);
    done(&set, json, &(text + &overrides(differs)))
}

/// Lists who wants to connect.
pub(super) async fn pending(file: &Path, json: bool) -> Result<()> {
    let status: Status = ask(file, Request::Status).await?;
    let mut lines: Vec<_> = status.pending.iter().map(wants_to_connect).collect();
    if lines.is_empty() {
        lines.push("no node wants to connect".to_owned());
    }
    done(&PendingCortexes(status.pending), json, &lines.join("\n"))
}

/// A node that wants to connect, for people.
pub(super) fn wants_to_connect(pending: &PendingCortex) -> String {
    let PendingCortex { cortex_id, fingerprint, name, since, refused, .. } = pending;
    format!(
        "{cortex_id} (calls itself {}) wants to connect since {since}, refused {refused} times\n  root key {fingerprint}\n  \
         to let it in: antiphon peers allow NAME {cortex_id}",
        printable(name)
    )
}

pub(super) async fn allow(file: &Path, name: PeerName, cortex: CortexId, json: bool) -> Result<()> {
    let allowed: CortexAllowed = ask(file, Request::AllowCortex { name, cortex }).await?;
    let text = format!(
        "{} ({}) may read this log; to keep that in the configuration, write below `access`:\n  rules:\n    - {}",
        allowed.name, allowed.cortex_id, allowed.rule
    );
    done(&allowed, json, &text)
}

pub(super) async fn set_mode(file: &Path, mode: FederationMode, json: bool) -> Result<()> {
    let set: ModeSet = ask(file, Request::SetMode { mode }).await?;
    let differs = (set.in_file != mode).then(|| set.in_file.as_str());
    done(&set, json, &format!("mode is now {mode}{}", overrides(differs)))
}

/// That a command overrides the file, where they differ.
fn overrides(written: Option<&str>) -> String {
    let says = |written| format!("; that overrides the file, which says {written}, until a command says the same");
    written.map(says).unwrap_or_default()
}

pub(super) async fn new_epoch(file: &Path, json: bool) -> Result<()> {
    let begun: NewEpoch = ask(file, Request::NewEpoch).await?;
    let text = format!("epoch {} follows {}; event ids continue from this node's clock", begun.epoch, begun.from);
    done(&begun, json, &text)
}
