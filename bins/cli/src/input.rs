//! Events in a stream of bytes: one JSON object a line, or in arrays, as `/v1/events` answers. What is found is handed on as
//! text and not parsed here.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

/// The longest text of an event: one of 16 MiB of which every byte is escaped, and its attributes.
const MAX_EVENT_TEXT: usize = 112 * 1024 * 1024;

/// Where events are read from.
pub(crate) type Source = Box<dyn AsyncBufRead + Unpin + Send>;

/// Events to read.
pub(crate) struct Input {
    pub(crate) source: Source,
    /// Its size, if it is a file of a known one.
    pub(crate) bytes: Option<u64>,
}

/// A file, or standard input where it is `-`.
pub(crate) async fn open(file: &Path) -> Result<Input> {
    if file == Path::new("-") {
        let source = Box::new(BufReader::with_capacity(64 * 1024, tokio::io::stdin()));
        return Ok(Input { source, bytes: None });
    }
    let handle = tokio::fs::File::open(file).await.with_context(|| format!("{} could not be read", file.display()))?;
    // A pipe with a name has none.
    let bytes = handle.metadata().await.ok().filter(std::fs::Metadata::is_file).map(|found| found.len());
    Ok(Input { source: Box::new(BufReader::with_capacity(64 * 1024, handle)), bytes })
}

/// The data of a command, or the bytes of standard input for `-`.
pub(crate) async fn given(data: String) -> Result<Vec<u8>> {
    if data != "-" {
        return Ok(data.into_bytes());
    }
    let mut bytes = Vec::new();
    tokio::io::stdin().read_to_end(&mut bytes).await.context("standard input could not be read")?;
    Ok(bytes)
}

/// The text of one event, and the line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) line: u64,
    pub(crate) text: String,
}

/// Splits bytes into the texts of events.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// The line at hand, from 1.
    line: u64,
    /// The first bytes, while they do not yet say what the input is: a read may end between any two of them.
    beginning: Option<Vec<u8>>,
    array: Array,
    /// The event at hand.
    text: Vec<u8>,
    begun_at: u64,
    depth: usize,
    string: InString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Array {
    /// Not in an array: each line holds one event.
    None,
    /// An event may come, or the end.
    Begun,
    /// A comma or the end must come.
    AfterEvent,
    /// An event must come.
    AfterComma,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InString {
    No,
    Yes,
    Escape,
}

/// What the first bytes of an input say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// The next byte decides.
    Undecided,
    /// A byte order mark, which is left out.
    ByteOrderMark,
    /// Events begin with the first of them.
    Events,
}

impl Beginning {
    /// Fails if the input has to be converted first.
    fn of(first: &[u8]) -> Result<Self> {
        match first {
            [0xef, 0xbb, 0xbf] => Ok(Self::ByteOrderMark),
            [0x1f, 0x8b] => bail!("the input is compressed with gzip: use `gunzip -c FILE | antiphon import`"),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                bail!("the input is compressed with zstd: use `zstd -dc FILE | antiphon import`")
            }
            [0xff, 0xfe] | [0xfe, 0xff] | [0, _] | [_, 0] => {
                bail!("the input is UTF-16: use `iconv -f UTF-16 -t UTF-8 FILE | antiphon import`")
            }
            // No event is a single byte, so that waiting for a second one delays none.
            [] | [_] | [0xef, 0xbb] | [0x28, 0xb5] | [0x28, 0xb5, 0x2f] => Ok(Self::Undecided),
            _ => Ok(Self::Events),
        }
    }
}

impl Default for Splitter {
    fn default() -> Self {
        let (array, string) = (Array::None, InString::No);
        let beginning = Some(Vec::new());
        Self { line: 1, beginning, array, text: Vec::new(), begun_at: 0, depth: 0, string }
    }
}

