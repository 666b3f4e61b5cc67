//! Who durably holds what we wrote: learned from what peers say anyway, when they ask and when they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::cursor::Seq;
use crate::error_code::ErrorCode;
use crate::ids::{CortexId, Dot, Origin, PeerName};
use crate::protocol::Heads;

/// What each cortex is known to hold of one cortex's own events. It ends with the process, and is learned again from
/// each peer's next question.
#[derive(Default)]
pub struct Receipts {
    held: Mutex<BTreeMap<CortexId, BTreeMap<Origin, u64>>>,
    news: watch::Sender<u64>,
}

/// How far other cortexes are known to hold one cortex's own events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copies {
    /// Its own events here, of all its epochs.
    pub own: u64,
    /// How many of them no other cortex is known to hold durably. After a start that is all of them, until peers ask again.
    pub only_here: u64,
    /// How many of them each cortex is known to hold durably. A cortex that reported none since the start is absent.
    pub held: BTreeMap<CortexId, u64>,
}

/// What a cortex reported of its own log, compared with the log here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogReport {
    /// How far its log reached: the sum of the counters of its chain heads, because each event has one sequence number.
    pub seq: Seq,
    /// How many of the events up to there are not here.
    pub missing: u64,
}

/// Which cortexes an event must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These cortexes, by the names that they have here.
    Cortexes(Vec<(PeerName, Option<CortexId>)>),
    /// This number of any.
    Count(usize),
}

/// The peers that did not confirm an event in time. The event is stored here, and reaches each cortex that pulls this one.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, PeerName, WaitFor};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let event = cortex.append(Draft::new("note.written", "hello")).await?;
/// let peers = [PeerName::new("bravo")?];
/// let short = cortex.wait_replicated(&event, WaitFor::Peers(&peers), Duration::from_secs(5)).await.unwrap_err();
/// // Never in contact, so there was nothing to wait for.
/// assert_eq!(short.unknown, peers);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; the event is stored here: whoever pulls this node gets it", self.who())]
pub struct NotReplicated {
    /// Who has not confirmed it yet.
    pub missing: Vec<PeerName>,
    /// The peers that no exchange has reached so far, in either direction: it is unknown whether they hold it.
    pub unknown: Vec<PeerName>,
    /// How many cortexes confirmed it.
    pub confirmed: usize,
    /// How many more were wanted, where a number was.
    pub short_of: usize,
}

impl NotReplicated {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::CopiesMissing
    }
}

impl NotReplicated {
    fn who(&self) -> String {
        let names = |names: &[PeerName]| names.iter().map(PeerName::as_str).collect::<Vec<_>>().join(", ");
        let mut parts = vec![format!("{} confirmed the event", self.confirmed)];
        if !self.missing.is_empty() {
            parts.push(format!("not confirmed in time by {}", names(&self.missing)));
        }
        if !self.unknown.is_empty() {
            parts.push(format!("never in contact with {}", names(&self.unknown)));
        }
        if self.short_of > 0 {
            parts.push(format!("{} more were wanted", self.short_of));
        }
        parts.join("; ")
    }
}

