//! What is said around questions and answers: who calls, who answers, how far a log reaches, what changed meanwhile.

use super::bodies::{
    WireCursor, WireDigest, WireHeads, WireLog, cursor_from, heads_from, log_from, wire_cursor, wire_heads, wire_log,
};
use super::{Room, WireError, broken};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::Capped;
use crate::codec::encoding::fields;
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::identity::{MAX_STATEMENT_BYTES, Signature};
use crate::ids::{CortexId, MAX_COUNTER};
use crate::protocol::{Connect, Heartbeat, Hello, Identity, Proof, Refresh, RequestId};
use crate::rule::Rule;
use crate::time::Timestamp;

/// The longest name or version in a hello or identity, in bytes.
const MAX_TEXT: usize = 512;

fields! {
    pub(super) struct WireRefresh {
        process: u64,
        number: u64,
        from: [u8; 16],
        known: WireHeads,
        direct: Capped<[u8; 16], MAX_CLOCK_ENTRIES>,
    }
}

fields! {
    pub(super) struct WireHeartbeat {
        from: [u8; 16],
        head: WireCursor,
        floor: u64,
        head_time: i64,
    }
}

type WireText = Capped<u8, MAX_TEXT>;
type WireStatement = Capped<u8, MAX_STATEMENT_BYTES>;

fields! {
    pub(super) struct WireConnect {
        protocol_min: u16,
        protocol_max: u16,
        nonce: [u8; 32],
    }
}

fields! {
    pub(super) struct WireProof {
        protocol_min: u16,
        protocol_max: u16,
        from: [u8; 16],
        nonce: [u8; 32],
        statement: WireStatement,
        signature: [u8; 64],
    }
}

fields! {
    pub(super) struct WireHello {
        protocol_min: u16,
        protocol_max: u16,
        connect: [u8; 32],
        nonce: [u8; 32],
        signature: [u8; 64],
        key: Option<[u8; 32]>,
        from: [u8; 16],
        log: WireLog,
        name: WireText,
        version: WireText,
        statement: WireStatement,
    }
}

fields! {
    pub(super) struct WireIdentity {
        cortex_id: [u8; 16],
        name: WireText,
        protocol_min: u16,
        protocol_max: u16,
        version: WireText,
        log: WireLog,
        head: WireCursor,
        floor: u64,
        head_time: i64,
        time: i64,
        digest: WireDigest,
        statement: WireStatement,
    }
}

pub(super) fn wire_refresh(refresh: &Refresh) -> WireRefresh {
    WireRefresh {
        process: refresh.request.process,
        number: refresh.request.number,
        from: refresh.from.to_bytes(),
        known: wire_heads(&refresh.known),
        direct: Capped(refresh.direct.iter().map(|id| id.to_bytes()).collect()),
    }
}

pub(super) fn refresh_from(wire: WireRefresh, room: Room) -> Result<Refresh, WireError> {
    Ok(Refresh {
        request: RequestId { process: wire.process, number: wire.number },
        from: CortexId::from_bytes(wire.from),
        known: heads_from(wire.known)?,
        direct: wire.direct.0.into_iter().map(CortexId::from_bytes).collect(),
        room,
    })
}

pub(super) fn wire_heartbeat(heartbeat: &Heartbeat) -> WireHeartbeat {
    WireHeartbeat {
        from: heartbeat.from.to_bytes(),
        head: wire_cursor(&heartbeat.head),
        floor: heartbeat.floor.get(),
        head_time: heartbeat.head_time.as_micros(),
    }
}

pub(super) fn heartbeat_from(wire: WireHeartbeat, room: Room) -> Result<Heartbeat, WireError> {
    Ok(Heartbeat {
        from: CortexId::from_bytes(wire.from),
        head: cursor_from(wire.head)?,
        floor: floor_from(wire.floor)?,
        head_time: Timestamp::from_micros(wire.head_time),
        room,
    })
}

fn floor_from(floor: u64) -> Result<Seq, WireError> {
    if floor > MAX_COUNTER { Err(broken(Rule::SeqOutOfRange)) } else { Ok(Seq::new(floor)) }
}

