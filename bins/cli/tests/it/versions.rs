//! A command and a node of two versions.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use antiphon_node::VERSION;
use antiphon_node::api::API_VERSION;
use serde_json::{Value, json};

use crate::support::Place;

const YAML: &str = "node: { name: alpha, data_dir: data }\n";

fn socket(place: &Place) -> PathBuf {
    place.dir.path().join("data/antiphon.sock")
}

/// What a node answers to one line, and whether it ends the conversation then.
fn answer(place: &Place, request: &Value) -> (Value, bool) {
    let mut stream = BufReader::new(UnixStream::connect(socket(place)).unwrap());
    stream.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    (serde_json::from_str(&line).unwrap(), stream.read(&mut [0]).unwrap() == 0)
}

#[test]
fn a_node_refuses_a_command_of_another_version_and_names_both() {
    let alpha = Place::new(YAML);
    let _serving = alpha.serve();
    for (request, theirs) in [
        (json!({ "api": 99, "program": "9.9.9 (new)", "ask": "digest" }), "version 9.9.9 (new) (admin API 99)"),
        (
            json!({ "api": 99, "program": "9.9.9 (new)", "ask": "unknown_one", "x": [1] }),
            "version 9.9.9 (new) (admin API 99)",
        ),
        (json!({ "ask": "digest" }), "an older version (admin API 0)"),
    ] {
        let (answer, ended) = answer(&alpha, &request);
        let error = answer["error"].as_str().unwrap();
        let ours = format!("this node runs version {VERSION} (admin API {API_VERSION})");
        for part in [ours.as_str(), theirs, "use the `antiphon` of the node's version", "restart the node"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(ended, "what follows is not read");
        assert_eq!((&answer["api"], &answer["program"]), (&json!(API_VERSION), &json!(VERSION)));
    }
    let (answered, _) = answer(&alpha, &json!({ "api": API_VERSION, "program": VERSION, "ask": "digest" }));
    assert_eq!(answered["ok"]["chains"]["digest"], alpha.json(&["digest"])["digest"], "{answered}");
    let (answered, _) = answer(&alpha, &json!({ "ask": "location" }));
    assert_eq!(answered["ok"]["location"]["name"], "alpha", "init and restore of any version find it: {answered}");
}

#[test]
fn a_command_refuses_a_node_of_another_version_and_names_both() {
    let alpha = Place::new(YAML);
    let listener = UnixListener::bind(socket(&alpha)).unwrap();
    let says = json!({ "api": 99, "program": "9.9.9 (new)", "ok": { "news": 1 }, "texts": 0 });
    let refuses = json!({ "api": 99, "program": "9.9.9 (new)", "error": "this node runs another version" });
    // It reads the line alone, and ends: what follows the line of an append finds no reader.
    std::thread::spawn(move || {
        for (stream, line) in listener.incoming().zip([says, refuses]) {
            let mut stream = BufReader::new(stream.unwrap());
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        }
    });
    let (code, out, err) = alpha.run(&["status"]);
    assert!(code == 1 && out.is_empty(), "{out}{err}");
    for part in [
        "the node that serves runs version 9.9.9 (new) (admin API 99)",
        &format!("version {VERSION} (admin API {API_VERSION})"),
        "restart",
    ] {
        assert!(err.contains(part), "{part} is not in: {err}");
    }
    let (code, _, err) =
        alpha.pipe(&["append", "-t", "t", "--content-type", "text/plain", "-d", "-"], &"x".repeat(8 << 20));
    assert!(code == 1 && err.contains("this node runs another version"), "{err}");
}
