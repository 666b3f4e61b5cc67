//! What each command does.

mod append;
mod demo;
mod doctor;
mod events;
pub(crate) mod forks;
pub(crate) mod import;
mod log;
mod serve;
pub(crate) mod show;

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use antiphon_kernel::config::PeerMode;
use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;
use indicatif::ProgressStyle;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use self::append::warn_of;
use crate::cli::{Cli, Command, ConfigCommand, InitArgs, ReplayCommand, ResolveArgs};
use crate::narrate::Narrator;
use crate::unit;
use antiphon_node::admin::Backend;
use antiphon_node::attached::Attached;
use antiphon_node::config::{self, NodeConfig};
use antiphon_node::error_text::with_causes;
use antiphon_node::init::{make_key, make_store};
use antiphon_node::keys::new_key;
use antiphon_node::node::Ask;
use antiphon_node::{backup, dev_certs, expiry, hidden, repair};

pub(crate) async fn run(cli: Cli) -> Result<()> {
    let json = cli.json;
    let file = &cli.config;
    match cli.command {
        Command::Init(args) => init(file, &args, json).await,
        Command::Serve { log_format } => serve::run(NodeConfig::load(file)?, log_format).await,
        Command::Append(args) => append::run(file, args, json).await,
        Command::Import(args) => import::run(file, args, json).await,
        Command::Log(args) => log::run(file, args).await,
        Command::View { subject } => events::view(file, subject).await,
        Command::Conflicts => events::conflicts(file, json).await,
        Command::Resolve(args) => resolve(file, args, json).await,
        Command::Replay { command: ReplayCommand::List { replayer } } => {
            show::replay(&ask(file, Ask::ReplayList { replayer }).await?, json)
        }
        Command::Replay { command: ReplayCommand::Retry { replayer, subject } } => {
            let answer = ask(file, Ask::ReplayRetry { replayer, subject }).await?;
            let text = format!("{} events replayed, {} still parked", answer["replayed"], answer["parked"]);
            done(answer, json, &text)
        }
        Command::Replay { command: ReplayCommand::Skip { replayer, cursor } } => {
            let text = format!("the event at cursor {cursor} is left out; `antiphon replay list` keeps the record");
            done(ask(file, Ask::ReplaySkip { replayer, at: cursor }).await?, json, &text)
        }
        Command::Status { check: true, .. } => check_health(file).await,
        Command::Status { watch: true, .. } => watch(file, json).await,
        Command::Status { .. } => show::status(&ask(file, Ask::Status).await?, json),
        Command::Doctor => doctor::run(file, json).await,
        Command::Reload => {
            // The node reads it as well, and says what is wrong with it.
            let (mut backend, _) = Backend::reach(file).await?;
            let changes = backend.ask(Ask::Reload).await;
            backend.close().await;
            let changes = changes?;
            let text = reloaded(&changes);
            done(changes, json, &text)
        }
        Command::SystemdUnit => show::line(unit::text(file)?.trim_end()),
        Command::Man { dir } => man(dir.as_deref()),
        Command::Peers => show::peers(&ask(file, Ask::Status).await?, json),
        Command::ResetPeer { name } => done(
            ask(file, Ask::ResetPeer { name: name.clone() }).await?,
            json,
            &format!("{name}: pin, cursor and health are cleared"),
        ),
        Command::PausePeer { name } => set_peer(file, name, PeerMode::Paused, json).await,
        Command::ResumePeer { name } => set_peer(file, name, PeerMode::Sync, json).await,
        Command::SetMode { mode } => {
            let answer = ask(file, Ask::SetMode { mode }).await?;
            let text = format!("mode is now {mode}{}", beside_the_file(&answer));
            done(answer, json, &text)
        }
        Command::Verify { repair: true, .. } => repair(file, json).await,
        Command::NewEpoch => {
            let answer = ask(file, Ask::NewEpoch).await?;
            let text = format!(
                "epoch {} follows {}; event ids go on from this node's clock",
                text_of(&answer["epoch"]),
                text_of(&answer["from"])
            );
            done(answer, json, &text)
        }
        Command::Verify { peer: Some(peer), .. } => {
            let compared = ask(file, Ask::Compare { peer: peer.clone() }).await?;
            show::compared(&compared, &peer, json)
        }
        Command::Verify { peer: None, .. } => verify(&ask(file, Ask::Verify).await?, json),
        Command::Backup { to } => {
            // The node that makes it may have been started in another directory.
            let to = std::path::absolute(to)?;
            let made = ask(file, Ask::Backup { to: to.clone() }).await?;
            let text = format!(
                "{} events are in {}, verified; digest {}",
                made["events"],
                to.display(),
                text_of(&made["digest"])
            );
            done(made, json, &text)
        }
        Command::Restore { from } => restore(file, &from, json).await,
        Command::Fork { command } => forks::run(file, command, json).await,
        Command::Digest { by_origin } => show::digest(&ask(file, Ask::Digest).await?, by_origin, json),
        Command::Key => show::line(&new_key()?),
        Command::DevCerts { dir, names, host } => {
            dev_certs::write(&dir, &names, &host)?;
            done(
                json!({ "dir": dir }),
                json,
                &format!("certificates for development are in {}; do not use them for anything else", dir.display()),
            )
        }
        Command::Config { command: ConfigCommand::Check } => check(file, json),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "antiphon", &mut text);
            show::raw(&text)
        }
        Command::Demo(args) => demo::run(args).await,
    }
}