/// What is sent of a text: as much as a reader takes, cut between characters.
fn wire_text(text: &str) -> WireText {
    Capped(text[..text.floor_char_boundary(MAX_TEXT)].into())
}

fn text_from(wire: WireText) -> Result<String, WireError> {
    String::from_utf8(wire.0).map_err(|_| broken(Rule::TextNotUtf8))
}

pub(super) const fn wire_connect(connect: &Connect) -> WireConnect {
    WireConnect { protocol_min: connect.protocol_min, protocol_max: connect.protocol_max, nonce: connect.nonce }
}

pub(super) const fn connect_from(wire: &WireConnect, room: Room) -> Connect {
    Connect { protocol_min: wire.protocol_min, protocol_max: wire.protocol_max, nonce: wire.nonce, room }
}

pub(super) fn wire_proof(proof: &Proof) -> WireProof {
    WireProof {
        protocol_min: proof.protocol_min,
        protocol_max: proof.protocol_max,
        from: proof.from.to_bytes(),
        nonce: proof.nonce,
        statement: Capped(proof.statement.clone()),
        signature: proof.signature.to_bytes(),
    }
}

pub(super) fn proof_from(wire: WireProof, room: Room) -> Proof {
    Proof {
        protocol_min: wire.protocol_min,
        protocol_max: wire.protocol_max,
        from: CortexId::from_bytes(wire.from),
        nonce: wire.nonce,
        statement: wire.statement.0,
        signature: Signature::from_bytes(wire.signature),
        room,
    }
}

pub(super) fn wire_hello(hello: &Hello) -> WireHello {
    WireHello {
        protocol_min: hello.protocol_min,
        protocol_max: hello.protocol_max,
        connect: hello.connect,
        nonce: hello.nonce,
        signature: hello.signature.to_bytes(),
        key: hello.key,
        from: hello.from.to_bytes(),
        log: wire_log(hello.log),
        name: wire_text(&hello.name),
        version: wire_text(&hello.version),
        statement: Capped(hello.statement.clone()),
    }
}

pub(super) fn hello_from(wire: WireHello, room: Room) -> Result<Hello, WireError> {
    Ok(Hello {
        protocol_min: wire.protocol_min,
        protocol_max: wire.protocol_max,
        connect: wire.connect,
        nonce: wire.nonce,
        signature: Signature::from_bytes(wire.signature),
        key: wire.key,
        from: CortexId::from_bytes(wire.from),
        log: log_from(wire.log),
        name: text_from(wire.name)?,
        version: text_from(wire.version)?,
        room,
        statement: wire.statement.0,
    })
}

pub(super) fn wire_identity(identity: &Identity) -> WireIdentity {
    WireIdentity {
        cortex_id: identity.cortex_id.to_bytes(),
        name: wire_text(&identity.name),
        protocol_min: identity.protocol_min,
        protocol_max: identity.protocol_max,
        version: wire_text(&identity.version),
        log: wire_log(identity.log),
        head: wire_cursor(&identity.head),
        floor: identity.floor.get(),
        head_time: identity.head_time.as_micros(),
        time: identity.time.as_micros(),
        digest: identity.digest.to_bytes(),
        statement: Capped(identity.statement.clone()),
    }
}

pub(super) fn identity_from(wire: WireIdentity, room: Room) -> Result<Identity, WireError> {
    let head = cursor_from(wire.head)?;
    Ok(Identity {
        cortex_id: CortexId::from_bytes(wire.cortex_id),
        name: text_from(wire.name)?,
        protocol_min: wire.protocol_min,
        protocol_max: wire.protocol_max,
        version: text_from(wire.version)?,
        log: log_from(wire.log),
        epoch: head.epoch,
        head,
        floor: floor_from(wire.floor)?,
        head_time: Timestamp::from_micros(wire.head_time),
        time: Timestamp::from_micros(wire.time),
        digest: Digest::from_bytes(wire.digest),
        room,
        statement: wire.statement.0,
    })
}
