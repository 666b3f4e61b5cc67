//! Standard output, for people and for programs.

use std::io::{IsTerminal as _, Write as _};

use antiphon_node::terminal::{self, printable};
use anyhow::Result;
use serde::Serialize;

/// The reader of standard output went away (`| head`): there is nothing more to do, and no error to report.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed by its reader")]
pub(crate) struct ReaderGone;

/// Writes to standard output, all of it.
///
/// # Errors
/// [`ReaderGone`]; where it cannot be written, as on a full disk, that: what is missing must not look complete.
pub(crate) fn raw(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => anyhow::anyhow!("standard output could not be written ({error}): the output is incomplete"),
    })
}

/// One line on standard output, or several. For a terminal, what acts on one is escaped, but for colours.
///
/// # Errors
/// As [`raw`].
pub(crate) fn line(text: &str) -> Result<()> {
    let text = if std::io::stdout().is_terminal() { terminal::styled(text) } else { text.into() };
    raw(format!("{text}\n").as_bytes())
}

/// One line of text or several, with what acts on a terminal escaped for one. Not for what is coloured.
///
/// # Errors
/// As [`raw`].
pub(crate) fn plain(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { line(&terminal::lines(text)) } else { line(text) }
}

/// One JSON value.
///
/// # Errors
/// As [`raw`].
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    json(&format!("{}\n", serde_json::to_string(value)?))
}

/// What a command did: its reply for programs, or a text for people.
///
/// # Errors
/// As [`raw`].
pub(crate) fn done(reply: &impl Serialize, json: bool, text: &str) -> Result<()> {
    if json { json_line(reply) } else { plain(text) }
}

/// JSON on lines, as it is; for a terminal with what acts on one escaped, which is the same value.
///
/// # Errors
/// As [`raw`].
pub(crate) fn json(text: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { raw(terminal::json(text).as_bytes()) } else { raw(text.as_bytes()) }
}

/// The columns of the terminal; `None` if standard output is no terminal, and nothing is cut.
pub(crate) fn width() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| usize::from(console::Term::stdout().size().1))
}

/// One word for a shell, whatever is in it.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", printable(text).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_chose_neither_moves_the_cursor_nor_runs_in_a_shell() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), 401);
        assert_eq!((shell_word("notes/1").as_str(), shell_word("a b").as_str()), ("notes/1", "'a b'"));
        assert_eq!(shell_word("x; curl `y` | sh #'"), r"'x; curl `y` | sh #'\'''");
    }
}
