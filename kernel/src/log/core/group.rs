//! The group of own events that is being gathered. Which record ends it is known only once nothing more is appended to it, so its
//! last event is staged when it is closed.

use super::Log;
use crate::clock::VClock;
use crate::codec::{GroupEnd, RecordRef, continue_group};
use crate::digest::Digest;
use crate::event::Draft;
use crate::ids::Origin;
use crate::log::append::{AppendError, AppendPlan, Drafts, plan_append};
use crate::log::held::NewEvent;
use crate::store::{StoreError, StoreErrorKind};
use crate::time::Timestamp;

/// The most events that several appends gather in one group. A single append may have more.
const MAX_GATHERED_EVENTS: usize = 256;
/// The most bytes of data that several appends gather in one group. A single append may have more.
const MAX_GATHERED_BYTES: usize = 256 * 1024;

/// A group of own events to which more can be appended.
#[derive(Debug)]
pub(super) struct OpenGroup {
    /// Its last event, which ends the group if nothing follows.
    last: NewEvent,
    /// The chain's digest before that event.
    before: Digest,
    joined: Timestamp,
    events: usize,
    /// The bytes of data of all its events.
    bytes: usize,
}

impl OpenGroup {
    /// Returns the bytes of what it has that is not staged yet.
    pub(super) fn staged_bytes(&self) -> usize {
        self.last.record.len()
    }
}

impl Log {
    /// Plans an append, on top of the open group if the drafts can join it. The plan's events come after those of the group.
    pub(super) fn plan_in_group(&mut self, wanted: &Drafts<'_>) -> Result<AppendPlan, AppendError> {
        let Some(group) = self.staged.group.as_ref().filter(|group| self.can_join(group, wanted)) else {
            self.close_group()?;
            return plan_append(wanted, self);
        };
        let origin = group.last.dot.origin();
        let record = continue_group(&group.last.record);
        let fault = |fault| StoreError::unreadable("a record that was just made", &fault);
        let digest = RecordRef::decode(&record).map_err(fault)?.digest_after(group.before);
        let ended = self.set_digest(origin, digest);
        let plan = plan_append(wanted, self);
        match &plan {
            Ok(plan) if !plan.events.is_empty() => {}
            _ => {
                self.set_digest(origin, ended);
                return plan;
            }
        }
        if let Some(OpenGroup { last, before, joined, events, bytes }) = self.staged.group.take() {
            self.stage_after(&NewEvent { digest, record, ..last }, before, joined);
            self.staged.gathered = (events, bytes);
        }
        plan
    }

    /// Stages the planned events but for the last one, which stays open.
    pub(super) fn stage_group(&mut self, plan: AppendPlan, data: usize, now: Timestamp) {
        let AppendPlan { mut events, origin, chain, .. } = plan;
        let Some(last) = events.pop() else { return };
        let (gathered, bytes) = std::mem::take(&mut self.staged.gathered);
        let events_then = gathered + events.len() + 1;
        let mut before = self.chains.get(&origin).map_or(chain.start.digest, |chain| chain.digest);
        for event in &events {
            self.stage_after(event, before, now);
            before = event.digest;
        }
        let group = OpenGroup { last, before, joined: now, events: events_then, bytes: bytes + data };
        self.staged.group = Some(group);
        self.set_chain(origin, chain);
    }

    /// Ends the open group: nothing is appended to it any more. Everything that looks at the log, or adds another record to it,
    /// comes after this.
    pub(in crate::log) fn close_group(&mut self) -> Result<(), StoreError> {
        if let Some(OpenGroup { last, before, joined, .. }) = self.staged.group.take() {
            self.stage_after(&last, before, joined);
            let end = self.seal(last.dot.origin()).inspect_err(|error| self.fail(error))?;
            self.stage_end(last.dot.origin(), end);
        }
        Ok(())
    }

    /// Seals the last group of an own chain, at its tip.
    fn seal(&self, origin: Origin) -> Result<GroupEnd, StoreError> {
        let (Some(chain), Some(keys)) = (self.chains.get(&origin), self.keys()) else {
            return Err(StoreError::new(StoreErrorKind::Misuse, "a log without keys cannot write events"));
        };
        let sealed = chain.sealed(origin);
        let seal = sealed.sign(&**keys).map_err(|error| StoreError::new(StoreErrorKind::Io, error.to_string()))?;
        Ok(GroupEnd::of(&sealed, seal))
    }

    fn can_join(&self, group: &OpenGroup, wanted: &Drafts<'_>) -> bool {
        let &Drafts { drafts, context, epoch, .. } = wanted;
        let origin = group.last.dot.origin();
        let is_seen = |context: &VClock| {
            let chain = self.chains.get(&origin);
            context
                .iter()
                .all(|(of, counter)| of == origin || chain.is_some_and(|chain| chain.clock.get(of) >= counter))
        };
        origin.epoch() == epoch
            && group.events + drafts.len() <= MAX_GATHERED_EVENTS
            && group.bytes + data_bytes(drafts) <= MAX_GATHERED_BYTES
            // Only the first event of a group learns something: a group is tainted as a whole or not at all.
            && is_seen(context)
    }

    fn set_digest(&mut self, origin: Origin, digest: Digest) -> Digest {
        self.chains.get_mut(&origin).map_or(digest, |chain| std::mem::replace(&mut chain.digest, digest))
    }
}

/// Returns the bytes of data of these drafts.
pub(super) fn data_bytes(drafts: &[Draft]) -> usize {
    drafts.iter().map(|draft| draft.data.len()).sum()
}
