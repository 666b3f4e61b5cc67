//! One request to the node that serves, or to the store.

use std::path::Path;

use antiphon_node::api::{Reply, Request, UnexpectedReply};
use antiphon_node::socket::Backend;
use antiphon_node::steps::Steps;
use anyhow::Result;

use crate::progress;

pub(super) async fn ask<R: TryFrom<Reply, Error = UnexpectedReply>>(file: &Path, request: Request) -> Result<R> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let reply = backend.ask(request).await;
    backend.close().await;
    reply
}

/// The same for a command that takes long, with a bar if one is wanted.
pub(super) async fn ask_with_bar<R: TryFrom<Reply, Error = UnexpectedReply>>(
    file: &Path,
    request: Request,
    is_wanted: bool,
) -> Result<R> {
    let mut backend = Backend::reach_and_warn(file).await?;
    let steps = Steps::default();
    let reply = progress::show(is_wanted, &steps, backend.ask_with_steps(request, &steps)).await;
    backend.close().await;
    reply
}
