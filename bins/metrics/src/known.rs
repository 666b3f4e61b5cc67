//! What is known of a cortex at this moment.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::internals::log::{bringers, read_epoch_change};
use antiphon_kernel::internals::measure::PeerLabels;
use antiphon_kernel::log::{LogReader, forks};
use antiphon_kernel::state::PeerState;
use antiphon_kernel::store::StoreError;
use antiphon_kernel::time::Timestamp;
use metrics::{counter, gauge};

use crate::catalogue as c;
use crate::peers::{self, seconds};
use crate::traffic::Traffic;

/// Sets every gauge, and the counters that the cortex itself keeps. Reads the store.
pub(crate) fn set(cortex: &Cortex, traffic: &mut Traffic) {
    let now = Timestamp::now();
    let (view, service, syncer) = (cortex.reader(), cortex.service(), cortex.syncer());
    let (pulled, labels) = (syncer.peers(), syncer.labels());
    peers::set(&pulled, labels, now);
    // What a caller merely claims to be counts in the totals alone.
    let pullers = service.pullers();
    let proven = pullers.iter().filter(|puller| puller.is_proven);
    let sent: Vec<_> = proven.map(|puller| (puller.cortex, puller.sent)).collect();
    let served = service.served();
    counter!(c::SLOWED_ANSWERS.name).absolute(served.slowed);
    counter!(c::OVER_QUOTA.name).absolute(served.over_quota);
    traffic.set(&pulled, &sent, served, labels);
    gauge!(c::LOG_EVENTS.name).set(view.visible().get() as f64);
    gauge!(c::LOG_DURABLE.name).set(view.head().seq.get() as f64);
    copies(view, &pulled, labels);
    gauge!(c::CLOCK_ENTRIES.name).set(view.heads().len() as f64);
    gauge!(c::STORE_READ_ONLY.name).set(u8::from(view.failure().is_some()));
    gauge!(c::DOUBLES.name).set(view.doubles().list().len() as f64);
    gauge!(c::APPENDS_REFUSED.name).set(u8::from(view.refuses_appends(now).is_some()));
    gauge!(c::OPEN_QUESTIONS.name).set(service.open_questions() as f64);
    origins(view, labels);
    let memory = service.budget().usage();
    gauge!(c::MEMORY_BUDGET.name).set(memory.limit as f64);
    gauge!(c::MEMORY_USED.name).set(memory.used as f64);
    counter!(c::MEMORY_REFUSED.name).absolute(memory.refused);
    replayers(cortex);
    // A store that cannot be read is seen by what is absent, and by `antiphon_store_read_only`.
    if let Ok(suspects) = suspects(view) {
        let mut counts = BTreeMap::<String, usize>::new();
        for PeerState { name, .. } in &pulled {
            // Of peers without a label of their own, the one with most.
            let most = counts.entry(labels.of(name)).or_default();
            *most = suspects.get(name).copied().unwrap_or(0).max(*most);
        }
        for (label, count) in counts {
            gauge!(c::PEER_SUSPECT_FORKS.name, "peer" => label).set(count as f64);
        }
    }
    if let Ok(Some(change)) = read_epoch_change(&**view.store()) {
        gauge!(c::EPOCH_CHANGE.name, "why" => c::why(change.why)).set(seconds(change.at));
    }
    gauge!(c::DISK_FLOOR.name).set(syncer.min_free() as f64);
    store(view);
    let local = view.local();
    let (cortex_id, mode) = (local.cortex_id.to_string(), service.mode().as_str());
    gauge!(c::NODE_INFO.name, "name" => local.name, "cortex_id" => cortex_id, "mode" => mode).set(1);
}

/// Who holds what was appended here.
fn copies(view: &LogReader, peers: &[PeerState], labels: &PeerLabels) {
    let copies = view.copies();
    gauge!(c::OWN_EVENTS_HERE.name).set(copies.own as f64);
    gauge!(c::OWN_ONLY_HERE.name).set(copies.only_here as f64);
    let mut least = BTreeMap::<String, u64>::new();
    for peer in peers {
        let Some(held) = peer.cortex_id.and_then(|cortex| copies.held.get(&cortex)) else { continue };
        // Of peers without a label of their own, the one with least.
        least.entry(labels.of(&peer.name)).and_modify(|least| *least = (*least).min(*held)).or_insert(*held);
    }
    for (label, held) in least {
        gauge!(c::PEER_HOLDS.name, "peer" => label).set(held as f64);
    }
}

/// Who brought what the log holds, and the largest origins.
fn origins(view: &LogReader, labels: &PeerLabels) {
    let origins = view.origins();
    let mut brought = BTreeMap::<String, (u64, u64)>::new();
    for note in origins.values() {
        let label = note.brought_by.as_ref().map_or_else(|| c::OWN_EVENTS.to_owned(), |peer| labels.of(peer));
        let (count, bytes) = brought.entry(label).or_default();
        (*count, *bytes) = (*count + 1, *bytes + note.bytes);
    }
    for (label, (count, bytes)) in brought {
        gauge!(c::PEER_BROUGHT_ORIGINS.name, "peer" => label.clone()).set(count as f64);
        gauge!(c::PEER_BROUGHT_BYTES.name, "peer" => label).set(bytes as f64);
    }
    let mut largest: Vec<_> = origins.iter().collect();
    largest.sort_by_key(|(origin, note)| (Reverse(note.bytes), **origin));
    for (origin, note) in largest.into_iter().take(c::MAX_ORIGINS) {
        gauge!(c::ORIGIN_BYTES.name, "origin" => origin.to_string()).set(note.bytes as f64);
    }
}

fn replayers(cortex: &Cortex) {
    let mut conflicts = 0;
    for replayer in cortex.replayers() {
        let status = replayer.status();
        gauge!(c::REPLAY_LAG.name, "replayer" => status.name.clone()).set(status.lag_events as f64);
        gauge!(c::REPLAY_FAILURES.name, "replayer" => status.name.clone()).set(status.failures);
        gauge!(c::REPLAY_PARKED.name, "replayer" => status.name.clone()).set(status.parked as f64);
        gauge!(c::REPLAY_HANGING.name, "replayer" => status.name).set(u8::from(status.hangs_at.is_some()));
        conflicts += status.conflicts;
    }
    gauge!(c::CONFLICTS.name).set(conflicts as f64);
}

/// Of each peer, in how many forks it may have shown what the origin's own cortex does not hold.
fn suspects(view: &LogReader) -> Result<BTreeMap<PeerName, usize>, StoreError> {
    let (store, own) = (&**view.store(), view.local().cortex_id);
    let known = forks(store)?;
    gauge!(c::FORKS.name).set(known.len() as f64);
    let mut suspects = BTreeMap::new();
    for fork in &known {
        for peer in bringers(store, own, fork)?.suspects {
            *suspects.entry(peer).or_default() += 1;
        }
    }
    Ok(suspects)
}

/// How much room there is, and how much the store takes.
fn store(view: &LogReader) {
    if let Ok(Some(free)) = view.store().free_bytes() {
        gauge!(c::DISK_FREE.name).set(free as f64);
    }
    if let Ok(Some(sizes)) = view.store().sizes() {
        for (family, bytes) in sizes.families.into_iter().take(c::MAX_FAMILIES) {
            gauge!(c::STORE_BYTES.name, "family" => family).set(bytes as f64);
        }
        gauge!(c::STORE_MEMORY.name).set(sizes.memory as f64);
        gauge!(c::STORE_WAL.name).set(sizes.wal as f64);
    }
}
