//! `antiphon fork`: what it prints.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::show::{line, lines, text};
use super::{ask, done, text_of};
use crate::cli::{ForkCommand, ForkResolveArgs};
use antiphon_node::forks::{Choice, Wanted};
use antiphon_node::node::Ask;

pub(super) async fn run(file: &Path, command: ForkCommand, json: bool) -> Result<()> {
    match command {
        ForkCommand::List => list(&ask(file, Ask::ForkList).await?, json),
        ForkCommand::Evidence { limit } => super::events::evidence(file, limit.unwrap_or(usize::MAX)).await,
        ForkCommand::Resolve(args) => resolve(file, args, json).await,
        ForkCommand::BringBack { all } => {
            let answer = ask(file, Ask::ForkBringBack { all }).await?;
            let text = brought_back(&answer);
            done(answer, json, &text)
        }
    }
}

fn list(forks: &Value, json: bool) -> Result<()> {
    if json {
        return lines(forks);
    }
    let list = forks.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return line("no forks");
    }
    list.iter().try_for_each(|fork| line(&described(fork)))?;
    line(
        "end each with `antiphon fork resolve --keep DIGEST`: the same version on every node, and one that some node holds; `--dry-run` says what \
         it would set aside, `--follow PEER` keeps what a peer holds, `--keep owner` keeps all of which the owner's own version is known here",
    )
}

/// One fork: both versions, what each choice costs, and what follows from that.
fn described(fork: &Value) -> String {
    let peer = text(&fork["peer"]);
    let here = match (&fork["held"], &fork["own"], &fork["brought_by"]) {
        (Value::Bool(false), _, _) => ", decided for and not held: it is waited for".to_owned(),
        (_, Value::Bool(true), Value::Null) => ", the owner's own, which outranks a relay's".to_owned(),
        (_, _, Value::Null) => String::new(),
        (_, _, bringer) => format!(", brought by {}", text(bringer)),
    };
    let owner = if fork["by_owner"] == true { ", the owner's own, which outranks a relay's" } else { "" };
    let mut parts = vec![
        format!("{} differs from counter {} on", text(&fork["origin"]), fork["from"]),
        format!("  here      {}{here}", text(&fork["ours"])),
        format!("  at {peer}  {}{owner}; since {}", text(&fork["theirs"]), text(&fork["since"])),
        format!(
            "  keeping the one here sets aside at least {} events at {peer}",
            fork["costs"]["ours"]["there_at_least"]
        ),
        format!("  keeping the one at {peer} sets aside {}", cost_here(fork)),
        format!("  advice: --keep {}, since {}", short(&fork["advice"]["keep"]), text(&fork["advice"]["why"])),
    ];
    parts.extend(suspicion(fork).map(|says| format!("  {says}")));
    parts.join("\n")
}

/// How many events leave the log here if the other version is kept, and whose they are.
fn cost_here(fork: &Value) -> String {
    let cost = &fork["costs"]["theirs"];
    let whose = cost["whose"].as_array().into_iter().flatten().map(|one| {
        let who = match (&one["own"], &one["peer"]) {
            (Value::Bool(true), _) => "this node's".to_owned(),
            (_, Value::String(_)) => format!("{}'s", text(&one["peer"])),
            _ => format!("of {}", text(&one["origin"])),
        };
        format!("{} {who}", one["events"])
    });
    let whose = whose.collect::<Vec<_>>().join(", ");
    let whose = if whose.is_empty() { whose } else { format!(": {whose}") };
    format!("{} of the {} events here{whose}", cost["here"], cost["of"])
}

fn short(digest: &Value) -> String {
    text(digest).chars().take(12).collect()
}

/// Which peer needs attention, with the command that stops pulling it.
fn suspicion(fork: &Value) -> Option<String> {
    let suspects: Vec<_> = fork["suspects"].as_array().into_iter().flatten().map(text).collect();
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
    let answer = ask(file, Ask::ForkResolve(Wanted { choice, origin, dry_run })).await?;
    let left = answer["left"].as_array().into_iter().flatten();
    let left =
        left.map(|fork| format!("of {} the owner's own version is not known here: choose a digest", text_of(fork)));
    let parts = match (answer["would"].as_array(), answer["resolved"].as_array()) {
        (Some(would), _) => would.iter().map(would_do).chain(left).chain(["nothing was changed".to_owned()]).collect(),
        (None, Some(each)) => each.iter().map(resolved).chain(left).collect(),
        (None, None) => vec![resolved(&answer)],
    };
    done(answer, json, &parts.join("\n"))
}

/// What a choice would set aside, and what the other one costs.
fn would_do(fork: &Value) -> String {
    let place = format!("{} from {} on: keeping {}", text(&fork["origin"]), fork["from"], short(&fork["keep"]));
    let (peer, there) = (text(&fork["peer"]), &fork["costs"]["ours"]["there_at_least"]);
    let cost = match fork["keep"] == fork["ours"] {
        true => format!(
            "sets aside nothing here, and at least {there} events at {peer}; the other choice sets aside {}",
            cost_here(fork)
        ),
        false => {
            format!("sets aside {}; the other choice sets aside at least {there} events at {peer}", cost_here(fork))
        }
    };
    let advice = match fork["advice"]["keep"] == fork["keep"] {
        true => String::new(),
        false => format!("; advised is {}, since {}", short(&fork["advice"]["keep"]), text(&fork["advice"]["why"])),
    };
    format!("{place} {cost}{advice}")
}

/// How a fork ended here.
fn resolved(answer: &Value) -> String {
    let (origin, from, aside) = (text_of(&answer["origin"]), &answer["from"], &answer["set_aside"]);
    match (aside.as_u64(), &answer["held"]) {
        (Some(0), Value::Bool(false)) => format!(
            "this node holds neither version of {origin} from {from} on, and waits for the one that was decided for; if no \
             node's `antiphon fork list` shows that one as held, decide for one that is"
        ),
        (Some(0), _) => format!(
            "this node keeps its version of {origin} from {from} on; where the other version is held, resolve it with the same \
             digest, or with `antiphon fork resolve --follow PEER`, where PEER is this node's name there"
        ),
        _ => format!(
            "{aside} events left the log, from {origin}:{from} on, and are kept as evidence; the version that was \
             kept comes from the peers that hold it, and the replayers begin again; `antiphon fork bring-back` appends those again \
             that this node wrote"
        ),
    }
}

fn brought_back(answer: &Value) -> String {
    let mut parts = format!("{} events came back as new events of this node", answer["appended"]);
    if let Some(1..) = answer["held"].as_u64() {
        parts.push_str(&format!("; {} are in the log again as they were", answer["held"]));
    }
    if let Some(1..) = answer["others"].as_u64() {
        parts.push_str(&format!(
            "; {} are of other nodes, which bring them back themselves (`--all`, on one node only, if they cannot)",
            answer["others"]
        ));
    }
    parts
}
