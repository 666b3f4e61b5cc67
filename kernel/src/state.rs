//! A federation's state about its peers: raw by key, or typed, and both reach the same data.

mod free;
mod peer_state;

use std::sync::Arc;

use crate::blocking::blocking;
use crate::clock::VClock;
use crate::codec::{encode_cursor, encode_failure, encode_health, encode_timestamp};
use crate::config::PeerMode;
use crate::cursor::Cursor;
use crate::error_code::ErrorCode;
use crate::event::Draft;
use crate::health::PeerHealth;
use crate::ids::{CortexId, PeerName};
use crate::log::{
    AppendError, Appended, CausalContext, LogHandle, Pin, exclusions, put_pin, read_cursor, read_failure, read_health,
    read_pin, read_pins, read_seen,
};
pub use crate::machine::{Lag, Phase};
use crate::store::{Batch, Family, StoreError, keys};
use crate::time::Timestamp;
pub(crate) use internals::*;
pub use peer_state::{PeerState, Received};

pub(crate) mod internals {
    pub use super::free::{free_keys, read_free};
}

/// The key of a peer's pinned identity: `peer:<name>:cortex_id`.
#[must_use]
pub fn peer_cortex_id_key(name: &PeerName) -> String {
    format!("peer:{name}:cortex_id")
}

/// The key of a peer's cursor: `peer:<name>:last_event`.
#[must_use]
pub fn peer_cursor_key(name: &PeerName) -> String {
    format!("peer:{name}:last_event")
}

/// The key of when a peer was last reached: `peer:<name>:last_seen`.
#[must_use]
pub fn peer_seen_key(name: &PeerName) -> String {
    format!("peer:{name}:last_seen")
}

/// Why state was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The value does not have the form that its key demands.
    #[error("`{key}` takes {form}")]
    Value {
        /// The key.
        key: String,
        /// What it takes.
        form: &'static str,
    },
    /// The key is empty or longer than 256 bytes, or begins with `peer:` without being a peer's.
    #[error("`{key}` is not a key: use 1 to 256 bytes, and `peer:` only for the keys of peers")]
    Key {
        /// The key.
        key: String,
    },
    /// The key of the clock is another one.
    #[error("`{key}` is not a key here: the clock is at `clock`, and moves only by appending and ingesting events")]
    ClockKey {
        /// The key.
        key: String,
    },
    /// The clock says other than what is held, and a clock *is* what is held.
    #[error("the clock differs from what the log holds; it moves only by appending and ingesting events")]
    ClockNotHeld,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StateError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Value { .. } => ErrorCode::StateValue,
            Self::Key { .. } => ErrorCode::StateKey,
            Self::ClockKey { .. } => ErrorCode::StateClockKey,
            Self::ClockNotHeld => ErrorCode::StateClockNotHeld,
            Self::Store(error) => error.code(),
        }
    }
}

/// Why drafts were not appended together with a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendAndSetError {
    /// The key cannot be set so.
    #[error(transparent)]
    State(#[from] StateError),
    /// The drafts cannot be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl AppendAndSetError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::State(error) => error.code(),
            Self::Append(error) => error.code(),
        }
    }
}

/// Reads and writes what is kept about peers, and an application's own small values. What is not `async` reads the store on
/// the caller's thread: within a runtime, call it on one that may block.
///
/// ```
/// use antiphon_kernel::Cortex;
/// use antiphon_kernel::testing::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let state = cortex.state();
/// state.set("theme", "dark").await?;
/// assert_eq!(state.get("theme")?.as_deref(), Some("dark"));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct State {
    log: LogHandle,
}

enum Key {
    Pin(PeerName),
    Cursor(PeerName),
    Seen(PeerName),
    Clock,
    Free,
}

