//! The machine's caller, which checks each action that it is handed.

use std::time::Duration;

use antiphon_kernel::health::{ErrorCategory, PeerHealth};
use antiphon_kernel::ids::LogId;
use antiphon_kernel::ids::{CortexId, Epoch};
use antiphon_kernel::internals::machine::{
    Action, BACKOFF_BASE, BACKOFF_MAX, HEARD_APART, IdentityContext, IngestOutcome, Inspected, MAX_INSPECTIONS,
    MAX_REWRITTEN, News, Now, PeerMachine, Source,
};
use antiphon_kernel::proof::Identified;
use antiphon_kernel::protocol::Protocols;
use antiphon_kernel::protocol::{EventBatch, FetchReply, Heartbeat, Identity, Refusal};
use antiphon_kernel::state::Phase;
use antiphon_kernel::time::Timestamp;

use super::answers::{self, Said, cortex};
use crate::choices::Choices;

/// A step asks for no more than this: a pin, a save or a batch, and a question or a timer.
const MAX_ACTIONS: usize = 2;
/// At one moment, a peer that brings nothing is asked no more often than this: sixteen pushes in a row may be empty, and
/// each may be followed by one question by clock and one new request. So may each fork that is looked into.
const MAX_IDLE_QUESTIONS: u32 = 65 + 3 * MAX_INSPECTIONS + MAX_REWRITTEN as u32;
const LEAST_BACKOFF: Duration = Duration::from_millis(50);

/// What the machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Identify(u64),
    Fetch(u64),
    Ingest(u64),
    Inspect(u64),
}

pub(crate) struct Driver {
    machine: PeerMachine,
    interval: Duration,
    now: Duration,
    entropy: u64,
    open: Option<Question>,
    timer: Option<(u64, Duration)>,
    /// The last question's number, and the last timer's token.
    issued: (u64, u64),
    /// The newest of each that nobody waits for any more.
    stale: (u64, u64),
    pin: Option<CortexId>,
    elsewhere: Vec<CortexId>,
    pin_fails: bool,
    /// Who the peer proved to be.
    peer: Option<CortexId>,
    /// Whether what we wrote ourselves is asked for, before all else.
    own_first: bool,
    /// Whether the next fetch is the first since.
    first: bool,
    by_clock: bool,
    rewritten: u8,
    batch: Option<EventBatch>,
    /// Of which incarnation of the peer's log something was read.
    read: Option<Epoch>,
    failures: u32,
    last_error: Option<ErrorCategory>,
    idle_questions: u32,
    /// Forks that were looked into since a success that ended none.
    inspections: u32,
    /// Whether one of them was a fork that the question lists.
    listed: bool,
    /// Forks that were found and not ended yet.
    forks: u32,
    held: bool,
}

/// A number that nobody waits for: one from `newest` downwards, or one far from being given out.
fn not_wanted(newest: u64, back: u64) -> u64 {
    newest.checked_sub(back).unwrap_or(u64::MAX - back % 256)
}

const OWN_LOG: LogId = LogId::from_bytes([5; 16]);

impl Driver {
    pub(super) fn new(interval: Duration, pin: Option<CortexId>, health: PeerHealth) -> Self {
        let elsewhere = vec![cortex(9)];
        let context = IdentityContext {
            own: cortex(1),
            pin,
            statement: pin.map_or(0, |_| 1),
            expected: None,
            pinned_elsewhere: elsewhere.clone(),
            log: Some(OWN_LOG),
            protocols: Protocols::SPOKEN,
            unproven: false,
        };
        let mut driver = Self {
            failures: health.consecutive_failures,
            last_error: health.last_error,
            machine: PeerMachine::new(interval, context, health),
            interval,
            now: Duration::ZERO,
            entropy: 1,
            open: None,
            timer: None,
            issued: (0, 0),
            stale: (0, 0),
            pin,
            elsewhere,
            pin_fails: false,
            peer: None,
            own_first: false,
            first: false,
            by_clock: false,
            rewritten: 0,
            batch: None,
            read: None,
            idle_questions: 0,
            inspections: 0,
            listed: false,
            forks: 0,
            held: false,
        };
        driver.act();
        driver.resume();
        driver
    }

    #[cfg(test)]
    pub(crate) const fn phase(&self) -> Phase {
        self.machine.phase()
    }

