//! The storm is over: everything runs, an operator ends what forked, and at last nobody lies. Then all must agree.

use std::sync::atomic::Ordering;

use super::ROUNDS;
use super::invariants;
use super::network::SECOND;
use super::world::World;
use crate::digest::Digest;
use crate::ids::Origin;
use crate::log::forks;
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
            if !self.nodes[node].is_up() {
                self.start(node)?;
            }
        }
        self.wait_for(invariants::honest_agree)?;
        self.byzantine.stop();
        self.wait_for(invariants::all_agree)?;
        for node in 0..self.nodes.len() {
            invariants::thorough(self, node)?;
            invariants::replayed(self, node)?;
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
            let Some(process) = self.nodes[node].process.as_mut() else { continue };
            let _ = process.replay.retry(None);
            let mut peers = Vec::new();
            for (&peer, pull) in &mut process.pulls {
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
            let run = self.nodes[node].run;
            self.after(SECOND, super::world::What::Replay { node, run });
            self.resolve(node)?;
        }
        Ok(())
    }

    /// The version to keep is the one of the first node that holds any.
    fn kept(&self, origin: Origin, from: u64) -> Option<Digest> {
        let mut processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes.find_map(|process| process.log.view().chain_digest(origin, from).ok().flatten())
    }

    fn resolve(&mut self, node: usize) -> Result<(), String> {
        let store = std::sync::Arc::clone(&self.nodes[node].store);
        for fork in forks(&*store).map_err(|e| e.to_string())? {
            let still = forks(&*store).map_err(|e| e.to_string())?.contains(&fork);
            if !still || self.kept(fork.origin, fork.from) != Some(fork.theirs) {
                continue;
            }
            // What was appended is acknowledged first: it may be among what is set aside.
            self.sync(node)?;
            let now = self.wall(node);
            let Some(process) = self.process(node) else { return Ok(()) };
            let resolved = process.log.resolve_fork(fork.theirs, now).map_err(|e| format!("a fork stays: {e}"))?;
            self.found.resolved += 1;
            self.found.set_aside += resolved.set_aside;
            self.say(|| format!("node {node} resolves {fork:?}: {resolved:?}"));
            let Some(process) = self.process(node) else { return Ok(()) };
            process.replay.rebuild().map_err(|e| format!("a replayer does not begin again: {e}"))?;
            process.seen.clear();
            invariants::went_back(self, node);
            self.ask_anew(node)?;
            let run = self.nodes[node].run;
            self.after(0, super::world::What::Serve { node, run });
        }
        Ok(())
    }
}
