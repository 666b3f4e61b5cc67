//! Frames: what peers exchange. A header of 24 bytes, then a body in bincode's encoding. The checksum separates damage on the way
//! from a fork of histories, which must never be confused. Every message ends in a [`Room`].

mod bodies;
mod greeting;
mod room;

use bytes::Bytes;

use super::encoding::{Decode, Encode, decode_prefix};
use crate::checksum::checksum;
use crate::error_code::ErrorCode;
use crate::protocol::{Connect, FetchReply, FetchRequest, Heartbeat, Hello, Identity, Proof, Pushed, Refresh};
use crate::rule::Rule;
use crate::transport::TransportErrorKind;
use room::RoomError;
pub use room::{MAX_ROOM_BYTES, MAX_ROOM_ENTRIES, Room};

use bodies::{batch_from, fetch_from, refused_from, wire_batch, wire_fetch, wire_refused};
use greeting::{
    connect_from, heartbeat_from, hello_from, identity_from, proof_from, refresh_from, wire_connect, wire_heartbeat,
    wire_hello, wire_identity, wire_proof, wire_refresh,
};

/// The largest frame: header and body.
pub const MAX_FRAME_BYTES: usize = 20 * 1024 * 1024;
/// `"AN"`, version, kind, body length (4, big-endian), XXH3-128 of the body (16).
pub const FRAME_HEADER_BYTES: usize = 24;

const MAGIC: [u8; 2] = *b"AN";
const VERSION: u8 = 2;
const KIND_FETCH: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_REFUSAL: u8 = 3;
const KIND_REFRESH: u8 = 4;
const KIND_HEARTBEAT: u8 = 5;
const KIND_HELLO: u8 = 6;
const KIND_IDENTIFY: u8 = 7;
const KIND_IDENTITY: u8 = 8;
// 9 is kept for a base.
const KIND_CONNECT: u8 = 10;
const KIND_PROOF: u8 = 11;

/// What one frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request for events.
    Fetch(FetchRequest),
    /// Its answer.
    Reply(FetchReply),
    /// News about a request that is open.
    Refresh(Refresh),
    /// How far a log reaches.
    Heartbeat(Heartbeat),
    /// The first message of a connection.
    Connect(Connect),
    /// Who answers; the answer to that.
    Proof(Proof),
    /// Who asks.
    Hello(Hello),
    /// "Who are you?"
    Identify,
    /// The answer to a hello, and to that question.
    Identity(Identity),
}

impl From<Pushed> for Message {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Reply(reply) => Self::Reply(reply),
            Pushed::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat),
        }
    }
}

/// Why bytes are not a frame. Nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They do not begin as a frame does.
    #[error("these bytes are not an Antiphon frame")]
    NotAFrame,
    /// A frame version this build does not speak.
    #[error("a node that speaks frame version {version} wrote this frame, and this build speaks version {VERSION}")]
    UnknownVersion {
        /// The version byte.
        version: u8,
    },
    /// Its body would be larger than any frame may be.
    #[error("a frame of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge {
        /// The size it claims.
        bytes: usize,
    },
    /// It ends too early or too late.
    #[error("the frame has {actual} bytes where its header says {expected}")]
    Length {
        /// What the header says.
        expected: usize,
        /// What is there.
        actual: usize,
    },
    /// Its body is not what was sent.
    #[error("the frame was damaged on the way: its checksum differs")]
    Checksum,
    /// Its body does not decode, or breaks a rule of the protocol.
    #[error("{rule}{detail}")]
    Malformed {
        /// The rule.
        rule: Rule,
        /// What there is to add, after the rule.
        detail: String,
    },
}

impl WireError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotAFrame => ErrorCode::WireNotAFrame,
            Self::UnknownVersion { .. } => ErrorCode::WireUnknownVersion,
            Self::TooLarge { .. } => ErrorCode::WireTooLarge,
            Self::Length { .. } => ErrorCode::WireLength,
            Self::Checksum => ErrorCode::WireChecksum,
            Self::Malformed { .. } => ErrorCode::WireMalformed,
        }
    }
}

