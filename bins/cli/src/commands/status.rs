//! `antiphon status`, and `antiphon peers`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use antiphon_kernel::condition::Condition;
use antiphon_kernel::time::Timestamp;
use antiphon_node::api::Request;
use antiphon_node::error_text::with_causes;
use antiphon_node::reply::{Peer, Peers, Status, Unseen};
use antiphon_node::socket::Backend;
use antiphon_node::status_text::{
    claimed, doubles, epoch_reason, many_origins, name_differs, reload_refused, suspected,
};
use antiphon_node::terminal::printable;
use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use console::style;

use super::ask::ask;
use super::replay::replayer;
use crate::narrate::{Narrator, explain};
use crate::output::{done, json_line, line, plain, raw};

/// How often a watched status is asked for.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What is reported where there is nothing to watch.
const NO_NODE: &str = "no node serves; this waits until one does";

pub(super) async fn show(file: &Path, json: bool) -> Result<()> {
    let status: Status = ask(file, Request::Status).await?;
    if json {
        return json_line(&status);
    }
    overview(&status)?;
    failing(&status.peers)
}

pub(super) async fn peers(file: &Path, json: bool) -> Result<()> {
    let status: Status = ask(file, Request::Status).await?;
    if json {
        return json_line(&Peers(status.peers));
    }
    table(&status)?;
    failing(&status.peers)
}

/// Never opens the store itself: a node that starts must find it free.
pub(super) async fn watch(file: &Path, json: bool) -> Result<()> {
    let mut narrator = Narrator::default();
    let terminal = std::io::stdout().is_terminal() && !json;
    let mut every = tokio::time::interval(WATCH_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopped = std::pin::pin!(tokio::signal::ctrl_c());
    // Why there is no status, if there is none, as it was reported last.
    let mut trouble = None;
    let mut started = None;
    loop {
        let look = async {
            every.tick().await;
            match Backend::serving(file).await? {
                Some(mut backend) => {
                    Ok(backend.ask::<Status>(Request::Status).await.map_err(|error| with_causes(&error)))
                }
                None => Ok(Err(NO_NODE.to_owned())),
            }
        };
        let looked: Result<Result<Status, String>> = tokio::select! {
            _ = &mut stopped => return Ok(()),
            looked = look => looked,
        };
        let status = match looked? {
            Ok(status) => status,
            Err(error) => {
                if trouble.as_ref() != Some(&error) {
                    done(&Unseen { serving: error != NO_NODE, error: error.clone() }, json, &error)?;
                }
                trouble = Some(error);
                continue;
            }
        };
        // That it serves, and that it is another process than before, is news as well.
        let mut news = Vec::new();
        if started.replace(status.started_at).is_some_and(|before| before != status.started_at) {
            news.push(format!("{} was restarted", printable(&status.name)));
        } else if trouble.is_some() {
            news.push(format!("{} serves", printable(&status.name)));
        }
        trouble = None;
        news.extend(narrator.news(&status.peers));
        if json {
            json_line(&status)?;
        } else if terminal {
            // Home, and clear what is below.
            raw(b"\x1b[H\x1b[2J\n")?;
            overview(&status)?;
            narrator.recent().try_for_each(plain)?;
        } else {
            news.iter().try_for_each(|line| plain(line))?;
        }
    }
}

pub(super) async fn check_health(file: &Path) -> Result<()> {
    let serving = Backend::serving(file).await?;
    let mut backend = serving.with_context(|| format!("no node serves the data of {}", file.display()))?;
    match backend.ask::<Status>(Request::Status).await?.appends_refused {
        Some(refused) => bail!("the node refuses appends: {}; {}", refused.reason, refused.remedy),
        None => Ok(()),
    }
}

/// All but what is wrong with peers.
fn overview(status: &Status) -> Result<()> {
    let warn = |says: String| line(&style(says).yellow().to_string());
    let alarm = |says: String| line(&style(says).red().bold().to_string());
    let state = if status.serving { "serving" } else { "not serving" };
    let name = printable(&status.name);
    line(&format!("{} ({}), {state}, mode {}", style(name).bold(), status.cortex_id, status.mode))?;
    let behind = status.events.saturating_sub(status.durable_events);
    let durable = if behind == 0 { String::new() } else { format!(" ({behind} of them not yet durable)") };
    line(&format!("{} events{durable} of {} origins, digest {}", status.events, status.origins, status.digest))?;
    if let Some(change) = &status.epoch_change {
        line(&format!("epoch {} since {}: {}", status.epoch, change.at, epoch_reason(change)))?;
    }
    claimed(status).try_for_each(warn)?;
    if let Some(why) = &status.read_only {
        alarm(format!("READ-ONLY: {}", printable(why)))?;
    } else if let Some(refused) = &status.appends_refused {
        alarm(format!("APPENDS ARE REFUSED: {}; {}", printable(&refused.reason), refused.remedy))?;
    }
    if let Some(says) = doubles(status) {
        alarm(format!("{says}; {}", antiphon_kernel::doubles::REMEDY))?;
    }
    name_differs(status).into_iter().chain(many_origins(status.origins)).try_for_each(warn)?;
    if status.serving && status.mode == antiphon_kernel::config::FederationMode::Publish {
        line("it publishes: of its peers it pulls nothing but what it wrote itself and has lost")?;
    }
    reload_refused(status).into_iter().try_for_each(warn)?;
    let troubles = [&status.certificate_trouble, &status.disk_trouble].into_iter().flatten();
    troubles.map(|trouble| printable(trouble)).try_for_each(warn)?;
    if status.forks > 0 {
        warn(format!("{} forks; `antiphon fork list` shows them", status.forks))?;
    }
    suspected(status).try_for_each(warn)?;
    if status.conflicts > 0 {
        line(&format!("{} conflicts; `antiphon conflicts` shows them", status.conflicts))?;
    }
    status.replayers.iter().try_for_each(replayer)?;
    table(status)
}

/// How long ago `at` was, as of `now`, in its largest unit.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.saturating_since(at).as_secs();
    let (count, unit) = match seconds {
        ..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit} ago")
}

