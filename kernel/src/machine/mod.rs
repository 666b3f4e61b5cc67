//! The protocol with one peer, as a pure state machine: inputs in, actions out. No I/O, no clock, no chance, no async.
//!
//! ```text
//!             handle_identity / handle_reply / handle_ingested
//!          ┌───────────────────────────────────────────────────┐
//!          ▼                                                   │
//!   ┌─────────────┐  poll_action   Identify ─▶ transport ──────┤
//!   │ PeerMachine │ ─────────────▶ Pin, Save ─▶ store          │
//!   └─────────────┘                Fetch    ─▶ transport ──────┤
//!          ▲                       Ingest   ─▶ log ────────────┘
//!          │ handle_timer
//!          └────────────── Timer ─▶ clock
//! ```
//!
//! **Order**: after every `handle_*`, `resume`, `pause`, `reset` or `wake`, call [`PeerMachine::poll_action`] until it
//! returns `None`. **Time**: the caller passes a [`Now`] whose monotonic part never runs backwards. **Chance**: 64 fresh
//! random bits where a delay may be drawn. A timer or answer that is no longer wanted carries an old number and is
//! ignored, so nothing needs to be cancelled for correctness.

mod backoff;
mod identity;
mod inspection;
mod progress;
#[cfg(test)]
mod tests;

pub use backoff::{BACKOFF_BASE, BACKOFF_MAX, backoff};
pub use identity::{IdentityContext, check_identity};
pub use inspection::{Inspection, InspectionStep};
pub use progress::MAX_FRUITLESS;

use std::collections::VecDeque;
use std::time::Duration;

use crate::cursor::Cursor;
use crate::health::{ErrorCategory, PeerHealth};
use crate::ids::{CortexId, Origin};
use crate::log::Ingested;
use crate::protocol::{EventBatch, FetchReply, Heartbeat, Identity, Refusal};
use crate::rule::Rule;
use crate::time::Timestamp;
use progress::{Brought, Progress};

/// A moment, as the machine needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed moment; never runs backwards.
    pub monotonic: Duration,
    /// The wall clock, for what is shown to people.
    pub wall: Timestamp,
}

/// What the machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the peer who it is; bring the answer to [`PeerMachine::handle_identity`] with this number.
    Identify {
        /// Names the question.
        number: u64,
    },
    /// Pin the peer to this cortex, durably, before the next action.
    Pin {
        /// Who it proved to be.
        cortex_id: CortexId,
    },
    /// Bring what the peer has after the stored cursor (or by the clock alone), whether it was pushed or must be asked
    /// for: an answer to [`PeerMachine::handle_reply`], a heartbeat to [`PeerMachine::handle_heartbeat`], with this number.
    Fetch {
        /// Names the question.
        number: u64,
        /// Whom to address.
        to: CortexId,
        /// Leave the cursor out: go by what is held.
        by_clock: bool,
        /// Ask anew, instead of taking the next answer to the question that is open.
        anew: bool,
        /// Ask for what this cortex wrote itself, and for nothing else.
        own: bool,
        /// How long the peer may park it.
        wait: Duration,
    },
    /// Give this batch to the log; bring the outcome to [`PeerMachine::handle_ingested`] with this number.
    Ingest {
        /// Names the question that it answers.
        number: u64,
        /// The batch.
        batch: Box<EventBatch>,
    },
    /// Find out where the peer's history of an origin parts from ours, keep that with the evidence, and bring the outcome
    /// to [`PeerMachine::handle_inspected`] with this number.
    Inspect {
        /// Names the question.
        number: u64,
        /// Whom to address.
        to: CortexId,
        /// The origin.
        origin: Origin,
        /// A counter at which the histories are said to differ.
        counter: u64,
    },
    /// Call [`PeerMachine::handle_timer`] with this token at that monotonic time. Replaces any earlier timer.
    Timer {
        /// Comes back.
        token: u64,
        /// When.
        at: Duration,
    },
    /// Keep this health, and tell the operator.
    Save {
        /// The health.
        health: PeerHealth,
        /// What there is to tell.
        news: News,
    },
}