impl WireError {
    /// Whether a newer version may have written it, so that no node is at fault.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        match self {
            Self::UnknownVersion { version } => *version > VERSION,
            Self::Malformed { rule, .. } => rule.is_newer(),
            _ => false,
        }
    }

    /// Its kind in the peer's health, whatever transport it came over.
    #[must_use]
    pub const fn kind(&self) -> TransportErrorKind {
        match self {
            Self::NotAFrame => TransportErrorKind::Unexpected,
            Self::UnknownVersion { .. } => TransportErrorKind::Version,
            Self::TooLarge { .. } => TransportErrorKind::TooLarge,
            Self::Length { .. } | Self::Checksum => TransportErrorKind::Corrupt,
            Self::Malformed { rule, .. } if rule.is_newer() => TransportErrorKind::Newer,
            Self::Malformed { .. } => TransportErrorKind::Protocol,
        }
    }
}

fn broken(rule: Rule) -> WireError {
    WireError::Malformed { rule, detail: String::new() }
}

fn broken_by(rule: Rule, detail: impl std::fmt::Display) -> WireError {
    WireError::Malformed { rule, detail: format!(": {detail}") }
}

/// The first 24 bytes of a frame, checked: read these before you spend memory on the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    kind: u8,
    body: usize,
    checksum: [u8; 16],
}