fn parse(key: &str) -> Result<Key, StateError> {
    let fault = || StateError::Key { key: key.chars().take(80).collect() };
    if key.is_empty() || key.len() > 256 {
        return Err(fault());
    }
    if key == "clock" {
        return Ok(Key::Clock);
    }
    // Its name elsewhere. As an application's own value it would be one that nothing keeps true.
    if matches!(key, "vclock" | "vector_clock") {
        return Err(StateError::ClockKey { key: key.to_owned() });
    }
    let Some(rest) = key.strip_prefix("peer:") else { return Ok(Key::Free) };
    let (name, field) = rest.split_once(':').ok_or_else(fault)?;
    let name = PeerName::new(name).map_err(|_| fault())?;
    match field {
        "cortex_id" => Ok(Key::Pin(name)),
        "last_event" => Ok(Key::Cursor(name)),
        "last_seen" => Ok(Key::Seen(name)),
        _ => Err(fault()),
    }
}

impl State {
    /// The state that is kept with this log.
    #[must_use]
    pub const fn new(log: LogHandle) -> Self {
        Self { log }
    }

    fn store(&self) -> &dyn crate::store::Store {
        &**self.log.reader().store()
    }

    /// The value at a key, as text; `None` if there is none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn get(&self, key: &str) -> Result<Option<String>, StateError> {
        Ok(match parse(key)? {
            Key::Pin(name) => read_pin(self.store(), &name)?.map(|pin| pin.cortex_id.to_string()),
            Key::Cursor(name) => read_cursor(self.store(), &name)?.map(|cursor| cursor.to_string()),
            Key::Seen(name) => read_seen(self.store(), &name)?.map(|time| time.to_string()),
            Key::Clock => Some(self.clock().to_string()),
            Key::Free => read_free(self.store(), key)?,
        })
    }

    /// Sets the value at a key. Keys of peers take the text forms of their types.
    ///
    /// # Errors
    /// [`StateError::Value`] where the text has not the form that the key demands.
    pub async fn set(&self, key: &str, value: &str) -> Result<(), StateError> {
        let form = |form| StateError::Value { key: key.to_owned(), form };
        match parse(key)? {
            Key::Pin(name) => {
                self.set_peer_cortex_id(&name, value.parse().map_err(|_| form("a cortex id, a ULID"))?).await
            }
            Key::Cursor(name) => {
                self.set_peer_cursor(&name, value.parse().map_err(|_| form("a cursor, epoch-place-ULID"))?).await
            }
            Key::Seen(name) => self.set_peer_seen(&name, value.parse().map_err(|_| form("an RFC 3339 time"))?).await,
            Key::Clock => Err(StateError::ClockNotHeld),
            Key::Free => self.put(Family::Meta, &keys::state(key), value.as_bytes()).await,
        }
    }

    /// Appends drafts, and sets the value of one of the application's own keys together with them: after a crash both are
    /// there or neither is.
    ///
    /// # Errors
    /// [`AppendError`]; [`StateError::Key`] for a key that is not an application's own. Then nothing was written.
    pub async fn append_and_set(
        &self,
        drafts: Vec<Draft>,
        context: CausalContext,
        key: &str,
        value: &str,
    ) -> Result<Vec<Appended>, AppendAndSetError> {
        let Key::Free = parse(key)? else { return Err(StateError::Key { key: key.to_owned() }.into()) };
        let mut changes = Batch::new();
        changes.put(Family::Meta, &keys::state(key), value.as_bytes());
        Ok(self.log.append_with(drafts, context, changes).await?)
    }

    /// Deletes the value at a key; one that is not there is no error.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn delete(&self, key: &str) -> Result<(), StateError> {
        let mut changes = Batch::new();
        match parse(key)? {
            Key::Pin(name) => changes.delete(Family::Pins, keys::peer(&name)),
            Key::Cursor(name) => changes.delete(Family::Cursors, &keys::peer_cursor(&name)),
            Key::Seen(name) => changes.delete(Family::Cursors, &keys::peer_seen(&name)),
            Key::Clock => return Err(StateError::ClockNotHeld),
            Key::Free => changes.delete(Family::Meta, &keys::state(key)),
        }
        Ok(self.log.write_state(changes).await?)
    }

    /// What is durably held.
    #[must_use]
    pub fn clock(&self) -> VClock {
        self.log.reader().clock()
    }

    /// Accepts a clock that equals what is held. The reference kept its clock apart from its events and let the two
    /// drift; here the clock is what the log holds, so any other value is refused.
    ///
    /// # Errors
    /// [`StateError::ClockNotHeld`].
    pub fn set_clock(&self, clock: &VClock) -> Result<(), StateError> {
        if *clock == self.clock() { Ok(()) } else { Err(StateError::ClockNotHeld) }
    }

    /// What is kept about a peer, contacted or not. Lag is not kept: it is known only while the peer is pulled.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn peer_state(&self, name: &PeerName, endpoint: &str) -> Result<PeerState, StateError> {
        let cursor = read_cursor(self.store(), name)?;
        let pin = read_pin(self.store(), name)?;
        let cortex_id = pin.map(|pin| pin.cortex_id);
        Ok(PeerState {
            key_statement: pin.map_or(0, |pin| pin.statement),
            last_seen: read_seen(self.store(), name)?,
            last_event: cursor.filter(|c| c.seq.get() > 0).map(|c| c.last_event),
            withheld: cortex_id.map(|cortex| self.log.reader().withheld_from(cortex)).unwrap_or_default(),
            cortex_id,
            cursor,
            health: read_health(self.store(), name)?,
            detail: read_failure(self.store(), name)?,
            excluded: exclusions(self.store(), name)?,
            ..PeerState::unknown(name.clone(), endpoint, PeerMode::Sync)
        })
    }

    /// Pins a peer's identity.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn set_peer_cortex_id(&self, name: &PeerName, cortex_id: CortexId) -> Result<(), StateError> {
        let mut changes = Batch::new();
        put_pin(&mut changes, name, &Pin::of_id(cortex_id, Timestamp::now()));
        Ok(self.log.write_state(changes).await?)
    }

    /// Pins a peer's identity, at the first contact or with a newer key statement. Where a name that is not among `configured` is
    /// pinned to the same cortex, the peer was renamed: what is kept under that name goes. The pin is as old as it was. Returns such
    /// names.
    pub(crate) async fn pin(
        &self,
        name: &PeerName,
        pin: Pin,
        configured: &[PeerName],
    ) -> Result<Vec<PeerName>, StateError> {
        let store = Arc::clone(self.log.reader().store());
        let mut pins = blocking(move || read_pins(&*store)).await?;
        pins.retain(|(other, old)| old.cortex_id == pin.cortex_id && (other == name || !configured.contains(other)));
        let since = pins.iter().map(|(_, old)| old.since).min().unwrap_or(pin.since);
        pins.retain(|(other, _)| other != name);
        let mut changes = Batch::new();
        put_pin(&mut changes, name, &Pin { since, ..pin });
        pins.iter().for_each(|(other, _)| forget(&mut changes, other));
        self.log.write_state(changes).await?;
        Ok(pins.into_iter().map(|(other, _)| other).collect())
    }

    /// Sets a peer's cursor.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn set_peer_cursor(&self, name: &PeerName, cursor: Cursor) -> Result<(), StateError> {
        self.put(Family::Cursors, &keys::peer_cursor(name), &encode_cursor(&cursor)).await
    }

    /// Sets when a peer was last reached.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn set_peer_seen(&self, name: &PeerName, time: Timestamp) -> Result<(), StateError> {
        self.put(Family::Cursors, &keys::peer_seen(name), &encode_timestamp(time)).await
    }

    /// Keeps a peer's health, with what exactly failed, and with a success when it was last reached.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) async fn set_health(
        &self,
        name: &PeerName,
        health: &PeerHealth,
        detail: Option<&str>,
    ) -> Result<(), StateError> {
        let mut changes = Batch::new();
        match detail {
            Some(detail) => changes.put(Family::Cursors, &keys::peer_failure(name), &encode_failure(detail)),
            None => changes.delete(Family::Cursors, &keys::peer_failure(name)),
        }
        changes.put(Family::Health, keys::peer(name), &encode_health(health));
        // The wall clock may have been set back.
        let (store, peer) = (Arc::clone(self.log.reader().store()), name.clone());
        let seen = blocking(move || read_seen(&*store, &peer)).await?;
        if let Some(time) = health.last_success.max(seen) {
            changes.put(Family::Cursors, &keys::peer_seen(name), &encode_timestamp(time));
        }
        Ok(self.log.write_state(changes).await?)
    }

    /// Forgets pin, cursor, last contact and health of a peer that may never have been contacted.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn reset_peer(&self, name: &PeerName) -> Result<(), StateError> {
        let mut changes = Batch::new();
        forget(&mut changes, name);
        Ok(self.log.write_state(changes).await?)
    }

    /// Whether anything is kept about a peer, configured or not.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn knows(&self, name: &PeerName) -> Result<bool, StateError> {
        let (store, key) = (self.store(), keys::peer(name));
        Ok(store.get(Family::Pins, key)?.is_some()
            || store.get(Family::Health, key)?.is_some()
            || store.get(Family::Cursors, &keys::peer_cursor(name))?.is_some()
            || store.get(Family::Cursors, &keys::peer_seen(name))?.is_some())
    }

    async fn put(&self, family: Family<'_>, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let mut changes = Batch::new();
        changes.put(family, key, value);
        Ok(self.log.write_state(changes).await?)
    }
}

