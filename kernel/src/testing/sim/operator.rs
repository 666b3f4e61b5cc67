//! Operators end forks: at any time, with a disk that fails meanwhile or a machine that stops in between, and not always
//! in favour of the version that others keep.

use std::sync::Arc;

use super::invariants;
use super::network::SECOND;
use super::world::{What, World};
use crate::digest::Digest;
use crate::ids::Origin;
use crate::log::{Fork, ResolveError, forks};
use crate::store::{StoreError, StoreErrorKind};

impl World {
    /// The version to keep: the owner's own, or else that of the first node that holds any.
    fn kept(&self, origin: Origin, from: u64) -> Option<Digest> {
        let owner = |node: &&super::node::Node| super::node::cortex_id(node.cortex) == origin.cortex();
        let honest = |node: &&super::node::Node| !self.byzantine.is(node.index);
        let owners = self.nodes.iter().filter(owner).filter(honest);
        let others = self.nodes.iter().filter(honest).chain(self.nodes.iter());
        let mut processes = owners.chain(others).filter_map(|node| node.process.as_ref());
        processes.find_map(|process| process.log.reader().chain_digest(origin, from).ok().flatten())
    }

    /// Ends what forked at a node, as all others do.
    pub(super) fn resolve_all(&mut self, node: usize) -> Result<(), String> {
        let store = Arc::clone(&self.nodes[node].store);
        for fork in forks(&*store).map_err(|e| e.to_string())? {
            let still = forks(&*store).map_err(|e| e.to_string())?.contains(&fork);
            if still && self.kept(fork.origin, fork.from) == Some(fork.theirs) {
                self.resolve(node, &fork, fork.theirs)?;
            }
        }
        Ok(())
    }

    /// In the middle of everything, an operator ends a fork.
    pub(super) fn resolve_one(&mut self, node: usize) -> Result<(), String> {
        if !self.nodes[node].is_up() || self.nodes[node].store.lies() {
            return Ok(());
        }
        let known = forks(&*self.nodes[node].store).map_err(|e| e.to_string())?;
        if known.is_empty() {
            return Ok(());
        }
        let fork = known[self.entropy.index(known.len())].clone();
        let either = if self.entropy.one_in(2) { fork.ours } else { fork.theirs };
        let kept = self.kept(fork.origin, fork.from).filter(|kept| [fork.ours, fork.theirs].contains(kept));
        let keep = kept.filter(|_| !self.entropy.one_in(4)).unwrap_or(either);
        // What was appended is acknowledged first: it may be among what is set aside.
        self.sync(node)?;
        if self.entropy.one_in(3) {
            // A resolution writes once or twice; the first of its writes that fails ends it.
            let before = self.entropy.index(2);
            let fault = self.any_fault();
            self.nodes[node].store.fail_commit_after(before, fault);
        }
        self.found.resolved_in_storm += 1;
        let resolved = self.resolve(node, &fork, keep);
        self.nodes[node].store.fail_commits([]);
        resolved?;
        if self.entropy.one_in(4) {
            self.crash(node);
        }
        Ok(())
    }

    fn resolve(&mut self, node: usize, fork: &Fork, keep: Digest) -> Result<(), String> {
        // What was appended is acknowledged first: it may be among what is set aside.
        self.sync(node)?;
        let now = self.wall(node);
        let before = invariants::log(self, node)?;
        let Some(process) = self.process(node) else { return Ok(()) };
        let resolved = process.log.resolve_fork(keep, now);
        self.say(|| format!("node {node} resolves {fork:?}, keeps {keep}: {resolved:?}"));
        let set_aside = match resolved {
            Ok(resolved) => resolved.set_aside,
            Err(ResolveError::Unknown { .. }) => return Err(format!("a fork stays: {fork:?}")),
            Err(ResolveError::Store(error)) => return self.resolve_failed(node, &error),
        };
        self.found.resolved += 1;
        self.found.set_aside += set_aside;
        let Some(process) = self.process(node) else { return Ok(()) };
        let rebuilt = if set_aside > 0 { process.replay.be_current() } else { Ok(()) };
        let unread = process.log.reader().failure().is_some();
        process.seen.forget();
        invariants::went_back(self, node);
        // A log that met damage when it was read again shows none of its sequence numbers before the next start.
        if set_aside > 0 && !unread {
            invariants::set_aside(self, node, &before, fork)?;
        }
        if rebuilt.is_err() || unread {
            // It is when the process starts next; and what met damage when it read its log again knows nothing of it until then.
            self.crash(node);
            return Ok(());
        }
        self.ask_again(node)?;
        let run = self.nodes[node].run;
        self.after(0, What::Serve { node, run });
        self.after(SECOND, What::Replay { node, run });
        Ok(())
    }

    /// Where a write failed it may have been done or not. A replayer finds its mark when the process starts next, so that is
    /// what an operator does; where damage kept it from being done, all continues as before. A log that met the damage again when
    /// it read itself again writes nothing until it is open again.
    fn resolve_failed(&mut self, node: usize, error: &StoreError) -> Result<(), String> {
        if error.kind() == StoreErrorKind::Io {
            self.found.failed_writes += 1;
            if let Some(process) = self.process(node) {
                process.seen.forget();
            }
            invariants::went_back(self, node);
            self.crash(node);
            return Ok(());
        }
        self.expect_damage(node, error)?;
        if self.process(node).is_some_and(|process| process.log.needs_recovery()) {
            self.crash(node);
        }
        Ok(())
    }
}
