//! Each peer: whether it answers, who it is, how its clock differs.

use std::time::{Duration, Instant};

use antiphon_kernel::condition::Condition;
use antiphon_kernel::config::PeerConfig;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::internals::cortex::mint_identity;
use antiphon_kernel::internals::machine::{IdentityContext, check_identity};
use antiphon_kernel::internals::sync::skew_ms;
use antiphon_kernel::proof::Identified;
use antiphon_kernel::protocol::Protocols;
use antiphon_kernel::time::Timestamp;
use antiphon_kernel::transport::TransportError;
use futures_util::stream::{self, StreamExt as _};

use super::findings::Findings;
use super::key::other_keys;
use crate::config::NodeConfig;
use crate::reply::{Level, Peer, Status};
use crate::terminal::printable;
use crate::transports::Transports;

/// How long a peer may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of peers that are asked at the same time.
const AT_ONCE: usize = 16;
/// Clocks further apart than this make times hard to compare; nothing else depends on them.
const SKEW_MS: u64 = 5000;

pub(super) async fn peers(config: &NodeConfig, status: Option<&Status>, findings: &mut Findings) {
    let key = config.shared_key().unwrap_or_default();
    let unkeyed = other_keys(config, status);
    let transports = Transports::new(config.federation.allow_plaintext_loopback, &key);
    // It asks under a name of its own: the node's keys are the node's.
    let asker = mint_identity(config.node.name.as_str());
    let own = status.map_or(asker.cortex_id, |status| status.cortex_id);
    let (transports, asker) = (&transports, &asker);
    let asked = stream::iter(&config.federation.peers).map(|peer| {
        let known = status.and_then(|status| status.peers.iter().find(|known| known.name == peer.name));
        async move {
            let began = Instant::now();
            let answer = match transports.of(&peer.endpoint).link(peer, asker) {
                Ok(link) => link.identify(PATIENCE).await,
                Err(error) => Err(error),
            };
            let answer = Asked { answer, took: began.elapsed(), at: Timestamp::now(), unkeyed };
            peer_findings(peer, known, own, &answer)
        }
    });
    let mut asked = std::pin::pin!(asked.buffered(AT_ONCE));
    while let Some(found) = asked.next().await {
        findings.extend(found);
    }
}

/// What came of asking a peer who it is.
struct Asked {
    answer: Result<Identified, TransportError>,
    took: Duration,
    at: Timestamp,
    /// Asked without the key that the node has.
    unkeyed: bool,
}

