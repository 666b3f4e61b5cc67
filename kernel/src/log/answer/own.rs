//! What an answer says of the asker's own current origin. A store that was set back learns so that it was, also where nothing of what it
//! lost can be sent.

use super::{LogReader, OpenQuery};
use crate::ids::Origin;
use crate::log::entry::missing;
use crate::log::marks::{no_seal, read_end};
use crate::log::segments::{dot_at, missing_entry, stored_seq};
use crate::mutant::{self, Mutant};
use crate::protocol::{FetchReply, FetchRequest, Known, OwnHead, Refusal};
use crate::store::StoreError;

/// The asker's current origin, and the counter up to which it said that it holds that.
#[derive(Debug, Clone, Copy)]
pub struct AskerHead {
    origin: Origin,
    known: u64,
}

impl AskerHead {
    /// What a question says. `None` where it is about other origins alone.
    #[must_use]
    pub fn of(request: &FetchRequest) -> Option<Self> {
        let origin = Origin::new(request.from, request.epoch);
        let Known::Full(known) = &request.known else { return None };
        request.scope.covers(origin).then(|| Self { origin, known: known.counter(origin) })
    }

    /// An answer showed it that the origin reaches this counter. That is not repeated.
    pub(super) fn shown(&mut self, counter: u64) {
        self.known = self.known.max(counter);
    }
}

impl LogReader {
    /// Returns a refusal as an answer. One that a comparison with this log led to has the end of the asker's current origin.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refuse(&self, asker: Option<AskerHead>, refusal: Refusal) -> Result<FetchReply, StoreError> {
        let compared = matches!(refusal, Refusal::CursorUnknown | Refusal::CursorTooOld { .. } | Refusal::Fork { .. });
        let own = match asker {
            Some(AskerHead { origin, known }) if compared && !mutant::is(Mutant::OwnHeadMissing) => {
                self.own_head(origin, known)?
            }
            _ => None,
        };
        Ok(FetchReply::Refused { refusal, own })
    }

    /// The end of the asker's current origin, where that is beyond what the asker holds, was sent and was shown.
    pub(super) fn own_head_for(&self, asking: &OpenQuery) -> Result<Option<Box<OwnHead>>, StoreError> {
        let Some(AskerHead { origin, known }) = asking.asker_head else { return Ok(None) };
        self.own_head(origin, known.max(asking.counter(origin)))
    }

    fn own_head(&self, origin: Origin, beyond: u64) -> Result<Option<Box<OwnHead>>, StoreError> {
        let head = self.shared.durable().chains.get(&origin).copied();
        let Some(head) = head.filter(|head| head.counter > beyond) else { return Ok(None) };
        let (store, counter) = (&**self.store(), head.counter);
        let end = read_end(store, origin, counter)?.ok_or_else(|| no_seal(origin, counter))?;
        let seq = stored_seq(store, origin, counter)?.ok_or_else(|| missing(origin, counter))?;
        let entry = self.entry_there(seq)?.ok_or_else(|| missing_entry(seq))?;
        let (id, _) = dot_at(seq, &entry.record)?;
        let (digest, clock, seal) = (head.digest, end.clock, end.seal);
        Ok(Some(Box::new(OwnHead { origin, counter, digest, id, clock, seal })))
    }
}
