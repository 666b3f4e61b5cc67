//! Filling a missing part, as a pure decision: whether a record brings what is missing of the one that is held.
//!
//! The hashes of absent parts are in the record, and the chain's digest covers them. So any node may bring a part, and none can
//! bring another one. An erased part stays erased, whatever is brought.

use crate::codec::{Part, RecordRef};
use crate::error_code::ErrorCode;
use crate::event::{EventBytes, InvalidEvent};
use crate::ids::Dot;
use crate::mutant::{self, Mutant};
use crate::store::StoreError;

/// What became of a record that was brought for its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// The event.
    pub dot: Dot,
    /// Whether no part of it is missing now.
    pub is_settled: bool,
}

/// Why a record does not fill the one that is held. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotFilled {
    /// The record is not valid.
    #[error("the record that was brought is not valid")]
    Invalid(#[from] InvalidEvent),
    /// No such event is held.
    #[error("{dot} is not held")]
    NotHeld {
        /// The event.
        dot: Dot,
    },
    /// No part of the event is missing, or one was filled just now.
    #[error("no part of {dot} is missing")]
    NotMissing {
        /// The event.
        dot: Dot,
    },
    /// The routing parts differ: it is another event.
    #[error("another event has the dot {dot} there")]
    OtherEvent {
        /// The dot of both.
        dot: Dot,
    },
    /// A part does not have the hash that is kept of it.
    #[error("the {part} of {dot} do not have the hash that is kept of them")]
    OtherPart {
        /// The event.
        dot: Dot,
        /// Which part: `attributes` or `data`.
        part: &'static str,
    },
    /// The record has none of the missing parts.
    #[error("what is missing of {dot} is missing there as well")]
    Nothing {
        /// The event.
        dot: Dot,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotFilled {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(error) => error.code(),
            Self::NotHeld { .. } => ErrorCode::FillNotHeld,
            Self::NotMissing { .. } => ErrorCode::FillNotMissing,
            Self::OtherEvent { .. } => ErrorCode::FillOtherEvent,
            Self::OtherPart { .. } => ErrorCode::FillOtherPart,
            Self::Nothing { .. } => ErrorCode::FillNothing,
            Self::Store(error) => error.code(),
        }
    }

    /// Returns whether the peer that brought the record broke the protocol.
    #[must_use]
    pub(crate) const fn is_breach(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::OtherPart { .. })
    }
}

/// The record to keep in place of the one that is held.
#[derive(Debug)]
pub(super) struct FillPlan {
    pub(super) record: EventBytes,
    /// Whether no part of it is missing.
    pub(super) is_settled: bool,
}

/// Decides what becomes of a record that is held when another one is brought for its parts.
pub(super) fn plan_fill(held: &RecordRef<'_>, brought: &RecordRef<'_>) -> Result<FillPlan, NotFilled> {
    let dot = held.dot;
    if !held.is_missing() {
        return Err(NotFilled::NotMissing { dot });
    }
    if held.routing() != brought.routing() {
        return Err(NotFilled::OtherEvent { dot });
    }
    let attributes = fill(held.attributes, brought.attributes);
    let attributes = attributes.ok_or(NotFilled::OtherPart { dot, part: "attributes" })?;
    let body = fill(held.body, brought.body).ok_or(NotFilled::OtherPart { dot, part: "data" })?;
    if (attributes, body) == (held.attributes, held.body) {
        return Err(NotFilled::Nothing { dot });
    }
    let is_settled = !attributes.is_missing() && !body.is_missing();
    Ok(FillPlan { record: held.with_parts(attributes, body), is_settled })
}