/// What there is to say of a peer, by its answer and by its state in the node that serves, if one does.
/// Pure.
fn peer_findings(peer: &PeerConfig, known: Option<&Peer>, own: CortexId, asked: &Asked) -> Findings {
    let mut findings = Findings::default();
    let check = format!("peer {}", peer.name);
    // The node knows what no greeting shows: a fork, a refusal to serve, that it has given up.
    let state = known.and_then(|known| known.state);
    let trouble = known.and_then(|known| Some((known.reason.as_deref()?, known.remedy.as_deref().unwrap_or_default())));
    if let (Some((reason, remedy)), Some(state)) = (trouble, state)
        && state != Condition::Paused
    {
        let level = if matches!(state, Condition::Halted | Condition::Rejected) { Level::Fail } else { Level::Warn };
        findings.add(check.clone(), level, format!("{}: {reason}", state.as_str().replace('_', " ")), remedy);
    }
    let identified = match &asked.answer {
        Ok(identified) => identified,
        Err(error) if asked.unkeyed && error.category() == ErrorCategory::Auth => return findings,
        Err(error)
            if error.category() == ErrorCategory::Auth
                && matches!(
                    state,
                    Some(Condition::Live | Condition::Idle | Condition::CatchingUp | Condition::Withheld)
                ) =>
        {
            let says = "the node reaches it; this command presents another key than the node does";
            findings.add(check, Level::Warn, says, "run this with the node's ANTIPHON_SHARED_KEY, or without one");
            return findings;
        }
        Err(error) => {
            let category = error.category();
            if known.and_then(|known| known.last_error) == Some(category) {
                // The node says the same, in fewer words.
                findings.clear();
            }
            let says = format!("{} {} ({})", peer.endpoint, category.reason(), error.detail());
            findings.coded(check, Level::Fail, says, category.code());
            return findings;
        }
    };
    let pin = known.and_then(|known| known.cortex_id);
    // The node compares the number of the key statement and the log; what it found shows in its own status.
    let context = IdentityContext {
        own,
        pin,
        statement: 0,
        expected: peer.cortex,
        pinned_elsewhere: Vec::new(),
        log: None,
        protocols: Protocols::SPOKEN,
        unproven: peer.unproven,
    };
    let identity = identified.identity();
    match check_identity(identified, &context) {
        Err(category) => {
            let says = format!("{} {}", peer.endpoint, category.reason());
            findings.coded(check.clone(), Level::Fail, says, category.code());
        }
        Ok(_) => {
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
    use antiphon_kernel::codec::Room;
    use antiphon_kernel::config::PeerMode;
    use antiphon_kernel::cursor::{Cursor, Seq};
    use antiphon_kernel::digest::Digest;
    use antiphon_kernel::identity::{KeyStatement, SecretKey};
    use antiphon_kernel::ids::{Epoch, PeerName};

    use antiphon_kernel::transport::TransportErrorKind;

    use antiphon_kernel::protocol::Identity;

    use super::*;

    /// The key statement of a cortex of the test.
    fn statement(id: u8) -> KeyStatement {
        let [root, working] = [id, !id].map(|seed| SecretKey::from_bytes(&[seed; 32]));
        KeyStatement::issue(&root, 1, working.public(), Vec::new()).unwrap()
    }

    fn identity(id: u8) -> Identity {
        let at = Timestamp::from_micros(1_000_000_000);
        Identity {
            cortex_id: statement(id).cortex(),
            name: "bra\u{1b}vo".to_owned(),
            protocol_min: 2,
            protocol_max: 2,
            version: "1".to_owned(),
            log: None,
            epoch: Epoch::new(1),
            head: Cursor::start(Epoch::new(1)),
            floor: Seq::ZERO,
            head_time: at,
            time: at,
            digest: Digest::ZERO,
            statement: statement(id).to_bytes(),
            room: Room::default(),
        }
    }

    /// The peer, as a node knows it before the first contact.
    fn unknown() -> Peer {
        Peer::unknown(PeerName::new("bravo").unwrap(), "https://b:1", PeerMode::Sync)
    }

    #[test]
    fn a_peer_is_judged_by_its_answer_and_by_what_the_node_knows() {
        let peer = PeerConfig::new(PeerName::new("bravo").unwrap(), "https://b:1".to_owned());
        let own = statement(1).cortex();
        let found = |known: Option<&Peer>, answer: Result<Identity, TransportErrorKind>, unkeyed| {
            let answer = answer.map(Identified::trusted).map_err(|kind| TransportError::new(kind, "detail"));
            let asked = Asked { answer, took: Duration::ZERO, at: Timestamp::from_micros(1_000_000_000), unkeyed };
            let found = peer_findings(&peer, known, own, &asked).into_list();
            assert!(found.iter().all(|one| !one.says.contains('\u{1b}')), "{found:?}");
            found.iter().map(|one| one.level).collect::<Vec<_>>()
        };
        let known = |state| Peer { state: Some(state), ..unknown() };
        let halted = Peer {
            reason: Some("bravo holds events of ours".to_owned()),
            remedy: Some("restart".to_owned()),
            ..known(Condition::Halted)
        };
        let pinned = |id: u8| Peer { cortex_id: Some(statement(id).cortex()), ..known(Condition::Live) };
        let (two, three) = (pinned(2), pinned(3));
        assert_eq!(found(None, Ok(identity(2)), false), [Level::Ok]);
        assert_eq!(found(Some(&two), Ok(identity(2)), false), [Level::Ok]);
        assert_eq!(found(Some(&three), Ok(identity(2)), false), [Level::Fail], "another one than is pinned");
        assert_eq!(found(None, Ok(identity(1)), false), [Level::Fail], "itself");
        assert_eq!(
            found(Some(&halted), Ok(identity(2)), false),
            [Level::Fail, Level::Ok],
            "it answers, and is given up"
        );
        assert_eq!(found(None, Err(TransportErrorKind::Auth), false), [Level::Fail]);
        assert_eq!(found(None, Err(TransportErrorKind::Auth), true), [], "no fault of the peer's");
        assert_eq!(found(Some(&two), Err(TransportErrorKind::Auth), false), [Level::Warn], "nor is this one");
        let refused = Peer {
            reason: Some("bravo ...".to_owned()),
            remedy: Some("...".to_owned()),
            last_error: Some(ErrorCategory::Auth),
            ..known(Condition::Rejected)
        };
        let refused = Some(&refused);
        assert_eq!(found(refused, Err(TransportErrorKind::Auth), false), [Level::Fail], "said once");
        assert_eq!(
            found(refused, Err(TransportErrorKind::ConnectionRefused), false),
            [Level::Fail, Level::Fail],
            "another trouble"
        );
    }
}
