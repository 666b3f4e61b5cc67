//! What operators see: scraped by a real Prometheus while peers fare in every way, shown in a real browser, taken up anew.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{KEY, Place, antiphon, event, free_port, until};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a tool is there. `ANTIPHON_REQUIRE_TOOLS=1` says that it must be, as where the project is verified.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("ANTIPHON_REQUIRE_TOOLS").is_none(), "{tool} is missing: run `make setup`");
    if !found {
        eprintln!("skipped: {tool} is missing; `make setup` installs it");
    }
    found
}

/// One request; the answer's body, once the other side closed.
fn http(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 65536];
    // Some servers keep the connection open all the same: what they said they would send counts.
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split("content-length:")
                .nth(1)
                .map(|rest| rest.lines().next().unwrap_or_default().to_owned());
            if length.and_then(|length| length.trim().parse().ok()).is_some_and(|length: usize| body.len() >= length) {
                break;
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}

fn get(port: u16, path: &str) -> Option<String> {
    http(port, "GET", path, "", "").filter(|(status, ..)| *status == 200).map(|(_, _, body)| body)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

struct Prometheus {
    port: u16,
    _process: Running,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes these ports each second, and evaluates the rules that ship.
    fn start(ports: &[u16]) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring/alerts.yml").canonicalize().unwrap();
        let targets: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "antiphon", "static_configs": [{ "targets": targets }] }],
        });
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { port, _process: Running(child), _dir: dir };
        until("prometheus is ready", || get(port, "/-/ready"));
        prometheus
    }

    fn ask(&self, query: &str) -> Vec<(Value, f64)> {
        let answer = get(self.port, &format!("/api/v1/query?query={}", encoded(query))).expect("prometheus answers");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        series.iter().map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    fn value(&self, query: &str) -> Option<f64> {
        self.ask(query).first().map(|(_, value)| *value)
    }

    fn holds(&self, query: &str) -> bool {
        !self.ask(query).is_empty()
    }
}

fn node(name: &str, port: u16, metrics: u16, peers: &[(&str, String)]) -> String {
    let peers: Vec<_> = peers.iter().map(|(name, rest)| format!("    - {{ name: {name}, {rest} }}\n")).collect();
    format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  metrics: 127.0.0.1:{metrics}\n\
         federation:\n  interval: 1s\n  allow_plaintext_loopback: true\n  peers:\n{}",
        if peers.is_empty() { "    []\n".to_owned() } else { peers.concat() }
    )
}

fn at(port: u16) -> String {
    format!("endpoint: \"http://127.0.0.1:{port}\"")
}

