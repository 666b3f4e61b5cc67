//! Answers, read while they are counted. What a peer claims about its length is not believed.

use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use antiphon_transport_common::{Frames, failure};
use bytes::Bytes;
use reqwest::Response;

use crate::errors::from_reqwest;

/// Reads an answer of at most `cap` bytes.
pub(crate) async fn read_capped(mut response: Response, cap: usize) -> Result<Bytes, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(from_reqwest)? {
        if body.len() + chunk.len() > cap {
            return Err(failure(TransportErrorKind::TooLarge, format!("the answer has more than {cap} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Reads an answer that is one frame.
pub(crate) async fn read_frame(response: Response, frames: Frames) -> Result<Bytes, TransportError> {
    let mut answers = Answers::new(response, frames);
    let frame = answers.next().await?;
    let frame = frame.ok_or_else(|| failure(TransportErrorKind::Eof, "the answer ended before its frame"))?;
    if answers.more().await? || answers.frames.pending() > 0 {
        let detail = format!("more bytes follow a frame of {} bytes", frame.len());
        return Err(failure(TransportErrorKind::TooLarge, detail));
    }
    Ok(frame)
}

/// The frames of an answer, one after another.
pub(crate) struct Answers {
    response: Response,
    frames: Frames,
}

impl Answers {
    pub(crate) const fn new(response: Response, frames: Frames) -> Self {
        Self { response, frames }
    }

    /// The next frame, or `None` where the answer ended between two. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(Some(frame));
            }
            self.frames.admit().await?;
            if !self.more().await? {
                return self.frames.end().map(|()| None);
            }
        }
    }

    async fn more(&mut self) -> Result<bool, TransportError> {
        let Some(chunk) = self.response.chunk().await.map_err(from_reqwest)? else { return Ok(false) };
        self.frames.push(&chunk);
        Ok(true)
    }
}
