//! Which part of the api answers each request.

use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::event::{CloudEventOptions, Draft};
use antiphon_kernel::internals::log::keys_outside;
use anyhow::Result;

use super::read::{PAGE_BYTES, PAGE_EVENTS};
use super::reply::Reply;
use super::request::Request;
use super::texts::{Answer, Text};
use super::{append, comparison, federation, forks, read, replaying, status};
use crate::node::Node;
use crate::reply::{Done, NewEpoch};
use crate::steps::Steps;
use crate::{backup, reload, rotate};

/// Answers a request. What takes long reports its steps.
///
/// # Errors
/// Why the node cannot carry it out.
pub async fn answer(node: &Arc<Node>, request: Request, steps: &Steps) -> Result<Answer> {
    let reply: Reply = match request {
        Request::Append { events, lowercase_extensions, progress } => {
            append::append(node, events.into_parts(), CloudEventOptions { lowercase_extensions }, progress)
                .await?
                .into()
        }
        Request::AppendData { event_type, subject, content_type, data } => {
            let mut draft = Draft::new(event_type, data.into_one());
            (draft.subject, draft.datacontenttype) = (subject, content_type);
            append::append_drafts(node, vec![draft], None).await?.into()
        }
        Request::ImportProgress { key } => append::import_progress(node, &key).await?.into(),
        Request::Log { after, limit, wait_ms } => return read::log(node, after, limit, wait_ms).await,
        Request::View { subject, after } => return read::latest(node, subject, after).await,
        Request::CanWait { peers } => {
            append::can_wait(node, &peers).await?;
            Done.into()
        }
        Request::WaitReplicated { id, peers, count, timeout_ms } => {
            append::wait_replicated(node, id, &peers, count, Duration::from_millis(timeout_ms)).await?.into()
        }
        Request::Conflicts => return replaying::conflicts(node).await,
        Request::Resolve { subject, take, replacement, data } => {
            let replacement = replacement.map(|(event_type, kind)| (event_type, kind, data.into_one()));
            replaying::resolve(node, subject, take, replacement).await?.into()
        }
        Request::ReplayList { replayer } => {
            node.reading(move |node| replaying::list(node, replayer.as_deref())).await?.into()
        }
        Request::ReplayRetry { replayer, subject } => {
            replaying::retry(node, replayer.as_deref(), subject).await?.into()
        }
        Request::ReplaySkip { replayer, at } => replaying::skip(node, replayer.as_deref(), at).await?.into(),
        Request::Status => node.reading(status::report).await?.into(),
        Request::Location => status::location(node).await?.into(),
        Request::Reload => reload::reload(node).await?.into(),
        Request::ResetPeer { name } => federation::reset_peer(node, name).await?.into(),
        Request::AllowCortex { name, cortex } => federation::allow(node, &name, cortex).await?.into(),
        Request::SetPeerMode { name, mode } => federation::set_peer_mode(node, name, mode).await?.into(),
        Request::SetMode { mode } => federation::set_mode(node, mode).await?.into(),
        Request::NewEpoch => {
            let from = node.cortex().reader().local().epoch;
            let identity = node.cortex().log().new_epoch().await?;
            NewEpoch { from: from.to_string(), epoch: identity.epoch.to_string() }.into()
        }
        Request::RotateKey => rotate::rotate_key(node).await?.into(),
        Request::Verify => comparison::verify(node, steps.clone()).await?.into(),
        Request::Digest => comparison::chains(node).into(),
        Request::Compare { peer } => comparison::compare(node, &peer).await?.into(),
        Request::Backup { to, with_keys } => {
            let (store, log, steps) = (Arc::clone(node.store()), node.cortex().reader().clone(), steps.clone());
            tokio::task::spawn_blocking(move || backup::make(&store, &log, &to, with_keys, &steps)).await??.into()
        }
        Request::ForkList => forks::list(node).await?.into(),
        Request::ForkEvidence { skip, limit } => {
            let store = Arc::clone(node.store());
            let read = move || keys_outside(&*store, skip, limit.min(PAGE_EVENTS), PAGE_BYTES);
            let keys = tokio::task::spawn_blocking(read).await??;
            return Ok(Answer { reply: Done.into(), texts: keys.into_iter().map(Text::Outside).collect() });
        }
        Request::ForkResolve(wanted) => forks::resolve(node, wanted).await?.into(),
        Request::ForkBringBack { all } => forks::bring_back(node, all).await?.into(),
    };
    Ok(reply.into())
}
