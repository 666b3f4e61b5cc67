//! Filling what is missing of an event, in its place.

use super::Log;
use crate::codec::RecordRef;
use crate::cursor::Seq;
use crate::digest::Digest;
use crate::event::EventBytes;
use crate::ids::Dot;
use crate::log::debts::{forget_debt, put_debt};
use crate::log::entry::missing;
use crate::log::fill::{FillPlan, Filled, NotFilled, plan_fill};
use crate::log::held::LogState;
use crate::log::segments::{missing_entry, read_segment, segment_of};
use crate::store::StoreError;

impl Log {
    /// Stages that an event in the log gets the parts that are missing here, from a record that has them. Its sequence number, the
    /// time it joined and every digest stay what they are.
    ///
    /// # Errors
    /// [`NotFilled`]; then nothing is staged.
    pub fn fill(&mut self, record: &EventBytes) -> Result<Filled, NotFilled> {
        self.usable()?;
        let brought = RecordRef::decode(record)?;
        let dot = brought.dot;
        let there = self.dot(dot.origin(), dot.counter())?.ok_or(NotFilled::NotHeld { dot })?;
        if self.staged.filled.contains(&dot) {
            return Err(NotFilled::NotMissing { dot });
        }
        // What is staged only is looked at after the commit.
        let entry = self.view.entry_there(there.seq)?.ok_or(NotFilled::NotHeld { dot })?;
        let held = entry.read()?;
        // Against a damaged record every part would be another one.
        let before = match dot.counter() - 1 {
            0 => self.chains.get(&dot.origin()).map_or(Digest::ZERO, |chain| chain.start.digest),
            before => self.digest_at(dot.origin(), before)?.ok_or_else(|| missing(dot.origin(), before))?,
        };
        if held.digest_after(before) != there.digest {
            let text = format!("family `log`: the record at place {} is not the one that was digested", there.seq);
            return Err(StoreError::corrupt(text).into());
        }
        let FillPlan { record, is_settled } = plan_fill(&held, &brought)?;
        self.stage_rewritten(there.seq, &record)?;
        if is_settled {
            forget_debt(&mut self.staged.batch, dot);
            self.staged.settled.push(there.seq);
        }
        self.staged.filled.insert(dot);
        // With its note, which says how much space it takes.
        self.staged.chains.insert(dot.origin());
        let note = self.origins.entry(dot.origin()).or_default();
        note.bytes = (note.bytes + record.len() as u64).saturating_sub(entry.record.len() as u64);
        Ok(Filled { dot, is_settled })
    }

    /// Stages the segment of an entry with another record in its place.
    fn stage_rewritten(&mut self, seq: Seq, record: &EventBytes) -> Result<(), StoreError> {
        let first = segment_of(&**self.store(), seq)?.ok_or_else(|| missing_entry(seq))?;
        let mut entries = match self.staged.rewritten.remove(&first) {
            Some(entries) => entries,
            None => {
                let all = read_segment(&**self.store(), first, |segment| {
                    let copied = segment.iter().map(|(joined, record)| (joined, EventBytes::copy_from_slice(record)));
                    Ok(copied.collect())
                })?;
                all.ok_or_else(|| missing_entry(seq))?
            }
        };
        let at = usize::try_from(seq.get() - first.get()).ok().and_then(|at| entries.get_mut(at));
        at.ok_or_else(|| missing_entry(seq))?.1 = record.clone();
        self.staged.rewritten.insert(first, entries);
        Ok(())
    }

    /// Stages that a part of an event is missing, with the event.
    pub(in crate::log) fn stage_debt(&mut self, dot: Dot) {
        put_debt(&mut self.staged.batch, dot);
        self.staged.debts += 1;
    }
}