impl Splitter {
    /// The line that was read last.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// Takes bytes up to the end of an event. Gives how many were taken, and the event if one ended.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Found>)> {
        let mut at = self.begin(bytes)?;
        while at < bytes.len() {
            if self.depth == 0 {
                self.between(bytes[at])?;
                at += 1;
                continue;
            }
            let used = self.within(&bytes[at..])?;
            self.text.extend_from_slice(&bytes[at..at + used]);
            at += used;
            if self.text.len() > MAX_EVENT_TEXT {
                bail!("line {}: an event has more than {MAX_EVENT_TEXT} bytes; leave it out", self.begun_at);
            }
            if self.depth == 0 {
                return Ok((at, Some(self.found()?)));
            }
        }
        Ok((at, None))
    }

    /// Fails where the bytes ended within something.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.begun()?;
        if self.depth > 0 {
            bail!("line {}: the input ends within an event; import the rest of it as a whole line", self.begun_at);
        }
        if self.array != Array::None {
            bail!("line {}: the input ends within an array; the events that are missing were not imported", self.line);
        }
        Ok(())
    }

    /// Takes the first bytes until they say what the input is. Returns how many of these bytes were taken.
    fn begin(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        while let (Some(first), Some(&byte)) = (&mut self.beginning, bytes.get(at)) {
            first.push(byte);
            match Beginning::of(first)? {
                Beginning::Undecided => at += 1,
                Beginning::ByteOrderMark => {
                    at += 1;
                    self.beginning = None;
                }
                // The last byte is read where it is: it may end an event.
                Beginning::Events => {
                    first.pop();
                    self.begun()?;
                }
            }
        }
        Ok(at)
    }

    /// Reads the first bytes as what they are: parts of events.
    fn begun(&mut self) -> Result<()> {
        self.beginning.take().unwrap_or_default().into_iter().try_for_each(|byte| self.between(byte))
    }

    /// A byte outside of every event.
    fn between(&mut self, byte: u8) -> Result<()> {
        match (byte, self.array) {
            (b'\n', _) => self.line += 1,
            (b' ' | b'\t' | b'\r', _) => {}
            (b'[', Array::None) => self.array = Array::Begun,
            (b']', Array::Begun | Array::AfterEvent) => self.array = Array::None,
            (b',', Array::AfterEvent) => self.array = Array::AfterComma,
            (b'{', Array::None | Array::Begun | Array::AfterComma) => {
                self.begun_at = self.line;
                self.depth = 1;
                self.text.push(b'{');
            }
            _ => {
                let byte = char::from(byte).escape_debug();
                bail!(
                    "line {}: an event is a JSON object, and `{byte}` begins none; write one object a line",
                    self.line
                )
            }
        }
        Ok(())
    }

    /// How many of these bytes belong to the event at hand.
    fn within(&mut self, bytes: &[u8]) -> Result<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            match (self.string, byte) {
                (InString::Escape, _) => self.string = InString::Yes,
                (InString::Yes, b'"') => self.string = InString::No,
                (InString::Yes, b'\\') => self.string = InString::Escape,
                (InString::No, b'"') => self.string = InString::Yes,
                (InString::No, b'{' | b'[') => self.depth += 1,
                (InString::No, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(at + 1);
                    }
                }
                (_, b'\n') => {
                    if self.array == Array::None || self.string != InString::No {
                        bail!(
                            "line {}: the event does not end on its line; where it is pretty-printed, use \
                             `jq -c . FILE | antiphon import`",
                            self.begun_at
                        );
                    }
                    self.line += 1;
                }
                _ => {}
            }
        }
        Ok(bytes.len())
    }

    fn found(&mut self) -> Result<Found> {
        if self.array != Array::None {
            self.array = Array::AfterEvent;
        }
        let line = self.begun_at;
        let text = String::from_utf8(std::mem::take(&mut self.text));
        let text =
            text.map_err(|_| anyhow::anyhow!("line {line}: the event is not UTF-8; convert it, then import it"))?;
        Ok(Found { line, text })
    }
}

/// Events from a source, one after another. Nothing is lost where waiting for the next is given up.
pub(crate) struct Events {
    source: Source,
    splitter: Splitter,
}

