//! Events that are parked: how they are set aside, tried again and skipped.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, ReplayCore, found, unreadable};
use crate::codec::{StoredParked, decode_parked, encode_parked, encode_skipped};
use crate::cursor::{Cursor, Seq};
use crate::error_code::ErrorCode;
use crate::log::{CursorUnknown, FilledSince, ReadError};
use crate::replay::Projection;
use crate::replay::parked::{Parked, parked_in};
use crate::store::{Batch, Family, StoreError, keys};
use crate::time::Timestamp;

/// Why an event was not skipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipError {
    /// It is neither parked nor the next one.
    #[error("the event at cursor {at} is neither parked nor the next to replay")]
    NotWaiting {
        /// Its cursor.
        at: Cursor,
    },
    /// The cursor is of another history: its sequence number may have another event now.
    #[error(transparent)]
    CursorUnknown(#[from] CursorUnknown),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SkipError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotWaiting { .. } => ErrorCode::ReplayNotWaiting,
            Self::CursorUnknown(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

impl From<ReadError> for SkipError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::CursorUnknown(unknown) => Self::CursorUnknown(unknown),
            ReadError::Store(error) => Self::Store(error),
        }
    }
}

impl ReplayCore {
    /// Parks the event at a sequence number: its subject, the number of tries, the failure, its full clock.
    pub(super) fn park(&self, seq: Seq, mut why: StoredParked, projection: &mut Projection<'_>) {
        why.2 = bounded(&why.2);
        projection.put_own(keys::replay_parked(self.name(), self.build, seq), Some(encode_parked(&why)));
    }

    /// Tries the events again that were parked because they could not be read, and that were filled since this was last called.
    /// When it is called first, all of them.
    pub(super) fn retry_filled(&mut self) -> Result<(), StoreError> {
        if self.is_suspect() {
            // Its next event is parked first, or a filled one would be taken for the suspect.
            return Ok(());
        }
        // Before anything is read: what is filled meanwhile is tried at the next call.
        let FilledSince { now, seqs } = self.view.filled_since(self.filled);
        if now != self.filled && self.parked > 0 && seqs.as_ref().is_none_or(|seqs| !seqs.is_empty()) {
            self.retry_unread(seqs.map(BTreeSet::from_iter).as_ref())?;
        }
        self.filled = now;
        Ok(())
    }

    fn retry_unread(&mut self, filled: Option<&BTreeSet<Seq>>) -> Result<(), StoreError> {
        let families = std::mem::take(&mut self.families);
        let unread = parked_in(&**self.view.store(), self.name(), self.build);
        let result = unread.and_then(|unread| {
            let is_unread = |event: &&Parked| event.tries == 0 && event.subject.is_none();
            let is_filled = |event: &&Parked| filled.is_none_or(|filled| filled.contains(&event.seq));
            unread.iter().filter(is_unread).filter(is_filled).try_for_each(|event| {
                // One that cannot be read yet stays as it is.
                self.retry_one(event, &families).map(|_| ())
            })
        });
        self.families = families;
        result.and_then(|()| self.load())
    }

    /// Tries parked events again, those of one subject or all, in order; a subject's first failure leaves the rest of it
    /// parked. Returns how many were replayed. The event that halts replay, if there is one, is merely freed of suspicion.
    ///
    /// # Errors
    /// [`StoreError`]; then [`ReplayCore::load`] reads the truth again.
    pub fn retry(&mut self, subject: Option<&str>) -> Result<usize, StoreError> {
        self.be_current()?;
        self.tries = self.tries.min(1);
        let waiting = parked_in(&**self.view.store(), self.name(), self.build)?;
        let wanted = waiting.into_iter().filter(|event| subject.is_none() || event.subject.as_deref() == subject);
        let families = std::mem::take(&mut self.families);
        let (mut failed, mut replayed) = (BTreeSet::new(), 0);
        let result = wanted.into_iter().try_for_each(|event| {
            if event.subject.as_ref().is_some_and(|subject| failed.contains(subject)) {
                return Ok(());
            }
            let ok = self.retry_one(&event, &families)?;
            if ok {
                replayed += 1
            } else {
                failed.extend(event.subject)
            }
            Ok(())
        });
        self.families = families;
        result.and_then(|()| self.load()).map(|()| replayed)
    }

