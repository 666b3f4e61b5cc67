//! Who acts: writers, crashers, the disk, the network's weather, an operator with backups and copies.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::disk::Disk;
use super::invariants;
use super::network::{MILLI, SECOND};
use super::node::{Node, cortex_id, peer_name};
use super::world::{What, World};
use crate::clock::VClock;
use crate::cursor::Seq;
use crate::event::Draft;
use crate::log::{AppendError, EpochEnd, OpenError, stored_position};
use crate::store::{Batch, Durability, Store};

/// How many copies of data directories a run may make.
const MAX_COPIES: usize = 1;
const IMAGES: usize = 3;

impl World {
    /// An application appends, having seen what its replayer replayed, or nothing at all.
    pub(super) fn write(&mut self, node: usize) -> Result<(), String> {
        let count = 1 + self.entropy.index(3);
        let cut = self.entropy.index(count + 1);
        let empty = self.entropy.one_in(3);
        let now = self.wall(node);
        let first = self.truth.contents.len();
        let Some(process) = self.nodes[node].process.as_ref() else { return Ok(()) };
        // As the writer takes it: what was replayed before the store was opened again may have gone back.
        let replayed = if process.replay.is_current() {
            (process.replay.position(), process.replay.clock().clone())
        } else {
            match stored_position(&*self.nodes[node].store, process.replay.name()) {
                Ok(stored) => stored.unwrap_or_default(),
                Err(error) => return self.expect_damage(node, &error),
            }
        };
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        let (position, context) = if empty { (replayed.0, VClock::new()) } else { replayed };
        let drafts: Vec<_> = (0..count)
            .map(|n| Draft::new("test.happened", format!("{}", first + n)).subject(format!("s/{}", (first + n) % 5)))
            .collect();
        // Two appends that are committed together are one group, where the second one has seen no more.
        let (one, two) = drafts.split_at(cut);
        let appended = process.log.append(one, &context, now).and_then(|mut appended| {
            appended.extend(process.log.append(two, &context, now)?);
            Ok(appended)
        });
        let appended = match appended {
            Ok(appended) => appended,
            // What an application saw here is held here, whatever the disk took back since.
            Err(AppendError::ContextAhead { origin, counter }) if !empty => {
                return Err(format!("I4: node {node} refuses to append: it saw {origin}:{counter}, which is gone"));
            }
            Err(_) => return Ok(()),
        };
        let Some(epoch) = appended.first().map(|one| one.dot.origin().epoch()) else { return Ok(()) };
        let mut past: BTreeSet<u32> = (*self.nodes[node].own_past).clone();
        if std::mem::replace(&mut self.nodes[node].own_epoch, epoch) != epoch {
            past.clear();
            self.nodes[node].own_past = Rc::default();
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        if !empty {
            past.extend(process.seen.until(position));
        }
        if !self.commit(node)? {
            // In doubt: it may be there or not. What is there shows at the next look; it is named so that it is known.
            return self.name_written(node, &past);
        }
        let Some(process) = self.nodes[node].process.as_ref() else { return Ok(()) };
        let view = process.log.reader();
        let mut acks = Vec::new();
        for one in &appended {
            let entry = view.entry(one.seq).map_err(|e| e.to_string())?.ok_or("an appended event is not there")?;
            let written = entry.event().map_err(|e| e.to_string())?;
            invariants::claims(&written, &context, node)?;
            let content = self.truth.write(&entry.record, one.dot, Rc::new(past.clone()));
            past.insert(content);
            acks.push(content);
        }
        self.nodes[node].own_past = Rc::new(past);
        self.found.appended += acks.len() as u64;
        if let Some(process) = self.process(node) {
            process.acks.extend(acks);
        }
        Ok(())
    }

    /// After a write in doubt: whatever of ours is at the end of the log and unknown was just written.
    fn name_written(&mut self, node: usize, past: &BTreeSet<u32>) -> Result<(), String> {
        let Some(process) = self.nodes[node].process.as_ref() else { return Ok(()) };
        let view = process.log.reader();
        let from = Seq::new(view.visible().get().saturating_sub(8));
        let (mut past, mut named) = (past.clone(), false);
        self.nodes[node].store.look_past(true);
        let entries = view.entries(from, usize::MAX, usize::MAX);
        self.nodes[node].store.look_past(false);
        for entry in entries.map_err(|e| e.to_string())? {
            let dot = entry.read().map_err(|e| e.to_string())?.dot;
            if dot.origin().cortex() == cortex_id(self.nodes[node].cortex)
                && self.truth.content(&entry.record).is_none()
            {
                let content = self.truth.write(&entry.record, dot, Rc::new(past.clone()));
                past.insert(content);
                named = true;
            }
        }
        if named {
            self.nodes[node].own_past = Rc::new(past);
        }
        Ok(())
    }

    /// Something goes wrong, or an operator does something.
    pub(super) fn fault(&mut self) -> Result<usize, String> {
        let node = self.entropy.index(self.nodes.len());
        let count = self.nodes.len();
        let which = self.entropy.below(35);
        self.say(|| format!("fault {which} at node {node}"));
        match which {
            0..6 => self.crash(node),
            6..9 => self.network.shuffle(count, &mut self.entropy),
            9 => self.network.open(),
            10..13 => self.image(node)?,
            13 => self.roll_back(node)?,
            14 => self.restore(node)?,
            15 => self.copy(node)?,
            16 | 17 => self.move_address(),
            18 => {
                let peer = self.entropy.index(self.address.len());
                self.reset_peer(node, peer)?;
            }
            19 => self.pause_peer(node)?,
            20 => {
                let every = [0, 0, 3, 7][self.entropy.index(4)];
                self.nodes[node].mood.fails_every.store(every, std::sync::atomic::Ordering::Relaxed);
            }
            21 => {
                self.nodes[node].skew =
                    i64::try_from(self.entropy.below(7_200)).unwrap_or(0) * 1_000_000 - 3_600_000_000
            }
            22 => self.lose_tail(node)?,
            23 | 24 => self.damage(node)?,
            25 | 26 => self.resolve_one(node)?,
            27 => {
                self.network.split(count, &mut self.entropy);
                self.found.splits += 1;
            }
            28 | 29 => {
                let peer = self.entropy.index(self.address.len());
                self.disconnect(node, peer);
                self.found.cut_streams += 1;
            }
            30 => self.space(node)?,
            31 => self.reconnect(node)?,
            32 => self.rebuild(node)?,
            33 => {
                // A newer program starts in its place.
                self.nodes[node].version += 1;
                self.found.upgrades += 1;
                self.crash(node);
            }
            _ => {
                let hang = self.entropy.between(SECOND, 20 * SECOND);
                self.nodes[node].hangs_until = self.now + hang;
            }
        }
        Ok(node)
    }

    /// The machine stops; what was not durable is gone, but for a part of it.
    pub(super) fn crash(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.found.crashes += 1;
        let keep = self.entropy.index(self.nodes[node].store.pending() + 1);
        self.nodes[node].store.crash(keep);
        self.nodes[node].process = None;
        let down = self.entropy.between(10 * MILLI, 5 * SECOND);
        self.after(down, What::Start { node });
    }

    pub(super) fn start(&mut self, node: usize) -> Result<(), String> {
        let seed = self.seed;
        if self.nodes[node].store.lies() {
            // An entry that the store does not know to be damaged may be the last one, which is read without its digest.
            self.nodes[node].store.mend();
        }
        match self.nodes[node].start(seed) {
            Ok(()) => {}
            Err(OpenError::Store(error)) => {
                // It says what is wrong; it is mended, and starts again.
                self.expect_damage(node, &error)?;
                self.nodes[node].store.mend();
                self.after(SECOND, What::Start { node });
                return Ok(());
            }
            Err(error) => return Err(format!("node {node} did not start: {error}")),
        }
        self.started(node);
        invariants::restarted(self, node)
    }

    fn image(&mut self, node: usize) -> Result<(), String> {
        self.learn(node)?;
        let node = &mut self.nodes[node];
        if node.images.len() == IMAGES {
            node.images.remove(0);
        }
        node.images.push((node.store.durable_copy(), node.history.clone()));
        Ok(())
    }

    /// Puts an older image in place. What was safe since is not any more, here; and what it wrote next may depend on less.
    fn put_back(&mut self, node: usize) -> Result<bool, String> {
        if self.nodes[node].images.is_empty() {
            return Ok(false);
        }
        // What it asked for on top of what goes is answered when it is gone.
        self.ask_again(node)?;
        let (at, number) = (self.entropy.index(self.nodes[node].images.len()), self.next_history());
        let node = &mut self.nodes[node];
        node.process = None;
        node.issued.clear();
        let (image, history) = &node.images[at];
        node.store = Arc::new(Disk::over(image.durable_copy()));
        node.history = history.part(number);
        node.own_past = Rc::default();
        Ok(true)
    }

    /// A virtual machine goes back to a snapshot, and does not know.
    fn roll_back(&mut self, node: usize) -> Result<(), String> {
        if self.put_back(node)? {
            self.found.rollbacks += 1;
            self.truth.excused.insert(cortex_id(self.nodes[node].cortex));
            self.start(node)?;
            invariants::went_back(self, node);
        }
        Ok(())
    }

    /// An operator restores a backup with the command for it.
    fn restore(&mut self, node: usize) -> Result<(), String> {
        if self.put_back(node)? {
            self.found.restores += 1;
            self.start(node)?;
            let now = self.wall(node);
            if let Some(process) = self.process(node) {
                process.log.begin_epoch(EpochEnd::Restored, now).map_err(|e| e.to_string())?;
                process.log.commit(Durability::Sync).map_err(|e| e.to_string())?;
            }
            invariants::went_back(self, node);
        }
        Ok(())
    }

    /// The end of the log goes, and what was noted of it stays.
    fn lose_tail(&mut self, node: usize) -> Result<(), String> {
        let noted = self.nodes[node].store.noted();
        if self.put_back(node)? {
            self.found.lost_tails += 1;
            if let Some(noted) = noted {
                self.nodes[node].store.note(&noted, crate::store::Durability::Relaxed);
            }
            self.start(node)?;
            invariants::went_back(self, node);
        }
        Ok(())
    }

    /// A data directory is copied and started: noticed by its place, or, as the clone of a machine, not.
    fn copy(&mut self, node: usize) -> Result<(), String> {
        if self.nodes.len() >= self.address.len() + MAX_COPIES || self.byzantine.is(node) {
            return Ok(());
        }
        let (index, cortex) = (self.nodes.len(), self.nodes[node].cortex);
        let store = self.nodes[node].store.durable_copy();
        if self.entropy.one_in(3) {
            self.truth.excused.insert(cortex_id(cortex));
            self.found.clones += 1;
        } else {
            store.move_to(1_000 + index as u64);
            self.found.copies += 1;
        }
        self.learn(node)?;
        let number = self.next_history();
        let history = self.nodes[node].history.part(number);
        let mut copy = Node::over(index, cortex, Arc::new(Disk::over(store)));
        copy.history = history;
        copy.readers = self.nodes[node].readers.clone();
        copy.version = self.nodes[node].version;
        self.nodes.push(copy);
        self.start(index)?;
        self.after(SECOND, What::Write { node: index });
        Ok(())
    }

    /// The address of a cortex leads to its copy, or back.
    pub(super) fn move_address(&mut self) {
        if let Some(copy) = self.nodes.get(self.address.len()) {
            let cortex = copy.cortex;
            self.address[cortex] = if self.address[cortex] == copy.index { cortex } else { copy.index };
            // Readers follow the address to the other log.
            let index = self.address.len();
            let (nodes, copies) = self.nodes.split_at_mut(index);
            std::mem::swap(&mut nodes[cortex].readers, &mut copies[0].readers);
            for node in 0..self.nodes.len() {
                self.disconnect(node, cortex);
            }
        }
    }

    /// An operator has a peer begin anew: pin, cursor and health are forgotten.
    pub(super) fn reset_peer(&mut self, node: usize, peer: usize) -> Result<(), String> {
        let mut changes = Batch::new();
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(()) };
        let Some(pull) = process.pulls.get_mut(&peer) else { return Ok(()) };
        let name = peer_name(peer);
        changes.delete(crate::store::Family::Pins, crate::store::keys::peer(&name));
        changes.delete(crate::store::Family::Cursors, &crate::store::keys::peer_cursor(&name));
        process.log.stage_state(&changes).map_err(|e| e.to_string())?;
        pull.machine.reset();
        pull.question = None;
        process.log.commit(Durability::Sync).map_err(|e| e.to_string())?;
        self.act(node, peer)
    }