/// Returns the part to keep; `None` where the one that was brought is another.
fn fill<'a>(held: Part<'a>, brought: Part<'a>) -> Option<Part<'a>> {
    if held.hash() != brought.hash() && !mutant::is(Mutant::PartHashNotChecked) {
        return None;
    }
    Some(if held.is_missing() && matches!(brought, Part::There(_)) { brought } else { held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VClock;
    use crate::codec::{Absence, EncodedDraft, encode_record};
    use crate::event::Draft;
    use crate::ids::{CortexId, Epoch, EventId, Origin};
    use crate::time::Timestamp;

    const MISSING: Option<Absence> = Some(Absence::Missing);

    fn dot(counter: u64) -> Dot {
        Dot::new(Origin::new(CortexId::from_bytes([7; 16]), Epoch::new(1)), counter).unwrap()
    }

    fn whole(event_type: &str, data: &str) -> EventBytes {
        let assigned = EncodedDraft {
            id: EventId::from_parts(9, 9),
            dot: dot(1),
            deps: &VClock::new(),
            time: Timestamp::from_micros(9_000),
        };
        encode_record(&Draft::new(event_type, data.to_owned()), &assigned)
    }

    fn less(record: &EventBytes, attributes: Option<Absence>, body: Option<Absence>) -> EventBytes {
        RecordRef::decode(record).unwrap().without(attributes, body)
    }

    fn plan(held: &EventBytes, brought: &EventBytes) -> Result<FillPlan, NotFilled> {
        plan_fill(&RecordRef::decode(held).unwrap(), &RecordRef::decode(brought).unwrap())
    }

    #[test]
    fn what_is_missing_is_filled_byte_for_byte() {
        let whole = whole("t", "payload");
        for (attributes, body) in [(MISSING, MISSING), (MISSING, None), (None, MISSING)] {
            let filled = plan(&less(&whole, attributes, body), &whole).unwrap();
            assert_eq!((&filled.record, filled.is_settled), (&whole, true));
        }
    }

    #[test]
    fn one_part_may_come_before_the_other() {
        let whole = whole("t", "payload");
        let held = less(&whole, MISSING, MISSING);
        let first = plan(&held, &less(&whole, None, MISSING)).unwrap();
        assert_eq!((&first.record, first.is_settled), (&less(&whole, None, MISSING), false));
        let second = plan(&first.record, &less(&whole, MISSING, None)).unwrap();
        assert_eq!((&second.record, second.is_settled), (&whole, true));
    }

    #[test]
    fn an_erased_part_is_never_filled_and_never_made() {
        let (whole, erased) = (whole("t", "payload"), Some(Absence::Erased { by: dot(9) }));
        let filled = plan(&less(&whole, MISSING, erased), &whole).unwrap();
        assert_eq!((&filled.record, filled.is_settled), (&less(&whole, None, erased), true));
        assert!(matches!(plan(&less(&whole, erased, erased), &whole), Err(NotFilled::NotMissing { .. })));
        // Only a statement makes a part erased, and not what a peer says of it.
        let refused = plan(&less(&whole, None, MISSING), &less(&whole, None, erased));
        assert!(matches!(refused, Err(NotFilled::Nothing { .. })), "{refused:?}");
    }

    #[test]
    fn another_part_and_another_event_are_refused() {
        let held = less(&whole("t", "payload"), MISSING, MISSING);
        for (brought, named) in [(whole("t", "daoylap"), "data"), (whole("u", "payload"), "attributes")] {
            for brought in [less(&brought, MISSING, MISSING), brought] {
                let refused = plan(&held, &brought).unwrap_err();
                assert!(matches!(refused, NotFilled::OtherPart { part, .. } if part == named), "{refused}");
                assert!(refused.is_breach());
            }
        }
        let refused = plan(&held, &whole("t", "longer than that")).unwrap_err();
        assert!(matches!(refused, NotFilled::OtherEvent { .. }) && !refused.is_breach(), "{refused}");
    }

    #[test]
    fn nothing_is_changed_where_nothing_is_missing_or_brought() {
        let whole = whole("t", "payload");
        assert!(matches!(plan(&whole, &whole), Err(NotFilled::NotMissing { .. })));
        let held = less(&whole, None, MISSING);
        assert!(matches!(plan(&held, &held), Err(NotFilled::Nothing { .. })));
    }
}