impl Events {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, splitter: Splitter::default() }
    }

    /// The line that was read last.
    pub(crate) const fn line(&self) -> u64 {
        self.splitter.line()
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Found>> {
        loop {
            let bytes = self.source.fill_buf().await.with_context(|| format!("line {}", self.splitter.line()))?;
            if bytes.is_empty() {
                self.splitter.end()?;
                return Ok(None);
            }
            let (used, found) = self.splitter.take(bytes)?;
            self.source.consume(used);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All events of a text, cut into pieces of every length: always the same.
    fn split(bytes: &[u8]) -> Result<Vec<(u64, String)>, String> {
        let all = |piece: usize| {
            let (mut splitter, mut found) = (Splitter::default(), Vec::new());
            for mut bytes in bytes.chunks(piece) {
                while !bytes.is_empty() {
                    let (used, event) = splitter.take(bytes).map_err(|error| error.to_string())?;
                    found.extend(event.map(|event| (event.line, event.text)));
                    bytes = &bytes[used..];
                }
            }
            splitter.end().map_err(|error| error.to_string())?;
            Ok(found)
        };
        let whole: Result<_, String> = all(bytes.len().max(1));
        (1..bytes.len()).for_each(|piece| assert_eq!(all(piece), whole, "in pieces of {piece}"));
        whole
    }

    fn texts(found: &[(u64, &str)]) -> Result<Vec<(u64, String)>, String> {
        Ok(found.iter().map(|(line, text)| (*line, (*text).to_owned())).collect())
    }

    #[test]
    fn lines_and_arrays_hold_the_same_events() {
        let (one, two) = (r#"{"a":"}]\"{","b":[{}]}"#, r#"{"c":1}"#);
        let both = texts(&[(1, one), (2, two)]);
        assert_eq!(split(format!("{one}\n{two}").as_bytes()), both);
        assert_eq!(split(format!("\u{feff}{one}\r\n{two}\r\n\n").as_bytes()), both);
        assert_eq!(split(format!("[{one},\n{two}]").as_bytes()), both);
        assert_eq!(split(format!("[{one}]\n[{two}]\n[]").as_bytes()), both);
        assert_eq!(split(format!(" [ {one} ,\n {two} \n]\n").as_bytes()), both);
        assert_eq!(split(b"[\n{\n\"a\":\n1}\n]"), texts(&[(2, "{\n\"a\":\n1}")]), "an array may be pretty-printed");
        assert_eq!(split(b""), Ok(Vec::new()));
        assert_eq!(split(b" \n\n"), Ok(Vec::new()));
        assert_eq!(split(b"\n"), Ok(Vec::new()));
        assert_eq!(split(b"\xef\xbb\xbf"), Ok(Vec::new()));
        assert_eq!(split(b"{}"), texts(&[(1, "{}")]));
    }

    /// A pipe may give one byte a read. The mark was skipped only if its three bytes came in one.
    #[test]
    fn a_byte_order_mark_is_skipped_however_its_bytes_arrive() {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        for byte in "\u{feff}{\"a\":1}\n{\"b\":2}".as_bytes() {
            let (used, event) = splitter.take(std::slice::from_ref(byte)).unwrap();
            assert_eq!(used, 1);
            found.extend(event.map(|event| event.text));
        }
        splitter.end().unwrap();
        assert_eq!(found, [r#"{"a":1}"#, r#"{"b":2}"#]);
    }

    #[test]
    fn what_is_no_event_is_named_with_its_line_and_a_way_out() {
        for (bytes, wanted) in [
            (&b"{\n  \"specversion\": \"1.0\"\n}"[..], "line 1: the event does not end on its line"),
            (b"{}\n{\"a\":\"\n\"}", "line 2: the event does not end on its line"),
            (b"{}\nhello", "line 2: an event is a JSON object, and `h` begins none"),
            (b"[{} {}]", "`{` begins none"),
            (b"[{},]", "`]` begins none"),
            (b"[,{}]", "`,` begins none"),
            (b"{}\n{\"a\":1", "line 2: the input ends within an event"),
            (b"[{}", "the input ends within an array"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "gunzip -c"),
            (b"\x28\xb5\x2f\xfd\0\0\0\0", "zstd -dc"),
            (b"\xff\xfe{\0}\0", "iconv -f UTF-16"),
            (b"{\0\"\0", "iconv -f UTF-16"),
            (b"\xef\xbb{}", "`ï` begins none"),
            (b"\xef\xbb", "begins none"),
            (b"{", "the input ends within an event"),
            (b"{\"a\":\"\xff\"}", "line 1: the event is not UTF-8"),
        ] {
            let error = split(bytes).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
