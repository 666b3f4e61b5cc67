//! What crosses the socket as bytes: the texts and data of events. They follow a line of JSON, so that no payload is escaped,
//! parsed or copied into a tree there.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frame::WORKING_EVERY;
use crate::api::{Attached, Texts};
use crate::node::Node;

/// The most bytes that are attached to one request: an event of 16 MiB of which every byte is escaped, and its attributes.
const MAX_ATTACHED: usize = 128 * 1024 * 1024;
/// The number of bytes that are moved at a time.
const PIECE: usize = 64 * 1024;

/// Reads what the line of a request announced.
pub(super) async fn read_attached(attached: &mut Attached, from: &mut (impl AsyncBufRead + Unpin)) -> Result<()> {
    let total = attached.lengths().iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
    if total.is_none_or(|total| total > MAX_ATTACHED) {
        bail!("more than {MAX_ATTACHED} bytes of events came with one command; give it fewer at a time");
    }
    let mut parts = Vec::new();
    for &length in attached.lengths() {
        parts.push(read_part(from, length).await?.into());
    }
    attached.set_parts(parts);
    Ok(())
}

/// What is written after the line of a request, in pieces: a deadline is for each piece, whatever the size of the whole.
pub(super) fn pieces(attached: &Attached) -> impl Iterator<Item = &[u8]> {
    attached.parts().iter().flat_map(|part: &Bytes| part.chunks(PIECE))
}

/// Reads a part of this length. Memory is taken as the bytes come: a length is a claim.
async fn read_part(from: &mut (impl AsyncBufRead + Unpin), length: usize) -> Result<Vec<u8>> {
    let mut part = Vec::with_capacity(length.min(PIECE * 16));
    from.take(length as u64).read_to_end(&mut part).await?;
    if part.len() != length {
        bail!("the connection ended within an event");
    }
    Ok(part)
}

/// The line before a text that is not ready yet. It keeps the caller from taking a node that waits for one that hangs.
const WORKING: &str = "working";

/// Sends texts, each after a line with its length.
pub(super) async fn send(node: &Node, mut texts: Texts, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
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
pub(super) struct Incoming {
    text: Vec<u8>,
    left: usize,
}

impl Incoming {
    /// Receives its length; `None` if the node is still at work.
    pub(super) async fn begin(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let mut line = String::new();
        (&mut *from).take(32).read_line(&mut line).await?;
        if line.trim_end() == WORKING {
            return Ok(None);
        }
        let left = line.trim_end().parse().context("the node that serves broke off an answer; look at its log")?;
        Ok(Some(Self { text: Vec::new(), left }))
    }

    /// Receives the next piece; false once it is whole.
    pub(super) async fn next(&mut self, from: &mut (impl AsyncBufRead + Unpin)) -> Result<bool> {
        let piece = read_part(from, self.left.min(PIECE)).await?;
        self.left -= piece.len();
        self.text.extend(piece);
        Ok(self.left > 0)
    }

    pub(super) fn into_string(self) -> Result<String> {
        String::from_utf8(self.text).context("an event is no UTF-8")
    }
}
