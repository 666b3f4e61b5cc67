//! What is computed of a batch before the log's writer takes it: the digests of its events, and which of its seals are valid. The
//! task that receives a batch computes them while the writer stores the previous one. So the writer need not hash and verify.
//!
//! Nothing is decided here. The writer uses a digest only where it follows on the digest that the writer has. It takes a seal for
//! verified only if exactly what it would verify was verified. Where the log moved meanwhile, it computes these itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::log_reader::LogReader;
use crate::clock::MAX_CLOCK_ENTRIES;
use crate::codec::{RecordRef, StoredChain, decode_chain};
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::identity::{ChainStart, PublicKey, Sealed, Signature};
use crate::ids::{Dot, Origin};
use crate::protocol::EventBatch;
use crate::store::{Family, keys};

/// The most entries of clocks that are remembered from one batch of a peer to the next: half a mebibyte.
const MAX_REMEMBERED: usize = 16 * 1024;

/// The most threads that help to verify the seals of one batch.
const MAX_HELPERS: usize = 3;
/// A thread for fewer seals takes longer than it saves.
const SHARE: usize = 32;

/// What was computed of one batch. Empty, it is right for any batch.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// The first event of the batch. It is held, so its memory is no other batch's.
    first: Option<EventBytes>,
    events: Vec<Option<Computed>>,
    seals: Vec<Option<Verified>>,
}

/// The chain digest of an event, on top of its predecessor's.
#[derive(Debug, Clone, Copy)]
struct Computed {
    before: Digest,
    digest: Digest,
}

/// A seal, with what it is valid for.
#[derive(Debug)]
struct Verified {
    key: PublicKey,
    sealed: Sealed,
    seal: Signature,
}

impl Ahead {
    /// It, if it was computed of this batch: of the same memory.
    pub(super) fn for_batch(&self, batch: &EventBatch) -> Option<&Self> {
        let (ours, (_, theirs)) = (self.first.as_ref()?, batch.events.first()?);
        (ours.as_ptr() == theirs.as_ptr() && ours.len() == theirs.len()).then_some(self)
    }

    /// The digest of the event at this place in the batch, if it was computed on top of this one.
    pub(super) fn digest_after(&self, place: usize, before: Digest) -> Option<Digest> {
        let computed = self.events.get(place).copied().flatten()?;
        (computed.before == before).then_some(computed.digest)
    }

    /// Whether the seal at this place in the batch is known to be valid for this.
    pub(super) fn is_sealed(&self, place: usize, key: &PublicKey, sealed: &Sealed, seal: &Signature) -> bool {
        let verified = self.seals.get(place).and_then(Option::as_ref);
        verified.is_some_and(|known| known.key == *key && known.sealed == *sealed && known.seal == *seal)
    }
}

/// The chains as they will be once the batches that came before are stored, as far as that can be known.
#[derive(Debug, Default)]
pub(crate) struct Lookahead {
    tips: BTreeMap<Origin, StoredChain>,
    /// How many entries their clocks have, about.
    entries: usize,
}

impl Lookahead {
    /// Computes what the writer will need of a batch. Where it cannot know what the batch follows on, it computes nothing.
    pub(crate) fn compute(&mut self, view: &LogReader, batch: &EventBatch) -> Ahead {
        let mut ahead = Ahead { first: batch.events.first().map(|(_, record)| record.clone()), ..Ahead::default() };
        ahead.events.reserve_exact(batch.events.len());
        let (mut seals, mut read, mut ends) = (batch.seals.iter(), BTreeSet::new(), Vec::new());
        for (_, record) in &batch.events {
            // The writer says what is wrong with it.
            let Ok(record) = RecordRef::decode(record) else { break };
            let origin = record.dot.origin();
            let seal = if record.ends_group { seals.next() } else { None };
            let tip = self.tip(view, batch, record.dot, &mut read);
            let computed = tip.and_then(|tip| Some((extend(tip, &record)?, tip)));
            if record.ends_group {
                let end = computed.as_ref().zip(seal);
                ends.push(end.map(|((_, tip), &seal)| Verified {
                    key: tip.start.key,
                    sealed: tip.sealed(origin),
                    seal,
                }));
            }
            ahead.events.push(computed.map(|(computed, _)| computed));
        }
        ahead.seals = verified(ends);
        self.entries = self.tips.values().map(cost).sum();
        ahead
    }

