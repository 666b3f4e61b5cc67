//! Request bodies, counted and timed as they arrive.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

/// Reads a body of at most `cap` bytes that comes whole within `within`.
pub(crate) async fn read(body: Body, cap: usize, within: Duration) -> Result<Bytes, StatusCode> {
    let read = async {
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
        Ok(bytes.into())
    };
    timeout(within, read).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}
