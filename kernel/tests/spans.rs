//! The spans of a cortex, recorded in memory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use antiphon_kernel::cortex::{Cortex, Peer};
use antiphon_kernel::event::{Draft, Event};
use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Fields = BTreeMap<&'static str, String>;

/// A span with the name of its parent, and the fields of both.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    name: &'static str,
    fields: Fields,
    parent: Option<(&'static str, Fields)>,
}

/// Keeps each span as it is when it is closed, and the spans that each of the application's events is in.
#[derive(Clone, Default)]
struct Memory {
    spans: Arc<Mutex<Vec<Recorded>>>,
    events: Arc<Mutex<Vec<Vec<&'static str>>>>,
}

struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Memory {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Collect(&mut fields));
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(&mut Collect(span.extensions_mut().get_mut::<Fields>().unwrap()));
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() == "notes" {
            let scope = context.event_scope(event).into_iter().flatten().map(|span| span.name()).collect();
            self.events.lock().unwrap().push(scope);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let fields = |span: &tracing_subscriber::registry::SpanRef<'_, S>| {
            span.extensions().get::<Fields>().cloned().unwrap_or_default()
        };
        let parent = span.parent().map(|parent| (parent.name(), fields(&parent)));
        self.spans.lock().unwrap().push(Recorded { name: span.name(), fields: fields(&span), parent });
    }
}

struct Notes;

impl EventReplayer for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn families(&self) -> Vec<String> {
        vec![]
    }

    fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> {
        tracing::info!(target: "notes", "a note");
        Ok(())
    }
}

fn fields<const N: usize>(fields: [(&'static str, &str); N]) -> Fields {
    fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// The extension `traceparent` of an event joins the trace of its writer to the replay on every cortex.
#[tokio::test]
async fn an_append_and_a_replay_carry_the_traceparent_of_their_event() {
    let memory = Memory::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(memory.clone())).unwrap();
    let cortex = Cortex::builder(MemoryStore::new()).name("alpha").causal_replayer(Notes).start().await.unwrap();
    let mut traced = Draft::new("note.written", "traced");
    traced.extensions.insert("traceparent".into(), PARENT.into());
    for draft in [traced, Draft::new("note.written", "not traced")] {
        let event = cortex.append(draft).await.unwrap();
        cortex.wait_replayed(&event).await.unwrap();
    }
    let network = MemoryNetwork::new();
    network.serve("alpha", cortex.service().clone());
    let bravo = Cortex::builder(MemoryStore::new()).name("bravo").transport(network);
    let bravo = bravo.peer(Peer::new("alpha", "memory://alpha")).start().await.unwrap();
    bravo.reader().watch_durable().wait_for(|head| head.get() == 2).await.unwrap();
    for cortex in [bravo, cortex] {
        cortex.stop().await;
    }
    let spans = memory.spans.lock().unwrap().clone();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
    let append = |fields| Recorded { name: "append", fields, parent: None };
    assert_eq!(
        named("append"),
        [
            append(fields([("cortex", "alpha"), ("seq", "1"), ("traceparent", PARENT)])),
            append(fields([("cortex", "alpha"), ("seq", "2")])),
        ]
    );
    let peer = Recorded { name: "peer", fields: fields([("cortex", "bravo"), ("name", "alpha")]), parent: None };
    assert_eq!(named("peer"), [peer]);
    let cortex = Some(("cortex", fields([("name", "alpha")])));
    let replay = |fields| Recorded { name: "replay", fields, parent: cortex.clone() };
    assert_eq!(
        named("replay"),
        [
            replay(fields([("replayer", "notes"), ("seq", "1"), ("traceparent", PARENT)])),
            replay(fields([("replayer", "notes"), ("seq", "2")])),
        ]
    );
    assert_eq!(*memory.events.lock().unwrap(), [["replay", "cortex"]; 2]);
}
