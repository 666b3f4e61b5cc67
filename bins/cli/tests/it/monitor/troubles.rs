//! Each trouble of a peer has a state, a lag and an alert of its own.

use std::path::Path as File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use antiphon_fault_proxy::{Faults, Path, TcpProxy};
use serde_json::Value;

use super::http::get;
use super::prometheus::Prometheus;
use super::{Running, at, node};
use crate::forks::copy;
use crate::support::{Place, antiphon, event, free_port, has, until};

#[test]
fn prometheus_tells_every_trouble_from_every_other() {
    if !has("prometheus") {
        return;
    }
    let [a, b, c, d, gone, resting, am, bm, cm, dm] = [(); 10].map(|()| free_port());
    let bravo = Place::new(&node("bravo", b, bm, &[]));
    let charlie = Place::new(&node("charlie", c, cm, &[]));
    // With one that stays well the node is never cut off from all. That one is reached over QUIC.
    let delta = Place::new(&over_quic(&node("delta", d, dm, &[]), d));
    let dir = delta.dir.path().display().to_string();
    let (code, _, err) = delta.run(&["dev-certs", "--dir", &dir, "node"]);
    assert_eq!(code, 0, "{err}");
    let to_delta = format!("endpoint: \"quic://localhost:{d}\", ca: \"{dir}/ca.pem\"");
    let rests = format!("{}, mode: paused", at(resting));
    let peers = [("bravo", at(b)), ("charlie", at(c)), ("delta", to_delta), ("gone", at(gone)), ("rests", rests)];
    let alpha = Place::new(&node("alpha", a, am, &peers));
    let (serving_bravo, _delta) = (bravo.serve(), delta.serve());
    let wrong_key = || {
        antiphon(&charlie.config).env("ANTIPHON_SHARED_KEY", "x".repeat(40)).arg("serve").stderr(Stdio::null()).spawn()
    };
    let stranger = Running(wrong_key().unwrap());
    let serving_alpha = alpha.serve();
    let prometheus = Prometheus::start_in_a_hurry(&[am, bm, cm, dm]);
    let is = |peer: &str, state: &str| {
        prometheus.holds(&format!("antiphon_peer_state{{peer=\"{peer}\",state=\"{state}\"}} == 1"))
    };
    assert_eq!(bravo.pipe(&["import"], &event(1)).0, 0);
    until("bravo is live", || is("bravo", "live").then_some(()));
    until("charlie is refused", || is("charlie", "rejected").then_some(()));
    until("gone is backing off", || is("gone", "backing_off").then_some(()));
    assert!(is("rests", "paused"));
    assert_eq!(prometheus.value("antiphon_peer_lag_events{peer=\"bravo\"}"), Some(0.0));
    for unknown in ["charlie", "gone", "rests"] {
        assert!(!prometheus.holds(&format!("antiphon_peer_lag_events{{peer=\"{unknown}\"}}")), "{unknown} has a lag");
    }
    assert!(prometheus.holds("antiphon_peer_consecutive_failures{peer=\"charlie\",category=\"auth\"} > 0"));
    assert!(prometheus.holds("antiphon_peer_consecutive_failures{peer=\"gone\",category=\"connection_refused\"} > 0"));
    assert!(!prometheus.holds("antiphon_peer_up{peer=\"rests\"}"));
    assert_eq!(prometheus.value("antiphon_peer_up{peer=\"charlie\"}"), Some(0.0));
    // Each trouble has its own alert, which fires, and neither a pause nor health has any.
    until("each has its alert, and no other", || {
        let own = ["charlie: AntiphonPeerRejected", "gone: AntiphonPeerUnreachable"];
        (fires(&prometheus, am) == own).then_some(())
    });
    every_query_of_the_dashboard_has_an_answer(&prometheus);
    // With the right key, and then with a wrong one again: within one scrape of the moment when the node knows it, with a slack
    // for a busy machine.
    let state_of = |name: &str| {
        let peers = alpha.json(&["peers"]);
        peers.as_array().unwrap().iter().find(|peer| peer["name"] == name).unwrap()["state"].clone()
    };
    drop(stranger);
    let same_key = charlie.serve();
    alpha.json(&["pause-peer", "charlie"]);
    alpha.json(&["resume-peer", "charlie"]);
    until("charlie is in step", || (is("charlie", "idle") && fires(&prometheus, am).len() == 1).then_some(()));
    same_key.kill();
    let _stranger = Running(wrong_key().unwrap());
    until("alpha knows that charlie refuses it", || (state_of("charlie") == "rejected").then_some(()));
    let knew = Instant::now();
    whoever_scrapes_now_is_told(am, "charlie", "rejected");
    until("prometheus sees it", || is("charlie", "rejected").then_some(()));
    assert!(knew.elapsed() < Duration::from_secs(5), "it took {:?}", knew.elapsed());
    assert!(!prometheus.holds("antiphon_peer_lag_events{peer=\"charlie\"}"), "a lag of whom nothing is heard");
    serving_bravo.kill();
    until("the node knows that bravo is gone", || {
        let peers = alpha.json(&["peers"]);
        let bravo = peers.as_array().unwrap().iter().find(|peer| peer["name"] == "bravo").unwrap().clone();
        (bravo["state"] == "backing_off" && bravo["lag_events"].is_null()).then_some(())
    });
    let knew = Instant::now();
    whoever_scrapes_now_is_told(am, "bravo", "backing_off");
    until("prometheus sees it", || is("bravo", "backing_off").then_some(()));
    assert!(knew.elapsed() < Duration::from_secs(5), "it took {:?}", knew.elapsed());
    until("its lag is unknown", || (!prometheus.holds("antiphon_peer_lag_events{peer=\"bravo\"}")).then_some(()));
    until("bravo's own endpoint is down", || {
        (prometheus.value(&format!("up{{instance=\"127.0.0.1:{bm}\"}}")) == Some(0.0)).then_some(())
    });
    until("that it is gone fires, for the node and for whoever pulls it", || {
        let down =
            format!("ALERTS{{alertname=\"AntiphonNodeDown\",alertstate=\"firing\",instance=\"127.0.0.1:{bm}\"}}");
        let fired = fires(&prometheus, am).contains(&"bravo: AntiphonPeerUnreachable".to_owned());
        (fired && prometheus.holds(&down)).then_some(())
    });
    // Back, from a backup of the time before another event: a new epoch, and no alert, since an operator did it on purpose.
    let copy = bravo.dir.path().join("copy");
    assert_eq!(bravo.run(&["backup", copy.to_str().unwrap()]).0, 0);
    assert_eq!(bravo.run(&["restore", copy.to_str().unwrap()]).0, 0);
    let _bravo = bravo.serve();
    until("the new epoch is seen", || {
        prometheus.holds("antiphon_epoch_change_timestamp_seconds{why=\"restored\"}").then_some(())
    });
    // However long it would have backed off by now: it tries at once.
    alpha.json(&["pause-peer", "bravo"]);
    alpha.json(&["resume-peer", "bravo"]);
    until("bravo is reachable again", || (is("bravo", "live") || is("bravo", "idle")).then_some(()));
    assert!(!prometheus.holds("antiphon_peer_consecutive_failures{peer=\"bravo\"}"));
    assert!(
        prometheus.holds("antiphon_rejected_total{transport=\"https\",reason=\"key\"} > 0"),
        "charlie turns alpha away"
    );
    assert_eq!(serving_alpha.terminate(), 0, "open pages do not keep it from stopping");
}

