//! Commands about replayers and the conflicts that they keep.

use std::time::Duration;

use antiphon_kernel::cursor::Seq;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::Context as Seen;
use antiphon_kernel::replay::latest::{self};
use antiphon_kernel::replay::{self, Conflict, Parked, ReplayHandle};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::attached::{Answer, Text};

use super::Node;
impl Node {
    pub(super) fn view(&self) -> Result<&ReplayHandle> {
        self.replayer(None)
    }

    /// The replayer of this name, or the node's own.
    pub(super) fn replayer(&self, name: Option<&str>) -> Result<&ReplayHandle> {
        let name = name.unwrap_or(latest::NAME);
        self.cortex.replayer(name).with_context(|| {
            let names: Vec<_> = self.cortex.replayers().iter().map(ReplayHandle::name).collect();
            format!("there is no replayer `{name}`; this node has: {}", names.join(", "))
        })
    }

    pub(super) async fn replayed(&self, seq: Seq) {
        let Ok(replayer) = self.view() else { return };
        // A replayer that is stuck must not hold the command for ever: it shows in `status`.
        let _ = tokio::time::timeout(Duration::from_secs(10), replayer.wait_replayed(seq)).await;
    }

    pub(super) fn replay_list(&self, name: Option<&str>) -> Result<Value> {
        let replayer = self.replayer(name)?;
        let log = self.cortex.view();
        let store = &**log.store();
        // A place means nothing without its epoch: the cursor is what `replay skip` takes.
        let mut parked = Vec::new();
        for event in replay::parked(store, replayer.name())? {
            let cursor = log.entry(event.seq)?.map(|entry| entry.cursor()).transpose()?.flatten();
            let Parked { subject, tries, error, .. } = event;
            parked.push(json!({ "cursor": cursor, "subject": subject, "tries": tries, "error": error }));
        }
        let skipped: Vec<_> = replay::skipped(store, replayer.name())?
            .into_iter()
            .map(|e| {
                let at = e.at.to_string();
                json!({ "id": e.id, "subject": e.subject, "error": e.error, "at": at })
            })
            .collect();
        Ok(json!({ "replayer": replayer.status(), "parked": parked, "skipped": skipped }))
    }

    /// What is open as of everything that the log holds now.
    pub(super) async fn open_conflicts(&self) -> Result<Vec<Conflict>> {
        self.replayed(self.cortex.view().visible()).await;
        let log = self.cortex.view().clone();
        Ok(tokio::task::spawn_blocking(move || replay::conflicts(&**log.store(), latest::NAME)).await??)
    }

    /// Each conflict's subject, how many events it has, and how many are not listed; then all of those, in the same order.
    pub(super) async fn conflicts(&self) -> Result<Answer> {
        let open = self.open_conflicts().await?;
        let one = |one: &Conflict| json!({ "subject": one.subject, "events": one.events.len(), "more": one.more });
        let value = open.iter().map(one).collect();
        let texts = open.iter().flat_map(|one| one.events.iter().map(|(_, id)| Text::Event(*id))).collect();
        Ok(Answer { value, texts })
    }

    pub(super) async fn resolve(
        &self,
        subject: String,
        take: Option<EventId>,
        replacement: Option<(Option<String>, String, Bytes)>,
    ) -> Result<Value> {
        let open = self.open_conflicts().await?;
        let conflict = open.into_iter().find(|conflict| conflict.subject == subject);
        let conflict = conflict
            .with_context(|| format!("`{subject}` has no open conflict; `antiphon conflicts` lists those there are"))?;
        let ids: Vec<EventId> = conflict.events.iter().map(|(_, id)| *id).collect();
        if let Some(stranger) = take.filter(|id| !ids.contains(id)) {
            let known: Vec<_> = ids.iter().map(ToString::to_string).collect();
            bail!("{stranger} is none of the events in conflict at `{subject}`; they are: {}", known.join(", "));
        }
        let kept = take.or_else(|| ids.last().copied()).context("a conflict has events")?;
        let entry = self.entry_of(kept).await?;
        let kept = entry.view()?;
        let draft = match replacement {
            None => {
                let mut draft = Draft::new(kept.event_type, kept.data.to_vec()).subject(subject);
                draft.datacontenttype = (!kept.datacontenttype.is_empty()).then(|| kept.datacontenttype.to_owned());
                draft.extensions = kept.extensions.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
                draft
            }
            Some((event_type, content_type, data)) => {
                let event_type = event_type.unwrap_or_else(|| kept.event_type.to_owned());
                let mut draft = Draft::new(event_type, data).subject(subject);
                draft.datacontenttype = Some(content_type);
                draft
            }
        };
        let appended = self.cortex.log().append(vec![draft], Seen::Seen(conflict.context())).await?;
        let appended = appended.first().context("nothing was appended")?;
        self.replayed(appended.seq).await;
        // Those that are not listed stay, unless this node had seen them before.
        let open = self.open_conflicts().await?.into_iter().find(|open| open.subject == conflict.subject);
        let left = open.map_or(0, |open| (open.events.len() + open.more).saturating_sub(1));
        Ok(json!({ "id": appended.id, "seq": appended.seq.get(), "superseded": ids, "left": left }))
    }
}
