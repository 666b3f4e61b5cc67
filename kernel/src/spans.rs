//! The spans of a cortex, for traces. `docs/embedding.md` lists them.

use tracing::{Span, debug_span, field};

use crate::event::{Draft, Event, ExtensionValue};

/// The extension attribute that names the trace of an event's writer.
const TRACEPARENT: &str = "traceparent";

/// What a thread of a cortex does.
pub(crate) fn cortex(name: &str) -> Span {
    debug_span!("cortex", name)
}

/// The append of one event. Its `seq` is recorded once it is known.
pub(crate) fn append(cortex: &str, draft: &Draft) -> Span {
    let traceparent = draft.extensions.get(TRACEPARENT).and_then(ExtensionValue::as_text);
    debug_span!("append", cortex, traceparent, seq = field::Empty)
}

/// The replay of one event.
pub(crate) fn replay(replayer: &str, event: &Event) -> Span {
    let traceparent = event.extensions.get(TRACEPARENT).and_then(ExtensionValue::as_text);
    debug_span!("replay", replayer, seq = event.seq.get(), traceparent)
}
