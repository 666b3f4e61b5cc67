//! Commands that append events, and wait for their copies.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::cortex::WaitFor;
use antiphon_kernel::event::{CloudEventOptions, Draft, read_cloud_event};
use antiphon_kernel::ids::{EventId, PeerName};
use antiphon_kernel::log::{AppendError, Appended, Context as Seen, read_pin};
use antiphon_kernel::state::AppendAndSetError;
use anyhow::{Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::forks;
use crate::progress::too_many;

use super::Node;
impl Node {
    pub(super) async fn append(
        self: &Arc<Self>,
        events: Vec<Bytes>,
        options: CloudEventOptions,
        progress: Option<(String, String)>,
    ) -> Result<Value> {
        let read = move || {
            let drafts = events.iter().enumerate().map(|(index, event)| {
                let text = std::str::from_utf8(event).map_err(|error| (index, error.to_string()))?;
                read_cloud_event(text, options).map_err(|error| (index, error.to_string()))
            });
            drafts.collect::<Result<Vec<_>, _>>()
        };
        match tokio::task::spawn_blocking(read).await? {
            Ok(drafts) => self.append_drafts(drafts, progress).await,
            Err((index, error)) => Ok(json!({ "refused": index, "error": error })),
        }
    }

    pub(super) async fn append_drafts(
        self: &Arc<Self>,
        drafts: Vec<Draft>,
        progress: Option<(String, String)>,
    ) -> Result<Value> {
        let appended = match progress {
            None => self.cortex.log().append(drafts, Seen::Replayed).await,
            Some((key, value)) => {
                let appended = self.cortex.state().append_and_set(drafts, Seen::Replayed, &key, &value).await;
                match appended {
                    Err(AppendAndSetError::State(error)) => return Err(error.into()),
                    Err(AppendAndSetError::Append(error)) => Err(error),
                    Ok(appended) => Ok(appended),
                }
            }
        };
        match appended {
            Ok(appended) => {
                let list: Vec<_> = appended
                    .iter()
                    .map(|a| json!({ "seq": a.seq.get(), "id": a.id, "dot": a.dot.to_string(), "cursor": a.cursor() }))
                    .collect();
                let leaves = self.cortex.service().mode().serves();
                let own = self.cortex.view().local().cortex_id;
                // It is durable whatever can be read of forks.
                let forks = self.reading(forks::known).await;
                let forked = forks.is_ok_and(|forks| forks.iter().any(|fork| fork.origin.cortex() == own));
                Ok(json!({ "appended": list, "leaves": leaves, "forked": forked }))
            }
            Err(AppendError::Draft { index, source }) => Ok(json!({ "refused": index, "error": source.to_string() })),
            Err(error) => Err(error.into()),
        }
    }

    /// What is kept under a key, if it is one of an import. The oldest is forgotten where there are too many.
    pub(super) async fn import_progress(self: &Arc<Self>, key: &str) -> Result<Value> {
        let wanted = key.to_owned();
        let read = self.reading(move |node| {
            let state = node.cortex.state();
            let keys = antiphon_kernel::state::free_keys(&*node.store, "import/")?;
            if keys.contains(&wanted) {
                return Ok((state.get(&wanted)?, Vec::new()));
            }
            let kept = keys.into_iter().map(|key| state.get(&key).map(|value| (key, value)));
            Ok((None, too_many(kept.collect::<Result<_, _>>()?)))
        });
        let (progress, old) = read.await?;
        for key in old {
            self.cortex.state().delete(&key).await?;
        }
        Ok(json!(progress))
    }

    /// Whether events can reach others, and these are known.
    pub(super) async fn can_wait(self: &Arc<Self>, peers: &[PeerName]) -> Result<()> {
        if !self.serving {
            bail!("no node serves this store, so nobody can fetch the event; start `antiphon serve`");
        }
        if !self.answers_peers() {
            bail!(
                "this node answers no peer (it listens nowhere, or its mode is subscribe), so nobody can fetch the event"
            );
        }
        let wanted = peers.to_vec();
        self.reading(move |node| {
            for peer in &wanted {
                node.known_peer(peer)?;
                if read_pin(&*node.store, peer)?.is_none() {
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
        self: &Arc<Self>,
        id: EventId,
        peers: &[PeerName],
        count: usize,
        timeout: Duration,
    ) -> Result<Value> {
        self.can_wait(peers).await?;
        let entry = self.entry_of(id).await?;
        let event = Appended { seq: entry.seq, id, dot: entry.view()?.dot };
        let wanted = if peers.is_empty() { WaitFor::Count(count) } else { WaitFor::Peers(peers) };
        Ok(match self.cortex.wait_replicated(&event, wanted, timeout).await {
            Ok(confirmed) => json!({ "confirmed": confirmed }),
            Err(late) => json!({
                "confirmed": late.confirmed, "missing": late.missing, "unknown": late.unknown, "error": late.to_string(),
            }),
        })
    }
}
