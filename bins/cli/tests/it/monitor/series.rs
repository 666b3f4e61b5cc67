//! How many series there are, and that each is documented.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use antiphon_fault_proxy::{Faults, TcpProxy};
use serde_json::{Value, json};

use super::http::{get, http};
use super::{at, node};
use crate::support::{Place, free_port, until};

#[test]
fn the_number_of_series_has_the_documented_bound() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md")).unwrap();
    let total = docs.lines().find(|line| line.starts_with("| at most, in all")).expect("the table has a sum");
    let bound: usize = total.split('|').nth(4).unwrap().trim().parse().unwrap();
    let [a, am] = [(); 2].map(|()| free_port());
    let long = "x".repeat(60);
    let peers: Vec<_> = (0..5000)
        .map(|n| {
            (
                format!("{long}{n:04}"),
                format!("endpoint: \"http://127.0.0.1:9/{n}\", mode: {}", if n % 500 == 0 { "sync" } else { "paused" }),
            )
        })
        .collect();
    let peers: Vec<_> = peers.iter().map(|(name, rest)| (name.as_str(), rest.clone())).collect();
    let alpha = Place::new(&node("alpha", a, am, &peers));
    let _alpha = alpha.serve();
    let text = until("a scrape", || get(am, "/metrics"));
    let series = text.lines().filter(|line| line.starts_with("antiphon_")).count();
    assert!(series > 1000 && series <= bound, "{series} series, and at most {bound} are documented");
    assert!(
        text.contains("peer=\"_other\"") && text.contains("antiphon_peers{cortex=\"alpha\",state=\"paused\"} 4990"),
        "{series}"
    );
    let page: Value = serde_json::from_str(&get(am, "/status").unwrap()).unwrap();
    assert_eq!((page["peers"].as_array().unwrap().len(), &page["peers_total"]), (200, &json!(5000)));
}

#[test]
fn every_metric_of_a_scrape_is_documented_and_a_page_of_somebody_elses_reads_nothing() {
    let [a, am] = [(); 2].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[]));
    let _alpha = alpha.serve();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md")).unwrap();
    let text = until("a scrape", || get(am, "/metrics"));
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.len() > 20);
    for family in families.iter().filter(|family| !family.starts_with("process_")) {
        assert!(docs.contains(&format!("| `{family}`")), "{family} is not documented");
    }
    let mut unique = families.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), families.len(), "a family stands twice");
    for (origin, expected) in [(format!("http://127.0.0.1:{am}"), 200), ("https://evil.example".to_owned(), 403)] {
        let (status, ..) = http(am, "GET", "/status", &format!("Origin: {origin}\r\n"), "").unwrap();
        assert_eq!(status, expected, "{origin}");
    }
    let mut stream = TcpStream::connect(("127.0.0.1", am)).unwrap();
    stream.write_all(b"GET /status HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

/// Pages that stay open hold a connection each; whoever opens many must not keep Prometheus out from the same address.
#[test]
fn pages_that_stay_open_leave_room_for_prometheus() {
    let [a, am] = [(); 2].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[]));
    let _alpha = alpha.serve();
    let mut pages = Vec::new();
    let mut codes = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(("127.0.0.1", am)).unwrap();
        let head = format!("GET /status/events HTTP/1.1\r\nHost: 127.0.0.1:{am}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        codes.push(String::from_utf8_lossy(&begin[9..]).into_owned());
        // One that was refused does not stay.
        if begin.ends_with(b"200") {
            pages.push(stream);
        }
        assert!(get(am, "/metrics").is_some(), "shut out after {codes:?}");
    }
    assert_eq!((pages.len(), codes.iter().filter(|code| *code == "503").count()), (16, 44), "{codes:?}");
    drop(pages);
    until("there is room again", || {
        let mut stream = TcpStream::connect(("127.0.0.1", am)).ok()?;
        let head = format!("GET /status/events HTTP/1.1\r\nHost: 127.0.0.1:{am}\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).ok()?;
        begin.ends_with(b"200").then_some(())
    });
}

/// As behind a balancer, or after a machine was replaced: whoever answers, there is one peer, under the name that was configured.
#[test]
fn two_cortexes_behind_one_name_are_one_peer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let [a, b, c, am, bm, cm] = [(); 6].map(|()| free_port());
    let path = runtime.block_on(TcpProxy::start(([127, 0, 0, 1], b).into(), Faults::default(), 1)).unwrap();
    let (bravo, charlie) = (Place::new(&node("bravo", b, bm, &[])), Place::new(&node("charlie", c, cm, &[])));
    let alpha = Place::new(&node("alpha", a, am, &[("pair", at(path.addr().port()))]));
    let _serving = [bravo.serve(), charlie.serve(), alpha.serve()];
    let known = |state: &str, failure: &str| {
        until(state, || {
            let text = get(am, "/metrics")?;
            let shows = |line: &str| text.lines().any(|one| one.starts_with(line));
            let is = shows(&format!("antiphon_peer_state{{cortex=\"alpha\",peer=\"pair\",state=\"{state}\"}} 1"));
            (is && (failure.is_empty() || shows(failure))).then_some(text)
        })
    };
    let names = |text: &str| -> BTreeSet<String> {
        let of_peers = text.lines().filter_map(|line| line.split_once("peer=\"")?.1.split('"').next());
        of_peers.map(str::to_owned).collect()
    };
    // Quiet from the beginning: nothing was ever appended.
    let one = known("idle", "");
    path.set_upstream(([127, 0, 0, 1], c).into());
    path.reset_all();
    let failure = "antiphon_peer_consecutive_failures{cortex=\"alpha\",peer=\"pair\",category=\"identity\"}";
    let other = known("rejected", failure);
    assert_eq!(names(&one), ["_unknown", "pair"].map(str::to_owned).into());
    assert_eq!(names(&other), names(&one), "no cortex id, no address and no name that a peer gives itself is a label");
}