#[test]
fn prometheus_tells_every_trouble_from_every_other() {
    if !has("prometheus") {
        return;
    }
    let [a, b, c, gone, resting, am, bm, cm] = [(); 8].map(|()| free_port());
    let bravo = Place::new(&node("bravo", b, bm, &[]));
    let charlie = Place::new(&node("charlie", c, cm, &[]));
    let rests = format!("{}, mode: paused", at(resting));
    let peers = [("bravo", at(b)), ("charlie", at(c)), ("gone", at(gone)), ("rests", rests)];
    let alpha = Place::new(&node("alpha", a, am, &peers));
    let serving_bravo = bravo.serve();
    let other =
        antiphon(&charlie.config).env("ANTIPHON_SHARED_KEY", "x".repeat(40)).arg("serve").stderr(Stdio::null()).spawn();
    let _charlie = Running(other.unwrap());
    let serving_alpha = alpha.serve();
    let prometheus = Prometheus::start(&[am, bm, cm]);
    let is = |peer: &str, state: &str| {
        prometheus.holds(&format!("antiphon_peer_state{{peer=\"{peer}\",state=\"{state}\"}} == 1"))
    };
    assert_eq!(bravo.pipe(&["import"], &event(1)).0, 0);
    until("bravo is live", || is("bravo", "live").then_some(()));
    until("charlie is refused", || is("charlie", "refused").then_some(()));
    until("gone is backing off", || is("gone", "backing_off").then_some(()));
    assert!(is("rests", "paused"));
    assert_eq!(prometheus.value("antiphon_peer_lag_events{peer=\"bravo\"}"), Some(0.0));
    for unknown in ["charlie", "gone", "rests"] {
        assert!(!prometheus.holds(&format!("antiphon_peer_lag_events{{peer=\"{unknown}\"}}")), "{unknown} has a lag");
    }
    assert!(prometheus.holds("antiphon_peer_consecutive_failures{peer=\"charlie\",category=\"auth\"} > 0"));
    assert!(prometheus.holds("antiphon_peer_consecutive_failures{peer=\"gone\",category=\"refused\"} > 0"));
    assert!(!prometheus.holds("antiphon_peer_up{peer=\"rests\"}"));
    assert_eq!(prometheus.value("antiphon_peer_up{peer=\"charlie\"}"), Some(0.0));
    let firing =
        |alert: &str, peer: &str| prometheus.holds(&format!("ALERTS{{alertname=\"{alert}\",peer=\"{peer}\"}}"));
    until("the refusal is an alert", || firing("AntiphonPeerRefused", "charlie").then_some(()));
    until("the silence is an alert", || firing("AntiphonPeerUnreachable", "gone").then_some(()));
    // Each trouble has its own alert, and neither a pause nor health has any.
    until("and no other", || {
        let wrong = [("AntiphonPeerRefused", "gone"), ("AntiphonPeerUnreachable", "rests")];
        let more =
            [("AntiphonPeerUnreachable", "bravo"), ("AntiphonPeerRefused", "bravo"), ("AntiphonPeerRefused", "rests")];
        (!wrong.iter().chain(&more).any(|(alert, peer)| firing(alert, peer))).then_some(())
    });
    every_query_of_the_dashboard_has_an_answer(&prometheus);
    // Killed: within one scrape of the moment when the node knows it, with a slack for a busy machine.
    serving_bravo.kill();
    until("the node knows that bravo is gone", || {
        let peers = alpha.json(&["peers"]);
        let bravo = peers.as_array().unwrap().iter().find(|peer| peer["name"] == "bravo").unwrap().clone();
        (bravo["state"] == "backing_off" && bravo["lag_events"].is_null()).then_some(())
    });
    let knew = Instant::now();
    until("prometheus sees it", || is("bravo", "backing_off").then_some(()));
    assert!(knew.elapsed() < Duration::from_secs(5), "it took {:?}", knew.elapsed());
    until("its lag is unknown", || (!prometheus.holds("antiphon_peer_lag_events{peer=\"bravo\"}")).then_some(()));
    until("bravo's own endpoint is down", || {
        (prometheus.value(&format!("up{{instance=\"127.0.0.1:{bm}\"}}")) == Some(0.0)).then_some(())
    });
    // Back, from a backup of the time before another event: a new epoch, and an alert that says so.
    let copy = bravo.dir.path().join("copy");
    assert_eq!(bravo.run(&["backup", copy.to_str().unwrap()]).0, 0);
    assert_eq!(bravo.run(&["restore", copy.to_str().unwrap()]).0, 0);
    let _bravo = bravo.serve();
    until("the new epoch is seen", || {
        prometheus.holds("antiphon_epoch_change_timestamp_seconds{why=\"restored\"}").then_some(())
    });
    until("it is an alert", || prometheus.holds("ALERTS{alertname=\"AntiphonEpochChanged\"}").then_some(()));
    // However long it would have backed off by now: it tries at once.
    alpha.json(&["pause-peer", "bravo"]);
    alpha.json(&["resume-peer", "bravo"]);
    until("bravo is reachable again", || (is("bravo", "live") || is("bravo", "idle")).then_some(()));
    assert!(!prometheus.holds("antiphon_peer_consecutive_failures{peer=\"bravo\"}"));
    assert!(
        prometheus.holds("antiphon_rejected_total{transport=\"https\",reason=\"key\"} > 0"),
        "charlie turns alpha away"
    );
    // Nothing of all that holds the key.
    for text in
        [get(am, "/metrics").unwrap(), get(am, "/status").unwrap(), get(am, "/").unwrap(), alpha.log(), bravo.log()]
    {
        assert!(!text.contains(KEY), "the key leaked");
    }
    assert_eq!(serving_alpha.terminate(), 0, "open pages do not keep it from stopping");
}

