//! Forks, for an operator: what there is, what each choice costs, who brought what, and how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use antiphon_kernel::digest::Digest;
use antiphon_kernel::ids::{Origin, PeerName};
use antiphon_kernel::internals::log::{AdviceReason, Bringers, ForkCost, bringers};
use antiphon_kernel::log::Fork;
use anyhow::{Context as _, Result, bail};

use super::request::{Choice, Wanted};
use crate::node::Node;
use crate::reply::{
    Advice, BroughtBack, ForkChoice, ForkCosts, ForkReport, ForkResolution, Forks, KeepOurs, KeepTheirs, OwnedEvents,
    ResolvedFork,
};

/// What `--keep` takes for the owner's own version, of every fork.
const OWNER: &str = "owner";

/// All forks that are known; this reads the store.
pub(super) fn known(node: &Node) -> Result<Vec<Fork>> {
    Ok(antiphon_kernel::log::forks(&**node.store())?)
}

/// Who brought which version; this reads the store.
fn brought(node: &Node, fork: &Fork) -> Result<Bringers> {
    Ok(bringers(&**node.store(), node.cortex().reader().local().cortex_id, fork)?)
}

/// Of each peer, how many forks there are in which it may have shown what the origin's own cortex does not hold; this reads
/// the store.
pub(super) fn suspects(node: &Node) -> Result<BTreeMap<PeerName, usize>> {
    let mut suspects = BTreeMap::new();
    for fork in known(node)? {
        for peer in brought(node, &fork)?.suspects {
            *suspects.entry(peer).or_default() += 1;
        }
    }
    Ok(suspects)
}

pub(super) async fn list(node: &Arc<Node>) -> Result<Forks> {
    let read = |node: &Node| {
        let forks = known(node)?;
        let costs = node.cortex().reader().fork_costs(&forks)?;
        let reports = forks.iter().zip(&costs).map(|(fork, cost)| fork_report(node, fork, cost));
        reports.collect::<Result<_>>().map(Forks)
    };
    node.reading(read).await
}

fn fork_report(node: &Node, fork: &Fork, cost: &ForkCost) -> Result<ForkReport> {
    let view = node.cortex().reader();
    let own = view.local().cortex_id;
    let Bringers { ours, suspects } = brought(node, fork)?;
    let (keep, why) = cost.advice(fork, fork.owners(own));
    let why = match why {
        AdviceReason::Owners => "the origin's own cortex holds it",
        AdviceReason::FewerEvents => "the other choice sets aside more events",
    };
    Ok(ForkReport {
        origin: fork.origin.to_string(),
        from: fork.from,
        ours: fork.ours.to_string(),
        // What was decided for may not have come yet, or be held by no node any more.
        held: view.chain_digest(fork.origin, fork.from)? == Some(fork.ours),
        own: fork.origin.cortex() == own,
        brought_by: ours,
        theirs: fork.theirs.to_string(),
        peer: fork.peer.clone(),
        holder: fork.holder,
        by_owner: fork.by_owner(),
        since: fork.since.to_string(),
        suspects,
        costs: costs(node, cost),
        advice: Advice { keep: keep.to_string(), why: why.to_owned() },
    })
}

/// What each choice sets aside: the version here costs the other node events, the other one costs this node.
fn costs(node: &Node, cost: &ForkCost) -> ForkCosts {
    let own = node.cortex().reader().local().cortex_id;
    let name = |origin: &Origin| {
        let peers = node.peers().unwrap_or_default();
        peers.into_iter().find(|peer| peer.cortex_id == Some(origin.cortex())).map(|peer| peer.name)
    };
    let whose = cost.here.iter().map(|(origin, events)| OwnedEvents {
        origin: origin.to_string(),
        events: *events,
        own: origin.cortex() == own,
        peer: name(origin),
    });
    ForkCosts {
        ours: KeepOurs { here: 0, there_at_least: cost.there },
        theirs: KeepTheirs {
            here: cost.events_here(),
            of: node.cortex().reader().visible().get(),
            whose: whose.collect(),
        },
    }
}

/// Ends forks for the versions that were asked for, or says what that would cost.
pub(super) async fn resolve(node: &Arc<Node>, wanted: Wanted) -> Result<ForkResolution> {
    let forks = chosen(node.reading(known).await?, &wanted)?;
    let own = node.cortex().reader().local().cortex_id;
    let (versions, left) = match &wanted.choice {
        Choice::Follow(_) => (forks.iter().map(|fork| fork.theirs).collect(), Vec::new()),
        Choice::Keep(keep) if keep == OWNER => by_owner(&forks, own)?,
        Choice::Keep(keep) => {
            let version = one_of(keep, forks.iter().flat_map(|fork| [fork.ours, fork.theirs]))?;
            (BTreeSet::from([version]), Vec::new())
        }
    };
    if wanted.dry_run {
        return node.reading(move |node| would(node, &forks, &versions, left)).await;
    }
    let mut resolved = Vec::new();
    for version in &versions {
        // One that went with another ended with it.
        if node.reading(known).await?.iter().any(|fork| [fork.ours, fork.theirs].contains(version)) {
            resolved.push(resolve_to(node, *version).await?);
        }
    }
    Ok(match (&wanted.choice, &resolved[..]) {
        (Choice::Keep(keep), [one]) if keep != OWNER => ForkResolution::One(one.clone()),
        _ => ForkResolution::Each { resolved, left },
    })
}