    /// The chain that this event follows on.
    fn tip(
        &mut self,
        view: &LogReader,
        batch: &EventBatch,
        dot: Dot,
        read: &mut BTreeSet<Origin>,
    ) -> Option<&mut StoredChain> {
        let (origin, before) = (dot.origin(), dot.counter() - 1);
        let is_known = self.tips.get(&origin).is_some_and(|tip| tip.counter == before);
        // Each is read once a batch: of many events that are known here, the first shows how far that goes.
        if !is_known && (read.insert(origin) || before == 0) {
            let tip = match before {
                0 => begun(batch, origin)?,
                _ => stored(view, origin)?,
            };
            if self.entries + cost(&tip) > MAX_REMEMBERED {
                (self.tips, self.entries) = (BTreeMap::new(), 0);
            }
            self.entries += cost(&tip);
            self.tips.insert(origin, tip);
        }
        self.tips.get_mut(&origin).filter(|tip| tip.counter == before)
    }
}

/// Keeps the seals that are valid. A seal of a group of one event takes a hundred times as long as its digest, so several threads
/// verify the seals of a batch that has many.
fn verified(mut ends: Vec<Option<Verified>>) -> Vec<Option<Verified>> {
    let many = ends.len() > SHARE;
    let shares = Mutex::new(ends.chunks_mut(SHARE));
    let verify = || {
        loop {
            let share = shares.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(share) = share else { return };
            for end in share {
                *end = end.take().filter(|end| end.sealed.is_sealed_by(&end.key, &end.seal));
            }
        }
    };
    if many {
        std::thread::scope(|scope| {
            for helper in std::iter::from_fn(Helper::take).take(MAX_HELPERS) {
                let help = move || {
                    let _helper = helper;
                    verify();
                };
                // Without a thread, the others do its share.
                if std::thread::Builder::new().name("antiphon-seals".to_owned()).spawn_scoped(scope, help).is_err() {
                    break;
                }
            }
            verify();
        });
    } else {
        verify();
    }
    ends
}

/// The right to one more thread. All batches together have one a processor, however many peers send.
struct Helper;

impl Helper {
    fn take() -> Option<Self> {
        static PROCESSORS: OnceLock<usize> = OnceLock::new();
        let most = *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        let taken = HELPERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then(|| now + 1));
        // Made only if the right was there: dropping it gives one back.
        taken.ok().map(|_| Self)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        HELPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// How much of what may be remembered a chain takes.
fn cost(tip: &StoredChain) -> usize {
    // An entry has some 32 bytes, and a chain without a clock some 200.
    6 + tip.clock.len()
}

fn begun(batch: &EventBatch, origin: Origin) -> Option<StoredChain> {
    let at = batch.inceptions.binary_search_by_key(&origin, |inception| inception.0).ok()?;
    // The writer verifies it.
    Some(StoredChain::of(ChainStart::verified(&batch.inceptions[at].1)))
}

fn stored(view: &LogReader, origin: Origin) -> Option<StoredChain> {
    decode_chain(&view.store().get(Family::Clocks, &keys::chain(origin)).ok()??).ok()
}

/// Puts the event at the end of the chain. A clock that grows too large is the writer's to refuse.
fn extend(tip: &mut StoredChain, record: &RecordRef<'_>) -> Option<Computed> {
    let before = tip.digest;
    if !record.deps.is_empty() {
        tip.clock.merge_capped(&record.deps, MAX_CLOCK_ENTRIES - 1).ok()?;
    }
    let digest = record.digest_after(before);
    tip.advance(record, digest);
    Some(Computed { before, digest })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::VClock;
    use crate::cursor::Cursor;
    use crate::event::Draft;
    use crate::ids::{CortexId, Epoch, EventId};
    use crate::log::ingest::plan_computed;
    use crate::log::{Log, LogOptions, SentQuery};
    use crate::protocol::{Heads, RequestId, Scope};
    use crate::store::Durability;
    use crate::testing::{Author, LOG, MemoryStore, Written, answer_of, seeded_keys};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);
    const PEER: CortexId = CortexId::from_bytes([0xbb; 16]);
    const REQUEST: RequestId = RequestId { process: 1, number: 1 };