fn every_query_of_the_dashboard_has_an_answer(prometheus: &Prometheus) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
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
        // These nodes have no certificate.
        if query.contains("certificate") {
            prometheus.ask(&query);
            continue;
        }
        until(&query, || prometheus.holds(&query).then_some(()));
    }
}

#[test]
fn the_number_of_series_has_the_documented_bound() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).unwrap();
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
    assert!(text.contains("peer=\"_other\"") && text.contains("antiphon_peers{state=\"paused\"} 4990"), "{series}");
    let page: Value = serde_json::from_str(&get(am, "/status").unwrap()).unwrap();
    assert_eq!((page["peers"].as_array().unwrap().len(), &page["peers_total"]), (200, &json!(5000)));
}

#[test]
fn every_metric_of_a_scrape_is_documented_and_a_page_of_somebody_elses_reads_nothing() {
    let [a, am] = [(); 2].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[]));
    let _alpha = alpha.serve();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).unwrap();
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
    let (status, ..) = http(am, "GET", "/status", "Origin: https://evil.example\r\nX-Rebound: 1\r\n", "").unwrap();
    assert_eq!(status, 200, "its own address is not refused");
    let mut stream = TcpStream::connect(("127.0.0.1", am)).unwrap();
    stream
        .write_all(
            b"GET /status HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\nSec-Fetch-Site: same-origin\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

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
    ] {
        std::fs::write(&alpha.config, bad).unwrap();
        let (code, _, err) = run(alpha, &["reload"]);
        assert!(code == 1 && err.contains(says), "{says}: {err}");
        // Commands read the file as well, so the node itself is asked.
        assert!(get(am, "/status").unwrap().contains("\"peers_total\":1"));
        // What does not read as a configuration at all is refused before the node is asked.
        let refused = get(am, "/metrics").unwrap().contains("antiphon_config_reload_success 0");
        assert_eq!(refused, ["missing.pem", "listen.https cannot change"].contains(&says) || says == "soon", "{says}");
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

#[test]
fn promtool_accepts_the_rules_and_their_cases() {
    if !has("promtool") {
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring");
    for args in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = Command::new("promtool").current_dir(&dir).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

/// A browser, driven by WebDriver.
struct Browser {
    port: u16,
    session: String,
    _driver: Running,
    _dir: tempfile::TempDir,
}

impl Browser {
    fn open(width: u32) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Running(driver.spawn().unwrap());
        until("the driver is ready", || get(port, "/status"));
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--window-size={width},900"),
            &format!("--user-data-dir={}", dir.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": args } } } });
        let mut browser = Self { port, session: String::new(), _driver: driver, _dir: dir };
        browser.session = browser.ask("", &wanted)["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let path = format!(
            "/session{}{path}",
            if self.session.is_empty() { String::new() } else { format!("/{}", self.session) }
        );
        let (_, _, body) =
            http(self.port, "POST", &path, "Content-Type: application/json\r\n", &body.to_string()).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert!(answer["value"]["error"].is_null(), "{answer}");
        answer["value"].clone()
    }

    fn run(&self, script: &str) -> Value {
        self.ask("/execute/sync", &json!({ "script": format!("return {script}"), "args": [] }))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Takes the browser along; the driver alone would leave it behind.
        let _ = http(self.port, "DELETE", &format!("/session/{}", self.session), "", "");
    }
}

#[test]
fn the_status_page_shows_trouble_and_its_end_in_a_browser() {
    if !has("chromedriver") || !has("chromium") {
        return;
    }
    let [a, b, am, bm] = [(); 4].map(|()| free_port());
    let bravo = Place::new(&node("bravo", b, bm, &[]));
    let alpha = Place::new(&node("alpha", a, am, &[("bravo", at(b))]));
    let serving_bravo = bravo.serve();
    let _alpha = alpha.serve();
    let browser = Browser::open(360);
    browser.ask("/url", &json!({ "url": format!("http://127.0.0.1:{am}/") }));
    let state = "document.querySelector('[data-peer=\"bravo\"]')?.dataset.state";
    until("bravo is in step", || {
        browser.run(state).as_str().filter(|state| ["live", "idle"].contains(state)).map(str::to_owned)
    });
    assert_eq!(browser.run("document.body.dataset.connection"), "live");
    assert_eq!(browser.run("document.documentElement.scrollWidth <= innerWidth"), true, "a phone scrolls sideways");
    assert!(browser.run("document.title").as_str().unwrap().contains("alpha"));
    serving_bravo.kill();
    until("the page says so", || (browser.run(state) == "backing_off").then_some(()));
    let told = browser.run("document.querySelector('[data-peer=\"bravo\"]').textContent");
    let told = told.as_str().unwrap();
    assert!(told.contains("refuses the connection") && told.contains("check that the node runs"), "{told}");
    assert!(browser.run("document.querySelector('#verdict').textContent").as_str().unwrap().contains("bravo"));
    let _bravo = bravo.serve();
    until("and that it is back", || {
        (browser.run("document.querySelector('#announce').textContent.includes('reachable again')") == true)
            .then_some(())
    });
    if let Some(file) = std::env::var_os("ANTIPHON_SCREENSHOT") {
        let picture = http(browser.port, "GET", &format!("/session/{}/screenshot", browser.session), "", "").unwrap().2;
        let picture: Value = serde_json::from_str(&picture).unwrap();
        std::fs::write(file, picture["value"].as_str().unwrap()).unwrap();
    }
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let [a, am, gone] = [(); 3].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[("gone", at(gone))]));
    let finding = |findings: &Value, check: &str| {
        let all = findings["findings"].as_array().unwrap();
        all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("{check} is not in {findings}")).clone()
    };
    let diagnose = || {
        let (code, out, _) = alpha.run(&["doctor", "--json"]);
        (code, serde_json::from_str::<Value>(&out).unwrap())
    };
    let (code, found) = diagnose();
    assert_eq!((code, &finding(&found, "node")["level"]), (1, &json!("warn")), "it does not run");
    let peer = finding(&found, "peer gone");
    assert!(peer["level"] == "fail" && peer["remedy"].as_str().unwrap().contains("check that the node runs"), "{peer}");
    assert_eq!(finding(&found, "listen.https")["level"], "ok");
    assert_eq!(alpha.run(&["status", "--check"]).0, 1, "nobody serves");
    let _alpha = alpha.serve();
    assert_eq!(finding(&diagnose().1, "node")["level"], "ok");
    assert_eq!(alpha.run(&["status", "--check"]).0, 0);
    // What cannot be read is the first thing to say.
    std::fs::write(&alpha.config, "node: {").unwrap();
    let (code, found) = diagnose();
    assert_eq!((code, &finding(&found, "configuration")["level"]), (1, &json!("fail")));
}

#[test]
fn unit_manual_and_completions_come_from_the_program() {
    let place = Place::bare("");
    let (code, unit, _) = place.run(&["systemd-unit"]);
    let config = place.config.display().to_string();
    assert!(code == 0 && unit.contains(&format!("--config {config} serve")) && unit.contains("Type=notify"), "{unit}");
    let pages = place.dir.path().join("man");
    assert_eq!(place.run(&["man", "--dir", pages.to_str().unwrap()]).0, 0);
    let page = std::fs::read_to_string(pages.join("antiphon-reload.1")).unwrap();
    assert!(page.contains("read its configuration again"), "{page}");
    assert!(place.run(&["completions", "bash"]).1.contains("doctor"));
}
