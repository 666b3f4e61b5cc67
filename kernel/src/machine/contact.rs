//! What is known of a peer from its identity to the end of the contact. Pure.

use std::time::Duration;

use crate::cursor::{Cursor, Seq};
use crate::ids::CortexId;
use crate::protocol::{EventBatch, Heartbeat};
use crate::receipts::LogReport;
use crate::time::Timestamp;

/// A run that brings nothing for this long, while the peer says that it has more, has lost something: it is requested
/// again. As long as one answer may take, so that no answer on its way is dropped.
const STUCK: Duration = Duration::from_secs(60);
/// A peer that broke the protocol counts as well again after a contact of this length without another fault.
const CALM: Duration = Duration::from_secs(10);

/// How far behind a peer's durable head we are, by the peer's own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Events of its log that are not here, as far as known: sequence numbers that were not read, less the events there that
    /// the peer reported to hold and that are here.
    pub events: u64,
    /// The time between its newest entry and the newest one we have read, both on its clock.
    /// Unknown while there is something to read and nothing was read yet.
    pub behind: Option<Duration>,
}

impl Lag {
    fn between(read: (Cursor, Timestamp), head: (Cursor, Timestamp)) -> Self {
        let events = head.0.seq.get().saturating_sub(read.0.seq.get());
        let behind = match (events, read.0.seq.get()) {
            (0, _) => Some(Duration::ZERO),
            // The beginning of a log has no time.
            (_, 0) => None,
            _ => Some(head.1.saturating_since(read.1)),
        };
        Self { events, behind }
    }
}

/// The envelope of a batch that is being stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) prev: Cursor,
    pub(super) last: (Cursor, Timestamp),
    pub(super) head: (Cursor, Timestamp),
}

impl Pending {
    pub(super) const fn of(batch: &EventBatch) -> Self {
        Self { prev: batch.prev, last: (batch.last, batch.last_time), head: (batch.head, batch.head_time) }
    }

    /// Whether it reaches the peer's head.
    pub(super) fn is_last(&self) -> bool {
        self.last.0.seq >= self.head.0.seq
    }
}

/// What a heartbeat says, compared with what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// No batch was stored yet. That the peer lives does not mean that what it sends can be used.
    Unread,
    /// The log has another epoch than what was read.
    OtherEpoch,
    /// Something was lost on its way.
    Stuck,
    /// As expected.
    Known,
}

/// A contact with a peer whose identity was checked.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) peer: CortexId,
    /// The newest protocol that both sides speak.
    pub(super) protocol: u16,
    /// When the peer sent its identity.
    pub(super) since: Duration,
    /// Whether all that the peer has was read.
    pub(super) live: bool,
    /// How much of its log was not read, and how far that log reached then.
    unread: Option<(Lag, Seq)>,
    /// What it reported last, as an asker, of the log that is read.
    report: Option<LogReport>,
    pub(super) pending: Option<Pending>,
    /// How far its log was read, and when that entry joined it; known once a batch was stored.
    read: Option<(Cursor, Timestamp)>,
    /// Since when the peer says that it has more than it sends.
    behind_since: Option<Duration>,
}

impl Contact {
    pub(super) const fn new(peer: CortexId, protocol: u16, since: Duration) -> Self {
        Self {
            peer,
            protocol,
            since,
            live: false,
            unread: None,
            report: None,
            pending: None,
            read: None,
            behind_since: None,
        }
    }

    /// Whether it is too short to prove that a peer which broke the protocol does so no more.
    pub(super) fn is_young(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < CALM
    }

    /// Returns how far behind we are. What the peer reported to hold as an asker bounds the number: own events that came back
    /// to us through its log are not read until the peer sends that it passed them.
    pub(super) fn lag(&self) -> Option<Lag> {
        let (unread, head) = self.unread?;
        let Some(report) = self.report else { return Some(unread) };
        // Events that joined its log after the report may all be missing here.
        let unreported = head.get().saturating_sub(report.seq.get());
        let events = unread.events.min(report.missing.saturating_add(unreported));
        let behind = if events == 0 { Some(Duration::ZERO) } else { unread.behind };
        Some(Lag { events, behind })
    }

    /// The peer reported what it holds.
    pub(super) const fn reported(&mut self, report: LogReport) {
        self.report = Some(report);
    }

    /// A batch was stored.
    pub(super) fn took(&mut self, pending: Pending) {
        if self.read.is_some_and(|read| read.0.epoch != pending.last.0.epoch) {
            // The report counts sequence numbers of another epoch.
            self.report = None;
        }
        self.read = Some(pending.last);
        self.unread = Some((Lag::between(pending.last, pending.head), pending.head.0.seq));
    }

    /// The peer sent something of what it has.
    pub(super) const fn moved(&mut self) {
        self.behind_since = None;
    }

    pub(super) fn heartbeat(&mut self, now: Duration, heartbeat: &Heartbeat) -> Reach {
        let Some(read) = self.read else { return Reach::Unread };
        if read.0.epoch != heartbeat.head.epoch {
            // Forgotten, because a new connection begins with a heartbeat: if each caused a new request, none of the answers
            // would arrive.
            self.read = None;
            self.report = None;
            return Reach::OtherEpoch;
        }
        // A heartbeat travels apart from what is pushed, so it may be older than that.
        if read.0.seq <= heartbeat.head.seq {
            let unread = Lag::between(read, (heartbeat.head, heartbeat.head_time));
            self.unread = Some((unread, heartbeat.head.seq));
        }
        if read.0.seq >= heartbeat.head.seq {
            self.behind_since = None;
        } else if now.saturating_sub(*self.behind_since.get_or_insert(now)) >= STUCK {
            self.behind_since = None;
            return Reach::Stuck;
        }
        Reach::Known
    }
}
