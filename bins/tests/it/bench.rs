//! The benches run, small: what they print is there, and is not nothing.

use serde_json::Value;

use crate::support::Place;

fn rows(args: &[&str]) -> Vec<Value> {
    let place = Place::bare("");
    let (code, out, err) = place.run(args);
    assert_eq!(code, 0, "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn latency_is_measured_over_both_transports() {
    let rows = rows(&["bench", "latency", "--events", "5", "--json"]);
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row["events"] == 5 && row["p99 ms"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn throughput_is_measured_over_both_transports() {
    let args = ["bench", "throughput", "--rtt", "2", "--loss", "0,1", "--seconds", "1", "--limit", "20", "--json"];
    let rows = rows(&args);
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["events/s"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn replay_is_measured_beside_the_log_alone() {
    let rows = rows(&["bench", "replay", "--events", "2000", "--subjects", "50", "--json"]);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["events"] == 2000 && row["events/s"].as_f64().unwrap() > 0.0), "{rows:?}");
}
