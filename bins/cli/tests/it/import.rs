//! `antiphon import`: what has arrived is stored soon, a signal loses nothing that was read, and a second run doubles nothing.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Place, antiphon, event, free_port, outcome, until};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

fn start(place: &Place, args: &[&str]) -> (Child, ChildStdin) {
    let mut child = antiphon(&place.config)
        .arg("import")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

fn held(place: &Place) -> u64 {
    place.json(&["status"])["events"].as_u64().unwrap()
}

/// The subjects of all events, each of which must be there once.
fn subjects(place: &Place) -> BTreeSet<String> {
    let (code, out, err) = place.run(&["--json", "log"]);
    assert_eq!(code, 0, "{err}");
    let all: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let subjects: BTreeSet<String> = all.iter().map(|event| event["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects.len(), all.len(), "an event is there twice");
    subjects
}

fn events(range: std::ops::Range<usize>) -> String {
    range.map(event).collect()
}

#[test]
fn what_has_arrived_is_stored_while_the_producer_waits() {
    let place = Place::new(ALONE);
    let _serving = place.serve();
    let (child, mut stdin) = start(&place, &[]);
    for n in 0..3 {
        stdin.write_all(event(n).as_bytes()).unwrap();
        // Neither a full batch nor the end of the input.
        until("the event is stored", || (held(&place) == n as u64 + 1).then_some(()));
    }
    drop(stdin);
    let (code, out, err) = outcome(&child.wait_with_output().unwrap());
    assert!(code == 0 && out.starts_with("3 events imported"), "{out}{err}");
}

#[test]
fn a_signal_stores_what_was_read_and_says_how_much() {
    for (signal, serves) in [(Signal::SIGINT, true), (Signal::SIGTERM, true), (Signal::SIGTERM, false)] {
        let place = Place::new(ALONE);
        let _serving = serves.then(|| place.serve());
        let (child, mut stdin) = start(&place, &[]);
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
        stdin.write_all(events(0..5000).as_bytes()).unwrap();
        if serves {
            // It listens for signals by then.
            until("some are stored", || (held(&place) > 0).then_some(()));
        } else {
            let catches = |status: String| {
                let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
                Some(u64::from_str_radix(&caught, 16).ok()? & (1 << (Signal::SIGTERM as u64 - 1)) != 0)
            };
            until("it listens for signals", || {
                catches(std::fs::read_to_string(format!("/proc/{id}/status")).ok()?).filter(|catches| *catches)
            });
        }
        kill(id, signal).unwrap();
        let (code, _, err) = outcome(&child.wait_with_output().unwrap());
        drop(stdin);
        assert!(code == 1 && err.contains("a signal ended the import"), "{err}");
        let kept: u64 = err.split("; the ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!((held(&place), subjects(&place).len() as u64), (kept, kept), "{err}");
        let (code, out, err) = place.pipe(&["import", "--resume"], &events(0..5000));
        assert!(code == 0 && out.contains(&format!("{kept} were imported before")) || kept == 0, "{out}{err}");
        assert_eq!(subjects(&place).len(), 5000);
    }
}

#[test]
fn an_import_that_was_killed_is_resumed_without_doubling() {
    let place = Place::new(ALONE);
    let _serving = place.serve();
    let mut kept = 0;
    for round in 0..4 {
        let (mut child, mut stdin) = start(&place, &["--resume"]);
        let writer = std::thread::spawn(move || {
            // It is killed while it reads.
            let _ = stdin.write_all(events(0..30_000).as_bytes());
            stdin
        });
        until("more is stored, or all is", || {
            (held(&place) > kept || child.try_wait().unwrap().is_some()).then_some(())
        });
        let _ = child.kill();
        child.wait().unwrap();
        drop(writer.join().unwrap());
        // What was on its way when it died may still be stored.
        kept = until("what was on its way is stored", || {
            Some(held(&place)).filter(|n| subjects(&place).len() as u64 == *n)
        });
        assert!(kept > 0, "round {round}");
    }
    let file = place.dir.path().join("events.ndjson");
    std::fs::write(&file, events(0..30_000)).unwrap();
    let answer = place.json(&["import", "--resume", file.to_str().unwrap()]);
    assert_eq!(answer["imported"].as_u64().unwrap() + answer["skipped"].as_u64().unwrap(), 30_000, "{answer}");
    assert_eq!(subjects(&place).len(), 30_000);
    // Nothing is left, then what was added, and the same events in an array are the same input.
    assert_eq!(place.json(&["import", "--resume", file.to_str().unwrap()])["imported"], 0);
    std::fs::write(&file, events(0..30_010)).unwrap();
    assert_eq!(place.json(&["import", "--resume", file.to_str().unwrap()])["imported"], 10);
    let lines: Vec<String> = (0..30_011).map(|n| event(n).trim_end().to_owned()).collect();
    std::fs::write(&file, format!("[{}]", lines.join(",\n"))).unwrap();
    assert_eq!(place.json(&["import", "--resume", file.to_str().unwrap()])["imported"], 1);
    assert_eq!(subjects(&place).len(), 30_011);
}

#[test]
fn another_input_is_not_taken_for_the_rest_of_one() {
    let place = Place::new(ALONE);
    assert_eq!(place.pipe(&["import"], &events(0..1000)).0, 0);
    let other = event(0) + &events(5000..6000);
    let (code, _, err) = place.pipe(&["import", "--resume"], &other);
    assert!(code == 1 && err.contains("are not those that were imported"), "{err}");
    let (code, _, err) = place.pipe(&["import", "--resume"], &events(0..10));
    assert!(code == 1 && err.contains("the input ends after 10 events"), "{err}");
    assert_eq!(held(&place), 1000);
    let (code, _, err) = place.pipe(&["import"], &event(0));
    assert!(code == 0 && err.contains("1000 events of an input that begins so were imported"), "{err}");
    assert_eq!(held(&place), 1001);
}

#[test]
fn a_page_of_events_is_imported_as_it_is() {
    let port = free_port();
    let place = Place::new(&format!("{ALONE}listen: {{ https: \"127.0.0.1:{port}\" }}\n"));
    let serving = place.serve();
    assert_eq!(place.pipe(&["import"], &events(0..700)).0, 0);
    let bearer = format!("Authorization: Bearer {}\r\n", crate::support::KEY);
    let (status, _, body) =
        crate::monitor::http::http(port, "GET", "/v1/events?limit=1000", &bearer, "").expect("it answers");
    assert!(status == 200 && body.starts_with('['), "{status}");
    assert_eq!(serving.terminate(), 0);
    let other = Place::new("node: { name: bravo, data_dir: data }\n");
    let (code, out, err) = other.pipe(&["import"], &body);
    assert!(code == 0 && out.starts_with("700 events imported"), "{out}{err}");
    assert_eq!(subjects(&other), subjects(&place));
}

#[test]
fn what_cannot_be_imported_says_what_to_do() {
    let place = Place::new(ALONE);
    let head = r#""specversion":"1.0","type":"t""#;
    for (input, wanted) in [
        ("{\n  \"specversion\": \"1.0\"\n}\n".to_owned(), "jq -c ."),
        (format!("{{{head},\"data\":1,\"data\":2}}"), "attribute `data` occurs twice"),
        (format!("{{{head},\"methodName\":\"storage.create\"}}"), "`methodName` (value `storage.create`)"),
        (format!("{{{head},\"methodName\":\"storage.create\"}}"), "--lowercase-extensions"),
        (format!("{{{head},\"datacontenttype\":\"xyz\"}}"), "media type"),
        (format!("{{{head},\"dataschema\":\"\"}}"), "absolute URI"),
        (format!("{{{head},\"time\":\"2026-06-30T23:59:60Z\"}}"), "seconds end at 59"),
        (format!("{{{head}}}\n{{{head},"), "line 2: the event does not end on its line"),
    ] {
        let (code, _, err) = place.pipe(&["import"], &(input.clone() + "\n"));
        assert!(code == 1 && err.contains(wanted), "{input}: {err}");
    }
    for (bytes, wanted) in [(&b"\x1f\x8b\x08\0\0\0\0\0"[..], "gunzip"), (b"\xff\xfe{\0", "iconv")] {
        let file = place.dir.path().join("events");
        std::fs::write(&file, bytes).unwrap();
        let (code, _, err) = place.run(&["import", file.to_str().unwrap()]);
        assert!(code == 1 && err.contains(wanted), "{err}");
    }
    let marked =
        format!("\u{feff}{{{head},\"methodName\":\"storage.create\",\"time\":\"2026-01-02T03:04:05.1234567Z\"}}");
    let before = held(&place);
    let (code, out, err) = place.pipe(&["import", "--lowercase-extensions"], &marked);
    assert!(code == 0 && out.starts_with("1 events imported"), "{out}{err}");
    let (_, log, _) = place.run(&["--json", "log"]);
    let event: Value = serde_json::from_str(log.lines().nth(usize::try_from(before).unwrap()).unwrap()).unwrap();
    assert_eq!(
        (&event["methodname"], &event["time"]),
        (&"storage.create".into(), &"2026-01-02T03:04:05.123456Z".into())
    );
    assert_eq!(event["origintime"], "2026-01-02T03:04:05.1234567Z");
}
