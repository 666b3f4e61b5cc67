//! How commands reach a node that serves: JSON lines over a Unix socket in its data directory, for its owner only.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_kernel::log::InDoubt;
use antiphon_kernel::store::{StoreError, StoreErrorKind};
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::attached::{self, Answer, Attached, Incoming};
use crate::config::{self, NodeConfig};
use crate::error_text::with_causes;
use crate::hidden;
use crate::node::{Ask, Node};
use crate::terminal::complain;

/// How long a command waits for a node that holds the store and does not listen yet, and a node for a command that holds it.
const STARTING: Duration = Duration::from_secs(3);

/// How long a node that serves may say nothing before it counts as hanging. One that works on a command says so.
const SILENCE: Duration = Duration::from_secs(10);
/// How often it says so.
pub const WORKING_EVERY: Duration = Duration::from_secs(2);

/// The longest line. Events are not in it: see [`crate::attached`].
const MAX_LINE: u64 = 64 * 1024 * 1024;

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut line = String::new();
    let read = reader.take(MAX_LINE).read_line(&mut line).await?;
    if line.ends_with('\n') {
        return Ok(Some(line));
    }
    if read as u64 == MAX_LINE {
        bail!("the answer is longer than {} MiB", MAX_LINE >> 20);
    }
    // The other side went away, perhaps in the middle of it.
    Ok(None)
}

/// Takes commands until it is dropped.
pub struct Commands(Vec<JoinHandle<()>>);

impl Drop for Commands {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Listens for commands. The store's lock is held, so a socket that is there already is a dead one.
pub fn listen(path: &Path, node: &Arc<Node>) -> Result<Commands> {
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
        let mut attached = Ok(());
        let answer = match serde_json::from_str::<Ask>(&line) {
            Ok(mut ask) => {
                if let Some(bytes) = ask.attached_mut() {
                    attached = bytes.read(&mut reader).await;
                }
                match &attached {
                    Ok(()) => answer(&node, ask, &mut write).await,
                    Err(error) => Err(anyhow::anyhow!("{error}")),
                }
            }
            Err(error) => {
                Err(anyhow::anyhow!("this node does not know that command ({error}); are both of one version?"))
            }
        };
        let (line, texts) = match answer {
            Ok(answer) => (json!({ "ok": answer.value, "texts": answer.texts.count() }), Some(answer.texts)),
            Err(error) => (json!({ "error": with_causes(&error) }), None),
        };
        if write.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
        if let Some(texts) = texts
            && let Err(error) = attached::send(&node, texts, &mut write).await
        {
            tracing::warn!(error = %with_causes(&error), "an answer to a command broke off");
            return;
        }
        if attached.is_err() {
            // What follows is not known to be a command.
            return;
        }
    }
}

/// Answers, and says that it is at work for as long as that takes.
async fn answer(node: &Arc<Node>, ask: Ask, write: &mut (impl AsyncWrite + Unpin)) -> Result<Answer> {
    let mut answer = std::pin::pin!(node.answer(ask));
    loop {
        match tokio::time::timeout(WORKING_EVERY, &mut answer).await {
            Ok(answer) => return answer,
            // The caller may be gone. What was begun is finished all the same.
            Err(_) => drop(write.write_all(b"{\"working\":true}\n").await),
        }
    }
}

/// Opens the store of a node that is to serve. Another node that serves is a reason to fail.
pub async fn open_to_serve(config: NodeConfig) -> Result<Arc<Node>> {
    match Backend::open_as(config.clone(), true).await? {
        Backend::Direct(node) => Ok(node),
        Backend::Serving(_) => {
            hidden::must_not_be_served(&config).await?;
            Node::open(config, true).await
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(|error| error.kind() == StoreErrorKind::InUse)
}

/// The node that serves went away, or hangs, while it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeGone {
    #[error("the node that serves went away")]
    Away,
    /// It ended, or one of the events cannot be read.
    #[error("the node that serves broke off an answer; look at its log")]
    BrokeOff,
    #[error(
        "the node that serves (process {process}) says nothing for {} s: it is stopped, or hangs; look at its log and at the disk, then \
         restart it",
        SILENCE.as_secs()
    )]
    Hangs { process: String },
}

/// What is done with a node that serves, unless it hangs.
async fn in_time<T>(
    stream: &mut BufReader<UnixStream>,
    what: impl AsyncFnOnce(&mut BufReader<UnixStream>) -> T,
) -> Result<T> {
    let process = stream.get_ref().peer_cred().ok().and_then(|peer| peer.pid());
    tokio::time::timeout(SILENCE, what(stream)).await.map_err(|_| {
        let process = process.map_or_else(|| "unknown".to_owned(), |process| process.to_string());
        NodeGone::Hangs { process }.into()
    })
}

/// Receives one text.
async fn receive(stream: &mut BufReader<UnixStream>) -> Result<String> {
    let mut incoming = loop {
        let begun = in_time(stream, async |stream| Incoming::begin(stream).await).await?;
        if let Some(incoming) = begun.map_err(|_| NodeGone::BrokeOff)? {
            break incoming;
        }
    };
    while in_time(stream, async |stream| incoming.next(stream).await).await?.map_err(|_| NodeGone::BrokeOff)? {}
    incoming.into_string()
}

