//! Commands about the whole store: verify, digest, backup, restore, repair.

use std::path::{Path, PathBuf};

use antiphon_kernel::ids::PeerName;
use antiphon_kernel::sync::Compared;
use antiphon_node::api::Request;
use antiphon_node::config::NodeConfig;
use antiphon_node::reply::{Chains, Comparison, Manifest, Verified};
use antiphon_node::socket::must_not_be_served;
use antiphon_node::steps::Steps;
use antiphon_node::{backup, repair};
use anyhow::{Result, bail};

use super::ask::{ask, ask_with_bar};
use crate::output::{done, json_line, line};
use crate::progress;

pub(super) async fn verify(file: &Path, json: bool, quiet: bool) -> Result<()> {
    let report: Verified = ask_with_bar(file, Request::Verify, !json && !quiet).await?;
    if json {
        json_line(&report)?;
    } else if report.clean {
        line(&format!("clean: {} events of {} origins, digest {}", report.events, report.origins, report.digest))?;
    }
    if report.clean {
        return Ok(());
    }
    bail!(
        "the log is damaged:\n  {}\nstop the node and run `antiphon verify --repair`: it keeps what is whole, and peers bring the rest",
        report.faults.join("\n  ")
    )
}

pub(super) async fn compare(file: &Path, peer: &PeerName, json: bool) -> Result<()> {
    let compared: Comparison = ask(file, Request::Compare { peer: peer.clone() }).await?;
    let mut forks = 0;
    for one in &compared.0 {
        let result = match one.compared {
            Compared::Agree { up_to } => format!("the same up to {up_to}"),
            Compared::Differ { from } => {
                forks += 1;
                format!("DIFFERS from {from} on")
            }
            Compared::OnlyHere => "held here alone".to_owned(),
            Compared::OnlyThere => format!("held at {peer} alone"),
        };
        if !json {
            line(&format!("{}  {result}", one.origin))?;
        }
    }
    if json {
        json_line(&compared)?;
    }
    if forks > 0 {
        bail!("{forks} histories differ from those of {peer}; `antiphon fork list` says how to end that");
    }
    if json { Ok(()) } else { line(&format!("no history differs from those of {peer}")) }
}

pub(super) async fn digest(file: &Path, by_origin: bool, json: bool) -> Result<()> {
    let all: Chains = ask(file, Request::Digest).await?;
    if json {
        return json_line(&all);
    }
    if by_origin {
        for chain in &all.chains {
            line(&format!("{}  {} {}", chain.digest, chain.origin, chain.counter))?;
        }
    }
    line(&all.digest)
}

pub(super) async fn backup(file: &Path, to: &Path, with_keys: bool, json: bool, quiet: bool) -> Result<()> {
    // The node that makes it may have been started in another directory.
    let to = std::path::absolute(to)?;
    let made: Manifest = ask_with_bar(file, Request::Backup { to: to.clone(), with_keys }, !json && !quiet).await?;
    let keys = match made.keys {
        true => "it holds the node's keys: keep it as safe as they are",
        false => "it holds no keys: keep a copy of `identity.key` elsewhere",
    };
    let text = format!("{} events are in {}, verified; digest {}\n{keys}", made.events, to.display(), made.digest);
    done(&made, json, &text)
}

pub(super) async fn restore(
    file: &Path,
    from: &Path,
    keys_from: Option<PathBuf>,
    json: bool,
    quiet: bool,
) -> Result<()> {
    let config = NodeConfig::load(file)?;
    must_not_be_served(&config).await?;
    let steps = Steps::default();
    let (from, reported) = (from.to_owned(), steps.clone());
    let restored = tokio::task::spawn_blocking(move || {
        backup::restore(&from, &config.data_dir(), config.node.name.as_str(), keys_from.as_deref(), &reported)
    });
    let restored = progress::show(!json && !quiet, &steps, restored).await??;
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
    done(&restored, json, &text)
}

pub(super) async fn repair(file: &Path, json: bool) -> Result<()> {
    let config = NodeConfig::load(file)?;
    must_not_be_served(&config).await?;
    let repaired = repair::repair(&config.data_dir())?;
    let (Some(fault), Some(before)) = (&repaired.fault, &repaired.before) else {
        return done(&repaired, json, "nothing is damaged; nothing was changed");
    };
    let mut lines = vec![
        format!("damaged: {}", fault.trim_start_matches("the store is damaged: ")),
        format!("{} events were whole and are kept; the damaged data are in {}", repaired.kept, before.display()),
    ];
    if repaired.waiting > 0 {
        lines.push(format!(
            "{} more are whole and come after what is missing: they join the log again once that came from a peer; until \
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
    done(&repaired, json, &lines.join("\n"))
}
