//! Messages on streams.

use antiphon_kernel::budget::{Account, Budget};
use antiphon_kernel::codec::{Message, decode, encode};
use antiphon_kernel::transport::TransportError;
use antiphon_transport_common::{Frames, from_wire};
use bytes::Bytes;
use quinn::{RecvStream, SendStream};

use crate::errors::{from_closed, from_read, from_write};

/// How many pieces are taken from a stream at once: each is what one packet brought.
const PIECES: usize = 64;

/// Messages out of a stream.
pub(crate) struct Incoming {
    stream: RecvStream,
    frames: Frames,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream, frames: Frames) -> Self {
        Self { stream, frames }
    }

    /// Charges large messages from now on.
    pub(crate) fn charge_to(&mut self, budget: Budget, account: Account) {
        self.frames = std::mem::take(&mut self.frames).charged_to(budget, account);
    }

    /// The next message, or `None` where the stream ended between two. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, TransportError> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return decode(&frame).map(Some).map_err(|e| from_wire(&e));
            }
            self.frames.admit().await?;
            let mut pieces = [const { Bytes::new() }; PIECES];
            match self.stream.read_chunks(&mut pieces).await.map_err(|e| from_read(&e))? {
                Some(count) => pieces[..count].iter().for_each(|piece| self.frames.push(piece)),
                None => return self.frames.end().map(|()| None),
            }
        }
    }
}

pub(crate) async fn send(stream: &mut SendStream, message: &Message) -> Result<(), TransportError> {
    stream.write_chunk(encode(message)).await.map_err(|e| from_write(&e))
}

/// Sends the only message of a stream.
pub(crate) async fn send_last(stream: &mut SendStream, message: &Message) -> Result<(), TransportError> {
    send(stream, message).await?;
    stream.finish().map_err(from_closed)
}
