//! The node's side of the socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use antiphon_kernel::error_code::ErrorCode;
use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::frame::{WORKING_EVERY, error_line, read_line, read_request, reply_line, working_line};
use super::hidden;
use super::pieces::{read_attached, send};
use crate::api::{self, Answer, Request};
use crate::error_text::{code, explained, with_causes};
use crate::node::Node;
use crate::steps::Steps;

/// Takes commands until it is dropped.
pub(crate) struct Commands(Vec<JoinHandle<()>>);

impl Drop for Commands {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Listens for commands. The store's lock is held, so a socket that is there already is a dead one.
pub(crate) fn listen(path: &Path, node: &Arc<Node>) -> Result<Commands> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("{} could not be replaced", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("{} could not be listened on", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let mut commands = Commands(vec![tokio::spawn(accept(listener, Arc::clone(node), |_| true))]);
    if let Some(listener) = hidden::listen(&node.config().data_dir()) {
        commands.0.push(tokio::spawn(accept(listener, Arc::clone(node), hidden::is_trusted)));
    }
    Ok(commands)
}

/// Takes commands of the users that are let in.
async fn accept(listener: UnixListener, node: Arc<Node>, lets_in: fn(u32) -> bool) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| lets_in(peer.uid())) => {
                drop(tokio::spawn(converse(stream, Arc::clone(&node))));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a command could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, node: Arc<Node>) {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    while let Ok(Some(line)) = read_line(&mut reader).await {
        let request = match read_request(&line) {
            Ok(request) => with_attached(request, &mut reader).await,
            Err(error) => Err(error),
        };
        // What follows a request that was not read may be its data, and not another request.
        let ends = request.is_err();
        let answer = match request {
            Ok(request) => answer(&node, request, &mut write).await,
            Err(error) => Err(error),
        };
        let answer = answer.and_then(|answer| Ok((reply_line(&answer.reply, answer.texts.count())?, answer.texts)));
        let (line, texts) = match answer {
            Ok((line, texts)) => (Ok(line), Some(texts)),
            Err(error) => (error_line(&explained(&error), code(&error).map(ErrorCode::as_str)), None),
        };
        let Ok(line) = line else { return };
        if write.write_all(line.as_bytes()).await.is_err() {
            return;
        }
        if let Some(texts) = texts
            && let Err(error) = send(&node, texts, &mut write).await
        {
            tracing::warn!(error = %with_causes(&error), "an answer to a command broke off");
            return;
        }
        if ends {
            return;
        }
    }
}

async fn with_attached(mut request: Request, reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Request> {
    if let Some(attached) = request.attached_mut() {
        read_attached(attached, reader).await?;
    }
    Ok(request)
}

/// Answers, and reports that the node is at work for as long as that takes, and how far it has come.
async fn answer(node: &Arc<Node>, request: Request, write: &mut (impl AsyncWrite + Unpin)) -> Result<Answer> {
    let steps = Steps::default();
    let mut changes = steps.watch();
    let mut answer = std::pin::pin!(api::answer(node, request, &steps));
    loop {
        let step = tokio::select! {
            biased;
            answer = &mut answer => return answer,
            step = changes.next() => Some(step),
            () = tokio::time::sleep(WORKING_EVERY) => None,
        };
        // The caller may be gone. What was begun is finished all the same.
        drop(write.write_all(working_line(step)?.as_bytes()).await);
    }
}
