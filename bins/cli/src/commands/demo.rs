//! `antiphon demo`: three real processes in a row, real TLS, real events, one hop over QUIC and one over HTTPS.

use std::io::Cursor;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use antiphon_kernel::ids::PeerName;
use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use indicatif::{MultiProgress, ProgressBar};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::io::BufReader;
use tokio::process::{Child, Command};

use super::ask::ask;
use super::import;
use crate::cli::DemoArgs;
use crate::input::{self, Source};
use crate::output::line;
use crate::progress::{self, Unit};
use antiphon_kernel::internals::cortex::mint_log;
use antiphon_node::api::Request;
use antiphon_node::config::NodeConfig;
use antiphon_node::dev_certs;
use antiphon_node::init::make_store;
use antiphon_node::keys::new_key;
use antiphon_node::reply::{Status, Verified};
use antiphon_node::socket::Backend;

const NAMES: [&str; 3] = ["alpha", "bravo", "charlie"];

struct Member {
    name: &'static str,
    config: PathBuf,
    child: Child,
}

pub(super) async fn run(args: DemoArgs) -> Result<()> {
    let temporary = tempfile::tempdir().context("no temporary directory could be made")?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir).with_context(|| format!("{} could not be made", dir.display()))?;
    let key = new_key()?;
    let configs = lay_out(&dir)?;
    let mut members = Vec::new();
    for (name, config) in NAMES.into_iter().zip(configs) {
        members.push(start(name, &config, &key, &dir).await?);
    }
    let result = converge(&args, &members).await;
    for member in &mut members {
        stop(member).await;
    }
    let rows = result?;
    for member in &members {
        verify(&member.config).await.with_context(|| format!("{}: verify", member.name))?;
    }
    let mut table = Table::new();
    table.set_header(["cortex", "events", "digest", "replayed", "peers: transport, lag", "events/s"]);
    table.add_rows(rows);
    line(&table.to_string())?;
    line("converged")
}

/// Who pulls whom, and how: bravo stands between the other two and relays.
const LINKS: [(&str, &str, &str); 2] = [("alpha", "bravo", "quic"), ("bravo", "charlie", "https")];

