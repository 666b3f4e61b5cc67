//! A question that is open, and what answering it cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::own::AskerHead;
use crate::budget::Share;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::cursor::Cursor;
use crate::ids::{CortexId, Epoch, Origin};
use crate::limits::Allowance;
use crate::log::taint::{Excluded, TaintScan};
use crate::log::work::{MAX_SCAN, MAX_SCAN_BYTES, Work};
use crate::protocol::{
    ChainHead, DIRECT_GRACE, EventBatch, Heads, MAX_GROUP_EVENTS, Refresh, Refusal, RequestId, Scope,
};
use crate::time::Timestamp;

/// The bytes that a frame has beyond its records: chain heads of a full clock, and the sequence numbers of the events.
pub(super) const FRAME_EXTRA: u64 = 128 * 1024;

/// A question that is open: what the asker holds by now, and how far it was answered.
#[derive(Debug)]
pub struct OpenQuery {
    pub(super) request: RequestId,
    pub(super) from: CortexId,
    pub(super) to: CortexId,
    pub(super) epoch: Epoch,
    pub(super) max_events: usize,
    pub(super) max_bytes: u64,
    pub(super) scope: Scope,
    pub(super) known: BTreeMap<Origin, ChainHead>,
    /// How far it holds its own current origin, as it said or as it was shown, where it asks about that.
    pub(super) asker_head: Option<AskerHead>,
    pub(super) direct: Vec<CortexId>,
    /// What its asker said itself that it durably holds of this cortex's own events.
    pub(super) said: BTreeMap<Origin, ChainHead>,
    /// The counters of all chains that its asker said itself that it durably holds; `known` has what was sent to it as well. Kept
    /// of a pinned asker that asks for everything, because only then it bounds a peer's lag.
    pub(super) reported: Option<BTreeMap<Origin, u64>>,
    /// Whether `reported` changed since it was compared.
    pub(super) is_report_due: bool,
    /// Where the histories are known to differ.
    pub(super) withhold: BTreeMap<Origin, ChainHead>,
    /// The cortexes of whose events nothing is sent.
    pub(super) excluded: Excluded,
    /// How far each origin's two histories were compared.
    pub(super) checked: BTreeMap<Origin, Checked>,
    /// What the asker was shown of our version of what is withheld: it may be another than the one it knows of, or gone.
    pub(super) shown: BTreeMap<Origin, ChainHead>,
    /// Heads that the asker is to compare, until they are sent.
    pub(super) tell: BTreeMap<Origin, ChainHead>,
    /// How many answers were sent.
    pub(super) parts: u64,
    /// The asker's cursor once it has applied what it was sent.
    pub(super) prev: Cursor,
    /// How far the log was looked at; beyond `prev` where the asker knew what stood there.
    pub(super) at: (Cursor, Timestamp),
    /// The scan for what is tainted by `withhold` as it was asked. A fork that ended meanwhile is asked for again.
    pub(super) taint_scan: Option<TaintScan>,
    /// The asker's cursor, until it is known where the answer begins.
    pub(super) opening: Option<Option<Cursor>>,
    /// The memory that the next batch may take: half of it for the records, half for the frame that carries them.
    pub(super) room: Option<Share>,
    /// What was looked at and not sent, since that was asked last.
    pub(super) work: Work,
    /// What was read to be sent, since that was asked last.
    pub(super) read: Work,
    /// What the quota of its asker allows for one batch.
    pub(super) allowance: Allowance,
    /// Whether every fork that the question names is known here with its asker. Any other is a mere claim.
    pub(super) proven: bool,
    /// Set once the asker is gone: what is being read for it ends.
    pub(super) gone: Arc<AtomicBool>,
}

/// Digests at one counter were compared, here or by the asker. It is due again whenever either head moves so that more can
/// be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// Here, at the asker's counter: all that it holds.
    Here(u64),
    /// By the asker, at ours: all that we hold.
    There(u64),
}

