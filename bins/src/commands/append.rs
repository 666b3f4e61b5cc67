//! `antiphon append`: one event, and waiting for its copies.

use std::path::Path;
use std::time::Duration;

use antiphon_kernel::ids::PeerName;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{done, or_stdin};
use crate::admin::Backend;
use crate::cli::AppendArgs;
use crate::node::Ask;

pub(super) async fn run(file: &Path, args: AppendArgs, json: bool) -> Result<()> {
    let wait = args.wait_for.as_deref().map(wanted).transpose()?;
    let event = event_of(args.event_type, args.subject, args.content_type, or_stdin(args.data).await?)?;
    let mut backend = Backend::reach_and_warn(file).await?;
    let waited = Duration::from_secs(args.wait_timeout);
    let appended = append_and_wait(&mut backend, &event, wait, waited, json).await;
    backend.close().await;
    appended
}

/// A CloudEvent, but for what the node adds.
fn event_of(event_type: String, subject: Option<String>, content_type: String, data: String) -> Result<Value> {
    let mut event = json!({ "specversion": "1.0", "type": event_type });
    if let Some(subject) = subject {
        event["subject"] = subject.into();
    }
    if !data.is_empty() {
        event["data"] = if content_type.ends_with("json") {
            serde_json::from_str(&data).context("--data is not JSON; name another --content-type to append text")?
        } else {
            data.into()
        };
        event["datacontenttype"] = content_type.into();
    }
    Ok(event)
}

async fn append_and_wait(
    backend: &mut Backend,
    event: &Value,
    wait: Option<Wanted>,
    timeout: Duration,
    json: bool,
) -> Result<()> {
    // Said before anything is in the log: whoever mends the command and gives it again would append twice.
    if let Some((peers, _)) = &wait {
        backend
            .ask(Ask::CanWait { peers: peers.clone() })
            .await
            .context("nothing was appended, since nobody can be waited for")?;
    }
    let answer = backend.ask(Ask::Append { events: vec![event.to_string()] }).await?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("{error}");
    }
    if answer["leaves"] == false {
        eprintln!("antiphon: this node does not serve its log (mode subscribe): the event will not leave it");
    }
    let appended = &answer["appended"][0];
    let text = format!("{} at place {}", appended["id"].as_str().unwrap_or_default(), appended["seq"]);
    // It is durable whatever comes of the wait, so that is said first.
    done(appended.clone(), json, &text)?;
    let Some((peers, count)) = wait else { return Ok(()) };
    let id = serde_json::from_value(appended["id"].clone())?;
    let timeout_ms = u64::try_from(timeout.as_millis())?;
    let answer = backend.ask(Ask::WaitReplicated { id, peers, count, timeout_ms }).await?;
    match answer["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => done(answer.clone(), json, &format!("confirmed by {}", answer["confirmed"])),
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
