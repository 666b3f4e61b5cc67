//! A connection that does not wait indefinitely. hyper has one timeout for a request's head and for the idle time before
//! it, the same for every client, and none for an answer that no client takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use antiphon_transport_common::Slot;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::Limits;

/// A reader slower than this, in bytes a second, is no reader.
const MIN_RATE: u64 = 16 * 1024;

/// What the connection and its requests share; all in one task, so the order of memory is no matter.
#[derive(Debug)]
pub(crate) struct Activity {
    requests: AtomicU64,
    answering: AtomicBool,
    slot: Arc<Slot>,
}

impl Activity {
    pub(crate) const fn new(slot: Arc<Slot>) -> Self {
        Self { requests: AtomicU64::new(0), answering: AtomicBool::new(false), slot }
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Notes when the body of an answer is used up, or given up.
    pub(crate) fn watch(self: &Arc<Self>, body: Body) -> Answer {
        Answer { body, activity: Arc::clone(self) }
    }
}

/// The body of an answer, until it is used up.
pub(crate) struct Answer {
    body: Body,
    activity: Arc<Activity>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.activity.answering.store(false, Ordering::Relaxed);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a client owes while no request is being answered.
struct Due {
    /// The number of requests before it.
    before: u64,
    /// Whether a head is under way; otherwise its first byte is due.
    begun: bool,
    at: Pin<Box<Sleep>>,
}

impl Due {
    fn within(time: Duration, before: u64, begun: bool) -> Self {
        Self { before, begun, at: Box::pin(sleep_until(Instant::now() + time)) }
    }
}

pub(crate) struct GuardedIo<T> {
    inner: T,
    activity: Arc<Activity>,
    head: Duration,
    idle: Duration,
    stall: Duration,
    /// When something must come, and what.
    due: Option<Due>,
    /// When what is being written must be taken.
    write_due: Option<Pin<Box<Sleep>>>,
}

impl<T> GuardedIo<T> {
    pub(crate) fn new(inner: T, activity: Arc<Activity>, limits: &Limits) -> Self {
        // A new connection owes its first head at once.
        let due = Some(Due::within(limits.header, 0, true));
        let (head, idle, stall) = (limits.header, limits.unproven_idle, limits.write_stall);
        Self { inner, activity, head, idle, stall, due, write_due: None }
    }

    /// After bytes came or did not come: whether the client is late.
    fn is_late(&mut self, cx: &mut Context<'_>, arrived: bool) -> bool {
        if self.activity.answering.load(Ordering::Relaxed) {
            self.due = None;
            return false;
        }
        let requests = self.activity.requests.load(Ordering::Relaxed);
        // An answer may still be on its way, for which the reader has its own time.
        let writing = self.write_due.is_some();
        let owed = self.due.take().filter(|due| due.before == requests && (due.begun || !arrived && !writing));
        self.due = match owed {
            Some(due) => Some(due),
            None if arrived => Some(Due::within(self.head, requests, true)),
            // A client that has presented a key may idle for as long as hyper lets it.
            None if writing || self.activity.slot.is_proven() => None,
            None => Some(Due::within(self.idle, requests, false)),
        };
        self.due.as_mut().is_some_and(|due| due.at.as_mut().poll(cx).is_ready())
    }

    fn after_write(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => {
                let stall = self.stall;
                let due = self.write_due.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stall)));
                ready!(due.as_mut().poll(cx));
                Poll::Ready(Err(timed_out("the answer was not taken in time")))
            }
            // What was taken buys time, never more than a fresh start has.
            Poll::Ready(Ok(written)) => {
                if let Some(due) = &mut self.write_due {
                    let earned = Duration::from_millis((*written as u64).saturating_mul(1000) / MIN_RATE);
                    let latest = Instant::now() + self.stall;
                    let next = (due.deadline() + earned).min(latest);
                    due.as_mut().reset(next);
                }
                result
            }
            Poll::Ready(Err(_)) => result,
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if matches!(result, Poll::Ready(Err(_))) {
            return result;
        }
        if self.is_late(cx, buf.filled().len() > before) {
            return Poll::Ready(Err(timed_out("no request came in time")));
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.after_write(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.after_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        if result.is_pending() {
            return self.after_write(cx, Poll::Pending).map_ok(|_| ());
        }
        // Everything was taken.
        self.write_due = None;
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        if result.is_pending() {
            return self.after_write(cx, Poll::Pending).map_ok(|_| ());
        }
        result
    }
}
