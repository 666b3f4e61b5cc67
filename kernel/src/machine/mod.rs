//! The protocol with one peer, as a pure state machine: inputs in, actions out. No I/O, no clock, no randomness, no async.
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
//! returns `None`. **Time**: the caller passes a [`Now`] whose monotonic part never runs backwards. **Entropy**: 64 fresh
//! random bits where a delay may be drawn. A timer or answer that is no longer wanted carries an old number and is
//! ignored, so nothing needs to be cancelled for correctness.
//!
//! `action` is what goes out and comes back, `phase` what the machine does, `contact` what it knows of the peer, `question`
//! what it asks next, `pace` when, `progress` whether the answers lead anywhere, and `answers` puts them together. `parts` is when the
//! peer is asked for missing parts, next to all of this.

mod action;
mod answers;
mod backoff;
mod contact;
mod identity;
mod inspection;
mod pace;
mod parts;
mod phase;
mod progress;
mod question;
#[cfg(test)]
mod tests;

pub use action::{Action, IngestOutcome, Inspected, News, Now, Source};
pub use answers::MAX_INSPECTIONS;
use backoff::backoff;
pub use backoff::{BACKOFF_BASE, BACKOFF_MAX};
pub use contact::Lag;
pub use identity::{IdentityContext, check_identity};
pub use inspection::{Inspection, InspectionStep, OtherHistory};
pub(crate) use parts::MAX_ROUND;
pub use parts::{PartsPace, PartsRound, is_breach, part_of};
pub use phase::Phase;
pub use question::MAX_REWRITTEN;

use std::collections::VecDeque;
use std::time::Duration;

use crate::health::{ErrorCategory, PeerHealth};
use crate::ids::{CortexId, LogId};
use crate::receipts::LogReport;
use crate::rule::Rule;
use contact::Contact;
use pace::{Pace, PutOff, When};
use phase::State;
use progress::Progress;
use question::NextQuestion;

/// While all is well, health is stored this often: it is for people, and each time costs a synced write.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// A peer that sends requests and cannot be reached is tried again this long after a failure, if that is earlier than its
/// back-off.
pub const HEARD_APART: Duration = Duration::from_secs(15);
/// The longest that a peer can put this node off because of its quota there.
pub(crate) const MAX_PUT_OFF: Duration = Duration::from_secs(3_600);

/// The protocol with one peer.
#[derive(Debug)]
pub struct PeerMachine {
    interval: Duration,
    context: IdentityContext,
    health: PeerHealth,
    state: State,
    next: NextQuestion,
    pace: Pace,
    progress: Progress,
    /// Whether there is too little space for more.
    held: bool,
    /// The question that waits for the peer's quota here.
    put_off: Option<PutOff>,
    /// How many forks were looked into since the last new event.
    inspections: u32,
    /// Whether one of them was a fork that the question lists.
    listed: bool,
    /// The rule that the last failure is about, if it is about one that the machine holds.
    breach: Option<Rule>,
    /// What was pinned before the last [`Action::Pin`]: cortex, and number of the key statement.
    pinned: (Option<CortexId>, u64),
    number: u64,
    token: u64,
    saved_at: Option<Duration>,
    actions: VecDeque<Action>,
}

impl PeerMachine {
    /// Returns a machine that does nothing until [`PeerMachine::resume`].
    #[must_use]
    pub fn new(interval: Duration, context: IdentityContext, health: PeerHealth) -> Self {
        Self {
            interval,
            context,
            health,
            state: State::Paused,
            next: NextQuestion::default(),
            pace: Pace::default(),
            progress: Progress::default(),
            held: false,
            put_off: None,
            inspections: 0,
            listed: false,
            breach: None,
            pinned: (None, 0),
            number: 0,
            token: 0,
            saved_at: None,
            actions: VecDeque::new(),
        }
    }

    /// Returns what it is doing.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Returns which cortex it is, since that was checked at the last contact.
    #[must_use]
    pub fn peer(&self) -> Option<CortexId> {
        self.state.contact().map(|contact| contact.peer)
    }

    /// Returns the peer's health.
    #[must_use]
    pub const fn health(&self) -> &PeerHealth {
        &self.health
    }

