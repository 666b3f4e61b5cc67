//! Bytes have one home: every byte that Antiphon stores or sends is laid out below this module.

mod capped;
mod encoding;
mod inception;
mod record;
mod statement;
mod stored;
mod wire;

pub(crate) use inception::{decode_inception, encode_inception};
pub(crate) use internals::*;
pub use record::{Absence, AbsentPart, EventRef, Part, RecordKind, RecordRef};
pub(crate) use record::{Front, check_attributes, continue_group, encode_in_group, is_system};
pub(crate) use statement::{decode_statement, encode_certificate_body, encode_statement, hash_ends};
pub(crate) use stored::{
    GroupEnd, SegmentBuilder, SegmentRef, SegmentRun, StoredError, StoredParked, decode_brought, decode_builds,
    decode_chain, decode_conflicts, decode_cursor, decode_debt, decode_decision, decode_epoch_change,
    decode_epoch_peer, decode_exclusions, decode_failure, decode_fork, decode_frontier, decode_group_ends,
    decode_health, decode_identity, decode_lineage, decode_log_entry, decode_noted_head, decode_origin_note,
    decode_parked, decode_pin, decode_replay_position, decode_run, decode_skipped, decode_timestamp, decode_tip,
    decode_tries, encode_brought, encode_builds, encode_chain, encode_conflicts, encode_cursor, encode_debt,
    encode_decision, encode_epoch_change, encode_epoch_peer, encode_exclusions, encode_failure, encode_fork,
    encode_frontier, encode_group_ends, encode_health, encode_identity, encode_lineage, encode_log_entry,
    encode_noted_head, encode_origin_note, encode_parked, encode_pin, encode_replay_position, encode_run,
    encode_skipped, encode_timestamp, encode_tries,
};
pub use wire::{
    FRAME_HEADER_BYTES, FrameHeader, MAX_FRAME_BYTES, MAX_ROOM_BYTES, MAX_ROOM_ENTRIES, Message, Room, WireError,
    decode, encode,
};

pub(crate) mod internals {
    pub use super::record::{EncodedDraft, encode_record};
    pub use super::stored::{StoredChain, StoredDot};
    pub use super::wire::frame_of;
    pub use crate::checksum::checksum;
}

use crate::clock::MAX_CLOCK_ENTRIES;
use crate::ids::Origin;
use capped::Capped;

/// Entries of a clock in bytes.
type Entries = Capped<Entry, MAX_CLOCK_ENTRIES>;

/// An origin and a counter as they stand in bytes: 24 raw bytes, then a variable-length integer.
type Entry = ([u8; 24], u64);

fn entries_of(clock: &crate::clock::VClock) -> Entries {
    Capped(clock.iter().map(|(origin, counter)| (origin.to_bytes(), counter)).collect())
}

fn entries_from(entries: Entries) -> Vec<(Origin, u64)> {
    entries.0.into_iter().map(|(bytes, counter)| (Origin::from_bytes(bytes), counter)).collect()
}
