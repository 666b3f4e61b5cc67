//! One event as one line for people: sequence number, time, node, type, subject, data.

use std::borrow::Cow;
use std::collections::BTreeMap;

use antiphon_kernel::ids::CortexId;
use antiphon_node::reply::Status;
use antiphon_node::terminal;
use anyhow::{Context as _, Result};
use console::{measure_text_width, style, truncate_str};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output;

/// Digits of a sequence number that are aligned.
const SEQ_DIGITS: usize = 7;

/// The attributes of an event that a line shows.
#[derive(Deserialize)]
pub(crate) struct Shown<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(crate) event_type: Cow<'a, str>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    antiphonseq: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a str>,
}

impl<'a> Shown<'a> {
    /// Reads them from the event's CloudEvents JSON.
    pub(crate) fn read(text: &'a str) -> Result<Self> {
        serde_json::from_str(text).context("the node sent an event that cannot be read; use one version of both")
    }

    /// The data: text without its quotes, JSON as it is, the number of bytes of anything else.
    pub(crate) fn data(&self) -> Cow<'a, str> {
        match (self.data.map(RawValue::get), self.data_base64) {
            (Some(text), _) if text.starts_with('"') => {
                serde_json::from_str::<String>(text).map_or(Cow::Borrowed(text), Cow::Owned)
            }
            (Some(text), _) => text.into(),
            (None, Some(bytes)) => {
                let padding = bytes.len() - bytes.trim_end_matches('=').len();
                format!("({} bytes)", bytes.len() / 4 * 3 - padding).into()
            }
            (None, None) => "".into(),
        }
    }
}

/// How events are shown.
pub(crate) struct Lines {
    /// Names of nodes by their cortex ids.
    names: BTreeMap<String, String>,
    /// Columns of the terminal; none where the output is no terminal, and nothing is cut.
    width: Option<usize>,
}

impl Lines {
    /// Lines for standard output, with the names that a node knows.
    pub(crate) fn new(status: &Status) -> Self {
        let own = (status.cortex_id, status.name.clone());
        let peers = status.peers.iter().filter_map(|peer| Some((peer.cortex_id?, peer.name.to_string())));
        Self::of([own].into_iter().chain(peers), output::width())
    }

    fn of(names: impl IntoIterator<Item = (CortexId, String)>, width: Option<usize>) -> Self {
        Self { names: names.into_iter().map(|(id, name)| (id.to_string(), name)).collect(), width }
    }

    /// The line of an event, from its CloudEvents JSON.
    pub(crate) fn line(&self, text: &str) -> Result<String> {
        let event = Shown::read(text)?;
        let cortex = event.source.split(':').nth(2).unwrap_or(&event.source);
        let node = self.names.get(cortex).map_or(cortex, String::as_str);
        // Whole seconds are enough to find an event; `--json` has the microseconds.
        let time = event.time.as_deref().unwrap_or("-");
        let time = time.split_once('.').map_or(time.to_owned(), |(seconds, _)| format!("{seconds}Z"));
        // The newest event of a subject comes without its sequence number.
        let seq = event.antiphonseq.as_deref().map(|seq| format!("{seq:>SEQ_DIGITS$}  ")).unwrap_or_default();
        let head = format!(
            "{}{}  {}  {}  {}",
            style(seq).dim(),
            style(time).dim(),
            style(terminal::line(node)).cyan(),
            style(terminal::line(&event.event_type)).green(),
            style(terminal::line(event.subject.as_deref().unwrap_or("-"))).bold(),
        );
        let data = event.data();
        let Some(width) = self.width else { return Ok(format!("{head}  {}", terminal::line(&data))) };
        let room = width.saturating_sub(measure_text_width(&head) + 2);
        // A character is at least as wide as nothing: more of them than bytes of room and some are never shown.
        let data: String = data.chars().take(4 * width).collect();
        let line = format!("{head}  {}", truncate_str(&terminal::line(&data), room, "…"));
        Ok(truncate_str(&line, width, "…").into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(rest: &str) -> String {
        let id = CortexId::from_bytes([1; 16]);
        format!(
            r#"{{"specversion":"1.0","id":"X","source":"urn:antiphon:{id}:7","type":"note.written","subject":"notes/1","time":"2026-03-02T10:00:00.123456Z","antiphonseq":"12"{rest}}}"#
        )
    }

    fn lines(width: Option<usize>) -> Lines {
        console::set_colors_enabled(false);
        Lines::of([(CortexId::from_bytes([1; 16]), "alpha".to_owned())], width)
    }

    #[test]
    fn a_line_has_what_a_person_looks_for() {
        let line = |rest| lines(None).line(&event(rest)).unwrap();
        let head = "     12  2026-03-02T10:00:00Z  alpha  note.written  notes/1  ";
        assert_eq!(line(r#","data":{"a":1}"#), format!("{head}{{\"a\":1}}"));
        assert_eq!(line(r#","data":"it \"is\" so""#), format!("{head}it \"is\" so"));
        assert_eq!(line(r#","data_base64":"AAECAw==""#), format!("{head}(4 bytes)"));
        assert_eq!(line("").trim_end(), head.trim_end());
        let stranger = Lines::of([], None).line(&event("")).unwrap();
        assert!(stranger.contains(&CortexId::from_bytes([1; 16]).to_string()), "{stranger}");
    }

    #[test]
    fn a_line_fits_the_terminal_and_moves_nothing_on_it() {
        let text = event(&format!(r#","data":"a\u001b[2J\u202e{}""#, "x".repeat(500)));
        let line = lines(Some(80)).line(&text).unwrap();
        assert_eq!(measure_text_width(&line), 80);
        assert!(line.ends_with('…') && line.contains("a\\u{1b}[2J"), "{line}");
        assert_eq!(measure_text_width(&lines(Some(30)).line(&text).unwrap()), 30);
    }
}
