//! Foreign bytes never make a decoder panic, and what it accepts lies within the protocol's bounds, is no larger than
//! what came in, and survives being encoded again.
//!
//! The first byte says what the rest is: a whole frame, a frame's kind and body (the header is made to fit, or a fuzzer
//! would seldom get past the checksum), or an event record.

use antiphon_kernel::clock::{MAX_CLOCK_ENTRIES, VClock};
use antiphon_kernel::codec::{EventRef, FRAME_HEADER_BYTES, FrameHeader, Message, Room, decode, encode};
use antiphon_kernel::event::{
    Draft, ExtensionRef, MAX_CONTENT_TYPE_BYTES, MAX_EXTENSION_NAME_BYTES, MAX_EXTENSION_VALUE_BYTES, MAX_EXTENSIONS,
    MAX_SUBJECT_BYTES, MAX_TAGS, MAX_TYPE_BYTES,
};
use antiphon_kernel::identity::MAX_STATEMENT_BYTES;
use antiphon_kernel::ids::MAX_COUNTER;
use antiphon_kernel::internals::codec::{EncodedDraft, encode_record, frame_of};
use antiphon_kernel::protocol::{EventBatch, FetchReply, Heads, Known, MAX_BATCH_EVENTS, MAX_EXCLUDED, Pushed};
use bytes::Bytes;

/// What an input holds after its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A frame, header and all.
    Frame(Bytes),
    /// An event record.
    Record(Bytes),
}

impl Input {
    /// First byte of an input that holds a whole frame.
    pub(crate) const FRAME: u8 = 0;
    /// First byte of an input that holds a frame's kind and body.
    pub(crate) const BODY: u8 = 1;
    /// First byte of an input that holds an event record.
    pub(crate) const RECORD: u8 = 2;

    /// What these bytes hold; `None` of too few.
    #[must_use]
    pub fn of(data: &[u8]) -> Option<Self> {
        let (&selector, rest) = data.split_first()?;
        Some(match selector % 3 {
            Self::FRAME => Self::Frame(Bytes::copy_from_slice(rest)),
            Self::BODY => {
                let (&kind, body) = rest.split_first()?;
                Self::Frame(framed(kind, body))
            }
            _ => Self::Record(Bytes::copy_from_slice(rest)),
        })
    }
}

/// A frame with this kind and body, whose length and checksum are right.
#[must_use]
pub fn framed(kind: u8, body: &[u8]) -> Bytes {
    frame_of(kind, body)
}

/// Decodes `data` and checks what comes out.
///
/// # Panics
/// Where a decoder does, or where it accepts what it must not.
pub fn run(data: &[u8]) {
    match Input::of(data) {
        Some(Input::Frame(frame)) => check_frame(&frame),
        Some(Input::Record(record)) => check_record(&record),
        None => {}
    }
}

