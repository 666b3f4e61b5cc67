//! What a check found, as one line of JSON.

use antiphon_kernel::internals::log::EpochEnd;
use serde::{Deserialize, Serialize};

/// The whole of it in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Everything acknowledged is there, once, and fits together.
    Whole,
    /// What is there fits together, but something acknowledged is missing.
    Lost,
    /// Something is there twice.
    Doubled,
    /// What is there does not fit together, and the store did not say so.
    Damaged,
    /// The store says that it cannot be used, and why.
    Refused,
}

/// A typed refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// The kind of the store's error.
    pub(crate) kind: String,
    /// While what was done.
    pub(crate) at: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// The last sequence number of the log.
    pub(crate) head: u64,
    /// The last sequence number that was acknowledged.
    pub(crate) acked: u64,
    /// How many of the log's events are its own.
    pub(crate) own: u64,
    /// How many of them are the peer's.
    pub(crate) peer: u64,
    /// How far the peer's log was read.
    pub(crate) cursor: u64,
    /// How far the replayer had come.
    pub(crate) replayed: u64,
    /// Why it goes on under another epoch than at first, if it does.
    pub(crate) new_epoch: Option<EpochEnd>,
    /// Of every byte of the log, the cursor and the replayer's state.
    pub(crate) content: String,
    /// What is missing of what was acknowledged; the first few.
    pub(crate) lost: Vec<String>,
    /// What is there twice; the first few.
    pub(crate) doubled: Vec<String>,
    /// What does not fit together; the first few.
    pub(crate) faults: Vec<String>,
    pub(crate) refused: Option<Refusal>,
}

/// As many of each as anyone reads.
const FEW: usize = 5;

impl Report {
    pub(crate) const fn new(acked: u64) -> Self {
        Self {
            verdict: Verdict::Whole,
            head: 0,
            acked,
            own: 0,
            peer: 0,
            cursor: 0,
            replayed: 0,
            new_epoch: None,
            content: String::new(),
            lost: Vec::new(),
            doubled: Vec::new(),
            faults: Vec::new(),
            refused: None,
        }
    }

    /// Of a check that did not live to say anything.
    pub(crate) fn dead(acked: u64, how: String) -> Self {
        let mut report = Self::new(acked);
        report.fault(how);
        report.judged()
    }

    pub(crate) fn lost(&mut self, what: String) {
        few(&mut self.lost, what);
    }

    pub(crate) fn doubled(&mut self, what: String) {
        few(&mut self.doubled, what);
    }

    pub(crate) fn fault(&mut self, what: String) {
        few(&mut self.faults, what);
    }

    /// With its verdict: the worst of what was found. What was read without an error counts as read, whatever a later
    /// step refuses.
    pub(crate) fn judged(mut self) -> Self {
        self.verdict = if !self.faults.is_empty() {
            Verdict::Damaged
        } else if !self.doubled.is_empty() {
            Verdict::Doubled
        } else if !self.lost.is_empty() {
            Verdict::Lost
        } else if self.refused.is_some() {
            Verdict::Refused
        } else {
            Verdict::Whole
        };
        self
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        let mut words = vec![format!(
            "{:?}: head {}, acknowledged {}, cursor {}, replayed {}",
            self.verdict, self.head, self.acked, self.cursor, self.replayed
        )];
        words.extend(self.new_epoch.iter().map(|why| format!("a new epoch: {why}")));
        words.extend(self.lost.iter().chain(&self.doubled).chain(&self.faults).cloned());
        words.extend(
            self.refused.iter().map(|refusal| format!("{} ({}): {}", refusal.kind, refusal.at, refusal.message)),
        );
        words.join("; ")
    }
}

fn few(list: &mut Vec<String>, what: String) {
    if list.len() < FEW {
        list.push(what);
    }
}
