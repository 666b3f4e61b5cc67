//! Long commands show how far they have come, on a terminal alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use antiphon_node::VERSION;
use antiphon_node::api::API_VERSION;
use serde_json::{Value, json};

use crate::support::{KEY, Place, event, has, until};

/// What a terminal gets from a command.
fn on_a_terminal(place: &Place, args: &str) -> String {
    let command = format!("'{}' --config '{}' {args}", env!("CARGO_BIN_EXE_antiphon"), place.config.display());
    let output = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .env("ANTIPHON_SHARED_KEY", KEY)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args}: {shown}");
    shown
}

/// The lines of a node's answer to one request.
fn lines(place: &Place, request: &Value) -> Vec<Value> {
    let mut stream = BufReader::new(UnixStream::connect(place.dir.path().join("data/antiphon.sock")).unwrap());
    stream.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut lines: Vec<Value> = Vec::new();
    while lines.last().is_none_or(|last| last["working"] == true) {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        lines.push(serde_json::from_str(&line).unwrap());
    }
    lines
}

#[test]
fn a_long_command_shows_its_progress_on_a_terminal_alone() {
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    assert_eq!(place.pipe(&["import"], &(0..20_000).map(event).collect::<String>()).0, 0);
    let serving = place.serve();
    // Over the socket. How fast the disk is decides how much is reported.
    let request = json!({ "api": API_VERSION, "program": VERSION, "ask": "verify" });
    until("a step is reported", || {
        let lines = lines(&place, &request);
        let (last, before) = lines.split_last().unwrap();
        assert_eq!(last["ok"]["verified"]["clean"], true, "{last}");
        before.iter().find(|line| line["step"]["work"] == "log" && line["step"]["total"] == 20_000).cloned()
    });
    if has("script") {
        until("a bar is shown", || on_a_terminal(&place, "verify").contains("/20000 events").then_some(()));
        for args in ["verify --quiet", "verify --json", "verify 2>/dev/null"] {
            let shown = on_a_terminal(&place, args);
            assert!(!shown.contains("/20000 events"), "{args}: {shown}");
        }
        let backup = place.dir.path().join("backup");
        until("the copy is shown", || {
            let _ = std::fs::remove_dir_all(&backup);
            on_a_terminal(&place, &format!("backup '{}'", backup.display())).contains(" left").then_some(())
        });
        assert_eq!(serving.terminate(), 0);
        until("the restore is shown", || {
            on_a_terminal(&place, &format!("restore '{}'", backup.display())).contains(" left").then_some(())
        });
    }
}