impl FrameHeader {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`WireError`] unless it is a frame of a known version within [`MAX_FRAME_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (Some(head), Some(length), Some(checksum)) = (
            bytes.first_chunk::<4>(),
            bytes.get(4..8).and_then(|b| b.first_chunk::<4>()),
            bytes.get(8..24).and_then(|b| b.first_chunk::<16>()),
        ) else {
            return Err(WireError::NotAFrame);
        };
        if head[..2] != MAGIC {
            return Err(WireError::NotAFrame);
        }
        if head[2] != VERSION {
            return Err(WireError::UnknownVersion { version: head[2] });
        }
        let body = u32::from_be_bytes(*length) as usize;
        if body > MAX_FRAME_BYTES - FRAME_HEADER_BYTES {
            return Err(WireError::TooLarge { bytes: body.saturating_add(FRAME_HEADER_BYTES) });
        }
        Ok(Self { kind: head[3], body, checksum: *checksum })
    }

    /// How many bytes follow the header.
    #[must_use]
    pub const fn body_len(&self) -> usize {
        self.body
    }
}

/// One message as one frame.
#[must_use]
pub fn encode(message: &Message) -> Bytes {
    let (kind, size) = match message {
        Message::Fetch(_) => (KIND_FETCH, 1024),
        Message::Reply(FetchReply::Batch(batch)) => {
            let events: usize = batch.events.iter().map(|e| e.1.len() + 8).sum();
            let inceptions: usize = batch.inceptions.iter().map(|(_, bytes)| bytes.len() + 32).sum();
            (
                KIND_BATCH,
                events + batch.heads.len() * 80 + inceptions + batch.seals.len() * 64 + batch.clocks.len() * 32,
            )
        }
        Message::Reply(FetchReply::Refused { .. }) => (KIND_REFUSAL, 192),
        Message::Refresh(_) => (KIND_REFRESH, 512),
        Message::Heartbeat(_) => (KIND_HEARTBEAT, 64),
        Message::Connect(_) => (KIND_CONNECT, 64),
        Message::Proof(_) => (KIND_PROOF, 256),
        Message::Hello(_) => (KIND_HELLO, 512),
        Message::Identify => (KIND_IDENTIFY, 0),
        Message::Identity(_) => (KIND_IDENTITY, 256),
    };
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + 256 + size);
    frame.extend_from_slice(&[MAGIC[0], MAGIC[1], VERSION, kind]);
    frame.resize(FRAME_HEADER_BYTES, 0);
    let none = Room::default();
    let room = match message {
        Message::Fetch(request) => {
            wire_fetch(request).encode(&mut frame);
            &request.room
        }
        Message::Reply(FetchReply::Batch(batch)) => {
            wire_batch(batch).encode(&mut frame);
            &batch.room
        }
        Message::Reply(FetchReply::Refused { refusal, own }) => {
            wire_refused(refusal, own.as_deref()).encode(&mut frame);
            &none
        }
        Message::Refresh(refresh) => {
            wire_refresh(refresh).encode(&mut frame);
            &refresh.room
        }
        Message::Heartbeat(heartbeat) => {
            wire_heartbeat(heartbeat).encode(&mut frame);
            &heartbeat.room
        }
        Message::Connect(connect) => {
            wire_connect(connect).encode(&mut frame);
            &connect.room
        }
        Message::Proof(proof) => {
            wire_proof(proof).encode(&mut frame);
            &proof.room
        }
        Message::Hello(hello) => {
            wire_hello(hello).encode(&mut frame);
            &hello.room
        }
        Message::Identify => &none,
        Message::Identity(identity) => {
            wire_identity(identity).encode(&mut frame);
            &identity.room
        }
    };
    room.encode(&mut frame);
    let (head, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
    // The service bounds what it puts in far below 4 GiB; a longer body would be refused by any reader's length check.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    head[4..8].copy_from_slice(&length.to_be_bytes());
    head[8..24].copy_from_slice(&checksum(body));
    frame.into()
}

/// A frame of this kind and body, with its right length and checksum: for tests that make bodies of their own.
#[must_use]
pub fn frame_of(kind: u8, body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&MAGIC[..], &[VERSION, kind], &length, &checksum(body), body].concat().into()
}

/// The message in one whole frame. Events are slices of it, not copies.
///
/// # Errors
/// [`WireError`]. Allocates at most a small multiple of the frame's own size, itself at most [`MAX_FRAME_BYTES`].
pub fn decode(frame: &Bytes) -> Result<Message, WireError> {
    let header = FrameHeader::parse(frame)?;
    let body = frame.slice(FRAME_HEADER_BYTES..);
    if body.len() != header.body {
        return Err(WireError::Length { expected: header.body, actual: body.len() });
    }
    if checksum(&body) != header.checksum {
        return Err(WireError::Checksum);
    }
    match header.kind {
        KIND_FETCH => {
            let (wire, room) = read(&body)?;
            fetch_from(wire, room).map(Message::Fetch)
        }
        KIND_BATCH => {
            let (wire, room) = read(&body)?;
            batch_from(wire, room, &body).map(|batch| Message::Reply(FetchReply::Batch(batch)))
        }
        KIND_REFUSAL => {
            let (wire, _) = read(&body)?;
            refused_from(wire).map(Message::Reply)
        }
        KIND_REFRESH => {
            let (wire, room) = read(&body)?;
            refresh_from(wire, room).map(Message::Refresh)
        }
        KIND_HEARTBEAT => {
            let (wire, room) = read(&body)?;
            heartbeat_from(wire, room).map(Message::Heartbeat)
        }
        KIND_HELLO => {
            let (wire, room) = read(&body)?;
            hello_from(wire, room).map(Message::Hello)
        }
        KIND_CONNECT => {
            let (wire, room) = read(&body)?;
            Ok(Message::Connect(connect_from(&wire, room)))
        }
        KIND_PROOF => {
            let (wire, room) = read(&body)?;
            Ok(Message::Proof(proof_from(wire, room)))
        }
        KIND_IDENTIFY => read_room(&body).map(|_| Message::Identify),
        KIND_IDENTITY => {
            let (wire, room) = read(&body)?;
            identity_from(wire, room).map(Message::Identity)
        }
        kind => Err(broken_by(Rule::UnknownKind, kind)),
    }
}

/// Reads a body and the room that ends it.
fn read<'a, T: Decode<'a>>(body: &'a [u8]) -> Result<(T, Room), WireError> {
    let (value, after) = decode_prefix(body).map_err(|e| broken_by(Rule::Undecodable, e))?;
    Ok((value, read_room(after)?))
}

fn read_room(bytes: &[u8]) -> Result<Room, WireError> {
    Room::decode(bytes).map_err(|error| match error {
        RoomError::Decode(error) => broken_by(Rule::Undecodable, error),
        RoomError::Rule(rule) => broken(rule),
    })
}

#[cfg(test)]
mod tests;
