//! A log of several writers whose events alternate, as a hub that relays for all of them has it.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::internals::log::{Log, LogOptions, Pin, SentQuery, put_pin, read_cursor};
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Heads, Known, RequestId};
use antiphon_kernel::store::{Batch, Durability};
use antiphon_kernel::testing::{LOG, MemoryStore, question, seeded_keys};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};
use anyhow::{Result, bail};

use crate::noise::Noise;
use crate::rig::Bench;

/// The hub's log is synced each time after this number of rounds.
const SYNC_EACH: u64 = 1000;

/// What the writers write.
pub(crate) struct Written {
    pub(crate) writers: u8,
    pub(crate) events: u64,
    pub(crate) size: u32,
    /// Events in one append.
    pub(crate) group: u64,
}

/// Fills a log with the groups of several cortexes, in turns. Each of them really writes, and the log pulls from each.
pub(crate) fn interleave(bench: &Bench, name: &str, of: &Written) -> Result<()> {
    let store = Arc::new(RocksStore::open_with(bench.path().join(name), Create::IfMissing)?);
    Log::begin(&*store, name, None)?;
    let mut hub = Log::open(store, LogOptions { log: Some(LOG), ..LogOptions::default() })?;
    let mut writers = (0..of.writers).map(Writer::new).collect::<Result<Vec<_>>>()?;
    let mut pins = Batch::new();
    for writer in &writers {
        put_pin(&mut pins, &writer.name, &Pin::of_id(writer.log.reader().local().cortex_id, Timestamp::now()));
    }
    hub.stage_state(&pins)?;
    hub.commit(Durability::Relaxed)?;
    let (mut noise, mut left) = (Noise::new(), of.events);
    for round in 1.. {
        for writer in &mut writers {
            let count = left.min(of.group);
            left -= count;
            // All that it wrote before is at the hub.
            let known = writer.log.reader().heads();
            writer.append(count, of.size, &mut noise)?;
            writer.bring(&mut hub, known, round)?;
        }
        if left == 0 {
            break;
        }
        if round % SYNC_EACH == 0 {
            hub.sync()?;
        }
    }
    hub.sync()?;
    Ok(())
}

/// One cortex that writes, and what the hub calls it.
struct Writer {
    log: Log,
    name: PeerName,
}

impl Writer {
    fn new(number: u8) -> Result<Self> {
        let (store, keys) = (Arc::new(MemoryStore::new()), seeded_keys(number));
        let name = format!("writer-{number}");
        Log::begin(&*store, &name, Some(&keys))?;
        let log = Log::open(store, LogOptions { log: Some(LOG), keys: Some(keys), ..LogOptions::default() })?;
        Ok(Self { log, name: PeerName::new(&name)? })
    }

    fn append(&mut self, count: u64, size: u32, noise: &mut Noise) -> Result<()> {
        let drafts: Vec<_> = (0..count)
            .map(|n| Draft::new("bench.event", noise.bytes(size as usize)).subject(format!("s/{n}")))
            .collect();
        self.log.append(&drafts, &VClock::new(), Timestamp::now())?;
        self.log.commit(Durability::Relaxed)?;
        Ok(self.log.sync()?)
    }

    /// Brings the hub what it lacks.
    fn bring(&self, hub: &mut Log, known: Heads, number: u64) -> Result<()> {
        let (view, writer) = (hub.reader(), self.log.reader());
        let after = read_cursor(&**view.store(), &self.name)?;
        let request = RequestId { process: view.process(), number };
        let plain = question(view.local().cortex_id, writer.local().cortex_id);
        let request = FetchRequest { request, after, known: Known::Full(known), ..plain };
        match writer.answer(&request)? {
            FetchReply::Batch(batch) => {
                hub.ingest(&self.name, &SentQuery::of(&request), &batch, Timestamp::now())?;
                Ok(hub.commit(Durability::Relaxed)?)
            }
            FetchReply::Refused { refusal, .. } => bail!("a writer refused: {refusal}"),
        }
    }
}
