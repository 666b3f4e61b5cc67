//! Appending: what an application says becomes an event. A pure decision.

use super::held::{LogState, NewEvent};
use super::refusing::{AppendsRefused, admit};
use crate::clock::{ClockError, MAX_CLOCK_ENTRIES, VClock};
use crate::codec::{EncodedDraft, RecordRef, StoredChain, encode_in_group};
use crate::cursor::{Cursor, Seq};
use crate::error_code::ErrorCode;
use crate::event::{Draft, InvalidDraft, MAX_EVENT_BYTES};
use crate::identity::ChainStart;
use crate::ids::{Dot, Epoch, EventId, GeneratorError, IdGenerator, Origin};
use crate::mutant::{self, Mutant};
use crate::protocol::MAX_GROUP_EVENTS;
use crate::store::StoreError;
use crate::time::Timestamp;

/// What the events of one call may have together, in bytes, where a single event may not have more.
const MAX_CALL_BYTES: usize = 1024 * 1024;

/// What an appended event got.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft};
/// use futures_util::StreamExt as _;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let first = cortex.append(Draft::new("note.written", "one")).await?;
/// let second = cortex.append(Draft::new("note.written", "two")).await?;
/// let mut after = std::pin::pin!(cortex.subscribe(Some(first.cursor())));
/// let next = after.next().await.expect("the stream does not end")?;
/// assert_eq!(next.id()?, second.id);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence number in this log.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// Its dot.
    pub dot: Dot,
}

impl Appended {
    /// The cursor at the event: a reader that has it continues with the next one.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { epoch: self.dot.origin().epoch(), seq: self.seq, last_event: self.id }
    }
}

/// Why nothing was appended. Of several drafts handed in together, none was.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{AppendError, Cortex, Draft};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let refused = cortex.append(Draft::new("", "an event needs a type")).await;
/// assert!(matches!(refused, Err(AppendError::Draft { index: 0, .. })));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A draft that cannot become an event.
    #[error("draft {index} cannot become an event")]
    Draft {
        /// Which of those handed in, from 0.
        index: usize,
        /// What is wrong with it.
        source: InvalidDraft,
    },
    /// The context names what is not held here, so nobody could have seen it here.
    #[error("the context names {origin}:{counter}, which is not held here")]
    ContextAhead {
        /// The origin.
        origin: Origin,
        /// The counter.
        counter: u64,
    },
    /// More drafts in one call than a group may have events.
    #[error("{events} events in one append, and a group has at most {MAX_GROUP_EVENTS}")]
    TooManyEvents {
        /// The number of drafts.
        events: usize,
    },
    /// More bytes in one call than may be appended together.
    #[error("the events of one append have more than {limit} bytes together")]
    TooManyBytes {
        /// The most, in bytes.
        limit: usize,
    },
    /// The event's clock would be larger than the protocol allows.
    #[error("the event's clock would exceed its bound")]
    Clock(#[from] ClockError),
    /// No id could be made.
    #[error(transparent)]
    Id(#[from] GeneratorError),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
    /// The store failed before anything was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed while it wrote: the events are wholly there or not at all, and it is not known which.
    #[error("{InDoubt}")]
    InDoubt(#[source] StoreError),
}

impl AppendError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Draft { source, .. } => source.code(),
            Self::ContextAhead { .. } => ErrorCode::AppendContextAhead,
            Self::TooManyEvents { .. } | Self::TooManyBytes { .. } => ErrorCode::AppendGroupTooLarge,
            Self::Clock(_) => ErrorCode::AppendOrigins,
            Self::Id(error) => error.code(),
            Self::Closed => ErrorCode::AppendClosed,
            Self::Store(error) => error.code(),
            Self::InDoubt(_) => ErrorCode::AppendInDoubt,
        }
    }
}

/// It is not known whether what was appended is in the log. These words are the same wherever that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event may be in the log all the same")]
pub struct InDoubt;

