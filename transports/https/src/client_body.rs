//! Answers, read while they are counted. What a peer claims about its length is not believed.

use antiphon_kernel::codec::{FRAME_HEADER_BYTES, FrameHeader};
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::transport::TransportError;
use bytes::Bytes;
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

/// Reads one frame: its header decides how much may follow, and memory grows only with what arrived.
pub(crate) async fn read_frame(mut response: Response) -> Result<Bytes, TransportError> {
    let mut frame = Vec::new();
    let mut expected = None;
    while let Some(chunk) = response.chunk().await.map_err(from_reqwest)? {
        frame.extend_from_slice(&chunk);
        if expected.is_none() && frame.len() >= FRAME_HEADER_BYTES {
            let header = FrameHeader::parse(&frame).map_err(|e| from_wire(&e))?;
            expected = Some(FRAME_HEADER_BYTES + header.body_len());
        }
        if let Some(expected) = expected.filter(|&expected| frame.len() > expected) {
            let detail = format!("more bytes follow a frame of {expected} bytes");
            return Err(failure(ErrorCategory::TooLarge, detail));
        }
    }
    match expected {
        Some(expected) if frame.len() == expected => Ok(frame.into()),
        Some(expected) => Err(failure(
            ErrorCategory::Eof,
            format!("the answer ended after {} of {expected} bytes of its frame", frame.len()),
        )),
        None => Err(failure(
            ErrorCategory::Eof,
            format!("the answer ended after {} bytes, within the frame's header", frame.len()),
        )),
    }
}