/// What the node knows is in the next scrape, whenever that comes: so it is with Prometheus within one interval. A lag is not.
fn whoever_scrapes_now_is_told(metrics: u16, peer: &str, state: &str) {
    let text = get(metrics, "/metrics").unwrap();
    assert!(
        text.contains(&format!("antiphon_peer_state{{cortex=\"alpha\",peer=\"{peer}\",state=\"{state}\"}} 1\n")),
        "{text}"
    );
    for unit in ["events", "seconds"] {
        assert!(!text.contains(&format!("antiphon_peer_lag_{unit}{{cortex=\"alpha\",peer=\"{peer}\"}}")), "{text}");
    }
}

/// The same node with a certificate of its own, listening for QUIC too.
fn over_quic(text: &str, port: u16) -> String {
    let more = format!("listen:\n  tls: {{ cert: node.pem, key: node.key }}\n  quic: 127.0.0.1:{port}\n");
    text.replace("listen:\n", &more)
}

fn every_query_of_the_dashboard_has_an_answer(prometheus: &Prometheus) {
    let file = File::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    // What its variables offer to choose from, `label_values(metric, label)`.
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let asked = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')?.split_once(", "));
        let (metric, label) = asked.expect("it has one shape");
        assert!(prometheus.holds(&format!("count by ({label}) ({metric}{{{label}!=\"\"}})")), "{query}");
    }
    let queries: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query.replace("$instance", ".*").replace("$peer", ".*").replace("$__rate_interval", "1m")
        })
        .collect();
    assert!(queries.len() > 20);
    for query in queries {
        until(&query, || prometheus.holds(&query).then_some(()));
    }
}

