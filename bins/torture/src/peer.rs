//! A peer that says the same in every process: its log can be made again, and compared byte for byte.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::{CortexId, Epoch, Origin, PeerName};
use antiphon_kernel::internals::log::{Log, LogOptions, Pin, SentQuery};
use antiphon_kernel::log::{LocalIdentity, LogEntry, LogReader};
use antiphon_kernel::protocol::{EventBatch, FetchReply, FetchRequest, Heads, Known, Refusal, RequestId, Scope};
use antiphon_kernel::store::{Durability, Store};
use antiphon_kernel::testing::{MemoryStore, seeded_cortex};
use antiphon_kernel::time::Timestamp;
use anyhow::{Result, bail};

const EVENTS: u64 = 400;
const EPOCH: Epoch = Epoch::new(9);

fn id() -> CortexId {
    seeded_cortex(9)
}

pub(crate) struct Peer {
    log: Log,
}

impl Peer {
    pub(crate) fn new() -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Log::create(&*store, &LocalIdentity::new(id(), EPOCH, "peer".to_owned()))?;
        let mut entropy = 0_u128;
        let entropy = Box::new(move || {
            entropy += 1;
            entropy
        });
        let mut log =
            Log::open(store, LogOptions { entropy, process: 9, log: Some(crate::node::LOG), ..LogOptions::default() })?;
        for number in 0..EVENTS {
            let draft = Draft::new("peer.said", format!("{number} ").repeat(10 + number as usize % 50))
                .subject(format!("peer/{}", number % 7));
            log.append(&[draft], &VClock::new(), Timestamp::from_micros(1_000_000 * number as i64))?;
        }
        log.commit(Durability::Sync)?;
        Ok(Self { log })
    }

    pub(crate) fn name() -> Result<PeerName> {
        Ok(PeerName::new("peer")?)
    }

    pub(crate) fn pin() -> Pin {
        Pin::of_id(id(), Timestamp::from_micros(0))
    }

    pub(crate) fn origin() -> Origin {
        Origin::new(id(), EPOCH)
    }

    /// Its whole log.
    pub(crate) fn entries(&self) -> Result<Vec<LogEntry>> {
        Ok(self.log.reader().entries(Seq::ZERO, EVENTS as usize, usize::MAX)?)
    }

    /// What it answers a log that has read it up to `after`: at most so many events. Like a syncer, it goes by the clock
    /// where the cursor is ahead of what is known to be durable, as after a sync that failed.
    pub(crate) fn answer(
        &self,
        asker: &LogReader,
        number: u64,
        after: Option<Cursor>,
        max_events: u32,
    ) -> Result<(SentQuery, EventBatch)> {
        match (self.ask(asker, number, after, max_events)?, after) {
            ((asked, FetchReply::Batch(batch)), _) => Ok((asked, batch)),
            ((_, FetchReply::Refused { refusal: Refusal::CursorUnknown, .. }), Some(_)) => {
                self.answer(asker, number, None, max_events)
            }
            ((_, FetchReply::Refused { refusal, .. }), _) => bail!("the peer refuses: {refusal}"),
        }
    }

    fn ask(
        &self,
        asker: &LogReader,
        number: u64,
        after: Option<Cursor>,
        max_events: u32,
    ) -> Result<(SentQuery, FetchReply)> {
        let request = RequestId { process: asker.process(), number };
        let asked = SentQuery {
            request,
            to: id(),
            after,
            max_events,
            max_bytes: 1 << 20,
            scope: Scope::All,
            withhold: Heads::default(),
            held: Heads::default(),
            exclude: Vec::new(),
        };
        let reply = self.log.reader().answer(&FetchRequest {
            request,
            after,
            known: Known::Full(asker.heads()),
            max_events,
            max_bytes: asked.max_bytes,
            epoch: asker.local().epoch,
            ..antiphon_kernel::testing::question(asker.local().cortex_id, id())
        })?;
        Ok((asked, reply))
    }
}
