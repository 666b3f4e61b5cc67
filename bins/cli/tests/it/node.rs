//! One node and its commands, while it serves and while it does not.

use std::process::Stdio;

use crate::support::{Place, antiphon, event, free_port, until};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

#[test]
fn the_same_commands_work_while_serving_and_while_not() {
    let place = Place::new(ALONE);
    let appended = place.json(&["append", "-t", "note", "-s", "notes/1", "-d", r#"{"n":1}"#]);
    assert_eq!(appended["seq"], 1);
    let serving = place.serve();
    let appended = place.json(&["append", "-t", "note", "-s", "notes/1", "-d", r#"{"n":2}"#]);
    assert_eq!(appended["seq"], 2);
    let (code, out, _) =
        place.pipe(&["append", "-t", "note", "-d", "-", "--content-type", "text/plain"], "from a pipe");
    assert!(code == 0 && out.contains("at sequence number 3"), "{out}");
    let status = place.json(&["status"]);
    assert_eq!((&status["events"], &status["serving"]), (&3.into(), &true.into()));
    let (_, view, _) = place.run(&["--json", "latest", "notes/1"]);
    assert!(view.contains(r#""n":2"#) && view.contains(r#""concurrent":false"#), "{view}");
    let digest = place.json(&["digest"])["digest"].clone();
    assert_eq!(serving.terminate(), 0, "{}", place.log());
    assert!(place.log().contains("stopped"));
    assert_eq!(place.json(&["digest"])["digest"], digest);
    let (code, out, _) = place.run(&["verify"]);
    assert!(code == 0 && out.starts_with("clean: 3 events"), "{out}");
    let (_, log, _) = place.run(&["--json", "log", "--limit", "1"]);
    let first: serde_json::Value = serde_json::from_str(&log).unwrap();
    let (_, log, _) =
        place.run(&["--json", "log", "--after", first["antiphoncursor"].as_str().unwrap(), "--limit", "1"]);
    assert!(log.lines().count() == 1 && log.contains(r#""antiphonseq":"2""#), "{log}");
    let (code, _, err) = place.run(&["--json", "log", "--after", "1"]);
    assert!(code == 2 && err.contains("`antiphoncursor`"), "a number alone is none: {err}");
    let (_, text, _) = place.run(&["status"]);
    assert!(text.contains("not serving") && text.contains("no peers"), "{text}");
}

/// Found where a script asked for the status of a node that it had just started.
#[test]
fn a_command_that_has_the_store_open_for_a_moment_does_not_keep_a_node_from_starting() {
    let place = Place::new(ALONE);
    let command = antiphon_storage::DirectoryLock::take(place.dir.path().join("data")).unwrap();
    let node = place.start();
    until("it says that it waits", || place.log().contains("waiting for the store").then_some(()));
    drop(command);
    until("the node serves", || place.json(&["status"])["serving"].as_bool().filter(|serving| *serving));
    assert_eq!(node.terminate(), 0, "{}", place.log());
}

#[test]
fn an_import_survives_kill_9() {
    let place = Place::new(ALONE);
    let serving = place.serve();
    let events: String = (0..2000).map(event).collect();
    let file = place.dir.path().join("events.ndjson");
    std::fs::write(&file, &events).unwrap();
    let mut import =
        antiphon(&place.config).arg("import").arg(&file).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("some events are in", || place.json(&["status"])["events"].as_u64().filter(|&n| n > 0));
    serving.kill();
    import.wait().unwrap();
    let (code, out, err) = place.run(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
    let kept = place.json(&["status"])["events"].as_u64().unwrap();
    assert!(kept > 0);
    let _again = place.serve();
    assert_eq!(place.json(&["status"])["events"], kept);
}

#[test]
fn set_mode_and_peer_modes_outlive_a_restart() {
    let port = free_port();
    let yaml =
        format!("{ALONE}federation:\n  peers:\n    - {{ name: bravo, endpoint: \"https://127.0.0.1:{port}\" }}\n");
    let place = Place::new(&yaml);
    place.json(&["pause-peer", "bravo"]);
    let serving = place.serve();
    assert_eq!(place.json(&["peers"])[0]["phase"], "paused");
    place.json(&["resume-peer", "bravo"]);
    until("refused", || (place.json(&["peers"])[0]["last_error"] == "connection_refused").then_some(()));
    let (_, text, _) = place.run(&["status"]);
    assert!(text.contains("refuses the connection") && text.contains("check that the node runs"), "{text}");
    place.json(&["set-mode", "subscribe"]);
    let (_, _, err) = place.run(&["append", "-t", "x"]);
    assert!(err.contains("will not leave"), "{err}");
    place.json(&["reset-peer", "bravo"]);
    assert_eq!(serving.terminate(), 0);
    assert!(place.log().contains("peer bravo refuses the connection"), "{}", place.log());
    let serving = place.serve();
    assert_eq!(place.json(&["status"])["mode"], "subscribe");
    assert_eq!(serving.terminate(), 0);
}

#[test]
fn what_is_kept_of_a_peer_that_is_not_configured_any_more_can_be_forgotten() {
    let peer =
        format!("federation:\n  peers:\n    - {{ name: bravo, endpoint: \"https://127.0.0.1:{}\" }}\n", free_port());
    let place = Place::new(&format!("{ALONE}{peer}"));
    let serving = place.serve();
    until("refused", || (place.json(&["peers"])[0]["last_error"] == "connection_refused").then_some(()));
    assert_eq!(serving.terminate(), 0);
    std::fs::write(&place.config, ALONE).unwrap();
    let serving = place.serve();
    place.json(&["reset-peer", "bravo"]);
    let (code, _, err) = place.run(&["reset-peer", "bravo"]);
    assert!(code == 1 && err.contains("no peer `bravo`"), "{err}");
    assert_eq!(serving.terminate(), 0);
}

#[test]
fn small_commands() {
    let place = Place::bare(ALONE);
    let (code, key, _) = place.run(&["key"]);
    assert!(code == 0 && key.trim().len() == 64);
    let certs = place.dir.path().join("certs");
    let (code, _, err) = place.run(&["dev-certs", "--dir", certs.to_str().unwrap(), "alpha", "bravo"]);
    assert_eq!(code, 0, "{err}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(certs.join("alpha.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(certs.join("ca.pem").exists() && certs.join("bravo.pem").exists());
    let made = std::fs::read(certs.join("ca.pem")).unwrap();
    for name in ["bravo", "charlie"] {
        let (code, _, err) = place.run(&["dev-certs", "--dir", certs.to_str().unwrap(), name]);
        assert!(code == 1 && err.contains("exists, and nothing was written"), "{err}");
    }
    assert!(std::fs::read(certs.join("ca.pem")).unwrap() == made && !certs.join("charlie.pem").exists());
    let (code, out, _) = place.run(&["completions", "bash"]);
    assert!(code == 0 && out.contains("antiphon"));
    let (code, out, _) = place.run(&["config", "check"]);
    assert!(code == 0 && out.contains("is good: node alpha, 0 peers, mode sync"), "{out}");
    let (code, out, _) = place.run(&["--help"]);
    assert!(code == 0 && out.contains("reset-peer"));
    let (code, _, _) = place.run(&["no-such-command"]);
    assert_eq!(code, 2);
}

#[test]
fn init_makes_a_first_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("antiphon.yaml");
    let output = antiphon(&config).args(["init", "--name", "delta"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = antiphon(&config).args(["init"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("already holds cortex"), "{text}");
}
