//! Two live processes with one cortex id: a copy of a data directory that runs next to its original.
//!
//! Each question says which process asks. A process that starts again asks under another number and never under the old one; two
//! that live take turns. A node that dials itself receives its own question; a copy of it does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::entropy;
use crate::error_code::ErrorCode;
use crate::ids::{CortexId, PeerName};
use crate::protocol::RequestId;
use crate::time::Timestamp;

/// Questions of a process that ended may still arrive for so long.
const SETTLE: Duration = Duration::from_secs(3);
/// A process that asked so often after another one had begun lives next to it.
const RETURNS: u32 = 3;
/// Two questions that are open together for so long belong to two live processes: a dead one's is given up earlier.
const OPEN_TOGETHER: Duration = Duration::from_secs(120);
/// A process that was silent for so long has ended.
const FORGET: Duration = Duration::from_secs(300);
/// A copy of ours that was not met for so long has ended: a peer that fails is asked at least every five minutes.
const FORGET_OWN: Duration = Duration::from_secs(900);
/// The most cortexes that are watched: any holder of the key can claim any id in a question.
const MAX_CORTEXES: usize = 1024;
/// The most processes of one cortex that are counted apart.
const MAX_PROCESSES: usize = 4;

/// A process that asks in the name of a cortex.
#[derive(Debug, Clone)]
struct Process {
    number: u64,
    first: Duration,
    last: Duration,
    /// Questions that are open.
    open: u32,
    /// Questions since a younger process asked.
    returns: u32,
}

impl Process {
    fn lives(&self, now: Duration) -> bool {
        self.open > 0 || now.saturating_sub(self.last) < FORGET
    }
}

/// The processes of one cortex, the oldest first. Pure.
#[derive(Debug, Default)]
struct Processes {
    list: Vec<Process>,
    since: Option<Timestamp>,
}

impl Processes {
    fn asked(&mut self, number: u64, now: Duration) {
        if self.heard(number, now) {
            self.list.iter_mut().filter(|process| process.number == number).for_each(|process| process.open += 1);
            return;
        }
        if self.list.len() >= MAX_PROCESSES {
            self.list.remove(0);
        }
        self.list.push(Process { number, first: now, last: now, open: 1, returns: 0 });
    }

    /// A process that is known said something. False if it is not.
    fn heard(&mut self, number: u64, now: Duration) -> bool {
        let youngest = self.list.last().map(|process| (process.number, process.first));
        let Some(process) = self.list.iter_mut().find(|process| process.number == number) else { return false };
        let settled = youngest.is_some_and(|(other, first)| other != number && now >= first + SETTLE);
        process.returns += u32::from(settled);
        process.last = now;
        true
    }

    fn closed(&mut self, number: u64, now: Duration) {
        if let Some(process) = self.list.iter_mut().find(|process| process.number == number) {
            process.open = process.open.saturating_sub(1);
            process.last = now;
        }
    }

    fn are_two(&self, now: Duration) -> bool {
        let Some((youngest, older)) = self.list.split_last() else { return false };
        let next_to = |older: &Process| {
            older.lives(now)
                && (older.returns >= RETURNS
                    || older.open > 0 && youngest.open > 0 && now.saturating_sub(youngest.first) >= OPEN_TOGETHER)
        };
        youngest.lives(now) && older.iter().any(next_to)
    }

    fn last(&self, now: Duration) -> Duration {
        let last = |process: &Process| if process.open > 0 { now } else { process.last };
        self.list.iter().map(last).max().unwrap_or_default()
    }
}

/// A cortex of which two processes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Double {
    /// Its id; this node's own where a copy of it runs.
    pub cortex: CortexId,
    /// When that was noticed.
    pub since: Timestamp,
    /// The peer that proved to be a copy of this node, where this node dialled it.
    pub peer: Option<PeerName>,
}

#[derive(Debug, Default)]
struct Inner {
    askers: BTreeMap<CortexId, Processes>,
    /// Questions to a peer that gave our own id, and whether they came back here.
    probes: HashMap<RequestId, bool>,
    /// The copy of ours: what is said of it, and when it was last seen.
    own: Option<(Double, Duration)>,
}

