//! `antiphon doctor`: what is wrong, or will be, and what to do about it. Changes nothing of what is
//! kept; the store of a node that does not run is opened as its start would open it, which may bring its log into order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use antiphon_kernel::config::{PeerConfig, SharedKey};
use antiphon_kernel::cortex::mint_identity;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::machine::{IdentityContext, check_identity};
use antiphon_kernel::protocol::Identity;
use antiphon_kernel::time::{Timestamp, skew_ms};
use antiphon_kernel::transport::TransportError;
use antiphon_transport_common::{Certificate, TlsFiles};
use anyhow::{Result, bail};
use console::style;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::Backend;
use crate::chain::told;
use crate::commands::{self, show};
use crate::config::NodeConfig;
use crate::expiry;
use crate::exposed::is_open_to_others;
use crate::hidden;
use crate::node::{Ask, Transports};

/// How long a peer may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many peers are asked at once.
const AT_ONCE: usize = 16;
/// Clocks further apart than this make times hard to compare; nothing else depends on them.
const SKEW_MS: u64 = 5000;
/// 1,024 connections, the store's files, and some room.
const FILES: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    level: Level,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: impl Into<String>, level: Level, says: impl Into<String>, remedy: &str) {
        let remedy = (!remedy.is_empty()).then(|| remedy.to_owned());
        self.0.push(Finding { check: check.into(), level, says: says.into(), remedy });
    }

    fn ok(&mut self, check: impl Into<String>, says: impl Into<String>) {
        self.add(check, Level::Ok, says, "");
    }
}

pub(crate) async fn run(file: &Path, json: bool) -> Result<()> {
    let mut findings = Findings::default();
    match NodeConfig::load(file) {
        Ok(config) => {
            findings.ok("configuration", format!("{} reads well", file.display()));
            examine(&config, &mut findings).await;
        }
        Err(error) => {
            findings.add("configuration", Level::Fail, told(&error), "mend it; nothing else was looked at");
            if let Ok(Some(_)) = Backend::serving(file).await {
                let says = "one serves, with the configuration from before; started now, it would not";
                findings.add("node", Level::Warn, says, "mend the configuration before it is restarted");
            }
        }
    }
    let count = |level| findings.0.iter().filter(|finding| finding.level == level).count();
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    if json {
        show::line(&json!({ "ok": failed == 0, "findings": findings.0 }).to_string())?;
    } else {
        findings.0.iter().try_for_each(tell)?;
    }
    match (failed, warned) {
        (0, _) if json => Ok(()),
        (0, 0) => show::line("nothing is wrong"),
        (0, _) => show::line(&format!("nothing is broken; {warned} to look at")),
        _ => bail!("{failed} broken, {warned} more to look at"),
    }
}

fn tell(finding: &Finding) -> Result<()> {
    let mark = match finding.level {
        Level::Ok => style("ok  ").green(),
        Level::Warn => style("warn").yellow(),
        Level::Fail => style("FAIL").red().bold(),
    };
    show::line(&format!("{mark}  {}: {}", finding.check, finding.says))?;
    finding.remedy.iter().try_for_each(|remedy| show::line(&format!("      {remedy}")))
}

async fn examine(config: &NodeConfig, findings: &mut Findings) {
    let serves = tokio::net::UnixStream::connect(config.socket()).await.is_ok() || hidden::find(config).await.is_some();
    let status = node(config, serves, findings).await;
    key(config, status.as_ref(), findings);
    certificates(config, findings);
    limits(status.as_ref(), findings);
    disk(config, findings);
    addresses(config, serves, findings).await;
    peers(config, status.as_ref(), findings).await;
}

/// How many keys the node that serves accepts, if one does: it may have them from an environment of its own.
fn keys_of_the_node(status: Option<&Value>) -> Option<u64> {
    status.and_then(|status| status["keys"].as_u64())
}

/// Whether the node has its keys from an environment that is not this command's, so that this one may have others.
fn other_keys(config: &NodeConfig, status: Option<&Value>) -> bool {
    let theirs = status.and_then(|status| status["keys_from"].as_str());
    theirs == Some("environment") && config.keys_from() != Some("environment")
}

