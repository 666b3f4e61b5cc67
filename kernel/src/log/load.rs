//! Reading from a store what a log keeps in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::LocalIdentity;
use super::debts::count_debts;
use super::decoded::read_decoded;
use super::entry::{LogHead, damaged};
use super::epoch_change::{EpochChange, read_epoch_change};
use super::forks::{Decisions, decisions};
use super::lineage::Lineage;
use super::minted::{Minted, minted};
use super::origins::{OriginNotes, read_origin_notes};
use super::peers::{Pinned, read_pinned};
use super::rejoin::waiting_origins;
use super::segments::{check_ends, damaged_segment, dot_at, last_run, missing_entry, not_a_seq};
use super::statements::Statements;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{SegmentRef, StoredChain, decode_chain, decode_identity};
use crate::cursor::Seq;
use crate::ids::{EventId, Origin};
use crate::store::{Family, Store, StoreError, StoreErrorKind, keys};

/// The version of the kernel's keys and values in a store.
pub(super) const FORMAT: u32 = 2;

pub(super) struct Loaded {
    pub(super) identity: Option<LocalIdentity>,
    pub(super) lineage: Lineage,
    pub(super) chains: BTreeMap<Origin, StoredChain>,
    pub(super) head: LogHead,
    pub(super) last_id: EventId,
    pub(super) decisions: Decisions,
    pub(super) waiting: BTreeSet<Origin>,
    pub(super) minted: Minted,
    pub(super) pinned: Pinned,
    pub(super) origins: OriginNotes,
    /// How many events have a part missing.
    pub(super) owed: u64,
    pub(super) statements: Statements,
    /// The last change of epoch.
    pub(super) ended: Option<EpochChange>,
}

/// Reads what a log keeps in memory, and checks that its pieces fit together.
pub(super) fn load(store: &dyn Store) -> Result<Loaded, StoreError> {
    check_format(store)?;
    let identity = store.get(Family::Meta, keys::META_IDENTITY)?;
    let identity = identity.map(|b| decode_identity(&b).map_err(|e| damaged(Family::Meta, &e))).transpose()?;
    let chains = load_chains(store)?;
    let (newest, head) = load_newest(store)?;
    check_tips(store, &chains, newest)?;
    let held: u64 = chains.values().map(|chain| chain.counter).sum();
    if held != head.seq.get() {
        return Err(StoreError::corrupt(format!("the chains count {held} events and the log has {}", head.seq)));
    }
    if !chains.is_empty() && identity.as_ref().is_some_and(|identity| identity.log.is_none()) {
        return Err(StoreError::corrupt("family `meta`: there are events, and no log id"));
    }
    let last_id = read_last_id(store)?;
    let (decisions, waiting, lineage) = (decisions(store)?, waiting_origins(store)?, Lineage::read(store)?);
    let minted = identity.as_ref().map(|identity| minted(store, identity)).transpose()?.unwrap_or_default();
    let (pinned, origins) =
        (or_newer("pins", read_pinned(store))?, or_newer("notes of origins", read_origin_notes(store))?);
    let owed = count_debts(store)?;
    let statements = or_none("numbers of key statements", Statements::read(store, &chains));
    let ended = or_newer("change of epoch", read_epoch_change(store))?;
    Ok(Loaded {
        identity,
        lineage,
        chains,
        head,
        last_id,
        decisions,
        waiting,
        minted,
        pinned,
        origins,
        owed,
        statements,
        ended,
    })
}

/// What the log can do without: damage to it is reported, and keeps no node from starting.
pub(super) fn or_none<T: Default>(what: &str, read: Result<T, StoreError>) -> T {
    read.unwrap_or_else(|error| {
        tracing::error!(%error, code = %error.code(), "the {what} cannot be read");
        T::default()
    })
}

/// [`or_none`], but fails if a newer version wrote it: this one would write over what it cannot read.
pub(super) fn or_newer<T: Default>(what: &str, read: Result<T, StoreError>) -> Result<T, StoreError> {
    match read {
        Err(error) if error.kind() == StoreErrorKind::NewerFormat => Err(error),
        read => Ok(or_none(what, read)),
    }
}

