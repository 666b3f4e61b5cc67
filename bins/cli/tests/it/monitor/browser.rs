//! The status page in a real browser.

use std::process::{Command, Stdio};

use antiphon_fault_proxy::{Faults, Path, TcpProxy};
use serde_json::{Value, json};

use super::http::{get, http};
use super::{Running, at, node};
use crate::support::{Place, free_port, has, until};

/// A browser, driven by WebDriver.
struct Browser {
    port: u16,
    session: String,
    _driver: Running,
    _dir: tempfile::TempDir,
}

impl Browser {
    fn open() -> Self {
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

    /// A command of Chromium's own protocol.
    fn chromium(&self, command: &str, with: &Value) -> Value {
        self.ask("/goog/cdp/execute", &json!({ "cmd": command, "params": with }))
    }

    /// A phone: the window of a browser cannot be as narrow as that.
    fn as_a_phone(&self) {
        let screen = json!({ "width": 360, "height": 740, "deviceScaleFactor": 3, "mobile": true });
        self.chromium("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// What a screen reader is told: role, name.
    fn spoken(&self) -> Vec<(String, String)> {
        let tree = self.chromium("Accessibility.getFullAXTree", &json!({}));
        let text = |node: &Value, key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().expect("a tree");
        nodes
            .iter()
            .filter(|node| node["ignored"] != true && node["role"]["value"] != "InlineTextBox")
            .map(|node| (text(node, "role"), text(node, "name")))
            .collect()
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let [a, b, c, am, bm, cm] = [(); 6].map(|()| free_port());
    let slow = Faults::symmetric(Path { bytes_per_second: Some(300_000), ..Path::default() });
    let path = runtime.block_on(TcpProxy::start(([127, 0, 0, 1], b).into(), slow, 1)).unwrap();
    let (bravo, charlie) = (Place::new(&node("bravo", b, bm, &[])), Place::new(&node("charlie", c, cm, &[])));
    let alpha = Place::new(&node("alpha", a, am, &[("bravo", at(path.addr().port())), ("charlie", at(c))]));
    let (serving_bravo, _charlie, _alpha) = (bravo.serve(), charlie.serve(), alpha.serve());
    let browser = Browser::open();
    browser.as_a_phone();
    browser.ask("/url", &json!({ "url": format!("http://127.0.0.1:{am}/") }));
    let state = "document.querySelector('[data-peer=\"bravo\"]')?.dataset.state";
    until("bravo is in step", || {
        browser.run(state).as_str().filter(|state| ["live", "idle"].contains(state)).map(str::to_owned)
    });
    assert_eq!(browser.run("document.body.dataset.connection"), "live");
    assert_eq!(browser.run("[innerWidth, document.documentElement.scrollWidth]"), json!([360, 360]), "no sideways");
    let outside =
        "performance.getEntriesByType('resource').filter(one => !one.name.startsWith(location.origin)).length";
    assert_eq!(browser.run(outside), 0, "it asks nobody else");
    // Bright by day, dark where that is wished, and both readable: text against its ground.
    for (scheme, dark) in [("light", false), ("dark", true)] {
        let wish = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.chromium("Emulation.setEmulatedMedia", &json!({ "features": wish }));
        let shown = browser.run(
            "(() => { const luminance = color => { const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(v => v / 255)
                .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
              const style = getComputedStyle(document.body), ground = luminance(getComputedStyle(document.documentElement)
                .backgroundColor.replace('rgba(0, 0, 0, 0)', style.backgroundColor)), text = luminance(style.color);
              const bright = Math.max(ground, text), dim = Math.min(ground, text);
              return [ground, (bright + .05) / (dim + .05)]; })()",
        );
        let (ground, contrast) = (shown[0].as_f64().unwrap(), shown[1].as_f64().unwrap());
        assert!((ground < 0.1) == dark && (ground > 0.8) != dark && contrast >= 7.0, "{scheme}: {shown}");
    }
    // A screen reader finds its way: headings, a list of peers, and the lag of the last minutes in words.
    let spoken = browser.spoken();
    let says = |role: &str, name: &str| spoken.iter().any(|(one, text)| one == role && text.contains(name));
    for (role, name) in [
        ("heading", "alpha"),
        ("heading", "2 peers"),
        ("list", "2 peers"),
        ("status", ""),
        ("heading", "bravo"),
        ("image", "lag over"),
        ("main", ""),
        ("navigation", "On this page"),
    ] {
        assert!(says(role, name), "{role} {name}: {spoken:?}");
    }
    // It writes more than its road takes at once, and is caught up with: a line that goes up, and down again.
    let line = |n| {
        format!("{{\"specversion\":\"1.0\",\"type\":\"t\",\"subject\":\"{n}\",\"data\":\"{}\"}}\n", "x".repeat(10_000))
    };
    let lines: String = (0..400).map(line).collect();
    let mut polls = 0;
    until("its lag is drawn", || {
        // Again after some time: a machine that imports slowly may have no lag at the moments that the page looks.
        if polls % 300 == 0 {
            assert_eq!(bravo.pipe(&["import"], &lines).0, 0);
        }
        polls += 1;
        let drawn = "document.querySelector('[data-peer=\"bravo\"] .spark path:last-of-type').getAttribute('d')";
        let line = browser.run(drawn).as_str()?.replace(['M', 'L', 'h'], ",");
        let heights: Vec<f64> = line.split(',').filter_map(|point| point.split_once(' ')?.1.parse().ok()).collect();
        (heights.contains(&2.0) && heights.last() == Some(&22.0)).then_some(())
    });
    serving_bravo.kill();
    until("the page says so", || (browser.run(state) == "backing_off").then_some(()));
    let told = browser.run("document.querySelector('[data-peer=\"bravo\"]').textContent");
    let told = told.as_str().unwrap();
    assert_eq!(browser.run("document.documentElement.scrollWidth"), 360, "a long reason wraps");
    // Behind a proxy that still listens, nobody answers.
    assert!(told.contains("broke the connection") || told.contains("ended its answer early"), "{told}");
    assert!(told.contains("look at the peer's log"), "{told}");
    let pinned = alpha.json(&["peers"])[0]["cortex_id"].as_str().unwrap().to_owned();
    assert!(told.contains(&format!("pinned: {pinned}")), "{told}");
    if let Some(file) = std::env::var_os("ANTIPHON_SCREENSHOT") {
        let whole = json!({ "width": 360, "height": 980, "deviceScaleFactor": 2, "mobile": true });
        browser.chromium("Emulation.setDeviceMetricsOverride", &whole);
        let picture = browser.chromium("Page.captureScreenshot", &json!({}));
        std::fs::write(file, picture["data"].as_str().unwrap()).unwrap();
    }
    assert!(browser.run("document.querySelector('#verdict').textContent").as_str().unwrap().contains("bravo"));
    let _bravo = bravo.serve();
    until("and that it is back", || {
        (browser.run("document.querySelector('#announce').textContent.includes('reachable again')") == true)
            .then_some(())
    });
}
