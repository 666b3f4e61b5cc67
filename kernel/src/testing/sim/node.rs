//! One cortex: its store, its log, its replayer, what it asks of its peers and what it is asked.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::entropy::Entropy;
use super::histories::History;
use super::invariants::Own;
use super::network::Micros;
use super::readers::Reader;
use super::replayer::{Counting, Mood};
use super::seen::Seen;
use super::truth::Past;
use crate::access::{Access, AccessRule, InForce, Write};
use crate::cursor::Cursor;
use crate::identity::Signer;
use crate::ids::{CortexId, Epoch, Origin, PeerName};
use crate::log::{
    AskerHead, LocalIdentity, Log, LogOptions, Lookahead, OpenError, OpenQuery, SentQuery, read_health, read_pin,
};
use crate::machine::{IdentityContext, PartsPace, PeerMachine};
use crate::protocol::Protocols;
use crate::protocol::{Delivery, FetchReply, RequestId};
use crate::replay::{OnFailure, OpenReplayerError, ReplayCore};
use crate::store::{Store, StoreError};
use crate::testing::LOG;
use crate::testing::{MemoryStore, seeded_cortex, seeded_keys};

/// In one run of this number the first node has a rule of access.
const RULED: u64 = 8;
/// How often an idle peer is asked.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn cortex_id(cortex: usize) -> CortexId {
    seeded_cortex(u8::try_from(cortex + 1).unwrap_or(u8::MAX))
}

/// The keys of a node's cortex.
pub(super) fn keys_of(cortex: usize) -> Arc<dyn Signer> {
    seeded_keys(u8::try_from(cortex + 1).unwrap_or(u8::MAX))
}

pub(super) fn peer_name(cortex: usize) -> PeerName {
    PeerName::new(&format!("peer-{cortex}")).expect("a name of letters and digits")
}

/// One question of a peer, as it is answered here.
pub(super) struct Open {
    pub(super) client: usize,
    pub(super) asked: SentQuery,
    pub(super) asking: OpenQuery,
    /// The most that an answer may bring, as the question itself says.
    pub(super) most: (u32, u64),
    /// What the client said that it holds, or was sent; `None` where tainted events are withheld from it.
    pub(super) advertised: Option<BTreeMap<Origin, u64>>,
    pub(super) delivery: Delivery,
    pub(super) until: Micros,
    pub(super) begun: bool,
    /// What the client says of its own origin.
    pub(super) own: Option<Own>,
    pub(super) asker: Option<AskerHead>,
}

/// One question of ours.
pub(super) struct Question {
    pub(super) asked: SentQuery,
    pub(super) answered: bool,
    pub(super) inbox: VecDeque<FetchReply>,
}

/// What this cortex does about one peer.
pub(super) struct Pull {
    pub(super) machine: PeerMachine,
    pub(super) live: bool,
    pub(super) question: Option<Question>,
    /// The machine's question that is to get the next answer.
    pub(super) waiting: Option<u64>,
    /// What the batch being stored was asked with.
    pub(super) asked: Option<SentQuery>,
    /// Since when, and how many, questions were asked without a new event.
    pub(super) in_vain: (u64, u32),
    /// When it is asked for missing parts.
    pub(super) parts: PartsPace,
    /// What its batches are computed on top of, in some runs.
    pub(super) lookahead: Lookahead,
}

/// What is there only while the process lives.
pub(super) struct Process {
    pub(super) log: Log,
    pub(super) replay: ReplayCore,
    pub(super) pulls: BTreeMap<usize, Pull>,
    pub(super) open: Vec<Open>,
    /// Contents that are told to be appended once the disk is synced.
    pub(super) acks: Vec<u32>,
    pub(super) requests: u64,
    /// Whether nothing is pulled for want of room.
    pub(super) lacks_space: bool,
    pub(super) seen: Seen,
    /// Under which epoch it was last seen to write, and how many it took because of peers since an operator gave it one.
    pub(super) epoch: Epoch,
    pub(super) by_peers: u32,
}

pub(super) struct Node {
    pub(super) index: usize,
    /// Which cortex it is; two nodes may be one, where a data directory was copied.
    pub(super) cortex: usize,
    pub(super) store: Arc<Disk>,
    pub(super) process: Option<Process>,
    /// Counts processes: packets and timers of earlier ones are nobody's.
    pub(super) run: u64,
    pub(super) mood: Arc<Mood>,
    pub(super) on_failure: OnFailure,
    /// Of its program: a newer one rebuilds the replayer.
    pub(super) version: u32,
    /// Older states of its store, each with the history that it is of.
    pub(super) images: Vec<(MemoryStore, History)>,
    pub(super) history: History,
    /// A quick one and a slow one.
    pub(super) readers: [Reader; 2],
    /// Contents that were acknowledged here and must still be here.
    pub(super) safe: Vec<u32>,
    /// What the last event written here had seen, and it; and under which epoch. The first event of the next one follows
    /// from what its writer had seen alone.
    pub(super) own_past: Past,
    pub(super) own_epoch: Epoch,
    /// To which node, cursors into its log as it is: those given out before it went backwards are not among them, although the same event
    /// may have come to stand at the same sequence number again.
    pub(super) issued: HashSet<(usize, Cursor)>,
    pub(super) skew: i64,
    /// Its replayer hangs at an event until then, unless the process ends before.
    pub(super) hangs_until: Micros,
    /// The cortex that may not write here.
    pub(super) refuses: Option<CortexId>,
}