/// Certificates, configurations and stores of three nodes in a row.
fn lay_out(dir: &Path) -> Result<Vec<PathBuf>> {
    let names: Vec<PeerName> = NAMES.iter().filter_map(|name| PeerName::new(name).ok()).collect();
    dev_certs::write(&dir.join("certs"), &names, &[])?;
    // Held together, so that the three differ; let go just before the nodes take them. UDP shares the number.
    let ports: Vec<TcpListener> = NAMES.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<u16> = ports.iter().map(|p| p.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?;
    let port = |name: &str| NAMES.iter().position(|n| *n == name).map_or(0, |at| ports[at]);
    let mut configs = Vec::new();
    // They append before they first meet.
    let log = mint_log();
    for name in NAMES {
        let peers = LINKS.iter().filter_map(|&(one, other, scheme)| match name {
            _ if name == one => Some((other, scheme)),
            _ if name == other => Some((one, scheme)),
            _ => None,
        });
        let peers = peers.map(|(peer, scheme)| {
            let port = port(peer);
            format!("    - {{ name: {peer}, endpoint: \"{scheme}://127.0.0.1:{port}\", ca: certs/ca.pem }}\n")
        });
        let port = port(name);
        let text = format!(
            "node: {{ name: {name}, data_dir: {name} }}\nlisten:\n  https: 127.0.0.1:{port}\n  quic: 127.0.0.1:{port}\n  \
             tls: {{ cert: certs/{name}.pem, key: certs/{name}.key }}\nfederation:\n  interval: 2s\n  peers:\n{}",
            peers.collect::<String>()
        );
        let config = dir.join(format!("{name}.yaml"));
        dev_certs::put(&config, &text, 0o644)?;
        make_store(&NodeConfig::load(&config)?, Some(log))?;
        configs.push(config);
    }
    Ok(configs)
}

async fn start(name: &'static str, config: &Path, key: &str, dir: &Path) -> Result<Member> {
    let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
    let child = Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(config)
        .arg("serve")
        .env("ANTIPHON_SHARED_KEY", key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let mut member = Member { name, config: config.to_owned(), child };
    let deadline = Instant::now() + Duration::from_secs(30);
    let socket = NodeConfig::load(config)?.socket();
    while tokio::net::UnixStream::connect(&socket).await.is_err() {
        if let Some(status) = member.child.try_wait()? {
            let log = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
            bail!("{name} ended with {status} instead of serving:\n{log}");
        }
        if Instant::now() > deadline {
            bail!("{name} did not start within 30 s");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(member)
}

async fn stop(member: &mut Member) {
    if let Some(pid) = member.child.id().and_then(|id| i32::try_from(id).ok()) {
        // A node that is gone already needs no signal.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(Duration::from_secs(15), member.child.wait()).await.is_err() {
        let _ = member.child.kill().await;
    }
}

async fn verify(config: &Path) -> Result<()> {
    let report: Verified = ask(config, Request::Verify).await?;
    if !report.clean {
        bail!("{}", report.faults.join("; "));
    }
    Ok(())
}

async fn converge(args: &DemoArgs, members: &[Member]) -> Result<Vec<Vec<String>>> {
    let bars = MultiProgress::new();
    let bar = |name: &'static str, length: u64| bars.add(progress::bar(true, name, Unit::Events, Some(length)));
    let history = git_history().await?;
    let mut expected = history.len() as u64;
    let text = history.join("\n");
    let first: Source = Box::new(BufReader::new(Cursor::new(text.into_bytes())));
    let began = Instant::now();
    let alpha = import_at(&members[0], first, bar("alpha", expected));
    let bravo = async {
        match &args.input {
            None => Ok(0),
            Some(file) => {
                let length = tokio::fs::read_to_string(file).await.map(|t| t.lines().count() as u64);
                let length = length.with_context(|| format!("{} could not be read", file.display()))?;
                import_at(&members[1], input::open(file).await?.source, bar("bravo", length)).await
            }
        }
    };
    let (one, two) = tokio::try_join!(alpha, bravo)?;
    expected = one + two;
    let watch = bar("all", expected * 3);
    let deadline = began + Duration::from_secs(args.timeout);
    loop {
        let mut states = Vec::new();
        for member in members {
            let mut backend = Backend::open(NodeConfig::load(&member.config)?).await?;
            states.push(backend.ask::<Status>(Request::Status).await?);
            backend.close().await;
        }
        watch.set_position(states.iter().map(|state| state.events).sum());
        if states.iter().all(|s| is_done(s, expected, &states[0])) {
            watch.finish_and_clear();
            let elapsed = began.elapsed().as_secs_f64();
            return Ok(states.iter().map(|state| row(state, elapsed)).collect());
        }
        if Instant::now() > deadline {
            let all: Vec<_> = states.iter().map(|state| format!("{state:?}")).collect();
            bail!("not converged after {} s:\n{}", args.timeout, all.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn position(state: &Status) -> u64 {
    state.replayers.first().map_or(0, |replayer| replayer.position)
}

fn is_done(state: &Status, expected: u64, first: &Status) -> bool {
    let caught_up = state.peers.iter().all(|peer| peer.lag_events == Some(0));
    state.events == expected && state.digest == first.digest && position(state) == expected && caught_up
}

fn row(state: &Status, elapsed: f64) -> Vec<String> {
    let lag = state.peers.iter().map(|peer| {
        let scheme = peer.endpoint.split("://").next().unwrap_or_default();
        let events = peer.lag_events.map_or_else(|| "-".to_owned(), |events| events.to_string());
        format!("{} {scheme} {events}", peer.name)
    });
    vec![
        state.name.clone(),
        state.events.to_string(),
        state.digest.clone(),
        position(state).to_string(),
        lag.collect::<Vec<_>>().join(", "),
        format!("{:.0}", state.events as f64 / elapsed),
    ]
}

async fn import_at(member: &Member, events: Source, bar: ProgressBar) -> Result<u64> {
    let mut backend = Backend::open(NodeConfig::load(&member.config)?).await?;
    let imported = import::all(events, &mut backend, &|count| bar.set_position(count), false, false).await;
    bar.finish_and_clear();
    backend.close().await;
    Ok(imported?.appended)
}

/// A CloudEvent of one commit and one file.
#[derive(Serialize)]
struct FileChanged<'a> {
    specversion: &'static str,
    r#type: &'static str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    data: Commit<'a>,
}

#[derive(Serialize)]
struct Commit<'a> {
    commit: &'a str,
    title: &'a str,
}

/// One event for each commit and file it changed, oldest first.
async fn git_history() -> Result<Vec<String>> {
    let log = Command::new("git")
        .args(["log", "--reverse", "--name-only", "--format=%x01%H%x02%aI%x02%s"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("git could not be run; the demo imports the history of a git checkout")?;
    if !log.status.success() {
        bail!("git log failed: {}; run the demo in a git checkout", String::from_utf8_lossy(&log.stderr).trim());
    }
    let mut events = Vec::new();
    for commit in String::from_utf8_lossy(&log.stdout).split('\x01').skip(1) {
        let (head, files) = commit.split_once('\n').unwrap_or((commit, ""));
        let mut fields = head.splitn(3, '\x02');
        let (hash, time, title) =
            (fields.next().unwrap_or_default(), fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        for file in files.lines().filter(|file| !file.is_empty() && file.len() <= 256) {
            let event = FileChanged {
                specversion: "1.0",
                r#type: "git.file.changed",
                subject: file,
                time,
                datacontenttype: "application/json",
                data: Commit { commit: hash, title },
            };
            events.push(serde_json::to_string(&event)?);
        }
    }
    if events.is_empty() {
        bail!("this git checkout has no history to import");
    }
    Ok(events)
}
