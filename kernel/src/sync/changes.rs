//! What a configuration that was read again changes about peers. Pure.

use std::time::Duration;

use crate::config::{Config, FederationMode, PeerConfig, PeerMode};
use crate::ids::PeerName;

/// What is to be done about peers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PeerChanges {
    /// Not configured before.
    pub added: Vec<PeerConfig>,
    /// Not configured any more. What is kept about them stays.
    pub removed: Vec<PeerName>,
    /// Reached in another way from now on.
    pub moved: Vec<PeerConfig>,
    /// Paused or resumed.
    pub modes: Vec<(PeerName, PeerMode)>,
    /// How often idle peers are polled from now on, where that changes.
    pub interval: Option<Duration>,
    /// What this cortex does from now on, where that changes.
    pub mode: Option<FederationMode>,
    /// How many bytes are to stay free from now on, where that changes.
    pub min_free: Option<u64>,
}

impl PeerChanges {
    /// What leads from one configuration to another.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Self::default();
        for peer in &new.peers {
            match old.peers.iter().find(|before| before.name == peer.name) {
                None => changes.added.push(peer.clone()),
                Some(before) if !before.is_reached_like(peer) => changes.moved.push(peer.clone()),
                Some(before) if before.mode != peer.mode => changes.modes.push((peer.name.clone(), peer.mode)),
                Some(_) => {}
            }
        }
        let gone = |before: &&PeerConfig| !new.peers.iter().any(|peer| peer.name == before.name);
        changes.removed = old.peers.iter().filter(gone).map(|peer| peer.name.clone()).collect();
        let (interval, min_free) = (new.effective_interval(), new.effective_min_free());
        changes.interval = (interval != old.effective_interval()).then_some(interval);
        changes.mode = (new.mode != old.mode).then_some(new.mode);
        changes.min_free = (min_free != old.effective_min_free()).then_some(min_free);
        changes
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsVersion;

    fn peer(name: &str, endpoint: &str, mode: PeerMode) -> PeerConfig {
        PeerConfig { mode, ..PeerConfig::new(PeerName::new(name).unwrap(), endpoint.to_owned()) }
    }

    #[test]
    fn each_peer_is_added_removed_moved_switched_or_left_alone() {
        let sync = PeerMode::Sync;
        let old = Config {
            peers: vec![
                peer("stays", "m://a", sync),
                peer("goes", "m://b", sync),
                peer("moves", "m://c", sync),
                peer("rests", "m://d", sync),
            ],
            ..Config::default()
        };
        let new = Config {
            interval: Some("2s".parse().unwrap()),
            mode: FederationMode::Publish,
            min_free_mib: Some(1),
            peers: vec![
                peer("rests", "m://d", PeerMode::Paused),
                peer("moves", "m://e", PeerMode::Paused),
                peer("comes", "m://f", sync),
                peer("stays", "m://a", sync),
            ],
            ..Config::default()
        };
        let changes = PeerChanges::between(&old, &new);
        let name = |text: &str| PeerName::new(text).unwrap();
        assert_eq!(
            changes,
            PeerChanges {
                added: vec![peer("comes", "m://f", sync)],
                removed: vec![name("goes")],
                moved: vec![peer("moves", "m://e", PeerMode::Paused)],
                modes: vec![(name("rests"), PeerMode::Paused)],
                interval: Some(Duration::from_secs(2)),
                mode: Some(FederationMode::Publish),
                min_free: Some(1 << 20),
            }
        );
        assert!(PeerChanges::between(&old, &old).is_empty() && !changes.is_empty());
    }

    #[test]
    fn a_peer_that_is_trusted_or_greeted_in_another_way_is_dialled_again() {
        let before = peer("stays", "m://a", PeerMode::Sync);
        let file = || Some(std::path::PathBuf::from("file.pem"));
        let others = [
            PeerConfig { ca: file(), ..before.clone() },
            PeerConfig { crl: file(), ..before.clone() },
            PeerConfig { client_cert: file(), ..before.clone() },
            PeerConfig { client_key: file(), ..before.clone() },
            PeerConfig { tls_min_version: TlsVersion::Tls12, ..before.clone() },
        ];
        let config = |peer: &PeerConfig| Config { peers: vec![peer.clone()], ..Config::default() };
        for other in others {
            let changes = PeerChanges::between(&config(&before), &config(&other));
            assert_eq!(changes.moved, [other]);
        }
        assert!(PeerChanges::between(&config(&before), &config(&before)).is_empty());
    }
}
