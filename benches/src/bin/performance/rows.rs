//! What a bench said.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::Fault;

/// One line of a bench's output, its columns in order.
pub(crate) type Row = Map<String, Value>;

/// Runs one bench and takes its rows.
pub(crate) fn bench(program: &Path, args: &[&str]) -> Result<Vec<Row>, Fault> {
    eprintln!("antiphon-bench {}", args.join(" "));
    let output = Command::new(program).args(args).arg("--json").output()?;
    if !output.status.success() {
        return Err(format!("bench {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)).into());
    }
    let rows = String::from_utf8(output.stdout)?;
    Ok(rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

pub(crate) fn number(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or_default()
}

pub(crate) fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// Where and when it was measured.
pub(crate) fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("an unknown system")
        .trim_matches('"');
    let today = jiff::Timestamp::now().to_string();
    let today = today.split('T').next().unwrap_or_default();
    format!("{today}, {cores} cores ({}), {system}.\n", model.unwrap_or("an unknown processor"))
}