    fn moment(&self) -> Now {
        let micros = i64::try_from(self.now.as_micros()).unwrap_or(i64::MAX);
        Now { monotonic: self.now, wall: Timestamp::from_micros(micros) }
    }

    fn entropy(&mut self) -> u64 {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        [0, u64::MAX, self.entropy][usize::try_from(self.entropy >> 33).unwrap_or(0) % 3]
    }

    pub(super) fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.idle_questions = 0;
    }

    pub(super) fn fire_timer(&mut self) {
        let Some((token, at)) = self.timer.take() else { return };
        if at > self.now {
            self.now = at;
            self.idle_questions = 0;
        }
        self.machine.handle_timer(self.moment(), token);
        self.act();
        assert!(self.open.is_some(), "a timer that fires leads to a question");
    }

    pub(super) fn resume(&mut self) {
        self.machine.resume();
        self.act();
        assert_ne!(self.machine.phase(), Phase::Paused);
    }

    pub(super) fn pause(&mut self) {
        self.machine.pause();
        self.drop_all();
        self.act();
        assert_eq!(self.machine.phase(), Phase::Paused);
    }

    pub(super) fn reset(&mut self) {
        let paused = self.machine.phase() == Phase::Paused;
        self.machine.reset();
        self.drop_all();
        (self.pin, self.failures, self.last_error) = (None, 0, None);
        (self.by_clock, self.rewritten) = (false, 0);
        self.act();
        assert_eq!(self.machine.health(), &PeerHealth::default());
        let begun = if self.held { Phase::NoSpace } else { Phase::Connecting };
        assert_eq!(self.machine.phase(), if paused { Phase::Paused } else { begun });
    }

    pub(super) fn hold(&mut self) {
        let at_rest = matches!(self.machine.phase(), Phase::Paused | Phase::Halted);
        self.held = true;
        self.machine.hold();
        self.drop_all();
        self.act();
        assert!(at_rest || self.machine.phase() == Phase::NoSpace);
    }

    pub(super) fn release(&mut self) {
        let begins = self.machine.phase() == Phase::NoSpace;
        self.held = false;
        self.machine.release();
        self.act();
        assert!(!begins || self.machine.phase() == Phase::Connecting);
    }

    pub(super) fn wake(&mut self) {
        if self.machine.phase() == Phase::BackingOff {
            self.machine.wake();
            self.act();
            assert_eq!(self.machine.phase(), Phase::Connecting);
        } else {
            self.changes_nothing("a wake-up", |machine, _, _| machine.wake());
        }
    }

    /// Being asked something brings the next try nearer at most.
    pub(super) fn heard(&mut self) {
        let refuses = self.last_error.is_some_and(ErrorCategory::is_refusal);
        let Some((_, before)) = self.timer.filter(|_| self.machine.phase() == Phase::BackingOff && !refuses) else {
            return self.changes_nothing("being heard", |machine, now, _| machine.heard(now));
        };
        self.machine.heard(self.moment());
        if let Some(action) = self.machine.poll_action() {
            let Action::Timer { token, at } = action else { panic!("heard, and it wants {action:?}") };
            assert!(token > self.issued.1, "no token is given out twice");
            assert!(at < before && at >= self.now && at <= self.now + HEARD_APART, "{at:?} instead of {before:?}");
            (self.timer, self.issued.1, self.stale.1) = (Some((token, at)), token, token - 1);
        }
        self.act();
    }

    pub(super) fn pin_elsewhere(&mut self, cortex_id: CortexId) {
        self.elsewhere = vec![cortex_id];
        self.machine.set_pinned_elsewhere(self.elsewhere.clone());
        self.act();
    }

    pub(super) const fn fail_next_pin(&mut self) {
        self.pin_fails = true;
    }

    fn drop_all(&mut self) {
        (self.open, self.timer, self.peer, self.read) = (None, None, None, None);
        self.stale = self.issued;
    }

    fn changes_nothing(&mut self, what: &str, step: impl FnOnce(&mut PeerMachine, Now, u64)) {
        let before = format!("{:?}", self.machine);
        let (now, entropy) = (self.moment(), self.entropy());
        step(&mut self.machine, now, entropy);
        assert_eq!(before, format!("{:?}", self.machine), "{what} changes nothing");
        assert_eq!(self.machine.poll_action(), None, "{what} asks for nothing");
    }

    pub(super) fn fire_stale_timer(&mut self, back: u64) {
        let stale = not_wanted(self.stale.1, back);
        self.changes_nothing("a stale timer", |machine, now, _| machine.handle_timer(now, stale));
    }

    /// An answer to a question that is not open any more, or was never asked.
    pub(super) fn answer_late(&mut self, choices: &mut Choices<'_>) {
        let back = choices.number();
        let number = not_wanted(self.stale.0, back);
        let kind = choices.byte() % 4;
        let said = answers::said(choices);
        let outcome = answers::outcome(choices);
        let identity = answers::identity(choices);
        let inspected = answers::inspected(choices);
        self.changes_nothing("a late answer", |machine, now, entropy| match (kind, said) {
            (0, Said::Reply(source, answer)) => machine.handle_reply(now, number, source, answer, entropy),
            (0, Said::Heartbeat(heartbeat)) => machine.handle_heartbeat(now, number, &heartbeat, entropy),
            (1, _) => machine.handle_ingested(now, number, outcome, entropy),
            (2, _) => machine.handle_inspected(now, number, inspected, entropy),
            _ => machine.handle_identity(now, number, identity.map(Identified::trusted), entropy),
        });
    }

    pub(super) fn answer(&mut self, choices: &mut Choices<'_>) {
        match self.open {
            Some(Question::Identify(_)) => self.answer_identity(answers::identity(choices)),
            Some(Question::Fetch(_)) => match answers::said(choices) {
                Said::Reply(source, answer) => self.answer_reply(source, answer),
                Said::Heartbeat(heartbeat) => self.answer_heartbeat(&heartbeat),
            },
            Some(Question::Ingest(_)) => self.answer_ingested(answers::outcome(choices)),
            Some(Question::Inspect(_)) => self.answer_inspected(answers::inspected(choices)),
            None => {}
        }
    }

    fn answer_identity(&mut self, answer: Result<Identity, ErrorCategory>) {
        let Some(Question::Identify(number)) = self.open.take() else { return };
        let wrong = match &answer {
            Err(category) => Some(*category),
            Ok(identity) => self.wrong_with(identity),
        };
        let (now, entropy) = (self.moment(), self.entropy());
        self.peer = answer.as_ref().ok().map(|identity| identity.cortex_id);
        (self.first, self.own_first) = (true, true);
        self.machine.handle_identity(now, number, answer.map(Identified::trusted), entropy);
        let pin_failed = wrong.is_none() && self.pin.is_none() && self.pin_fails;
        self.act();
        self.failed_with(wrong.or(pin_failed.then_some(ErrorCategory::Store)));
        assert!(self.machine.health().version.as_deref().is_none_or(|version| version.chars().count() <= 64));
    }

    fn wrong_with(&self, identity: &Identity) -> Option<ErrorCategory> {
        let who = identity.cortex_id;
        if who == cortex(1) {
            Some(ErrorCategory::OwnAddress)
        } else if self.pin.is_some_and(|pin| pin != who) {
            Some(ErrorCategory::Identity)
        } else if self.elsewhere.contains(&who) {
            Some(ErrorCategory::PinnedElsewhere)
        } else if !(identity.protocol_min..=identity.protocol_max).contains(&2) {
            // Version 2 is all that there is.
            Some(ErrorCategory::Version)
        } else {
            identity.log.is_some_and(|log| log != OWN_LOG).then_some(ErrorCategory::OtherLog)
        }
    }

    fn answer_reply(&mut self, source: Source, answer: Result<FetchReply, ErrorCategory>) {
        let Some(Question::Fetch(number)) = self.open.take() else { return };
        let by_clock_before = self.by_clock;
        let mut wrong = None;
        match &answer {
            Err(category) => wrong = Some(*category),
            Ok(FetchReply::Refused { refusal: Refusal::CursorUnknown, .. }) => {
                wrong = (by_clock_before && self.rewritten >= MAX_REWRITTEN).then_some(ErrorCategory::Protocol);
                (self.by_clock, self.rewritten) = (true, self.rewritten + u8::from(by_clock_before));
            }
            Ok(FetchReply::Refused { refusal: Refusal::Fork { counter, .. }, .. }) => wrong = self.look_into(*counter),
            Ok(_) => {}
        }
        let refused = matches!(&answer, Ok(FetchReply::Refused { refusal, .. })
            if !matches!(refusal, Refusal::CursorUnknown | Refusal::Fork { .. }));
        self.batch = match &answer {
            Ok(FetchReply::Batch(batch)) => Some(batch.clone()),
            _ => None,
        };
        let was_batch = self.batch.is_some();
        let (now, entropy) = (self.moment(), self.entropy());
        self.machine.handle_reply(now, number, source, answer, entropy);
        self.act();
        assert!(
            !refused || matches!(self.machine.phase(), Phase::BackingOff | Phase::Halted),
            "a refusal is a failure"
        );
        assert_eq!(was_batch, self.open == Some(Question::Ingest(number)), "a batch is ingested, and nothing else");
        self.failed_with(wrong);
    }

    fn answer_heartbeat(&mut self, heartbeat: &Heartbeat) {
        let Some(Question::Fetch(number)) = self.open.take() else { return };
        let wrong = (Some(heartbeat.from) != self.peer).then_some(ErrorCategory::Protocol);
        if self.read.is_some_and(|epoch| epoch != heartbeat.head.epoch) {
            // Asked again, once.
            (self.read, self.idle_questions) = (None, 0);
        }
        let (now, entropy) = (self.moment(), self.entropy());
        self.machine.handle_heartbeat(now, number, heartbeat, entropy);
        self.act();
        self.failed_with(wrong);
        if wrong.is_none() {
            assert!(matches!(self.machine.phase(), Phase::Live | Phase::CatchingUp));
        }
    }

    /// A fork is claimed: it is looked into, but not for ever.
    fn look_into(&mut self, counter: u64) -> Option<ErrorCategory> {
        if counter == 0 {
            // Before their first events no two histories differ.
            return Some(ErrorCategory::Protocol);
        }
        self.inspections += 1;
        (self.inspections > MAX_INSPECTIONS).then_some(ErrorCategory::TooManyForks)
    }

    fn answer_inspected(&mut self, outcome: Result<Inspected, ErrorCategory>) {
        let Some(Question::Inspect(number)) = self.open.take() else { return };
        self.forks += u32::from(outcome.is_ok());
        let is_listed = outcome == Ok(Inspected::Listed);
        // A failure forgets it, so it is looked at before the machine acts.
        let again = is_listed && self.listed;
        self.listed |= is_listed;
        let (now, entropy) = (self.moment(), self.entropy());
        self.machine.handle_inspected(now, number, outcome, entropy);
        self.act();
        let failure = if again { Some(ErrorCategory::Protocol) } else { outcome.err() };
        self.failed_with(failure);
        assert!(
            failure.is_some() || matches!(self.open, Some(Question::Fetch(_))),
            "what was found out is followed up"
        );
    }

    fn answer_ingested(&mut self, mut outcome: IngestOutcome) {
        let Some(Question::Ingest(number)) = self.open.take() else { return };
        let mut wrong = None;
        let batch = self.batch.take();
        let own = self.own_first;
        match outcome {
            IngestOutcome::Done(ref mut ingested) => {
                // The log ends what it knows of, and nothing else.
                ingested.healed = ingested.healed.min(self.forks as usize);
                (self.by_clock, self.rewritten) = (ingested.healed > 0, 0);
                if ingested.stored > 0 {
                    (self.inspections, self.listed) = (0, false);
                }
                self.forks -= u32::from(ingested.healed > 0);
                if own {
                    let all = batch.as_ref().is_none_or(|batch| batch.last.seq >= batch.head.seq);
                    (self.own_first, self.first) = (!all && ingested.stored > 0, true);
                }
                if ingested.stored > 0 || batch.as_ref().is_some_and(|batch| batch.last != batch.prev) {
                    self.idle_questions = 0;
                }
            }
            IngestOutcome::Hole if own => (self.own_first, self.first) = (false, true),
            IngestOutcome::Hole => {
                wrong = self.by_clock.then_some(ErrorCategory::Protocol);
                self.by_clock = true;
            }
            IngestOutcome::Failed(category) => wrong = Some(category),
            IngestOutcome::Fork(_, counter) => wrong = self.look_into(counter),
            // The driver excludes nothing.
            IngestOutcome::NotAsked | IngestOutcome::Gap | IngestOutcome::Excluded => {}
        }
        let (now, entropy) = (self.moment(), self.entropy());
        self.machine.handle_ingested(now, number, outcome, entropy);
        self.act();
        self.failed_with(wrong);
        if self.gave_up() {
            return;
        }
        if let (IngestOutcome::Done(_), Some(batch), false) = (outcome, batch, own) {
            let behind = batch.head.seq.get().saturating_sub(batch.last.seq.get());
            self.read = Some(batch.last.epoch);
            assert_eq!(self.machine.lag().map(|lag| lag.events), Some(behind));
            let doubted = self.last_error.is_some();
            assert_eq!(self.machine.phase(), if behind > 0 || doubted { Phase::CatchingUp } else { Phase::Live });
        }
    }

    /// Whatever is open is answered at once, over and over, by pushes that bring nothing.
    pub(super) fn flood(&mut self, kind: u8) {
        for round in 0..2 * MAX_IDLE_QUESTIONS {
            match (self.open, self.peer) {
                (Some(Question::Fetch(_)), Some(from))
                    if kind.is_multiple_of(3) || (kind % 3 == 1 && round % 4 == 0) =>
                {
                    let nothing = answers::heartbeat(&mut Choices::new(&[]));
                    self.answer_heartbeat(&Heartbeat { from, ..nothing });
                }
                (Some(Question::Fetch(_)), _) => {
                    self.answer_reply(Source::Pushed, Ok(FetchReply::Batch(answers::nothing_new())));
                }
                (Some(Question::Ingest(_)), _) => self.answer_ingested(answers::done(&mut Choices::new(&[]))),
                (Some(Question::Inspect(_)), _) => self.answer_inspected(Ok(Inspected::News)),
                _ => return,
            }
        }
    }

    /// Whether the machine found that the peer's answers lead nowhere, which the driver does not count.
    fn gave_up(&self) -> bool {
        let (phase, error) = (self.machine.phase(), self.machine.health().last_error);
        phase == Phase::BackingOff && error == Some(ErrorCategory::NoProgress)
    }

    /// If something was wrong, that is what the machine failed with.
    fn failed_with(&self, wrong: Option<ErrorCategory>) {
        let Some(category) = wrong else { return };
        assert_eq!(self.machine.health().last_error, Some(category));
        let expected = if category.halts() { Phase::Halted } else { Phase::BackingOff };
        assert_eq!(self.machine.phase(), expected, "after {category}");
    }

    /// Takes every action, as the machine's terms demand after each step, and checks what stands then.
    fn act(&mut self) {
        let mut taken = 0;
        // A pin that cannot be stored is a step of its own between two actions.
        let most = MAX_ACTIONS + usize::from(self.pin_fails);
        while let Some(action) = self.machine.poll_action() {
            taken += 1;
            self.take(action);
        }
        assert!(taken <= most, "{taken} actions at once");
        let phase = self.machine.phase();
        // Neither stuck nor doing two things at once.
        let waits = (self.open.is_some(), self.timer.is_some());
        match phase {
            Phase::Paused | Phase::Halted | Phase::NoSpace => assert_eq!(waits, (false, false), "{phase:?} is at rest"),
            Phase::BackingOff => assert_eq!(waits, (false, true), "{phase:?} waits for its timer"),
            Phase::Connecting => assert!(matches!(self.open, Some(Question::Identify(_))) && !waits.1, "{phase:?}"),
            Phase::CatchingUp | Phase::Live => assert!(waits.0 != waits.1, "{phase:?} with question, timer: {waits:?}"),
        }
        let reached = matches!(phase, Phase::CatchingUp | Phase::Live);
        assert!(reached || self.machine.lag().is_none(), "the lag is unknown while the peer is not reached");
        assert_eq!(self.machine.health().consecutive_failures, self.failures);
        assert_eq!(self.machine.health().last_error, self.last_error);
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Identify { number } => {
                // It may come before the timer; then that is not wanted any more.
                self.timer = None;
                self.stale = self.issued;
                (self.peer, self.read, self.idle_questions) = (None, None, 0);
                self.ask(Question::Identify(number), number);
            }
            Action::Pin { cortex_id, statement: 1, .. } => self.pin(cortex_id),
            Action::Pin { statement, .. } => panic!("no cortex has key statement {statement}"),
            Action::Fetch { number, to, by_clock, new_request, own, wait } => {
                assert_eq!(Some(to), self.peer, "only who proved to be the peer is asked");
                assert_eq!(Some(to), self.pin, "and only once that is stored");
                assert_eq!(by_clock, self.by_clock);
                let first = std::mem::take(&mut self.first);
                assert_eq!(own, self.own_first, "what we wrote is asked for first, and once");
                assert_eq!(wait, if first || own { Duration::ZERO } else { self.interval });
                assert!(new_request || !first, "the first question takes no answer of an earlier run");
                self.idle_questions += 1;
                assert!(self.idle_questions <= MAX_IDLE_QUESTIONS, "a peer that brings nothing is asked in a loop");
                self.ask(Question::Fetch(number), number);
            }
            Action::Ingest { number, batch } => {
                assert_eq!(self.issued.0, number, "a batch answers the question asked last");
                assert_eq!(self.batch.as_ref(), Some(&*batch), "and is the one that was answered");
                assert_eq!((self.open, self.timer), (None, None));
                self.open = Some(Question::Ingest(number));
            }
            Action::Inspect { number, to, .. } => {
                assert_eq!(Some(to), self.peer, "only who proved to be the peer is asked");
                assert!(self.inspections <= MAX_INSPECTIONS, "a peer that forks is looked into in a loop");
                self.ask(Question::Inspect(number), number);
            }
            Action::Timer { token, at } => self.set_timer(token, at),
            Action::Save { health, news } => self.save(&health, news),
        }
    }

    fn ask(&mut self, question: Question, number: u64) {
        assert!(number > self.issued.0, "no number is given out twice");
        assert_eq!((self.open, self.timer), (None, None), "one thing at a time");
        (self.open, self.issued.0, self.stale.0) = (Some(question), number, number - 1);
    }

    fn pin(&mut self, cortex_id: CortexId) {
        assert_eq!((self.pin, self.peer), (None, Some(cortex_id)), "who proved to be the peer is pinned, and once");
        assert_eq!(self.open, None, "nothing is asked before it is stored");
        if std::mem::take(&mut self.pin_fails) {
            let (now, entropy) = (self.moment(), self.entropy());
            self.machine.handle_pin_failed(now, entropy);
        } else {
            self.pin = Some(cortex_id);
        }
    }

    fn set_timer(&mut self, token: u64, at: Duration) {
        assert!(token > self.issued.1, "no token is given out twice");
        assert_eq!((self.open, self.timer), (None, None), "one thing at a time");
        assert!(at > self.now, "a timer lies ahead");
        let ahead = at.saturating_sub(self.now);
        if self.machine.phase() == Phase::BackingOff {
            let doublings = self.failures.saturating_sub(1).min(20);
            let most = (BACKOFF_BASE * (1 << doublings)).min(BACKOFF_MAX);
            assert!((LEAST_BACKOFF..=most).contains(&ahead), "{ahead:?} after {} failures", self.failures);
        } else {
            assert!(ahead <= self.interval.max(Duration::from_secs(1)), "{ahead:?} while all is well");
        }
        (self.timer, self.issued.1, self.stale.1) = (Some((token, at)), token, token - 1);
    }

    fn save(&mut self, health: &PeerHealth, news: News) {
        match news {
            News::Failed(category) | News::StillFailing(category) => {
                let repeated = self.last_error == Some(category);
                assert_eq!(news == News::StillFailing(category), repeated, "a failure is explained once");
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(category);
                (self.by_clock, self.rewritten) = (false, 0);
                (self.peer, self.read, self.stale) = (None, None, self.issued);
                (self.inspections, self.listed) = (0, false);
                assert_eq!(health.last_failure, Some(self.moment().wall));
            }
            News::Recovered | News::None => {
                assert_eq!(news == News::Recovered, self.failures > 0, "a recovery is told once");
                (self.failures, self.last_error) = (0, None);
                assert_eq!(health.last_success, Some(self.moment().wall));
            }
        }
        assert_eq!((health.consecutive_failures, health.last_error), (self.failures, self.last_error));
        assert_eq!(health, self.machine.health(), "what is kept is what it knows");
    }
}