/// Every alert that fires on this instance and names a peer, as `peer: alert`.
fn fires(prometheus: &Prometheus, metrics: u16) -> Vec<String> {
    let query = format!("ALERTS{{alertstate=\"firing\",instance=\"127.0.0.1:{metrics}\",peer!=\"\"}}");
    let name = |series: &Value, label: &str| series[label].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = prometheus
        .ask(&query)
        .iter()
        .map(|(series, _)| format!("{}: {}", name(series, "peer"), name(series, "alertname")))
        .collect();
    found.sort();
    found
}

#[test]
fn a_partition_a_slow_path_and_a_silent_rollback_are_told_apart() {
    if !has("prometheus") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let [a, b, c, am, bm, cm] = [(); 6].map(|()| free_port());
    let path_to = |port: u16| {
        let started = TcpProxy::start(([127, 0, 0, 1], port).into(), Faults::default(), 1);
        runtime.block_on(started).unwrap()
    };
    let (to_bravo, to_charlie) = (path_to(b), path_to(c));
    let bravo = Place::new(&node("bravo", b, bm, &[("alpha", at(a))]));
    let charlie = Place::new(&node("charlie", c, cm, &[]));
    let peers = [("bravo", at(to_bravo.addr().port())), ("charlie", at(to_charlie.addr().port()))];
    let alpha = Place::new(&node("alpha", a, am, &peers));
    let (serving_bravo, _charlie, _alpha) = (bravo.serve(), charlie.serve(), alpha.serve());
    let prometheus = Prometheus::start_in_a_hurry(&[am, bm, cm]);
    let lines = |from, to| (from..to).map(event).collect::<String>();
    assert_eq!(bravo.pipe(&["import"], &lines(0, 10)).0, 0);
    let mine = format!("instance=\"127.0.0.1:{am}\"");
    let of = |peer: &str| format!("{mine},peer=\"{peer}\"");
    let is = |peer: &str, state: &str| {
        prometheus.holds(&format!("antiphon_peer_state{{{},state=\"{state}\"}} == 1", of(peer)))
    };
    let lag = |peer: &str, unit: &str| prometheus.value(&format!("antiphon_peer_lag_{unit}{{{}}}", of(peer)));
    let well = |peer: &str| {
        let caught_up = (is(peer, "live") || is(peer, "idle")) && lag(peer, "events") == Some(0.0);
        (caught_up && lag(peer, "seconds") == Some(0.0)).then_some(())
    };
    let mended = |what: &str| {
        until(&format!("{what}: both are well again"), || well("bravo").and_then(|()| well("charlie")));
        until(&format!("{what}: no alert is left"), || fires(&prometheus, am).is_empty().then_some(()));
    };
    mended("at first");

    // Nothing passes on the way to bravo, and little on the way to charlie, who writes more than that.
    to_bravo.set(Faults::symmetric(Path { blackhole: true, ..Path::default() }));
    to_charlie.set(Faults::symmetric(Path { bytes_per_second: Some(300_000), ..Path::default() }));
    let mut written = 0;
    let mut write = || {
        let data = "x".repeat(10_000);
        let line =
            |n| format!("{{\"specversion\":\"1.0\",\"type\":\"t\",\"subject\":\"c/{n}\",\"data\":\"{data}\"}}\n");
        let (code, _, err) = charlie.pipe(&["import"], &(written..written + 20).map(line).collect::<String>());
        assert_eq!(code, 0, "{err}");
        written += 20;
    };
    let state_of = |name: &str| {
        let peers = alpha.json(&["peers"]);
        peers.as_array().unwrap().iter().find(|peer| peer["name"] == name).unwrap()["state"].clone()
    };
    let silent = Instant::now();
    until("a lag of nothing is not claimed while nothing is heard", || {
        write();
        lag("bravo", "events").is_none().then_some(())
    });
    // An answer was due after a second, and is overdue after ten more.
    assert!(silent.elapsed() < Duration::from_secs(17), "it took {:?}", silent.elapsed());
    until("alpha knows that bravo is silent", || {
        write();
        (state_of("bravo") == "backing_off").then_some(())
    });
    let knew = Instant::now();
    whoever_scrapes_now_is_told(am, "bravo", "backing_off");
    until("prometheus sees it", || is("bravo", "backing_off").then_some(()));
    assert!(knew.elapsed() < Duration::from_secs(5), "it took {:?}", knew.elapsed());
    assert_eq!((lag("bravo", "events"), lag("bravo", "seconds")), (None, None));
    let failures = |category: &str| {
        prometheus.holds(&format!("antiphon_peer_consecutive_failures{{{},category=\"{category}\"}} > 0", of("bravo")))
    };
    assert!(failures("timeout") && !failures("connection_refused"), "silent is not gone");
    let bravo_up = prometheus.value(&format!("up{{instance=\"127.0.0.1:{bm}\"}}"));
    assert_eq!(bravo_up, Some(1.0), "it runs, and says so itself");
    until("alpha knows that charlie is ahead", || {
        write();
        (state_of("charlie") == "catching_up").then_some(())
    });
    let knew = Instant::now();
    until("prometheus sees it", || {
        write();
        is("charlie", "catching_up").then_some(())
    });
    assert!(knew.elapsed() < Duration::from_secs(5), "it took {:?}", knew.elapsed());
    until("charlie is behind, by a known measure", || {
        write();
        (is("charlie", "catching_up") && lag("charlie", "events")? > 0.0 && lag("charlie", "seconds")? > 5.0)
            .then_some(())
    });
    assert_eq!(prometheus.value(&format!("antiphon_peer_up{{{}}}", of("charlie"))), Some(1.0));
    let slow = ["charlie: AntiphonPeerLagGrowing", "charlie: AntiphonPeerLagHigh"];
    // What takes a minute elsewhere is a second here, but a silence is noticed no sooner for it: so other alerts may pass by.
    until("each has its own alert, and no other", || {
        write();
        let found = fires(&prometheus, am);
        let (bravos, charlies): (Vec<_>, Vec<_>) = found.iter().partition(|one| one.starts_with("bravo"));
        let slowly = !charlies.is_empty() && charlies.iter().all(|one| slow.contains(&one.as_str()));
        (bravos == ["bravo: AntiphonPeerUnreachable"] && slowly).then_some(())
    });
    for path in [&to_bravo, &to_charlie] {
        path.set(Faults::default());
    }
    mended("the ways are clear");
    assert!(!failures("timeout"));

    // As a snapshot of bravo's whole machine, taken up again.
    assert_eq!(serving_bravo.terminate(), 0);
    let (data, saved) = (bravo.dir.path().join("data"), bravo.dir.path().join("saved"));
    copy(&data.join("db"), &saved.join("db"));
    std::fs::copy(data.join("HEAD"), saved.join("HEAD")).unwrap();
    let serving_bravo = bravo.serve();
    assert_eq!(bravo.pipe(&["import"], &lines(10, 15)).0, 0);
    let held = until("alpha has them", || {
        let status = alpha.json(&["status"]);
        (status["events"] == bravo.json(&["status"])["events"]).then(|| status["events"].clone())
    });
    serving_bravo.kill();
    std::fs::remove_dir_all(data.join("db")).unwrap();
    copy(&saved.join("db"), &data.join("db"));
    std::fs::rename(saved.join("HEAD"), data.join("HEAD")).unwrap();
    assert_eq!(bravo.json(&["status"])["epoch_change"], Value::Null, "it cannot know yet");
    let _bravo = bravo.serve();
    let at_bravo = format!("instance=\"127.0.0.1:{bm}\"");
    until("it learns it from alpha", || {
        prometheus
            .holds(&format!("antiphon_epoch_change_timestamp_seconds{{{at_bravo},why=\"rolled_back\"}}"))
            .then_some(())
    });
    until("it is an alert", || {
        let alert = "alertname=\"AntiphonEpochChanged\",alertstate=\"firing\",why=\"rolled_back\"";
        prometheus.holds(&format!("ALERTS{{{at_bravo},{alert}}}")).then_some(())
    });
    let knew = Instant::now();
    until("alpha is in step with what bravo is now, in Prometheus' eyes as well", || well("bravo"));
    assert!(knew.elapsed() < Duration::from_secs(20), "it took {:?}", knew.elapsed());
    until("nothing is lost", || (bravo.json(&["status"])["events"] == held).then_some(()));
    mended("the rollback");
    assert!(!prometheus.holds(&format!("antiphon_forks{{{mine}}} > 0")));
}
