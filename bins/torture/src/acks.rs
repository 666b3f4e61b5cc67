//! What a victim said it had done: the rig's only memory of what must be there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// An event that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) counter: u64,
    pub(crate) run: u64,
    pub(crate) call: u64,
}

/// Everything that was acknowledged of one directory, by all the processes that had it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acks {
    /// By sequence number.
    pub(crate) events: BTreeMap<u64, Ack>,
    /// How far the peer was read.
    pub(crate) cursor: u64,
    /// The highest sequence number that was acknowledged, as event or as a count alone.
    pub(crate) head: u64,
    /// Sequence numbers that were given to two events.
    pub(crate) doubled: Vec<String>,
}

impl Acks {
    /// Takes a line of a victim; `false` for one that acknowledges nothing.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("ack") => {
                let mut number = || words.next()?.parse().ok();
                let (Some(seq), Some(counter)) = (number(), number()) else { return false };
                let run = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
                let call = words.next().and_then(|word| word.parse().ok());
                let (Some(run), Some(call)) = (run, call) else { return false };
                if self.events.insert(seq, Ack { counter, run, call }).is_some() {
                    self.doubled.push(format!("place {seq} was acknowledged twice"));
                }
                self.head = self.head.max(seq);
                true
            }
            Some("got") => {
                let mut number = || words.next()?.parse().ok();
                let (Some(cursor), Some(head)) = (number(), number()) else { return false };
                self.cursor = self.cursor.max(cursor);
                self.head = self.head.max(head);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let mut text = format!("got {} {}\n", self.cursor, self.head);
        for (seq, Ack { counter, run, call }) in &self.events {
            let _ = writeln!(text, "ack {seq} {counter} {run:016x} {call}"); // a string takes everything
        }
        std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
    }

    pub(crate) fn load(file: &Path) -> Result<Self> {
        let mut acks = Self::default();
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
        for line in text.lines() {
            acks.take(line);
        }
        Ok(acks)
    }
}