    /// Returns the rule that the last failure is about, where the machine itself found it broken.
    #[must_use]
    pub const fn breach(&self) -> Option<Rule> {
        self.breach
    }

    /// Returns how far behind we are; unknown until the peer has said so, and again when it cannot be reached.
    #[must_use]
    pub fn lag(&self) -> Option<Lag> {
        self.state.contact().and_then(Contact::lag)
    }

    /// Returns the next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Begins, or begins again after a pause.
    pub fn resume(&mut self) {
        if self.phase() == Phase::Paused {
            self.begin();
        }
    }

    /// There is too little space for what the peer has: nothing is pulled until [`PeerMachine::release`]. What is in
    /// flight is dropped when it returns. A machine that does nothing for another reason keeps that reason.
    pub fn hold(&mut self) {
        self.held = true;
        if !matches!(self.state, State::Paused | State::Halted | State::NoSpace) {
            self.enter(State::NoSpace);
        }
    }

    /// There is space again.
    pub fn release(&mut self) {
        self.held = false;
        if self.phase() == Phase::NoSpace {
            self.identify();
        }
    }

    fn begin(&mut self) {
        if self.held { self.enter(State::NoSpace) } else { self.identify() }
    }

    /// Stops pulling. What is in flight is dropped when it returns.
    pub fn pause(&mut self) {
        self.enter(State::Paused);
    }

    /// The operator cleared pin, cursor and health: begins again, unless paused.
    pub fn reset(&mut self) {
        let paused = self.phase() == Phase::Paused;
        (self.context.pin, self.context.statement) = (None, 0);
        self.health = PeerHealth::default();
        self.saved_at = None;
        self.next.cursor_cleared();
        if paused { self.enter(State::Paused) } else { self.begin() }
    }

    /// The configuration changed: polls are this far apart from the next one on.
    pub(crate) const fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The way to the peer changed: begins again, unless paused. A peer that was halted is tried again.
    pub fn reconnect(&mut self) {
        if self.phase() != Phase::Paused {
            self.begin();
        }
    }

    /// Something suggests that the peer has news or is back: try now rather than later.
    pub fn wake(&mut self) {
        if self.phase() == Phase::BackingOff {
            self.identify();
        }
    }

    /// The peer sent a request, so it is alive, and waiting out a long delay gains nothing. Its network path may lead one
    /// way only, so it is not tried with each request, but [`HEARD_APART`] from the last failure. A peer that refuses, or
    /// gave a time after which to ask again, continues to refuse, whatever it asks.
    pub fn heard(&mut self, now: Now) {
        let is_final = |error: ErrorCategory| error.is_refusal() || error == ErrorCategory::OverQuota;
        let refuses = self.health.last_error.is_some_and(is_final);
        let State::BackingOff { failed_at, retry_at } = &mut self.state else { return };
        let soon = now.monotonic.max(*failed_at + HEARD_APART);
        if !refuses && soon < *retry_at {
            *retry_at = soon;
            self.timer(soon);
        }
    }

    /// The peer reported, in a question to this node, what it holds. Reports of an earlier contact do not count.
    pub(crate) const fn handle_report(&mut self, report: LogReport) {
        if let Some(contact) = self.state.contact_mut() {
            contact.reported(report);
        }
    }

    /// The peer has used up its quota here until this monotonic time: nothing is asked of it before. A time that has passed changes
    /// nothing.
    pub(crate) const fn set_quota_until(&mut self, until: Duration) {
        self.pace.set_quota_until(until);
    }

    /// Returns whether the next question waits for the peer's quota here.
    #[must_use]
    pub(crate) const fn is_put_off(&self) -> bool {
        self.put_off.is_some()
    }

    /// Returns whether the run that is open is not continued, because the wait for the peer's quota is too long for it.
    #[must_use]
    pub(crate) fn gives_up_run(&self) -> bool {
        self.put_off.is_some_and(|put_off| put_off.new_request)
    }

    /// Events left our log: what was reported to the peer as held is not true any more.
    pub(crate) fn ask_again(&mut self, now: Now) {
        self.ask_by_clock(now);
    }

    /// The log that we belong to is known by now.
    pub(crate) const fn set_log(&mut self, log: Option<LogId>) {
        self.context.log = log;
    }

