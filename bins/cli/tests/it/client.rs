//! The client of `docs/vectors`, in Python: it reads a log from a node, and verifies it by the documents alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{KEY, Place, free_port, until};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors")
}

/// What it printed, and whether it called all of it valid.
fn client(arguments: &[&str]) -> (bool, String) {
    let out = Command::new("python3").arg(vectors().join("client.py")).args(arguments).output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_client_verifies_a_whole_log() {
    let port = free_port();
    let alpha = Place::new(&format!(
        "node: {{ name: alpha, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\" }}\nfederation: {{ \
         allow_plaintext_loopback: true }}\n"
    ));
    let _serving = alpha.serve();
    for n in 0..3 {
        alpha.json(&["append", "-t", "note", "-s", &format!("doc/{n}"), "-d", "1"]);
    }
    let url = format!("http://127.0.0.1:{port}");
    let digest = alpha.json(&["status"])["digest"].as_str().unwrap().to_owned();
    let valid = format!("valid: 3 events, 3 groups, 1 origins, digest {digest}\n");
    let read = until("the node answers", || {
        let (is_valid, text) = client(&[&url, "--key", KEY]);
        is_valid.then_some(text)
    });
    assert_eq!(read, valid);
    let (is_valid, text) = client(&[&url, "--key", "another key of thirty-two letters"]);
    assert!(!is_valid && text.contains("cannot be read"), "{text}");
}

#[test]
fn the_client_verifies_the_vectors_and_refuses_altered_ones() {
    let folder = vectors();
    let (is_valid, text) = client(&["--vectors", folder.to_str().unwrap()]);
    assert!(is_valid && text.starts_with("valid: 3 events, 3 groups"), "{text}");
    let chain: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("chain.json")).unwrap()).unwrap();
    let text_of = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let second = &chain["events"][1];
    // Each with one digit changed: the last of a record, of a seal, and of the inception.
    let parts = [
        (text_of(&second["record"]), "is not what its owner sealed"),
        (text_of(&second["seal"]), "is not what its owner sealed"),
        (text_of(&chain["inception"]), "is not what its owner sealed"),
    ];
    for (part, why) in parts {
        let altered = tempfile::tempdir().unwrap();
        for file in ["batch.json", "frame.json", "statement.json"] {
            std::fs::copy(folder.join(file), altered.path().join(file)).unwrap();
        }
        let batch = std::fs::read_to_string(folder.join("batch.json")).unwrap();
        let (begin, last) = part.split_at(part.len() - 1);
        let other = format!("{begin}{}", if last == "0" { "1" } else { "0" });
        let frame = batch.replace(&part, &other);
        assert_ne!(frame, batch);
        std::fs::write(altered.path().join("batch.json"), frame).unwrap();
        let (is_valid, text) = client(&["--vectors", altered.path().to_str().unwrap()]);
        assert!(!is_valid && text.contains(why), "{text}");
    }
}