fn options(index: usize, run: u64, seed: u64) -> LogOptions {
    let mut entropy = Entropy::new(seed ^ (index as u64) << 48 ^ run << 32 ^ 0x5eed);
    let process = entropy.next();
    LogOptions {
        entropy: Box::new(move || u128::from(entropy.next()) << 64 | u128::from(entropy.next())),
        process,
        log: Some(LOG),
        ..LogOptions::default()
    }
}

impl Node {
    pub(super) fn create(index: usize, seed: u64) -> Self {
        let store = Arc::new(Disk::over(MemoryStore::new()));
        let identity = LocalIdentity::new(cortex_id(index), Epoch::new(100 + index as u64), format!("node-{index}"));
        Log::create(&*store, &identity).expect("an empty store takes an identity");
        let mut node = Self::over(index, index, store);
        node.refuses = (seed % RULED == 3 && index == 0).then(|| cortex_id(1));
        node.start(seed).expect("a new store opens");
        node
    }

    /// A node that is down, over a store that exists.
    pub(super) fn over(index: usize, cortex: usize, store: Arc<Disk>) -> Self {
        Self {
            index,
            cortex,
            store,
            process: None,
            issued: HashSet::new(),
            run: 0,
            mood: Arc::default(),
            on_failure: if index.is_multiple_of(2) { OnFailure::Halt } else { OnFailure::Quarantine },
            version: 1,
            images: Vec::new(),
            history: History::new(index),
            readers: Default::default(),
            safe: Vec::new(),
            hangs_until: 0,
            own_past: Past::default(),
            own_epoch: Epoch::new(0),
            skew: 0,
            refuses: None,
        }
    }

    /// Starts its process. Peers are added by [`Node::pull_from`].
    pub(super) fn start(&mut self, seed: u64) -> Result<(), OpenError> {
        self.run += 1;
        self.hangs_until = 0;
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        let log = Log::open(store, options(self.index, self.run, seed))?;
        let rules = self.refuses.map(|cortex| AccessRule { write: Write::No, ..AccessRule::new(cortex) });
        log.reader().set_access(InForce(Arc::new(Access { rules: rules.into_iter().collect(), others: None })));
        let (on_failure, version) = (self.on_failure, self.version);
        let replayer = Counting { mood: Arc::clone(&self.mood), on_failure, version };
        let replay = ReplayCore::open(log.reader(), Box::new(replayer)).map_err(|error| match error {
            OpenReplayerError::Store(error) => OpenError::Store(error),
            OpenReplayerError::Downgrade { .. } => unreachable!("no program here goes back: {error}"),
        })?;
        let epoch = log.reader().local().epoch;
        self.process = Some(Process {
            log,
            replay,
            pulls: BTreeMap::new(),
            open: Vec::new(),
            acks: Vec::new(),
            requests: 0,
            lacks_space: false,
            seen: Seen::default(),
            epoch,
            by_peers: 0,
        });
        Ok(())
    }

    /// Begins to pull a cortex.
    pub(super) fn pull_from(&mut self, cortex: usize, live: bool) -> Result<(), StoreError> {
        let name = peer_name(cortex);
        let pin = read_pin(&*self.store, &name)?;
        let (pin, statement) = (pin.map(|pin| pin.cortex_id), pin.map_or(0, |pin| pin.statement));
        let context = IdentityContext {
            own: cortex_id(self.cortex),
            pin,
            statement,
            expected: None,
            pinned_elsewhere: Vec::new(),
            log: Some(LOG),
            protocols: Protocols::SPOKEN,
            unproven: false,
        };
        let mut machine = PeerMachine::new(INTERVAL, context, read_health(&*self.store, &name)?);
        machine.resume();
        let pull = Pull {
            machine,
            live,
            question: None,
            waiting: None,
            asked: None,
            in_vain: (0, 0),
            parts: PartsPace::default(),
            lookahead: Lookahead::default(),
        };
        if let Some(process) = &mut self.process {
            process.pulls.insert(cortex, pull);
        }
        Ok(())
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }
}

impl Process {
    pub(super) fn request_id(&mut self) -> RequestId {
        self.requests += 1;
        RequestId { process: self.log.reader().process(), number: self.requests }
    }
}
