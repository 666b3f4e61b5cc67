//! The world: virtual time, a queue of what is to happen, and what each thing does. One thread, no clock but its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::byzantine::Byzantine;
use super::entropy::Entropy;
use super::invariants;
use super::network::{MILLI, Micros, Network, SECOND};
use super::node::{INTERVAL, Node, Process, Pull, cortex_id};
use super::relay::Relay;
use super::truth::Truth;
use super::{Found, Scenario};
use crate::health::ErrorCategory;
use crate::log::SentQuery;
use crate::machine::{Now, Source};
use crate::proof::Identified;
use crate::protocol::{FetchReply, FetchRequest, Heartbeat, Refresh};
use crate::time::Timestamp;

/// The wall clock when a run begins.
const EPOCH: i64 = 1_700_000_000_000_000;
/// How long an answer is waited for beyond what it may be parked.
pub(super) const DEADLINE: Micros = 4 * SECOND;

/// What travels.
#[derive(Clone)]
pub(super) enum Packet {
    Identify { client: usize, run: u64, cortex: usize, number: u64 },
    Identity { run: u64, cortex: usize, number: u64, identity: Box<Identified> },
    Question { client: usize, run: u64, cortex: usize, asked: SentQuery, request: Box<FetchRequest> },
    Answer { run: u64, cortex: usize, asked: SentQuery, reply: Box<FetchReply> },
    Heartbeat { run: u64, cortex: usize, asked: SentQuery, heartbeat: Heartbeat },
    Refresh { client: usize, refresh: Refresh },
}

