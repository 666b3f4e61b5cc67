//! Events that a repair found whole behind a hole: they wait beside the log, and join it once peers have filled the hole.
//! Without that, what nobody else holds of them would be lost for one damaged event before them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::entry::damaged;
use super::held::{LogState, NewEvent};
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{Front, GroupEnd, RecordRef, StoredChain, decode_log_entry, encode_log_entry};
use crate::digest::Digest;
use crate::error_code::ErrorCode;
use crate::event::EventBytes;
use crate::identity::Signature;
use crate::ids::Origin;
use crate::store::{Batch, Family, KeyRange, Store, StoreError, keys};
use crate::time::Timestamp;

/// How much of one origin is looked at before a commit.
const GROUP_BYTES: usize = 4 << 20;

/// An event that waits, and the digest that its chain had there, where that is known.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    pub(super) counter: u64,
    pub(super) digest: Digest,
    /// The seal of the group that it ends, where that is known.
    pub(super) seal: Option<Signature>,
    pub(super) record: EventBytes,
}

/// Lets an event wait: it is whole, and what it follows on is not here.
pub(super) fn put_waiting(
    changes: &mut Batch,
    event: &RecordRef<'_>,
    joined: Timestamp,
    (digest, seal): (Option<Digest>, Option<Signature>),
    record: &[u8],
) {
    let key = keys::waiting(event.dot.origin(), event.dot.counter());
    let digest = digest.unwrap_or(Digest::ZERO).to_bytes();
    let seal = seal.map_or([0; 64], Signature::to_bytes);
    changes.put_parts(Family::Evidence, &key, &[&encode_log_entry(joined), &digest, &seal, record]);
}

/// An event that waits.
pub(super) struct Waiting<'a> {
    /// When it joined the log that was damaged.
    pub(super) joined: Timestamp,
    /// Its chain's digest there, or zero.
    pub(super) digest: Digest,
    /// The seal of the group that it ends, where that is known.
    pub(super) seal: Option<Signature>,
    pub(super) record: &'a [u8],
}

pub(super) fn decode_waiting(value: &[u8]) -> Result<Waiting<'_>, StoreError> {
    let (joined, rest) = decode_log_entry(value).map_err(|e| damaged(Family::Evidence, &e))?;
    let short = || StoreError::corrupt("family `evidence`: an event that waits is too short");
    let (digest, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let (seal, record) = rest.split_first_chunk::<64>().ok_or_else(short)?;
    let seal = Some(*seal).filter(|seal| *seal != [0; 64]).map(Signature::from_bytes);
    Ok(Waiting { joined, digest: Digest::from_bytes(*digest), seal, record })
}

