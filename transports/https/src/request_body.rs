//! Request bodies, counted and timed as they arrive.

use std::time::Duration;

use antiphon_kernel::budget::{Account, Budget, Share};
use axum::body::{Body, HttpBody as _};
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

/// A body of no more bytes is read without a share of the memory budget.
const FREE_BYTES: u64 = 4096;

/// Reads a body of at most `cap` bytes that comes whole within `within`. Its memory is charged to an account, if one is given; else the
/// number of connections and `cap` bound it.
pub(crate) async fn read(
    body: Body,
    cap: usize,
    within: Duration,
    charged: Option<(&Budget, &Account)>,
) -> Result<(Bytes, Option<Share>), StatusCode> {
    let read = async {
        // A body that does not say how long it is may become as long as may be.
        let claimed = body.size_hint().exact().unwrap_or(cap as u64).min(cap as u64);
        let room = match charged {
            Some((budget, account)) if claimed > FREE_BYTES => {
                Some(budget.share(account, claimed, claimed, within).await)
            }
            _ => None,
        };
        let room = room.transpose().map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let mut bytes = Vec::new();
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            // The client is gone or does not speak HTTP; it will hardly read this.
            let chunk = chunk.map_err(|_| StatusCode::BAD_REQUEST)?;
            if bytes.len() + chunk.len() > cap {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.into(), room))
    };
    timeout(within, read).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}
