//! The node's own replayer: the newest event of each subject.

use antiphon_kernel::event::Event;
use antiphon_kernel::ids::{Dot, Origin};
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
use antiphon_kernel::store::{Family, KeyRange, Store, StoreError};
use serde_json::{Value, json};

const FAMILY: &str = "view";

/// Keeps one event a subject. Of two, the one whose clock counts more events wins, then the one with the greater id: an
/// order that extends causality, so an event never yields to one that it superseded, and every node ends with the same
/// event, in whatever order they arrived. `concurrent` tells that the winner had not seen the other.
pub(crate) struct View;

/// weight (8) ‖ id (16) ‖ origin (24) ‖ counter (8) ‖ JSON.
const HEAD: usize = 56;

fn weight(event: &Event) -> u64 {
    event.vclock.iter().fold(0_u64, |sum, (_, counter)| sum.saturating_add(counter))
}

impl EventReplayer for View {
    fn name(&self) -> &'static str {
        "view"
    }

    fn families(&self) -> Vec<String> {
        vec![FAMILY.to_owned()]
    }

    fn replay_event(&mut self, event: &Event, projection: &mut Projection<'_>) -> Result<(), ReplayError> {
        let Some(subject) = &event.subject else { return Ok(()) };
        let mut value = Vec::with_capacity(HEAD + 256);
        value.extend_from_slice(&weight(event).to_be_bytes());
        value.extend_from_slice(&event.id.to_bytes());
        value.extend_from_slice(&event.dot.origin().to_bytes());
        value.extend_from_slice(&event.dot.counter().to_be_bytes());
        let mut concurrent = false;
        if let Some(before) = projection.get(FAMILY, subject.as_bytes())? {
            let (Some(old), Some(dot)) = (before.get(..24), dot_of(&before)) else {
                return Err("the view holds a damaged value".into());
            };
            concurrent = !event.vclock.contains(dot);
            if value[..24] < *old {
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

fn dot_of(value: &[u8]) -> Option<Dot> {
    let origin: [u8; 24] = value.get(24..48)?.try_into().ok()?;
    let counter: [u8; 8] = value.get(48..HEAD)?.try_into().ok()?;
    Dot::new(Origin::from_bytes(origin), u64::from_be_bytes(counter))
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