/// The origins of which something waits.
pub(super) fn waiting_origins(store: &dyn Store) -> Result<BTreeSet<Origin>, StoreError> {
    let (mut origins, mut fault) = (BTreeSet::new(), None);
    store.scan(Family::Evidence, KeyRange::prefix(keys::WAITING), &mut |key, _| match keys::place_of_waiting(key) {
        Some((origin, _)) => {
            origins.insert(origin);
            ControlFlow::Continue(())
        }
        None => {
            fault = Some(StoreError::corrupt("family `evidence`: a key is no event's that waits"));
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(origins), Err)
}

/// Reads the first events that wait of an origin, none as long as they cannot join; `None` where nothing waits.
pub(super) fn read_waiting(
    store: &dyn Store,
    origin: Origin,
    log: &dyn LogState,
) -> Result<Option<Vec<Waits>>, StoreError> {
    let (mut waits, mut bytes, mut fault, mut any) = (Vec::new(), 0, None, false);
    let prefix = keys::waiting_of(origin);
    let held = log.counter(origin);
    // This is asked after each commit: of what cannot join, one entry is looked at.
    let joins = |counter: u64, record: &[u8]| {
        counter <= held || RecordRef::decode(record).is_ok_and(|event| followed_by(&event, log).is_some())
    };
    store.scan(Family::Evidence, KeyRange::prefix(&prefix), &mut |key, value| {
        any = true;
        match (keys::place_of_waiting(key), decode_waiting(value)) {
            (Some((_, counter)), Ok(Waiting { record, .. })) if waits.is_empty() && !joins(counter, record) => {
                ControlFlow::Break(())
            }
            (Some((_, counter)), Ok(Waiting { digest, seal, record, .. })) => {
                bytes += record.len();
                waits.push(Waits { counter, digest, seal, record: Bytes::copy_from_slice(record) });
                // A group is read whole: no part of it can join alone.
                let is_within = Front::decode(record).is_ok_and(|front| !front.ends_group);
                if bytes < GROUP_BYTES || is_within { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            (None, _) => ControlFlow::Break(()),
            (_, Err(error)) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or(Ok(any.then_some(waits)), Err)
}

/// Returns the chain with this event at its end; `None` unless it follows on what is here, and its causes are here.
pub(super) fn followed_by(event: &RecordRef<'_>, held: &dyn LogState) -> Option<StoredChain> {
    let origin = event.dot.origin();
    if held.chain(origin).is_none() && held.origins() >= MAX_CLOCK_ENTRIES {
        return None;
    }
    let begun = || held.start(origin).ok().flatten().map(StoredChain::of);
    follows_on(held.chain(origin).cloned().or_else(begun)?, event, held)
}

pub(super) fn follows_on(mut chain: StoredChain, event: &RecordRef<'_>, held: &dyn LogState) -> Option<StoredChain> {
    let own = event.dot.origin();
    let is_held = |(origin, counter)| match own == origin {
        true => chain.counter >= counter,
        false => held.chain(origin).is_some_and(|chain| chain.counter >= counter),
    };
    let follows = event.dot.counter() == chain.counter + 1 && event.id > chain.last_id;
    if !follows || !event.deps.iter().all(is_held) || chain.clock.merge(&event.deps).is_err() {
        return None;
    }
    chain.advance(event, event.digest_after(chain.digest));
    Some(chain)
}

/// Which events of an origin stop waiting.
#[derive(Debug, Default)]
pub(super) struct RejoinPlan {
    /// Those that join the log, in order.
    pub(super) events: Vec<NewEvent>,
    /// The tip of their chain.
    pub(super) chain: Option<StoredChain>,
    /// The ends of their groups.
    pub(super) groups: Vec<GroupEnd>,
    /// The counters of all that wait no more: some came from peers meanwhile.
    pub(super) gone: Vec<u64>,
    /// Whether nothing more of the origin can join: what waits follows on another history.
    pub(super) ends: bool,
    /// Why the rest was not looked at.
    pub(super) fault: Option<StoreError>,
}

/// Returns whether the owner of an origin sealed the tip of this chain.
pub(super) fn is_sealed(origin: Origin, chain: Option<&StoredChain>, seal: &Signature) -> bool {
    chain.is_some_and(|chain| chain.sealed(origin).is_sealed_by(&chain.start.key, seal))
}

/// How much of a plan is whole groups.
#[derive(Default)]
struct Whole {
    events: usize,
    gone: usize,
    chain: Option<StoredChain>,
}

/// Plans which of the events that wait of an origin join the log.
pub(super) fn plan_rejoin(origin: Origin, waits: Vec<Waits>, held: &dyn LogState) -> Result<RejoinPlan, StoreError> {
    let mut plan = RejoinPlan::default();
    let mut whole = Whole::default();
    for Waits { counter, digest, seal, record } in waits {
        if counter <= plan.chain.as_ref().map_or(held.counter(origin), |chain| chain.counter) {
            let ours = if digest == Digest::ZERO { None } else { held.dot(origin, counter)? };
            if ours.is_some_and(|ours| ours.digest != digest) {
                // Another event has its counter now. It is kept, for people; nothing can follow on it.
                tracing::error!(%origin, counter, "an event from before the repair differs from the one that peers hold");
                plan.ends = true;
                break;
            }
        } else {
            let event = match RecordRef::decode(&record) {
                Ok(event) => event,
                Err(fault) => {
                    plan.fault = Some(StoreError::unreadable(
                        format_args!("family `evidence`: {origin}:{counter} that waits"),
                        &fault,
                    ));
                    break;
                }
            };
            let followed = match &plan.chain {
                Some(chain) => follows_on(chain.clone(), &event, held),
                None => followed_by(&event, held),
            };
            let Some(chain) = followed else { break };
            // What was decided about a fork may have changed what it followed on.
            let touches = |&(of, from): &(Origin, u64)| of == origin && counter >= from || event.deps.get(of) >= from;
            if held.decisions().keys().any(touches) || digest != Digest::ZERO && digest != chain.digest {
                tracing::warn!(
                    %origin, counter, code = %ErrorCode::ForkWaiting,
                    "an event that waits since the repair follows on another history now"
                );
                plan.ends = true;
                break;
            }
            let (id, dot, digest) = (event.id, event.dot, chain.digest);
            let ends_group = event.ends_group;
            plan.events.push(NewEvent { id, dot, digest, record });
            plan.chain = Some(chain);
            plan.gone.push(counter);
            if ends_group {
                let sealed = seal.filter(|seal| is_sealed(origin, plan.chain.as_ref(), seal));
                let Some(seal) = sealed else {
                    tracing::warn!(%origin, counter, "the seal of events that wait since the repair is lost: peers have to bring them");
                    break;
                };
                plan.groups.extend(plan.chain.as_ref().map(|chain| GroupEnd::of(&chain.sealed(origin), seal)));
                whole = Whole { events: plan.events.len(), gone: plan.gone.len(), chain: plan.chain.clone() };
            }
            continue;
        }
        plan.gone.push(counter);
        if plan.events.is_empty() {
            whole.gone = plan.gone.len();
        }
    }
    // A log has whole groups only: the part of a group waits for the rest.
    plan.events.truncate(whole.events);
    plan.gone.truncate(whole.gone);
    plan.chain = whole.chain;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VClock;
    use crate::event::Draft;
    use crate::ids::EventId;
    use crate::log::held::tests::Few;
    use crate::testing::{Author, Written};

    fn author() -> Author {
        Author::new(2, 1)
    }

    fn origin() -> Origin {
        author().origin()
    }

    /// A log that knows how the origin begins.
    fn few() -> Few {
        let mut few = Few::new();
        few.start = author().start();
        few
    }

    /// The events 1 to 4 of an origin, as they wait.
    fn waits() -> Vec<Waits> {
        let mut author = author();
        let wait = |counter| {
            let id = EventId::from_parts(counter, 0);
            let Written { head, record, seal, .. } =
                author.write(id, &Draft::new("t", "x"), &VClock::new(), Timestamp::from_micros(0));
            Waits { counter, digest: head.digest, seal: Some(seal), record }
        };
        (1..=4).map(wait).collect()
    }

    #[test]
    fn what_follows_on_what_is_here_joins_and_the_rest_waits_on() {
        let mut held = few();
        let waits = waits();
        let plan = plan_rejoin(origin(), waits[1..].to_vec(), &held).unwrap();
        assert!(plan.events.is_empty() && plan.gone.is_empty() && !plan.ends, "event 1 is missing");
        let first = plan_rejoin(origin(), waits[..1].to_vec(), &held).unwrap();
        held.push(&first.events[0], first.chain.unwrap());
        let rest = plan_rejoin(origin(), [&waits[..2], &waits[3..]].concat(), &held).unwrap();
        assert_eq!(rest.gone, [1, 2], "event 1 came from a peer, event 2 joins, event 4 has no event 3 before it");
        assert_eq!(rest.events.iter().map(|event| event.dot.counter()).collect::<Vec<_>>(), [2]);
        let all = plan_rejoin(origin(), waits, &few()).unwrap();
        assert_eq!((all.gone, all.chain.map(|chain| chain.counter)), (vec![1, 2, 3, 4], Some(4)));
    }

    #[test]
    fn nothing_joins_on_another_history() {
        let mut held = few();
        held.decisions.insert((origin(), 2), Digest::ZERO);
        let decided = plan_rejoin(origin(), waits(), &held).unwrap();
        assert_eq!((decided.gone, decided.ends), (vec![1], true));
        let mut held = few();
        let mut other = plan_rejoin(origin(), waits(), &held).unwrap();
        other.events[0].digest = Digest::of(b"other");
        held.push(&other.events[0], other.chain.unwrap());
        let differs = plan_rejoin(origin(), waits(), &held).unwrap();
        assert!(differs.ends && differs.gone.is_empty());
    }

    #[test]
    fn what_joined_before_a_record_that_does_not_decode_is_kept() {
        let mut waits = waits();
        waits[2].record = Bytes::from_static(b"damaged");
        let plan = plan_rejoin(origin(), waits, &few()).unwrap();
        assert_eq!(plan.gone, [1, 2]);
        assert!(plan.fault.is_some());
    }

    #[test]
    fn a_group_whose_seal_is_lost_or_wrong_waits() {
        for seal in [None, waits()[0].seal] {
            let mut waits = waits();
            waits[1].seal = seal;
            let plan = plan_rejoin(origin(), waits, &few()).unwrap();
            assert_eq!((plan.gone, plan.ends), (vec![1], false));
        }
    }
}
