//! A configuration that changes under a running node.

use super::http::get;
use super::{Running, at, node};
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
        assert_eq!(run(place, &["init"]).0, 0);
        let log = std::fs::File::create(place.dir.path().join("log")).unwrap();
        let child = antiphon(&place.config).env_remove("ANTIPHON_SHARED_KEY").arg("serve").stderr(log).spawn().unwrap();
        running.push(Running(child));
        until("it serves", || {
            std::os::unix::net::UnixStream::connect(place.dir.path().join("data/antiphon.sock")).ok()
        });
    }
    let [alpha, bravo] = &places;
    let append = |n: &str| {
        let args = ["append", "-t", "t", "-s", n, "-d", "1"];
        assert_eq!(run(bravo, &args).0, 0);
        until("alpha has it", || (run(alpha, &["view", n]).0 == 0).then_some(()));
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
        assert!(get(am, "/metrics").unwrap().contains("antiphon_config_reload_success 0"), "{says}");
        // The node is not out of reach by it, and whoever asks it learns that its file is bad.
        let (code, out, err) = run(alpha, &["peers", "--json"]);
        let loads = ["missing.pem", "listen.https cannot change", "https://host:port"].contains(&says);
        let told = loads || err.contains("goes on with");
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
    let log = std::fs::read_to_string(alpha.dir.path().join("log")).unwrap();
    assert!(!log.contains(old) && !log.contains(new), "a key leaked");
}
