//! A simulator of whole federations: one thread, virtual time, a seed. The real machine, log, ingest, answers and replay
//! run over a store with pending and durable layers and a network that delays, loses, repeats and cuts. Writers write,
//! machines crash, disks fail and go bad, an operator restores, copies and resolves forks, and one peer in some runs lies.
//! Readers keep cursors over all of this.
//! After every step the invariants of the node that it concerned are checked, of what is new at once, of everything in
//! every 16th run and now and then in the others; in the end everything is mended, and all must agree.
//!
//! The method is that of FoundationDB's and TigerBeetle's simulators: whatever can happen, happens often, and every
//! failure can be repeated bit for bit from its seed.
//!
//! `ANTIPHON_TRACE=1` tells on stderr what happens.
//!
//! ```
//! let report = antiphon_kernel::testing::sim::run(7).expect("every invariant holds");
//! assert_eq!(report.trace, antiphon_kernel::testing::sim::run(7).expect("again").trace);
//! ```

mod actors;
mod answering;
mod byzantine;
mod damage;
mod disk;
mod entropy;
mod equivocation;
mod flooding;
mod forging;
mod histories;
mod invariants;
mod mending;
mod network;
mod node;
mod operator;
mod pulling;
mod readers;
mod relay;
mod replayer;
mod seen;
mod storing;
mod truth;
mod wasting;
mod whole;
mod world;

pub use entropy::Entropy;
pub use whole::{Happened, run_whole};

use std::fmt;

use network::SECOND;
use world::World;

/// How long faults happen, in virtual seconds.
const STORM: u64 = 90;
/// How often the mended federation is looked at before it counts as stuck.
const ROUNDS: usize = 40;

/// What happened in a run: proof that what is to be survived did occur.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Found {
    pub appended: u64,
    pub ingested: u64,
    pub acknowledged: u64,
    /// How often an answer said that the origin of its asker reaches further than the asker holds it.
    pub own_heads: u64,
    pub crashes: u64,
    pub failed_writes: u64,
    pub lost_writes: u64,
    pub rollbacks: u64,
    pub restores: u64,
    pub lost_tails: u64,
    pub copies: u64,
    pub clones: u64,
    pub damages: u64,
    pub damage_met: u64,
    pub forks: u64,
    pub healed: u64,
    pub resolved: u64,
    pub resolved_in_storm: u64,
    pub set_aside: u64,
    pub not_asked: u64,
    pub late_answers: u64,
    pub refused: u64,
    pub lies: u64,
    pub forged: u64,
    pub forged_causes: u64,
    pub equivocations: u64,
    pub replay_failures: u64,
    pub hangs: u64,
    pub rebuilds: u64,
    pub upgrades: u64,
    pub splits: u64,
    pub full_disks: u64,
    pub cut_streams: u64,
    pub cursors_refused: u64,
    pub cursors_kept: u64,
    pub cursors_mistaken: u64,
    pub flooded: u64,
    pub cut_off: u64,
    pub liars_named: u64,
    pub thinned: u64,
    pub other_parts: u64,
    pub filled: u64,
    pub parts_refused: u64,
}

impl Found {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.appended, other.appended),
            (&mut self.ingested, other.ingested),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.own_heads, other.own_heads),
            (&mut self.crashes, other.crashes),
            (&mut self.failed_writes, other.failed_writes),
            (&mut self.lost_writes, other.lost_writes),
            (&mut self.rollbacks, other.rollbacks),
            (&mut self.restores, other.restores),
            (&mut self.lost_tails, other.lost_tails),
            (&mut self.copies, other.copies),
            (&mut self.clones, other.clones),
            (&mut self.damages, other.damages),
            (&mut self.damage_met, other.damage_met),
            (&mut self.forks, other.forks),
            (&mut self.healed, other.healed),
            (&mut self.resolved, other.resolved),
            (&mut self.resolved_in_storm, other.resolved_in_storm),
            (&mut self.set_aside, other.set_aside),
            (&mut self.not_asked, other.not_asked),
            (&mut self.late_answers, other.late_answers),
            (&mut self.refused, other.refused),
            (&mut self.lies, other.lies),
            (&mut self.forged, other.forged),
            (&mut self.forged_causes, other.forged_causes),
            (&mut self.equivocations, other.equivocations),
            (&mut self.replay_failures, other.replay_failures),
            (&mut self.hangs, other.hangs),
            (&mut self.rebuilds, other.rebuilds),
            (&mut self.upgrades, other.upgrades),
            (&mut self.splits, other.splits),
            (&mut self.full_disks, other.full_disks),
            (&mut self.cut_streams, other.cut_streams),
            (&mut self.cursors_refused, other.cursors_refused),
            (&mut self.cursors_kept, other.cursors_kept),
            (&mut self.cursors_mistaken, other.cursors_mistaken),
            (&mut self.flooded, other.flooded),
            (&mut self.cut_off, other.cut_off),
            (&mut self.liars_named, other.liars_named),
            (&mut self.thinned, other.thinned),
            (&mut self.other_parts, other.other_parts),
            (&mut self.filled, other.filled),
            (&mut self.parts_refused, other.parts_refused),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

/// A run in which every invariant held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many things happened.
    pub steps: u64,
    /// A digest of what happened when: equal for equal seeds.
    pub trace: u64,
    /// What happened.
    pub found: Found,
}

/// A run in which an invariant did not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// After how many steps.
    pub step: u64,
    /// When, in virtual seconds.
    pub at: f64,
    /// Which invariant, and what was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, at, what } = self;
        write!(
            f,
            "seed {seed}, step {step}, at {at:.3} s: {what}\nrepeat with: ANTIPHON_SEED={seed} cargo test -p antiphon-kernel \
             --test sim"
        )
    }
}

impl std::error::Error for Failure {}

/// Runs one seed.
///
/// # Errors
/// [`Failure`]: the first invariant that does not hold.
pub fn run(seed: u64) -> Result<Report, Failure> {
    run_as(seed, Scenario::Any)
}

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Whatever the seed brings.
    Any,
    /// One node lies, and continues more chains than one question can name as forks, otherwise for each asker.
    Flood,
}

/// Runs one seed of a scenario.
///
/// # Errors
/// As [`run`].
pub fn run_as(seed: u64, scenario: Scenario) -> Result<Report, Failure> {
    crate::identity::memo::remember();
    let mut world = World::new(seed, scenario);
    let looked = |world: &mut World| if scenario == Scenario::Flood { world.look_for_the_cut_off() } else { Ok(()) };
    let ended = storm(&mut world).and_then(|()| looked(&mut world)).and_then(|()| world.mend());
    let (steps, trace) = (world.steps, world.trace);
    world.found.lies = world.byzantine.lies;
    match ended {
        Ok(()) => Ok(Report { steps, trace, found: world.found }),
        Err(what) => Err(Failure { seed, step: steps, at: world.now as f64 / SECOND as f64, what }),
    }
}

fn storm(world: &mut World) -> Result<(), String> {
    world.run_until(STORM * SECOND)
}