impl InDoubt {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::AppendInDoubt
    }
}

impl From<AppendsRefused> for AppendError {
    fn from(refused: AppendsRefused) -> Self {
        match refused {
            AppendsRefused::Store(error) => error.into(),
            AppendsRefused::Clock(error) => error.into(),
            AppendsRefused::Origins => ClockError::TooManyEntries { limit: MAX_CLOCK_ENTRIES }.into(),
        }
    }
}

/// What an application wants appended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drafts<'a> {
    pub(super) drafts: &'a [Draft],
    /// What the application saw.
    pub(super) context: &'a VClock,
    /// The epoch that the events are of.
    pub(super) epoch: Epoch,
    /// The largest record, in bytes.
    pub(super) max_bytes: usize,
    pub(super) now: Timestamp,
    /// Random bits for one id a draft.
    pub(super) entropy: &'a [u128],
    /// What the chain begins with, if this is its first event.
    pub(super) start: ChainStart,
}

/// Events to append, in order.
#[derive(Debug)]
pub(super) struct AppendPlan {
    pub(super) events: Vec<NewEvent>,
    pub(super) origin: Origin,
    /// The tip of their chain.
    pub(super) chain: StoredChain,
    pub(super) last_id: EventId,
}

/// Turns drafts into events of this cortex, or says why none of them may be appended.
pub(super) fn plan_append(wanted: &Drafts<'_>, held: &dyn LogState) -> Result<AppendPlan, AppendError> {
    let &Drafts { drafts, context, epoch, max_bytes, now, entropy, start } = wanted;
    let origin = Origin::new(held.identity().cortex_id, epoch);
    if let Some((origin, counter)) = context.iter().find(|&(origin, counter)| held.counter(origin) < counter) {
        return Err(AppendError::ContextAhead { origin, counter });
    }
    if drafts.len() > MAX_GROUP_EVENTS {
        return Err(AppendError::TooManyEvents { events: drafts.len() });
    }
    admit(held.chain(origin).is_some(), held.origins(), held.last_id(), now)?;
    let mut chain = held.chain(origin).cloned().unwrap_or_else(|| StoredChain::of(start));
    let mut arrived = context.clone();
    if mutant::is(Mutant::DepsFromIngest) {
        for (&origin, chain) in held.chains() {
            arrived.raise(origin, chain.counter)?;
        }
    }
    let context = if mutant::is(Mutant::DepsFromIngest) { &arrived } else { context };
    let mut ids = IdGenerator::after(held.last_id());
    let mut deps = delta(&mut chain, &context.without(origin))?;
    let mut events = Vec::with_capacity(drafts.len());
    let limit = max_bytes.min(MAX_EVENT_BYTES);
    // A peer takes a group whole or not at all, so its size is what each peer has to hold at once.
    let (mut bytes, most) = (0, limit.max(MAX_CALL_BYTES));
    for (index, (draft, random)) in drafts.iter().zip(entropy).enumerate() {
        let fault = |source| AppendError::Draft { index, source };
        draft.check().map_err(fault)?;
        let id = ids.next(now.ulid_ms(), *random)?;
        chain.counter += 1;
        let dot = Dot::new(origin, chain.counter).ok_or(ClockError::CounterOutOfRange { counter: chain.counter })?;
        let assigned = EncodedDraft { id, dot, deps: &deps, time: now };
        let record = encode_in_group(draft, &assigned, index + 1 == drafts.len());
        if record.len() > limit {
            return Err(fault(InvalidDraft::TooLarge { bytes: record.len(), limit }));
        }
        // An event that could be acknowledged and not read again would end replay and serving here, and with each peer.
        let read = RecordRef::decode(&record).map_err(|invalid| fault(invalid.into()))?;
        chain.digest = read.digest_after(chain.digest);
        chain.last_id = id;
        bytes += record.len();
        if bytes > most {
            return Err(AppendError::TooManyBytes { limit: most });
        }
        events.push(NewEvent { id, dot, digest: chain.digest, record });
        // Only the first of them learned something; the next ones follow from it.
        deps = VClock::new();
    }
    Ok(AppendPlan { events, origin, chain, last_id: ids.last() })
}

