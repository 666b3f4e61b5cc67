//! The first lie wins, many times over: a Byzantine peer continues more chains than one question can name as forks, otherwise for
//! each asker, so that honest nodes differ in all of them. A scenario of its own: the Byzantine peer has the keys of those chains, so nothing prevents
//! it, and what is expected is that it is found, that the liar is named, and that all agree once operators decided.

use std::rc::Rc;

use super::node::peer_name;
use super::world::World;
use crate::clock::VClock;
use crate::cursor::Cursor;
use crate::event::Draft;
use crate::health::ErrorCategory;
use crate::ids::{CortexId, Epoch, EventId, Origin};
use crate::log::{SentQuery, bringers, forks};
use crate::protocol::{EventBatch, Heads};
use crate::testing::{Author, Written, seeded_cortex};

/// Two more than one question can name.
const CHAINS: u64 = 66;

/// Whose keys the Byzantine peer has, in addition to its own.
const OWNER: u8 = 0xcc;

/// The owner of the chains, who is never met.
pub(super) fn owner() -> CortexId {
    seeded_cortex(OWNER)
}

fn chain(n: u64) -> Origin {
    Origin::new(owner(), Epoch::new(1 + n))
}

impl World {
    /// The batch with as many first events of chains as fit that its asker does not hold, in a version for that asker.
    pub(super) fn flood(
        &mut self,
        client: usize,
        asked: &SentQuery,
        mut batch: EventBatch,
    ) -> Result<EventBatch, String> {
        let room = (asked.max_events as usize).saturating_sub(batch.events.len());
        if batch.last != batch.head || room == 0 {
            return Ok(batch);
        }
        let missing: Vec<_> = (0..CHAINS).filter(|&n| asked.held.get(chain(n)).is_none()).take(room).collect();
        let mut heads: Vec<_> = batch.heads.iter().collect();
        for n in missing {
            let origin = chain(n);
            let id = EventId::from_parts(self.wall(client).ulid_ms(), u128::from(n) << 8 | client as u128);
            let draft = Draft::new("test.forged", format!("as sent to node {client}")).subject("s/0");
            let mut author = Author::new(OWNER, origin.epoch().get());
            let Written { dot, record, head, seal, inception, .. } =
                author.write(id, &draft, &VClock::new(), self.wall(client));
            self.truth.forge(&record, dot, Rc::default());
            let seq = batch.last.seq.next();
            batch.last = Cursor { epoch: batch.last.epoch, seq, last_event: id };
            heads.push((origin, head));
            batch.events.push((seq, record));
            batch.seals.push(seal);
            batch.inceptions.push((origin, inception));
            self.found.flooded += 1;
        }
        batch.head = batch.last;
        batch.inceptions.sort();
        batch.heads = Heads::new(heads);
        Ok(batch)
    }

    /// Counts honest nodes that are cut off from honest ones by that, and looks whether the liar is named there.
    ///
    /// # Errors
    /// Where a fork of such a chain names no bringer.
    pub(super) fn look_for_the_cut_off(&mut self) -> Result<(), String> {
        for node in (0..self.nodes.len()).filter(|&node| !self.byzantine.is(node)) {
            let Some(process) = &self.nodes[node].process else { continue };
            let honest = process.pulls.iter().filter(|(peer, _)| !self.byzantine.is(self.address[**peer]));
            let cut_off =
                |pull: &super::node::Pull| pull.machine.health().last_error == Some(ErrorCategory::TooManyForks);
            self.found.cut_off += honest.filter(|(_, pull)| cut_off(pull)).count() as u64;
            let store = &*self.nodes[node].store;
            let own = super::node::cortex_id(self.nodes[node].cortex);
            for fork in forks(store).map_err(|e| e.to_string())? {
                let held = process.log.reader().chain_digest(fork.origin, fork.from).map_err(|e| e.to_string())?;
                if fork.origin.cortex() != chain(0).cortex() || held.is_none() {
                    continue;
                }
                let found = bringers(store, own, &fork).map_err(|e| e.to_string())?;
                if found.ours.is_none() || found.suspects.is_empty() {
                    return Err(format!("node {node} does not know who brought its version of {fork:?}"));
                }
                let liar = (0..self.nodes.len()).find(|&node| self.byzantine.is(node));
                let named = liar.is_some_and(|liar| found.suspects.contains(&peer_name(self.nodes[liar].cortex)));
                self.found.liars_named += u64::from(named);
            }
        }
        Ok(())
    }
}