    fn log() -> Log {
        let store = Arc::new(MemoryStore::new());
        Log::begin(&*store, "alpha", Some(&(seeded_keys(1) as _))).unwrap();
        Log::open(store, LogOptions { log: Some(LOG), keys: Some(seeded_keys(1)), ..LogOptions::default() }).unwrap()
    }

    fn write(author: &mut Author, number: u64, deps: &VClock) -> Written {
        author.write(EventId::from_parts(1000 + number, 0), &Draft::new("t", format!("{number}")), deps, NOW)
    }

    fn answer(written: &[Written]) -> EventBatch {
        answer_of(written, REQUEST, PEER, Cursor::start(Epoch::new(9)))
    }

    /// What is decided over a batch, with what was computed of it and without.
    fn decided(batch: &EventBatch, log: &Log, ahead: &Ahead) -> (String, String) {
        let asked = SentQuery {
            request: REQUEST,
            to: PEER,
            after: None,
            max_events: 100,
            max_bytes: 1 << 20,
            scope: Scope::All,
            withhold: Heads::default(),
            held: Heads::default(),
            exclude: Vec::new(),
        };
        let of = |ahead: &Ahead| format!("{:?}", plan_computed(batch, &asked, log, ahead));
        (of(ahead), of(&Ahead::default()))
    }

    /// Two authors in turns. The second one has seen the first.
    fn interleaved(rounds: u64) -> Vec<Written> {
        let (mut one, mut two) = (Author::new(2, 5), Author::new(3, 5));
        let mut written = Vec::new();
        for round in 0..rounds {
            written.push(write(&mut one, 2 * round, &VClock::new()));
            let seen = VClock::from_sorted(&[(one.origin(), round + 1)]).unwrap();
            written.push(write(&mut two, 2 * round + 1, &seen));
        }
        written
    }

    #[test]
    fn no_more_threads_help_than_there_are_processors() {
        let most = std::thread::available_parallelism().unwrap().get();
        for _ in 0..3 {
            let taken: Vec<_> = std::iter::from_fn(Helper::take).take(most + 5).collect();
            assert!(taken.len() <= most);
            // Other tests may have some. Asking in vain gives nothing back.
            assert!(Helper::take().is_none() || taken.len() < most);
        }
        assert!(HELPERS.load(Ordering::Relaxed) <= most);
    }

    #[test]
    fn of_many_seals_just_those_that_are_not_valid_are_left_to_the_writer() {
        let (log, mut written) = (log(), interleaved(100));
        let bad = [0, 31, 32, 100, 199];
        for &at in &bad {
            written[at].seal = written[(at + 2) % 200].seal;
        }
        let batch = answer(&written);
        let ahead = Lookahead::default().compute(&log.reader(), &batch);
        let missing: Vec<_> = (0..200).filter(|&at| ahead.seals[at].is_none()).collect();
        assert_eq!(missing, bad);
        let (with, without) = decided(&batch, &log, &ahead);
        assert_eq!(with, without);
    }

    #[test]
    fn everything_is_computed_of_batches_that_follow_on_each_other() {
        let (log, written) = (log(), interleaved(10));
        let mut lookahead = Lookahead::default();
        for part in written.chunks(6) {
            let batch = answer(part);
            let ahead = lookahead.compute(&log.reader(), &batch);
            assert!(ahead.events.iter().all(Option::is_some) && ahead.seals.iter().all(Option::is_some));
            assert_eq!((ahead.events.len(), ahead.seals.len()), (part.len(), part.len()));
            for (at, one) in part.iter().enumerate() {
                let before = ahead.events[at].unwrap().before;
                assert_eq!(ahead.digest_after(at, before), Some(one.head.digest));
                assert_eq!(ahead.digest_after(at, Digest::ZERO), None, "it follows on another digest");
            }
        }
        let batch = answer(&written[..6]);
        let (with, without) = decided(&batch, &log, &Lookahead::default().compute(&log.reader(), &batch));
        assert_eq!(with, without);
        assert!(with.starts_with("Ok"), "{with}");
    }

