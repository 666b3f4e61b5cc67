//! Answers, read while they are counted. What a peer claims about its length is not believed.

use antiphon_kernel::codec::{FRAME_HEADER_BYTES, FrameHeader};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::TransportError;
use bytes::{Bytes, BytesMut};
use reqwest::Response;

use crate::errors::{failure, from_reqwest, from_wire};

/// Reads an answer of at most `cap` bytes.
pub(crate) async fn read_capped(mut response: Response, cap: usize) -> Result<Bytes, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(from_reqwest)? {
        if body.len() + chunk.len() > cap {
            return Err(failure(ErrorCategory::TooLarge, format!("the answer has more than {cap} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Reads an answer that is one frame.
pub(crate) async fn read_frame(response: Response) -> Result<Bytes, TransportError> {
    let mut frames = Frames::new(response);
    let frame = frames.next().await?;
    let frame = frame.ok_or_else(|| failure(ErrorCategory::Eof, "the answer ended before its frame"))?;
    if frames.next_chunk().await? || !frames.arrived.is_empty() {
        let detail = format!("more bytes follow a frame of {} bytes", frame.len());
        return Err(failure(ErrorCategory::TooLarge, detail));
    }
    Ok(frame)
}

/// The frames of an answer, one after another: a header decides how much may follow it, and memory grows only with what
/// arrived.
pub(crate) struct Frames {
    response: Response,
    arrived: BytesMut,
}

impl Frames {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, arrived: BytesMut::new() }
    }

    /// The next frame, or `None` where the answer ended between two. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            let expected = match self.arrived.len() {
                0..FRAME_HEADER_BYTES => None,
                _ => {
                    let header = FrameHeader::parse(&self.arrived).map_err(|e| from_wire(&e))?;
                    Some(FRAME_HEADER_BYTES + header.body_len())
                }
            };
            if let Some(expected) = expected.filter(|&expected| self.arrived.len() >= expected) {
                return Ok(Some(self.arrived.split_to(expected).freeze()));
            }
            if !self.next_chunk().await? {
                let got = self.arrived.len();
                return match expected {
                    None if got == 0 => Ok(None),
                    None => Err(failure(
                        ErrorCategory::Eof,
                        format!("the answer ended after {got} bytes, within the frame's header"),
                    )),
                    Some(expected) => Err(failure(
                        ErrorCategory::Eof,
                        format!("the answer ended after {got} of {expected} bytes of its frame"),
                    )),
                };
            }
        }
    }

    async fn next_chunk(&mut self) -> Result<bool, TransportError> {
        let Some(chunk) = self.response.chunk().await.map_err(from_reqwest)? else { return Ok(false) };
        self.arrived.extend_from_slice(&chunk);
        Ok(true)
    }
}
