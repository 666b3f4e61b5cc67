//! `antiphon status`, and `antiphon peers`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use antiphon_kernel::error_code::ErrorCode;
use antiphon_node::api::Request;
use antiphon_node::error_text::{code, explained, with_remedy};
use antiphon_node::remedy;
use antiphon_node::reply::{Excluded, Peer, Peers, Status, Unseen};
use antiphon_node::socket::{Backend, Reported};
use antiphon_node::status_text::{
    claimed, doubles, epoch_reason, many_origins, name_differs, reload_refused, suspected,
};
use antiphon_node::terminal::printable;
use anyhow::{Context as _, Result, bail};
use console::style;

use super::ask::ask;
use super::federation::wants_to_connect;
use super::replay::replayer;
use crate::narrate::{Narrator, explain};
use crate::output::{done, json_line, line, plain, raw, width};
use crate::peer_table::{self, ago};

/// How often a watched status is asked for.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// The number of nodes that pull this one of which a status has a line.
const PULLERS: usize = 20;
/// The number of nodes that want to connect of which a status has lines.
const PENDING: usize = 5;
/// Excluded cortexes that are printed of one peer.
const EXCLUDED: usize = 5;

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
    // The whole table, however narrow the terminal is.
    table(&status, None)?;
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
                Some(mut backend) => Ok(backend.ask::<Status>(Request::Status).await.map_err(|error| unseen(&error))),
                None => Ok(Err(Unseen { serving: false, error: NO_NODE.to_owned(), code: None })),
            }
        };
        let looked: Result<Result<Status, Unseen>> = tokio::select! {
            _ = &mut stopped => return Ok(()),
            looked = look => looked,
        };
        let status = match looked? {
            Ok(status) => status,
            Err(unseen) => {
                if trouble.as_ref() != Some(&unseen) {
                    done(&unseen, json, &unseen.error)?;
                }
                trouble = Some(unseen);
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

/// Why a node that serves gives no status.
fn unseen(error: &anyhow::Error) -> Unseen {
    let reported = error.downcast_ref::<Reported>().and_then(|reported| reported.code.clone());
    let code = reported.or_else(|| code(error).map(|code| code.to_string()));
    Unseen { serving: true, error: explained(error), code }
}

pub(super) async fn check_health(file: &Path) -> Result<()> {
    let serving = Backend::serving(file).await?;
    let mut backend = serving.with_context(|| format!("no node serves the data of {}", file.display()))?;
    match backend.ask::<Status>(Request::Status).await?.appends_refused {
        Some(refused) => {
            bail!("{}", with_remedy(&format!("the node refuses appends: {}", refused.reason), refused.code.as_deref()))
        }
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
    match status.log {
        Some(log) => line(&format!("log {log}"))?,
        None => line("no log yet: the first append or the first events of a peer decide")?,
    }
    if let Some(change) = &status.epoch_change {
        line(&format!("epoch {} since {}: {}", status.epoch, change.at, epoch_reason(change)))?;
    }
    claimed(status).try_for_each(warn)?;
    if let Some(why) = &status.read_only {
        let remedy = status.appends_refused.as_ref().map(|refused| format!("; {}", refused.remedy));
        alarm(format!("READ-ONLY: {}{}", printable(why), remedy.unwrap_or_default()))?;
    } else if let Some(refused) = &status.appends_refused {
        alarm(format!("APPENDS ARE REFUSED: {}; {}", printable(&refused.reason), refused.remedy))?;
    }
    if let Some(says) = doubles(status) {
        alarm(format!("{says}; {}", remedy(ErrorCode::PeerDouble)))?;
    }
    name_differs(status).into_iter().chain(many_origins(status.origins)).try_for_each(warn)?;
    if status.serving && status.mode == antiphon_kernel::config::FederationMode::Publish {
        line("it publishes: of its peers it pulls nothing but what it wrote itself and has lost")?;
    }
    reload_refused(status).into_iter().try_for_each(warn)?;
    let troubles = [&status.certificate_trouble, &status.client_list_trouble, &status.disk_trouble];
    let troubles = troubles.into_iter().flatten();
    troubles.map(|trouble| printable(trouble)).try_for_each(warn)?;
    if status.forks > 0 {
        warn(format!("{} forks; `antiphon fork list` shows them", status.forks))?;
    }
    suspected(status).try_for_each(warn)?;
    if status.conflicts > 0 {
        line(&format!("{} conflicts; `antiphon conflicts` shows them", status.conflicts))?;
    }
    status.replayers.iter().try_for_each(replayer)?;
    copies(status)?;
    table(status, width())
}

fn table(status: &Status, width: Option<usize>) -> Result<()> {
    if status.peers.is_empty() {
        return line("no peers");
    }
    peer_table::coloured(status, width).try_for_each(|row| line(&row))
}

/// How far others hold what this node wrote, and who pulls it.
fn copies(status: &Status) -> Result<()> {
    if status.own_events > 0 && !status.peers.is_empty() {
        let only_here = match status.own_events_only_here {
            0 => "each of them held by a peer too".to_owned(),
            count => format!("{count} of them held by no peer, as far as is known"),
        };
        line(&format!("{} own events, {only_here}", status.own_events))?;
    }
    for puller in status.pulled_by.iter().take(PULLERS) {
        let who = puller.peer.as_ref().map_or_else(|| format!("{} (no peer)", puller.cortex_id), ToString::to_string);
        let from = puller.address.as_deref().map(|address| format!(" from {}", printable(address)));
        // A question that is open may have brought it further since.
        let read = puller.read_up_to.filter(|_| !puller.connected);
        let read = read.map(|seq| format!("read {seq} of {}, ", status.durable_events));
        let asked =
            if puller.connected { "asks now".to_owned() } else { format!("asked {}", ago(puller.asked, status.now)) };
        let slowed = if puller.slowed { "; its quota slows it" } else { "" };
        line(&format!(
            "pulled by {who}{}: {}{} events sent, {asked}{slowed}",
            from.unwrap_or_default(),
            read.unwrap_or_default(),
            puller.sent_events
        ))?;
    }
    if let Some(more @ 1..) = status.pulled_by.len().checked_sub(PULLERS) {
        line(&format!("pulled by {more} more; `antiphon status --json` lists them"))?;
    }
    for pending in status.pending.iter().take(PENDING) {
        line(&wants_to_connect(pending))?;
    }
    match status.pending.len().checked_sub(PENDING) {
        Some(more @ 1..) => line(&format!("{more} more nodes want to connect; `antiphon peers pending` lists them")),
        _ => Ok(()),
    }
}

/// For each failing peer what is wrong, and what to do. Then the cortexes of which nothing comes from a peer.
fn failing(peers: &[Peer]) -> Result<()> {
    peers.iter().filter_map(explain).try_for_each(|text| line(&text))?;
    for peer in peers {
        if peer.slowed {
            line(&format!("{}: its quota here slows what is pulled from it (`limits`)", peer.name))?;
        }
        for Excluded { cortex_id, reason, since, .. } in peer.excluded.iter().take(EXCLUDED) {
            line(&format!("{}: no event of cortex {cortex_id} is taken since {since}: {reason}", peer.name))?;
        }
        if let Some(more @ 1..) = peer.excluded.len().checked_sub(EXCLUDED) {
            line(&format!("{}: {more} more cortexes are excluded; `antiphon status --json` lists them", peer.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_many_origins_is_warned_of() {
        assert_eq!(many_origins(899), None);
        assert!(many_origins(900).unwrap().contains("900 of at most 1024 origins"), "{:?}", many_origins(900));
    }
}
