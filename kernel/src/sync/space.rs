//! Looks at the store's place about once a second. Pulling stops before the disk is full: what is left is for appends and for the
//! store itself. Writing stops once the store's files are not those any more that its path leads to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::blocking::blocking;
use crate::error_code::ErrorCode;
use crate::log::LogHandle;
use crate::store::StoreError;

/// How often the free space is looked at, and a store that failed is opened again.
const EVERY: Duration = Duration::from_secs(1);

/// Whether there is too little space: below the floor, and from then on until there is an eighth more. Pure.
const fn is_low(was_low: bool, free: u64, floor: u64) -> bool {
    free < if was_low { floor.saturating_add(floor / 8) } else { floor }
}

pub(super) struct SpaceWatch {
    log: LogHandle,
    floor: Arc<AtomicU64>,
    low: watch::Sender<bool>,
}

impl SpaceWatch {
    /// Looks once.
    pub(super) async fn new(log: LogHandle, floor: Arc<AtomicU64>) -> Self {
        let store = Arc::clone(log.reader().store());
        let free = blocking(move || store.free_bytes()).await;
        let watch = Self { log, floor, low: watch::Sender::new(false) };
        watch.look(free);
        watch
    }

    pub(super) fn low(&self) -> watch::Receiver<bool> {
        self.low.subscribe()
    }

    /// Looks until it is stopped, or the other end of `stop` is dropped.
    pub(super) async fn run(self, mut stop: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let store = Arc::clone(self.log.reader().store());
            let looked = crate::blocking::spawn_blocking(move || (store.check_location(), store.free_bytes())).await;
            let Ok((location, free)) = looked else { continue };
            self.look(free);
            if self.log.reader().failure().is_some() {
                // The next write would do so too, but perhaps there is none.
                self.log.recover().await;
            } else if let Err(error) = location {
                self.log.fail(error).await;
                // This writes the reason to the log, and notices when the files are back.
                self.log.recover().await;
            }
        }
    }

    fn look(&self, free: Result<Option<u64>, StoreError>) {
        let free = match free {
            Ok(Some(free)) => free,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the free space is not known");
                return;
            }
        };
        let was_low = *self.low.borrow();
        let floor = self.floor.load(Ordering::Relaxed);
        let low = is_low(was_low, free, floor);
        if low == was_low {
            return;
        }
        self.low.send_replace(low);
        let (free, floor) = (free >> 20, floor >> 20);
        if low {
            tracing::error!(
                code = %ErrorCode::SyncNoSpace,
                "the disk has {free} MiB left, less than the reserve of {floor} MiB: peers are served, and none is pulled until \
                 there is more"
            );
        } else {
            tracing::info!("the disk has {free} MiB left: peers are pulled again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_low_below_the_floor_until_there_is_clearly_more() {
        assert!(!is_low(false, 800, 800));
        assert!(is_low(false, 799, 800));
        assert!(is_low(true, 899, 800), "a little more is spent at once");
        assert!(!is_low(true, 900, 800));
        assert!(!is_low(false, 0, 0), "no floor");
        assert!(is_low(true, u64::MAX - 1, u64::MAX));
    }
}
