//! Making a log, and opening one.

use std::sync::Arc;

use super::LocalIdentity;
use super::core::{Log, LogOptions};
use super::entry::damaged;
use super::epoch::put_epoch;
use super::epoch_change::{EpochEnd, read_epoch_change};
use super::forks::read_withheld;
use super::load::{FORMAT, Loaded, load, load_head, moved_to, or_newer};
use super::log_reader::LogReader;
use super::minted::{last_id_within, migrate, put_minted};
use super::segments::stored_seq;
use super::shared::Durable;
use super::shared::Shared;
use crate::codec::{decode_identity, decode_noted_head, encode_identity, encode_noted_head};
use crate::cursor::Seq;
use crate::entropy;
use crate::error_code::ErrorCode;
use crate::identity::{InvalidStatement, KeyError, SharedSigner, Signer};
use crate::ids::{CortexId, Epoch, LogId};
use crate::store::{Batch, Durability, Family, Store, StoreError, keys};
use crate::time::Timestamp;

/// Why a log could not be made or opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no identity in the store.
    #[error("the store holds no cortex yet")]
    NotInitialised,
    /// There already is one.
    #[error("the store already holds cortex {0}")]
    AlreadyInitialised(CortexId),
    /// The cortex has no keys here.
    #[error(
        "there are no keys{}: the store keeps none, and none were given. Give the cortex its keys",
        .0.map(|cortex| format!(" of cortex {cortex}")).unwrap_or_default()
    )]
    NoKeys(Option<CortexId>),
    /// The keys are another cortex's.
    #[error("the store holds cortex {store}, and the keys are those of cortex {keys}. Give the keys of cortex {store}")]
    OtherKeys {
        /// The cortex whose log is in the store.
        store: CortexId,
        /// The cortex that the keys are of.
        keys: CortexId,
    },
    /// The keys cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The signer's key statement does not hold.
    #[error(transparent)]
    Statement(#[from] InvalidStatement),
    /// The store's cortex belongs to another log than the one that was given.
    #[error("the store belongs to log {stored}, and log {given} was given")]
    OtherLog {
        /// The log in the store.
        stored: LogId,
        /// The log that was given.
        given: LogId,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotInitialised => ErrorCode::OpenNotInitialised,
            Self::AlreadyInitialised(_) => ErrorCode::OpenAlreadyInitialised,
            Self::NoKeys(_) => ErrorCode::IdentityKeysMissing,
            Self::OtherKeys { .. } => ErrorCode::IdentityOtherCortex,
            Self::Keys(error) => error.code(),
            Self::Statement(error) => error.code(),
            Self::OtherLog { .. } => ErrorCode::OpenOtherLog,
            Self::Store(error) => error.code(),
        }
    }
}

impl Log {
    /// Makes the log of a new cortex in an empty store. The id comes from its keys: those given, or those that the store creates. The
    /// first epoch is random.
    ///
    /// # Errors
    /// [`OpenError::AlreadyInitialised`], [`OpenError::NoKeys`], [`OpenError::Keys`], or the store's failure.
    pub fn begin(store: &dyn Store, name: &str, keys: Option<&Arc<dyn Signer>>) -> Result<LocalIdentity, OpenError> {
        Self::begin_in(store, name, keys, None)
    }

    /// As [`Log::begin`], for a cortex that belongs to this log; without one it belongs to none yet.
    ///
    /// # Errors
    /// As [`Log::begin`].
    pub fn begin_in(
        store: &dyn Store,
        name: &str,
        keys: Option<&Arc<dyn Signer>>,
        log: Option<LogId>,
    ) -> Result<LocalIdentity, OpenError> {
        // First: keys of a cortex that is there must not be looked for as if it were new.
        if let Some(existing) = load(store)?.identity {
            return Err(OpenError::AlreadyInitialised(existing.cortex_id));
        }
        let keys = match keys {
            Some(keys) => Arc::clone(keys),
            None => store.create_keys()?.ok_or(OpenError::NoKeys(None))?,
        };
        keys.statement().verify()?;
        let epoch = Epoch::new(entropy::random() as u64);
        let identity = LocalIdentity { log, ..LocalIdentity::new(keys.statement().cortex(), epoch, name.to_owned()) };
        Self::create(store, &identity)?;
        Ok(identity)
    }