fn check_frame(frame: &Bytes) {
    let message = match decode(frame) {
        Ok(message) => message,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let header = FrameHeader::parse(frame).expect("a frame that decodes has a header");
    assert_eq!(header.body_len(), frame.len() - FRAME_HEADER_BYTES);
    match &message {
        Message::Fetch(request) => {
            assert!(request.direct.len() <= MAX_CLOCK_ENTRIES && request.exclude.len() <= MAX_EXCLUDED);
            check_room(&request.room);
            assert!(request.after.is_none_or(|cursor| cursor.seq.get() <= MAX_COUNTER));
            if let Known::Full(heads) = &request.known {
                check_heads(heads);
            }
        }
        Message::Reply(FetchReply::Batch(batch)) => check_batch(batch, frame),
        Message::Reply(FetchReply::Refused { refusal, .. }) => assert!(!refusal.to_string().is_empty()),
        Message::Refresh(refresh) => {
            assert!(refresh.direct.len() <= MAX_CLOCK_ENTRIES);
            check_heads(&refresh.known);
            check_room(&refresh.room);
        }
        Message::Heartbeat(heartbeat) => {
            assert!(heartbeat.head.seq.get() <= MAX_COUNTER && heartbeat.floor.get() <= MAX_COUNTER);
            check_room(&heartbeat.room);
        }
        Message::Connect(connect) => check_room(&connect.room),
        Message::Proof(proof) => {
            assert!(proof.statement.len() <= MAX_STATEMENT_BYTES);
            check_room(&proof.room);
        }
        Message::Hello(hello) => {
            assert!(hello.name.len() <= 512 && hello.version.len() <= 512);
            check_room(&hello.room);
        }
        Message::Identify => {}
        Message::Identity(identity) => {
            assert_eq!(identity.epoch, identity.head.epoch);
            check_room(&identity.room);
        }
    }
    let again = encode(&message);
    // What is ignored in the room of a message without fields is not kept.
    if !matches!(message, Message::Identify | Message::Reply(FetchReply::Refused { .. })) {
        is_the_shortest_form(&again, frame);
    }
    assert_eq!(decode(&again).as_ref(), Ok(&message), "what was decoded is encoded and decoded to the same");
    // What is sent on a run of answers travels as it does by itself.
    match message {
        Message::Reply(reply) => assert_eq!(encode(&Pushed::Reply(reply).into()), again),
        Message::Heartbeat(heartbeat) => assert_eq!(encode(&Pushed::Heartbeat(heartbeat).into()), again),
        _ => {}
    }
}

/// Integers have longer forms than the encoder's, which decode; nothing else may differ. An order of entries that the
/// decoder had to repair, say, shows here only.
fn is_the_shortest_form(again: &[u8], bytes: &[u8]) {
    assert!(again.len() <= bytes.len(), "the encoder's form is the shortest");
    assert!(again.len() < bytes.len() || again == bytes, "of one length, there is one form");
}

fn check_room(room: &Room) {
    assert_eq!(room.check(), Ok(()));
}

fn check_batch(batch: &EventBatch, frame: &Bytes) {
    check_room(&batch.room);
    check_heads(&batch.heads);
    assert!(batch.events.len() <= MAX_BATCH_EVENTS as usize);
    assert!([batch.prev, batch.last, batch.head].iter().all(|cursor| cursor.seq.get() <= MAX_COUNTER));
    let total: usize = batch.events.iter().map(|event| event.1.len()).sum();
    assert!(total <= frame.len(), "{total} bytes of events in a frame of {}", frame.len());
    let within = frame.as_ptr_range();
    let mut before = batch.prev.seq;
    for (seq, bytes) in &batch.events {
        assert!(*seq > before && seq.get() <= MAX_COUNTER, "places increase");
        before = *seq;
        let slice = bytes.as_ptr_range();
        assert!(bytes.is_empty() || (within.start <= slice.start && slice.end <= within.end), "events are not copies");
        check_record(bytes);
    }
}

fn check_heads(heads: &Heads) {
    assert!(heads.len() <= MAX_CLOCK_ENTRIES);
    assert!(heads.iter().is_sorted_by(|a, b| a.0 < b.0));
    assert!(heads.iter().all(|(_, head)| (1..=MAX_COUNTER).contains(&head.counter)));
}

fn check_record(bytes: &Bytes) {
    let short = EventRef::decode_dot(bytes);
    let view = match EventRef::decode(bytes) {
        Ok(view) => view,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(short, Ok((view.id, view.dot)), "the short reading agrees with the whole one");
    assert!((1..=MAX_TYPE_BYTES).contains(&view.event_type.len()));
    assert!(view.subject.len() <= MAX_SUBJECT_BYTES);
    assert!(view.datacontenttype.len() <= MAX_CONTENT_TYPE_BYTES);
    assert!(view.extensions.len() <= MAX_EXTENSIONS);
    assert!(view.tags.len() <= MAX_TAGS && view.tags.is_sorted_by(|a, b| a < b));
    for (name, value) in &view.extensions {
        assert!((1..=MAX_EXTENSION_NAME_BYTES).contains(&name.len()));
        assert!(text_bytes(value) <= MAX_EXTENSION_VALUE_BYTES);
    }
    assert!(view.deps.len() <= MAX_CLOCK_ENTRIES);
    assert_eq!(view.deps.get(view.dot.origin()), 0, "an event never depends on its own origin");
    assert!(size_of_fields(&view) <= bytes.len());
    assert!(EventRef::decode(&bytes[..bytes.len() - 1]).is_err(), "a record ends where it ends");
    assert!(EventRef::decode(&[&bytes[..], &[0]].concat()).is_err(), "and nothing follows it");
    check_encoded_again(&view, bytes);
}

fn text_bytes(value: &ExtensionRef<'_>) -> usize {
    match value {
        ExtensionRef::Text(text) => text.len(),
        _ => 0,
    }
}

fn size_of_fields(view: &EventRef<'_>) -> usize {
    let extensions: usize = view.extensions.iter().map(|(name, value)| name.len() + text_bytes(value)).sum();
    [view.event_type.len(), view.subject.len(), view.datacontenttype.len(), view.data.len()].iter().sum::<usize>()
        + extensions
}

/// Where a record has its flags: after the version and the kind.
const FLAGS_AT: usize = 2;

/// A valid record is one that `append` could have written: its fields make it again, byte for byte
/// unless the writer chose a longer form of an integer.
fn check_encoded_again(view: &EventRef<'_>, bytes: &Bytes) {
    let mut draft = Draft::new(view.event_type, Bytes::copy_from_slice(view.data)).time(view.time);
    draft.subject = (!view.subject.is_empty()).then(|| view.subject.to_owned());
    draft.datacontenttype = (!view.datacontenttype.is_empty()).then(|| view.datacontenttype.to_owned());
    draft.tags = view.tags.iter().map(|&tag| tag.to_owned()).collect();
    draft.extensions = view.extensions.iter().map(|&(name, value)| (name.to_owned(), value.to_value())).collect();
    let is_own =
        view.event_type.starts_with("antiphon.") || draft.extensions.keys().any(|name| name.starts_with("antiphon"));
    assert_eq!(
        draft.check().is_ok(),
        !is_own,
        "what a peer may send, an application may append, but for names of Antiphon's own"
    );
    let assigned = EncodedDraft { id: view.id, dot: view.dot, deps: &view.deps, time: view.time };
    let mut again = encode_record(&draft, &assigned).to_vec();
    // What is made alone ends its group; one within a group does not.
    again[FLAGS_AT] = bytes[FLAGS_AT];
    let again = Bytes::from(again);
    is_the_shortest_form(&again, bytes);
    let back = EventRef::decode(&again).expect("what was encoded decodes");
    assert_eq!(fields(&back), fields(view));
}

type Fields<'v> = (&'v VClock, [&'v str; 3], &'v [(&'v str, ExtensionRef<'v>)], &'v [u8], String);

fn fields<'v>(view: &'v EventRef<'_>) -> Fields<'v> {
    let rest = format!("{} {} {} {:?}", view.id, view.dot, view.time.as_micros(), view.tags);
    (&view.deps, [view.event_type, view.subject, view.datacontenttype], &view.extensions, view.data, rest)
}
