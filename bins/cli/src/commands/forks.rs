//! `antiphon fork`: what it prints.

use std::path::Path;

use antiphon_kernel::ids::PeerName;
use antiphon_node::api::{Choice, Request, Wanted};
use antiphon_node::reply::{BroughtBack, ForkChoice, ForkReport, ForkResolution, Forks, ResolvedFork};
use anyhow::Result;

use super::ask::ask;
use crate::cli::{ForkCommand, ForkResolveArgs};
use crate::output::{done, json_line, line};

pub(super) async fn run(file: &Path, command: ForkCommand, json: bool) -> Result<()> {
    match command {
        ForkCommand::List => list(&ask::<Forks>(file, Request::ForkList).await?.0, json),
        ForkCommand::Evidence { limit } => super::events::evidence(file, limit.unwrap_or(usize::MAX)).await,
        ForkCommand::Resolve(args) => resolve(file, args, json).await,
        ForkCommand::BringBack { all } => {
            let back: BroughtBack = ask(file, Request::ForkBringBack { all }).await?;
            done(&back, json, &brought_back(&back))
        }
    }
}

fn list(forks: &[ForkReport], json: bool) -> Result<()> {
    if json {
        return forks.iter().try_for_each(json_line);
    }
    if forks.is_empty() {
        return line("no forks");
    }
    forks.iter().try_for_each(|fork| line(&described(fork)))?;
    line(
        "end each with `antiphon fork resolve --keep DIGEST`: the same version on every node, and one that some node holds; `--dry-run` says what \
         it would set aside, `--follow PEER` keeps what a peer holds, `--keep owner` keeps all of which the owner's own version is known here",
    )
}

/// One fork: both versions, what each choice costs, and what follows from that.
fn described(fork: &ForkReport) -> String {
    let peer = &fork.peer;
    let here = match (fork.held, fork.own, &fork.brought_by) {
        (false, _, _) => ", decided for and not held: it is waited for".to_owned(),
        (_, true, None) => ", the owner's own, which outranks a relay's".to_owned(),
        (_, _, None) => String::new(),
        (_, _, Some(bringer)) => format!(", brought by {bringer}"),
    };
    let owner = if fork.by_owner { ", the owner's own, which outranks a relay's" } else { "" };
    let mut parts = vec![
        format!("{} differs from counter {} on", fork.origin, fork.from),
        format!("  here      {}{here}", fork.ours),
        format!("  at {peer}  {}{owner}; since {}", fork.theirs, fork.since),
        format!("  keeping the one here sets aside at least {} events at {peer}", fork.costs.ours.there_at_least),
        format!("  keeping the one at {peer} sets aside {}", cost_here(fork)),
        format!("  advice: --keep {}, since {}", short(&fork.advice.keep), fork.advice.why),
    ];
    parts.extend(suspicion(fork).map(|says| format!("  {says}")));
    parts.join("\n")
}

/// How many events leave the log here if the other version is kept, and whose they are.
fn cost_here(fork: &ForkReport) -> String {
    let cost = &fork.costs.theirs;
    let whose = cost.whose.iter().map(|one| {
        let who = match (one.own, &one.peer) {
            (true, _) => "this node's".to_owned(),
            (_, Some(peer)) => format!("{peer}'s"),
            _ => format!("of {}", one.origin),
        };
        format!("{} {who}", one.events)
    });
    let whose = whose.collect::<Vec<_>>().join(", ");
    let whose = if whose.is_empty() { whose } else { format!(": {whose}") };
    format!("{} of the {} events here{whose}", cost.here, cost.of)
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// Which peer needs attention, with the command that stops pulling it.
fn suspicion(fork: &ForkReport) -> Option<String> {
    let suspects: Vec<_> = fork.suspects.iter().map(PeerName::as_str).collect();
    let (first, both) = (suspects.first()?, suspects.join(" or "));
    Some(format!(
        "{both}, or a node that it pulls, brought what the origin's own cortex is not known to hold: made up, or written before the owner was \
         set back; `antiphon pause-peer {first}` stops pulling {first}"
    ))
}

async fn resolve(file: &Path, args: ForkResolveArgs, json: bool) -> Result<()> {
    let ForkResolveArgs { origin, keep, follow, dry_run } = args;
    let choice = match (keep, follow) {
        (_, Some(peer)) => Choice::Follow(peer),
        (keep, None) => Choice::Keep(keep.unwrap_or_default()),
    };
    let answer: ForkResolution = ask(file, Request::ForkResolve(Wanted { choice, origin, dry_run })).await?;
    let left = |left: &[String]| -> Vec<String> {
        let one = |fork| format!("of {fork} the owner's own version is not known here: choose a digest");
        left.iter().map(one).collect()
    };
    let parts = match &answer {
        ForkResolution::DryRun { would, left: rest, .. } => {
            let mut parts: Vec<_> = would.iter().map(would_do).chain(left(rest)).collect();
            parts.push("nothing was changed".to_owned());
            parts
        }
        ForkResolution::Each { resolved: each, left: rest } => each.iter().map(resolved).chain(left(rest)).collect(),
        ForkResolution::One(one) => vec![resolved(one)],
    };
    done(&answer, json, &parts.join("\n"))
}

/// What a choice would set aside, and what the other one costs.
fn would_do(choice: &ForkChoice) -> String {
    let ForkChoice { fork, keep, .. } = choice;
    let subject = format!("{} from {} on: keeping {}", fork.origin, fork.from, short(keep));
    let (peer, there) = (&fork.peer, fork.costs.ours.there_at_least);
    let cost = match *keep == fork.ours {
        true => format!(
            "sets aside nothing here, and at least {there} events at {peer}; the other choice sets aside {}",
            cost_here(fork)
        ),
        false => {
            format!("sets aside {}; the other choice sets aside at least {there} events at {peer}", cost_here(fork))
        }
    };
    let advice = match fork.advice.keep == *keep {
        true => String::new(),
        false => format!("; advised is {}, since {}", short(&fork.advice.keep), fork.advice.why),
    };
    format!("{subject} {cost}{advice}")
}

/// How a fork ended here.
fn resolved(fork: &ResolvedFork) -> String {
    let ResolvedFork { held, origin, from, set_aside, .. } = fork;
    match (set_aside, held) {
        (0, false) => format!(
            "this node holds neither version of {origin} from {from} on, and waits for the one that was decided for; if no \
             node's `antiphon fork list` shows that one as held, decide for one that is"
        ),
        (0, true) => format!(
            "this node keeps its version of {origin} from {from} on; where the other version is held, resolve it with the same \
             digest, or with `antiphon fork resolve --follow PEER`, where PEER is this node's name there"
        ),
        _ => format!(
            "{set_aside} events left the log, from {origin}:{from} on, and are kept as evidence; the version that was \
             kept comes from the peers that hold it, and the replayers begin again; `antiphon fork bring-back` appends those again \
             that this node wrote"
        ),
    }
}

fn brought_back(back: &BroughtBack) -> String {
    let mut parts = format!("{} events came back as new events of this node", back.appended);
    if back.held > 0 {
        parts.push_str(&format!("; {} are in the log again as they were", back.held));
    }
    if back.others > 0 {
        parts.push_str(&format!(
            "; {} are of other nodes, which bring them back themselves (`--all`, on one node only, if they cannot)",
            back.others
        ));
    }
    if back.unread > 0 {
        parts.push_str(&format!(
            "; {} cannot be read, since a part is missing or a newer version wrote them",
            back.unread
        ));
    }
    parts
}
