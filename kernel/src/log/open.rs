//! Making a log, and opening one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::core::{Log, LogOptions};
use super::view::{Durable, LogView, damaged, stored_dot};
use super::{LocalIdentity, LogHead};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{EventView, StoredChain, decode_chain, decode_identity, decode_log_entry, encode_identity};
use crate::ids::{EventId, Origin};
use crate::protocol::ChainHead;
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind, keys};

/// The version of the kernel's keys and values in a store.
const FORMAT: u32 = 1;

/// Why a log could not be made or opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no identity in the store.
    #[error("the store holds no cortex yet; run `antiphon init` first")]
    NotInitialised,
    /// There already is one.
    #[error("the store already holds cortex {0}; a second one needs a data directory of its own")]
    AlreadyInitialised(crate::ids::CortexId),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) struct Loaded {
    pub(super) identity: Option<LocalIdentity>,
    pub(super) chains: BTreeMap<Origin, StoredChain>,
    pub(super) head: LogHead,
    pub(super) last_id: EventId,
}

/// Reads what a log keeps in memory, and checks that its pieces fit together.
pub(super) fn load(store: &dyn Store) -> Result<Loaded, StoreError> {
    check_format(store)?;
    let identity = store.get(Family::Meta, keys::META_IDENTITY)?;
    let identity = identity.map(|b| decode_identity(&b).map_err(|e| damaged(Family::Meta, &e))).transpose()?;
    let chains = load_chains(store)?;
    let head = load_head(store)?;
    let held: u64 = chains.values().map(|chain| chain.counter).sum();
    if held != head.seq.get() {
        return Err(StoreError::corrupt(format!(
            "the chains count {held} events and the log has {}; run `antiphon verify`",
            head.seq
        )));
    }
    let last_id = match store.get(Family::Meta, keys::META_LAST_ID)? {
        Some(bytes) => EventId::from_bytes(
            bytes.try_into().map_err(|_| StoreError::corrupt("family `meta`: the newest id has not 16 bytes"))?,
        ),
        None => EventId::from_bytes([0; 16]),
    };
    Ok(Loaded { identity, chains, head, last_id })
}

fn check_format(store: &dyn Store) -> Result<(), StoreError> {
    let Some(bytes) = store.get(Family::Meta, keys::META_FORMAT)? else { return Ok(()) };
    let format = bytes.try_into().map(u32::from_be_bytes);
    match format {
        Ok(format) if format > FORMAT => Err(StoreError::new(
            StoreErrorKind::NewerFormat,
            format!(
                "its format is {format}, this build reads up to {FORMAT}; use the newer version, nothing was changed"
            ),
        )),
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::corrupt("family `meta`: the format has not 4 bytes")),
    }
}

fn load_chains(store: &dyn Store) -> Result<BTreeMap<Origin, StoredChain>, StoreError> {
    let mut chains = BTreeMap::new();
    let mut fault = None;
    store.scan(Family::Clocks, KeyRange::prefix(&[]), &mut |key, value| {
        match (keys::origin_of_chain(key), decode_chain(value)) {
            (Some(origin), Ok(chain)) => {
                chains.insert(origin, chain);
                return ControlFlow::Continue(());
            }
            (None, _) => fault = Some(StoreError::corrupt("family `clocks`: a key is not an origin")),
            (_, Err(error)) => fault = Some(damaged(Family::Clocks, &error)),
        }
        ControlFlow::Break(())
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if chains.len() > MAX_CLOCK_ENTRIES {
        return Err(StoreError::corrupt("family `clocks`: more origins than a clock may have"));
    }
    for (&origin, chain) in &chains {
        let tip = stored_dot(store, origin, chain.counter)?;
        if tip.is_none_or(|dot| dot.digest != chain.digest) {
            return Err(StoreError::corrupt(format!(
                "the tip of {origin} is missing or differs; run `antiphon verify`"
            )));
        }
    }
    Ok(chains)
}

fn load_head(store: &dyn Store) -> Result<LogHead, StoreError> {
    let Some((key, value)) = store.last(Family::Log, &[])? else { return Ok(LogHead::EMPTY) };
    let seq = keys::seq_of_log(&key).ok_or_else(|| StoreError::corrupt("family `log`: a key is not a place"))?;
    let (time, record) = decode_log_entry(&value).map_err(|e| damaged(Family::Log, &e))?;
    let (last_event, _) = EventView::decode_dot(record)
        .map_err(|e| StoreError::corrupt(format!("family `log`: the record at place {seq}: {e}")))?;
    Ok(LogHead { seq, last_event, time })
}

impl Log {
    /// Makes a log in an empty store: writes the format and who this cortex is, durably.
    ///
    /// # Errors
    /// [`OpenError::AlreadyInitialised`], or the store's failure.
    pub fn create(store: &dyn Store, identity: &LocalIdentity) -> Result<(), OpenError> {
        if let Some(existing) = load(store)?.identity {
            return Err(OpenError::AlreadyInitialised(existing.cortex_id));
        }
        let mut batch = Batch::new();
        batch.put(Family::Meta, keys::META_FORMAT, &FORMAT.to_be_bytes());
        batch.put(Family::Meta, keys::META_IDENTITY, &encode_identity(identity));
        store.commit(&batch, Durability::Sync)?;
        Ok(())
    }

    /// Opens the log in a store.
    ///
    /// # Errors
    /// [`OpenError::NotInitialised`] for a store without a cortex; a store that does not fit together is damaged.
    pub fn open(store: Arc<dyn Store>, options: LogOptions) -> Result<Self, OpenError> {
        let loaded = load(&*store)?;
        let identity = loaded.identity.ok_or(OpenError::NotInitialised)?;
        // What is there may only be visible, left by a process that died before its sync: it is served as durable from
        // here on, so it must be.
        store.sync()?;
        let heads = loaded
            .chains
            .iter()
            .map(|(&origin, chain)| (origin, ChainHead { counter: chain.counter, digest: chain.digest }));
        let durable = Durable { head: loaded.head, chains: heads.collect() };
        let view = LogView::new(store, options.process, identity.clone(), durable);
        Ok(Self::assemble(view, options, identity, loaded.chains, loaded.head, loaded.last_id))
    }
}
