//! Events under the id of the node that pulls them, by a thief of its keys.

use std::sync::Arc;

use antiphon_kernel::clock::VClock;
use antiphon_kernel::event::{Draft, MAX_ID_MS};
use antiphon_kernel::ids::{Epoch, EventId};
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::store::Durability;
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, RocksStore};

use super::forger::{Forged, Forger, keys_of, node, origin, ports};
use crate::support::{Place, until};

#[test]
fn a_peer_that_writes_as_us_is_named_and_stops_no_append() {
    let (port, metrics) = ports();
    let mut mallory = Forger::new("mallory", &[("alpha", port)]);
    let alpha = node("alpha", port, metrics, &[("mallory", mallory.port())]);
    alpha.json(&["append", "-t", "note", "-s", "doc/1", "-d", "1"]);
    let own = origin(&alpha);
    let _serving = alpha.serve();
    mallory.holds(1);
    let far = EventId::from_parts(MAX_ID_MS, 1);
    let keys = keys_of(&alpha);
    let forged = |epoch| Forged { keys: Arc::clone(&keys), epoch, id: far, subject: "doc/1", data: "{}" };
    // An epoch that never was, and the next event of the one that alpha writes under.
    mallory.write(&[forged(Epoch::new(4711)), forged(own.epoch())]);
    let status = until("alpha has both", || {
        let status = alpha.json(&["status"]);
        (status["events"] == 3).then_some(status)
    });
    assert_eq!(
        (&status["epoch_change"]["why"], &status["epoch_change"]["peer"]),
        (&"rolled_back".into(), &"mallory".into())
    );
    let claimed = status["claimed_epochs"].as_array().unwrap();
    assert_eq!(
        (claimed.len(), &claimed[0]["peer"], &claimed[0]["events"]),
        (1, &"mallory".into(), &1.into()),
        "{status}"
    );
    let (_, out, _) = alpha.run(&["status"]);
    assert!(out.contains("shown by mallory") && out.contains("antiphon pause-peer mallory"), "{out}");
    let (_, out, _) = alpha.run(&["doctor"]);
    assert_eq!(out.matches("antiphon pause-peer mallory").count(), 2, "{out}");
    let appended = alpha.json(&["append", "-t", "note", "-d", "2"]);
    let id: EventId = appended["id"].as_str().unwrap().parse().unwrap();
    assert!(id.timestamp_ms() <= Timestamp::now().ulid_ms() + 1000, "{appended}");
    let (code, out, err) = alpha.run(&["pause-peer", "mallory"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(alpha.json(&["status"])["peers"][0]["state"], "paused");
}

/// Appends as if the clock of this stopped node were in the year 2096.
pub(super) fn append_in_2096(place: &Place) {
    let store = Arc::new(RocksStore::open_with(place.dir.path().join("data"), Create::Never).unwrap());
    let mut log =
        Log::open(store, LogOptions { log: Some(crate::support::log_id()), ..LogOptions::default() }).unwrap();
    let future = Timestamp::from_micros(4_000_000_000_000_000);
    log.append(&[Draft::new("note", "1")], &VClock::new(), future).unwrap();
    log.commit(Durability::Sync).unwrap();
}

#[test]
fn a_last_id_in_the_far_future_is_left_behind_by_one_command() {
    let (port, metrics) = ports();
    let alpha = node("alpha", port, metrics, &[]);
    let (code, _, err) = alpha.run(&["new-epoch"]);
    assert!(code == 1 && err.contains("no new epoch is needed"), "{err}");
    append_in_2096(&alpha);
    let (code, _, err) = alpha.run(&["append", "-t", "note"]);
    assert!(code == 1 && err.contains("run `antiphon new-epoch`"), "{err}");
    let serving = alpha.serve();
    let (code, out, err) = alpha.run(&["new-epoch"]);
    assert!(code == 0 && out.contains("event ids continue from this node's clock"), "{out}{err}");
    let appended = alpha.json(&["append", "-t", "note"]);
    let id: EventId = appended["id"].as_str().unwrap().parse().unwrap();
    assert!(id.timestamp_ms() <= Timestamp::now().ulid_ms(), "{appended}");
    assert_eq!(serving.terminate(), 0);
    let (code, out, err) = alpha.run(&["verify"]);
    assert!(code == 0 && out.starts_with("clean: 2 events of 2 origins"), "{out}{err}");
}