/// What deserves a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The first failure of its kind: explain it.
    Failed(ErrorCategory),
    /// The same failure again: be brief.
    StillFailing(ErrorCategory),
    /// Reachable again.
    Recovered,
    /// All is well, as before.
    None,
}

/// What the machine is doing, as an operator would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Finding out who the peer is.
    Connecting,
    /// Reading what it has more.
    CatchingUp,
    /// Caught up; waiting for more.
    Live,
    /// Failed; will try again.
    BackingOff,
    /// Not pulled, by configuration.
    Paused,
    /// Not pulled while the disk has too little space left.
    NoSpace,
    /// Failed in a way that trying again cannot mend.
    Halted,
}

/// How far behind a peer's durable head we are, by the peer's own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Places of its log not yet read; some may hold events that we have from others.
    pub events: u64,
    /// The time between its newest entry and the newest one we have read, both on its clock.
    /// Unknown while there is something to read and nothing was read yet.
    pub behind: Option<Duration>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was asked for just now.
    Asked,
    /// It came on a run that was open already.
    Pushed,
}

/// How failures, answers and outcomes come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestOutcome {
    /// Stored.
    Done(Ingested),
    /// A hole: worth asking once by clock.
    Hole,
    /// It answered no open question: ask again.
    NotAsked,
    /// It does not begin at our cursor, or answers another question: something was lost. Ask again.
    Gap,
    /// The peer's history of an origin differs from ours at a counter.
    Fork(Origin, u64),
    /// It failed.
    Failed(ErrorCategory),
}

/// A peer with more forks than this is not sounded further: as many can be named in one question.
pub const MAX_INSPECTIONS: u32 = 64;

/// So often before a success a peer is believed that its log was rewritten under our question.
pub const MAX_REWRITTEN: u8 = 8;
/// More pushes than this within the window, none of which brings anything, are a flood: they wait in the transport.
const FLOOD: u32 = 16;
const FLOOD_WINDOW: Duration = Duration::from_secs(1);
/// The window doubles with each flood in a row, so often at most.
const MAX_FLOODS: u32 = 5;
/// A peer that broke the protocol counts as well again after a contact of this length without another fault.
const CALM: Duration = Duration::from_secs(10);
/// After an answer that came before its time and brought nothing a peer is asked again so soon, then after twice that, and so on up to
/// the interval.
const EARLY: Duration = Duration::from_secs(1);
/// So often that is doubled at most.
const MAX_EARLY: u32 = 12;