impl Receipts {
    /// How far a cortex is known to hold an origin; 0 if it is not.
    pub(crate) fn counter(&self, holder: CortexId, origin: Origin) -> u64 {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&holder).and_then(|chains| chains.get(&origin)).copied().unwrap_or(0)
    }

    /// A pinned cortex durably holds these chains: the digests agree. There are never more entries than pinned cortexes, and
    /// in each no more than origins of this cortex that are held here.
    pub(crate) fn note(&self, holder: CortexId, heads: &Heads, is_pinned: impl Fn(CortexId) -> bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.contains_key(&holder) {
            held.retain(|cortex, _| is_pinned(*cortex));
        }
        let chains = held.entry(holder).or_default();
        let mut moved = false;
        for (origin, head) in heads.iter() {
            let known = chains.entry(origin).or_default();
            moved |= *known < head.counter;
            *known = (*known).max(head.counter);
        }
        drop(held);
        if moved {
            self.news.send_modify(|news| *news += 1);
        }
    }

    /// Counts the copies of own chains, given as each origin and its newest counter here.
    pub(crate) fn copies(&self, own: impl IntoIterator<Item = (Origin, u64)>) -> Copies {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copies = Copies { held: held.keys().map(|holder| (*holder, 0)).collect(), ..Copies::default() };
        for (origin, counter) in own {
            let mut most = 0;
            for (holder, chains) in held.iter() {
                // After a rollback here a peer may hold more of the epoch before.
                let theirs = chains.get(&origin).copied().unwrap_or(0).min(counter);
                *copies.held.entry(*holder).or_default() += theirs;
                most = most.max(theirs);
            }
            copies.own += counter;
            copies.only_here += counter - most;
        }
        copies
    }

    /// Who is known to hold this event.
    #[must_use]
    pub fn holders(&self, dot: Dot) -> BTreeSet<CortexId> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |chains: &BTreeMap<Origin, u64>| chains.get(&dot.origin()).is_some_and(|&c| c >= dot.counter());
        held.iter().filter(|(_, chains)| holds(chains)).map(|(holder, _)| *holder).collect()
    }

    /// Waits until those hold an own event, and returns how many hold it then. A peer that was never in contact is reported and
    /// not waited for.
    ///
    /// # Errors
    /// [`NotReplicated`] after `timeout`, or at once where only those are missing that are unknown.
    pub async fn wait(&self, dot: Dot, wanted: &Wanted, timeout: Duration) -> Result<usize, NotReplicated> {
        let mut news = self.news.subscribe();
        let until = tokio::time::Instant::now() + timeout;
        loop {
            news.borrow_and_update();
            let missing = match self.missing(dot, wanted) {
                Ok(confirmed) => return Ok(confirmed),
                Err(missing) => missing,
            };
            let hopeless = missing.missing.is_empty() && missing.short_of == 0;
            let heard = tokio::time::timeout_at(until, news.changed());
            if hopeless || !matches!(heard.await, Ok(Ok(()))) {
                return Err(missing);
            }
        }
    }

    fn missing(&self, dot: Dot, wanted: &Wanted) -> Result<usize, NotReplicated> {
        let holders = self.holders(dot);
        let confirmed = holders.len();
        let (mut missing, mut unknown, mut short_of) = (Vec::new(), Vec::new(), 0);
        match wanted {
            Wanted::Count(count) => short_of = count.saturating_sub(confirmed),
            Wanted::Cortexes(cortexes) => {
                for (name, cortex) in cortexes {
                    match cortex {
                        None => unknown.push(name.clone()),
                        Some(cortex) if !holders.contains(cortex) => missing.push(name.clone()),
                        Some(_) => {}
                    }
                }
            }
        }
        if missing.is_empty() && unknown.is_empty() && short_of == 0 {
            return Ok(confirmed);
        }
        Err(NotReplicated { missing, unknown, confirmed, short_of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::ids::Epoch;
    use crate::protocol::ChainHead;

    fn cortex(n: u8) -> CortexId {
        CortexId::from_bytes([n; 16])
    }

    fn heads(origin: u8, counter: u64) -> Heads {
        let origin = Origin::new(cortex(origin), Epoch::new(1));
        Heads::new(vec![(origin, ChainHead { counter, digest: Digest::ZERO })])
    }

    fn named(name: &str, n: u8) -> (PeerName, Option<CortexId>) {
        (PeerName::new(name).unwrap(), (n > 0).then(|| cortex(n)))
    }

    #[tokio::test]
    async fn who_holds_what_we_wrote_is_learned_and_waited_for() {
        let receipts = Receipts::default();
        let dot = Dot::new(Origin::new(cortex(1), Epoch::new(1)), 5).unwrap();
        let moment = Duration::from_millis(20);
        receipts.note(cortex(2), &heads(1, 4), |_| true);
        receipts.note(cortex(3), &heads(9, 100), |_| true);
        assert!(receipts.holders(dot).is_empty(), "too little and another's do not count");
        let both = Wanted::Cortexes(vec![named("bravo", 2), named("charlie", 3)]);
        receipts.note(cortex(2), &heads(1, 6), |_| true);
        let late = receipts.wait(dot, &both, moment).await.unwrap_err();
        assert_eq!((late.missing.len(), late.confirmed), (1, 1));
        assert!(late.to_string().contains("not confirmed in time by charlie"), "{late}");
        let (held, ()) = tokio::join!(receipts.wait(dot, &both, Duration::from_secs(20)), async {
            receipts.note(cortex(3), &heads(1, 5), |_| true)
        });
        assert_eq!(held, Ok(2));
        receipts.note(cortex(2), &heads(1, 1), |_| true);
        assert_eq!(receipts.wait(dot, &Wanted::Count(2), moment).await, Ok(2), "nobody is taken to have forgotten");
        assert_eq!(receipts.wait(dot, &Wanted::Count(3), moment).await.unwrap_err().short_of, 1);
        // A peer that was never met is reported without waiting.
        let stranger = Wanted::Cortexes(vec![named("bravo", 2), named("delta", 0)]);
        let waited = receipts.wait(dot, &stranger, Duration::from_secs(3600));
        let unknown = tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap().unwrap_err();
        assert!(unknown.to_string().contains("never in contact with delta"), "{unknown}");
    }

    #[test]
    fn copies_are_counted_over_all_own_epochs() {
        let receipts = Receipts::default();
        let origin = |epoch| Origin::new(cortex(1), Epoch::new(epoch));
        let own = [(origin(1), 5), (origin(2), 10)];
        assert_eq!(receipts.copies(own), Copies { own: 15, only_here: 15, held: BTreeMap::new() });
        let heads = |epoch, counter| Heads::new(vec![(origin(epoch), ChainHead { counter, digest: Digest::ZERO })]);
        receipts.note(cortex(2), &heads(1, 9), |_| true);
        receipts.note(cortex(3), &heads(2, 4), |_| true);
        receipts.note(cortex(3), &heads(1, 2), |_| true);
        let held = BTreeMap::from([(cortex(2), 5), (cortex(3), 6)]);
        assert_eq!(receipts.copies(own), Copies { own: 15, only_here: 6, held });
        assert_eq!(receipts.copies([(origin(3), 0)]).only_here, 0);
    }

    #[test]
    fn a_new_holder_takes_the_room_of_those_that_are_not_pinned_any_more() {
        let receipts = Receipts::default();
        let note =
            |n, pinned: &[u8]| receipts.note(cortex(n), &heads(1, 1), |id| pinned.iter().any(|&p| cortex(p) == id));
        note(2, &[2, 3]);
        note(3, &[2, 3]);
        note(4, &[3, 4]);
        let held: Vec<_> = receipts.held.lock().unwrap().keys().copied().collect();
        assert_eq!(held, [cortex(3), cortex(4)]);
    }
}
