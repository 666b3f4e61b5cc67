//! The storm is over: everything runs, an operator ends what forked, and at last nobody lies. Then all must agree.

use std::sync::atomic::Ordering;

use super::ROUNDS;
use super::invariants;
use super::network::SECOND;
use super::world::World;
use crate::digest::{Digest, fold_heads};
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
        if !self.wait_for_agreement(true)? {
            return Err(format!("I10: honest nodes do not agree while one lies: {}", self.difference(true)));
        }
        self.byzantine.stop();
        if !self.wait_for_agreement(false)? {
            return Err(format!("I8: they do not agree: {}", self.difference(false)));
        }
        for node in 0..self.nodes.len() {
            invariants::thorough(self, node)?;
            invariants::replayed(self, node)?;
        }
        Ok(())
    }

    fn wait_for_agreement(&mut self, honest: bool) -> Result<bool, String> {
        for _ in 0..ROUNDS {
            self.tend()?;
            let end = self.now + World::patience() / 2;
            self.run_until(end)?;
            if self.digests(honest).windows(2).all(|pair| pair[0] == pair[1]) && self.all_replayed() {
                return Ok(true);
            }
            self.move_address();
        }
        Ok(false)
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

    fn digests(&self, honest: bool) -> Vec<(usize, Digest)> {
        let nodes = self.nodes.iter().filter(|node| !(honest && self.byzantine.is(node.index)));
        let nodes = nodes.filter_map(|node| node.process.as_ref());
        let digest = |process: &super::node::Process| {
            let heads = process.log.view().heads();
            let counted = heads.iter().filter(|(origin, _)| !(honest && self.byzantine.is_cortex(origin.cortex())));
            fold_heads(counted.map(|(origin, head)| (origin, head.counter, head.digest)))
        };
        nodes.map(|process| (0, digest(process))).collect()
    }

    fn all_replayed(&self) -> bool {
        let mut processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes
            .all(|process| process.replay.position() == process.log.view().visible() && process.replay.parked() == 0)
    }

    fn difference(&self, honest: bool) -> String {
        let of = |node: &super::node::Node| {
            let Some(process) = &node.process else { return format!("node {} is down", node.index) };
            let heads: Vec<_> =
                process.log.view().heads().iter().map(|(o, h)| format!("{o}:{} {}", h.counter, h.digest)).collect();
            let pulls: Vec<_> = process
                .pulls
                .iter()
                .map(|(peer, pull)| format!("{peer} {:?} {:?}", pull.machine.phase(), pull.machine.health().last_error))
                .collect();
            let forked = forks(&*node.store).map(|f| f.len()).unwrap_or(0);
            format!(
                "\n  node {} (epoch {}): replayed {} of {}, {} parked, {forked} forks, pulls {}\n    {}",
                node.index,
                process.log.view().local().epoch,
                process.replay.position(),
                process.log.view().visible(),
                process.replay.parked(),
                pulls.join(", "),
                heads.join("\n    ")
            )
        };
        let nodes = self.nodes.iter().filter(|node| !(honest && self.byzantine.is(node.index)));
        nodes.map(of).collect()
    }
}
