//! The storm is over: everything runs, an operator ends what forked, and at last nobody lies. Then all must agree.

use std::sync::atomic::Ordering;

use super::ROUNDS;
use super::invariants;
use super::network::SECOND;
use super::world::World;
use crate::health::ErrorCategory;
use crate::machine::Phase;

impl World {
    /// Mends everything and waits until all agree.
    ///
    /// # Errors
    /// I10 where honest nodes do not agree while one lies, I8 where all do not agree in the end.
    pub(super) fn mend(&mut self) -> Result<(), String> {
        self.stormy = false;
        self.network.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].mood.fails_every.store(0, Ordering::Relaxed);
            self.nodes[node].skew = 0;
            self.nodes[node].store.mend();
            if !self.nodes[node].is_up() {
                self.start(node)?;
            }
        }
        self.wait_for(invariants::honest_agree)?;
        if let Some(node) = self.byzantine.stop() {
            // Others believe still that it holds what it said; and what they were never told they will not be told again by
            // answers that go on. An honest process in its place would be another one.
            self.ask_again(node)?;
            for other in (0..self.nodes.len()).filter(|&other| other != node) {
                self.disconnect(other, node);
            }
        }
        self.wait_for(|world| invariants::all_agree(world).and_then(|()| invariants::debts_paid(world)))?;
        invariants::only_allowed(self)?;
        for node in 0..self.nodes.len() {
            invariants::thorough(self, node)?;
            invariants::replayed(self, node)?;
            self.read_to_the_head(node)?;
        }
        Ok(())
    }

    /// Waits until it holds, and tends them meanwhile.
    fn wait_for(&mut self, holds: impl Fn(&Self) -> Result<(), String>) -> Result<(), String> {
        let mut last = Ok(());
        for _ in 0..ROUNDS {
            self.tend()?;
            let end = self.now + World::patience() / 2;
            self.run_until(end)?;
            last = holds(self);
            if last.is_ok() {
                break;
            }
            self.move_address();
        }
        last
    }

    /// What an operator does now and then: resumes what stands still, ends forks, retries what is parked.
    fn tend(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            self.restart_where_told(node)?;
            let Some(process) = self.nodes[node].process.as_mut() else { continue };
            let _ = process.replay.retry(None);
            let full = std::mem::take(&mut process.lacks_space);
            let (mut peers, mut reset) = (Vec::new(), Vec::new());
            for (&peer, pull) in &mut process.pulls {
                if full {
                    pull.machine.release();
                    peers.push(peer);
                }
                if pull.machine.health().last_error == Some(ErrorCategory::Identity) {
                    // It is another than the one it was at first, or said so then.
                    reset.push(peer);
                }
                match pull.machine.phase() {
                    Phase::Paused => pull.machine.resume(),
                    Phase::Halted => pull.machine.reset(),
                    Phase::BackingOff => pull.machine.wake(),
                    _ => continue,
                }
                pull.question = None;
                peers.push(peer);
            }
            for peer in peers {
                self.act(node, peer)?;
            }
            for peer in reset {
                self.reset_peer(node, peer)?;
            }
            let run = self.nodes[node].run;
            self.after(SECOND, super::world::What::Replay { node, run });
            self.resolve_all(node)?;
        }
        Ok(())
    }

    /// A peer that goes on with our own epoch makes us stand still until the process starts again, as the operator is told.
    fn restart_where_told(&mut self, node: usize) -> Result<(), String> {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let halted = |pull: &super::node::Pull| {
            pull.machine.phase() == Phase::Halted && pull.machine.health().last_error == Some(ErrorCategory::Rollback)
        };
        if !process.pulls.values().any(halted) {
            return Ok(());
        }
        self.sync(node)?;
        self.nodes[node].process = None;
        self.start(node)
    }
}
