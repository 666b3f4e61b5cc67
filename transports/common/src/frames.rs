//! Frames out of a stream of bytes.

use std::time::Duration;

use antiphon_kernel::budget::{Account, Budget, Share};
use antiphon_kernel::codec::{FRAME_HEADER_BYTES, FrameHeader, MAX_FRAME_BYTES};
use antiphon_kernel::transport::TransportError;
use antiphon_kernel::transport::TransportErrorKind;
use bytes::{Bytes, BytesMut};

use crate::errors::{failure, from_wire};

/// A frame of no more bytes is received without a share of the memory budget.
const FREE_BYTES: usize = 16 * 1024;
/// How often a frame that waits for memory is logged.
const ROOM_PATIENCE: Duration = Duration::from_secs(20);

/// Cuts what arrived into frames. A header decides how much may follow it, and memory grows only with what arrived: a
/// length that a peer claims reserves nothing. As much as its last frame really had is reserved for the next one.
#[derive(Debug)]
pub struct Frames {
    arrived: BytesMut,
    cap: usize,
    last: usize,
    charged: Option<(Budget, Account)>,
    /// The memory of the frame that has begun.
    room: Option<Share>,
}

impl Default for Frames {
    fn default() -> Self {
        Self::capped(MAX_FRAME_BYTES)
    }
}

impl Frames {
    /// Takes no frame of more than `cap` bytes.
    #[must_use]
    pub fn capped(cap: usize) -> Self {
        Self { arrived: BytesMut::new(), cap: cap.min(MAX_FRAME_BYTES), last: 0, charged: None, room: None }
    }

    /// Charges large frames to an account: call [`Frames::admit`] before reading more.
    #[must_use]
    pub fn charged_to(self, budget: Budget, account: Account) -> Self {
        Self { charged: Some((budget, account)), ..self }
    }

    /// Waits until there is memory for the frame that has begun, if it is large. Until then nothing more is to be read: the
    /// sender waits as well. A frame keeps its share until its last part is dropped.
    ///
    /// # Errors
    /// As [`Frames::next_frame`].
    pub async fn admit(&mut self) -> Result<(), TransportError> {
        let (Some((budget, account)), None) = (&self.charged, &self.room) else { return Ok(()) };
        let Some(expected) = self.expected()?.filter(|&expected| expected > FREE_BYTES) else { return Ok(()) };
        loop {
            // The deadline of the question ends this, and the next one asks for less.
            match budget.share(account, expected as u64, expected as u64, ROOM_PATIENCE).await {
                Ok(room) => {
                    self.room = Some(room);
                    return Ok(());
                }
                Err(error) => tracing::warn!("a frame of {expected} bytes waits to be received: {error}"),
            }
        }
    }

    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.arrived.capacity() - self.arrived.len() < bytes.len() {
            // Growing step by step would copy all of it several times.
            self.arrived.reserve(bytes.len().max(self.last.saturating_sub(self.arrived.len())));
        }
        self.arrived.extend_from_slice(bytes);
    }

    /// The whole length of the frame that has begun, once its header arrived.
    fn expected(&self) -> Result<Option<usize>, TransportError> {
        if self.arrived.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let header = FrameHeader::parse(&self.arrived).map_err(|e| from_wire(&e))?;
        let expected = FRAME_HEADER_BYTES + header.body_len();
        if expected > self.cap {
            let detail = format!("a frame of {expected} bytes, where at most {} are taken", self.cap);
            return Err(failure(TransportErrorKind::TooLarge, detail));
        }
        Ok(Some(expected))
    }

    /// The next whole frame, if it arrived.
    ///
    /// # Errors
    /// [`TransportError`]: what arrived does not begin as a frame does, or claims to be longer than may be.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, TransportError> {
        let expected = self.expected()?.filter(|&expected| self.arrived.len() >= expected);
        Ok(expected.map(|expected| {
            self.last = expected;
            let frame = self.arrived.split_to(expected).freeze();
            match self.room.take() {
                Some(room) => room.hold(frame),
                None => frame,
            }
        }))
    }

    /// How many bytes wait for the rest of their frame.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.arrived.len()
    }

    /// The stream ended.
    ///
    /// # Errors
    /// Category `eof`: it ended within a frame.
    pub fn end(&self) -> Result<(), TransportError> {
        let got = self.arrived.len();
        let detail = match self.expected()? {
            _ if got == 0 => return Ok(()),
            None => format!("the answer ended after {got} bytes, within the frame's header"),
            Some(expected) => format!("the answer ended after {got} of {expected} bytes of its frame"),
        };
        Err(failure(TransportErrorKind::Eof, detail))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use antiphon_kernel::codec::{Message, encode};

    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let frame = encode(&Message::Identify);
        let two = [&frame[..], &frame[..]].concat();
        for cut in 0..=two.len() {
            let mut frames = Frames::default();
            let mut out = Vec::new();
            for part in [&two[..cut], &two[cut..]] {
                frames.push(part);
                while let Some(frame) = frames.next_frame().unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, [frame.clone(), frame.clone()]);
            frames.end().unwrap();
        }
    }

    #[tokio::test]
    async fn a_large_frame_takes_its_memory_before_it_is_read_and_keeps_it() {
        let budget = Budget::new(100_000);
        let account = Account::Readers;
        let mut frame = vec![7; 60_000];
        frame[..4].copy_from_slice(&encode(&Message::Identify)[..4]);
        frame[4..8].copy_from_slice(&(60_000_u32 - 24).to_be_bytes());
        let mut frames = Frames::default().charged_to(budget.clone(), account.clone());
        frames.push(&frame[..100]);
        assert_eq!(frames.next_frame().unwrap(), None);
        frames.admit().await.unwrap();
        assert_eq!(budget.usage().used, 60_000);
        let mut second = Frames::default().charged_to(budget.clone(), account);
        second.push(&frame[..100]);
        let late = tokio::time::timeout(Duration::from_millis(20), second.admit()).await;
        assert!(late.is_err(), "no memory, so nothing more is read");
        frames.push(&frame[100..]);
        let whole = frames.next_frame().unwrap().unwrap();
        drop(frames);
        assert_eq!((whole.len(), budget.usage().used), (60_000, 60_000));
        drop(whole);
        second.admit().await.unwrap();
        assert_eq!(budget.usage().used, 60_000);
    }

    #[test]
    fn an_end_within_a_frame_is_an_error_and_so_is_a_length_beyond_the_cap() {
        let frame = encode(&Message::Identify);
        for cut in 1..frame.len() {
            let mut frames = Frames::default();
            frames.push(&frame[..cut]);
            assert_eq!(frames.next_frame().unwrap(), None);
            assert_eq!(frames.end().unwrap_err().kind(), TransportErrorKind::Eof);
        }
        let mut long = frame.to_vec();
        long[4..8].copy_from_slice(&1000_u32.to_be_bytes());
        let mut frames = Frames::capped(100);
        frames.push(&long);
        assert_eq!(frames.next_frame().unwrap_err().kind(), TransportErrorKind::TooLarge);
        let mut frames = Frames::default();
        frames.push(b"HTTP/1.1 400 Bad Request\r\n");
        assert_eq!(frames.next_frame().unwrap_err().kind(), TransportErrorKind::Unexpected);
    }
}
