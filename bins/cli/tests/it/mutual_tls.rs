//! Nodes that show each other certificates, and refuse revoked ones.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::pki::{Due, Issued, Pki, copy};
use crate::support::{Place, free_port, has, until};

/// What a node shows as a server and as a client, in files of its own.
fn equip(place: &Place, server: &Issued, client: &Issued, pki: &Pki, list: &str) {
    let at = |file: &str| place.dir.path().join(file);
    for (from, to) in [(&server.cert, "server.pem"), (&server.key, "server.key"), (&client.cert, "client.pem")] {
        copy(from, &at(to));
    }
    copy(&client.key, &at("client.key"));
    copy(&pki.ca(), &at("ca.pem"));
    std::fs::write(at("crl.pem"), list).unwrap();
}

fn yaml(name: &str, port: u16, peer: &str, scheme: &str, at: u16, shown: bool) -> String {
    let shown = if shown { ", client_cert: client.pem, client_key: client.key" } else { "" };
    format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  quic: 127.0.0.1:{port}\n  \
         tls: {{ cert: server.pem, key: server.key, client_ca: ca.pem, client_crl: crl.pem }}\nfederation:\n  interval: 1s\n  peers:\n    \
         - {{ name: {peer}, endpoint: \"{scheme}://127.0.0.1:{at}\", ca: ca.pem, crl: crl.pem{shown} }}\n"
    )
}

fn last_error(place: &Place) -> String {
    place.json(&["status"])["peers"][0]["last_error"].as_str().unwrap_or_default().to_owned()
}

fn crosses(from: &Place, to: &Place, subject: &str) {
    assert_eq!(from.run(&["append", "-t", "t", "-s", subject, "-d", "1"]).0, 0);
    until(subject, || (to.run(&["--json", "latest", subject]).0 == 0).then_some(()));
}

#[test]
fn two_nodes_that_show_certificates_converge_until_one_is_revoked_over_https() {
    converge("https");
}

#[test]
fn two_nodes_that_show_certificates_converge_until_one_is_revoked_over_quic() {
    converge("quic");
}

fn converge(scheme: &str) {
    let pki = Pki::new("ours");
    let [a, b] = [(); 2].map(|()| free_port());
    let (alpha, bravo) = (
        Place::new(&yaml("alpha", a, "bravo", scheme, b, true)),
        Place::new(&yaml("bravo", b, "alpha", scheme, a, false)),
    );
    let list = pki.list(&[], Due::Year(2100));
    let issue = |name: &str| {
        (pki.issue(&format!("{name}-server"), rcgen::ExtendedKeyUsagePurpose::ServerAuth, 2100), pki.client(name))
    };
    let (of_alpha, of_bravo) = (issue("alpha"), issue("bravo"));
    equip(&alpha, &of_alpha.0, &of_alpha.1, &pki, &list);
    equip(&bravo, &of_bravo.0, &of_bravo.1, &pki, &list);
    let (_alpha, _bravo) = (alpha.serve(), bravo.serve());
    // Bravo has the key and shows nothing.
    crosses(&bravo, &alpha, "from-bravo");
    until("bravo is refused", || (last_error(&bravo) == "certificate_refused").then_some(()));
    let (_, shown, _) = bravo.run(&["status"]);
    assert!(shown.contains("client_cert"), "it says what to do: {shown}");
    std::fs::write(&bravo.config, yaml("bravo", b, "alpha", scheme, a, true)).unwrap();
    let (code, out, err) = bravo.run(&["reload"]);
    assert!(code == 0 && out.contains("dialled again: alpha"), "{out}{err}");
    crosses(&alpha, &bravo, "from-alpha");
    until("both have the same", || {
        let [one, other] = [&alpha, &bravo].map(|place| place.json(&["status"]));
        (one["events"] == 2 && one["digest"] == other["digest"]).then_some(())
    });
    // Bravo's client certificate is revoked: the open connection ends, and the next one is refused.
    let revoked = pki.list(&[of_bravo.1.serial], Due::Year(2100));
    std::fs::write(alpha.dir.path().join("crl.pem"), &revoked).unwrap();
    let (code, out, err) = alpha.run(&["reload"]);
    assert!(code == 0 && out.contains("another authority or revocation list of the clients is in use"), "{out}{err}");
    assert!(out.contains("connections were opened again"), "the same list is the one of its peer: {out}");
    until("bravo is shut out", || (last_error(&bravo) == "certificate_refused").then_some(()));
    // Another certificate in the same files is shown without a command.
    let again = pki.client("bravo-again");
    copy(&again.key, &bravo.dir.path().join("client.key"));
    copy(&again.cert, &bravo.dir.path().join("client.pem"));
    crosses(&alpha, &bravo, "with-another-certificate");
    // The server's certificate is revoked, as bravo's list says.
    let list = pki.list(&[of_alpha.0.serial], Due::Year(2100));
    std::fs::write(bravo.dir.path().join("crl.pem"), list).unwrap();
    assert_eq!(bravo.run(&["reload"]).0, 0);
    until("alpha is not trusted", || (last_error(&bravo) == "revoked").then_some(()));
    // An outdated list trusts no server; every view of the node says so.
    std::fs::write(bravo.dir.path().join("crl.pem"), pki.list(&[], Due::Year(2001))).unwrap();
    let (code, out, err) = bravo.run(&["reload"]);
    assert!(code == 0 && out.contains("outdated since 2001-01-01"), "{out}{err}");
    until("alpha may be revoked", || (last_error(&bravo) == "revocation_unknown").then_some(()));
    let (_, said, _) = bravo.run(&["doctor"]);
    assert!(said.contains("crl.pem") && said.contains("outdated since 2001-01-01"), "{said}");
    let (_, said, _) = bravo.run(&["status"]);
    assert!(said.contains("the list of revoked certificates in"), "bravo's clients are judged by it too: {said}");
    let (code, _, said) = bravo.run(&["config", "check"]);
    assert!(code == 0 && said.contains("outdated since 2001-01-01"), "{said}");
}

/// Whether `openssl s_client` completes a handshake of TLS 1.2.
fn speaks_tls_1_2(port: u16) -> bool {
    let mut child = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"Q\n");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("CONNECTED"), "{text}");
    output.status.success() && text.contains("Cipher is ECDHE")
}

