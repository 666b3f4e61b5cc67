//! Who durably holds what we wrote: learned from what peers say anyway, when they ask and when they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::ids::{CortexId, Dot, Origin, PeerName};
use crate::protocol::Heads;

/// How many cortexes are kept track of; the id in a question is a claim of whoever has the key.
const MAX_CORTEXES: usize = 4096;

/// What each cortex is known to hold of one cortex's own events. It is gone with the process, and learned anew from each
/// peer's next question.
pub struct Receipts {
    own: CortexId,
    held: Mutex<BTreeMap<CortexId, BTreeMap<Origin, u64>>>,
    news: watch::Sender<u64>,
}

/// Whom an event is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These cortexes, by the names that they have here.
    Cortexes(Vec<(PeerName, Option<CortexId>)>),
    /// So many of any.
    Count(usize),
}

/// Who did not confirm an event in time. It is stored here all the same, and reaches whoever pulls this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; the event is stored here: whoever pulls this node gets it", self.who())]
pub struct NotReplicated {
    /// Who has not confirmed it yet.
    pub missing: Vec<PeerName>,
    /// Whom no exchange has reached so far, in either direction: whether they hold it cannot be told.
    pub unknown: Vec<PeerName>,
    /// How many cortexes confirmed it.
    pub confirmed: usize,
    /// How many more were wanted, where a number was.
    pub short_of: usize,
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
    pub(crate) fn new(own: CortexId) -> Self {
        Self { own, held: Mutex::default(), news: watch::Sender::new(0) }
    }

    /// A cortex said, and digests agreed, that it durably holds these chains.
    pub(crate) fn note(&self, holder: CortexId, heads: &Heads) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if holder == self.own || held.len() >= MAX_CORTEXES && !held.contains_key(&holder) {
            return;
        }
        let chains = held.entry(holder).or_default();
        let mut moved = false;
        for (origin, head) in heads.iter().filter(|(origin, _)| origin.cortex() == self.own) {
            let known = chains.entry(origin).or_default();
            moved |= *known < head.counter;
            *known = (*known).max(head.counter);
        }
        drop(held);
        if moved {
            self.news.send_modify(|news| *news += 1);
        }
    }

    /// Who is known to hold this event.
    #[must_use]
    pub fn holders(&self, dot: Dot) -> BTreeSet<CortexId> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |chains: &BTreeMap<Origin, u64>| chains.get(&dot.origin()).is_some_and(|&c| c >= dot.counter());
        held.iter().filter(|(_, chains)| holds(chains)).map(|(holder, _)| *holder).collect()
    }

    /// Waits until those hold an event of ours, and says how many hold it then. Whom nobody here was ever in contact with
    /// is not waited for, but reported.
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
        let receipts = Receipts::new(cortex(1));
        let dot = Dot::new(Origin::new(cortex(1), Epoch::new(1)), 5).unwrap();
        let moment = Duration::from_millis(20);
        receipts.note(cortex(2), &heads(1, 4));
        receipts.note(cortex(3), &heads(9, 100));
        receipts.note(cortex(1), &heads(1, 100));
        assert!(receipts.holders(dot).is_empty(), "too little, another's, and our own word do not count");
        let both = Wanted::Cortexes(vec![named("bravo", 2), named("charlie", 3)]);
        receipts.note(cortex(2), &heads(1, 6));
        let late = receipts.wait(dot, &both, moment).await.unwrap_err();
        assert_eq!((late.missing.len(), late.confirmed), (1, 1));
        assert!(late.to_string().contains("not confirmed in time by charlie"), "{late}");
        let (held, ()) = tokio::join!(receipts.wait(dot, &both, Duration::from_secs(20)), async {
            receipts.note(cortex(3), &heads(1, 5))
        });
        assert_eq!(held, Ok(2));
        receipts.note(cortex(2), &heads(1, 1));
        assert_eq!(receipts.wait(dot, &Wanted::Count(2), moment).await, Ok(2), "nobody is taken to have forgotten");
        assert_eq!(receipts.wait(dot, &Wanted::Count(3), moment).await.unwrap_err().short_of, 1);
        // Whom nobody ever met is reported without waiting.
        let stranger = Wanted::Cortexes(vec![named("bravo", 2), named("delta", 0)]);
        let waited = receipts.wait(dot, &stranger, Duration::from_secs(3600));
        let unknown = tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap().unwrap_err();
        assert!(unknown.to_string().contains("never in contact with delta"), "{unknown}");
    }

    #[test]
    fn made_up_cortexes_are_bounded() {
        let receipts = Receipts::new(cortex(1));
        for n in 0..2 * MAX_CORTEXES as u128 {
            receipts.note(CortexId::from_bytes(n.to_be_bytes()), &heads(1, 1));
        }
        assert_eq!(receipts.held.lock().unwrap().len(), MAX_CORTEXES);
    }
}