fn key(config: &NodeConfig, status: Option<&Value>, findings: &mut Findings) {
    let keys = match config.shared_keys() {
        Ok(keys) => keys,
        Err(error) => {
            return findings.add(
                "key",
                Level::Fail,
                told(&error),
                "copy it from a node that has it; only a new federation makes one, with `antiphon key`",
            );
        }
    };
    let used = keys_of_the_node(status).unwrap_or(keys.len() as u64);
    if used > 0 && other_keys(config, status) {
        findings.add(
            "key",
            Level::Warn,
            "the node's comes from its environment, and this command's does not: peers may refuse what they are asked here",
            "run it with the node's ANTIPHON_SHARED_KEY, or let federation.key_file alone name the key for both",
        );
    } else if let Err(error) = config.check_listeners(&keys) {
        findings.add("key", Level::Fail, told(&error), "then `antiphon config check`");
    } else if used == 0 {
        findings.add(
            "key",
            Level::Warn,
            "there is none: whoever reaches this node may read its log",
            "give all nodes the same one: copy it, or make a first with `antiphon key`",
        );
    } else if used > 1 {
        let says = format!("{used} are valid; leave the old one out once every node presents the new one");
        findings.add("key", Level::Warn, says, "then `antiphon reload`");
    } else {
        findings.ok("key", "there is one");
    }
    let file = config.federation.key_file.as_ref().map(|file| config.path(file));
    if let Some(file) = file.filter(|file| is_open_to_others(file)) {
        let says = format!("others than its owner may read {}", file.display());
        findings.add("key", Level::Warn, says, &format!("chmod 600 {}", file.display()));
    }
}

/// Until when a file's certificate holds, or one of its certificates.
type Look = fn(&Path, jiff::Timestamp) -> Result<(String, Option<String>)>;

fn certificates(config: &NodeConfig, findings: &mut Findings) {
    let mut expiries: Vec<(String, PathBuf, Look)> = Vec::new();
    if let Some(TlsFiles { cert, key }) = config.tls_files() {
        let loaded = Certificate::load(TlsFiles { cert: cert.clone(), key: key.clone() }, b"http/1.1");
        match loaded {
            Err(error) => findings.add("certificate", Level::Fail, error.to_string(), "then `antiphon config check`"),
            Ok(_) => expiries.push(("certificate".to_owned(), cert, expiry::of)),
        }
        if is_open_to_others(&key) {
            let says = format!("others than its owner may read {}", key.display());
            findings.add("certificate", Level::Warn, says, &format!("chmod 600 {}", key.display()));
        }
    }
    for peer in &config.federation.peers {
        if let Some(ca) = peer.ca.as_ref().filter(|ca| expiries.iter().all(|(_, known, _)| known != *ca)) {
            expiries.push((format!("authority of {}", peer.name), ca.clone(), expiry::of_any));
        }
    }
    for (check, file, look) in expiries {
        match look(&file, jiff::Timestamp::now()) {
            Ok((_, Some(soon))) => findings.add(check, Level::Warn, soon, "ask its authority for a new one"),
            Ok((until, None)) => findings.ok(check, format!("{} holds until {until}", file.display())),
            Err(error) => {
                findings.add(check, Level::Fail, told(&error), "ask its authority for a new one, in PEM form")
            }
        }
    }
}

/// The node's own limit where it serves, and otherwise that of whoever would start it from here.
fn limits(status: Option<&Value>, findings: &mut Findings) {
    let own = || nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft);
    let (whose, limit) = match status {
        Some(status) => ("the node", status["open_files_limit"].as_u64()),
        None => ("a node that is started from here", own()),
    };
    match limit {
        Some(soft) if soft < FILES => findings.add(
            "open files",
            Level::Warn,
            format!("{whose} may open {soft}; a busy one needs {FILES}"),
            "`ulimit -n 65536`, or LimitNOFILE=65536 in its unit",
        ),
        Some(soft) => findings.ok("open files", format!("{whose} may open {soft}")),
        None => findings.add("open files", Level::Warn, "their limit is not known", "look at `ulimit -n`"),
    }
}

