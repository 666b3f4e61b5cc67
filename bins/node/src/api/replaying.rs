//! Requests about replayers and the conflicts that they keep.

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::CausalContext;
use antiphon_kernel::replay::{self, Conflict, latest};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;

use super::read::{entry_of, replayed};
use super::texts::{Answer, Text};
use crate::node::Node;
use crate::reply::{
    Conflicts, OpenConflict, ParkedEvent, Replay, ReplayRetried, ReplaySkipped, Resolved, SkippedEvent,
};

pub(super) fn list(node: &Node, name: Option<&str>) -> Result<Replay> {
    let replayer = node.replayer(name)?;
    let log = node.cortex().reader();
    let store = &**log.store();
    // A sequence number means nothing without its epoch: the cursor is what `replay skip` takes.
    let mut parked = Vec::new();
    for event in replay::parked(store, replayer.name())? {
        let cursor = log.entry(event.seq)?.map(|entry| entry.cursor()).transpose()?.flatten();
        parked.push(ParkedEvent { cursor, subject: event.subject, tries: event.tries, error: event.error });
    }
    let skipped = replay::skipped(store, replayer.name())?.into_iter();
    let skipped = skipped.map(|event| {
        let at = event.at.to_string();
        SkippedEvent { id: event.id, subject: event.subject, error: event.error, at }
    });
    Ok(Replay { replayer: replayer.status().into(), parked, skipped: skipped.collect() })
}

pub(super) async fn retry(node: &Node, name: Option<&str>, subject: Option<String>) -> Result<ReplayRetried> {
    let replayer = node.replayer(name)?;
    let replayed = replayer.retry(subject).await?;
    Ok(ReplayRetried { replayed, parked: replayer.status().parked })
}

pub(super) async fn skip(node: &Node, name: Option<&str>, at: Cursor) -> Result<ReplaySkipped> {
    node.replayer(name)?.skip(at).await?;
    Ok(ReplaySkipped { skipped: at })
}

/// What is open as of everything that the log holds now.
async fn open_conflicts(node: &Node) -> Result<Vec<Conflict>> {
    replayed(node, node.cortex().reader().visible()).await;
    let log = node.cortex().reader().clone();
    Ok(tokio::task::spawn_blocking(move || replay::conflicts(&**log.store(), latest::NAME)).await??)
}

/// All conflicts, and then the texts of their events, in the same order.
pub(super) async fn conflicts(node: &Node) -> Result<Answer> {
    let open = open_conflicts(node).await?;
    let one = |one: &Conflict| OpenConflict { subject: one.subject.clone(), events: one.events.len(), more: one.more };
    let conflicts = Conflicts(open.iter().map(one).collect());
    let texts = open.iter().flat_map(|one| one.events.iter().map(|(_, id)| Text::Event(*id))).collect();
    Ok(Answer { reply: conflicts.into(), texts })
}

pub(super) async fn resolve(
    node: &Node,
    subject: String,
    take: Option<EventId>,
    replacement: Option<(Option<String>, String, Bytes)>,
) -> Result<Resolved> {
    let open = open_conflicts(node).await?;
    let conflict = open.into_iter().find(|conflict| conflict.subject == subject);
    let conflict = conflict
        .with_context(|| format!("`{subject}` has no open conflict; `antiphon conflicts` lists those there are"))?;
    let ids: Vec<EventId> = conflict.events.iter().map(|(_, id)| *id).collect();
    if let Some(stranger) = take.filter(|id| !ids.contains(id)) {
        let known: Vec<_> = ids.iter().map(ToString::to_string).collect();
        bail!("{stranger} is none of the events in conflict at `{subject}`; they are: {}", known.join(", "));
    }
    let kept = take.or_else(|| ids.last().copied()).context("a conflict has events")?;
    let entry = entry_of(node, kept).await?;
    let kept = entry.event()?;
    let draft = match replacement {
        None => {
            let mut draft = Draft::new(kept.event_type, kept.data.to_vec()).subject(subject);
            draft.datacontenttype = (!kept.datacontenttype.is_empty()).then(|| kept.datacontenttype.to_owned());
            draft.extensions = kept.extensions.iter().map(|&(n, v)| (n.to_owned(), v.to_value())).collect();
            draft.tags = kept.tags.iter().map(|&tag| tag.to_owned()).collect();
            draft
        }
        Some((event_type, content_type, data)) => {
            let event_type = event_type.unwrap_or_else(|| kept.event_type.to_owned());
            let mut draft = Draft::new(event_type, data).subject(subject);
            draft.datacontenttype = Some(content_type);
            draft
        }
    };
    let appended = node.cortex().log().append(vec![draft], CausalContext::Exactly(conflict.context())).await?;
    let appended = appended.first().context("nothing was appended")?;
    replayed(node, appended.seq).await;
    // Those that are not listed stay, unless this node had seen them before.
    let open = open_conflicts(node).await?.into_iter().find(|open| open.subject == conflict.subject);
    let left = open.map_or(0, |open| (open.events.len() + open.more).saturating_sub(1));
    Ok(Resolved { id: appended.id, seq: appended.seq.get(), superseded: ids, left })
}
