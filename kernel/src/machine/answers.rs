//! What the machine does with each answer.

use std::time::Duration;

use super::action::{Action, IngestOutcome, Inspected, Now, Source};
use super::contact::{Contact, Pending, Reach};
use super::phase::State;
use super::progress::Brought;
use super::question::Repeat;
use super::{MAX_PUT_OFF, PeerMachine, check_identity};
use crate::health::ErrorCategory;
use crate::ids::Origin;
use crate::log::Ingested;
use crate::mutant::{self, Mutant};
use crate::proof::Identified;
use crate::protocol::{FetchReply, Heartbeat, Refusal};
use crate::rule::Rule;

/// The most forks that a peer is probed for without a new event in between; more are a failure, with back-off. Twice as many as one
/// question can name, because each fork beyond those excludes a cortex.
pub const MAX_INSPECTIONS: u32 = 128;

impl PeerMachine {
    /// The peer sent its identity, or could not be reached.
    pub fn handle_identity(&mut self, now: Now, number: u64, answer: Result<Identified, ErrorCategory>, entropy: u64) {
        if number != self.number {
            return;
        }
        let checked = answer.and_then(|identified| {
            let statement = check_identity(&identified, &self.context)?;
            // A claim pins no number: any program that can copy a statement could set it.
            let number = if identified.is_proven() { statement.number() } else { 0 };
            Ok((identified.into_identity(), statement, number))
        });
        let (identity, statement, number) = match checked {
            Ok(checked) => checked,
            Err(category) => return self.fail(now, category, entropy),
        };
        if self.context.pin.is_none() || number > self.context.statement {
            self.pinned = (self.context.pin, self.context.statement);
            (self.context.pin, self.context.statement) = (Some(identity.cortex_id), number);
            self.actions.push_back(Action::Pin {
                cortex_id: identity.cortex_id,
                root: statement.root(),
                statement: number,
            });
        }
        self.health.version = Some(identity.version.chars().take(64).collect());
        let protocol = identity.protocols().common(self.context.protocols).unwrap_or(self.context.protocols.max());
        self.state = State::Contact(Contact::new(identity.cortex_id, protocol, now.monotonic));
        // The first question is not parked: how far we are behind is worth knowing at once.
        self.ask(now, true, Duration::ZERO);
    }

    /// The pin could not be stored: nothing more is sent to the peer now.
    pub fn handle_pin_failed(&mut self, now: Now, entropy: u64) {
        (self.context.pin, self.context.statement) = self.pinned;
        self.fail(now, ErrorCategory::Store, entropy);
    }

    /// The peer answered, or could not be reached.
    pub fn handle_reply(
        &mut self,
        now: Now,
        number: u64,
        source: Source,
        answer: Result<FetchReply, ErrorCategory>,
        entropy: u64,
    ) {
        if number != self.number {
            return;
        }
        self.pace.answered(source);
        match answer {
            Ok(FetchReply::Batch(batch)) => {
                let Some(contact) = self.state.contact_mut() else { return };
                contact.pending = Some(Pending::of(&batch));
                self.actions.push_back(Action::Ingest { number, batch: Box::new(batch) });
            }
            Ok(FetchReply::Refused { refusal: Refusal::CursorUnknown, .. }) => match self.next.cursor_unknown() {
                Repeat::Useless => self.broke(now, ErrorCategory::Protocol, Rule::CursorNotSent, entropy),
                repeat => self.repeat(now, repeat, entropy),
            },
            Ok(FetchReply::Refused { refusal: Refusal::Fork { origin, counter, .. }, .. }) => {
                self.inspect(now, origin, counter, entropy)
            }
            Ok(FetchReply::Refused { refusal: Refusal::OverQuota { after }, .. }) => {
                self.fail_for(now, ErrorCategory::OverQuota, after.min(MAX_PUT_OFF), entropy);
            }
            Ok(FetchReply::Refused { refusal, .. }) => self.fail(now, refusal.category(), entropy),
            Err(category) => self.fail(now, category, entropy),
        }
    }

    /// The peer sent how far its log reaches.
    pub fn handle_heartbeat(&mut self, now: Now, number: u64, heartbeat: &Heartbeat, entropy: u64) {
        if number != self.number {
            return;
        }
        let Some(contact) = self.state.contact_mut() else { return };
        if heartbeat.from != contact.peer {
            return self.broke(now, ErrorCategory::Protocol, Rule::OtherHeartbeat, entropy);
        }
        let reach = contact.heartbeat(now.monotonic, heartbeat);
        if matches!(reach, Reach::Known | Reach::Stuck) && !self.is_doubted(now, false) {
            self.well(now);
        }
        match reach {
            Reach::OtherEpoch | Reach::Stuck => self.fetch(now, true),
            Reach::Unread | Reach::Known => {
                let when = self.pace.after_push(now.monotonic, self.interval);
                self.ask_when(now, when);
            }
        }
    }

