//! A node that takes no append is not called healthy, anywhere.

use antiphon_kernel::ids::EventId;
use antiphon_kernel::store::{Batch, Durability, Family, Store as _};
use antiphon_storage::{Create, RocksStore};

use super::http::http;
use crate::support::{Place, event, free_port};

/// As if its clock had been a week ahead when it made its last event, and is right by now.
fn a_week_ahead(place: &Place) {
    let store = RocksStore::open_with(place.dir.path().join("data"), Create::Never).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let last = EventId::from_parts(u64::try_from((now + week).as_millis()).unwrap(), 1);
    let mut changes = Batch::new();
    changes.put(Family::Meta, b"last_id", &last.to_bytes());
    store.commit(&changes, Durability::Sync).unwrap();
}

#[test]
fn a_node_whose_clock_is_behind_its_last_event_is_healthy_nowhere() {
    let metrics = free_port();
    let place =
        Place::new(&format!("node: {{ name: alpha, data_dir: data }}\nlisten: {{ metrics: 127.0.0.1:{metrics} }}\n"));
    let serving = place.serve();
    assert_eq!(place.pipe(&["import"], &event(1)).0, 0);
    assert_eq!(place.run(&["status", "--check"]).0, 0);
    assert_eq!(http(metrics, "GET", "/healthz", "", "").unwrap().0, 200);
    assert_eq!(serving.terminate(), 0);

    a_week_ahead(&place);
    // It does not serve: what its start would find is found before.
    let (code, out, _) = place.run(&["doctor"]);
    assert!(code != 0 && out.contains("behind the last event id") && out.contains("NTP"), "{out}");
    let serving = place.serve();
    let (code, _, err) = place.pipe(&["import"], &event(2));
    assert!(code != 0 && err.contains("behind the last event id"), "{err}");
    let (code, _, err) = place.run(&["status", "--check"]);
    assert!(code == 1 && err.contains("refuses appends") && err.contains("NTP"), "{err}");
    let status = place.json(&["status"]);
    assert_eq!((&status["appends_refused"]["why"], &status["read_only"]), (&"clock".into(), &serde_json::Value::Null));
    let (_, out, _) = place.run(&["status"]);
    assert!(out.contains("APPENDS ARE REFUSED"), "{out}");
    let (code, out, _) = place.run(&["doctor"]);
    assert!(code != 0 && out.contains("FAIL  appends"), "{out}");
    let (status, _, body) = http(metrics, "GET", "/healthz", "", "").unwrap();
    assert!(status == 503 && body.contains("refuses appends"), "{body}");
    let (_, _, body) = http(metrics, "GET", "/metrics", "", "").unwrap();
    assert!(body.contains("antiphon_appends_refused{cortex=\"alpha\"} 1"), "{body}");
    assert_eq!(serving.terminate(), 0);
}