/// Merges what was seen into the chain's full clock and returns what that changed: the first event's causal delta.
fn delta(chain: &mut StoredChain, seen: &VClock) -> Result<VClock, ClockError> {
    let before = chain.clock.clone();
    chain.clock.merge_capped(seen, MAX_CLOCK_ENTRIES - 1)?;
    Ok(chain.clock.since(&before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::EventRef;
    use crate::log::held::tests::{Few, cortex};

    const LIMIT: usize = 1024;

    fn plan(drafts: &[Draft], context: &VClock, held: &Few) -> Result<AppendPlan, AppendError> {
        let entropy: Vec<u128> = (1..=drafts.len() as u128).collect();
        let now = Timestamp::from_micros(1_000_000);
        let epoch = held.identity.epoch;
        let start = ChainStart::NONE;
        plan_append(&Drafts { drafts, context, epoch, max_bytes: LIMIT, now, entropy: &entropy, start }, held)
    }

    fn draft(data: &str) -> Draft {
        Draft::new("t", data.to_owned())
    }

    #[test]
    fn drafts_become_a_chain_that_only_its_first_event_names_causes_in() {
        let mut held = Few::new();
        let other = Origin::new(cortex(2), Epoch::new(1));
        held.chains.insert(other, StoredChain { counter: 3, ..StoredChain::default() });
        let mut seen = VClock::new();
        seen.raise(other, 2).unwrap();
        let planned = plan(&[draft("a"), draft("b")], &seen, &held).unwrap();
        let counters: Vec<_> = planned.events.iter().map(|event| event.dot.counter()).collect();
        assert_eq!((counters, planned.chain.counter), (vec![1, 2], 2));
        assert_eq!((planned.last_id, planned.chain.digest), (planned.events[1].id, planned.events[1].digest));
        let deps: Vec<_> =
            planned.events.iter().map(|event| EventRef::decode(&event.record).unwrap().deps.get(other)).collect();
        assert_eq!(deps, [2, 0]);
        assert_eq!(planned.chain.clock.get(other), 2);
    }

    #[test]
    fn what_was_not_seen_here_and_what_is_too_large_are_refused() {
        let mut ahead = VClock::new();
        ahead.raise(Origin::new(cortex(2), Epoch::new(1)), 1).unwrap();
        let held = Few::new();
        let refused = |drafts: &[Draft], context| plan(drafts, context, &held).unwrap_err();
        assert!(matches!(refused(&[draft("a")], &ahead), AppendError::ContextAhead { counter: 1, .. }));
        let large = [draft("a"), draft(&"x".repeat(LIMIT))];
        let large = refused(&large, &VClock::new());
        assert!(matches!(large, AppendError::Draft { index: 1, source: InvalidDraft::TooLarge { .. } }), "{large}");
    }

    #[test]
    fn the_events_of_one_call_are_bounded_together() {
        let held = Few::new();
        let draft = draft(&"x".repeat(LIMIT / 2));
        let lengths: Vec<_> = plan(&vec![draft.clone(); 1000], &VClock::new(), &held)
            .unwrap()
            .events
            .iter()
            .map(|event| event.record.len())
            .collect();
        // By then the counters are as long as they get here.
        let most = 1000 + (MAX_CALL_BYTES - lengths.iter().sum::<usize>()) / lengths[999];
        assert!(most < MAX_GROUP_EVENTS, "the number is not what bounds them");
        assert_eq!(plan(&vec![draft.clone(); most], &VClock::new(), &held).unwrap().events.len(), most);
        let refused = plan(&vec![draft; most + 1], &VClock::new(), &held).unwrap_err();
        assert!(matches!(refused, AppendError::TooManyBytes { limit: MAX_CALL_BYTES }), "{refused}");
    }
}
