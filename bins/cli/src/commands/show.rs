//! Answers, for people and for programs.

use std::io::{IsTerminal as _, Write as _};

use antiphon_kernel::ids::PeerName;
use anyhow::{Result, bail};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use console::style;
use serde_json::Value;

pub(crate) use antiphon_node::status_text::{
    claimed, doubles, epoch_reason, many_origins, name_differs, reload_refused, suspected, text,
};
use antiphon_node::terminal;
pub(crate) use antiphon_node::terminal::printable;

/// Whoever read standard output went away (`| head`): there is nothing more to do, and no error to tell of.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(crate) struct ReaderGone;

/// Writes to standard output, all of it.
///
/// # Errors
/// [`ReaderGone`]; where it cannot be written, as on a full disk, that: what is missing must not look complete.
pub(crate) fn raw(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => anyhow::anyhow!("standard output could not be written ({error}): the output is incomplete"),
    })
}

/// One line on standard output, or several. For a terminal, what acts on one is escaped, but for colours.
///
/// # Errors
/// As [`raw`].
pub(crate) fn line(text: &str) -> Result<()> {
    let text = if std::io::stdout().is_terminal() { terminal::styled(text) } else { text.into() };
    raw(format!("{text}\n").as_bytes())
}

/// One line of text or several, with what acts on a terminal escaped for one. Not for what is coloured.
///
/// # Errors
/// As [`raw`].
pub(crate) fn plain(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { line(&terminal::lines(text)) } else { line(text) }
}

/// One JSON value.
///
/// # Errors
/// As [`raw`].
pub(crate) fn json_line(value: &Value) -> Result<()> {
    json(&format!("{value}\n"))
}

/// JSON on lines, as it is; for a terminal with what acts on one escaped, which is the same value.
///
/// # Errors
/// As [`raw`].
pub(crate) fn json(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { raw(terminal::json(text).as_bytes()) } else { raw(text.as_bytes()) }
}

/// One JSON value a line.
pub(super) fn lines(values: &Value) -> Result<()> {
    values.as_array().into_iter().flatten().try_for_each(|value| json(&format!("{value}\n")))
}

/// One word for a shell, whatever stands in it.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", printable(text).replace('\'', r"'\''"))
}

pub(super) fn status(status: &Value, json: bool) -> Result<()> {
    if json {
        return json_line(status);
    }
    overview(status)?;
    failing(&status["peers"])
}

/// All but what is wrong with peers.
pub(super) fn overview(status: &Value) -> Result<()> {
    let state = if status["serving"] == true { "serving" } else { "not serving" };
    line(&format!(
        "{} ({}), {state}, mode {}",
        style(text(&status["name"])).bold(),
        text(&status["cortex_id"]),
        text(&status["mode"])
    ))?;
    let behind = status["events"].as_u64().unwrap_or(0).saturating_sub(status["durable_events"].as_u64().unwrap_or(0));
    let durable = if behind == 0 { String::new() } else { format!(" ({behind} of them not yet durable)") };
    line(&format!(
        "{} events{durable} of {} origins, digest {}",
        status["events"],
        status["origins"],
        text(&status["digest"])
    ))?;
    if let Some(change) = status["epoch_change"].as_object() {
        line(&format!(
            "epoch {} since {}: {}",
            text(&status["epoch"]),
            text(&change["at"]),
            epoch_reason(&status["epoch_change"])
        ))?;
    }
    claimed(status).try_for_each(|says| line(&style(says).yellow().to_string()))?;
    if let Some(why) = status["read_only"].as_str() {
        line(&style(format!("READ-ONLY: {}", printable(why))).red().bold().to_string())?;
    } else if let Some(why) = status["appends_refused"]["reason"].as_str() {
        let remedy = text(&status["appends_refused"]["remedy"]);
        line(&style(format!("APPENDS ARE REFUSED: {}; {remedy}", printable(why))).red().bold().to_string())?;
    }
    if let Some(says) = doubles(status) {
        line(&style(format!("{says}; {}", antiphon_kernel::doubles::REMEDY)).red().bold().to_string())?;
    }
    if let Some(says) = name_differs(status) {
        line(&style(says).yellow().to_string())?;
    }
    if let Some(says) = many_origins(status) {
        line(&style(says).yellow().to_string())?;
    }
    if status["serving"] == true && status["mode"] == "publish" {
        line("it publishes: of its peers it pulls nothing but what it wrote itself and has lost")?;
    }
    if let Some(says) = reload_refused(status) {
        line(&style(says).yellow().to_string())?;
    }
    for trouble in ["certificate_trouble", "disk_trouble"].iter().filter_map(|key| status[*key].as_str()) {
        line(&style(printable(trouble)).yellow().to_string())?;
    }
    if let Some(1..) = status["forks"].as_u64() {
        line(&style(format!("{} forks; `antiphon fork list` shows them", status["forks"])).yellow().to_string())?;
    }
    suspected(status).try_for_each(|says| line(&style(says).yellow().to_string()))?;
    if let Some(1..) = status["conflicts"].as_u64() {
        line(&format!("{} conflicts; `antiphon conflicts` shows them", status["conflicts"]))?;
    }
    for replayer in status["replayers"].as_array().into_iter().flatten() {
        self::replayer(replayer)?;
    }
    table(status)
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
        json_line(compared)?;
    }
    if forks > 0 {
        bail!("{forks} histories differ from those of {peer}; `antiphon fork list` says how to end that");
    }
    if json { Ok(()) } else { line(&format!("no history differs from those of {peer}")) }
}