    /// The disk is nearly full, or has room again.
    fn space(&mut self, node: usize) -> Result<(), String> {
        let Some(process) = self.process(node) else { return Ok(()) };
        process.lacks_space = !process.lacks_space;
        let (full, peers) = (process.lacks_space, process.pulls.keys().copied().collect::<Vec<_>>());
        self.found.full_disks += u64::from(full);
        for peer in peers {
            let Some(pull) = self.pull(node, peer) else { continue };
            if full {
                pull.question = None;
                pull.machine.hold();
            } else {
                pull.machine.release();
            }
            self.act(node, peer)?;
        }
        Ok(())
    }

    /// The key changed, or the way to a peer.
    fn reconnect(&mut self, node: usize) -> Result<(), String> {
        let peer = self.entropy.index(self.address.len());
        let Some(pull) = self.pull(node, peer) else { return Ok(()) };
        pull.question = None;
        pull.machine.reconnect();
        self.act(node, peer)
    }

    fn pause_peer(&mut self, node: usize) -> Result<(), String> {
        let peer = self.entropy.index(self.address.len());
        let Some(pull) = self.process(node).and_then(|process| process.pulls.get_mut(&peer)) else { return Ok(()) };
        if pull.machine.phase() == crate::machine::Phase::Paused {
            pull.machine.resume();
        } else {
            pull.machine.pause();
            pull.question = None;
        }
        self.act(node, peer)
    }
}
