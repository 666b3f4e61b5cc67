//! One request to the node that serves, or to the store.

use std::path::Path;

use antiphon_node::api::{Reply, Request, UnexpectedReply};
use antiphon_node::socket::Backend;
use anyhow::Result;

pub(super) async fn ask<R: TryFrom<Reply, Error = UnexpectedReply>>(file: &Path, request: Request) -> Result<R> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let reply = backend.ask(request).await;
    backend.close().await;
    reply
}