/// Watches who asks.
#[derive(Debug)]
pub struct Doubles {
    own: CortexId,
    began: Instant,
    inner: Mutex<Inner>,
}

impl Doubles {
    pub(crate) fn new(own: CortexId) -> Self {
        Self { own, began: Instant::now(), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question came.
    pub(crate) fn asked(&self, from: CortexId, request: RequestId) {
        let now = self.began.elapsed();
        let mut inner = self.lock();
        if from != self.own {
            inner.asked(from, request.process, now);
        } else if let Some(returned) = inner.probes.get_mut(&request) {
            *returned = true;
        } else if now >= SETTLE {
            // Not this process's: what it asks in its own name is a probe.
            inner.found_own(self.own, None, now);
        }
    }

    /// News came for a question that is open.
    pub(crate) fn refreshed(&self, from: CortexId, request: RequestId) {
        let now = self.began.elapsed();
        if let Some(processes) = self.lock().askers.get_mut(&from)
            && processes.heard(request.process, now)
        {
            noticed(from, processes, now);
        }
    }

    /// A question was answered, or is not waited for any more.
    pub(crate) fn closed(&self, from: CortexId, request: RequestId) {
        let now = self.began.elapsed();
        if let Some(processes) = self.lock().askers.get_mut(&from) {
            processes.closed(request.process, now);
        }
    }

    /// Begins a question of this process to a peer that gave our own id. Each gets a number of its own: several peers may be asked
    /// at once.
    pub(crate) fn probe(&self, process: u64) -> Probe<'_> {
        let request = RequestId { process, number: 1 << 63 | entropy::random() as u64 };
        self.lock().probes.insert(request, false);
        Probe { doubles: self, request }
    }

    /// A peer answered such a question that this node did not receive.
    pub(crate) fn found_copy_at(&self, peer: &PeerName) {
        let now = self.began.elapsed();
        self.lock().found_own(self.own, Some(peer), now);
    }

    /// The cortexes of which two processes live now.
    #[must_use]
    pub fn list(&self) -> Vec<Double> {
        let now = self.began.elapsed();
        let mut inner = self.lock();
        let mut list = Vec::new();
        list.extend(
            inner
                .own
                .iter()
                .filter(|(_, last)| now.saturating_sub(*last) < FORGET_OWN)
                .map(|(double, _)| double.clone()),
        );
        for (&cortex, processes) in &mut inner.askers {
            list.extend(noticed(cortex, processes, now).map(|since| Double { cortex, since, peer: None }));
        }
        list
    }
}

/// A question to a peer that gave our own id.
pub(crate) struct Probe<'a> {
    doubles: &'a Doubles,
    request: RequestId,
}

impl Probe<'_> {
    /// What to ask it as.
    pub(crate) const fn request(&self) -> RequestId {
        self.request
    }

    /// Whether this node received the question itself: then the peer is this node.
    pub(crate) fn returned(&self) -> bool {
        self.doubles.lock().probes.get(&self.request).copied().unwrap_or_default()
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.doubles.lock().probes.remove(&self.request);
    }
}

/// Since when two of them live; said once in the log.
fn noticed(cortex: CortexId, processes: &mut Processes, now: Duration) -> Option<Timestamp> {
    if !processes.are_two(now) {
        processes.since = None;
        return None;
    }
    if processes.since.is_none() {
        let code = ErrorCode::PeerDouble;
        tracing::error!(%cortex, %code, "two processes ask in the name of one cortex: a copy of its data directory runs");
    }
    Some(*processes.since.get_or_insert_with(Timestamp::now))
}

impl Inner {
    fn asked(&mut self, from: CortexId, process: u64, now: Duration) {
        if self.askers.len() >= MAX_CORTEXES && !self.askers.contains_key(&from) {
            let quietest = self.askers.iter().map(|(cortex, processes)| (processes.last(now), *cortex)).min();
            if let Some((_, cortex)) = quietest {
                self.askers.remove(&cortex);
            }
        }
        let processes = self.askers.entry(from).or_default();
        processes.asked(process, now);
        noticed(from, processes, now);
    }