/// The envelope of a batch that is being stored.
#[derive(Debug, Clone, Copy)]
struct Pending {
    prev: Cursor,
    last: (Cursor, Timestamp),
    head: (Cursor, Timestamp),
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

/// While all is well, health is stored this often: it is for people, and each time costs a synced write.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// A peer that has more and sends nothing of it is asked this often.
const NO_PROGRESS: Duration = Duration::from_secs(1);
/// A run that brings nothing for so long, while the peer says that it has more, has lost something: it is asked for anew.
/// As long as one answer may take, so that none is given up that is on its way.
const STUCK: Duration = Duration::from_secs(60);
/// A peer that asks us and cannot be reached is tried again this long after a failure, if that is earlier than its back-off.
pub const HEARD_APART: Duration = Duration::from_secs(15);

/// The protocol with one peer.
#[derive(Debug)]
pub struct PeerMachine {
    interval: Duration,
    context: IdentityContext,
    health: PeerHealth,
    phase: Phase,
    peer: Option<CortexId>,
    by_clock: bool,
    /// Whether it is still to be found out if the peer holds more of what we wrote than we do: before anything else, or
    /// an epoch that must not be extended is, for as long as it takes to read what stands before it.
    own_first: bool,
    /// Whether there is too little space for more.
    held: bool,
    /// How many forks were looked into since the last new event.
    inspections: u32,
    progress: Progress,
    /// The rule that the last failure is about, if it is about one that the machine holds.
    breach: Option<Rule>,
    /// When the peer said last who it is.
    contact_since: Duration,
    /// Whether the question before this one was asked anew because its answer could not be used.
    asked_anew: bool,
    /// How often, asked without a cursor, it said since the last success that its log was rewritten meanwhile.
    rewritten: u8,
    /// How often in a row it answered earlier than it was asked to, with nothing.
    early: u32,
    number: u64,
    token: u64,
    asked_at: Duration,
    /// Whether the open question may be parked.
    parked: bool,
    /// Whether the answer in hand was pushed.
    pushed: bool,
    /// Since when, and how many, answers brought no new event.
    empty: (Duration, u32),
    /// How many windows in a row were flooded.
    floods: u32,
    lag: Option<Lag>,
    pending: Option<Pending>,
    /// How far we have read its log, and when that entry joined it; known once a batch was taken.
    read: Option<(Cursor, Timestamp)>,
    saved_at: Option<Duration>,
    /// While backing off: when it failed, and when it is tried again.
    failed_at: Duration,
    retry_at: Duration,
    /// Since when the peer says that it has more than it sends.
    behind_since: Option<Duration>,
    actions: VecDeque<Action>,
}

impl PeerMachine {
    /// A machine that does nothing until [`PeerMachine::resume`].
    #[must_use]
    pub fn new(interval: Duration, context: IdentityContext, health: PeerHealth) -> Self {
        Self {
            interval,
            context,
            health,
            phase: Phase::Paused,
            peer: None,
            by_clock: false,
            own_first: false,
            held: false,
            inspections: 0,
            progress: Progress::default(),
            breach: None,
            contact_since: Duration::ZERO,
            asked_anew: false,
            rewritten: 0,
            early: 0,
            number: 0,
            token: 0,
            asked_at: Duration::ZERO,
            parked: false,
            pushed: false,
            empty: (Duration::ZERO, 0),
            floods: 0,
            lag: None,
            pending: None,
            read: None,
            saved_at: None,
            failed_at: Duration::ZERO,
            retry_at: Duration::ZERO,
            behind_since: None,
            actions: VecDeque::new(),
        }
    }

    /// What it is doing.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Which cortex it is, since that was checked at the last contact.
    #[must_use]
    pub const fn peer(&self) -> Option<CortexId> {
        self.peer
    }

    /// How the peer fares.
    #[must_use]
    pub const fn health(&self) -> &PeerHealth {
        &self.health
    }

    /// The rule that the last failure is about, where the machine itself found it broken.
    #[must_use]
    pub const fn breach(&self) -> Option<Rule> {
        self.breach
    }

