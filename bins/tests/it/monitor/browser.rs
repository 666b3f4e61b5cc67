//! The status page in a real browser.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::http::{get, http};
use super::{Running, at, has, node};
use crate::support::{Place, free_port, until};

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