    fn retry_one(&mut self, waiting: &Parked, families: &[String]) -> Result<bool, StoreError> {
        let key = keys::replay_parked(self.name(), self.build, waiting.seq);
        let missing = || StoreError::corrupt(format!("family `replay`: parked place {} is not there", waiting.seq));
        let (_, tries, _, vclock) = decode_parked(&self.get(&key)?.ok_or_else(missing)?).map_err(|e| unreadable(&e))?;
        let entry = self.view.entry(waiting.seq)?.ok_or_else(missing)?;
        let event = match found(&entry, &entry.read()?, vclock)? {
            Found::Event(event) => event,
            // It stays parked as it is.
            Found::NotYet(..) => return Ok(false),
            Found::Nothing => return self.unpark(key),
        };
        let log = self.view.clone();
        let mut projection = Projection::new(&**log.store(), families, self.build);
        let at = Cursor { epoch: log.local().epoch, seq: event.seq, last_event: event.id };
        let outcome = self.attempt(&event, at, &mut projection)?;
        match &outcome {
            Ok(()) => projection.put_own(key, None),
            Err((_, error)) => {
                let why = (event.subject.clone(), tries.saturating_add(1), error.to_string(), event.vclock.clone());
                self.park(event.seq, why, &mut projection);
            }
        }
        let mut batch = Batch::new();
        projection.into_batch(&mut batch);
        Ok(self.commit_counted(batch)? && outcome.is_ok())
    }

    /// Forgets a parked event of which nothing is left to replay.
    fn unpark(&mut self, key: Vec<u8>) -> Result<bool, StoreError> {
        let mut batch = Batch::new();
        batch.delete(Family::Replay, &key);
        self.commit_counted(batch)
    }

    /// Leaves the event at a cursor out for good: a parked one, or the next one. The decision is recorded. A sequence number
    /// alone would name another event after a restore, a repair or a resolved fork.
    ///
    /// # Errors
    /// [`SkipError`].
    pub fn skip(&mut self, at: &Cursor, now: Timestamp) -> Result<(), SkipError> {
        self.be_current()?;
        let seq = self.view.resume(at)?.seq;
        let waiting =
            parked_in(&**self.view.store(), self.name(), self.build)?.into_iter().find(|event| event.seq == seq);
        let next = self.position.next() == seq;
        let Some(entry) = self.view.entry(seq)?.filter(|_| waiting.is_some() || next) else {
            return Err(SkipError::NotWaiting { at: *at });
        };
        let (mut chains, mut clock) = (BTreeMap::new(), self.clock.clone());
        let id = entry.id()?;
        let families = self.families.clone();
        let view = self.view.clone();
        let mut projection = Projection::new(&**view.store(), &families, self.build);
        // An event that cannot be read here can be left out too.
        let subject = entry.event().ok().map(|event| event.subject.to_owned()).filter(|subject| !subject.is_empty());
        let error = waiting.as_ref().map_or_else(|| "it halted replay".to_owned(), |event| event.error.clone());
        let record = encode_skipped(&(id, subject, error, now));
        projection.put_own(keys::replay_skipped(self.name(), self.build, seq), Some(record));
        if waiting.is_some() {
            projection.put_own(keys::replay_parked(self.name(), self.build, seq), None);
            (chains, clock) = (BTreeMap::new(), self.clock.clone());
        } else {
            self.found(&entry, &mut chains, &mut clock)?;
        }
        let position = if waiting.is_some() { self.position } else { seq };
        if !self.commit(projection, position, chains, clock)? {
            // It is another sequence number now.
            return Err(SkipError::NotWaiting { at: *at });
        }
        self.tries = self.tries.min(1);
        self.view.store().sync()?;
        Ok(self.load()?)
    }
}

/// What is kept of what a replayer said.
fn bounded(text: &str) -> String {
    text.chars().take(500).collect()
}
