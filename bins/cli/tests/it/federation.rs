//! Three processes, one of them killed while events stream in: over HTTPS, over QUIC, and mixed.

use crate::support::{Place, event, free_port, until};

/// Three nodes that pull each other; `scheme` says how a node of this number is reached.
pub(crate) fn mesh(scheme: fn(usize) -> &'static str) -> Vec<Place> {
    let names = ["alpha", "bravo", "charlie"];
    let ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
    let certs = tempfile::tempdir().unwrap().keep();
    let first = Place::bare("node: { name: alpha, data_dir: data }\n");
    let (code, _, err) = first.run(&["dev-certs", "--dir", certs.to_str().unwrap(), "alpha", "bravo", "charlie"]);
    assert_eq!(code, 0, "{err}");
    let places = names.iter().zip(&ports).map(|(name, port)| {
        let others = names.iter().zip(&ports).enumerate().filter(|(_, (peer, _))| peer != &name);
        let peers: String = others
            .map(|(at, (peer, port))| {
                let scheme = scheme(at);
                format!("    - {{ name: {peer}, endpoint: \"{scheme}://127.0.0.1:{port}\", ca: certs/ca.pem }}\n")
            })
            .collect();
        let place = Place::bare(&format!(
            "node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  quic: 127.0.0.1:{port}\n  tls: {{ cert: certs/{name}.pem, key: certs/{name}.key }}\nfederation:\n  interval: 1s\n  peers:\n{peers}"
        ));
        let own = place.dir.path().join("certs");
        std::fs::create_dir(&own).unwrap();
        for entry in std::fs::read_dir(&certs).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
        }
        let (code, _, err) = place.run(&crate::support::INIT);
        assert_eq!(code, 0, "{err}");
        place
    });
    let places = places.collect();
    std::fs::remove_dir_all(certs).unwrap();
    places
}

#[test]
fn three_processes_converge_over_https_although_one_is_killed() {
    converge_although_one_is_killed(&mesh(|_| "https"));
}

#[test]
fn three_processes_converge_over_quic_although_one_is_killed() {
    converge_although_one_is_killed(&mesh(|_| "quic"));
}

#[test]
fn three_processes_converge_over_both_although_one_is_killed() {
    converge_although_one_is_killed(&mesh(|at| if at == 1 { "https" } else { "quic" }));
}

fn converge_although_one_is_killed(places: &[Place]) {
    let mut serving: Vec<_> = places.iter().map(|place| Some(place.serve())).collect();
    let events: String = (0..3000).map(event).collect();
    std::thread::scope(|scope| {
        let imports = scope.spawn(|| places[0].pipe(&["import"], &events));
        until("bravo has some", || places[1].json(&["status"])["events"].as_u64().filter(|&n| n > 0));
        serving[1].take().unwrap().kill();
        serving[1] = Some(places[1].serve());
        let (code, out, err) = imports.join().unwrap();
        assert!(code == 0 && out.contains("3000 events imported"), "{out}{err}");
    });
    places[2].json(&["append", "-t", "from.charlie"]);
    until("3001 events everywhere", || {
        let all: Vec<_> = places.iter().map(|place| place.json(&["status"])).collect();
        let done = all
            .iter()
            .all(|s| s["events"] == 3001 && s["digest"] == all[0]["digest"] && s["replayers"][0]["position"] == 3001);
        done.then_some(())
    });
    // Which peer an asker is shows once that was pinned.
    until("both pull alpha, each from an address of its own", || {
        let status = places[0].json(&["status"]);
        let pulled_by = status["pulled_by"].as_array().unwrap();
        let names: Vec<_> = pulled_by.iter().map(|puller| puller["peer"].as_str()).collect();
        let local = |puller: &serde_json::Value| puller["address"].as_str().unwrap().starts_with("127.0.0.1:");
        (names == [Some("bravo"), Some("charlie")] && pulled_by.iter().all(local)).then_some(())
    });
    let shown = places[0].run(&["status"]);
    assert!(shown.1.contains("pulled by bravo from 127.0.0.1:"), "{shown:?}");
    for node in serving.into_iter().flatten() {
        assert_eq!(node.terminate(), 0);
    }
    for place in places {
        let (code, out, err) = place.run(&["verify"]);
        assert!(code == 0 && out.starts_with("clean: 3001 events"), "{out}{err}");
        assert!(!place.log().contains(crate::support::KEY), "the key is never logged");
    }
}

#[test]
fn a_peer_that_stops_in_order_is_no_warning() {
    let schemes: [fn(usize) -> &'static str; 2] = [|_| "https", |_| "quic"];
    for scheme in schemes {
        let places = mesh(scheme);
        let (alpha, bravo) = (&places[0], &places[1]);
        let stopping = bravo.serve();
        let _alpha = alpha.serve();
        until("alpha has caught up with bravo", || {
            let bravo = alpha.json(&["peers"])[0].clone();
            (bravo["phase"] == "live").then_some(())
        });
        assert_eq!(stopping.terminate(), 0);
        let logged = |text: &str| until(text, || alpha.log().contains(text).then_some(()));
        logged("peer bravo takes no questions now");
        logged("peer bravo stopped and ");
        let _bravo = bravo.serve();
        logged("peer bravo reachable again");
        let log = alpha.log();
        let warned = log.lines().find(|line| line.contains("WARN") && line.contains("bravo"));
        assert_eq!(warned, None, "{}", scheme(1));
    }
}
