//! Taking up a changed configuration while the node runs: read, check, compare, apply. Until all of it is known to be good,
//! all stays as it is.

use std::sync::Arc;

use antiphon_kernel::budget::Budget;
use antiphon_kernel::config::{Config, PeerConfig, PeerMode, SharedKey};
use antiphon_kernel::ids::PeerName;
use anyhow::{Result, bail};

use crate::config::NodeConfig;
use crate::error_text::{explained, with_causes};
use crate::node::Node;
use crate::overrides::apply_overrides;
use crate::reply::{ModeChange, Reloaded};
use crate::tls;

/// Reads the configuration again and takes it up; says what changed.
///
/// # Errors
/// Whatever is wrong with it; nothing changed then.
pub async fn reload(node: &Arc<Node>) -> Result<Reloaded> {
    let _alone = node.changing().await;
    let result = try_reload(node).await;
    node.note_reload(result.as_ref().err().map(explained));
    match &result {
        Ok(changes) => tracing::info!("the configuration was reloaded: {}", summary(changes)),
        Err(error) => {
            tracing::error!("the configuration was not reloaded, and nothing changed: {}", explained(error))
        }
    }
    result
}

/// What changed, as one line for the log. Neither the number of keys nor the end of the certificate is a change.
fn summary(changes: &Reloaded) -> String {
    let names = |key, names: &[PeerName]| list(key, names.iter().map(ToString::to_string).collect());
    let modes = changes.modes.iter().map(|change| format!("{} {}", change.peer, change.mode)).collect();
    let flag = |key: &str, changed: bool| changed.then(|| key.to_owned());
    let changed = [
        names("added", &changes.added),
        names("removed", &changes.removed),
        names("moved", &changes.moved),
        list("modes", modes),
        changes.interval_seconds.map(|seconds| format!("interval seconds: {seconds:?}")),
        changes.mode.map(|mode| format!("mode: {mode}")),
        changes.min_free_mib.map(|mib| format!("min free mib: {mib}")),
        changes.memory_budget_mib.map(|mib| format!("memory budget mib: {mib}")),
        flag("limits changed", changes.limits_changed),
        flag("key changed", changes.key_changed),
        flag("accepted keys changed", changes.accepted_keys_changed),
        flag("authorities changed", changes.authorities_changed),
        flag("client certificates changed", changes.client_certificates_changed),
        flag("certificate changed", changes.certificate_changed),
        flag("client authority changed", changes.client_authority_changed),
        changes.certificate_trouble.as_ref().map(|trouble| format!("certificate trouble: {trouble}")),
        list("troubles", changes.troubles.clone()),
        list("overridden", changes.overridden.clone()),
    ];
    let changed: Vec<_> = changed.into_iter().flatten().collect();
    if changed.is_empty() { "nothing changed".to_owned() } else { changed.join("; ") }
}

fn list(key: &str, items: Vec<String>) -> Option<String> {
    (!items.is_empty()).then(|| format!("{key}: {}", items.join(", ")))
}

async fn try_reload(node: &Arc<Node>) -> Result<Reloaded> {
    if !node.is_serving() {
        bail!("no node serves this store: it reads its configuration when it starts");
    }
    let old = node.config();
    let before = Arc::clone(&old);
    let read = node.reading(move |node| {
        let new = NodeConfig::load(&before.file)?;
        let keys = new.shared_keys()?;
        check(&before, &new, &keys)?;
        let written = new.kernel(keys.first().cloned().unwrap_or_default());
        let mut kernel = written.clone();
        let spent = apply_overrides(&**node.store(), &mut kernel)?;
        let troubles = new.list_troubles();
        Ok((new, keys, written, kernel, spent, troubles))
    });
    let (new, keys, written, kernel, spent, mut troubles) = read.await?;
    let key_changes = key_changes(node, &keys);
    let overridden = overridden(&written, &kernel);
    let trust_changes = tls::differ(&old.authorities, &new.authorities);
    let shown_changes = tls::differ(&old.client_certificates, &new.client_certificates);
    let accepted_changes = !node.cortex().service().accepts_just(&keys);
    let planned = node.cortex().syncer().can_take_up(&kernel).await?;
    // The last thing that can fail: from here on all of it is applied.
    let refreshed = node.reading(Node::refresh_certificates).await?;
    node.transports().set_shared_key(&kernel.shared_key);
    // What was opened under a key, an authority or a certificate that is not valid any more is opened again.
    let all_again = key_changes || trust_changes || shown_changes;
    let changes = node.cortex().reload(kernel, &keys, all_again).await.unwrap_or_else(|error| {
        troubles.push(format!("taken up, but not every peer is pulled: {error}"));
        planned
    });
    let memory = new.memory_budget();
    let memory_changes = (memory != old.memory_budget()).then_some(memory >> 20);
    Budget::default().set_limit(memory);
    let limits_changed = new.limits != old.limits;
    node.set_config(new);
    if let Err(error) = node.forget_overrides(&spent).await {
        // They say what the file says, so nothing differs for it; the next reload tries again.
        troubles.push(format!(
            "taken up; what commands said and the file says by now could not be forgotten: {}",
            with_causes(&error)
        ));
    }
    if keys_come_from_elsewhere(&node.config()) {
        troubles.push("federation.key_file is not read: ANTIPHON_SHARED_KEY goes before it".to_owned());
    }
    let certificate_trouble = node.reading(|node| Ok(node.certificate_trouble())).await.unwrap_or_default();
    troubles.iter().chain(&certificate_trouble).for_each(|trouble| tracing::warn!("{trouble}"));
    let names = |peers: Vec<PeerConfig>| peers.into_iter().map(|peer| peer.name).collect();
    let modes = changes.modes.into_iter().map(|(peer, mode)| ModeChange { peer, mode });
    Ok(Reloaded {
        added: names(changes.added),
        removed: changes.removed,
        moved: names(changes.moved),
        modes: modes.collect(),
        interval_seconds: changes.interval.map(|interval| interval.as_secs_f64()),
        mode: changes.mode,
        min_free_mib: changes.min_free.map(|bytes| bytes >> 20),
        memory_budget_mib: memory_changes,
        limits_changed,
        key_changed: key_changes,
        accepted_keys_changed: accepted_changes,
        authorities_changed: trust_changes,
        client_certificates_changed: shown_changes,
        certificate_changed: refreshed.certificate,
        client_authority_changed: refreshed.clients,
        certificate_until: node.certificate_day(),
        certificate_trouble,
        troubles,
        keys: keys.len(),
        overridden,
    })
}