    /// Makes a log in an empty store, for a cortex whose keys exist: writes the format and who this cortex is, durably.
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
        if let Some(place) = store.fingerprint()? {
            batch.put(Family::Meta, keys::META_PLACE, &place);
        }
        store.commit(&batch, Durability::Sync)?;
        Ok(())
    }

    /// Looks into the log in a store without writing to it: for a copy that nobody runs on.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn look(store: Arc<dyn Store>) -> Result<LogReader, OpenError> {
        let loaded = load(&*store)?;
        let identity = loaded.identity.ok_or(OpenError::NotInitialised)?;
        let durable = Durable::of(identity, loaded.head, &loaded.chains, 0);
        let withheld = or_newer("forks", read_withheld(&*store))?;
        let view = LogReader::over(Shared::new(
            store,
            LogOptions::default().process,
            durable,
            loaded.pinned,
            loaded.origins,
            loaded.statements,
        ));
        view.shared.set_withheld(withheld);
        view.shared.debts.begin(loaded.owed);
        Ok(view)
    }

    /// Opens the log in a store. A store that lost the end of its log continues under a new epoch: a peer may hold more of the old
    /// one. One that is in another place than it was written in does so with its first own event: a volume that only moved, and
    /// comes back before that, keeps its epoch.
    ///
    /// # Errors
    /// [`OpenError::NotInitialised`] for a store without a cortex; [`OpenError::NoKeys`], [`OpenError::OtherKeys`],
    /// [`OpenError::Keys`] without the keys of its cortex; [`OpenError::OtherLog`] where the options give another log than the
    /// store's; a store that does not fit together is damaged.
    pub fn open(store: Arc<dyn Store>, mut options: LogOptions) -> Result<Self, OpenError> {
        let mut loaded = load(&*store)?;
        let mut identity = loaded.identity.clone().ok_or(OpenError::NotInitialised)?;
        let keys = keys_of(&*store, options.keys.take(), identity.cortex_id)?;
        identity.signer = Some(SharedSigner::new(Arc::clone(&keys)));
        options.keys = Some(keys);
        if let (Some(stored), Some(given)) = (identity.log, options.log)
            && stored != given
        {
            return Err(OpenError::OtherLog { stored, given });
        }
        identity.protocols = options.protocols;
        // What is there may only be visible, left by a process that died before its sync: it is served as durable from
        // here on, so it must be.
        store.sync()?;
        let moved = settle(&*store, &mut identity, &mut loaded, &mut options)?;
        loaded.ended = or_newer("change of epoch", read_epoch_change(&*store))?;
        store.note(&encode_noted_head(identity.epoch, loaded.head.seq), Durability::Relaxed);
        let durable = Durable::of(identity.clone(), loaded.head, &loaded.chains, 0);
        let withheld = or_newer("forks", read_withheld(&*store))?;
        let view = LogReader::over(Shared::new(
            store,
            options.process,
            durable,
            loaded.pinned.clone(),
            loaded.origins.clone(),
            std::mem::take(&mut loaded.statements),
        ));
        view.shared.set_withheld(withheld);
        Ok(Self::assemble(view, options, identity, loaded, moved))
    }
}

/// The keys of the cortex whose log is in a store.
fn keys_of(store: &dyn Store, given: Option<Arc<dyn Signer>>, cortex: CortexId) -> Result<Arc<dyn Signer>, OpenError> {
    let keys = match given {
        Some(keys) => keys,
        None => store.keys()?.ok_or(OpenError::NoKeys(Some(cortex)))?,
    };
    keys.statement().verify()?;
    match keys.statement().cortex() {
        of if of == cortex => Ok(keys),
        of => Err(OpenError::OtherKeys { store: cortex, keys: of }),
    }
}

/// How many sequence numbers at the end of the log in a store are missing that were noted as durable, by [`Store::note`]. What was
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
    let previous = read_epoch_change(store)?.is_some_and(|change| change.from == epoch);
    Ok(previous.then_some(0))
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
    let previous = read_epoch_change(store)?.map(|change| change.from);
    let lost =
        noted.filter(|&(epoch, seq)| if epoch == identity.epoch { seq > head.seq } else { Some(epoch) != previous });
    if let Some((_, seq)) = lost {
        tracing::error!(had = seq.get(), has = head.seq.get(), "the log lost its end: peers may still hold it");
    } else if store.lost_end() {
        tracing::error!(
            code = %ErrorCode::OpenLostEnd,
            "the store lost the end of what was written to it: what was decided or pinned last is gone"
        );
    }
    let working = options.keys.as_ref().map(|keys| keys.statement().working());
    let own = loaded.chains.get(&identity.origin());
    let other_key = own.is_some_and(|own| working.is_some_and(|working| own.start.key != working));
    let why = match () {
        () if options.restored => Some(EpochEnd::Restored),
        () if lost.is_none() && !store.lost_end() => other_key.then_some(EpochEnd::NewKey),
        () if moved.is_some() => Some(EpochEnd::Copied),
        () => Some(EpochEnd::LostTail),
    };
    if let Some(why) = why {
        let next = Epoch::new((options.entropy)() as u64);
        let own = loaded.chains.get(&identity.origin()).map(|chain| (identity.origin(), chain.counter));
        let shared = match own {
            // What it was copied from may have gone on since: sure is what was before the last own event.
            Some((own, counter)) if why == EpochEnd::Copied => {
                stored_seq(store, own, counter)?.unwrap_or(Seq::ZERO).max(loaded.lineage.begun())
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
    if let (None, Some(given)) = (identity.log, options.log) {
        identity.log = Some(given);
        changes.put(Family::Meta, keys::META_IDENTITY, &encode_identity(identity));
    }
    let moved = moved.filter(|_| why.is_none());
    if moved.is_some() {
        tracing::info!("these data were written in another place; the next own event begins a new epoch");
    } else if let (Some(here), before) = (store.fingerprint()?, store.get(Family::Meta, keys::META_PLACE)?)
        && before.as_ref() != Some(&here)
    {
        changes.put(Family::Meta, keys::META_PLACE, &here);
    }
    if !changes.is_empty() {
        store.commit(&changes, Durability::Sync)?;
    }
    Ok(moved)
}
