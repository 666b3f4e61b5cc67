//! What a puller asks a writer, and takes from it, without a transport in between.

use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::internals::log::{Log, SentQuery, read_cursor};
use antiphon_kernel::log::LogReader;
use antiphon_kernel::protocol::{EventBatch, FetchReply, FetchRequest, Heads, Known, RequestId};
use antiphon_kernel::store::Durability;

use crate::logs::{NOW, peer, puller, writer};

/// A question of the puller's: what is after this cursor, or, without one, whatever it does not know.
#[must_use]
pub fn question(request: RequestId, after: Option<Cursor>, known: Heads, max_events: u32) -> FetchRequest {
    let plain = antiphon_kernel::testing::question(puller().cortex_id, writer().cortex_id);
    FetchRequest { request, after, known: Known::Full(known), max_events, ..plain }
}

/// A question and its answer.
pub type Pull = (SentQuery, EventBatch);

/// The next batch, as it comes out of a frame: its events are slices of one buffer.
///
/// # Panics
/// Where the writer refuses, or a store fails.
#[must_use]
pub fn next(puller: &LogReader, writer: &LogReader, number: u64, max_events: u32) -> Pull {
    let after = read_cursor(&**puller.store(), &peer()).expect("the store reads");
    let id = RequestId { process: puller.process(), number };
    let request = question(id, after, puller.heads(), max_events);
    match writer.answer(&request).expect("the store reads") {
        FetchReply::Batch(batch) => (SentQuery::of(&request), across(batch)),
        FetchReply::Refused { refusal, .. } => panic!("the writer refused: {refusal}"),
    }
}

fn across(batch: EventBatch) -> EventBatch {
    match decode(&encode(&Message::Reply(FetchReply::Batch(batch)))) {
        Ok(Message::Reply(FetchReply::Batch(batch))) => batch,
        other => panic!("a batch read back as {other:?}"),
    }
}

/// Takes a batch in, and makes it durable.
///
/// # Panics
/// Where the batch is none that this log asked for, or the store fails.
pub fn take(log: &mut Log, (asked, batch): &Pull) {
    log.ingest(&peer(), asked, batch, NOW).expect("the writer is honest");
    log.commit(Durability::Sync).expect("the store takes it");
}

/// All that a new puller has to take to hold what the writer holds. Any new puller may be given it.
///
/// # Panics
/// As [`next`] and [`take`].
#[must_use]
pub fn all(mut puller: Log, writer: &LogReader, max_events: u32) -> Vec<Pull> {
    let mut pulls = Vec::new();
    while puller.reader().visible() < writer.head().seq {
        let pull = next(&puller.reader(), writer, pulls.len() as u64 + 1, max_events);
        take(&mut puller, &pull);
        pulls.push(pull);
    }
    pulls
}
