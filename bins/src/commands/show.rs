//! Answers, for people and for programs.

use std::io::Write as _;

use antiphon_kernel::ids::PeerName;
use anyhow::{Result, bail};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;

/// One line on standard output; a reader that went away is no error.
pub(crate) fn line(text: &str) -> Result<()> {
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

/// One JSON value a line.
pub(super) fn lines(values: &Value) -> Result<()> {
    values.as_array().into_iter().flatten().try_for_each(|value| line(&value.to_string()))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn status(status: &Value, json: bool) -> Result<()> {
    if json {
        return line(&status.to_string());
    }
    let state = if status["serving"] == true { "serving" } else { "not serving" };
    line(&format!(
        "{} ({}), {state}, mode {}",
        text(&status["name"]),
        text(&status["cortex_id"]),
        text(&status["mode"])
    ))?;
    line(&format!("{} events of {} origins, digest {}", status["events"], status["origins"], text(&status["digest"])))?;
    if let Some(change) = status["epoch_change"].as_object() {
        line(&format!("epoch {} since {}: {}", text(&status["epoch"]), text(&change["at"]), text(&change["reason"])))?;
    }
    if let Some(why) = status["read_only"].as_str() {
        line(&format!("READ-ONLY: {why}"))?;
    }
    if let Some(1..) = status["forks"].as_u64() {
        line(&format!("{} forks; `antiphon fork list` shows them", status["forks"]))?;
    }
    for replayer in status["replayers"].as_array().into_iter().flatten() {
        self::replayer(replayer)?;
    }
    peers(&status["peers"], false)
}

pub(super) fn forks(forks: &Value, json: bool) -> Result<()> {
    if json {
        return lines(forks);
    }
    let list = forks.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return line("no forks");
    }
    for fork in list {
        line(&format!("{} differs from counter {} on", text(&fork["origin"]), fork["from"]))?;
        line(&format!("  here      {}", text(&fork["ours"])))?;
        let owner = if fork["by_owner"] == true { ", who wrote it and outranks a relay" } else { "" };
        line(&format!(
            "  at {}  {}{owner}; since {}",
            text(&fork["peer"]),
            text(&fork["theirs"]),
            text(&fork["since"])
        ))?;
    }
    line("end each with `antiphon fork resolve --keep DIGEST`, the same digest on every node")
}

pub(super) fn compared(compared: &Value, peer: &PeerName, json: bool) -> Result<()> {
    let list = compared.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut forks = 0;
    for one in list {
        let result = &one["compared"];
        let told = match result["result"].as_str().unwrap_or_default() {
            "agree" => format!("the same up to {}", result["up_to"]),
            "differ" => {
                forks += 1;
                format!("DIFFERS from {} on", result["from"])
            }
            "only_here" => "held here alone".to_owned(),
            _ => format!("held at {peer} alone"),
        };
        if !json {
            line(&format!("{}  {told}", text(&one["origin"])))?;
        }
    }
    if json {
        line(&compared.to_string())?;
    }
    if forks > 0 {
        bail!("{forks} histories differ from those of {peer}; `antiphon fork list` says how to end that");
    }
    if json { Ok(()) } else { line(&format!("no history differs from those of {peer}")) }
}

pub(super) fn conflicts(conflicts: &Value, json: bool) -> Result<()> {
    if json {
        return lines(conflicts);
    }
    let list = conflicts.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return line("no conflicts");
    }
    for conflict in list {
        line(&format!(
            "{}: `antiphon resolve {} --take ID`, or --data",
            text(&conflict["subject"]),
            text(&conflict["subject"])
        ))?;
        for event in conflict["events"].as_array().into_iter().flatten() {
            let data = event.get("data").or_else(|| event.get("data_base64")).map(text).unwrap_or_default();
            let data: String = data.chars().take(60).collect();
            line(&format!("  {}  {}  {}  {data}", text(&event["id"]), text(&event["time"]), text(&event["type"])))?;
        }
    }
    Ok(())
}

pub(super) fn replay(replay: &Value, json: bool) -> Result<()> {
    if json {
        return line(&replay.to_string());
    }
    replayer(&replay["replayer"])?;
    for (what, key) in [("parked", "parked"), ("skipped", "skipped")] {
        for event in replay[key].as_array().into_iter().flatten() {
            line(&format!("{what} place {} `{}`: {}", event["seq"], text(&event["subject"]), text(&event["error"])))?;
        }
    }
    Ok(())
}

fn replayer(replayer: &Value) -> Result<()> {
    line(&format!("replayer {} at place {}", text(&replayer["name"]), replayer["position"]))?;
    if let Some(error) = replayer["last_error"].as_str() {
        line(&format!("  halted after {} tries: {error}", replayer["failures"]))?;
    }
    if let Some(place) = replayer["hangs_at"].as_u64() {
        line(&format!("  hangs in the event at place {place}"))?;
    }
    match replayer["parked"].as_u64() {
        Some(1..) => line(&format!("  {} events parked; `antiphon replay list` shows them", replayer["parked"])),
        _ => Ok(()),
    }
}

pub(super) fn peers(peers: &Value, json: bool) -> Result<()> {
    if json {
        return line(&peers.to_string());
    }
    let list = peers.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return line("no peers");
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["peer", "state", "lag", "behind", "last seen", "endpoint"]);
    for peer in list {
        let behind = peer["lag_seconds"].as_f64().map_or("-".to_owned(), |s| format!("{s:.1} s"));
        table.add_row([
            text(&peer["name"]),
            text(&peer["phase"]),
            text(&peer["lag_events"]),
            behind,
            text(&peer["last_seen"]),
            text(&peer["endpoint"]),
        ]);
    }
    line(&table.to_string())?;
    for peer in list.iter().filter(|peer| peer["reason"].is_string()) {
        line(&format!(
            "{} ({} times in a row); {}",
            text(&peer["reason"]),
            peer["consecutive_failures"],
            text(&peer["remedy"])
        ))?;
    }
    Ok(())
}

pub(super) fn digest(answer: &Value, by_origin: bool, json: bool) -> Result<()> {
    if json {
        return line(&answer.to_string());
    }
    if by_origin {
        for chain in answer["chains"].as_array().into_iter().flatten() {
            line(&format!("{}  {} {}", text(&chain["digest"]), text(&chain["origin"]), chain["counter"]))?;
        }
    }
    line(&text(&answer["digest"]))
}
