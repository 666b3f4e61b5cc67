//! What crosses the admin socket as bytes: the texts and data of events. They follow a line of JSON, so that no payload is
//! escaped, parsed or copied into a tree there.

use std::collections::VecDeque;

use antiphon_kernel::ids::EventId;
use antiphon_kernel::log::OutsideKey;
use antiphon_kernel::replay::latest::Latest;
use antiphon_kernel::service::{HeldText, PageTexts};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::admin::WORKING_EVERY;
use crate::node::Node;

/// The most bytes that are attached to one command: an event of 16 MiB of which every byte is escaped, and its attributes.
pub const MAX_ATTACHED: usize = 128 * 1024 * 1024;
/// How many bytes are moved at a time.
const PIECE: usize = 64 * 1024;

/// Bytes that follow a command, each part with its length in the command's line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Attached {
    lengths: Vec<usize>,
    #[serde(skip)]
    parts: Vec<Bytes>,
}

impl FromIterator<Bytes> for Attached {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Self {
        let parts: Vec<Bytes> = parts.into_iter().collect();
        Self { lengths: parts.iter().map(Bytes::len).collect(), parts }
    }
}

impl Attached {
    pub fn one(part: impl Into<Bytes>) -> Self {
        [part.into()].into_iter().collect()
    }

    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// The only part; nothing where there is none.
    pub fn into_one(self) -> Bytes {
        self.parts.into_iter().next().unwrap_or_default()
    }

    /// Reads what the line announced.
    pub async fn read(&mut self, from: &mut (impl AsyncBufRead + Unpin)) -> Result<()> {
        let total = self.lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        if total.is_none_or(|total| total > MAX_ATTACHED) {
            bail!("more than {MAX_ATTACHED} bytes of events came with one command; give it fewer at a time");
        }
        for &length in &self.lengths {
            self.parts.push(read_part(from, length).await?.into());
        }
        Ok(())
    }

    /// What is written after the line, in pieces: a deadline is for each piece, whatever the size of the whole.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().flat_map(|part| part.chunks(PIECE))
    }
}

/// So many bytes. Memory is taken as they come: a length is a claim.
async fn read_part(from: &mut (impl AsyncBufRead + Unpin), length: usize) -> Result<Vec<u8>> {
    let mut part = Vec::with_capacity(length.min(PIECE * 16));
    from.take(length as u64).read_to_end(&mut part).await?;
    if part.len() != length {
        bail!("the connection ended within an event");
    }
    Ok(part)
}

/// An event whose text is answered to a command; read from the store once it is its turn.
pub enum Text {
    /// An event of the log.
    Event(EventId),
    /// The newest event of a subject, in the form of `antiphon view`.
    Latest(Latest),
    /// An event that is kept outside of the log.
    Outside(OutsideKey),
}

/// The texts of an answer. Each is read once there is room for it in the memory budget.
pub enum Texts {
    Each(VecDeque<Text>),
    /// A page of the log, and how many events are in it.
    Page(Box<PageTexts>, usize),
}

impl FromIterator<Text> for Texts {
    fn from_iter<I: IntoIterator<Item = Text>>(texts: I) -> Self {
        Self::Each(texts.into_iter().collect())
    }
}

impl Texts {
    /// How many are left; of a page, how many there were.
    pub fn count(&self) -> usize {
        match self {
            Self::Each(texts) => texts.len(),
            Self::Page(_, events) => *events,
        }
    }

    /// The next one. The previous one must be dropped: its share of the budget may be what this waits for.
    pub async fn next(&mut self, node: &Node) -> Result<Option<HeldText>> {
        match self {
            Self::Each(texts) => match texts.pop_front() {
                Some(text) => node.text(text).await.map(Some),
                None => Ok(None),
            },
            Self::Page(texts, _) => Ok(texts.next().await?),
        }
    }
}

/// What a command gets: a value, and after it the texts of events, one line each.
pub struct Answer {
    pub value: Value,
    pub texts: Texts,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self { value, texts: Texts::Each(VecDeque::new()) }
    }
}

/// The line before a text that is not ready yet. It keeps the caller from taking a node that waits for one that hangs.
const WORKING: &str = "working";

/// Sends texts, each after a line with its length.
pub async fn send(node: &Node, mut texts: Texts, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    loop {
        let next = {
            let mut next = std::pin::pin!(texts.next(node));
            loop {
                match tokio::time::timeout(WORKING_EVERY, &mut next).await {
                    Ok(next) => break next?,
                    // A caller that went away wants no more texts.
                    Err(_) => to.write_all(format!("{WORKING}\n").as_bytes()).await?,
                }
            }
        };
        let Some(mut text) = next else { return Ok(()) };
        to.write_all(format!("{}\n", text.length()).as_bytes()).await?;
        let mut piece = Vec::with_capacity(PIECE * 2);
        loop {
            let more = text.fill(&mut piece, PIECE);
            to.write_all(&piece).await?;
            piece.clear();
            if !more {
                break;
            }
        }
    }
}

/// A text that is being received.
pub struct Incoming {
    text: Vec<u8>,
    left: usize,
}

impl Incoming {
    /// Receives its length; `None` if the node is still at work.
    pub async fn begin(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let mut line = String::new();
        (&mut *from).take(32).read_line(&mut line).await?;
        if line.trim_end() == WORKING {
            return Ok(None);
        }
        let left = line.trim_end().parse().context("the node that serves broke off an answer; look at its log")?;
        Ok(Some(Self { text: Vec::new(), left }))
    }

    /// Receives the next piece; false once it is whole.
    pub async fn next(&mut self, from: &mut (impl AsyncBufRead + Unpin)) -> Result<bool> {
        let piece = read_part(from, self.left.min(PIECE)).await?;
        self.left -= piece.len();
        self.text.extend(piece);
        Ok(self.left > 0)
    }

    pub fn into_string(self) -> Result<String> {
        String::from_utf8(self.text).context("an event is no UTF-8")
    }
}
