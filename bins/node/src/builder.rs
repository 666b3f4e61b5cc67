//! A node of one's own: the node that a file configures, with more replayers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use antiphon_kernel::replay::EventReplayer;
use anyhow::Result;

use crate::api::{Reply, Request, UnexpectedReply};
use crate::config::NodeConfig;
use crate::node::Node;
use crate::preflight;
use crate::replayers::Replayers;
use crate::reply::{Finding, Reloaded, Status};
use crate::serve::{serve, serve_with};
use crate::socket::Backend;

/// Assembles a node with replayers of its own, and asks it.
///
/// ```no_run
/// # use antiphon_kernel::event::Event;
/// # use antiphon_kernel::replay::{EventReplayer, Projection, ReplayError};
/// # struct Notes;
/// # impl EventReplayer for Notes {
/// #     fn name(&self) -> &str { "notes" }
/// #     fn families(&self) -> Vec<String> { Vec::new() }
/// #     fn replay_event(&mut self, _: &Event, _: &mut Projection<'_>) -> Result<(), ReplayError> { Ok(()) }
/// # }
/// # async fn run() -> anyhow::Result<()> {
/// let node = antiphon_node::NodeBuilder::new("antiphon.yaml").replayer(|| Notes);
/// node.serve().await
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until the node serves or is asked"]
pub struct NodeBuilder {
    file: PathBuf,
    replayers: Replayers,
}

impl NodeBuilder {
    /// Begins with the configuration in this file.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), replayers: Replayers::default() }
    }

    /// Adds a replayer. `make` is called each time that the store is opened.
    pub fn replayer<R: EventReplayer>(mut self, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.replayers.add(make);
        self
    }

    /// Sets the replayer whose position appends claim to have seen. Without one, that is `LatestBySubject`. A second call
    /// replaces the first.
    pub fn causal_replayer<R: EventReplayer>(mut self, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.replayers.set_causal(make);
        self
    }

    fn config(&self) -> Result<NodeConfig> {
        let mut config = NodeConfig::load(&self.file)?;
        config.replayers = self.replayers.clone();
        Ok(config)
    }

    /// Runs the node until SIGINT or SIGTERM: peers, metrics, status page, admin socket. SIGHUP reloads its configuration.
    ///
    /// # Errors
    /// The configuration cannot be used, the store does not open, or an address cannot be listened on.
    pub async fn serve(self) -> Result<()> {
        serve(self.config()?).await
    }

    /// The same, with code of your own next to it: `run` gets the node once it serves. Its future is dropped when the node stops.
    ///
    /// # Errors
    /// As [`NodeBuilder::serve`].
    pub async fn serve_with<F>(self, run: impl FnOnce(Arc<Node>) -> F + Send) -> Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        serve_with(self.config()?, run).await
    }

    /// Returns the status that `antiphon status --json` prints, of the node that serves, or of its store.
    ///
    /// # Errors
    /// The configuration cannot be read, or the store does not open.
    pub async fn status(&self) -> Result<Status> {
        self.ask(Request::Status).await
    }

    /// Lets the node that serves read its configuration again, and returns what changed.
    ///
    /// # Errors
    /// No node serves, or the configuration cannot be used. Nothing changed then.
    pub async fn reload(&self) -> Result<Reloaded> {
        self.ask(Request::Reload).await
    }

    /// Checks configuration, key, certificates, clocks, disk, limits, replayers and every peer.
    pub async fn doctor(&self) -> Vec<Finding> {
        preflight::run_with(&self.file, &self.replayers).await
    }

    /// The configuration's path.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    async fn ask<R: TryFrom<Reply, Error = UnexpectedReply>>(&self, request: Request) -> Result<R> {
        let mut backend = match self.config() {
            Ok(config) => Backend::open(config).await?,
            // A node that serves does so under the configuration that it read.
            Err(error) => Backend::serving(&self.file).await.ok().flatten().ok_or(error)?,
        };
        let answer = backend.ask(request).await;
        backend.close().await;
        answer
    }
}