/// Adds to a batch that nothing is kept about a peer.
fn forget(changes: &mut Batch, name: &PeerName) {
    changes.delete(Family::Pins, keys::peer(name));
    changes.delete(Family::Cursors, &keys::peer_cursor(name));
    changes.delete(Family::Cursors, &keys::peer_seen(name));
    changes.delete(Family::Cursors, &keys::peer_failure(name));
    changes.delete(Family::Cursors, &keys::peer_exclusions(name));
    changes.delete(Family::Health, keys::peer(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cortex::Cortex;
    use crate::testing::MemoryStore;

    #[tokio::test]
    async fn when_a_peer_was_last_seen_is_kept_although_the_clock_is_set_back() {
        let cortex = Cortex::builder(Arc::new(MemoryStore::new())).start().await.unwrap();
        let (state, name) = (cortex.state(), PeerName::new("bravo").unwrap());
        for (success, kept) in [(50, 50), (20, 50), (60, 60)] {
            let health = PeerHealth { last_success: Some(Timestamp::from_micros(success)), ..PeerHealth::default() };
            state.set_health(&name, &health, None).await.unwrap();
            let seen = state.peer_state(&name, "").unwrap().last_seen;
            assert_eq!(seen, Some(Timestamp::from_micros(kept)));
        }
        assert!(state.knows(&name).unwrap());
        state.reset_peer(&name).await.unwrap();
        assert!(!state.knows(&name).unwrap());
        cortex.stop().await;
    }

    /// After a restart an operator saw the kind of the failure, and not the reason.
    #[tokio::test]
    async fn what_exactly_failed_is_kept_across_restarts_until_it_is_over() {
        let (store, name) = (Arc::new(MemoryStore::new()), PeerName::new("bravo").unwrap());
        let health = PeerHealth::default();
        for (failure, after) in [(Some("it is busy"), Some("it is busy")), (None, None)] {
            let cortex = Cortex::builder(store.clone()).start().await.unwrap();
            cortex.state().set_health(&name, &health, failure).await.unwrap();
            cortex.stop().await;
            let cortex = Cortex::builder(store.clone()).start().await.unwrap();
            assert_eq!(cortex.state().peer_state(&name, "").unwrap().detail.as_deref(), after);
            cortex.stop().await;
        }
    }
}