/// The newest id that this cortex made, or zero.
pub(super) fn read_last_id(store: &dyn Store) -> Result<EventId, StoreError> {
    let Some(bytes) = store.get(Family::Meta, keys::META_LAST_ID)? else { return Ok(EventId::from_bytes([0; 16])) };
    let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("family `meta`: the newest id has not 16 bytes"))?;
    Ok(EventId::from_bytes(bytes))
}

fn check_format(store: &dyn Store) -> Result<(), StoreError> {
    let Some(bytes) = store.get(Family::Meta, keys::META_FORMAT)? else { return Ok(()) };
    let format = bytes.try_into().map(u32::from_be_bytes);
    match format {
        Ok(FORMAT) => Ok(()),
        Ok(format) => {
            let kind = if format > FORMAT { StoreErrorKind::NewerFormat } else { StoreErrorKind::OlderFormat };
            Err(StoreError::new(kind, format!("its format is {format}, and this build reads format {FORMAT}")))
        }
        Err(_) => Err(StoreError::corrupt("family `meta`: the format has not 4 bytes")),
    }
}

/// Every origin's chain, as stored.
pub(super) fn stored_chains(store: &dyn Store) -> Result<Vec<(Origin, StoredChain)>, StoreError> {
    let wrong = || StoreError::corrupt("family `clocks`: a key is not an origin");
    read_decoded(store, Family::Clocks, &[], keys::origin_of_chain, decode_chain, wrong)
}

fn load_chains(store: &dyn Store) -> Result<BTreeMap<Origin, StoredChain>, StoreError> {
    let chains: BTreeMap<_, _> = stored_chains(store)?.into_iter().collect();
    if chains.len() > MAX_CLOCK_ENTRIES {
        return Err(StoreError::corrupt("family `clocks`: more origins than a clock may have"));
    }
    Ok(chains)
}

/// Checks that the index ends where the chains do, and that the newest segment has the tips that are in it. Those in earlier
/// segments are not read: there may be too many for a start to wait for.
fn check_tips(store: &dyn Store, chains: &BTreeMap<Origin, StoredChain>, newest: Seq) -> Result<(), StoreError> {
    let wrong = |origin| StoreError::corrupt(format!("the tip of {origin} is missing or differs"));
    let mut there = Vec::new();
    for (&origin, chain) in chains {
        let run = last_run(store, origin)?.filter(|run| run.last() == chain.counter && run.at.segment <= newest);
        let run = run.ok_or_else(|| wrong(origin))?;
        if run.at.segment == newest {
            there.push((run, chain.digest));
        }
    }
    check_ends(store, newest, &there)
}

pub(super) fn load_head(store: &dyn Store) -> Result<LogHead, StoreError> {
    Ok(load_newest(store)?.1)
}

/// The first entry of the newest segment, and its last one.
fn load_newest(store: &dyn Store) -> Result<(Seq, LogHead), StoreError> {
    let Some((key, value)) = store.last(Family::Log, &[])? else { return Ok((Seq::ZERO, LogHead::EMPTY)) };
    let first = keys::seq_of_log(&key).ok_or_else(not_a_seq)?;
    let segment = SegmentRef::decode(&value).map_err(|error| damaged_segment(store, first, &error))?;
    let seq = Seq::new(first.get().saturating_add(segment.len() as u64 - 1));
    let (time, record) = segment.iter().last().ok_or_else(|| missing_entry(first))?;
    let (last_event, _) = dot_at(seq, record)?;
    Ok((first, LogHead { seq, last_event, time }))
}

/// Where these data are now, if that is another place than the one that they were written in: they are a copy, or a volume that was
/// moved to another machine.
pub(super) fn moved_to(store: &dyn Store) -> Result<Option<Vec<u8>>, StoreError> {
    let before = store.get(Family::Meta, keys::META_PLACE)?;
    Ok(store.fingerprint()?.filter(|here| before.is_some_and(|before| before != *here)))
}
