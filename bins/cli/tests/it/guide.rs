//! The commands of the operations guide, as they stand there.

use std::path::Path;
use std::process::Command;

use crate::support::{Place, free_port, has, until};

/// The shell commands between two marks of a document.
fn commands(mark: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md")).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->"), format!("<!-- /{mark} -->"));
    let part = text.split(&begin).nth(1).and_then(|rest| rest.split(&end).next()).expect("the marks are there");
    let blocks = part.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(|line| format!("{}\n", line.trim_start())).collect()
}

#[test]
fn an_authority_made_as_the_guide_says_is_trusted_over_both_transports() {
    if !has("openssl") {
        return;
    }
    let script = commands("authority");
    assert_eq!(script.matches("openssl").count(), 3, "{script}");
    let [a, b] = [(); 2].map(|()| free_port());
    let yaml = |name: &str, port: u16, peers: &str| {
        format!(
            "node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  quic: 127.0.0.1:{port}\n  \
             tls: {{ cert: alpha.pem, key: certs/alpha.key }}\nfederation:\n  interval: 1s\n  peers: [{peers}]\n"
        )
    };
    let bravo = Place::new(&yaml("bravo", b, ""));
    let there = bravo.dir.path();
    std::fs::create_dir(there.join("certs")).unwrap();
    let names = script.replace("alpha.example", "localhost");
    let made = Command::new("sh").args(["-e", "-c", &names]).current_dir(there).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ca = there.join("ca.pem").display().to_string();
    let peer =
        |name: &str, scheme: &str| format!("{{ name: {name}, endpoint: \"{scheme}://localhost:{b}\", ca: \"{ca}\" }}");
    let alpha = Place::new(&yaml("alpha", a, &peer("bravo", "quic")));
    std::fs::create_dir(alpha.dir.path().join("certs")).unwrap();
    for file in ["alpha.pem", "certs/alpha.key"] {
        std::fs::copy(there.join(file), alpha.dir.path().join(file)).unwrap();
    }
    let (_bravo, _alpha) = (bravo.serve(), alpha.serve());
    for (scheme, place) in [("quic", "1"), ("https", "2")] {
        std::fs::write(&alpha.config, yaml("alpha", a, &peer("bravo", scheme))).unwrap();
        assert_eq!(alpha.run(&["reload"]).0, 0);
        assert_eq!(bravo.run(&["append", "-t", "t", "-s", place, "-d", "1"]).0, 0);
        until(scheme, || (alpha.run(&["--json", "latest", place]).0 == 0).then_some(()));
    }
    let (code, out, err) = alpha.run(&["config", "check"]);
    assert!(code == 0 && err.is_empty(), "a year is long enough: {out}{err}");
}