/// A status's peers. The cortex is the one that the name is pinned to: a first contact decides. An operator who compares it with
/// what that node reports about itself knows that it was the right one.
fn table(status: &Status) -> Result<()> {
    if status.peers.is_empty() {
        return line("no peers");
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["peer", "state", "lag", "behind", "last seen", "pinned cortex", "endpoint"]);
    for peer in &status.peers {
        table.add_row([
            peer.name.to_string(),
            or_dash(peer.state.map(|state| state.as_str().to_owned())),
            or_dash(peer.lag_events.map(|events| events.to_string())),
            or_dash(peer.lag_seconds.map(|seconds| format!("{seconds:.1} s"))),
            or_dash(peer.last_seen.map(|at| ago(at, status.now))),
            or_dash(peer.cortex_id.map(|id| id.to_string())),
            printable(&peer.endpoint),
        ]);
    }
    // Coloured line by line: codes within cells would count as width.
    let drawn = table.to_string();
    for (at, row) in drawn.lines().enumerate() {
        let peer = at.checked_sub(1).and_then(|at| status.peers.get(at));
        let row = match peer.and_then(|peer| peer.state) {
            Some(Condition::Halted | Condition::Refused) => style(row).red(),
            Some(Condition::BackingOff | Condition::NoSpace | Condition::Withheld) => style(row).yellow(),
            Some(Condition::Live | Condition::Idle) => style(row).green(),
            _ => style(row),
        };
        line(&row.to_string())?;
    }
    Ok(())
}

/// For each failing peer what is wrong, and what to do.
fn failing(peers: &[Peer]) -> Result<()> {
    peers.iter().filter_map(explain).try_for_each(|text| line(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_its_largest_unit() {
        let age = |at: &str| ago(at.parse().unwrap(), "2026-03-02T00:00:00Z".parse().unwrap());
        let all = ["2026-03-01T23:59:59.5Z", "2026-03-01T23:58:31Z", "2026-03-01T01:00:00Z", "2026-02-26T00:00:00Z"];
        assert_eq!(all.map(age), ["0 s ago", "1 min ago", "23 h ago", "4 d ago"]);
        assert_eq!(age("2026-03-02T00:00:09Z"), "0 s ago", "clocks differ");
    }

    #[test]
    fn a_log_of_many_origins_is_warned_of() {
        assert_eq!(many_origins(899), None);
        assert!(many_origins(900).unwrap().contains("900 of at most 1024 origins"), "{:?}", many_origins(900));
    }
}
