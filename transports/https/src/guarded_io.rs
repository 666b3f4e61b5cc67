//! A connection that does not wait for ever. hyper knows one timeout for a request's head and for the idle time before
//! it, and none for an answer that nobody takes; the two below are what is missing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::Limits;

/// A reader slower than this, in bytes a second, is no reader.
const MIN_RATE: u64 = 16 * 1024;

/// What the connection and its requests tell each other; all in one task, so the order of memory is no matter.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    requests: AtomicU64,
    answering: AtomicBool,
}

impl Activity {
    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Its answer is decided.
    pub(crate) fn end(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }
}

pub(crate) struct GuardedIo<T> {
    inner: T,
    activity: Arc<Activity>,
    head: Duration,
    stall: Duration,
    /// When the head under way must be complete, and the number of requests before it.
    head_due: Option<(u64, Pin<Box<Sleep>>)>,
    /// When what is being written must be taken.
    write_due: Option<Pin<Box<Sleep>>>,
}

impl<T> GuardedIo<T> {
    pub(crate) fn new(inner: T, activity: Arc<Activity>, limits: &Limits) -> Self {
        // A new connection owes its first head at once.
        let head_due = Some((0, Box::pin(sleep_until(Instant::now() + limits.header))));
        Self { inner, activity, head: limits.header, stall: limits.write_stall, head_due, write_due: None }
    }

    /// After bytes came or did not come: whether the head under way is late.
    fn head_is_late(&mut self, cx: &mut Context<'_>, arrived: bool) -> bool {
        let requests = self.activity.requests.load(Ordering::Relaxed);
        if self.activity.answering.load(Ordering::Relaxed) {
            self.head_due = None;
            return false;
        }
        if self.head_due.as_ref().is_some_and(|(before, _)| *before != requests) {
            self.head_due = None;
        }
        if arrived && self.head_due.is_none() {
            self.head_due = Some((requests, Box::pin(sleep_until(Instant::now() + self.head))));
        }
        self.head_due.as_mut().is_some_and(|(_, due)| due.as_mut().poll(cx).is_ready())
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
        if self.head_is_late(cx, buf.filled().len() > before) {
            return Poll::Ready(Err(timed_out("the request's head did not come in time")));
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