/// The section about client certificates: one is made, let in, revoked, and shut out.
#[test]
fn a_client_certificate_made_as_the_guide_says_is_let_in_until_it_is_revoked() {
    if !has("openssl") {
        return;
    }
    let [a, b] = [(); 2].map(|()| free_port());
    let peer = format!(
        "{{ name: alpha, endpoint: \"https://localhost:{a}\", ca: ca.pem, crl: crl.pem, client_cert: bravo-client.pem, \
         client_key: certs/bravo-client.key }}"
    );
    let alpha = Place::new(&format!(
        "node: {{ name: alpha, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{a}\n  tls: {{ cert: alpha.pem, key: certs/alpha.key, \
         client_ca: ca.pem, client_crl: crl.pem }}\nfederation: {{ interval: 1s }}\n"
    ));
    let bravo = Place::new(&format!(
        "node: {{ name: bravo, data_dir: data }}\nlisten: {{ quic: 127.0.0.1:{b} }}\nfederation: {{ interval: 1s, peers: [{peer}] }}\n"
    ));
    let there = alpha.dir.path();
    std::fs::create_dir(there.join("certs")).unwrap();
    let sh = |script: &str| {
        let made = Command::new("sh").args(["-e", "-c", script]).current_dir(there).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    sh(&commands("authority").replace("alpha.example", "localhost"));
    let script = commands("clients");
    assert_eq!(script.matches("openssl").count(), 3, "{script}");
    sh(&script);
    std::fs::create_dir(bravo.dir.path().join("certs")).unwrap();
    for file in ["ca.pem", "crl.pem", "bravo-client.pem", "certs/bravo-client.key"] {
        std::fs::copy(there.join(file), bravo.dir.path().join(file)).unwrap();
    }
    let (_alpha, _bravo) = (alpha.serve(), bravo.serve());
    assert_eq!(alpha.run(&["append", "-t", "t", "-s", "notes/1", "-d", "1"]).0, 0);
    until("it crosses", || (bravo.run(&["--json", "latest", "notes/1"]).0 == 0).then_some(()));
    for place in [&alpha, &bravo] {
        let (code, out, err) = place.run(&["config", "check"]);
        assert!(code == 0 && err.is_empty(), "a month is long enough: {out}{err}");
    }
    let script = commands("revoke");
    assert_eq!(script.matches("openssl").count(), 2, "{script}");
    sh(&script);
    assert_eq!(alpha.run(&["reload"]).0, 0);
    until("it is shut out", || {
        let status = bravo.json(&["status"]);
        (status["peers"][0]["last_error"] == "certificate_refused").then_some(())
    });
}

/// The first federation of the guide: no certificate, and each other's id in the configuration.
#[test]
fn two_nodes_that_name_each_others_ids_need_no_certificates() {
    let [a, b] = [(); 2].map(|()| free_port());
    let yaml = |name: &str, port: u16, peers: &str| {
        format!(
            "node: {{ name: {name}, data_dir: data }}\nlisten:\n  quic: 127.0.0.1:{port}\nfederation:\n  interval: 1s\n  \
             peers: [{peers}]\n"
        )
    };
    let (alpha, bravo) = (Place::new(&yaml("alpha", a, "")), Place::new(&yaml("bravo", b, "")));
    let id = |place: &Place| {
        let (code, out, err) = place.run(&["--json", "identity", "show"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["cortex_id"].as_str().unwrap().to_owned()
    };
    let peer = |name: &str, port: u16, id: &str| {
        format!("{{ name: {name}, endpoint: \"quic://127.0.0.1:{port}\", cortex: {id} }}")
    };
    let (of_alpha, of_bravo) = (id(&alpha), id(&bravo));
    std::fs::write(&alpha.config, yaml("alpha", a, &peer("bravo", b, &of_bravo))).unwrap();
    std::fs::write(&bravo.config, yaml("bravo", b, &peer("alpha", a, &of_alpha))).unwrap();
    let (_bravo, _alpha) = (bravo.serve(), alpha.serve());
    for (from, to) in [(&alpha, &bravo), (&bravo, &alpha)] {
        let (code, _, err) = from.run(&["append", "-t", "t", "-s", "notes/1", "-d", "1"]);
        assert_eq!(code, 0, "{err}");
        until("it arrives", || (to.run(&["--json", "latest", "notes/1"]).0 == 0).then_some(()));
    }
    // Another id there is refused by name, and nothing of it is stored.
    std::fs::write(&alpha.config, yaml("alpha", a, &peer("charlie", b, &of_alpha.replace(&of_alpha[..4], "01JD"))))
        .unwrap();
    assert_eq!(alpha.run(&["reload"]).0, 0);
    until("it is refused", || {
        let (_, out, _) = alpha.run(&["--json", "status"]);
        let status = serde_json::from_str::<serde_json::Value>(&out).unwrap();
        (status["peers"][0]["last_error"] == "identity").then_some(())
    });
}

/// A node that is not allowed shows with its fingerprint, and a command lets it in until the file has a rule.
#[test]
fn a_node_that_wants_to_connect_is_listed_and_let_in() {
    let [a, b] = [(); 2].map(|()| free_port());
    let yaml = |name: &str, port: u16, more: &str| {
        format!("node: {{ name: {name}, data_dir: data }}\nlisten:\n  quic: 127.0.0.1:{port}\n{more}")
    };
    let alpha = Place::new(&yaml("alpha", a, "access: { others: none }\n"));
    let shown = |place: &Place| {
        let (code, out, err) = place.run(&["--json", "identity", "show"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let of_alpha = shown(&alpha)["cortex_id"].as_str().unwrap().to_owned();
    let peers = format!(
        "federation:\n  interval: 1s\n  peers: [{{ name: alpha, endpoint: \"quic://127.0.0.1:{a}\", cortex: {of_alpha} }}]\n"
    );
    let edge = Place::new(&yaml("edge", b, &peers));
    let of_edge = shown(&edge);
    let id = of_edge["cortex_id"].as_str().unwrap();
    let (_alpha, _edge) = (alpha.serve(), edge.serve());
    assert_eq!(alpha.run(&["append", "-t", "t", "-s", "notes/1", "-d", "1"]).0, 0);
    let pending = until("it wants to connect", || {
        let (_, out, _) = alpha.run(&["--json", "peers", "pending"]);
        let pending = serde_json::from_str::<serde_json::Value>(&out).unwrap();
        pending[0].is_object().then(|| pending[0].clone())
    });
    assert_eq!((&pending["cortex_id"], &pending["name"]), (&of_edge["cortex_id"], &"edge".into()));
    assert_eq!(pending["fingerprint"], of_edge["root_fingerprint"]);
    let (_, text, _) = alpha.run(&["status"]);
    assert!(text.contains("wants to connect") && text.contains(&format!("antiphon peers allow NAME {id}")), "{text}");
    let (_, text, _) = edge.run(&["status"]);
    assert!(text.contains("does not allow this node to read its log"), "{text}");
    let (code, said, err) = alpha.run(&["peers", "allow", "edge", id]);
    assert!(code == 0 && said.contains(&format!("{{ cortex: {id}, name: edge, read: all }}")), "{said}{err}");
    until("it is let in", || (edge.run(&["--json", "latest", "notes/1"]).0 == 0).then_some(()));
    // The file goes first.
    let rule = format!("access: {{ others: none, rules: [{{ cortex: {id}, read: none }}] }}\n");
    std::fs::write(&alpha.config, yaml("alpha", a, &rule)).unwrap();
    assert_eq!(alpha.run(&["reload"]).0, 0);
    assert_eq!(alpha.run(&["append", "-t", "t", "-s", "notes/2", "-d", "2"]).0, 0);
    until("it is shut out", || {
        let (_, out, _) = edge.run(&["--json", "status"]);
        let status = serde_json::from_str::<serde_json::Value>(&out).unwrap();
        (status["peers"][0]["last_error"] == "not_allowed").then_some(())
    });
    let (code, _, err) = alpha.run(&["peers", "allow", "edge", id]);
    assert!(code == 1 && err.contains("has a rule for"), "{err}");
}
