//! Reads of the store, on threads that may block: a disk that is slow for once must not hold up every task of a runtime.

use tokio::task::JoinHandle;

#[cfg(any(test, feature = "testing"))]
use crate::simulated;
use crate::store::{StoreError, StoreErrorKind};

/// Runs a read of the store on a thread that may block. It ends even if the future is dropped. Must be called within a tokio
/// runtime.
pub(crate) async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    read: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::new(StoreErrorKind::Io, format!("a read ended early: {error}")).into()),
    }
}

/// As [`tokio::task::spawn_blocking`]. In a simulation it is a task that takes virtual time.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    #[cfg(any(test, feature = "testing"))]
    if simulated::is_active() {
        return tokio::spawn(async move {
            simulated::pause().await;
            work()
        });
    }
    tokio::task::spawn_blocking(work)
}