/// What a reload changed, for people.
fn reloaded(changes: &Value) -> String {
    let mut lines = Vec::new();
    for (key, what) in [("added", "pulled from now on"), ("removed", "not pulled any more"), ("moved", "reached anew")]
    {
        let names: Vec<_> = changes[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.is_empty() {
            lines.push(format!("{what}: {}", names.join(", ")));
        }
    }
    for change in changes["modes"].as_array().into_iter().flatten() {
        lines.push(format!("{}: {}", text_of(&change["peer"]), text_of(&change["mode"])));
    }
    for (key, what) in [
        ("interval_seconds", "interval, in seconds"),
        ("mode", "mode"),
        ("min_free_mib", "MiB that stay free"),
        ("memory_budget_mib", "memory budget, in MiB"),
    ] {
        if !changes[key].is_null() {
            lines.push(format!("{what}: {}", changes[key].to_string().trim_matches('"')));
        }
    }
    if changes["key_changed"] == true {
        lines.push("another key is presented; connections were opened anew".to_owned());
    }
    match changes["keys"].as_u64() {
        _ if changes["accepted_keys_changed"] != true => {}
        Some(1..) => lines.push(format!("keys that are accepted now: {}", changes["keys"])),
        _ => lines.push("NO KEY IS NEEDED ANY MORE: whoever reaches this node may read its log".to_owned()),
    }
    if changes["authorities_changed"] == true {
        lines.push("other authorities are trusted; connections were opened anew".to_owned());
    }
    if changes["certificate_changed"] == true {
        lines.push(format!("another certificate is shown; it holds until {}", text_of(&changes["certificate_until"])));
    }
    lines.extend(changes["overridden"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    if lines.is_empty() {
        lines.push("nothing changed".to_owned());
    }
    lines.extend(changes["troubles"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    lines.extend(changes["certificate_trouble"].as_str().map(str::to_owned));
    lines.join("\n")
}

/// How often a watched status is asked for.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What is told where there is nothing to watch.
const NOBODY: &str = "no node serves; this waits until one does";

/// Never opens the store itself: a node that is to start must find it free.
async fn watch(file: &Path, json: bool) -> Result<()> {
    let mut narrator = Narrator::default();
    let terminal = std::io::stdout().is_terminal() && !json;
    let mut every = tokio::time::interval(WATCH_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopped = std::pin::pin!(tokio::signal::ctrl_c());
    // What keeps from seeing a status, if anything, as it was told last.
    let mut trouble = None;
    let mut started = None;
    loop {
        let look = async {
            every.tick().await;
            match Backend::serving(file).await? {
                Some(mut backend) => Ok(backend.ask(Ask::Status).await.map_err(|error| with_causes(&error))),
                None => Ok(Err(NOBODY.to_owned())),
            }
        };
        let looked: Result<Result<Value, String>> = tokio::select! {
            _ = &mut stopped => return Ok(()),
            looked = look => looked,
        };
        let status = match looked? {
            Ok(status) => status,
            Err(text) => {
                if trouble.as_ref() != Some(&text) {
                    let serving = text != NOBODY;
                    done(json!({ "serving": serving, "error": text }), json, &text)?;
                }
                trouble = Some(text);
                continue;
            }
        };
        // That it serves, and that it is another process than before, is news as well.
        let mut news = Vec::new();
        let begun = status["started_at"].as_str().unwrap_or_default().to_owned();
        if started.replace(begun.clone()).is_some_and(|before| before != begun) {
            news.push(format!("{} was started anew", text_of(&status["name"])));
        } else if trouble.is_some() {
            news.push(format!("{} serves", text_of(&status["name"])));
        }
        trouble = None;
        news.extend(narrator.news(&status["peers"]));
        if json {
            show::json_line(&status)?;
        } else if terminal {
            // Home, and clear what is below.
            show::raw(b"\x1b[H\x1b[2J\n")?;
            show::overview(&status)?;
            narrator.recent().try_for_each(show::plain)?;
        } else {
            news.iter().try_for_each(|line| show::plain(line))?;
        }
    }
}

async fn check_health(file: &Path) -> Result<()> {
    let serving = Backend::serving(file).await?;
    let mut backend = serving.with_context(|| format!("no node serves the data of {}", file.display()))?;
    let status = backend.ask(Ask::Status).await?;
    let refused = &status["appends_refused"];
    match refused["reason"].as_str() {
        Some(why) => bail!("the node refuses appends: {why}; {}", text_of(&refused["remedy"])),
        None => Ok(()),
    }
}

fn man(dir: Option<&Path>) -> Result<()> {
    let command = Cli::command();
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("{} could not be made", dir.display()))?;
            clap_mangen::generate_to(command, dir).with_context(|| format!("{} could not be written to", dir.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            show::raw(&page)
        }
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn restore(file: &Path, from: &Path, json: bool) -> Result<()> {
    let config = NodeConfig::load(file)?;
    hidden::must_not_be_served(&config).await?;
    let restored = backup::restore(from, &config.data_dir(), config.node.name.as_str())?;
    let mut text = format!(
        "{} events of {} are back, as of {}; the node continues under the new epoch {}",
        restored.backup.events, restored.backup.name, restored.backup.made_at, restored.epoch
    );
    if let Some(before) = &restored.before {
        text.push_str(&format!(
            "\nwhat was there before is in {}; what it holds beyond the backup begins after cursor {}",
            before.display(),
            restored.cursor
        ));
    }
    text.push_str("\nstart it with `antiphon serve`: what it wrote since comes back from its peers");
    done(json!(restored), json, &text)
}

async fn repair(file: &Path, json: bool) -> Result<()> {
    let config = NodeConfig::load(file)?;
    hidden::must_not_be_served(&config).await?;
    let repaired = repair::repair(&config.data_dir())?;
    let (Some(fault), Some(before)) = (&repaired.fault, &repaired.before) else {
        return done(json!(repaired), json, "nothing is damaged; nothing was changed");
    };
    let mut lines = vec![
        format!("damaged: {}", fault.trim_start_matches("the store is damaged: ")),
        format!("{} events were whole and are kept; the damaged data are in {}", repaired.kept, before.display()),
    ];
    if repaired.waiting > 0 {
        lines.push(format!(
            "{} more are whole and stand behind what is missing: they join the log again once that came from a peer; until \
             then `antiphon fork evidence` prints them",
            repaired.waiting
        ));
    }
    lines.extend(repaired.notes.iter().cloned());
    lines.extend(
        repaired
            .lost
            .iter()
            .map(|(origin, first, last)| format!("not in the log yet: {origin} from {first} to {last}")),
    );
    match repaired.lost_at_end {
        Some(0) => {}
        Some(places) => lines.push(format!(
            "missing: {places} events at the end of the log, which were durable; whose they were cannot be read any more"
        )),
        None => lines.push("whether events at the end of the log are missing is not known".to_owned()),
    }
    lines.push(
        "start it with `antiphon serve`: what is missing comes back from its peers, under a new epoch; then compare with \
         `antiphon verify --peer NAME`"
            .to_owned(),
    );
    done(json!(repaired), json, &lines.join("\n"))
}

async fn resolve(file: &Path, args: ResolveArgs, json: bool) -> Result<()> {
    let (replacement, data) = match args.data {
        Some(data) => {
            let data = append::payload(&args.content_type, or_stdin(data).await?)?;
            (Some((args.event_type, args.content_type)), Attached::one(data))
        }
        None => (None, Attached::default()),
    };
    let subject = args.subject.clone();
    let answer = ask(file, Ask::Resolve { subject, take: args.take, replacement, data }).await?;
    let count = answer["superseded"].as_array().map_or(0, Vec::len);
    let mut text = format!(
        "`{}` is resolved: {} supersedes {count} events",
        args.subject,
        answer["id"].as_str().unwrap_or_default()
    );
    if let Some(1..) = answer["left"].as_u64() {
        text.push_str(&format!("; {} more stay in conflict, see `antiphon conflicts`", answer["left"]));
    }
    done(answer, json, &text)
}

async fn ask(file: &Path, ask: Ask) -> Result<Value> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let answer = backend.ask(ask).await;
    backend.close().await;
    answer
}

fn done(answer: Value, json: bool, text: &str) -> Result<()> {
    if json { show::json_line(&answer) } else { show::plain(text) }
}

async fn set_peer(file: &Path, name: antiphon_kernel::ids::PeerName, mode: PeerMode, json: bool) -> Result<()> {
    let answer = ask(file, Ask::SetPeerMode { name: name.clone(), mode }).await?;
    let text = match mode {
        PeerMode::Paused => format!("{name} is paused: not pulled, still served"),
        PeerMode::Sync => format!("{name} is pulled again"),
    };
    done(answer.clone(), json, &(text + &beside_the_file(&answer)))
}

/// That a command goes before the file, where it does.
fn beside_the_file(answer: &Value) -> String {
    match answer["in_file"].as_str() {
        Some(written) if answer["mode"] != written => {
            format!("; that goes before the file, which says {written}, until a command says the same")
        }
        _ => String::new(),
    }
}

async fn init(file: &Path, args: &InitArgs, json: bool) -> Result<()> {
    if !file.exists() {
        let data_dir = args.data_dir.clone().unwrap_or_else(|| Path::new(args.name.as_str()).join("data"));
        make_key(&file.with_file_name(config::KEY_FILE))?;
        dev_certs::put(file, &config::starter(&args.name, &data_dir), 0o644)?;
    } else if args.data_dir.is_some() {
        bail!("{} exists and names the data directory; leave --data-dir out", file.display());
    }
    let config = NodeConfig::load(file)?;
    hidden::must_not_be_served(&config).await?;
    let identity = make_store(&config)?;
    let key_file = config.federation.key_file.as_ref().map(|file| config.path(file));
    let answer = json!({
        "cortex_id": identity.cortex_id, "epoch": identity.epoch.to_string(), "data_dir": config.data_dir(), "config": file,
        "key_file": key_file,
    });
    let mut text = format!(
        "cortex {} is ready in {}; start it with `antiphon serve`",
        identity.cortex_id,
        config.data_dir().display()
    );
    if let Some(key_file) = key_file {
        text.push_str(&format!("\nits shared key is in {}; copy that file to every other node", key_file.display()));
    }
    done(answer, json, &text)
}

/// What was given, or the bytes of standard input for `-`.
async fn or_stdin(data: String) -> Result<Vec<u8>> {
    if data != "-" {
        return Ok(data.into_bytes());
    }
    let mut bytes = Vec::new();
    tokio::io::stdin().read_to_end(&mut bytes).await.context("standard input could not be read")?;
    Ok(bytes)
}

pub(super) fn progress_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:>8} {wide_bar} {pos}/{len} {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn verify(report: &Value, json: bool) -> Result<()> {
    if json {
        show::json_line(report)?;
    } else if report["clean"] == true {
        show::line(&format!(
            "clean: {} events of {} origins, digest {}",
            report["events"],
            report["origins"],
            report["digest"].as_str().unwrap_or_default()
        ))?;
    }
    if report["clean"] == true {
        return Ok(());
    }
    let faults: Vec<_> = report["faults"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    bail!(
        "the log is damaged:\n  {}\nstop the node and run `antiphon verify --repair`: it keeps what is whole, and peers bring the rest",
        faults.join("\n  ")
    )
}

fn check(file: &Path, json: bool) -> Result<()> {
    let config = NodeConfig::load(file)?;
    let keys = config.shared_keys()?;
    config.check(&keys)?;
    let certificate = match &config.listen.tls {
        Some(tls) => {
            let (until, soon) = expiry::of(&config.path(&tls.cert), jiff::Timestamp::now())?;
            soon.iter().for_each(|soon| eprintln!("{soon}"));
            format!(", certificate until {until}")
        }
        None => String::new(),
    };
    let text = format!(
        "{} is good: node {}, {} peers, mode {}, {}{certificate}",
        file.display(),
        config.node.name,
        config.federation.peers.len(),
        config.federation.mode,
        if keys.is_empty() { "no shared key" } else { "with a shared key" }
    );
    done(json!({ "ok": true, "peers": config.federation.peers.len() }), json, &text)
}