    /// How far behind we are; unknown until the peer has said so, and again when it cannot be reached.
    #[must_use]
    pub const fn lag(&self) -> Option<Lag> {
        self.lag
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Begins, or begins again after a pause.
    pub fn resume(&mut self) {
        if self.phase == Phase::Paused {
            self.begin();
        }
    }

    /// There is too little space for what the peer has: nothing is pulled until [`PeerMachine::release`]. What is in
    /// flight is dropped when it returns. One that stands still for another reason goes on doing so.
    pub fn hold(&mut self) {
        self.held = true;
        if !matches!(self.phase, Phase::Paused | Phase::Halted | Phase::NoSpace) {
            self.forget();
            self.phase = Phase::NoSpace;
        }
    }

    /// There is space again.
    pub fn release(&mut self) {
        self.held = false;
        if self.phase == Phase::NoSpace {
            self.identify();
        }
    }

    fn begin(&mut self) {
        if self.held {
            self.forget();
            self.phase = Phase::NoSpace;
        } else {
            self.identify();
        }
    }

    /// Stops pulling. What is in flight is dropped when it returns.
    pub fn pause(&mut self) {
        self.forget();
        self.phase = Phase::Paused;
    }

    /// The operator cleared pin, cursor and health: begins anew, unless paused.
    pub fn reset(&mut self) {
        let paused = self.phase == Phase::Paused;
        self.forget();
        self.context.pin = None;
        self.health = PeerHealth::default();
        self.saved_at = None;
        (self.by_clock, self.rewritten) = (false, 0);
        if !paused {
            self.begin();
        }
    }

    /// The configuration changed: polls are this far apart from the next one on.
    pub const fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The way to the peer changed: begins anew, unless paused. One that was halted is tried again.
    pub fn reconnect(&mut self) {
        if self.phase != Phase::Paused {
            self.begin();
        }
    }

    /// Something suggests that the peer has news or is back: try now rather than later.
    pub fn wake(&mut self) {
        if self.phase == Phase::BackingOff {
            self.identify();
        }
    }

    /// The peer asked us something, so it is alive, and waiting out a long delay gains nothing. It may be on a road that
    /// leads one way only; so it is not tried at once each time, but [`HEARD_APART`] from the last failure. One that says no
    /// goes on saying it, whatever it asks.
    pub fn heard(&mut self, now: Now) {
        let refuses = self.health.last_error.is_some_and(ErrorCategory::is_refusal);
        let soon = now.monotonic.max(self.failed_at + HEARD_APART);
        if self.phase == Phase::BackingOff && !refuses && soon < self.retry_at {
            self.retry_at = soon;
            self.timer(soon);
        }
    }

    /// Events left our log: what the peer was told that we hold is not true any more.
    pub fn ask_anew(&mut self, now: Now) {
        if matches!(self.phase, Phase::CatchingUp | Phase::Live) {
            self.ask_by_clock(now);
        }
    }

    /// Pins changed elsewhere: these belong to other peers now.
    pub fn set_pinned_elsewhere(&mut self, cortexes: Vec<CortexId>) {
        self.context.pinned_elsewhere = cortexes;
    }

    fn forget(&mut self) {
        self.number += 1;
        self.token += 1;
        self.actions.clear();
        self.lag = None;
        self.peer = None;
        self.read = None;
        self.behind_since = None;
    }

    fn identify(&mut self) {
        self.forget();
        self.own_first = true;
        self.phase = Phase::Connecting;
        self.actions.push_back(Action::Identify { number: self.number });
    }

    /// The timer fired.
    pub fn handle_timer(&mut self, now: Now, token: u64) {
        if token != self.token {
            return;
        }
        match (self.phase, self.peer) {
            (Phase::BackingOff, _) => self.identify(),
            (Phase::Live | Phase::CatchingUp, Some(to)) => self.fetch(now, to, false),
            _ => {}
        }
    }

    /// The peer said who it is, or could not be asked.
    pub fn handle_identity(&mut self, now: Now, number: u64, answer: Result<Identity, ErrorCategory>, chance: u64) {
        if number != self.number {
            return;
        }
        let checked = answer.and_then(|identity| check_identity(&identity, &self.context).map(|()| identity));
        let identity = match checked {
            Ok(identity) => identity,
            Err(category) => return self.fail(now, category, chance),
        };
        if self.context.pin.is_none() {
            self.context.pin = Some(identity.cortex_id);
            self.actions.push_back(Action::Pin { cortex_id: identity.cortex_id });
        }
        self.health.version = Some(identity.version.chars().take(64).collect());
        self.peer = Some(identity.cortex_id);
        self.phase = Phase::CatchingUp;
        self.contact_since = now.monotonic;
        // The first question is not parked: how far we are behind is worth knowing at once.
        self.ask(now, identity.cortex_id, true, Duration::ZERO);
    }

    /// The pin could not be stored: nothing more is said to the peer now.
    pub fn handle_pin_failed(&mut self, now: Now, chance: u64) {
        self.context.pin = None;
        self.fail(now, ErrorCategory::Store, chance);
    }

    fn fetch(&mut self, now: Now, to: CortexId, anew: bool) {
        self.ask(now, to, anew, self.interval);
    }

    fn ask(&mut self, now: Now, to: CortexId, anew: bool, wait: Duration) {
        let own = self.own_first;
        let wait = if own { Duration::ZERO } else { wait };
        self.number += 1;
        self.asked_at = now.monotonic;
        self.parked = !wait.is_zero();
        let (number, by_clock) = (self.number, self.by_clock);
        self.actions.push_back(Action::Fetch { number, to, by_clock, anew, own, wait });
    }

    /// The peer answered, or could not be asked.
    pub fn handle_reply(
        &mut self,
        now: Now,
        number: u64,
        source: Source,
        answer: Result<FetchReply, ErrorCategory>,
        chance: u64,
    ) {
        if number != self.number {
            return;
        }
        self.pushed = source == Source::Pushed;
        match answer {
            Ok(FetchReply::Batch(batch)) => {
                self.pending = Some(Pending {
                    prev: batch.prev,
                    last: (batch.last, batch.last_time),
                    head: (batch.head, batch.head_time),
                });
                self.actions.push_back(Action::Ingest { number, batch: Box::new(batch) });
            }
            // Asked without a cursor, that is so where its log was rewritten while it answered, or while the question was
            // parked there: an operator may end one fork after another.
            Ok(FetchReply::Refused(Refusal::CursorUnknown)) if !self.by_clock || self.rewritten < MAX_REWRITTEN => {
                self.rewritten += u8::from(self.by_clock);
                if !self.led_nowhere(now, chance) {
                    self.ask_by_clock(now);
                }
            }
            Ok(FetchReply::Refused(Refusal::CursorUnknown)) => {
                self.broke(now, ErrorCategory::Protocol, Rule::CursorNotSent, chance);
            }
            Ok(FetchReply::Refused(Refusal::Fork { origin, counter, .. })) => {
                self.inspect(now, origin, counter, chance)
            }
            Ok(FetchReply::Refused(refusal)) => self.fail(now, refusal.category(), chance),
            Err(category) => self.fail(now, category, chance),
        }
    }

    /// The peer said how far its log reaches.
    pub fn handle_heartbeat(&mut self, now: Now, number: u64, heartbeat: &Heartbeat, chance: u64) {
        if number != self.number {
            return;
        }
        let Some(to) = self.peer else { return };
        if heartbeat.from != to {
            return self.broke(now, ErrorCategory::Protocol, Rule::OtherHeartbeat, chance);
        }
        match self.read {
            // The log goes on under another epoch: our cursor there is worth nothing any more.
            // How far we read is worth nothing under another epoch, and is forgotten: a new connection begins with a heartbeat,
            // and each would cut off the answer to what the one before asked.
            Some(read) if read.0.epoch != heartbeat.head.epoch => {
                self.read = None;
                return self.fetch(now, to, true);
            }
            Some(read) => {
                // It travels apart from what is pushed, so it may be older than that.
                if read.0.seq <= heartbeat.head.seq {
                    self.lag = Some(Lag::between(read, (heartbeat.head, heartbeat.head_time)));
                }
                if !self.is_doubted(now, false) {
                    self.well(now);
                }
                if read.0.seq >= heartbeat.head.seq {
                    self.behind_since = None;
                } else if now.monotonic.saturating_sub(*self.behind_since.get_or_insert(now.monotonic)) >= STUCK {
                    self.behind_since = None;
                    return self.fetch(now, to, true);
                }
            }
            // That it lives does not mean that what it sends can be used.
            None => {}
        }
        self.next_push(now, to);
    }

    fn ask_by_clock(&mut self, now: Now) {
        if let Some(to) = self.peer {
            self.by_clock = true;
            self.fetch(now, to, true);
        }
    }

    /// The log took the batch, or did not.
    pub fn handle_ingested(&mut self, now: Now, number: u64, outcome: IngestOutcome, chance: u64) {
        if number != self.number {
            return;
        }
        match outcome {
            IngestOutcome::Done(ingested) => self.succeed(now, ingested, chance),
            // What we wrote and have lost had seen what we have not: that comes first, in its order.
            IngestOutcome::Hole if self.own_first => {
                self.own_first = false;
                if let Some(to) = self.peer {
                    self.ask(now, to, true, Duration::ZERO);
                }
            }
            IngestOutcome::Hole if !self.by_clock => {
                if !self.led_nowhere(now, chance) {
                    self.ask_by_clock(now);
                }
            }
            IngestOutcome::Hole => self.fail(now, ErrorCategory::Protocol, chance),
            IngestOutcome::NotAsked | IngestOutcome::Gap if !self.asked_anew => {
                self.asked_anew = true;
                if !self.led_nowhere(now, chance)
                    && let Some(to) = self.peer
                {
                    self.fetch(now, to, true);
                }
            }
            // Twice in a row: asking in a loop mends nothing. Pin or cursor keep changing under us ...
            IngestOutcome::NotAsked => self.fail(now, ErrorCategory::Store, chance),
            // ... or the peer does not go on from where it was asked to.
            IngestOutcome::Gap => self.fail(now, ErrorCategory::Protocol, chance),
            IngestOutcome::Fork(origin, counter) => self.inspect(now, origin, counter, chance),
            IngestOutcome::Failed(category) => self.fail(now, category, chance),
        }
    }

    /// A difference is said to exist: where it begins, and whether it does, is found out before anything is believed.
    fn inspect(&mut self, now: Now, origin: Origin, counter: u64, chance: u64) {
        let Some(to) = self.peer else { return };
        if counter == 0 {
            // Before their first events no two histories differ.
            return self.broke(now, ErrorCategory::Protocol, Rule::ForkBeforeFirst, chance);
        }
        self.inspections += 1;
        if self.inspections > MAX_INSPECTIONS {
            return self.broke(now, ErrorCategory::TooManyForks, Rule::TooManyForks, chance);
        }
        self.number += 1;
        self.actions.push_back(Action::Inspect { number: self.number, to, origin, counter });
    }

    /// What the histories differ in is known and kept, or it could not be found out.
    pub fn handle_inspected(&mut self, now: Now, number: u64, outcome: Result<(), ErrorCategory>, chance: u64) {
        if number != self.number {
            return;
        }
        match (outcome, self.peer) {
            (Ok(()), Some(to)) => self.fetch(now, to, true),
            (Ok(()), None) => {}
            (Err(category), _) => self.fail(now, category, chance),
        }
    }

    /// An exchange went well: that is told where it is news, and stored now and then.
    fn well(&mut self, now: Now) {
        let known_before = self.health.last_success.is_some();
        let recovered = self.health.succeeded(now.wall);
        let due = self.saved_at.is_none_or(|saved| now.monotonic.saturating_sub(saved) >= SAVE_EVERY);
        if recovered || !known_before || due {
            self.saved_at = Some(now.monotonic);
            let news = if recovered { News::Recovered } else { News::None };
            self.actions.push_back(Action::Save { health: self.health.clone(), news });
        }
    }

    /// Whether the peer's last failure was in what it said, and nothing bears out since then that it is over: a quiet answer
    /// between two such failures must not make the next try come soon.
    fn is_doubted(&self, now: Now, new_events: bool) -> bool {
        let by_content = matches!(
            self.health.last_error,
            Some(ErrorCategory::Protocol | ErrorCategory::Fork | ErrorCategory::NoProgress)
        );
        by_content && !new_events && now.monotonic.saturating_sub(self.contact_since) < CALM
    }

    /// An answer led to another question at once, and to nothing else. True if there were too many of them: that is a failure.
    fn led_nowhere(&mut self, now: Now, chance: u64) -> bool {
        self.progress.led_nowhere();
        self.is_stuck(now, chance)
    }

    fn is_stuck(&mut self, now: Now, chance: u64) -> bool {
        let stuck = self.progress.is_exhausted();
        if stuck {
            self.progress.gave_up();
            self.broke(now, ErrorCategory::NoProgress, Rule::NoProgress, chance);
        }
        stuck
    }

    fn succeed(&mut self, now: Now, ingested: Ingested, chance: u64) {
        let by_clock = std::mem::take(&mut self.by_clock);
        (self.asked_anew, self.rewritten) = (false, 0);
        if ingested.stored > 0 {
            // A peer that forks and heals in turn, or says nothing in between, is not looked into without end.
            self.inspections = 0;
        }
        let pending = self.pending.take();
        if self.own_first {
            return self.took_own(now, ingested, pending);
        }
        let (mut caught_up, mut brought) = (true, Brought::Quiet);
        if let Some(Pending { prev, last, head }) = pending {
            caught_up = last.0.seq >= head.0.seq;
            brought = self.progress.took(&ingested, prev, last.0, by_clock);
            if self.is_stuck(now, chance) {
                return;
            }
            self.read = Some(last);
            self.lag = Some(Lag::between(last, head));
        }
        let doubted = self.is_doubted(now, ingested.stored > 0);
        if !doubted {
            self.well(now);
        }
        self.phase = if caught_up && !doubted { Phase::Live } else { Phase::CatchingUp };
        let Some(to) = self.peer else { return };
        if ingested.healed > 0 {
            // What was withheld lies behind the cursor.
            return self.ask_by_clock(now);
        }
        match brought {
            Brought::Events => {
                (self.empty, self.floods) = ((now.monotonic, 0), 0);
                self.early = 0;
                self.behind_since = None;
                return self.fetch(now, to, false);
            }
            Brought::Reach => {
                self.early = 0;
                self.behind_since = None;
                return self.next_push(now, to);
            }
            // An honest peer parks the next question, and any other is soon found out.
            Brought::Nothing => return self.next_push(now, to),
            Brought::Quiet => {}
        }
        if self.pushed {
            return self.next_push(now, to);
        }
        // A server that parks polls used up the time already; one that does not must not be asked in a loop, and neither
        // one that says it has more and sends nothing.
        let pace = if caught_up { self.interval } else { self.interval.min(NO_PROGRESS) };
        let next = self.asked_at.saturating_add(pace);
        if self.parked && next > now.monotonic {
            // One that is about to stop answers early as well, and may be back at once: asked soon, it is found to be gone, or back.
            let soon = now.monotonic.saturating_add(EARLY.saturating_mul(1 << self.early));
            self.early = (self.early + 1).min(MAX_EARLY);
            self.timer(if caught_up { next.min(soon) } else { next });
        } else {
            self.early = 0;
            self.fetch(now, to, false);
        }
    }

    /// What we wrote and the peer has more of came, or a part of it. It says nothing of how far its log was read, nor that
    /// the rest of what it sends can be used.
    fn took_own(&mut self, now: Now, ingested: Ingested, pending: Option<Pending>) {
        let all = pending.is_none_or(|pending| pending.last.0.seq >= pending.head.0.seq);
        self.own_first = !all && ingested.stored > 0;
        (self.by_clock, self.rewritten) = (ingested.healed > 0, 0);
        if let Some(to) = self.peer {
            self.ask(now, to, true, Duration::ZERO);
        }
    }

    /// Continues to listen after an answer that brought no new event, but not to a flood of them.
    fn next_push(&mut self, now: Now, to: CortexId) {
        let window = FLOOD_WINDOW.saturating_mul(1 << self.floods).min(self.interval.max(FLOOD_WINDOW));
        let until = self.empty.0.saturating_add(window);
        if now.monotonic >= until {
            self.floods = if self.empty.1 > FLOOD { (self.floods + 1).min(MAX_FLOODS) } else { 0 };
            self.empty = (now.monotonic, 0);
        }
        self.empty.1 += 1;
        if self.empty.1 > FLOOD { self.timer(until) } else { self.fetch(now, to, false) }
    }

    fn timer(&mut self, at: Duration) {
        self.token += 1;
        self.actions.push_back(Action::Timer { token: self.token, at });
    }

    /// Fails because the peer broke this rule.
    fn broke(&mut self, now: Now, category: ErrorCategory, rule: Rule, chance: u64) {
        self.fail(now, category, chance);
        self.breach = Some(rule);
    }

    fn fail(&mut self, now: Now, category: ErrorCategory, chance: u64) {
        self.breach = None;
        let news = self.health.failed(now.wall, category);
        self.forget();
        self.by_clock = false;
        (self.asked_anew, self.rewritten) = (false, 0);
        self.inspections = 0;
        self.saved_at = Some(now.monotonic);
        let news = if news { News::Failed(category) } else { News::StillFailing(category) };
        self.actions.push_back(Action::Save { health: self.health.clone(), news });
        if category.halts() {
            self.phase = Phase::Halted;
            return;
        }
        self.phase = Phase::BackingOff;
        self.failed_at = now.monotonic;
        self.retry_at = now.monotonic + backoff(self.health.consecutive_failures, chance);
        self.timer(self.retry_at);
    }
}
