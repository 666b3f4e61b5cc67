//! The benches run, small: what they print is there, and is not nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

use serde_json::Value;

fn rows(args: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_antiphon-bench")).args(args).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn latency_is_measured_over_both_transports() {
    let rows = rows(&["latency", "--events", "5", "--json"]);
    assert_eq!(rows.len(), 7);
    assert!(rows.iter().all(|row| row["events"] == 5 && row["p99 ms"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn throughput_is_measured_over_both_transports() {
    let args = ["throughput", "--rtt", "2", "--loss", "0,1", "--seconds", "1", "--limit", "20", "--json"];
    let rows = rows(&args);
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["events/s"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn replay_is_measured_beside_the_log_alone() {
    let rows = rows(&["replay", "--events", "2000", "--subjects", "50", "--json"]);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["events"] == 2000 && row["events/s"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn a_log_crosses_from_one_process_to_another_and_is_the_same_there() {
    let rows = rows(&["replicate", "--events", "3000", "--cortexes", "3", "--json"]);
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert!(row["events/s"].as_f64().unwrap() > 0.0 && row["RocksDB events/s"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["wire B/event"].as_f64().unwrap() > 256.0 && row["pulling MiB"].as_f64().unwrap() > 0.0, "{row}");
    }
    let relaxed = self::rows(&["replicate", "--events", "500", "--relaxed", "--transport", "quic", "--json"]);
    assert_eq!(relaxed.len(), 1);
}

#[test]
fn single_appends_and_events_of_several_writers_cross_too() {
    let quic = ["replicate", "--events", "600", "--transport", "quic", "--json"];
    let with = |more: &[&str]| rows(&[&quic[..], more].concat()).remove(0);
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap();
    let (grouped, single) = (with(&[]), with(&["--group", "1"]));
    // Each event that was appended alone has a seal of its own.
    let (wire, disk) = ("wire B/event", "disk B/event");
    assert!(number(&single, wire) > number(&grouped, wire) + 60.0, "{grouped} {single}");
    assert!(number(&single, disk) > 256.0 && number(&grouped, disk) > 256.0, "{grouped} {single}");
    let several = with(&["--writers", "5", "--group", "3"]);
    assert_eq!((number(&several, "writers"), number(&several, "events/append")), (5.0, 3.0));
    assert!(number(&several, "events/s") > 0.0, "{several}");
}

#[test]
fn memory_is_noted_along_the_way_of_a_long_log() {
    let rows = rows(&["catchup", "--events", "3000", "--json"]);
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().all(|row| row["most MiB so far"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn a_mesh_sends_each_event_about_once() {
    let rows = rows(&["mesh", "--cortexes", "3", "--events", "10", "--transport", "quic", "--json"]);
    let transfers = rows[0]["transfers/event"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&transfers), "{rows:?}");
}

#[test]
fn idle_peers_are_counted_on_both_sides() {
    let rows = rows(&["idle", "--peers", "10", "--seconds", "1", "--json"]);
    assert_eq!(rows.len(), 2);
    // With huge pages, each of few peers took more than a mebibyte.
    let small = |row: &Value, side: &str| row[side].as_f64().unwrap() < 700.0;
    assert!(rows.iter().all(|row| small(row, "KiB/peer") && small(row, "KiB/peer there")), "{rows:?}");
    assert!(rows.iter().all(|row| row["pulling: % of a core"].as_f64().is_some()), "{rows:?}");
}

#[test]
fn a_fetch_is_timed_at_the_end_of_logs_of_each_length() {
    let rows = rows(&["depth", "--events", "1500,500", "--json"]);
    assert_eq!(rows.iter().map(|row| row["events in the log"].as_u64().unwrap()).collect::<Vec<_>>(), [500, 1500]);
    assert!(rows.iter().all(|row| row["fetch of the last 1,000, ms"].as_f64().unwrap() > 0.0), "{rows:?}");
}
