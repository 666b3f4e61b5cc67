//! A command's side of the socket: it reaches the node that serves, or opens the store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use antiphon_kernel::log::InDoubt;
use antiphon_kernel::store::{StoreError, StoreErrorKind};
use anyhow::Result;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::frame::{Line, read_answer, read_line, request_line};
use super::hidden;
use super::pieces::{Incoming, pieces};
use crate::api::{self, Answer, Reply, Request};
use crate::config::{self, NodeConfig};
use crate::error_text::explained;
use crate::node::Node;
use crate::steps::Steps;
use crate::terminal::complain;

/// How long a command waits for a node that holds the store and does not listen yet, and a node for a command that holds it.
const STARTING: Duration = Duration::from_secs(3);

/// How long a node that serves may say nothing before it counts as hanging. One that works on a command says so.
const SILENCE: Duration = Duration::from_secs(10);

/// Opens the store of a node that is to serve. Another node that serves is a reason to fail.
pub(crate) async fn open_to_serve(config: NodeConfig) -> Result<Arc<Node>> {
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

/// Sends a request, and receives the reply and the number of texts that follow.
async fn exchange(stream: &mut BufReader<UnixStream>, request: &Request, steps: &Steps) -> Result<(Reply, usize)> {
    let line = request_line(request)?;
    let written = in_time(stream, async |stream| stream.write_all(line.as_bytes()).await).await?;
    written.map_err(|_| NodeGone::Away)?;
    for piece in request.attached().into_iter().flat_map(pieces) {
        if in_time(stream, async |stream| stream.write_all(piece).await).await?.is_err() {
            // A node of another version does not read them, and has said why.
            let said = in_time(stream, async |stream| read_line(stream).await).await?;
            let refused = said.ok().flatten().and_then(|line| read_answer(&line).err());
            return Err(refused.unwrap_or_else(|| NodeGone::Away.into()));
        }
    }
    // From here on the node may have it.
    let appends = request.appends();
    let gone = |error: anyhow::Error| if appends { error.context(InDoubt) } else { error };
    loop {
        let line = in_time(stream, async |stream| read_line(stream).await).await.map_err(gone)?;
        let line = match line {
            Err(error) if !error.is::<std::io::Error>() => return Err(gone(error)),
            line => line.ok().flatten().ok_or_else(|| gone(NodeGone::Away.into()))?,
        };
        match read_answer(&line)? {
            Line::Reply(reply, texts) => return Ok((reply, texts)),
            Line::Working(Some(step)) => steps.report(step),
            Line::Working(None) => {}
        }
    }
}

/// What answers a command: a node that serves, or the store opened for this one command.
pub enum Backend {
    Serving(Box<BufReader<UnixStream>>),
    Direct(Arc<Node>),
}

impl Backend {
    /// What answers for this configuration. If it cannot be loaded, that is the node which serves all the same, under the
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
            let error = explained(&error);
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

    /// Asks for a reply.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask<R: TryFrom<Reply, Error = api::UnexpectedReply>>(&mut self, request: Request) -> Result<R> {
        self.ask_with_steps(request, &Steps::default()).await
    }

    /// Asks for a reply that may take long. Until it comes, the steps of the command are reported.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask_with_steps<R: TryFrom<Reply, Error = api::UnexpectedReply>>(
        &mut self,
        request: Request,
        steps: &Steps,
    ) -> Result<R> {
        self.ask_all(request, steps, &mut |_: &Reply, _| Ok(())).await
    }

    /// Asks for a reply and the texts of events. `take` gets the reply with each text.
    ///
    /// # Errors
    /// Why there is none; or what `take` fails with.
    pub async fn ask_for_events<R: TryFrom<Reply, Error = api::UnexpectedReply>>(
        &mut self,
        request: Request,
        take: &mut (dyn FnMut(&Reply, String) -> Result<()> + Send),
    ) -> Result<R> {
        self.ask_all(request, &Steps::default(), take).await
    }

    async fn ask_all<R: TryFrom<Reply, Error = api::UnexpectedReply>>(
        &mut self,
        request: Request,
        steps: &Steps,
        take: &mut (dyn FnMut(&Reply, String) -> Result<()> + Send),
    ) -> Result<R> {
        let reply = match self {
            Self::Direct(node) => {
                let Answer { reply, mut texts } = api::answer(node, request, steps).await?;
                while let Some(text) = texts.next(node).await? {
                    take(&reply, text.into_string())?;
                }
                reply
            }
            Self::Serving(stream) => {
                let (reply, texts) = exchange(stream, &request, steps).await?;
                for _ in 0..texts {
                    take(&reply, receive(stream).await?)?;
                }
                reply
            }
        };
        Ok(R::try_from(reply)?)
    }

    pub async fn close(self) {
        if let Self::Direct(node) = self {
            node.stop().await;
        }
    }
}
