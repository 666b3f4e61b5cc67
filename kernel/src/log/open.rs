//! Making a log, and opening one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::core::{Log, LogOptions};
use super::entry::{damaged, record_at, stored_dot};
use super::epoch::{EpochEnd, put_epoch};
use super::forks::{Decisions, decisions, read_withheld};
use super::lineage::Lineage;
use super::minted::{Minted, last_id_within, migrate, minted, put_minted};
use super::origins::{OriginNotes, read_origin_notes};
use super::peers::{Pinned, read_pinned};
use super::rejoin::waiting_origins;
use super::shared::Durable;
use super::view::LogView;
use super::{LocalIdentity, LogHead};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{
    EventView, StoredChain, decode_chain, decode_identity, decode_log_entry, decode_noted_head, encode_identity,
    encode_noted_head,
};
use crate::cursor::Seq;
use crate::ids::{Epoch, EventId, Origin};
use crate::store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind, keys};
use crate::time::Timestamp;

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
    pub(super) lineage: Lineage,
    pub(super) chains: BTreeMap<Origin, StoredChain>,
    pub(super) head: LogHead,
    pub(super) last_id: EventId,
    pub(super) decisions: Decisions,
    pub(super) waiting: BTreeSet<Origin>,
    pub(super) minted: Minted,
    pub(super) pinned: Pinned,
    pub(super) origins: OriginNotes,
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
            "the chains count {held} events and the log has {}; `antiphon verify --repair` keeps what is whole",
            head.seq
        )));
    }
    let last_id = read_last_id(store)?;
    let (decisions, waiting, lineage) = (decisions(store)?, waiting_origins(store)?, Lineage::read(store)?);
    let minted = identity.as_ref().map(|identity| minted(store, identity)).transpose()?.unwrap_or_default();
    let (pinned, origins) =
        (or_newer("pins", read_pinned(store))?, or_newer("notes of origins", read_origin_notes(store))?);
    Ok(Loaded { identity, lineage, chains, head, last_id, decisions, waiting, minted, pinned, origins })
}

/// What the log can do without: damage to it is reported, and keeps no node from starting.
pub(super) fn or_none<T: Default>(what: &str, read: Result<T, StoreError>) -> T {
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "the {what} cannot be read; run `antiphon verify`");
        T::default()
    })
}

/// [`or_none`], but fails if a newer version wrote it: this one would write over what it cannot read.
fn or_newer<T: Default>(what: &str, read: Result<T, StoreError>) -> Result<T, StoreError> {
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
        Ok(format) if format > FORMAT => Err(StoreError::new(
            StoreErrorKind::NewerFormat,
            format!("its format is {format}, this build reads up to {FORMAT}; nothing was changed, use that version"),
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
                "the tip of {origin} is missing or differs; `antiphon verify --repair` keeps what is whole"
            )));
        }
    }
    Ok(chains)
}

fn load_head(store: &dyn Store) -> Result<LogHead, StoreError> {
    let Some((key, value)) = store.last(Family::Log, &[])? else { return Ok(LogHead::EMPTY) };
    let seq = keys::seq_of_log(&key).ok_or_else(|| StoreError::corrupt("family `log`: a key is not a place"))?;
    let (time, record) = decode_log_entry(&value).map_err(|e| damaged(Family::Log, &e))?;
    let (last_event, _) = EventView::decode_dot(record).map_err(|fault| record_at(seq, &fault))?;
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
        put_minted(&mut batch, identity.epoch, Timestamp::now());
        if let Some(place) = store.place()? {
            batch.put(Family::Meta, keys::META_PLACE, &place);
        }
        store.commit(&batch, Durability::Sync)?;
        Ok(())
    }

    /// Looks into the log in a store without writing to it: for a copy that nobody runs on.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn look(store: Arc<dyn Store>) -> Result<LogView, OpenError> {
        let loaded = load(&*store)?;
        let identity = loaded.identity.ok_or(OpenError::NotInitialised)?;
        let durable = Durable::of(identity, loaded.head, &loaded.chains, 0);
        let withheld = or_newer("forks", read_withheld(&*store))?;
        let view = LogView::new(store, LogOptions::default().process, durable, loaded.pinned, loaded.origins);
        view.shared.set_withheld(withheld);
        Ok(view)
    }

    /// Opens the log in a store. A store that lost the end of its log continues under a new epoch: a peer may hold more of the old
    /// one. One that is in another place than it was written in does so with its first own event: a volume that only moved, and
    /// comes back before that, keeps its epoch.
    ///
    /// # Errors
    /// [`OpenError::NotInitialised`] for a store without a cortex; a store that does not fit together is damaged.
    pub fn open(store: Arc<dyn Store>, mut options: LogOptions) -> Result<Self, OpenError> {
        let mut loaded = load(&*store)?;
        let mut identity = loaded.identity.clone().ok_or(OpenError::NotInitialised)?;
        // What is there may only be visible, left by a process that died before its sync: it is served as durable from
        // here on, so it must be.
        store.sync()?;
        let moved = settle(&*store, &mut identity, &mut loaded, &mut options)?;
        store.note(&encode_noted_head(identity.epoch, loaded.head.seq), Durability::Relaxed);
        let durable = Durable::of(identity.clone(), loaded.head, &loaded.chains, 0);
        let withheld = or_newer("forks", read_withheld(&*store))?;
        let view = LogView::new(store, options.process, durable, loaded.pinned.clone(), loaded.origins.clone());
        view.shared.set_withheld(withheld);
        Ok(Self::assemble(view, options, identity, loaded, moved))
    }
}

