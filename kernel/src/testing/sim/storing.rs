//! Writing: commits that may fail, the sync that follows them, what is told then, and replay.

use super::invariants;
use super::network::{MILLI, SECOND};
use super::node::cortex_id;
use super::world::{Packet, What, World};
use crate::codec::Room;
use crate::protocol::Refresh;
use crate::replay::ReplayStep;
use crate::store::{Batch, Durability, StoreError, StoreErrorKind};
use crate::testing::CommitFault;

impl World {
    pub(super) fn any_fault(&mut self) -> CommitFault {
        CommitFault::ALL[self.entropy.index(CommitFault::ALL.len())]
    }

    /// How the next commit fails, if it is one of the few that do.
    fn commit_fault(&mut self, one_in: u64) -> Option<CommitFault> {
        (self.stormy && self.entropy.one_in(one_in))
            .then(|| CommitFault::ALL[self.entropy.index(CommitFault::ALL.len())])
    }

    /// Commits what was staged, visible but not durable, and sees to the sync. False where the disk failed.
    pub(super) fn commit(&mut self, node: usize) -> Result<bool, String> {
        let fault = self.commit_fault(80);
        let delay = self.entropy.between(1, 6 * MILLI);
        if let Some(fault) = fault {
            self.found.failed_writes += 1;
            self.nodes[node].store.fail_commits([fault]);
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(false) };
        let committed = process.log.commit(Durability::Relaxed);
        self.nodes[node].store.fail_commits([]);
        let run = self.nodes[node].run;
        if committed.is_ok() {
            self.after(delay, What::Sync { node, run });
            return Ok(true);
        }
        self.reopen(node)?;
        Ok(false)
    }

    /// After a failed write the log is read again; what waited for the disk is in doubt.
    fn reopen(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].store.lies() {
            self.nodes[node].store.mend();
        }
        if self.entropy.one_in(3) {
            // What was not durable is gone with the failure, or a part of it.
            let keep = self.entropy.index(self.nodes[node].store.pending() + 1);
            self.nodes[node].store.lose_at_reopen(keep);
            self.nodes[node].own_past = Default::default();
            self.found.lost_writes += 1;
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        let rewrites = process.log.reader().rewrites();
        process.seen.forget();
        if let Err(error) = process.log.recover() {
            // Nothing is written before it is mended, and then it is tried again.
            assert!(self.expect_damage(node, &error).is_ok(), "memory reopens");
            self.nodes[node].store.mend();
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        if process.log.needs_recovery() {
            process.log.recover().expect("memory reopens");
        }
        process.acks.clear();
        if process.log.reader().rewrites() != rewrites {
            return self.ask_again(node);
        }
        let peers: Vec<_> = process.pulls.keys().copied().collect();
        peers.into_iter().try_for_each(|peer| self.act(node, peer))
    }

    pub(super) fn commit_now(&mut self, node: usize, changes: &Batch) {
        if let Some(process) = self.process(node)
            && process.log.stage_state(changes).is_ok()
        {
            process.log.commit(Durability::Sync).expect("memory commits");
        }
    }

    /// Waits for the disk, if it is at work.
    pub(super) fn settle(&mut self, node: usize) -> Result<(), String> {
        match self.process(node) {
            Some(process) if process.log.unsynced() => self.sync(node),
            _ => Ok(()),
        }
    }

    pub(super) fn sync(&mut self, node: usize) -> Result<(), String> {
        let run = self.nodes[node].run;
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        if process.log.unsynced() || !process.acks.is_empty() {
            process.log.sync().map_err(|e| e.to_string())?;
        }
        for content in std::mem::take(&mut process.acks) {
            self.truth.durable(content)?;
            self.nodes[node].safe.push(content);
        }
        self.tell(node)?;
        self.after(0, What::Serve { node, run });
        self.after(MILLI, What::Replay { node, run });
        Ok(())
    }

    /// Says to some of those who are being asked what is held by now.
    pub(super) fn tell(&mut self, node: usize) -> Result<(), String> {
        let from = cortex_id(self.nodes[node].cortex);
        let peers: Vec<_> = self.process(node).map(|p| p.pulls.keys().copied().collect()).unwrap_or_default();
        for peer in peers {
            if self.entropy.one_in(2) {
                continue;
            }
            let Some(process) = self.process(node) else { return Ok(()) };
            let known = process.log.reader().heads();
            let Some(question) = process.pulls.get(&peer).and_then(|pull| pull.question.as_ref()) else { continue };
            let request = question.asked.request;
            invariants::advertised(self, node, &known, None)?;
            let honest = known.clone();
            let known = self.refresh_falsely(node, known);
            if known != honest
                && let Some(pull) = self.pull(node, peer)
            {
                pull.question = None;
            }
            let refresh = Refresh { request, from, known, direct: Vec::new(), room: Room::default() };
            self.send(node, self.address[peer], Packet::Refresh { client: node, refresh });
        }
        Ok(())
    }

    pub(super) fn replay(&mut self, node: usize) -> Result<(), String> {
        let run = self.nodes[node].run;
        // A replayer may hang for a while: only it waits. Replay relies on the store to tell damage from data, as it does
        // not look at digests: where the store lies, none of it is tried.
        let hangs = self.nodes[node].hangs_until > self.now;
        if self.stormy && (hangs || self.nodes[node].store.lies()) {
            self.found.hangs += u64::from(hangs);
            self.after(SECOND, What::Replay { node, run });
            return Ok(());
        }
        let fault = self.commit_fault(60);
        self.nodes[node].store.fail_commits(fault);
        let Some(process) = self.process(node) else { return Ok(()) };
        let step = process.replay.step();
        self.nodes[node].store.fail_commits([]);
        match step {
            Ok(ReplayStep::CaughtUp) => {}
            Ok(ReplayStep::Replayed(_)) => self.after(MILLI, What::Replay { node, run }),
            Ok(ReplayStep::Failed { .. }) => {
                self.found.replay_failures += 1;
                self.after(200 * MILLI, What::Replay { node, run });
            }
            Err(error) => {
                self.replay_failed(node, &error, fault.is_some())?;
                self.after(200 * MILLI, What::Replay { node, run });
            }
        }
        Ok(())
    }

    /// An operator rebuilds a replayer, on a disk that may fail.
    pub(super) fn rebuild(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].store.lies() {
            return Ok(());
        }
        let fault = self.commit_fault(4);
        self.nodes[node].store.fail_commits(fault);
        let rebuilt = self.process(node).map(|process| process.replay.rebuild());
        self.nodes[node].store.fail_commits([]);
        match rebuilt {
            None => return Ok(()),
            Some(Ok(())) => self.found.rebuilds += 1,
            Some(Err(error)) => self.replay_failed(node, &error, fault.is_some())?,
        }
        let run = self.nodes[node].run;
        self.after(MILLI, What::Replay { node, run });
        Ok(())
    }

    /// The replayer reads what is visible. After a failed write the log opens the store again.
    fn replay_failed(&mut self, node: usize, error: &StoreError, injected: bool) -> Result<(), String> {
        let Some(process) = self.process(node) else { return Ok(()) };
        process.replay.load().expect("memory reads");
        if injected && error.kind() == StoreErrorKind::Io {
            self.found.failed_writes += 1;
            self.reopen(node)
        } else {
            self.expect_damage(node, error)
        }
    }
}
