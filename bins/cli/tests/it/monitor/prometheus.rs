//! A real Prometheus, with the rules that ship.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Running;
use super::http::{encoded, get};
use crate::support::{free_port, has, until};

pub(super) struct Prometheus {
    port: u16,
    _process: Running,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes these ports each second, by the rules that ship; but a minute of theirs is a second, so that each alert can be
    /// waited for until it fires.
    pub(super) fn start_in_a_hurry(ports: &[u16]) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let rules = dir.path().join("alerts.yml");
        std::fs::write(&rules, hurried(shipped_rules())).unwrap();
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

    pub(super) fn ask(&self, query: &str) -> Vec<(Value, f64)> {
        let answer = get(self.port, &format!("/api/v1/query?query={}", encoded(query))).expect("prometheus answers");
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{query}: {error}: {answer}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        series.iter().map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    pub(super) fn value(&self, query: &str) -> Option<f64> {
        self.ask(query).first().map(|(_, value)| *value)
    }

    pub(super) fn holds(&self, query: &str) -> bool {
        !self.ask(query).is_empty()
    }
}

fn shipped_rules() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring/alerts.yml");
    std::fs::read_to_string(file).unwrap()
}

/// Durations and the thresholds of lag and epochs divided by sixty; nothing else differs from what ships.
fn hurried(rules: String) -> String {
    let mut shorter = String::new();
    for part in rules.split_inclusive([']', '\n']) {
        let (head, time) = part.rfind(['[', ':']).map_or((part, ""), |at| part.split_at(at));
        let digits = time.trim_matches(['[', ']', ':', ' ', '\n']);
        let is_time = digits.len() > 1 && digits[..digits.len() - 1].bytes().all(|byte| byte.is_ascii_digit());
        let is_time = is_time && (time.starts_with('[') || head.trim() == "for");
        let time = if is_time { time.replace('m', "s").replace('h', "m") } else { time.to_owned() };
        shorter.extend([head, &time]);
    }
    let shorter = shorter.replace("_lag_seconds > 300", "_lag_seconds > 5").replace("} < 900", "} < 15");
    assert!(shorter.contains("[30s]") && shorter.contains("for: 15s") && shorter.contains("[1m]"), "{shorter}");
    assert!(shorter.contains("_lag_seconds > 5\n") && shorter.contains("} < 15\n"), "{shorter}");
    shorter
}

#[test]
fn promtool_accepts_the_rules_and_their_cases() {
    if !has("promtool") {
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring");
    for args in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = Command::new("promtool").current_dir(&dir).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_alert_names_a_section_that_exists() {
    let rules = shipped_rules();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 30);
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        let url = alert.lines().find_map(|line| line.trim().strip_prefix("runbook_url: "));
        let (file, section) = url.and_then(|url| url.split_once('#')).unwrap_or_else(|| panic!("{name} names none"));
        let page = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        let mut headings =
            page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        assert!(headings.any(|heading| anchor(heading) == section), "{name}: {file} has no section {section}");
    }
}
