//! What became of the rounds of one kind, and the table of all.

use antiphon_kernel::internals::log::EpochEnd;
use comfy_table::{CellAlignment, Table, presets};

use crate::report::{Report, Verdict};

/// The counts of one kind of fault.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) kind: &'static str,
    pub(crate) attempts: u64,
    pub(crate) survived: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Refused, or reported as an error, of the kind that names the fault.
    pub(crate) refused: u64,
    /// Acknowledged events that are gone with the end of the log that was cut off under a closed store.
    pub(crate) cut_off: u64,
    /// How often a store noticed that its end was cut off.
    pub(crate) noticed: u64,
    /// Anything else that must not be.
    pub(crate) wrong: u64,
    pub(crate) skipped: Option<String>,
    /// What else there is to know.
    pub(crate) notes: Vec<String>,
    /// Each with the command that repeats it.
    failures: Vec<String>,
}

/// Failures that are told in full.
const TOLD: usize = 20;

impl Outcome {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    pub(crate) fn skipped(kind: &'static str, why: impl Into<String>) -> Self {
        Self { kind, skipped: Some(why.into()), ..Self::default() }
    }

    /// Counts a report of a store that must have survived so many faults. `false` if it has not.
    pub(crate) fn expect_whole(&mut self, faults: u64, report: &Report, what: &str, repeat: &str) -> bool {
        match report.verdict {
            Verdict::Whole if report.new_epoch == Some(EpochEnd::LostTail) => self.wrong += 1,
            Verdict::Whole => {
                self.survived += faults;
                return true;
            }
            Verdict::Lost => self.lost += 1,
            Verdict::Doubled => self.doubled += 1,
            Verdict::Damaged | Verdict::Refused => self.wrong += 1,
        }
        self.told(&format!("{what}: {}", report.told()), repeat);
        false
    }

    /// Counts something that must not be.
    pub(crate) fn wrong(&mut self, what: &str, repeat: &str) {
        self.wrong += 1;
        self.told(what, repeat);
    }

    /// Tells of a failure that was counted already.
    pub(crate) fn told(&mut self, what: &str, repeat: &str) {
        let text = format!("{}: {what}\n    again: {repeat}", self.kind);
        eprintln!("FAILED {text}");
        if self.failures.len() < TOLD {
            self.failures.push(text);
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.lost + self.doubled + self.wrong > 0 || !self.failures.is_empty()
    }
}

/// Prints the table and what failed. `true` if nothing did.
pub(crate) fn print(outcomes: &[Outcome], seed: u64) -> bool {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "kind",
        "attempts",
        "survived",
        "lost",
        "doubled",
        "refused with the right error",
        "cut off",
        "noticed",
        "wrong",
        "skipped",
    ]);
    for outcome in outcomes {
        let numbers = [
            outcome.attempts,
            outcome.survived,
            outcome.lost,
            outcome.doubled,
            outcome.refused,
            outcome.cut_off,
            outcome.noticed,
            outcome.wrong,
        ];
        let numbers = numbers.iter().map(u64::to_string);
        let skipped = outcome.skipped.as_ref().map_or_else(String::new, |why| format!("skipped: {why}"));
        table.add_row([outcome.kind.to_owned()].into_iter().chain(numbers).chain([skipped]));
    }
    for column in table.column_iter_mut().skip(1).take(8) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    for outcome in outcomes {
        for note in &outcome.notes {
            println!("{}: {note}", outcome.kind);
        }
    }
    for failure in outcomes.iter().flat_map(|outcome| &outcome.failures) {
        println!("FAILED {failure}");
    }
    let ok = !outcomes.iter().any(Outcome::failed);
    println!("torture: {}", if ok { "ok".to_owned() } else { format!("FAILED (seed {seed})") });
    ok
}