/// Asks the node that serves, or looks whether its store opens.
async fn node(config: &NodeConfig, serves: bool, findings: &mut Findings) -> Option<Value> {
    let asked = async {
        let mut backend = Backend::open(config.clone()).await?;
        let status = backend.ask(Ask::Status).await;
        backend.close().await;
        status
    };
    let status = match asked.await {
        Ok(status) => status,
        Err(error) => {
            let remedy = if serves {
                "what follows was looked at without it"
            } else {
                "mend that; then start it with `antiphon serve`"
            };
            findings.add("node", Level::Fail, told(&error), remedy);
            return None;
        }
    };
    let refused = &status["appends_refused"];
    if let Some(why) = refused["reason"].as_str().filter(|_| status["read_only"].is_null()) {
        findings.add("appends", Level::Fail, format!("each is refused: {why}"), text(&refused["remedy"]));
    }
    if !serves {
        findings.add("node", Level::Warn, "it does not run; its store opens", "start it with `antiphon serve`");
        return None;
    }
    findings.ok("node", format!("{} serves, with {} events", text(&status["name"]), status["events"]));
    if let Some(why) = status["read_only"].as_str() {
        findings.add(
            "store",
            Level::Fail,
            format!("it cannot be written: {why}"),
            "look at the disk and the node's log",
        );
    }
    if let Some(says) = show::reload_refused(&status) {
        findings.add(
            "reload",
            Level::Warn,
            says,
            "mend that, and `antiphon reload`; or restart the node, where it says so",
        );
    }
    if let Some(change) = status["epoch_change"].as_object() {
        let says = format!("changed on {}: {}", text(&change["at"]), show::epoch_reason(&status["epoch_change"]));
        match change["peer"].as_str() {
            None => findings.ok("epoch", says),
            Some(peer) => {
                let remedy = format!(
                    "if this node was neither copied nor set back, that peer or one that it pulls makes events up: `antiphon pause-peer {peer}`"
                );
                findings.add("epoch", Level::Warn, says, &remedy);
            }
        }
    }
    for says in show::claimed(&status) {
        let (says, remedy) = says.split_once("; ").unwrap_or((says.as_str(), ""));
        findings.add("epoch", Level::Warn, says, remedy);
    }
    if let Some(says) = show::doubles(&status) {
        findings.add("identity", Level::Fail, says, antiphon_kernel::doubles::REMEDY);
    }
    if let Some(says) = show::name_differs(&status) {
        let remedy = "name the data directory of that node in node.data_dir, or write the name that the data have";
        findings.add("identity", Level::Warn, says, remedy);
    }
    if let Some(says) = show::many_origins(&status) {
        let remedy =
            "`antiphon digest --by-origin` shows who has many: avoid restores and copies, or begin a new federation";
        findings.add("origins", Level::Warn, says, remedy);
    }
    if let Some(says) = status["disk_trouble"].as_str() {
        findings.add("disk space", Level::Warn, says, "`antiphon status --json` lists who brought how much");
    }
    if let Some(1..) = status["forks"].as_u64() {
        findings.add("forks", Level::Fail, format!("{} are not resolved", status["forks"]), "`antiphon fork list`");
    }
    for says in commands::forks::suspected(&status) {
        let (says, remedy) = says.split_once("; ").unwrap_or((says.as_str(), ""));
        findings.add("forks", Level::Fail, says, remedy);
    }
    for replayer in status["replayers"].as_array().into_iter().flatten() {
        let check = format!("replayer {}", text(&replayer["name"]));
        if let Some(error) = replayer["last_error"].as_str() {
            let remedy = match replayer["fails_at"].as_str() {
                Some(cursor) => format!("`antiphon replay retry`, or `antiphon replay skip {cursor}`"),
                None => "`antiphon verify`, then `antiphon replay retry`".to_owned(),
            };
            findings.add(check, Level::Fail, format!("halted: {error}"), &remedy);
        } else if let Some(cursor) = replayer["hangs_at"].as_str() {
            findings.add(
                check,
                Level::Fail,
                format!("hangs in the event at cursor {cursor}"),
                "look at that event; restart the node",
            );
        } else if replayer["parked"].as_u64().is_some_and(|parked| parked > 0) {
            findings.add(check, Level::Warn, format!("{} events parked", replayer["parked"]), "`antiphon replay list`");
        } else {
            findings.ok(check, format!("{} places to go", replayer["lag_events"]));
        }
    }
    Some(status)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn disk(config: &NodeConfig, findings: &mut Findings) {
    let dir = config.data_dir();
    let floor = config.kernel(SharedKey::default()).effective_min_free() >> 20;
    match nix::sys::statvfs::statvfs(&dir) {
        Ok(stat) => {
            let free = (stat.blocks_available() * stat.fragment_size()) >> 20;
            let says = format!("{free} MiB are free, and {floor} are to stay so");
            match free {
                free if free < floor || free == 0 => findings.add(
                    "disk",
                    Level::Fail,
                    says,
                    "free some space: peers are not pulled, and writes fail at last",
                ),
                free if free < floor.saturating_mul(4) => findings.add("disk", Level::Warn, says, "make room soon"),
                _ => findings.ok("disk", says),
            }
        }
        Err(error) => {
            let remedy = match error {
                nix::errno::Errno::EACCES => "run this as the user that the node runs as",
                _ => "what is said of the node says what to do; only a node that never ran is made by `antiphon init`",
            };
            findings.add("disk", Level::Fail, format!("{}: {error}", dir.display()), remedy);
        }
    }
    if is_open_to_others(&dir) {
        let says = format!("others than its owner may look into {}", dir.display());
        findings.add("disk", Level::Warn, says, &format!("chmod 700 {}", dir.display()));
    }
}

/// Whether what it is to listen on is free, where it does not run.
async fn addresses(config: &NodeConfig, serves: bool, findings: &mut Findings) {
    if serves {
        return;
    }
    let tcp = [("listen.https", config.listen.https), ("listen.metrics", config.listen.metrics)];
    for (check, addr) in tcp.into_iter().filter_map(|(check, addr)| Some((check, addr?))) {
        match tokio::net::TcpListener::bind(addr).await {
            Ok(_) => findings.ok(check, format!("{addr} is free")),
            Err(error) => findings.add(
                check,
                Level::Fail,
                format!("{addr}: {error}"),
                "another process has it (this node itself, if node.data_dir was changed), or it is no address of this machine",
            ),
        }
    }
    if let Some(addr) = config.listen.quic {
        match tokio::net::UdpSocket::bind(addr).await {
            Ok(_) => findings.ok("listen.quic", format!("{addr} is free (UDP)")),
            Err(error) => findings.add(
                "listen.quic",
                Level::Fail,
                format!("{addr} (UDP): {error}"),
                "another process has it (this node itself, if node.data_dir was changed), or it is no address of this machine",
            ),
        }
    }
}

async fn peers(config: &NodeConfig, status: Option<&Value>, findings: &mut Findings) {
    let key = config.shared_key().unwrap_or_default();
    let unkeyed = other_keys(config, status);
    let transports = Transports::new(config, &key);
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

/// What there is to say of a peer, by what it answered and by how the node that serves says it stands (null if none does).
/// Pure.
fn peer_findings(peer: &PeerConfig, known: &Value, own: CortexId, asked: &Asked) -> Findings {
    let mut findings = Findings::default();
    let check = format!("peer {}", peer.name);
    // The node knows what no greeting shows: a fork, a refusal to serve, that it has given up.
    let trouble = known["reason"].as_str().map(|reason| (reason, known["remedy"].as_str().unwrap_or_default()));
    let stands = known["state"].as_str().unwrap_or_default();
    if let Some((reason, remedy)) = trouble.filter(|_| stands != "paused") {
        let level = if matches!(stands, "halted" | "refused") { Level::Fail } else { Level::Warn };
        findings.add(check.clone(), level, format!("{}: {reason}", stands.replace('_', " ")), remedy);
    }
    let identity = match &asked.answer {
        Ok(identity) => identity,
        Err(error) if asked.unkeyed && error.category() == ErrorCategory::Auth => return findings,
        Err(error)
            if error.category() == ErrorCategory::Auth
                && matches!(stands, "live" | "idle" | "catching_up" | "withheld") =>
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
    match check_identity(identity, &IdentityContext { own, pin, pinned_elsewhere: Vec::new() }) {
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
                show::printable(&identity.name),
                identity.cortex_id,
                show::printable(&identity.version),
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
