//! A node of one's own: `bins/node/examples/custom_node.rs` as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::http::get;
use super::prometheus::Prometheus;
use super::{Running, node};
use crate::support::{KEY, Place, event, free_port, has, outcome, until};

/// The example's program. A run of all tests has built it already; a run of this test alone has not.
fn program() -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_antiphon")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "-q", "--workspace", "--example", "custom_node", "--target-dir"])
        .arg(programs.parent().unwrap())
        .status();
    assert!(built.unwrap().success(), "the example does not build");
    programs.join("examples").join("custom_node")
}

#[test]
fn a_node_of_ones_own_serves_is_scraped_and_reloads() {
    let program = program();
    let [a, am] = [(); 2].map(|()| free_port());
    let yaml = node("alpha", a, am, &[]);
    let place = Place::new(&yaml);
    let command = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--config").arg(&place.config).args(args).env("ANTIPHON_SHARED_KEY", KEY).stdin(Stdio::null());
        command
    };
    let ask = |args: &[&str]| {
        let (code, out, err) = outcome(&command(args).output().unwrap());
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    };
    // Stopped, its store has the replayer as well.
    let names = |status: &Value| -> Vec<String> {
        let all = status["replayers"].as_array().unwrap().iter();
        all.map(|replayer| replayer["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&serde_json::from_str(&ask(&["status"])).unwrap()), ["view", "counts"]);

    let log = std::fs::File::create(place.dir.path().join("log")).unwrap();
    let mut serving = Running(command(&["serve"]).stderr(log).spawn().unwrap());
    until("it serves", || {
        assert_eq!(serving.0.try_wait().unwrap(), None, "it ended: {}", place.log());
        get(am, "/healthz")
    });
    // Its own code runs next to the node, and `antiphon` itself reaches it.
    assert_eq!(place.pipe(&["import"], &(0..4).map(event).collect::<String>()).0, 0);
    let page = until("its replayer is in the page's JSON, and caught up", || {
        let page: Value = serde_json::from_str(&get(am, "/status")?).ok()?;
        let replayers = page["replayers"].as_array()?;
        let counts = replayers.iter().find(|replayer| replayer["name"] == "counts")?;
        (counts["position"] == 5 && counts["lag_events"] == 0).then_some(page)
    });
    assert_eq!((names(&page), &page["events"]), (vec!["view".to_owned(), "counts".to_owned()], &json!(5)));
    assert_eq!(ask(&["lag"]).trim(), "0");
    assert!(ask(&["doctor"]).contains("Ok replayer counts"));
    let listed = place.json(&["replay", "list", "--replayer", "counts"]);
    assert_eq!(listed["replayer"]["name"], "counts");
    assert_eq!(place.json(&["replay", "list"])["replayer"]["name"], "view");
    let (code, _, err) = place.run(&["replay", "list", "--replayer", "other"]);
    assert!(code == 1 && err.contains("there is no replayer `other`; this node has: view, counts"), "{err}");

    std::fs::write(&place.config, yaml.replace("interval: 1s", "interval: 2s")).unwrap();
    let changes: Value = serde_json::from_str(&ask(&["reload"])).unwrap();
    assert_eq!(changes["interval_seconds"], 2.0, "{changes}");
    assert!(place.log().contains("the configuration was reloaded: interval seconds: 2"), "{}", place.log());
    let text = get(am, "/metrics").unwrap();
    for series in
        ["replay_lag_events{cortex=\"alpha\",replayer=\"counts\"} 0", "config_reload_success{cortex=\"alpha\"} 1"]
    {
        assert!(text.contains(&format!("antiphon_{series}\n")), "{series}: {text}");
    }
    is_scraped(am);

    kill(nix::unistd::Pid::from_raw(i32::try_from(serving.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(until("it ends", || serving.0.try_wait().unwrap()).code(), Some(0), "{}", place.log());
}

/// A real Prometheus sees the replayer.
fn is_scraped(metrics: u16) {
    if !has("prometheus") {
        return;
    }
    let prometheus = Prometheus::start_in_a_hurry(&[metrics]);
    until("it is scraped", || {
        let lag = prometheus.value("antiphon_replay_lag_events{replayer=\"counts\",cortex=\"alpha\"}");
        (lag == Some(0.0)).then_some(())
    });
    assert_eq!(prometheus.value("up{job=\"antiphon\"}"), Some(1.0));
}
