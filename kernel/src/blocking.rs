//! Reads of the store, on threads that may block: a disk that is slow for once must not hold up every task of a runtime.

use crate::store::{StoreError, StoreErrorKind};

/// Runs a read of the store on a thread that may block. It ends even if the future is dropped. Must be called within a tokio
/// runtime.
pub(crate) async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    read: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::new(StoreErrorKind::Io, format!("a read ended early: {error}")).into()),
    }
}