/// Whether a key file is named that is not looked at.
pub(crate) fn keys_come_from_elsewhere(config: &NodeConfig) -> bool {
    config.federation.key_file.is_some() && config.keys_from() == Some("environment")
}

/// Whether the key that is presented changed, so that what is open must be opened again.
fn key_changes(node: &Node, keys: &[SharedKey]) -> bool {
    let presented = keys.first().cloned().unwrap_or_default();
    node.transports().shared_key() != presented
}

/// What cannot change while the node runs, and what cannot be used.
fn check(old: &NodeConfig, new: &NodeConfig, keys: &[SharedKey]) -> Result<()> {
    let fixed = fixed(old, new);
    if !fixed.is_empty() {
        bail!(
            "{}: {} cannot change while the node runs; put back what stood there, or restart the node",
            new.file.display(),
            fixed.join(", ")
        );
    }
    new.check(keys)
}

/// Which settings differ that are read at the start alone. Pure.
fn fixed(old: &NodeConfig, new: &NodeConfig) -> Vec<&'static str> {
    let all = [
        ("node.name", old.node.name != new.node.name),
        ("node.data_dir", old.node.data_dir != new.node.data_dir),
        ("node.max_append_bytes", old.node.max_append_bytes != new.node.max_append_bytes),
        ("node.durability", old.node.durability != new.node.durability),
        ("node.replay_failure", old.node.replay_failure != new.node.replay_failure),
        ("listen.https", old.listen.https != new.listen.https),
        ("listen.quic", old.listen.quic != new.listen.quic),
        ("listen.metrics", old.listen.metrics != new.listen.metrics),
        ("listen.status_page", old.listen.status_page != new.listen.status_page),
        ("listen.tls", old.listen.tls != new.listen.tls),
        ("listen.names", old.listen.names != new.listen.names),
        ("listen.allow_open", old.listen.allow_open != new.listen.allow_open),
        (
            "federation.allow_plaintext_loopback",
            old.federation.allow_plaintext_loopback != new.federation.allow_plaintext_loopback,
        ),
    ];
    all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

/// Where what a command said overrides the file.
fn overridden(written: &Config, used: &Config) -> Vec<String> {
    let mut found = Vec::new();
    if written.mode != used.mode {
        let (used, written) = (used.mode, written.mode);
        found.push(format!(
            "mode is {used}, since `antiphon set-mode` said so, until it says {written} as the file does"
        ));
    }
    for (written, used) in written.peers.iter().zip(&used.peers) {
        if written.mode != used.mode {
            let (name, mode) = (&used.name, used.mode);
            let (said, back) = match mode {
                PeerMode::Paused => ("pause-peer", "resume-peer"),
                PeerMode::Sync => ("resume-peer", "pause-peer"),
            };
            found.push(format!("{name} is {mode}, since `antiphon {said}` said so, until `antiphon {back} {name}`"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_one_line_of_text() {
        let nothing = Reloaded { keys: 1, certificate_until: Some("2030-01-01".to_owned()), ..Reloaded::default() };
        assert_eq!(summary(&nothing), "nothing changed");
        let peer = |name| PeerName::new(name).unwrap();
        let some = Reloaded {
            added: vec![peer("bravo"), peer("charlie")],
            interval_seconds: Some(2.0),
            key_changed: true,
            modes: vec![ModeChange { peer: peer("delta"), mode: PeerMode::Paused }],
            ..Reloaded::default()
        };
        let line = "added: bravo, charlie; modes: delta paused; interval seconds: 2.0; key changed";
        assert_eq!(summary(&some), line);
    }
}