    /// The log stored the batch, or did not.
    pub fn handle_ingested(&mut self, now: Now, number: u64, outcome: IngestOutcome, entropy: u64) {
        if number != self.number {
            return;
        }
        let (repeat, useless) = match outcome {
            IngestOutcome::Done(ingested) => return self.succeed(now, ingested, entropy),
            IngestOutcome::Fork(origin, counter) => return self.inspect(now, origin, counter, entropy),
            IngestOutcome::Failed(category) => return self.fail(now, category, entropy),
            // A bounded number of cortexes can be excluded.
            IngestOutcome::Excluded => return self.fetch(now, true),
            IngestOutcome::Hole => (self.next.hole(), ErrorCategory::Protocol),
            // Twice in a row: pin or cursor keep changing under us ...
            IngestOutcome::NotAsked => (self.next.unfit(), ErrorCategory::Store),
            // ... or the peer does not continue from where it was asked to.
            IngestOutcome::Gap => (self.next.unfit(), ErrorCategory::Protocol),
        };
        match repeat {
            Repeat::Useless => self.fail(now, useless, entropy),
            repeat => self.repeat(now, repeat, entropy),
        }
    }

    /// Asks again after an answer that could not be used.
    fn repeat(&mut self, now: Now, repeat: Repeat, entropy: u64) {
        if repeat == Repeat::Rest {
            return self.ask(now, true, Duration::ZERO);
        }
        self.progress.led_nowhere();
        if !self.is_stuck(now, entropy) {
            self.fetch(now, true);
        }
    }

    /// A difference is said to exist: where it begins, and whether it does, is found out before anything is believed.
    fn inspect(&mut self, now: Now, origin: Origin, counter: u64, entropy: u64) {
        let Some(to) = self.peer() else { return };
        if counter == 0 {
            // Before their first events no two histories differ.
            return self.broke(now, ErrorCategory::Protocol, Rule::ForkBeforeFirst, entropy);
        }
        self.inspections += 1;
        if self.inspections > MAX_INSPECTIONS {
            return self.broke(now, ErrorCategory::TooManyForks, Rule::TooManyForks, entropy);
        }
        self.number += 1;
        self.actions.push_back(Action::Inspect { number: self.number, to, origin, counter });
    }

    /// What the histories differ in is known and stored, or it could not be found out.
    pub fn handle_inspected(&mut self, now: Now, number: u64, outcome: Result<Inspected, ErrorCategory>, entropy: u64) {
        if number != self.number {
            return;
        }
        match outcome {
            Ok(Inspected::News) => self.fetch(now, true),
            Ok(Inspected::Listed) if self.listed && !mutant::is(Mutant::ListedForkBelieved) => {
                self.broke(now, ErrorCategory::Protocol, Rule::ForkListed, entropy);
            }
            // A command may have stored the fork while the question was open. The next question lists it.
            Ok(Inspected::Listed) => {
                self.listed = true;
                self.fetch(now, true);
            }
            Err(category) => self.fail(now, category, entropy),
        }
    }

    /// Whether the peer's last failure was in its content, and nothing proves since then that it ended: a quiet answer between
    /// two such failures must not make the next try come soon.
    fn is_doubted(&self, now: Now, new_events: bool) -> bool {
        let by_content = matches!(
            self.health.last_error,
            Some(
                ErrorCategory::Protocol | ErrorCategory::Fork | ErrorCategory::TooManyForks | ErrorCategory::NoProgress
            )
        );
        let young = self.state.contact().is_some_and(|contact| contact.is_young(now.monotonic));
        by_content && !new_events && young
    }

    /// Fails if too many answers in a row led nowhere.
    fn is_stuck(&mut self, now: Now, entropy: u64) -> bool {
        let stuck = self.progress.is_exhausted();
        if stuck {
            self.progress.gave_up();
            self.broke(now, ErrorCategory::NoProgress, Rule::NoProgress, entropy);
        }
        stuck
    }

    fn succeed(&mut self, now: Now, ingested: Ingested, entropy: u64) {
        let Some(contact) = self.state.contact_mut() else { return };
        let pending = contact.pending.take();
        let caught_up = pending.is_none_or(|pending| pending.is_last());
        let by_clock = self.next.took();
        if ingested.stored > 0 {
            // A peer that forks and heals in turn, or sends nothing in between, is not looked into without end.
            (self.inspections, self.listed) = (0, false);
        }
        if self.next.is_own() {
            // That says nothing of how far the peer's log was read, nor that the rest of what it sends can be used.
            self.next.took_own(!caught_up && ingested.stored > 0, ingested.healed > 0);
            return self.ask(now, true, Duration::ZERO);
        }
        let mut brought = Brought::Quiet;
        if let Some(pending) = pending {
            contact.took(pending);
            brought = self.progress.took(&ingested, pending.prev, pending.last.0, by_clock);
            if self.is_stuck(now, entropy) {
                return;
            }
        }
        let doubted = self.is_doubted(now, ingested.stored > 0);
        if !doubted {
            self.well(now);
        }
        let Some(contact) = self.state.contact_mut() else { return };
        contact.live = caught_up && !doubted;
        if ingested.healed > 0 {
            // What was withheld lies behind the cursor.
            return self.ask_by_clock(now);
        }
        if matches!(brought, Brought::Events | Brought::Reach) {
            contact.moved();
        }
        let when = self.pace.after(brought, caught_up, now.monotonic, self.interval);
        self.ask_when(now, when);
    }
}