/// Of all forks, those that are meant.
fn chosen(mut forks: Vec<Fork>, wanted: &Wanted) -> Result<Vec<Fork>> {
    if forks.is_empty() {
        bail!("there is no fork to resolve");
    }
    if let Some(origin) = &wanted.origin {
        forks.retain(|fork| fork.origin.to_string().starts_with(origin.as_str()));
        if forks.is_empty() {
            bail!(
                "no fork of an origin that begins with {origin} is known here; `antiphon fork list` shows those there are"
            );
        }
    }
    if let Choice::Follow(peer) = &wanted.choice {
        forks.retain(|fork| fork.peer == *peer);
        if forks.is_empty() {
            bail!(
                "no fork with `{peer}` is known here: what it holds differs in nothing that was compared; `antiphon verify --peer {peer}` \
                 compares everything"
            );
        }
    }
    Ok(forks)
}

/// The versions that the origins' own cortexes hold, and the forks of which that is not known here.
fn by_owner(forks: &[Fork], own: antiphon_kernel::ids::CortexId) -> Result<(BTreeSet<Digest>, Vec<String>)> {
    let versions: BTreeSet<Digest> = forks.iter().filter_map(|fork| fork.owners(own)).collect();
    if versions.is_empty() {
        bail!(
            "of none of the {} forks the owner's own version is known here, since relays alone were met; run this where it is, or \
             choose a digest from `antiphon fork list`",
            forks.len()
        );
    }
    let left = forks.iter().filter(|fork| fork.owners(own).is_none());
    let left: BTreeSet<_> = left.map(|fork| format!("{}:{}", fork.origin, fork.from)).collect();
    Ok((versions, left.into_iter().collect()))
}

/// What resolving would set aside, and what the other choice costs.
fn would(node: &Node, forks: &[Fork], versions: &BTreeSet<Digest>, left: Vec<String>) -> Result<ForkResolution> {
    let meant: Vec<_> =
        forks.iter().filter(|fork| versions.contains(&fork.ours) || versions.contains(&fork.theirs)).cloned().collect();
    let costs = node.cortex().reader().fork_costs(&meant)?;
    let mut would = Vec::with_capacity(meant.len());
    for (fork, cost) in meant.iter().zip(&costs) {
        let ours = versions.contains(&fork.ours);
        would.push(ForkChoice {
            fork: fork_report(node, fork, cost)?,
            keep: if ours { fork.ours } else { fork.theirs }.to_string(),
            set_aside: if ours { 0 } else { cost.events_here() },
        });
    }
    Ok(ForkResolution::DryRun { dry_run: true, would, left })
}

async fn resolve_to(node: &Arc<Node>, keep: Digest) -> Result<ResolvedFork> {
    let resolved = node.cortex().resolve_fork(keep).await?;
    let (origin, from) = (resolved.origin, resolved.from);
    let held = node.reading(move |node| Ok(node.cortex().reader().chain_digest(origin, from)? == Some(keep))).await?;
    Ok(ResolvedFork {
        held,
        origin: resolved.origin.to_string(),
        from: resolved.from,
        kept: keep.to_string(),
        set_aside: resolved.set_aside,
    })
}

/// Appends again what was set aside here, page by page.
pub(super) async fn bring_back(node: &Node, all: bool) -> Result<BroughtBack> {
    let (mut appended, mut held) = (0, 0);
    loop {
        let page = node.cortex().log().bring_back(all).await;
        let page = page.with_context(|| format!("{appended} events came back before this"))?;
        (appended, held) = (appended + page.appended, held + page.held);
        if !page.more {
            return Ok(BroughtBack { appended, held, others: page.others, unread: page.unread });
        }
    }
}

/// The one that begins so.
fn one_of(text: &str, known: impl Iterator<Item = Digest>) -> Result<Digest> {
    let known: BTreeSet<String> = known.map(|digest| digest.to_string()).collect();
    let all = || known.iter().cloned().collect::<Vec<_>>().join(", ");
    if text.len() < 8 {
        bail!("`{text}` is too short; give at least 8 digits of one of: {}", all());
    }
    let mut found = known.iter().filter(|digest| digest.starts_with(&text.to_lowercase()));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.parse()?),
        (None, _) => bail!("no fork that is known here has a version {text}; known are: {}", all()),
        (Some(_), Some(_)) => bail!("{text} is the beginning of several versions; give more of it: {}", all()),
    }
}