    #[test]
    fn a_batch_that_follows_on_the_log_is_computed_and_what_is_known_of_it_is_not() {
        let mut log = log();
        log.append(&[Draft::new("t", "one"), Draft::new("t", "two")], &VClock::new(), NOW).unwrap();
        log.commit(Durability::Sync).unwrap();
        let view = log.reader();
        let mut author = Author::after(&view, view.local().origin(), seeded_keys(1));
        let next: Vec<_> = (2_000_000..2_000_003).map(|n| write(&mut author, n, &VClock::new())).collect();
        let batch = answer(&next);
        let mut lookahead = Lookahead::default();
        let ahead = lookahead.compute(&view, &batch);
        assert!(ahead.events.iter().all(Option::is_some) && ahead.seals.iter().all(Option::is_some));
        let (with, without) = decided(&batch, &log, &ahead);
        assert_eq!(with, without);
        // The same once more, as if it was stored meanwhile: nothing of it follows on what comes next.
        let again = lookahead.compute(&view, &answer(&next));
        let computed = again.events.iter().flatten().count();
        assert_eq!(computed, next.len(), "the store was read again");
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        let (log, written) = (log(), interleaved(4));
        let twists: [fn(&mut EventBatch); 7] = [
            |batch| batch.seals.swap(0, 1),
            |batch| batch.seals[3] = Signature::from_bytes([7; 64]),
            |batch| batch.seals.truncate(7),
            |batch| batch.inceptions.clear(),
            |batch| batch.inceptions[0].1 = batch.inceptions[1].1.clone(),
            |batch| drop(batch.events.remove(2)),
            |batch| {
                let mut record = batch.events[4].1.to_vec();
                *record.last_mut().unwrap() ^= 1;
                batch.events[4].1 = record.into();
            },
        ];
        for (at, twist) in twists.into_iter().enumerate() {
            let mut batch = answer(&written);
            twist(&mut batch);
            let ahead = Lookahead::default().compute(&log.reader(), &batch);
            let (with, without) = decided(&batch, &log, &ahead);
            assert_eq!(with, without, "case {at}");
            assert!(with.starts_with("Err"), "case {at}: {with}");
        }
    }

    #[test]
    fn what_was_computed_on_top_of_another_history_or_of_another_batch_is_not_used() {
        let log = log();
        let (mut ours, mut theirs) = (Author::new(2, 5), Author::new(2, 5));
        let first = write(&mut ours, 1, &VClock::new());
        let other = write(&mut theirs, 2, &VClock::new());
        let mut lookahead = Lookahead::default();
        lookahead.compute(&log.reader(), &answer(&[other]));
        // Its second event does not follow on the first one of the other history.
        let second = write(&mut ours, 3, &VClock::new());
        let batch = answer(std::slice::from_ref(&second));
        let ahead = lookahead.compute(&log.reader(), &batch);
        assert!(ahead.seals[0].is_none(), "its seal is not valid there");
        let both = answer(&[first, second]);
        assert!(ahead.for_batch(&both).is_none());
        let (with, without) = decided(&both, &log, &ahead);
        assert_eq!(with, without);
        assert!(with.starts_with("Ok"), "{with}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let log = log();
        let mut lookahead = Lookahead::default();
        let seen: Vec<_> = (0..1000).map(|n| (crate::ids::Origin::new(PEER, Epoch::new(n)), 1)).collect();
        let seen = VClock::from_sorted(&seen).unwrap();
        for epoch in 0..40 {
            let written = write(&mut Author::new(2, 100 + epoch), epoch, &seen);
            lookahead.compute(&log.reader(), &answer(&[written]));
            assert!(lookahead.tips.values().map(cost).sum::<usize>() <= MAX_REMEMBERED + 1_024);
        }
        assert!(!lookahead.tips.is_empty());
    }
}
