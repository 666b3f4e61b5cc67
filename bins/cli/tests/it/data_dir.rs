//! A node whose files are removed, renamed, replaced or covered while it serves stops acknowledging, and says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Place, antiphon, free_port, outcome, until};

const DISPLACED: &str = "the store's files were removed, replaced or covered";

fn node(metrics: u16) -> Place {
    Place::new(&format!("node: {{ name: alpha, data_dir: data }}\nlisten: {{ metrics: \"127.0.0.1:{metrics}\" }}\n"))
}

fn append(place: &Place) -> (i32, String, String) {
    place.run(&["append", "-t", "t", "--json"])
}

/// Appends until that is refused. Gives the ids that were acknowledged, and what the refusal says.
fn until_refused(place: &Place) -> (Vec<String>, String) {
    let mut acknowledged = Vec::new();
    let refusal = until("appends are refused", || {
        let (code, out, err) = append(place);
        if code != 0 {
            return Some(err);
        }
        let answer: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        acknowledged.push(answer["id"].as_str().unwrap_or(&out).to_owned());
        None
    });
    (acknowledged, refusal)
}

fn get(port: u16, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// What everybody sees of a node that serves from files which its path does not lead to.
fn seen_by_all(place: &Place, metrics: u16, what: &str) {
    let (code, _, err) = place.run(&["status", "--check"]);
    assert!(code == 1 && err.contains(DISPLACED) && err.contains(what), "{err}");
    let status = place.json(&["status"]);
    assert!(status["serving"] == true && status["read_only"].as_str().unwrap().contains(what), "{status}");
    let health = get(metrics, "/healthz");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains(what), "{health}");
    assert!(get(metrics, "/metrics").contains("antiphon_store_read_only{cortex=\"alpha\"} 1\n"));
    let (code, out, err) = place.run(&["doctor"]);
    assert!(code == 1 && out.contains(what), "{out}{err}");
    assert!(place.log().contains(DISPLACED), "{}", place.log());
}

#[test]
fn files_that_were_removed_are_not_written_to() {
    let metrics = free_port();
    let place = node(metrics);
    assert_eq!(append(&place).0, 0);
    let serving = place.serve();
    assert_eq!(append(&place).0, 0);
    fs::remove_dir_all(place.dir.path().join("data/db")).unwrap();
    let (_, refusal) = until_refused(&place);
    assert!(refusal.contains(DISPLACED) && refusal.contains("`db` in it was removed"), "{refusal}");
    seen_by_all(&place, metrics, "`db` in it was removed");
    serving.kill();
}

#[test]
fn a_directory_that_is_moved_away_is_written_again_once_it_is_back() {
    let metrics = free_port();
    let place = node(metrics);
    let (data, aside) = (place.dir.path().join("data"), place.dir.path().join("aside"));
    let serving = place.serve();
    assert_eq!(append(&place).0, 0);
    fs::rename(&data, &aside).unwrap();
    let (acknowledged, refusal) = until_refused(&place);
    assert!(refusal.contains("the directory was removed or renamed"), "{refusal}");
    seen_by_all(&place, metrics, "the directory was removed or renamed");

    // Another one in its place, as a command would advise that finds nothing there.
    for command in [&["init"][..], &["serve"], &["verify", "--repair"]] {
        let (code, _, err) = place.run(command);
        let process = format!("process {}", serving.id());
        assert!(code == 1 && err.contains("still serves") && err.contains(&process), "{command:?}: {err}");
        assert!(!err.contains("antiphon init") && !data.exists(), "{command:?}: {err}");
    }

    fs::rename(&aside, &data).unwrap();
    until("it is written again", || (append(&place).0 == 0).then_some(()));
    assert!(get(metrics, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(place.run(&["status", "--check"]).0, 0);
    serving.kill();
    let (_, log, _) = place.run(&["--json", "log"]);
    assert!(acknowledged.iter().all(|id| log.contains(id.as_str())), "{acknowledged:?} {log}");
    assert_eq!(place.run(&["verify"]).0, 0);
}

fn cp(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_copy_in_the_place_of_the_files_is_not_taken_for_them() {
    let metrics = free_port();
    let place = node(metrics);
    let (data, aside) = (place.dir.path().join("data"), place.dir.path().join("aside"));
    let serving = place.serve();
    assert_eq!(append(&place).0, 0);
    fs::rename(&data, &aside).unwrap();
    cp(&aside, &data);
    let (_, refusal) = until_refused(&place);
    assert!(refusal.contains("the directory was replaced by another"), "{refusal}");
    // The copy is free, and its lock is another file: nothing but the check keeps a second node from it.
    let (code, _, err) = place.run(&["serve"]);
    assert!(code == 1 && err.contains("still serves"), "{err}");
    // It is said as long as that is so, and no longer.
    assert_eq!(serving.terminate(), 0);
    assert_eq!(append(&place).0, 0);
}

/// In a mount namespace of its own, which the mount ends with.
#[test]
fn a_mount_over_the_files_is_noticed() {
    if !Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system permits no mount namespace");
        return;
    }
    let place = node(free_port());
    let script = r#"
        set -eu
        "$1" --config "$2" serve 2>"$3/log" & node=$!
        trap 'kill -9 $node' EXIT
        until "$1" --config "$2" status --check 2>/dev/null; do sleep 0.05; done
        "$1" --config "$2" append -t before >/dev/null
        mount -t tmpfs none "$3/data"
        tries=0
        while "$1" --config "$2" append -t after >/dev/null 2>"$3/refusal"; do
            tries=$((tries + 1)); [ $tries -lt 1000 ]; sleep 0.05
        done
        ! "$1" --config "$2" init >/dev/null 2>"$3/init"
        umount "$3/data"
        until "$1" --config "$2" append -t again >/dev/null 2>&1; do sleep 0.05; done
        echo done
    "#;
    let mut command = Command::new("timeout");
    command.args(["60", "unshare", "-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_antiphon")]);
    let output = command.arg(&place.config).arg(place.dir.path()).output().unwrap();
    let (code, out, err) = outcome(&output);
    let read = |name: &str| fs::read_to_string(place.dir.path().join(name)).unwrap_or_default();
    let (refusal, init) = (read("refusal"), read("init"));
    assert!(code == 0 && out.contains("done"), "{code} {out}{err}{refusal}{init}{}", read("log"));
    assert!(refusal.contains("covered by another file system"), "{refusal}");
    assert!(init.contains("still serves"), "{init}");
    let (_, log, _) = outcome(&antiphon(&place.config).args(["--json", "log"]).output().unwrap());
    assert!(log.contains("before") && log.contains("again"), "{log}");
}
