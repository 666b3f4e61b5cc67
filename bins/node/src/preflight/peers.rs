//! Each peer: whether it answers, who it is, how its clock differs.

use std::time::{Duration, Instant};

use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::cortex::mint_identity;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::machine::{IdentityContext, check_identity};
use antiphon_kernel::protocol::Identity;
use antiphon_kernel::time::{Timestamp, skew_ms};
use antiphon_kernel::transport::TransportError;
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use super::key::other_keys;
use super::{Findings, Level};
use crate::config::NodeConfig;
use crate::terminal::printable;
use crate::transports::Transports;

/// How long a peer may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of peers that are asked at the same time.
const AT_ONCE: usize = 16;
/// Clocks further apart than this make times hard to compare; nothing else depends on them.
const SKEW_MS: u64 = 5000;

pub(super) async fn peers(config: &NodeConfig, status: Option<&Value>, findings: &mut Findings) {
    let key = config.shared_key().unwrap_or_default();
    let unkeyed = other_keys(config, status);
    let transports = Transports::new(config.federation.allow_plaintext_loopback, &key);
    let own_id = status.and_then(|status| serde_json::from_value(status["cortex_id"].clone()).ok());
    let mut own = mint_identity(config.node.name.as_str());
    if let Some(cortex_id) = own_id {
        own.cortex_id = cortex_id;
    }
    let (transports, own) = (&transports, &own);
    let known = |name: &str| {
        let peers = status.and_then(|status| status["peers"].as_array());
        peers.and_then(|peers| peers.iter().find(|known| known["name"] == name)).cloned().unwrap_or_default()
    };
    let asked = stream::iter(&config.federation.peers).map(|peer| {
        let known = known(peer.name.as_str());
        async move {
            let began = Instant::now();
            let answer = match transports.of(&peer.endpoint).link(peer, own) {
                Ok(link) => link.identify(PATIENCE).await,
                Err(error) => Err(error),
            };
            let answer = Asked { answer, took: began.elapsed(), at: Timestamp::now(), unkeyed };
            peer_findings(peer, &known, own.cortex_id, &answer)
        }
    });
    let mut asked = std::pin::pin!(asked.buffered(AT_ONCE));
    while let Some(found) = asked.next().await {
        findings.0.extend(found.0);
    }
}

/// What came of asking a peer who it is.
struct Asked {
    answer: Result<Identity, TransportError>,
    took: Duration,
    at: Timestamp,
    /// Asked without the key that the node has.
    unkeyed: bool,
}

