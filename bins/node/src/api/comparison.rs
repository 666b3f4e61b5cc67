//! The log compared with itself and with a peer's.

use std::sync::Arc;

use antiphon_kernel::ids::{Origin, PeerName};
use antiphon_kernel::log;
use antiphon_kernel::sync::Compared;
use anyhow::{Result, bail};

use super::{federation, forks};
use crate::node::Node;
use crate::reply::{Chain, Chains, Comparison, OriginComparison, Verified};
use crate::steps::Steps;

pub(super) async fn verify(node: &Node, steps: Steps) -> Result<Verified> {
    let view = node.cortex().reader().clone();
    let look = move || log::verify_with(&view, &mut |step| steps.report(step));
    let report = tokio::task::spawn_blocking(look).await??;
    Ok(Verified {
        clean: report.is_clean(),
        events: report.events,
        origins: report.origins,
        digest: report.digest.to_string(),
        faults: report.faults,
    })
}

pub(super) fn chains(node: &Node) -> Chains {
    let heads = node.cortex().reader().heads();
    let chains = heads.iter().map(|(origin, head)| Chain {
        origin: origin.to_string(),
        counter: head.counter,
        digest: head.digest.to_string(),
    });
    Chains { digest: heads.fold().to_string(), chains: chains.collect() }
}

pub(super) async fn compare(node: &Arc<Node>, peer: &PeerName) -> Result<Comparison> {
    federation::known_peer(node, peer)?;
    if !node.is_serving() {
        bail!("no node serves this store, so no peer is asked; start `antiphon serve`");
    }
    let compared = node.cortex().syncer().compare(peer).await?;
    let known: Vec<_> = node.reading(forks::known).await?.into_iter().filter(|fork| fork.peer == *peer).collect();
    let report = |&(origin, result): &(Origin, Compared)| {
        // What was decided for and is held by neither differs all the same: nothing of it crosses.
        let fork = known.iter().find(|fork| fork.origin == origin);
        let compared = fork.map_or(result, |fork| Compared::Differ { from: fork.from });
        OriginComparison { origin: origin.to_string(), compared }
    };
    Ok(Comparison(compared.iter().map(report).collect()))
}
