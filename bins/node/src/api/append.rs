//! Requests that append events, and wait for their copies.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::cortex::WaitFor;
use antiphon_kernel::event::{CloudEventOptions, Draft, read_cloud_event};
use antiphon_kernel::ids::{EventId, PeerName};
use antiphon_kernel::internals::log::read_pin;
use antiphon_kernel::internals::state::free_keys;
use antiphon_kernel::log::{self, AppendError, CausalContext};
use antiphon_kernel::state::AppendAndSetError;
use anyhow::{Result, bail};
use bytes::Bytes;

use super::request::ImportProgress;
use super::{federation, forks, read};
use crate::error_text;
use crate::node::Node;
use crate::progress::{self, too_many};
use crate::reply::{AppendReply, Appended, AppendedEvent, KeptProgress, Late, Refused, Replicated, WaitReply};

pub(super) async fn append(
    node: &Arc<Node>,
    events: Vec<Bytes>,
    options: CloudEventOptions,
    progress: Option<ImportProgress>,
) -> Result<AppendReply> {
    let read = move || {
        let drafts = events.iter().enumerate().map(|(index, event)| {
            let text = std::str::from_utf8(event).map_err(|error| (index, error.into()))?;
            read_cloud_event(text, options).map_err(|error| (index, error.into()))
        });
        drafts.collect::<Result<Vec<_>, (usize, anyhow::Error)>>()
    };
    match tokio::task::spawn_blocking(read).await? {
        Ok(drafts) => append_drafts(node, drafts, progress).await,
        Err((refused, error)) => Ok(refusal(refused, &error)),
    }
}

fn refusal(refused: usize, error: &anyhow::Error) -> AppendReply {
    let code = error_text::code(error).map(|code| code.to_string());
    AppendReply::Refused(Refused { refused, error: error_text::chain(error), code })
}

pub(super) async fn append_drafts(
    node: &Arc<Node>,
    drafts: Vec<Draft>,
    progress: Option<ImportProgress>,
) -> Result<AppendReply> {
    let cortex = node.cortex();
    let appended = match progress {
        None => cortex.log().append(drafts, CausalContext::Replayed).await,
        Some(ImportProgress { key, progress }) => {
            let value = serde_json::to_string(&progress)?;
            match cortex.state().append_and_set(drafts, CausalContext::Replayed, &key, &value).await {
                Err(AppendAndSetError::Append(error)) => Err(error),
                Err(error) => return Err(error.into()),
                Ok(appended) => Ok(appended),
            }
        }
    };
    match appended {
        Ok(appended) => {
            let one = |a: &log::Appended| AppendedEvent {
                seq: a.seq.get(),
                id: a.id,
                dot: a.dot.to_string(),
                cursor: a.cursor(),
            };
            let own = cortex.reader().local().cortex_id;
            // It is durable whatever can be read of forks.
            let forks = node.reading(forks::known).await;
            Ok(AppendReply::Appended(Appended {
                appended: appended.iter().map(one).collect(),
                leaves: cortex.service().mode().serves(),
                forked: forks.is_ok_and(|forks| forks.iter().any(|fork| fork.origin.cortex() == own)),
            }))
        }
        Err(AppendError::Draft { index, source }) => Ok(refusal(index, &source.into())),
        Err(error) => Err(error.into()),
    }
}

/// What is kept under a key, if it is one of an import. The oldest is forgotten where there are too many.
pub(super) async fn import_progress(node: &Arc<Node>, key: &str) -> Result<KeptProgress> {
    let wanted = key.to_owned();
    let read = node.reading(move |node| {
        let state = node.cortex().state();
        let keys = free_keys(&**node.store(), "import/")?;
        if keys.contains(&wanted) {
            return Ok((state.get(&wanted)?, Vec::new()));
        }
        let kept = keys.into_iter().map(|key| state.get(&key).map(|value| (key, value)));
        Ok((None, too_many(kept.collect::<Result<_, _>>()?)))
    });
    let (kept, old) = read.await?;
    for key in old {
        node.cortex().state().delete(&key).await?;
    }
    Ok(KeptProgress(kept.as_deref().and_then(progress::parse)))
}

/// Whether events can reach others, and these are known.
pub(super) async fn can_wait(node: &Arc<Node>, peers: &[PeerName]) -> Result<()> {
    if !node.is_serving() {
        bail!("no node serves this store, so no peer can fetch the event; start `antiphon serve`");
    }
    if !node.answers_peers() {
        bail!(
            "this node answers no peer (it listens nowhere, or its mode is subscribe), so no peer can fetch the event"
        );
    }
    let wanted = peers.to_vec();
    node.reading(move |node| {
        for peer in &wanted {
            federation::known_peer(node, peer)?;
            if read_pin(&**node.store(), peer)?.is_none() {
                bail!(
                    "`{peer}` was never in contact, so nothing is known of what it holds; `antiphon status` says why"
                );
            }
        }
        Ok(())
    })
    .await
}

pub(super) async fn wait_replicated(
    node: &Arc<Node>,
    id: EventId,
    peers: &[PeerName],
    count: usize,
    timeout: Duration,
) -> Result<WaitReply> {
    can_wait(node, peers).await?;
    let entry = read::entry_of(node, id).await?;
    let event = log::Appended { seq: entry.seq, id, dot: entry.read()?.dot };
    let wanted = if peers.is_empty() { WaitFor::Count(count) } else { WaitFor::Peers(peers) };
    Ok(match node.cortex().wait_replicated(&event, wanted, timeout).await {
        Ok(confirmed) => WaitReply::Replicated(Replicated { confirmed }),
        Err(late) => {
            let (error, code) = (late.to_string(), Some(late.code().to_string()));
            WaitReply::Late(Late {
                confirmed: late.confirmed,
                missing: late.missing,
                unknown: late.unknown,
                error,
                code,
            })
        }
    })
}
