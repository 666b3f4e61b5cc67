//! How far the log reaches, said in time.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Service;
use crate::codec::Room;
use crate::cursor::Seq;
use crate::protocol::{HEARTBEAT_INTERVAL, Heartbeat};

/// While the log moves, heartbeats are at least this far apart.
const APART: Duration = Duration::from_secs(1);

/// A heartbeat at once, then one a second while the log moves, and one each [`HEARTBEAT_INTERVAL`] while it does not.
pub struct Heartbeats {
    service: Service,
    durable: watch::Receiver<Seq>,
    last: Option<Instant>,
}

impl Heartbeats {
    pub(super) fn new(service: Service) -> Self {
        let durable = service.inner.view.watch_durable();
        Self { service, durable, last: None }
    }

    /// The next one, or `None` once the service closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Heartbeat> {
        let mut closing = self.service.inner.closing.subscribe();
        if *closing.borrow() {
            return None;
        }
        if let Some(last) = self.last {
            let wait = async {
                tokio::time::sleep_until(last + APART).await;
                tokio::select! {
                    biased;
                    // A log that is closed moves no more.
                    _ = self.durable.changed() => {}
                    () = tokio::time::sleep_until(last + HEARTBEAT_INTERVAL) => {}
                }
            };
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return None,
                () = wait => {}
            }
        }
        self.last = Some(Instant::now());
        self.durable.borrow_and_update();
        let view = &self.service.inner.view;
        let (head, local) = (view.head(), view.local());
        Some(Heartbeat {
            from: local.cortex_id,
            head: crate::cursor::Cursor { epoch: local.epoch, seq: head.seq, last_event: head.last_event },
            floor: Seq::ZERO,
            head_time: head.time,
            room: Room::default(),
        })
    }
}
