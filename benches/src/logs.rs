//! Two logs: one that has written, and one that pulls it.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::Signer;
use antiphon_kernel::ids::{Epoch, PeerName};
use antiphon_kernel::internals::log::{Log, LogOptions, Pin, put_pin};
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::store::{Batch, Durability, Store};
use antiphon_kernel::testing::{seeded_cortex, seeded_keys};
use antiphon_kernel::time::Timestamp;

use crate::events;

/// The one time of all that is written, so that every run writes the same bytes but for the ids.
pub const NOW: Timestamp = Timestamp::from_micros(0);
/// Every puller is the same process: what one was answered, the next one takes as well.
const PROCESS: u64 = 1;
/// The numbers of the two cortexes: their keys and ids come from them.
const PULLER: u8 = 1;
const WRITER: u8 = 2;
/// So many events are appended together: a third of a mebibyte, which one call may append.
const CHUNK: usize = 1024;

/// The log that has written.
#[must_use]
pub fn writer() -> LocalIdentity {
    identity(WRITER)
}

/// The log that pulls it.
#[must_use]
pub fn puller() -> LocalIdentity {
    identity(PULLER)
}

/// The writer, as the puller calls it.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn peer() -> PeerName {
    PeerName::new("writer").expect("the name is valid")
}

/// The keys of the log that has written.
#[must_use]
pub fn writer_keys() -> Arc<dyn Signer> {
    seeded_keys(WRITER)
}

fn identity(n: u8) -> LocalIdentity {
    LocalIdentity::new(seeded_cortex(n), Epoch::new(u64::from(n)), "bench".into())
}

fn open(store: Arc<dyn Store>, n: u8) -> Log {
    Log::create(&*store, &identity(n)).expect("the store is empty");
    let options = LogOptions { process: PROCESS, keys: Some(seeded_keys(n)), ..LogOptions::default() };
    Log::open(store, options).expect("it was made just now")
}

/// A writer's log of the first so many [`events::draft`]s, all durable.
///
/// # Panics
/// Where the store is not empty, or fails.
#[must_use]
pub fn written(store: Arc<dyn Store>, count: u64) -> Log {
    let mut log = open(store, WRITER);
    let mut drafts: Vec<Draft> = Vec::with_capacity(CHUNK);
    for n in 0..count {
        drafts.push(events::draft(n));
        if drafts.len() == CHUNK || n + 1 == count {
            log.append(&drafts, &VClock::new(), NOW).expect("the drafts are valid");
            log.commit(Durability::Relaxed).expect("the store takes them");
            drafts.clear();
        }
    }
    log.sync().expect("the store syncs");
    log
}

/// A puller's log: empty, and with the writer pinned.
///
/// # Panics
/// Where the store is not empty, or fails.
#[must_use]
pub fn pulling(store: Arc<dyn Store>) -> Log {
    let mut log = open(store, PULLER);
    let mut pins = Batch::new();
    put_pin(&mut pins, &peer(), &Pin::of_id(writer().cortex_id, NOW));
    log.stage_state(&pins).expect("nothing failed before");
    log.commit(Durability::Sync).expect("the store takes it");
    log
}