/// Whoever answers a command: a node that serves, or the store opened for this one command.
pub enum Backend {
    Serving(Box<BufReader<UnixStream>>),
    Direct(Arc<Node>),
}

impl Backend {
    /// Whoever answers for this configuration. If it cannot be loaded, that is the node which serves all the same, under the
    /// configuration from before; with what is wrong.
    pub async fn reach(file: &Path) -> Result<(Self, Option<anyhow::Error>)> {
        match NodeConfig::load(file) {
            Ok(config) => Ok((Self::open(config).await?, None)),
            Err(error) => match Self::serving(file).await {
                Ok(Some(backend)) => Ok((backend, Some(error))),
                _ => Err(error),
            },
        }
    }

    /// The node that serves this configuration, or one from before that named the same data directory; `None` if none does.
    pub async fn serving(file: &Path) -> Result<Option<Self>> {
        let (socket, config) = match NodeConfig::load(file) {
            Ok(config) => (config.socket(), Some(config)),
            Err(error) => (config::socket_named_in(file).ok_or(error)?, None),
        };
        match (UnixStream::connect(socket).await, config) {
            (Ok(stream), _) => Ok(Some(Self::Serving(Box::new(BufReader::new(stream))))),
            (Err(_), Some(config)) => Ok(hidden::find(&config).await.map(|hidden| Self::Serving(hidden.stream))),
            (Err(_), None) => Ok(None),
        }
    }

    /// The same, and says what is wrong with the configuration.
    pub async fn reach_and_warn(file: &Path) -> Result<Self> {
        let (backend, bad) = Self::reach(file).await?;
        if let Some(error) = bad {
            let error = with_causes(&error);
            complain(&format!("{error}\nantiphon: the node that serves continues with the configuration from before"));
        }
        Ok(backend)
    }

    pub async fn open(config: NodeConfig) -> Result<Self> {
        Self::open_as(config, false).await
    }

    async fn open_as(config: NodeConfig, serving: bool) -> Result<Self> {
        let deadline = Instant::now() + STARTING;
        let mut waits = false;
        loop {
            if let Ok(stream) = UnixStream::connect(config.socket()).await {
                return Ok(Self::Serving(Box::new(BufReader::new(stream))));
            }
            if let Some(hidden) = hidden::find(&config).await {
                return Ok(Self::Serving(hidden.stream));
            }
            match Node::open(config.clone(), serving).await {
                Ok(node) => return Ok(Self::Direct(node)),
                // A node that is just starting holds the store before it listens, and a command (`status` from a timer, say)
                // for a moment.
                Err(error) if is_in_use(&error) && Instant::now() < deadline => {
                    if !std::mem::replace(&mut waits, true) {
                        tracing::info!("waiting for the store: {error}");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a value.
    pub async fn ask(&mut self, ask: Ask) -> Result<Value> {
        self.ask_for_events(ask, &mut |_: &Value, _| Ok(())).await
    }

    /// Asks for a value and the texts of events. `take` gets the value with each text.
    pub async fn ask_for_events(
        &mut self,
        ask: Ask,
        take: &mut (dyn FnMut(&Value, String) -> Result<()> + Send),
    ) -> Result<Value> {
        match self {
            Self::Direct(node) => {
                let Answer { value, mut texts } = node.answer(ask).await?;
                while let Some(text) = texts.next(node).await? {
                    take(&value, text.into_string())?;
                }
                Ok(value)
            }
            Self::Serving(stream) => {
                let line = format!("{}\n", serde_json::to_string(&ask)?);
                let appends = ask.appends();
                let written = in_time(stream, async |stream| stream.write_all(line.as_bytes()).await).await?;
                written.map_err(|_| NodeGone::Away)?;
                for piece in ask.attached().into_iter().flat_map(Attached::pieces) {
                    let written = in_time(stream, async |stream| stream.write_all(piece).await).await?;
                    written.map_err(|_| NodeGone::Away)?;
                }
                // From here on the node may have it.
                let gone = |error: anyhow::Error| if appends { anyhow!("{error}; {InDoubt}") } else { error };
                loop {
                    let line = in_time(stream, async |stream| read_line(stream).await).await.map_err(gone)?;
                    let line = match line {
                        Err(error) if !error.is::<std::io::Error>() => return Err(gone(error)),
                        line => line.ok().flatten().ok_or_else(|| gone(NodeGone::Away.into()))?,
                    };
                    let mut answer: Value = serde_json::from_str(&line)?;
                    match (answer.get("error").and_then(Value::as_str), answer.get("working")) {
                        (Some(error), _) => bail!("{error}"),
                        (None, Some(_)) => {}
                        (None, None) => {
                            let value = answer["ok"].take();
                            for _ in 0..answer["texts"].as_u64().unwrap_or(0) {
                                take(&value, receive(stream).await?)?;
                            }
                            return Ok(value);
                        }
                    }
                }
            }
        }
    }

    pub async fn close(self) {
        if let Self::Direct(node) = self {
            node.stop().await;
        }
    }
}
