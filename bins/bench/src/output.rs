//! What a bench prints: rows for people, or lines of JSON.

use std::io::Write as _;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::Value;

/// Prints a line. A reader that has closed the pipe ends the bench with an error.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Prints rows for people, in a form that documents take too, or for programs.
pub(crate) fn print(header: &[&str], rows: &[Vec<Value>], json: bool) -> Result<()> {
    if json {
        for row in rows {
            let object: serde_json::Map<_, _> =
                header.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect();
            line(&Value::Object(object).to_string())?;
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), ToOwned::to_owned)));
    }
    line(&table.to_string())
}

/// A figure as it is shown: no more digits than it is worth.
pub(crate) fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    serde_json::json!((value * scale).round() / scale)
}

/// Prints what one side of a bench reports to the other: a line of JSON.
pub(crate) fn say(what: &Value) -> Result<()> {
    line(&what.to_string())
}
