//! The node's own replayer: the newest event of each subject.

use antiphon_kernel::event::Event;
use antiphon_kernel::replay::{EventReplayer, OnFailure, Projection, ReplayError, ReplayOptions, Standing, weight};
use antiphon_kernel::store::{Family, KeyRange, Store, StoreError};
use serde_json::{Value, json};

const FAMILY: &str = "view";

/// Keeps one event a subject. Of two, the one whose clock counts more events wins, then the one with the greater id: an
/// order that extends causality, so an event never yields to one that it superseded, and every node ends with the same
/// event, in whatever order they arrived. `concurrent` tells that others stood beside the winner when it was replayed;
/// `antiphon conflicts` lists what stands open now.
pub(crate) struct View {
    pub(crate) on_failure: OnFailure,
}

/// Its name, for commands.
pub(crate) const NAME: &str = "view";

/// weight (8) ‖ id (16) ‖ JSON.
const HEAD: usize = 24;

impl EventReplayer for View {
    fn name(&self) -> &'static str {
        NAME
    }

    fn options(&self) -> ReplayOptions {
        ReplayOptions { on_failure: self.on_failure, causality: true, ..ReplayOptions::default() }
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let Some(subject) = &event.subject else { return Ok(()) };
        let mut value = Vec::with_capacity(HEAD + 256);
        value.extend_from_slice(&weight(event).to_be_bytes());
        value.extend_from_slice(&event.id.to_bytes());
        let concurrent = matches!(projection.standing(), Some(Standing::Concurrent { .. }));
        if let Some(before) = projection.get(FAMILY, subject.as_bytes())? {
            let Some(old) = before.get(..HEAD) else { return Err("the view holds a damaged value".into()) };
            if value[..HEAD] < *old {
                return Ok(());
            }
        }
        let text = json!({
            "id": event.id.to_string(),
            "type": event.event_type,
            "subject": subject,
            "time": event.time.to_string(),
            "source": event.source(),
            "concurrent": concurrent,
            "bytes": event.data.len(),
            "data": serde_json::from_slice::<Value>(&event.data).unwrap_or(Value::Null),
        });
        value.extend_from_slice(text.to_string().as_bytes());
        projection.put(FAMILY, subject.as_bytes(), &value)?;
        Ok(())
    }
}

/// The newest event of one subject, or of all in order of subject.
pub(crate) fn read(store: &dyn Store, subject: Option<&str>) -> Result<Vec<Value>, StoreError> {
    let mut found = Vec::new();
    let prefix = subject.unwrap_or_default().as_bytes();
    store.scan(Family::User(FAMILY), KeyRange::prefix(prefix), &mut |key, value| {
        if subject.is_none_or(|s| s.as_bytes() == key)
            && let Some(Ok(text)) = value.get(HEAD..).map(serde_json::from_slice)
        {
            found.push(text);
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(found)
}
