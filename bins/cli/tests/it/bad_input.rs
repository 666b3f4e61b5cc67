//! What a user may get wrong: the message says what happened, to what, and what to do; nothing is lost.

use std::process::Stdio;

use crate::support::{KEY, Place, antiphon, event, outcome};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

#[test]
fn a_malformed_line_is_named_and_what_came_before_it_is_kept() {
    let place = Place::new(ALONE);
    for (bad, reason) in [
        ("{oops", "does not end on its line"),
        ("{oops}", "not a JSON object"),
        (r#"{"specversion":"1.0"}"#, "`type` is missing"),
    ] {
        let before = place.json(&["status"])["events"].as_u64().unwrap();
        let input: String = (0..600).map(event).collect::<String>() + bad + "\n" + &event(1);
        let (code, _, err) = place.pipe(&["import"], &input);
        assert_eq!(code, 1);
        assert!(
            err.contains("line 601") && err.contains(reason) && err.contains("600 events before it are kept"),
            "{err}"
        );
        assert_eq!(place.json(&["status"])["events"].as_u64().unwrap(), before + 600);
    }
    let (code, out, _) = place.pipe(&["import"], &format!("\n{}\n", event(1)));
    assert!(code == 0 && out.contains("1 events imported"), "{out}");
    let (code, _, err) = place.run(&["import", "no-such-file"]);
    assert!(code == 1 && err.contains("no-such-file could not be read"), "{err}");
}

#[test]
fn data_that_is_too_large_is_refused() {
    let place = Place::new(ALONE);
    let large = format!("{{\"specversion\":\"1.0\",\"type\":\"t\",\"data\":\"{}\"}}\n", "x".repeat(2 << 20));
    let (code, _, err) = place.pipe(&["import"], &(event(1) + &large));
    assert!(code == 1 && err.contains("line 2") && err.contains("1048576"), "{err}");
    assert_eq!(place.json(&["status"])["events"], 1);
}

#[test]
fn appends_that_cannot_be() {
    let place = Place::new(ALONE);
    let (code, _, err) = place.run(&["append", "-t", "x", "-d", "{not json"]);
    assert!(code == 1 && err.contains("--data is not JSON"), "{err}");
    let cursor = format!("{:016x}-{}-01JD2Y7Q8M4T6V9X0Z1A3B5C7D", u64::MAX, u64::MAX);
    let (code, out, err) = place.run(&["--json", "log", "--after", &cursor]);
    assert!(code == 1 && out.is_empty() && err.contains("does not know its epoch"), "{out}{err}");
    let (code, _, err) = place.run(&["append", "-t", ""]);
    assert!(code == 1 && err.contains("type is empty"), "{err}");
    let (code, _, err) = place.run(&["--json", "latest", "nothing"]);
    assert!(code == 1 && err.contains("no event has the subject"), "{err}");
}

#[test]
fn bad_configuration_names_file_line_and_remedy() {
    let peers = |list: &str| format!("{ALONE}federation:\n  peers:\n{list}");
    let peer = |name: &str, endpoint: &str| format!("    - {{ name: \"{name}\", endpoint: \"{endpoint}\" }}\n");
    let cases = [
        (format!("{ALONE}federaton: {{}}\n"), vec!["antiphon.yaml", "line 2", "federaton", "hint"]),
        (format!("{ALONE}federation: {{ interval: soon }}\n"), vec!["antiphon.yaml", "line 2", "not an interval"]),
        (format!("{ALONE}federation: {{ mode: loud }}\n"), vec!["antiphon.yaml", "line 2"]),
        (format!("{ALONE}federation: {{ shared_key: {KEY} }}\n"), vec!["line 2", "shared_key", "federation.key_file"]),
        ("node: [".to_owned(), vec!["antiphon.yaml", "line"]),
        (peers(&peer("a:last_event", "https://x:1")), vec!["a:last_event", "line 4", "A-Z a-z 0-9"]),
        (peers(&(peer("a", "https://x:1") + &peer("a", "https://y:1"))), vec!["`a` is listed twice"]),
        (peers(&(peer("a", "https://x:1") + &peer("b", "https://x:1"))), vec!["same endpoint"]),
        (peers(&peer("a", "x:1")), vec!["no scheme"]),
        (peers(&peer("a", "QUIC://x:1")), vec!["scheme in capitals", "quic://host:port"]),
        ("node: { name: a, data_dir: \"\" }\n".to_owned(), vec!["node.data_dir is empty"]),
        (
            format!("node: {{ name: a, data_dir: {} }}\n", "d".repeat(120)),
            vec!["longer than the 107 bytes", "data_dir"],
        ),
        ("node: { name: a, data_dir: d, max_append_bytes: 0 }\n".to_owned(), vec!["max_append_bytes is 0"]),
        ("node: { name: a, data_dir: d, max_append_bytes: 99999999 }\n".to_owned(), vec!["1 to 16777216"]),
        (format!("{ALONE}listen: {{ https: \"localhost:7443\" }}\n"), vec!["hint: an address and a port"]),
        (peers(&peer("a", "https://user:hunter2@x:1")), vec!["user information"]),
    ];
    for (yaml, wanted) in cases {
        let place = Place::bare(&yaml);
        let (code, _, err) = place.run(&["config", "check"]);
        assert_eq!(code, 1, "{yaml}");
        for part in wanted {
            assert!(err.contains(part), "{part} is missing:\n{err}");
        }
        assert!(!err.contains("hunter2"), "{err}");
    }
}

#[test]
fn a_missing_configuration_or_store_says_how_to_make_one() {
    let place = Place::bare(ALONE);
    let (code, _, err) = place.run(&["status"]);
    assert!(code == 1 && err.contains("antiphon init"), "{err}");
    std::fs::remove_file(&place.config).unwrap();
    let (code, _, err) = place.run(&["status"]);
    assert!(code == 1 && err.contains("there is no configuration") && err.contains("antiphon init"), "{err}");
}

#[test]
fn unknown_peers_are_named_with_the_known_ones() {
    let place =
        Place::new(&format!("{ALONE}federation:\n  peers:\n    - {{ name: bravo, endpoint: \"https://x:1\" }}\n"));
    for command in ["reset-peer", "pause-peer", "resume-peer"] {
        let (code, _, err) = place.run(&[command, "brave"]);
        assert!(code == 1 && err.contains("no peer `brave`") && err.contains("bravo"), "{err}");
        let (code, _, err) = place.run(&[command, "a:last_event"]);
        assert!(code == 2 && err.contains("A-Z a-z 0-9"), "{err}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_refused() {
    let place = Place::new(ALONE);
    // In use, and without a socket to ask through.
    let serving = place.serve();
    std::fs::remove_file(place.dir.path().join("data/antiphon.sock")).unwrap();
    let (code, _, err) = place.run(&["status"]);
    assert!(code == 1 && err.contains("in use"), "{err}");
    let (code, _, err) = place.run(&["serve"]);
    assert!(code == 1 && err.contains("in use"), "{err}");
    serving.kill();
    // Of a newer format.
    let format = place.dir.path().join("data/FORMAT");
    std::fs::write(&format, "antiphon-store 99\n").unwrap();
    let (code, _, err) = place.run(&["serve"]);
    assert!(code == 1 && err.contains("newer"), "{err}");
    // A path that cannot be written to.
    let blocked = Place::bare("node: { name: alpha, data_dir: /proc/nowhere }\n");
    let (code, _, err) = blocked.run(&["init"]);
    assert!(code == 1 && err.contains("/proc/nowhere"), "{err}");
}

#[test]
fn a_weak_key_and_an_unprotected_listener_are_refused() {
    let place = Place::new("node: { name: alpha, data_dir: data }\nlisten: { https: \"0.0.0.0:0\" }\n");
    let (code, _, err) = place.run(&["serve"]);
    assert!(code == 1 && err.contains("without TLS"), "{err}");
    let output =
        crate::support::antiphon(&place.config).arg("serve").env("ANTIPHON_SHARED_KEY", "short").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && err.contains("too weak") && err.contains("antiphon key"), "{err}");
}

/// What is missing must not look complete, and a reader that has enough is no fault.
#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_went_away_is_none() {
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    assert_eq!(place.pipe(&["import"], &(0..3000).map(event).collect::<String>()).0, 0);
    for args in
        [&["log"][..], &["key"], &["status", "--json"], &["latest"], &["completions", "bash"], &["systemd-unit"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = antiphon(&place.config).args(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let (code, _, err) = outcome(&output);
        assert!(code == 1 && err.contains("standard output could not be written"), "{args:?}: {code} {err}");
        let mut child =
            antiphon(&place.config).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let (code, _, err) = outcome(&child.wait_with_output().unwrap());
        assert!(code == 0 && !err.contains("output"), "{args:?}: {code} {err}");
    }
}

/// Pasted where its file's name belongs, or anywhere else in a configuration: it goes into no log.
#[test]
fn a_key_that_stands_in_the_configuration_is_not_shown() {
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    let secret = "ea8345ea8345ea8345ea8345ea8345ea8345ea8345ea8345ea8345ea8345ea83";
    for text in [
        format!("federation: {{ key_file: {secret} }}"),
        format!("federation: {{ mode: {secret} }}"),
        format!("federation: {{ {secret}: 1 }}"),
        format!("federation: {{ interval: {secret} }}"),
        format!("listen: {{ https: {secret} }}"),
    ] {
        std::fs::write(&place.config, format!("node: {{ name: alpha, data_dir: data }}\n{text}\n")).unwrap();
        for args in [&["config", "check"][..], &["serve"], &["status"], &["doctor"]] {
            let output = antiphon(&place.config).env_remove("ANTIPHON_SHARED_KEY").args(args).output().unwrap();
            let (code, out, err) = outcome(&output);
            assert!(code == 1 && !(out + &err).contains(&secret[..20]), "{args:?} {text}: {err}");
        }
    }
}

/// What the operator wrote is named, and nothing of how it is read.
#[test]
fn a_configuration_is_judged_in_words_of_the_operator() {
    let place = Place::bare(ALONE);
    let check = |text: &str| {
        std::fs::write(&place.config, format!("{ALONE}{text}\n")).unwrap();
        let (code, out, err) = place.run(&["config", "check"]);
        (code, out + &err)
    };
    for (text, says) in [
        ("federation: { key_file: ~/shared.key }", "`~` is not expanded"),
        ("node: { name: bravo, data_dir: other }", "the field `node` appears twice"),
        ("federation: { peers: [{ name: bravo, endpoint: }] }", "no value"),
        ("listen: { status_page: perhaps }", "true or false is expected"),
        ("federation: { peers: 3 }", "a list is expected"),
    ] {
        let (code, said) = check(text);
        assert!(code == 1 && said.contains(says), "{text}: {said}");
        assert!(!["Option<", "Policy", "struct "].iter().any(|foreign| said.contains(foreign)), "{text}: {said}");
    }
    for (text, says) in [
        ("federation:\n  peers:", "0 peers"),
        ("federation: { peers: [{ name: b, endpoint: \"https://bücher.example:1\" }] }", "1 peers"),
        ("federation: { peers: [{ name: b, endpoint: \"quic://bücher.example:1\" }] }", "1 peers"),
    ] {
        let (code, said) = check(text);
        assert!(code == 0 && said.contains(says), "{text}: {said}");
    }
    // As `openssl req -x509` makes it by default.
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(place.dir.path().join("c.pem"), params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(place.dir.path().join("c.key"), pair.serialize_pem()).unwrap();
    let (code, said) = check("listen: { https: \"127.0.0.1:0\", tls: { cert: c.pem, key: c.key } }");
    assert!(code == 1 && said.contains("CA:TRUE") && said.contains("CA:FALSE"), "{said}");
}
