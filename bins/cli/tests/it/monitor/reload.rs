//! A configuration that changes under a running node.

use super::http::get;
use super::{Running, at, certificate, node};
use crate::support::{Place, antiphon, free_port, until};

#[test]
fn a_configuration_is_taken_up_whole_or_not_at_all() {
    let [a, b, am, bm] = [(); 4].map(|()| free_port());
    let old = "old-0123456789abcdef0123456789abcdef";
    let new = "new-0123456789abcdef0123456789abcdef";
    let keyed = |text: String| text.replace("federation:\n", "federation:\n  key_file: keys\n");
    let (alphas, bravos) = (keyed(node("alpha", a, am, &[("bravo", at(b))])), keyed(node("bravo", b, bm, &[])));
    let places = [Place::bare(&alphas), Place::bare(&bravos)];
    let put = |place: &Place, keys: &str| std::fs::write(place.dir.path().join("keys"), keys).unwrap();
    let run = |place: &Place, args: &[&str]| {
        let output = antiphon(&place.config).env_remove("ANTIPHON_SHARED_KEY").args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    };
    let mut running = Vec::new();
    for place in &places {
        put(place, old);
        assert_eq!(run(place, &crate::support::INIT).0, 0);
        let log = std::fs::File::create(place.dir.path().join("log")).unwrap();
        let mut command = antiphon(&place.config);
        // Whatever any library has to say: none of it may be a key.
        command.env_remove("ANTIPHON_SHARED_KEY").env("RUST_LOG", "trace").arg("serve").stderr(log);
        running.push(Running(command.spawn().unwrap()));
        until("it serves", || {
            std::os::unix::net::UnixStream::connect(place.dir.path().join("data/antiphon.sock")).ok()
        });
    }
    let [alpha, bravo] = &places;
    let append = |n: &str| {
        let args = ["append", "-t", "t", "-s", n, "-d", "1"];
        assert_eq!(run(bravo, &args).0, 0);
        until("alpha has it", || (run(alpha, &["latest", n]).0 == 0).then_some(()));
    };
    append("before");
    // Both accept both, then both present the new one, then the old one is gone. Nothing is restarted, nothing is missed.
    for keys in [format!("{old}\n{new}\n"), format!("{new}\n{old}\n"), format!("{new}\n")] {
        for place in &places {
            put(place, &keys);
            let (code, out, err) = run(place, &["reload"]);
            assert_eq!(code, 0, "{out}{err}");
        }
        append(&keys.len().to_string());
    }
    // What is bad changes nothing, and says what to do.
    for (bad, says) in [
        (alphas.replace("name: bravo,", "nam: bravo,"), "unknown field"),
        (alphas.replace(&at(b), &format!("{}, ca: missing.pem", at(b))), "missing.pem"),
        (
            alphas.replace(&format!("https: 127.0.0.1:{a}"), &format!("https: 127.0.0.1:{}", b + 1)),
            "listen.https cannot change",
        ),
        (alphas.replace("interval: 1s", "interval: soon"), "soon"),
        (alphas.replace("peers:", "peers: ]"), "antiphon.yaml"),
        (alphas.replace("http://127", "htps://127"), "https://host:port"),
    ] {
        std::fs::write(&alpha.config, bad).unwrap();
        let (code, _, err) = run(alpha, &["reload"]);
        assert!(code == 1 && err.contains(says), "{says}: {err}");
        assert!(get(am, "/status").unwrap().contains("\"peers_total\":1"));
        assert!(get(am, "/metrics").unwrap().contains("antiphon_config_reload_success{cortex=\"alpha\"} 0"), "{says}");
        let told: serde_json::Value = serde_json::from_str(&get(am, "/status").unwrap()).unwrap();
        assert!(told["reload_refused"].as_str().is_some_and(|why| why.contains(says)), "{says}: {told}");
        // The node is not out of reach by it, and whoever asks it learns that its file is bad.
        let (code, out, err) = run(alpha, &["peers", "--json"]);
        let loads = ["missing.pem", "listen.https cannot change", "https://host:port"].contains(&says);
        let told = loads || err.contains("continues with");
        assert!(code == 0 && out.contains("bravo") && told, "{says}: {out}{err}");
    }
    // By signal: the peer goes, and what it writes stays away.
    std::fs::write(&alpha.config, keyed(node("alpha", a, am, &[]))).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(running[0].0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    until("it is not pulled any more", || get(am, "/status").filter(|status| status.contains("\"peers_total\":0")));
    std::fs::write(&alpha.config, &alphas).unwrap();
    assert!(run(alpha, &["reload"]).1.contains("pulled from now on: bravo"));
    append("after");
    std::fs::write(&alpha.config, alphas.replace("interval: 1s", "interval: 7s")).unwrap();
    let (_, out, _) = run(alpha, &["reload"]);
    assert!(out.contains("interval, in seconds: 7"), "{out}");
    for (place, port) in [(alpha, am), (bravo, bm)] {
        let log = std::fs::read_to_string(place.dir.path().join("log")).unwrap();
        let serves_alone = port == bm;
        assert!(serves_alone || log.contains("TRACE"), "it says all that there is to say");
        let shown = ["/metrics", "/", "/status"].map(|path| get(port, path).unwrap()).concat();
        for key in [old, new] {
            assert!(!log.contains(key) && !shown.contains(key), "a key leaked");
        }
    }
}

/// By command, by signal, and never one that peers would refuse.
#[test]
fn a_certificate_is_taken_up_unless_it_is_over() {
    let [a, am] = [(); 2].map(|()| free_port());
    let tls = "  tls: { cert: alpha.pem, key: alpha.key }\n  quic";
    let text = node("alpha", a, am, &[]).replace("listen:\n", &format!("listen:\n{tls}: 127.0.0.1:{a}\n"));
    let alpha = Place::new(&text);
    let put = |until| certificate(&alpha.dir.path().join("alpha.pem"), &alpha.dir.path().join("alpha.key"), until);
    let expiry = || {
        let text = get(am, "/metrics").unwrap();
        let of = text
            .lines()
            .find_map(|line| line.strip_prefix("antiphon_certificate_expiry_timestamp_seconds{cortex=\"alpha\"} "));
        1970 + (of.unwrap().parse::<f64>().unwrap() / 31_556_952.0).round() as i32
    };
    put(2040);
    let serving = alpha.serve();
    assert_eq!(expiry(), 2040);
    assert!(alpha.run(&["reload"]).1.contains("nothing changed"));
    put(2020);
    let (code, out, err) = alpha.run(&["reload"]);
    assert!(code == 1 && err.contains("the certificate expired at 2020"), "{out}{err}");
    assert_eq!(expiry(), 2040, "the one before is shown");
    // As where a deployment gives all files one time: the content counts.
    put(2041);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for file in ["alpha.pem", "alpha.key"] {
        std::fs::File::options().write(true).open(alpha.dir.path().join(file)).unwrap().set_modified(old).unwrap();
    }
    let (code, out, _) = alpha.run(&["reload"]);
    assert!(code == 0 && out.contains("another certificate is shown; it holds until 2041-01-01"), "{out}");
    put(2042);
    assert_eq!(alpha.json(&["reload"])["certificate_changed"], true);
    put(2043);
    serving.signal(nix::sys::signal::Signal::SIGHUP);
    until("a signal does the same", || (expiry() == 2043).then_some(()));
    // One that is over when it starts is told of everywhere; what it can do it does.
    assert_eq!(serving.terminate(), 0);
    put(2020);
    let _again = alpha.serve();
    assert!(alpha.log().contains("is over since 2020-01-01"), "{}", alpha.log());
    let (_, out, _) = alpha.run(&["status"]);
    assert!(out.contains("is over since 2020-01-01"), "{out}");
    let (code, out, _) = alpha.run(&["reload"]);
    assert!(code == 0 && out.contains("nothing changed\nthe certificate in"), "{out}");
}

/// A command overrides the file until a command says the same as the file.
#[test]
fn the_file_counts_again_once_a_command_says_the_same() {
    let [a, am, gone] = [(); 3].map(|()| free_port());
    let with = |mode: &str| node("alpha", a, am, &[("gone", format!("{}, mode: {mode}", at(gone)))]);
    let alpha = Place::new(&with("sync"));
    let serving = alpha.serve();
    let mode = || alpha.json(&["peers"])[0]["mode"].as_str().unwrap().to_owned();
    let put = |mode: &str| {
        std::fs::write(&alpha.config, with(mode)).unwrap();
        let (code, out, err) = alpha.run(&["reload"]);
        assert_eq!(code, 0, "{err}");
        out
    };
    let (_, out, _) = alpha.run(&["pause-peer", "gone"]);
    assert!(out.contains("overrides the file, which says sync"), "{out}");
    let told = put("sync");
    assert!(mode() == "paused" && told.contains("until `antiphon resume-peer gone`"), "{told}");
    alpha.json(&["resume-peer", "gone"]);
    assert_eq!(mode(), "sync");
    put("paused");
    assert_eq!(mode(), "paused", "the file counts");
    // Said by both, and then by the file alone.
    put("sync");
    alpha.json(&["pause-peer", "gone"]);
    put("paused");
    put("sync");
    assert_eq!(mode(), "sync");
    // Of a peer that is not in the file any more nothing is remembered, also where it went while the node was stopped.
    alpha.json(&["pause-peer", "gone"]);
    assert_eq!(serving.terminate(), 0);
    std::fs::write(&alpha.config, node("alpha", a, am, &[])).unwrap();
    let _again = alpha.serve();
    put("sync");
    assert_eq!(mode(), "sync");
    // The same for what the node as a whole does.
    let (_, out, _) = alpha.run(&["set-mode", "publish"]);
    assert!(out.contains("overrides the file, which says sync"), "{out}");
    assert!(put("sync").contains("until it says sync as the file does"));
    let (_, out, _) = alpha.run(&["set-mode", "sync"]);
    assert!(!out.contains("overrides the file"), "{out}");
    assert!(!put("sync").contains("set-mode"));
}

#[test]
fn a_node_starts_with_nothing_that_a_reload_would_refuse() {
    let [a, am] = [(); 2].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[("bravo", "endpoint: \"htps://127.0.0.1:1\"".to_owned())]));
    let (check, serve) = (alpha.run(&["config", "check"]), alpha.run(&["serve"]));
    assert!(check.0 == 1 && check.2.contains("https://host:port"), "{}", check.2);
    assert!(serve.0 == 1 && serve.2.contains("https://host:port"), "{}", serve.2);
}