    fn found_own(&mut self, cortex: CortexId, peer: Option<&PeerName>, now: Duration) {
        let known =
            self.own.take().filter(|(_, last)| now.saturating_sub(*last) < FORGET_OWN).map(|(double, _)| double);
        if known.is_none() {
            let at = peer.map_or("which asks this one".to_owned(), |peer| format!("which peer {peer} leads to"));
            let code = ErrorCode::PeerDouble;
            tracing::error!(%code, "another node runs with this node's identity, {at}: a copy of the data directory");
        }
        let mut double = known.unwrap_or_else(|| Double { cortex, since: Timestamp::now(), peer: None });
        double.peer = peer.cloned().or(double.peer);
        self.own = Some((double, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Each process asks at these seconds, and gets its answer at once.
    fn asked(questions: &[(u64, u64)]) -> Processes {
        let mut processes = Processes::default();
        for &(process, second) in questions {
            processes.asked(process, at(second));
            processes.closed(process, at(second));
        }
        processes
    }

    #[test]
    fn two_that_take_turns_live_and_one_that_restarted_does_not() {
        let restarts: Vec<_> = (0..50).map(|n| (n / 5, n)).collect();
        assert!(!asked(&restarts).are_two(at(50)), "each asks five times and never again");
        let late = [(1, 0), (2, 1), (1, 1), (2, 2), (1, 2), (1, 3), (1, 5), (1, 6)];
        assert!(!asked(&late).are_two(at(6)), "what was on its way when it ended");
        let turns: Vec<_> = (0..20).map(|n| (n % 2, n)).collect();
        let both = asked(&turns);
        assert!(both.are_two(at(20)));
        assert!(!both.are_two(at(20) + FORGET), "both ended since");
    }

    #[test]
    fn one_that_ended_is_forgotten_while_the_other_asks_on() {
        let mut processes = asked(&[(1, 0), (2, 1), (1, 5), (1, 6), (1, 7)]);
        assert!(processes.are_two(at(8)));
        for second in 8..400 {
            processes.asked(2, at(second));
            processes.closed(2, at(second));
        }
        assert!(!processes.are_two(at(400)));
    }

    #[test]
    fn questions_that_stay_open_together_are_two_processes() {
        let mut processes = Processes::default();
        processes.asked(1, at(0));
        processes.asked(2, at(10));
        assert!(!processes.are_two(at(100)), "a connection that broke is given up later than that");
        assert!(processes.are_two(at(130)));
        processes.closed(1, at(131));
        assert!(!processes.are_two(at(131)), "it never asked again");
    }

    #[test]
    fn made_up_cortexes_and_processes_are_bounded_and_the_quietest_give_way() {
        let doubles = Doubles::new(CortexId::from_bytes([0; 16]));
        let cortex = |n: u128| CortexId::from_bytes(n.to_be_bytes());
        doubles.asked(cortex(1), RequestId { process: 1, number: 1 });
        for n in 2..3 * MAX_CORTEXES as u128 {
            let request = RequestId { process: n as u64, number: 1 };
            doubles.asked(cortex(n), request);
            doubles.closed(cortex(n), request);
        }
        let inner = doubles.lock();
        assert_eq!(inner.askers.len(), MAX_CORTEXES);
        assert!(inner.askers.contains_key(&cortex(1)), "its question is open");
        drop(inner);
        for process in 0..100 {
            doubles.asked(cortex(1), RequestId { process, number: 1 });
        }
        assert_eq!(doubles.lock().askers[&cortex(1)].list.len(), MAX_PROCESSES);
    }

    #[test]
    fn a_node_that_receives_its_own_question_dialled_itself() {
        let own = CortexId::from_bytes([7; 16]);
        let doubles = Doubles::new(own);
        // Two peers at once: one leads back, the other to another node.
        let (mirror, twin) = (doubles.probe(1), doubles.probe(1));
        doubles.asked(own, mirror.request());
        assert!(mirror.returned() && !twin.returned() && doubles.list().is_empty());
        drop((mirror, twin));
        assert!(doubles.lock().probes.is_empty());
        let peer = PeerName::new("twin").unwrap();
        doubles.found_copy_at(&peer);
        let found = doubles.list();
        assert_eq!((found[0].cortex, found[0].peer.as_ref()), (own, Some(&peer)));
    }
}
