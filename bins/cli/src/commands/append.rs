//! `antiphon append`: one event, and waiting for its copies.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use antiphon_kernel::event::{DataKind, is_media_type};
use antiphon_kernel::ids::PeerName;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::cli::AppendArgs;
use crate::input::given;
use crate::output::done;
use antiphon_node::api::{Attached, Request};
use antiphon_node::error_text::with_remedy;
use antiphon_node::reply::{AppendReply, Appended, Done, WaitReply};
use antiphon_node::socket::Backend;

pub(super) async fn run(file: &Path, args: AppendArgs, json: bool) -> Result<()> {
    let wait = args.wait_for.as_deref().map(wanted).transpose()?;
    let data = payload(&args.content_type, given(args.data).await?)?;
    let event = Request::AppendData {
        event_type: args.event_type,
        subject: args.subject.filter(|subject| !subject.is_empty()),
        content_type: (!data.is_empty()).then_some(args.content_type),
        data: Attached::one(data),
    };
    let mut backend = Backend::reach_and_warn(file).await?;
    let waited = Duration::from_secs(args.wait_timeout);
    let appended = append_and_wait(&mut backend, event, wait, waited, json).await;
    backend.close().await;
    appended
}

/// The data of an event as they were given, if they are what their content type says. White space around a JSON text is left
/// out.
pub(super) fn payload(content_type: &str, data: Vec<u8>) -> Result<Bytes> {
    if !is_media_type(content_type) {
        bail!("--content-type `{content_type}` is not a media type; write one, such as application/json or text/plain");
    }
    let data = Bytes::from(data);
    if data.is_empty() {
        return Ok(data);
    }
    match DataKind::of(content_type) {
        DataKind::Bytes => Ok(data),
        DataKind::Text if DataKind::Text.fits(&data) => Ok(data),
        DataKind::Text => bail!("--data is not UTF-8 text; name the --content-type of what it is"),
        DataKind::Json => {
            let text = std::str::from_utf8(&data).map_err(anyhow::Error::from);
            let text = text.and_then(|text| Ok(serde_json::from_str::<&RawValue>(text)?));
            let text = text.context("--data is not JSON; name another --content-type to append text")?;
            Ok(data.slice_ref(text.get().as_bytes()))
        }
    }
}

async fn append_and_wait(
    backend: &mut Backend,
    event: Request,
    wait: Option<Wanted>,
    timeout: Duration,
    json: bool,
) -> Result<()> {
    // Said before anything is in the log: a command that is corrected and given again would append twice.
    if let Some((peers, _)) = &wait {
        backend
            .ask::<Done>(Request::CanWait { peers: peers.clone() })
            .await
            .context("nothing was appended, since nobody can be waited for")?;
    }
    let answer = match backend.ask(event).await? {
        AppendReply::Appended(answer) => answer,
        AppendReply::Refused(refused) => bail!("{}", with_remedy(&refused.error, refused.code.as_deref())),
    };
    warn_of(&answer);
    let appended = answer.appended.first().context("the node appended nothing; look at its log")?;
    let text = format!("{} at sequence number {}", appended.id, appended.seq);
    // It is durable whatever comes of the wait, so that is said first.
    done(appended, json, &text)?;
    let Some((peers, count)) = wait else { return Ok(()) };
    let timeout_ms = u64::try_from(timeout.as_millis())?;
    match backend.ask(Request::WaitReplicated { id: appended.id, peers, count, timeout_ms }).await? {
        WaitReply::Late(late) => bail!("{}", with_remedy(&late.error, late.code.as_deref())),
        WaitReply::Replicated(copies) => done(&copies, json, &format!("confirmed by {}", copies.confirmed)),
    }
}

/// What keeps an appended event from reaching every peer, as its acknowledgement says. Once a process.
pub(super) fn warn_of(acknowledged: &Appended) {
    static WARNED: Once = Once::new();
    let (stays, forked) = (!acknowledged.leaves, acknowledged.forked);
    if stays || forked {
        WARNED.call_once(|| {
            if stays {
                eprintln!("antiphon: this node does not serve its log (mode subscribe): the event will not leave it");
            }
            if forked {
                eprintln!(
                    "antiphon: this node's own events have two histories: the event does not reach peers that hold the other one; see \
                     `antiphon fork list`"
                );
            }
        });
    }
}

/// For which peers to wait; for so many of whichever if none is named.
type Wanted = (Vec<PeerName>, usize);

/// Names of peers, or a number of them.
fn wanted(text: &str) -> Result<Wanted> {
    if let Ok(count) = text.parse() {
        return Ok((Vec::new(), count));
    }
    let names: Result<Vec<_>, _> = text.split(',').map(|name| PeerName::new(name.trim())).collect();
    Ok((names.context("--wait-for takes names of peers, or a number")?, 0))
}