pub(super) enum What {
    Arrives {
        to: usize,
        packet: Box<Packet>,
    },
    Timer {
        node: usize,
        run: u64,
        peer: usize,
        token: u64,
    },
    Deadline {
        node: usize,
        run: u64,
        peer: usize,
        number: u64,
    },
    Deliver {
        node: usize,
        run: u64,
        peer: usize,
    },
    Sync {
        node: usize,
        run: u64,
    },
    Replay {
        node: usize,
        run: u64,
    },
    Serve {
        node: usize,
        run: u64,
    },
    Heartbeats {
        node: usize,
        run: u64,
    },
    Parts {
        node: usize,
        run: u64,
    },
    Write {
        node: usize,
    },
    Fault,
    Start {
        node: usize,
    },
    /// What is damaged at a node is put right.
    Mend {
        node: usize,
    },
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) entropy: Entropy,
    pub(super) now: Micros,
    pub(super) steps: u64,
    pub(super) nodes: Vec<Node>,
    /// Which node answers at the address of a cortex.
    pub(super) address: Vec<usize>,
    pub(super) network: Network,
    pub(super) truth: Truth,
    /// The number of the newest history of a log.
    pub(super) histories: usize,
    /// Readers draw from it, so that a run is the same with and without them.
    pub(super) reading_chance: Entropy,
    pub(super) byzantine: Byzantine,
    pub(super) relay: Relay,
    /// By asker, the answers that were last sent to it.
    pub(super) answers: BTreeMap<usize, VecDeque<Packet>>,
    pub(super) found: Found,
    /// Whether faults still happen.
    pub(super) stormy: bool,
    pub(super) trace: u64,
    /// Whether a person wants to read what happens.
    traced: bool,
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    items: BTreeMap<u64, What>,
    next: u64,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut entropy = Entropy::new(seed);
        let count = match scenario {
            Scenario::Any => 2 + entropy.index(3),
            Scenario::Flood => 3 + entropy.index(2),
        };
        let network = Network::new(&mut entropy);
        let nodes: Vec<_> = (0..count).map(|index| Node::create(index, seed)).collect();
        let byzantine = match scenario {
            Scenario::Any => Byzantine::new(count, &mut entropy),
            Scenario::Flood => Byzantine::flooding(count),
        };
        let mut world = Self {
            seed,
            entropy,
            now: 0,
            steps: 0,
            address: (0..count).collect(),
            nodes,
            network,
            truth: Truth::default(),
            histories: count,
            reading_chance: Entropy::new(seed ^ 0x00c0_ffee),
            byzantine,
            relay: if scenario == Scenario::Any { Relay::new(count, seed) } else { Relay::none() },
            answers: BTreeMap::new(),
            found: Found::default(),
            stormy: true,
            trace: 0,
            traced: std::env::var_os("ANTIPHON_TRACE").is_some(),
            queue: BinaryHeap::new(),
            items: BTreeMap::new(),
            next: 0,
        };
        world.truth.liar = (0..count).find(|node| world.byzantine.is(*node)).map(cortex_id);
        let own = (0..count).find(|node| world.byzantine.is(*node)).map(cortex_id);
        world.truth.byzantine_keys = own.into_iter().chain([super::flooding::owner()]).collect();
        for node in 0..count {
            world.started(node);
            let at = world.entropy.below(SECOND);
            world.at(at, What::Write { node });
        }
        world.at(SECOND, What::Fault);
        world
    }

    /// For whoever looks into a seed.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>10.3} {:>6} {}", self.now as f64 / SECOND as f64, self.steps, what());
        }
    }

    pub(super) fn at(&mut self, time: Micros, what: What) {
        self.next += 1;
        self.queue.push(Reverse((time.max(self.now), self.next)));
        self.items.insert(self.next, what);
    }

    pub(super) fn after(&mut self, delay: Micros, what: What) {
        self.at(self.now + delay, what);
    }

    pub(super) fn wall(&self, node: usize) -> Timestamp {
        let time = i64::try_from(self.now).unwrap_or(i64::MAX);
        Timestamp::from_micros(EPOCH + time + self.nodes[node].skew)
    }

    pub(super) fn clock(&self, node: usize) -> Now {
        Now { monotonic: Duration::from_micros(self.now), wall: self.wall(node) }
    }

    /// Lets everything happen until a time.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub(super) fn run_until(&mut self, end: Micros) -> Result<(), String> {
        while let Some(&Reverse((time, number))) = self.queue.peek() {
            if time > end {
                break;
            }
            self.queue.pop();
            let Some(what) = self.items.remove(&number) else { continue };
            self.now = time;
            self.steps += 1;
            invariants::at_rest_sometimes(self.steps)?;
            let touched = self.happen(what)?;
            self.trace = self.trace.rotate_left(7) ^ time.wrapping_mul(0x9e37_79b9) ^ number;
            if let Some(node) = touched {
                invariants::check(self, node)?;
                self.read_sometimes(node)?;
            }
        }
        self.now = end;
        Ok(())
    }

    pub(super) fn alive(&self, node: usize, run: u64) -> bool {
        self.nodes[node].run == run && self.nodes[node].is_up()
    }

    pub(super) fn process(&mut self, node: usize) -> Option<&mut Process> {
        self.nodes[node].process.as_mut()
    }

    pub(super) fn pull(&mut self, node: usize, peer: usize) -> Option<&mut Pull> {
        self.process(node)?.pulls.get_mut(&peer)
    }

    /// Does one thing, and says which node it concerned.
    pub(super) fn happen(&mut self, what: What) -> Result<Option<usize>, String> {
        let concerned = match what {
            What::Arrives { to, packet } => {
                self.arrive(to, *packet)?;
                to
            }
            What::Timer { node, run, peer, token } if self.alive(node, run) => {
                let now = self.clock(node);
                if let Some(pull) = self.pull(node, peer) {
                    pull.machine.handle_timer(now, token);
                }
                self.act(node, peer)?;
                node
            }
            What::Deadline { node, run, peer, number } if self.alive(node, run) => {
                let (now, entropy) = (self.clock(node), self.entropy.next());
                if let Some(pull) = self.pull(node, peer).filter(|pull| pull.waiting == Some(number)) {
                    pull.waiting = None;
                    pull.question = None;
                    pull.machine.handle_identity(now, number, Err(ErrorCategory::Timeout), entropy);
                    pull.machine.handle_reply(now, number, Source::Asked, Err(ErrorCategory::Timeout), entropy);
                }
                self.act(node, peer)?;
                node
            }
            What::Deliver { node, run, peer } if self.alive(node, run) => {
                self.deliver(node, peer)?;
                node
            }
            What::Sync { node, run } if self.alive(node, run) => {
                self.sync(node)?;
                node
            }
            What::Replay { node, run } if self.alive(node, run) => {
                self.replay(node)?;
                node
            }
            What::Serve { node, run } if self.alive(node, run) => {
                self.serve(node)?;
                node
            }
            What::Heartbeats { node, run } if self.alive(node, run) => {
                self.heartbeats(node)?;
                node
            }
            What::Parts { node, run } if self.alive(node, run) => {
                self.ask_for_parts(node)?;
                node
            }
            What::Write { node } if self.stormy => {
                let pause = self.entropy.between(200 * MILLI, 4 * SECOND);
                self.after(pause, What::Write { node });
                self.write(node)?;
                node
            }
            What::Fault if self.stormy => {
                let pause = self.entropy.between(300 * MILLI, 3 * SECOND);
                self.after(pause, What::Fault);
                self.fault()?
            }
            What::Start { node } if !self.nodes[node].is_up() => {
                self.start(node)?;
                node
            }
            What::Mend { node } => {
                self.nodes[node].store.mend();
                node
            }
            _ => return Ok(None),
        };
        Ok(Some(concerned))
    }

    /// A node's process came up: it pulls every other cortex.
    pub(super) fn started(&mut self, node: usize) {
        let own = self.nodes[node].cortex;
        for cortex in (0..self.address.len()).filter(|&cortex| cortex != own) {
            let live = self.entropy.one_in(2);
            self.nodes[node].pull_from(cortex, live).expect("memory reads");
            // An error here would be one of an invariant, and shows at the next step.
            let _ = self.act(node, cortex);
        }
        self.answers_outlive(node);
        let run = self.nodes[node].run;
        self.after(MILLI, What::Replay { node, run });
        self.after(10 * SECOND, What::Heartbeats { node, run });
        if self.relay.is_there() || self.nodes.iter().any(|one| one.refuses.is_some()) {
            self.after(SECOND, What::Parts { node, run });
        }
    }

    /// The longest a peer may need to be asked again after all is well.
    pub(super) const fn patience() -> Micros {
        8 * (INTERVAL.as_secs() * SECOND)
    }
}