pub(super) fn replay(replay: &Value, json: bool) -> Result<()> {
    if json {
        return json_line(replay);
    }
    replayer(&replay["replayer"])?;
    for (what, key) in [("parked", "cursor"), ("skipped", "id")] {
        for event in replay[what].as_array().into_iter().flatten() {
            let (which, subject, error) = (text(&event[key]), text(&event["subject"]), text(&event["error"]));
            line(&format!("{what} {which} `{subject}`: {error}"))?;
        }
    }
    Ok(())
}

fn replayer(replayer: &Value) -> Result<()> {
    line(&format!("replayer {} at place {}", text(&replayer["name"]), replayer["position"]))?;
    if let Some(error) = replayer["last_error"].as_str() {
        line(&format!("  halted after {} tries: {}", replayer["failures"], printable(error)))?;
    }
    if let Some(cursor) = replayer["fails_at"].as_str() {
        line(&format!("  `antiphon replay skip {cursor}` leaves the event out for good"))?;
    }
    if let Some(cursor) = replayer["hangs_at"].as_str() {
        line(&format!("  hangs in the event at cursor {cursor}"))?;
    }
    match replayer["parked"].as_u64() {
        Some(1..) => line(&format!("  {} events parked; `antiphon replay list` shows them", replayer["parked"])),
        _ => Ok(()),
    }
}

pub(super) fn peers(status: &Value, json: bool) -> Result<()> {
    let peers = &status["peers"];
    if json {
        return json_line(peers);
    }
    table(status)?;
    failing(peers)
}

/// How long ago `at` was, as of `now`, in its largest unit.
fn ago(at: &Value, now: &Value) -> Option<String> {
    let read = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
    let seconds = read(now)?.duration_since(read(at)?).as_secs().max(0);
    let (count, unit) = match seconds {
        ..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    Some(format!("{count} {unit} ago"))
}

/// A status's peers. The cortex is the one that the name is pinned to: a first contact decides, and whoever compares it with
/// what that node says of itself knows that it was the right one.
fn table(status: &Value) -> Result<()> {
    let list = status["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return line("no peers");
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["peer", "state", "lag", "behind", "last seen", "pinned cortex", "endpoint"]);
    for peer in list {
        let behind = peer["lag_seconds"].as_f64().map_or("-".to_owned(), |s| format!("{s:.1} s"));
        table.add_row([
            text(&peer["name"]),
            text(&peer["state"]),
            text(&peer["lag_events"]),
            behind,
            ago(&peer["last_seen"], &status["now"]).unwrap_or_else(|| "-".to_owned()),
            text(&peer["cortex_id"]),
            text(&peer["endpoint"]),
        ]);
    }
    // Coloured line by line: codes within cells would count as width.
    let drawn = table.to_string();
    for (at, row) in drawn.lines().enumerate() {
        let state = at.checked_sub(1).and_then(|at| list.get(at)).map(|peer| text(&peer["state"])).unwrap_or_default();
        let row = match state.as_str() {
            "halted" | "refused" => style(row).red(),
            "backing_off" | "no_space" | "withheld" => style(row).yellow(),
            "live" | "idle" => style(row).green(),
            _ => style(row),
        };
        line(&row.to_string())?;
    }
    Ok(())
}

/// For each failing peer what is wrong, and what to do.
fn failing(peers: &Value) -> Result<()> {
    peers.as_array().into_iter().flatten().filter_map(explain).try_for_each(|text| line(&text))
}

/// What is wrong with a peer in full, and what to do.
pub(crate) fn explain(peer: &Value) -> Option<String> {
    let reason = peer["reason"].as_str()?;
    let again = match peer["consecutive_failures"].as_u64() {
        Some(2..) => format!(" ({} times in a row)", peer["consecutive_failures"]),
        _ => String::new(),
    };
    Some(format!("{}{again}; {}", terminal::line(reason), text(&peer["remedy"])))
}

pub(super) fn digest(answer: &Value, by_origin: bool, json: bool) -> Result<()> {
    if json {
        return json_line(answer);
    }
    if by_origin {
        for chain in answer["chains"].as_array().into_iter().flatten() {
            line(&format!("{}  {} {}", text(&chain["digest"]), text(&chain["origin"]), chain["counter"]))?;
        }
    }
    line(&text(&answer["digest"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_largest_unit() {
        let age = |at: &str| ago(&at.into(), &"2026-03-02T00:00:00Z".into());
        let all = ["2026-03-01T23:59:59.5Z", "2026-03-01T23:58:31Z", "2026-03-01T01:00:00Z", "2026-02-26T00:00:00Z"];
        assert_eq!(all.map(|at| age(at).unwrap()), ["0 s ago", "1 min ago", "23 h ago", "4 d ago"]);
        assert_eq!(age("2026-03-02T00:00:09Z").unwrap(), "0 s ago", "clocks differ");
        assert_eq!(ago(&Value::Null, &"2026-03-02T00:00:00Z".into()), None);
    }

    #[test]
    fn a_log_of_many_origins_is_warned_of() {
        let warned = |origins: u64| many_origins(&serde_json::json!({ "origins": origins }));
        assert_eq!(warned(899), None);
        assert!(warned(900).unwrap().contains("900 of at most 1024 origins"), "{:?}", warned(900));
    }

    #[test]
    fn what_others_chose_neither_moves_the_cursor_nor_runs_in_a_shell() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), 401);
        assert_eq!((shell_word("notes/1").as_str(), shell_word("a b").as_str()), ("notes/1", "'a b'"));
        assert_eq!(shell_word("x; curl `y` | sh #'"), r"'x; curl `y` | sh #'\'''");
    }
}
