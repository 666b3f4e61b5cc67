//! A page with parts that are written by a program: `<!-- measured: NAME -->` up to `<!-- end -->`. All else is left alone.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Fault;
use crate::rows::Row;

pub(crate) struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Replaces one part.
    pub(crate) fn put(&mut self, name: &str, part: &str) -> Result<(), Fault> {
        let mark = format!("<!-- measured: {name} -->\n");
        let missing = || format!("{} has no part `{name}`", self.path.display());
        let from = self.text.find(&mark).ok_or_else(missing)? + mark.len();
        let to = from + self.text[from..].find("<!-- end -->").ok_or_else(missing)?;
        self.text.replace_range(from..to, part);
        Ok(())
    }

    /// Replaces one part by a table of these columns.
    pub(crate) fn table(&mut self, name: &str, columns: &[&str], rows: &[Row]) -> Result<(), Fault> {
        let first = rows.first().ok_or_else(|| format!("there is nothing to say of {name}"))?;
        if let Some(missing) = columns.iter().find(|column| !first.contains_key(**column)) {
            return Err(format!("the bench says nothing of `{missing}` for {name}").into());
        }
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut table = line(columns.iter().map(|column| (*column).to_owned()).collect());
        table += &line(
            columns.iter().map(|column| if first[*column].is_number() { "--:" } else { "---" }.to_owned()).collect(),
        );
        for row in rows {
            table += &line(columns.iter().map(|column| row.get(*column).map_or_else(String::new, cell)).collect());
        }
        self.put(name, &table)
    }

    pub(crate) fn write(&self) -> Result<(), Fault> {
        Ok(std::fs::write(&self.path, &self.text)?)
    }
}

/// As a person reads it: whole numbers with separators, others as they are.
fn cell(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => grouped(float),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn grouped(whole: f64) -> String {
    let digits = format!("{whole:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len() - at;
        if at > 0 && left.is_multiple_of(3) && digit != '-' {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_replaced_and_the_rest_is_left_alone() {
        let text = "before\n<!-- measured: one -->\nold\n<!-- end -->\nafter\n<!-- measured: two -->\n<!-- end -->\n"
            .to_owned();
        let mut page = Page { path: PathBuf::new(), text };
        let row = |json: &str| serde_json::from_str::<Row>(json).unwrap();
        let rows = [row(r#"{"n":1234567.0,"what":"a"}"#), row(r#"{"n":0.5,"what":"b"}"#)];
        page.table("one", &["what", "n"], &rows).unwrap();
        assert!(page.table("one", &["which"], &rows).is_err());
        let table = "| what | n |\n| --- | --: |\n| a | 1,234,567 |\n| b | 0.5 |\n";
        assert_eq!(
            page.text,
            format!(
                "before\n<!-- measured: one -->\n{table}<!-- end -->\nafter\n<!-- measured: two -->\n<!-- end -->\n"
            )
        );
        assert!(page.put("three", "").is_err());
    }
}