#[test]
fn tls_1_2_is_spoken_only_where_it_is_configured() {
    if !has("openssl") {
        return;
    }
    let (pki, port) = (Pki::new("ours"), free_port());
    let yaml = |more: &str| {
        format!(
            "node: {{ name: alpha, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  tls: {{ cert: server.pem, key: server.key{more} }}\n"
        )
    };
    let place = Place::new(&yaml(""));
    let server = pki.server();
    copy(&server.cert, &place.dir.path().join("server.pem"));
    copy(&server.key, &place.dir.path().join("server.key"));
    let serving = place.serve();
    assert!(!speaks_tls_1_2(port));
    std::fs::write(&place.config, yaml(", min_version: \"1.2\"")).unwrap();
    let (code, _, err) = place.run(&["reload"]);
    assert!(code == 1 && err.contains("listen.tls cannot change while the node runs"), "{err}");
    assert_eq!(serving.terminate(), 0);
    let _serving = place.serve();
    assert!(speaks_tls_1_2(port));
}

#[test]
fn a_wrong_combination_names_the_field_and_what_to_do() {
    let place = Place::bare("node: { name: alpha, data_dir: data }\n");
    let pki = Pki::new("ours");
    let (server, client) = (pki.server(), pki.client("client"));
    equip(&place, &server, &client, &pki, &pki.list(&[], Due::Year(2100)));
    std::fs::write(place.dir.path().join("empty.pem"), "").unwrap();
    let check = |text: &str| {
        std::fs::write(&place.config, format!("node: {{ name: alpha, data_dir: data }}\n{text}\n")).unwrap();
        place.run(&["config", "check"])
    };
    let tls = |more: &str| {
        format!("listen: {{ https: \"127.0.0.1:0\", tls: {{ cert: server.pem, key: server.key{more} }} }}")
    };
    let peer = |more: &str| format!("federation: {{ peers: [{{ name: bravo, endpoint: \"https://b:1\"{more} }}] }}");
    let quic = |more: &str| peer(more).replace("https://", "quic://");
    for (text, wanted) in [
        (tls(", client_crl: crl.pem"), &["listen.tls.client_crl", "Set client_ca"][..]),
        (tls(", client_ca: missing.pem"), &["missing.pem", "AP-CERT-004", "listen.tls.client_ca"]),
        (tls(", client_ca: ca.pem, client_crl: empty.pem"), &["empty.pem", "holds no list", "AP-CERT-005"]),
        (tls(", min_version: \"1.1\""), &["\"1.2\" or \"1.3\"", "line 2"]),
        (tls(", min_version: TLSv1.3"), &["\"1.2\" or \"1.3\"", "line 2"]),
        (
            "listen: { quic: \"127.0.0.1:0\", tls: { cert: server.pem, key: server.key, min_version: \"1.2\" } }"
                .to_owned(),
            &["listen.tls.min_version", "Remove min_version"],
        ),
        (
            "listen: { quic: \"127.0.0.1:0\", tls: { client_ca: ca.pem } }".to_owned(),
            &["missing field `cert`", "needs `cert` and `key`"],
        ),
        (peer(", crl: crl.pem"), &["peer `bravo`", "`crl` and no `ca`", "Set `ca`"]),
        (peer(", ca: ca.pem, crl: empty.pem"), &["peer `bravo`", "`crl` file", "empty.pem", "PEM form"]),
        (peer(", client_cert: client.pem"), &["peer `bravo`", "no `client_key`", "Set both"]),
        (peer(", client_key: client.key"), &["peer `bravo`", "no `client_cert`", "Set both"]),
        (
            peer(", client_cert: client.pem, client_key: server.key"),
            &["peer `bravo`", "client.pem", "does not go with", "server.key"],
        ),
        (peer(", tls_min_version: \"1.0\""), &["\"1.2\" or \"1.3\""]),
        (quic(", tls_min_version: \"1.2\""), &["peer `bravo`", "leave `tls_min_version` out"]),
    ] {
        let (code, _, err) = check(&text);
        assert_eq!(code, 1, "{text}");
        for part in wanted {
            assert!(err.contains(part), "{part} is missing:\n{err}");
        }
    }
    for text in [
        tls(", client_ca: ca.pem, client_crl: crl.pem, min_version: \"1.2\""),
        tls(", min_version: \"1.3\""),
        peer(", ca: ca.pem, crl: crl.pem, client_cert: client.pem, client_key: client.key, tls_min_version: \"1.2\""),
        quic(", client_cert: client.pem, client_key: client.key, tls_min_version: \"1.3\""),
    ] {
        let (code, out, err) = check(&text);
        assert!(code == 0 && err.is_empty(), "{text}: {out}{err}");
    }
}
