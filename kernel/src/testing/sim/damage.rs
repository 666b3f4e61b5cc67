//! A disk that goes bad: an entry of the log or of its index is damaged where it lies, and stays so for a while. Whatever
//! needs it meanwhile must say so, by a typed error; then it is mended, and nothing is missing.

use std::sync::Arc;

use super::disk::{Damage, Harm};
use super::network::SECOND;
use super::world::{What, World};
use crate::codec::{EventRef, SegmentRef};
use crate::cursor::Seq;
use crate::log::verify;
use crate::store::{Family, Store, StoreError, StoreErrorKind, Unreadable as _, keys};

/// The bytes of a record that say what it is: version and kind.
const PREFIX: usize = 2;

impl World {
    /// A durable entry is damaged. That must show at once to whoever verifies, and never as a shorter log.
    pub(super) fn damage(&mut self, node: usize) -> Result<(), String> {
        let Some(process) = self.nodes[node].process.as_ref() else { return Ok(()) };
        let view = process.log.reader();
        let (durable, head) = (view.head().seq.get(), view.visible().get());
        let store = Arc::clone(&self.nodes[node].store);
        // A liar reads its own log to make its lies of.
        if durable == 0 || store.harmed().is_some() || self.byzantine.is(node) {
            return Ok(());
        }
        self.found.damages += 1;
        // What was written last is read most.
        let back =
            if self.entropy.one_in(2) { self.entropy.below(durable.min(4)) } else { self.entropy.below(durable) };
        let place = Seq::new(durable - back);
        let entry = view.entry(place).map_err(|e| e.to_string())?.ok_or("a durable entry is not there")?;
        let dot = entry.read().map_err(|e| e.to_string())?.dot;
        let (family, prefix, key) = match self.entropy.below(4) {
            0 => (Family::Dots, keys::dots_of(dot.origin()).to_vec(), keys::dot(dot.origin(), dot.counter()).to_vec()),
            1 => {
                (Family::Marks, keys::marks_of(dot.origin()).to_vec(), keys::mark(dot.origin(), dot.counter()).to_vec())
            }
            _ => (Family::Log, Vec::new(), keys::log(place).to_vec()),
        };
        // The segment that has the entry, or what the index says of it.
        let (key, _) = store.durable_floor(family, &prefix, &key).ok_or("a durable entry is in no segment")?;
        let harm = match self.entropy.below(4) {
            0 => Harm::Missing,
            1 if family == Family::Log => self.flipped(&*store, &key)?,
            _ => Harm::Unreadable,
        };
        self.say(|| format!("node {node}: {family} {dot} at {place} is damaged: {harm:?}"));
        store.harm(Damage { family, key, harm });
        let length = view.entries(Seq::ZERO, usize::MAX, usize::MAX).map(|entries| entries.len() as u64);
        if length.as_ref().is_ok_and(|length| *length != head) {
            return Err(format!("I1: node {node}: damage made the log {length:?} long, of {head}"));
        }
        if verify(&view).is_ok_and(|report| report.is_clean()) {
            return Err(format!("I1: node {node}: damage at {place} went unnoticed"));
        }
        let stays = self.entropy.between(1, 15 * SECOND);
        self.after(stays, What::Mend { node });
        Ok(())
    }

    /// A bit of a record is another one. Not one that makes it a newer version's, or an event of another dot: the position of an event is taken from the
    /// store, whose own checks answer for it; digests tell what an event says, once somebody holds them against it.
    fn flipped(&mut self, store: &dyn Store, key: &[u8]) -> Result<Harm, String> {
        let good = store.get(Family::Log, key).map_err(|e| e.to_string())?.unwrap_or_default();
        let segment = SegmentRef::decode(&good).map_err(|e| e.to_string())?;
        let records: Vec<_> = segment.iter().map(|(_, record)| record).collect();
        // The table before them has the lengths, which must add up, and times, which nothing but lag depends on.
        let table = good.len() - records.iter().map(|record| record.len()).sum::<usize>();
        for _ in 0..8 {
            let chosen = self.entropy.index(records.len());
            let begin = table + records[..chosen].iter().map(|record| record.len()).sum::<usize>();
            let (_, dot) = EventRef::decode_dot(records[chosen]).map_err(|e| e.to_string())?;
            let mut bad = good.clone();
            // Behind the record's version and kind, which may be a newer one's.
            let at = begin + PREFIX + self.entropy.index(records[chosen].len() - PREFIX);
            bad[at] ^= 1 << self.entropy.below(8);
            if EventRef::decode_dot(&bad[begin..begin + records[chosen].len()])
                .map_or_else(|fault| !fault.is_newer(), |(_, other)| other == dot)
            {
                return Ok(Harm::Flipped(bad));
            }
        }
        Ok(Harm::Unreadable)
    }

    /// A node says that its store is damaged: it is.
    pub(super) fn expect_damage(&mut self, node: usize, error: &StoreError) -> Result<(), String> {
        self.say(|| format!("node {node}: {error}"));
        if error.kind() != StoreErrorKind::Corrupt || self.nodes[node].store.harmed().is_none() {
            return Err(format!("I1: node {node} cannot read what is whole: {error}"));
        }
        self.found.damage_met += 1;
        Ok(())
    }
}