/// How many places at the end of the log in a store are missing that were noted as durable, by [`Store::note`]. What was
/// written after the last note that reached the disk is not among them. `None` where the note says nothing of these data:
/// it is not whole, or of an epoch that they do not know.
///
/// # Errors
/// [`StoreError`] where the store cannot be read.
pub fn missing_of_noted(store: &dyn Store, noted: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some((epoch, seq)) = decode_noted_head(noted) else { return Ok(None) };
    let identity = store.get(Family::Meta, keys::META_IDENTITY)?;
    let identity = identity.map(|b| decode_identity(&b).map_err(|e| damaged(Family::Meta, &e))).transpose()?;
    let Some(identity) = identity else { return Ok(None) };
    if identity.epoch == epoch {
        return Ok(Some(seq.get().saturating_sub(load_head(store)?.seq.get())));
    }
    // Noted before the change of epoch, which is there: so is everything before it.
    let previous = super::epoch::read_epoch_change(store)?.is_some_and(|change| change.from == epoch);
    Ok(previous.then_some(0))
}

/// Where these data are now, if that is another place than the one that they were written in: they are a copy, or a volume that was
/// moved to another machine.
pub(super) fn moved_to(store: &dyn Store) -> Result<Option<Vec<u8>>, StoreError> {
    let before = store.get(Family::Meta, keys::META_PLACE)?;
    Ok(store.place()?.filter(|here| before.is_some_and(|before| before != *here)))
}

/// Finds out whether these data are the ones that were written here, up to their end. Returns where they are, if they were written
/// elsewhere and nothing else has begun a new epoch.
fn settle(
    store: &dyn Store,
    identity: &mut LocalIdentity,
    loaded: &mut Loaded,
    options: &mut LogOptions,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (head, now) = (loaded.head, Timestamp::now());
    let mut changes = Batch::new();
    migrate(store, &loaded.minted, now, &mut changes)?;
    let moved = moved_to(store)?;
    let noted = store.noted().and_then(|bytes| decode_noted_head(&bytes));
    // A note of the epoch before this one was written before the change; one of any other was written after these data.
    let previous = super::epoch::read_epoch_change(store)?.map(|change| change.from);
    let lost =
        noted.filter(|&(epoch, seq)| if epoch == identity.epoch { seq > head.seq } else { Some(epoch) != previous });
    if let Some((_, seq)) = lost {
        tracing::error!(had = seq.get(), has = head.seq.get(), "the log lost its end: peers may still hold it");
    } else if store.lost_end() {
        tracing::error!(
            "the store lost the end of what was written to it: what was decided or pinned last is gone, such as \
             `fork resolve`, `set-mode` or a first contact; look at `antiphon status` and say it again"
        );
    }
    let why = match () {
        () if options.restored => Some(EpochEnd::Restored),
        () if lost.is_none() && !store.lost_end() => None,
        () if moved.is_some() => Some(EpochEnd::Copied),
        () => Some(EpochEnd::LostTail),
    };
    if let Some(why) = why {
        let next = Epoch::new((options.entropy)() as u64);
        let own = loaded.chains.get(&identity.origin()).map(|chain| (identity.origin(), chain.counter));
        let shared = match own {
            // What it was copied from may have gone on since: sure is what was before the last own event.
            Some((own, counter)) if why == EpochEnd::Copied => {
                stored_dot(store, own, counter)?.map_or(Seq::ZERO, |dot| dot.seq).max(loaded.lineage.begun())
            }
            None if why == EpochEnd::Copied => loaded.lineage.begun(),
            _ => head.seq,
        };
        put_epoch(&mut changes, (identity, &mut loaded.lineage), next, (why, shared), now);
        loaded.minted.insert(identity.epoch);
        let last = last_id_within(loaded.last_id, now);
        if last != std::mem::replace(&mut loaded.last_id, last) {
            changes.put(Family::Meta, keys::META_LAST_ID, &last.to_bytes());
        }
    }
    let moved = moved.filter(|_| why.is_none());
    if moved.is_some() {
        tracing::info!("these data were written in another place; the next own event begins a new epoch");
    } else if let (Some(here), before) = (store.place()?, store.get(Family::Meta, keys::META_PLACE)?)
        && before.as_ref() != Some(&here)
    {
        changes.put(Family::Meta, keys::META_PLACE, &here);
    }
    if !changes.is_empty() {
        store.commit(&changes, Durability::Sync)?;
    }
    Ok(moved)
}