    /// Returns the protocol that is spoken with the peer, since its identity was checked at the last contact.
    #[must_use]
    pub fn protocol(&self) -> Option<u16> {
        self.state.contact().map(|contact| contact.protocol)
    }

    /// Pins changed elsewhere: these cortexes belong to other peers now.
    pub fn set_pinned_elsewhere(&mut self, cortexes: Vec<CortexId>) {
        self.context.pinned_elsewhere = cortexes;
    }

    /// Ends what the machine is doing. Numbers and tokens that are out are old from now on.
    fn enter(&mut self, state: State) {
        self.number += 1;
        self.token += 1;
        self.actions.clear();
        self.put_off = None;
        self.state = state;
    }

    fn identify(&mut self) {
        self.enter(State::Connecting);
        self.next.connect();
        self.actions.push_back(Action::Identify { number: self.number });
    }

    /// The peer answered a question for a missing part with what breaks the protocol.
    pub(crate) fn handle_part_failed(&mut self, now: Now, category: ErrorCategory, entropy: u64) {
        if self.peer().is_some() {
            self.fail(now, category, entropy);
        }
    }

    /// The timer fired.
    pub fn handle_timer(&mut self, now: Now, token: u64) {
        if token != self.token {
            return;
        }
        match self.state {
            State::BackingOff { .. } => self.identify(),
            State::Contact(_) => match self.put_off {
                Some(PutOff { new_request, wait }) => self.ask(now, new_request, wait),
                None => self.fetch(now, false),
            },
            State::Paused | State::NoSpace | State::Halted | State::Connecting => {}
        }
    }

    /// Asks the next question, or takes the next answer to the open one.
    fn fetch(&mut self, now: Now, new_request: bool) {
        self.ask(now, new_request, self.interval);
    }

    fn ask(&mut self, now: Now, new_request: bool, wait: Duration) {
        let Some(to) = self.peer() else { return };
        if let Some((until, put_off)) = self.pace.put_off(now.monotonic, new_request, wait) {
            let new_request = put_off.new_request || self.put_off.is_some_and(|before| before.new_request);
            self.put_off = Some(PutOff { new_request, ..put_off });
            // What may still come answers a question that this one replaces.
            self.number += 1;
            return self.timer(until);
        }
        let new_request = new_request || self.put_off.take().is_some_and(|before| before.new_request);
        let question = self.next.question(wait);
        self.number += 1;
        self.pace.asked(now.monotonic, question.wait);
        let question::Question { by_clock, own, wait } = question;
        self.actions.push_back(Action::Fetch { number: self.number, to, by_clock, new_request, own, wait });
    }

    fn ask_when(&mut self, now: Now, when: When) {
        match when {
            When::Now => self.fetch(now, false),
            When::At(at) => self.timer(at),
        }
    }

    fn ask_by_clock(&mut self, now: Now) {
        if self.peer().is_some() {
            self.next.by_clock();
            self.fetch(now, true);
        }
    }

    fn timer(&mut self, at: Duration) {
        self.token += 1;
        self.actions.push_back(Action::Timer { token: self.token, at });
    }

    /// An exchange went well: that is reported where it is news, and stored now and then.
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

    /// Fails because the peer broke this rule.
    fn broke(&mut self, now: Now, category: ErrorCategory, rule: Rule, entropy: u64) {
        self.fail(now, category, entropy);
        self.breach = Some(rule);
    }

    fn fail(&mut self, now: Now, category: ErrorCategory, entropy: u64) {
        self.fail_for(now, category, Duration::ZERO, entropy);
    }

    /// Fails, and does not try again before this time has passed.
    fn fail_for(&mut self, now: Now, category: ErrorCategory, least: Duration, entropy: u64) {
        self.breach = None;
        let news = self.health.failed(now.wall, category);
        let retry_at = now.monotonic + backoff(self.health.consecutive_failures, entropy).max(least);
        let halts = category.halts();
        self.enter(if halts { State::Halted } else { State::BackingOff { failed_at: now.monotonic, retry_at } });
        self.next.settle();
        (self.inspections, self.listed) = (0, false);
        self.saved_at = Some(now.monotonic);
        let news = if news { News::Failed(category) } else { News::StillFailing(category) };
        self.actions.push_back(Action::Save { health: self.health.clone(), news });
        if !halts {
            self.timer(retry_at);
        }
    }
}
