//! Events that are parked: how they are set aside, tried again and skipped.

use std::collections::{BTreeMap, BTreeSet};

use super::{ReplayCore, unreadable};
use crate::codec::{decode_parked, encode_parked, encode_skipped};
use crate::cursor::Cursor;
use crate::error_code::ErrorCode;
use crate::event::Event;
use crate::log::{CursorUnknown, ReadError};
use crate::replay::parked::{Parked, parked_in};
use crate::replay::{Projection, ReplayError};
use crate::store::{Batch, StoreError, keys};
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
    pub(super) fn park(&self, event: &Event, tries: u32, error: &ReplayError, projection: &mut Projection<'_>) {
        let value = (event.subject.clone(), tries, bounded(&error.to_string()), event.vclock.clone());
        projection.put_own(keys::replay_parked(self.name(), self.build, event.seq), Some(encode_parked(&value)));
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
        let view = entry.event()?;
        let event = Event::from_view(&view, &entry.record, entry.seq, entry.joined, vclock);
        let log = self.view.clone();
        let mut projection = Projection::new(&**log.store(), families, self.build);
        let at = Cursor { epoch: log.local().epoch, seq: event.seq, last_event: event.id };
        let outcome = self.attempt(&event, at, &mut projection)?;
        match &outcome {
            Ok(()) => projection.put_own(key, None),
            Err((_, error)) => self.park(&event, tries.saturating_add(1), error, &mut projection),
        }
        let mut batch = Batch::new();
        projection.into_batch(&mut batch);
        Ok(self.commit_counted(batch)? && outcome.is_ok())
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
        let id = entry.event()?.id;
        let families = self.families.clone();
        let view = self.view.clone();
        let mut projection = Projection::new(&**view.store(), &families, self.build);
        let subject = entry.event()?.subject.to_owned();
        let subject = (!subject.is_empty()).then_some(subject);
        let error = waiting.as_ref().map_or_else(|| "it halted replay".to_owned(), |event| event.error.clone());
        let record = encode_skipped(&(id, subject, error, now));
        projection.put_own(keys::replay_skipped(self.name(), self.build, seq), Some(record));
        if waiting.is_some() {
            projection.put_own(keys::replay_parked(self.name(), self.build, seq), None);
            (chains, clock) = (BTreeMap::new(), self.clock.clone());
        } else {
            self.event(&entry, &mut chains, &mut clock)?;
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