/// What there is to say of a peer, by its answer and by its state in the node that serves (null if none does).
/// Pure.
fn peer_findings(peer: &PeerConfig, known: &Value, own: CortexId, asked: &Asked) -> Findings {
    let mut findings = Findings::default();
    let check = format!("peer {}", peer.name);
    // The node knows what no greeting shows: a fork, a refusal to serve, that it has given up.
    let trouble = known["reason"].as_str().map(|reason| (reason, known["remedy"].as_str().unwrap_or_default()));
    let state = known["state"].as_str().unwrap_or_default();
    if let Some((reason, remedy)) = trouble.filter(|_| state != "paused") {
        let level = if matches!(state, "halted" | "refused") { Level::Fail } else { Level::Warn };
        findings.add(check.clone(), level, format!("{}: {reason}", state.replace('_', " ")), remedy);
    }
    let identity = match &asked.answer {
        Ok(identity) => identity,
        Err(error) if asked.unkeyed && error.category() == ErrorCategory::Auth => return findings,
        Err(error)
            if error.category() == ErrorCategory::Auth
                && matches!(state, "live" | "idle" | "catching_up" | "withheld") =>
        {
            let says = "the node reaches it; this command presents another key than the node does";
            findings.add(check, Level::Warn, says, "run this with the node's ANTIPHON_SHARED_KEY, or without one");
            return findings;
        }
        Err(error) => {
            let category = error.category();
            if known["last_error"] == category.as_str() {
                // The node says the same, in fewer words.
                findings.0.clear();
            }
            let says = format!("{} {} ({})", peer.endpoint, category.reason(), error.detail());
            findings.add(check, Level::Fail, says, category.remedy());
            return findings;
        }
    };
    let pin = serde_json::from_value(known["cortex_id"].clone()).ok();
    match check_identity(identity, &IdentityContext { own, pin, expected: peer.cortex, pinned_elsewhere: Vec::new() }) {
        Err(category) => {
            findings.add(
                check.clone(),
                Level::Fail,
                format!("{} {}", peer.endpoint, category.reason()),
                category.remedy(),
            );
        }
        Ok(()) => {
            let says = format!(
                "{} is {} ({}), version {}, {} ms",
                peer.endpoint,
                printable(&identity.name),
                identity.cortex_id,
                printable(&identity.version),
                asked.took.as_millis()
            );
            findings.ok(check.clone(), says);
        }
    }
    let skew = skew_ms(identity.time, asked.at, asked.took);
    if skew.unsigned_abs() > SKEW_MS {
        let says = format!(
            "its clock is {:.1} s {} this machine's",
            skew.unsigned_abs() as f64 / 1000.0,
            if skew > 0 { "ahead of" } else { "behind" }
        );
        findings.add(
            check,
            Level::Warn,
            says,
            "let both set their clocks by NTP: nothing is lost, but times do not compare",
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::cursor::Cursor;
    use antiphon_kernel::digest::Digest;
    use antiphon_kernel::ids::{Epoch, PeerName};

    use serde_json::json;

    use super::*;

    fn identity(id: u8) -> Identity {
        let at = Timestamp::from_micros(1_000_000_000);
        Identity {
            cortex_id: CortexId::from_bytes([id; 16]),
            name: "bra\u{1b}vo".to_owned(),
            protocol_min: 1,
            protocol_max: 1,
            version: "1".to_owned(),
            epoch: Epoch::new(1),
            head: Cursor::start(Epoch::new(1)),
            head_time: at,
            time: at,
            digest: Digest::ZERO,
        }
    }

    #[test]
    fn a_peer_is_judged_by_its_answer_and_by_what_the_node_knows() {
        let peer = PeerConfig {
            name: PeerName::new("bravo").unwrap(),
            endpoint: "https://b:1".to_owned(),
            ca: None,
            cortex: None,
            mode: PeerMode::Sync,
        };
        let own = CortexId::from_bytes([1; 16]);
        let found = |known: Value, answer: Result<Identity, ErrorCategory>, unkeyed| {
            let answer = answer.map_err(|category| TransportError::new(category, "detail"));
            let asked = Asked { answer, took: Duration::ZERO, at: Timestamp::from_micros(1_000_000_000), unkeyed };
            let found = peer_findings(&peer, &known, own, &asked).0;
            assert!(found.iter().all(|one| !one.says.contains('\u{1b}')), "{found:?}");
            found.iter().map(|one| one.level).collect::<Vec<_>>()
        };
        let halted = json!({ "state": "halted", "reason": "bravo holds events of ours", "remedy": "restart" });
        let pinned = |id: u8| json!({ "state": "live", "cortex_id": CortexId::from_bytes([id; 16]) });
        assert_eq!(found(Value::Null, Ok(identity(2)), false), [Level::Ok]);
        assert_eq!(found(pinned(2), Ok(identity(2)), false), [Level::Ok]);
        assert_eq!(found(pinned(3), Ok(identity(2)), false), [Level::Fail], "another one than is pinned");
        assert_eq!(found(Value::Null, Ok(identity(1)), false), [Level::Fail], "itself");
        assert_eq!(found(halted, Ok(identity(2)), false), [Level::Fail, Level::Ok], "it answers, and is given up");
        assert_eq!(found(Value::Null, Err(ErrorCategory::Auth), false), [Level::Fail]);
        assert_eq!(found(Value::Null, Err(ErrorCategory::Auth), true), [], "no fault of the peer's");
        assert_eq!(found(pinned(2), Err(ErrorCategory::Auth), false), [Level::Warn], "nor is this one");
        let refused = json!({ "state": "refused", "reason": "bravo ...", "remedy": "...", "last_error": "auth" });
        assert_eq!(found(refused.clone(), Err(ErrorCategory::Auth), false), [Level::Fail], "said once");
        assert_eq!(found(refused, Err(ErrorCategory::Refused), false), [Level::Fail, Level::Fail], "another trouble");
    }
}
