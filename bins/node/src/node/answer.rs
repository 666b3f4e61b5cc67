//! Answers to commands: which part of the node has each.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::budget::Account;
use antiphon_kernel::event::{CloudEventOptions, Draft};
use antiphon_kernel::ids::Origin;
use antiphon_kernel::log::{event_outside, keys_outside, verify};
use antiphon_kernel::service::HeldText;
use antiphon_kernel::store::Store;
use antiphon_kernel::sync::Compared;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::attached::{Answer, Text};
use crate::{backup, forks, reload, status};

use super::Node;
use super::ask::Ask;
use super::read::{PAGE_BYTES, PAGE_EVENTS, no_event};
impl Node {
    pub async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Answer> {
        let value: Result<Value> = match ask {
            Ask::Append { events, lowercase_extensions, progress } => {
                self.append(events.into_parts(), CloudEventOptions { lowercase_extensions }, progress).await
            }
            Ask::AppendData { event_type, subject, content_type, data } => {
                let mut draft = Draft::new(event_type, data.into_one());
                (draft.subject, draft.datacontenttype) = (subject, content_type);
                self.append_drafts(vec![draft], None).await
            }
            Ask::ImportProgress { key } => self.import_progress(&key).await,
            Ask::Log { after, limit, wait_ms } => return self.log(after, limit, wait_ms).await,
            Ask::View { subject, after } => return self.latest(subject, after).await,
            Ask::CanWait { peers } => self.can_wait(&peers).await.map(|()| json!({ "peers": peers })),
            Ask::WaitReplicated { id, peers, count, timeout_ms } => {
                self.wait_replicated(id, &peers, count, Duration::from_millis(timeout_ms)).await
            }
            Ask::Conflicts => return self.conflicts().await,
            Ask::Resolve { subject, take, replacement, data } => {
                let replacement = replacement.map(|(event_type, kind)| (event_type, kind, data.into_one()));
                self.resolve(subject, take, replacement).await
            }
            Ask::ReplayList { replayer } => self.reading(move |node| node.replay_list(replayer.as_deref())).await,
            Ask::ReplayRetry { replayer, subject } => {
                let replayer = self.replayer(replayer.as_deref())?;
                let replayed = replayer.retry(subject).await?;
                let left = replayer.status().parked;
                Ok(json!({ "replayed": replayed, "parked": left }))
            }
            Ask::ReplaySkip { replayer, at } => {
                self.replayer(replayer.as_deref())?.skip(at).await?;
                Ok(json!({ "skipped": at }))
            }
            Ask::Status => self.reading(status::of).await,
            Ask::Location => {
                let store = Arc::clone(&self.store);
                let displaced = tokio::task::spawn_blocking(move || store.check_location()).await?.err();
                let why = displaced.map(|error| error.to_string());
                Ok(json!({ "name": self.config().node.name, "process": std::process::id(), "displaced": why }))
            }
            Ask::Reload => reload::reload(self).await,
            Ask::ResetPeer { name } => {
                // What is kept about a peer outlives its entry in the configuration.
                let (configured, wanted) = (self.known_peer(&name), name.clone());
                if let Err(unknown) = &configured
                    && !self.reading(move |node| Ok(node.cortex.state().knows(&wanted)?)).await?
                {
                    bail!("{unknown}");
                }
                match configured {
                    Ok(()) if self.serving => self.cortex.syncer().reset(&name).await?,
                    Ok(()) | Err(_) => self.cortex.state().reset_peer(&name).await?,
                }
                Ok(json!({ "reset": name }))
            }
            Ask::SetPeerMode { name, mode } => self.set_peer_mode(&name, mode).await,
            Ask::SetMode { mode } => self.set_mode(mode).await,
            Ask::NewEpoch => {
                let from = self.cortex.view().local().epoch;
                let identity = self.cortex.log().new_epoch().await?;
                Ok(json!({ "from": from.to_string(), "epoch": identity.epoch.to_string() }))
            }
            Ask::Verify => {
                let view = self.cortex.view().clone();
                let report = tokio::task::spawn_blocking(move || verify(&view)).await??;
                Ok(json!({
                    "clean": report.is_clean(),
                    "events": report.events,
                    "origins": report.origins,
                    "digest": report.digest.to_string(),
                    "faults": report.faults,
                }))
            }
            Ask::Digest => {
                let heads = self.cortex.view().heads();
                let chains: Vec<_> = heads
                    .iter()
                    .map(|(o, h)| json!({ "origin": o.to_string(), "counter": h.counter, "digest": h.digest.to_string() }))
                    .collect();
                Ok(json!({ "digest": heads.fold().to_string(), "chains": chains }))
            }
            Ask::Compare { peer } => {
                self.known_peer(&peer)?;
                if !self.serving {
                    bail!("no node serves this store, so no peer is asked; start `antiphon serve`");
                }
                let compared = self.cortex.syncer().compare(&peer).await?;
                let known: Vec<_> =
                    self.reading(forks::known).await?.into_iter().filter(|fork| fork.peer == peer).collect();
                let report = |&(origin, result): &(Origin, Compared)| {
                    // What was decided for and is held by neither differs all the same: nothing of it crosses.
                    let fork = known.iter().find(|fork| fork.origin == origin);
                    let result = fork.map_or(result, |fork| Compared::Differ { from: fork.from });
                    json!({ "origin": origin.to_string(), "compared": result })
                };
                Ok(compared.iter().map(report).collect())
            }
            Ask::Backup { to } => {
                let (store, log) = (Arc::clone(&self.store), self.cortex.view().clone());
                Ok(json!(tokio::task::spawn_blocking(move || backup::make(&store, &log, &to)).await??))
            }
            Ask::ForkList => forks::list(self).await,
            Ask::ForkEvidence { skip, limit } => {
                let store = Arc::clone(&self.store);
                let read = move || keys_outside(&*store, skip, limit.min(PAGE_EVENTS), PAGE_BYTES);
                let keys = tokio::task::spawn_blocking(read).await??;
                return Ok(Answer { value: Value::Null, texts: keys.into_iter().map(Text::Outside).collect() });
            }
            Ask::ForkResolve(wanted) => forks::resolve(self, wanted).await,
            Ask::ForkBringBack { all } => forks::bring_back(self, all).await,
        };
        Ok(value?.into())
    }

    /// The text of an event for a command, read once there is room for it in the memory budget.
    pub async fn text(&self, text: Text) -> Result<HeldText> {
        let (log, service) = (self.cortex.view().clone(), self.cortex.service());
        match text {
            Text::Event(id) => {
                let read = move |bytes| -> Result<_> { log.find_within(id, bytes)?.with_context(|| no_event(id)) };
                service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event_alone()?)).await
            }
            Text::Latest(latest) => {
                let wanted = latest.clone();
                let left = "an event left the log while the view was read, since a fork was resolved; ask again";
                let read = move |bytes| -> Result<_> { wanted.find(&log, bytes)?.context(left) };
                service.text(&Account::Commands, read, move |entry| Ok(latest.text(entry)?)).await
            }
            Text::Outside(key) => {
                let left = "an event came back into the log while the evidence was read; ask again";
                let read = move |bytes| -> Result<_> { event_outside(&**log.store(), &key, bytes)?.context(left) };
                service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event()?)).await
            }
        }
    }
}
