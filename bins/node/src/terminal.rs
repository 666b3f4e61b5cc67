//! What a terminal may be given. Texts that others chose must not move its cursor, colour it, or turn the order of what is
//! read: peers choose subjects, types, data, names and parts of errors.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write};

/// Whether a character acts on a terminal, or on the order in which its neighbours are shown.
pub const fn acts(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

fn escaped<'a>(text: &'a str, keeps: impl Fn(char) -> bool, write: impl Fn(char, &mut String)) -> Cow<'a, str> {
    if !text.chars().any(|c| acts(c) && !keeps(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        if acts(c) && !keeps(c) { write(c, &mut out) } else { out.push(c) }
    }
    out.into()
}

/// A text of several lines, with every character that acts written as `\u{202e}`.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n', |c, out| out.extend(c.escape_unicode()))
}

/// One line of text, the same.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, |c, out| out.extend(c.escape_unicode()))
}

/// Lines of our own, which may be coloured: what acts otherwise is written as `\u{202e}`.
pub fn styled(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| acts(c) && c != '\n') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 32);
    for (at, c) in text.char_indices() {
        let colour = c == '\u{1b}' && is_colour(&text[at + 1..]);
        if acts(c) && c != '\n' && !colour { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out.into()
}

/// Whether what follows an escape character is a colour or the like, and nothing that moves: `[`, numbers, `m`.
fn is_colour(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix('[') else { return false };
    rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
}

/// JSON on lines, with every such character as `\u202e`: the same value. Outside of its strings none occurs but line breaks.
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n', |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c))))
}

/// So much of a text that others chose is shown.
const SHOWN: usize = 400;

/// Text that others chose, as a terminal may be given it: short, and nothing in it acts on the terminal.
pub fn printable(text: &str) -> String {
    let short = text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end]);
    let mut shown = line(short).into_owned();
    if short.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Writes an error or a warning to standard error.
pub fn complain(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("antiphon: {}", lines(text));
    } else {
        eprintln!("antiphon: {text}");
    }
}

/// A writer of log lines, which cleans them where a terminal shows them.
pub struct LogWriter<W> {
    to: W,
    terminal: bool,
}

impl<W> LogWriter<W> {
    pub const fn new(to: W, terminal: bool) -> Self {
        Self { to, terminal }
    }
}

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.terminal {
            return self.to.write(bytes);
        }
        // A log line is written whole.
        self.to.write_all(styled(&String::from_utf8_lossy(bytes)).as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        let text = "a\u{1b}[2J\u{202e}b\u{9b}1m\r\n\tc\u{2066}é€";
        assert_eq!(lines(text), "a\\u{1b}[2J\\u{202e}b\\u{9b}1m\\u{d}\n\\u{9}c\\u{2066}é€");
        assert_eq!(line("a\nb"), "a\\u{a}b");
        let mut log = Vec::new();
        let line = "\u{1b}[32mINFO\u{1b}[0m \u{202e}x\u{1b}[2J\n";
        LogWriter::new(&mut log, true).write_all(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(log).unwrap(), "\u{1b}[32mINFO\u{1b}[0m \\u{202e}x\\u{1b}[2J\n");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = serde_json::json!({ "\u{202e}k": "a\u{9b}\u{7f}\u{1b}\n\u{2066}b", "n": 1 });
        let shown = json(&value.to_string()).into_owned();
        assert!(!shown.chars().any(acts), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