impl OpenQuery {
    /// What the asker durably holds changed, and whom it pulls itself. Counters never go back.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] beyond the bound of a clock.
    pub fn refresh(&mut self, refresh: &Refresh) -> Result<(), Refusal> {
        for (origin, head) in refresh.known.iter() {
            if self.known.get(&origin).is_none_or(|held| held.counter < head.counter) {
                self.known.insert(origin, head);
            }
        }
        if let Some(reported) = &mut self.reported {
            for (origin, head) in refresh.known.iter() {
                let counter = reported.entry(origin).or_default();
                *counter = (*counter).max(head.counter);
            }
            self.is_report_due = true;
        }
        self.direct.clone_from(&refresh.direct);
        for (origin, head) in refresh.known.iter().filter(|(origin, _)| origin.cortex() == self.to) {
            let said = self.said.entry(origin).or_insert(head);
            *said = if said.counter < head.counter { head } else { *said };
        }
        if self.known.len() > MAX_CLOCK_ENTRIES {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }

    /// The bytes of memory for a batch with so many bytes of records, and for the frame that carries it.
    #[must_use]
    pub(crate) const fn room_for(records: u64) -> u64 {
        records.saturating_mul(2).saturating_add(FRAME_EXTRA)
    }

    /// Bounds the memory of the next batch.
    pub(crate) fn set_room(&mut self, room: Share) {
        self.room = Some(room);
    }

    /// What is left of the memory of the batch that was found: for the frame that carries it.
    pub(crate) fn take_room(&mut self) -> Option<Share> {
        self.room.take()
    }

    /// The most bytes of records that the next batch has room for.
    pub(super) fn room(&self) -> u64 {
        self.room.as_ref().map_or(u64::MAX, |room| room.bytes().saturating_sub(FRAME_EXTRA) / 2)
    }

    /// Who asks.
    pub(crate) const fn asker(&self) -> CortexId {
        self.from
    }

    /// The most bytes of events that its asker wants in a batch.
    #[must_use]
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What was looked at and not sent since this was asked last, what was read to be sent, and whether all that was for a fork that is
    /// a mere claim.
    pub(crate) fn take_work(&mut self) -> (Work, Work, bool) {
        (std::mem::take(&mut self.work), std::mem::take(&mut self.read), self.is_claim())
    }

    /// Bounds the next batch by the quota of its asker. One group may be larger all the same.
    pub(crate) const fn set_allowance(&mut self, allowance: Allowance) {
        self.allowance = allowance;
    }

    /// The most events of the next batch.
    pub(super) fn batch_events(&self) -> usize {
        let Allowance { events, work, .. } = self.allowance;
        self.max_events.min(usize::try_from(events.min(work)).unwrap_or(usize::MAX))
    }

    /// The most bytes of events of the next batch.
    pub(super) fn batch_bytes(&self) -> u64 {
        let Allowance { bytes, work, .. } = self.allowance;
        self.max_bytes.min(bytes).min(work.saturating_mul(1024))
    }

    /// The most entries that the next batch looks at, and the most bytes of those that are not sent. A scan that is shorter than a
    /// group would never pass it.
    pub(super) fn scan(&self) -> (u64, u64) {
        let work = self.allowance.work;
        (MAX_SCAN.min(work.max(MAX_GROUP_EVENTS as u64)), MAX_SCAN_BYTES.min(work.saturating_mul(1024)))
    }

    /// Whether it names a fork that is not known here with its asker.
    #[must_use]
    pub(crate) const fn is_claim(&self) -> bool {
        !self.proven
    }

    /// Reading ends once this is set: the asker is gone.
    pub(crate) fn end_with(&mut self, gone: Arc<AtomicBool>) {
        self.gone = gone;
    }

    /// The batch goes out: the next one begins where it ends.
    pub fn sent(&mut self, batch: &EventBatch) {
        self.prev = batch.last;
        self.parts += 1;
        if let (Some(head), Some(own)) = (&mut self.asker_head, &batch.own) {
            head.shown(own.counter);
        }
        self.tell.clear();
    }

    /// What its asker said that it durably holds of this cortex's own events: claims, until [`crate::log::LogReader::acknowledge`] compared
    /// them.
    #[must_use]
    pub fn said(&self) -> (CortexId, Heads) {
        (self.from, Heads::new(self.said.iter().map(|(&origin, &head)| (origin, head)).collect()))
    }

    /// The counters of all chains that its asker durably holds, once each time they changed.
    pub(in crate::log) fn take_report(&mut self) -> Option<&BTreeMap<Origin, u64>> {
        self.reported.as_ref().filter(|_| std::mem::take(&mut self.is_report_due))
    }

    pub(super) fn differs(&self, origin: Origin, counter: u64) -> bool {
        self.withhold.get(&origin).is_some_and(|ours| ours.counter <= counter)
    }

    pub(super) fn counter(&self, origin: Origin) -> u64 {
        self.known.get(&origin).map_or(0, |head| head.counter)
    }

    /// How much longer to hold an event back because the asker gets it from a direct peer; `None` to send it.
    pub(super) fn held(
        &self,
        origin: Origin,
        own: CortexId,
        joined: Timestamp,
        now: Option<Timestamp>,
    ) -> Option<Duration> {
        let author = origin.cortex();
        let shorter = author != own && (author == self.from || self.direct.contains(&author));
        let now = now.filter(|_| shorter)?;
        // A wall clock that was set back must not hold anything back for longer than the grace.
        if now < joined {
            None
        } else {
            DIRECT_GRACE.checked_sub(now.saturating_since(joined)).filter(|d| !d.is_zero())
        }
    }
}
