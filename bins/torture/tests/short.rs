//! A short round of what `make torture` does at length; and the rig itself, seen to tell a loss.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn torture(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_antiphon-torture")).args(arguments).output().unwrap()
}

/// Runs rounds that nothing may come of; the table says which were skipped, and why.
#[track_caller]
fn harmless(arguments: &[&str]) {
    let output = torture(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{said}");
    assert!(output.status.success() && said.contains("torture: ok"), "{arguments:?}: {}", stderr(&output));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A closed store, and the last sequence number that was acknowledged.
fn written(dir: &Path) -> u64 {
    let output = torture(&["write", dir.to_str().unwrap(), "--calls", "12"]);
    assert!(output.status.success(), "{}", stderr(&output));
    fs::write(dir.with_extension("acks"), &output.stdout).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // Of its own events the sequence number, of a peer's how far the log reached with them.
    let places = said.lines().filter_map(|line| match line.strip_prefix("ack ") {
        Some(own) => own.split(' ').next()?.parse().ok(),
        None => line.strip_prefix("got ")?.split(' ').nth(1)?.parse().ok(),
    });
    places.max().unwrap()
}

fn verdict(dir: &Path, acked: u64) -> String {
    let acks = dir.with_extension("acks");
    let output =
        torture(&["check", dir.to_str().unwrap(), "--acked", &acked.to_string(), "--acks", acks.to_str().unwrap()]);
    let report = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    let verdict = report["verdict"].as_str().unwrap().to_owned();
    assert_eq!(output.status.success(), ["whole", "refused"].contains(&verdict.as_str()), "{report}");
    verdict
}

fn log_of(dir: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap()
}

// Where strace is missing or may not trace, these are killed from outside.
#[test]
fn killed() {
    harmless(&["kill", "--count", "10", "--seed", "11"]);
}

#[test]
fn flipped() {
    harmless(&["flip", "--count", "12", "--seed", "11"]);
}

#[test]
fn torn() {
    harmless(&["tail", "--count", "3", "--every", "97", "--seed", "11"]);
}

#[test]
fn failing() {
    harmless(&["errors", "--count", "2", "--seed", "11"]);
}

// These two need root, and say so where they skip.
#[test]
fn without_power() {
    harmless(&["power", "--count", "2", "--seed", "11"]);
}

#[test]
fn filled_up() {
    harmless(&["full", "--count", "1", "--seed", "11"]);
}

#[test]
fn read_only() {
    harmless(&["readonly", "--count", "1", "--seed", "11"]);
}

#[test]
fn what_was_cut_off_is_told_as_a_loss() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("store");
    let acked = written(&dir);
    assert_eq!(verdict(&dir, acked), "whole");
    assert_eq!(verdict(&dir, acked + 1), "lost", "more is claimed than there is");

    let cut = scratch.path().join("cut");
    let acked = written(&cut);
    let log = log_of(&cut);
    let length = fs::metadata(&log).unwrap().len();
    fs::File::options().write(true).open(&log).unwrap().set_len(length / 2).unwrap();
    assert_eq!(verdict(&cut, acked), "lost", "half of the log is gone");
}

#[test]
fn acknowledgements_of_another_log_are_told() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    let acked = written(&one).min(written(&other));
    fs::copy(one.with_extension("acks"), other.with_extension("acks")).unwrap();
    assert_eq!(verdict(&other, acked), "lost");
}

#[test]
fn damage_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("store");
    let acked = written(&dir);
    let log = log_of(&dir);
    let mut bytes = fs::read(&log).unwrap();
    bytes[300] ^= 4;
    fs::write(&log, bytes).unwrap();
    assert_eq!(verdict(&dir, acked), "refused");
}
