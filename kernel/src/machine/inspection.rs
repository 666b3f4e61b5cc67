//! Finding where two histories of one origin part: by halving, then by reading what stands there. Pure: steps out,
//! answers in. A mere claim leads nowhere, because it ends in an event that either proves the difference or does not.

use crate::codec::EventRef;
use crate::event::EventBytes;
use crate::health::{ErrorCategory, Failure};
use crate::identity::{ClockHash, Signature};
use crate::ids::Origin;
use crate::protocol::{FetchReply, Refusal};
use crate::rule::Rule;

/// What to ask the peer next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InspectionStep {
    /// Whether its digest at this counter is ours: a question with just that as `known`.
    Compare {
        /// The counter.
        counter: u64,
    },
    /// Its events from this counter on.
    Read {
        /// The first counter.
        from: u64,
    },
}

/// What a peer showed of its history where the two part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherHistory {
    /// The first counter that differs.
    pub from: u64,
    /// How the origin begins there, if it differs from the first event on.
    pub inception: Option<EventBytes>,
    /// The peer's events from there on.
    pub records: Vec<EventBytes>,
    /// The seals of the groups that end in them, each with the hash of the clock that was sealed.
    pub seals: Vec<(Signature, ClockHash)>,
}

/// The search for the first difference of one origin's two histories.
#[derive(Debug, Clone)]
pub struct Inspection {
    origin: Origin,
    /// The histories agree here, or it is the beginning.
    low: u64,
    /// They are said to differ here.
    high: u64,
}

impl Inspection {
    /// A search below a counter at which the histories are said to differ.
    #[must_use]
    pub const fn new(origin: Origin, differ_at: u64) -> Self {
        Self { origin, low: 0, high: differ_at }
    }

    /// Of whose history.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// What to ask next.
    #[must_use]
    pub const fn step(&self) -> InspectionStep {
        if self.high > self.low + 1 {
            InspectionStep::Compare { counter: self.low + (self.high - self.low) / 2 }
        } else {
            InspectionStep::Read { from: self.high }
        }
    }

    /// Takes the peer's answer to [`Inspection::step`]. `Some` ends the search.
    ///
    /// # Errors
    /// Its [`Failure`], where the answer is none to the question.
    pub fn answer(&mut self, reply: FetchReply) -> Result<Option<OtherHistory>, Failure> {
        match (self.step(), reply) {
            (
                InspectionStep::Compare { counter },
                FetchReply::Refused { refusal: Refusal::Fork { origin, counter: at, .. }, .. },
            ) if origin == self.origin && at == counter => {
                self.high = counter;
                Ok(None)
            }
            (InspectionStep::Compare { counter }, FetchReply::Batch(batch)) => {
                // Where it holds less than that, it cannot differ above.
                if batch.heads.get(self.origin).is_some_and(|head| head.counter < counter) {
                    let detail = format!("{}: {} at counter {counter}", Rule::HoldsLessThanClaimed, self.origin);
                    return Err(Failure::new(ErrorCategory::Protocol, detail));
                }
                self.low = counter;
                Ok(None)
            }
            (InspectionStep::Read { from }, FetchReply::Batch(batch)) => {
                let of_origin =
                    |bytes: &EventBytes| EventRef::decode_dot(bytes).is_ok_and(|(_, dot)| dot.origin() == self.origin);
                let records: Vec<_> = batch.events.into_iter().map(|(_, bytes)| bytes).filter(of_origin).collect();
                let inception = batch.inceptions.into_iter().find(|(origin, _)| *origin == self.origin);
                let seals = batch.seals.into_iter().zip(batch.clocks).collect();
                Ok(Some(OtherHistory { from, inception: inception.map(|(_, bytes)| bytes), records, seals }))
            }
            (_, FetchReply::Refused { refusal, .. }) => Err(Failure::from(&refusal)),
        }
    }
}
