//! One cortex, assembled: log, replayers, service, syncer and transports.

mod builder;
mod identity;
mod peer;

pub use builder::{CortexBuilder, StartError};
pub use peer::Peer;

pub(crate) mod internals {
    pub use super::identity::{mint_identity, mint_log};
}

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::Stream;
use tracing::Instrument as _;

use crate::access::Access;
use crate::config::{Config, SharedKey};
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::error_code::ErrorCode;
use crate::event::Draft;
use crate::identity::{EndOfEpoch, KeyStatement, Signer};
use crate::ids::PeerName;
use crate::log::{
    AppendError, Appended, CausalContext, LocalIdentity, LogEntry, LogHandle, LogReader, ReadError, ResolveError,
    Resolved, RotateError,
};
use crate::receipts::{NotReplicated, Wanted};
use crate::replay::{NotReplayed, ReplayCommandError, ReplayHandle};
use crate::service::Service;
use crate::spans;
use crate::state::State;
use crate::store::Store;
use crate::sync::{PeerChanges, Syncer};
use crate::transport::{Server, Transport};

/// Why a fork was not resolved, or not by all replayers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveForkError {
    /// The log did not.
    #[error(transparent)]
    Log(#[from] ResolveError),
    /// The log did, and a replayer did not begin again; it will when the process starts next.
    #[error("the log resolved it, but a replayer does not begin again before this process is restarted")]
    Replayer(#[from] ReplayCommandError),
}

impl ResolveForkError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Log(error) => error.code(),
            Self::Replayer(_) => ErrorCode::ForkReplayer,
        }
    }
}

/// Which cortexes [`Cortex::wait_replicated`] waits for.
///
/// ```
/// use std::time::Duration;
///
/// use antiphon_kernel::testing::Federation;
/// use antiphon_kernel::{Draft, WaitFor};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let federation = Federation::with(3, |builder| builder).await?;
/// federation.converged().await;
/// let writer = federation.cortex(0);
/// let event = writer.append(Draft::new("note.written", "hello")).await?;
/// let copies = writer.wait_replicated(&event, WaitFor::Count(2), Duration::from_secs(60)).await?;
/// assert_eq!(copies, 2);
/// federation.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub enum WaitFor<'a> {
    /// These, by their names in the configuration. A peer that is not pulled here has no pin, and is never known by name.
    Peers(&'a [PeerName]),
    /// This number of cortexes, of those that are pinned here.
    Count(usize),
}

/// A running cortex.
///
/// ```
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, Draft, Seq};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// let event = cortex.append(Draft::new("note.written", "hello").subject("notes/1")).await?;
/// assert_eq!(event.seq, Seq::new(1));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a cortex that is dropped stops"]
pub struct Cortex {
    /// Its name, for spans.
    name: String,
    log: LogHandle,
    replayers: Vec<ReplayHandle>,
    /// The place in `replayers` of the one whose position appends claim to have seen.
    causal: Option<usize>,
    service: Service,
    /// Whether an application decides what callers may read, rather than the configuration.
    has_authorizer: bool,
    syncer: Syncer,
    transports: Vec<Arc<dyn Transport>>,
    /// What answers peers, until the cortex stops.
    servers: Mutex<Vec<Box<dyn Server>>>,
}

impl Cortex {
    /// Begins to assemble a cortex over a store.
    pub fn builder(store: impl Store + 'static) -> CortexBuilder {
        CortexBuilder::new(Arc::new(store))
    }

    /// Appends one event. `Ok` means that it is durable. It claims to have seen what the causal replayer has replayed.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        let span = spans::append(&self.name, &draft);
        let appended = self.log.append(vec![draft], CausalContext::Replayed).instrument(span.clone()).await?;
        let appended = appended.into_iter().next().ok_or(AppendError::Closed)?;
        span.record("seq", appended.seq.get());
        Ok(appended)
    }

    /// The log, for appending several events or with a context of one's own.
    #[must_use]
    pub const fn log(&self) -> &LogHandle {
        &self.log
    }

    /// The log, for reading.
    #[must_use]
    pub const fn reader(&self) -> &LogReader {
        self.log.reader()
    }

    /// The replayers, in the order they were given.
    #[must_use]
    pub fn replayers(&self) -> &[ReplayHandle] {
        &self.replayers
    }

    /// Returns the replayer of this name.
    #[must_use]
    pub fn replayer(&self, name: &str) -> Option<&ReplayHandle> {
        self.replayers.iter().find(|replayer| replayer.name() == name)
    }

    /// Waits until the causal replayer has replayed an event: its writer then reads what it wrote.
    ///
    /// # Errors
    /// [`NotReplayed`]: the replayer halts at this event or an earlier one, parked the event, or ended.
    pub async fn wait_replayed(&self, event: &Appended) -> Result<(), NotReplayed> {
        match self.causal.and_then(|at| self.replayers.get(at)) {
            Some(replayer) => replayer.wait_replayed(event.seq).await,
            None => Err(NotReplayed::NoReplayer),
        }
    }

    /// The addresses at which the transports answer peers, as endpoints without a scheme. Port 0 shows as the port that was free.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|server| server.address()).collect()
    }

    /// What answers peers: hand it to a transport's server.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// What pulls peers.
    #[must_use]
    pub const fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    /// What is kept about peers.
    #[must_use]
    pub fn state(&self) -> State {
        State::new(self.log.clone())
    }

    /// The log's durable entries after a cursor (without one, from the beginning), and then those to come. Keep the
    /// [`LogEntry::cursor`] of the last one that was taken, to continue there after a restart.
    pub fn subscribe(&self, after: Option<Cursor>) -> impl Stream<Item = Result<LogEntry, ReadError>> + Send + use<> {
        self.log.reader().follow(after)
    }

    /// Waits until these peers durably hold an own event, or until the given number of pinned cortexes do. Returns how many hold it.
    ///
    /// # Errors
    /// [`NotReplicated`] after `timeout`, with the missing peers; at once if all missing peers were never in contact. The event
    /// is stored here in every case.
    pub async fn wait_replicated(
        &self,
        event: &Appended,
        peers: WaitFor<'_>,
        timeout: Duration,
    ) -> Result<usize, NotReplicated> {
        let pinned = self.reader().pinned();
        let pin = |wanted: &PeerName| pinned.iter().find(|(_, pin)| pin.name == *wanted).map(|(cortex, _)| *cortex);
        let wanted = match peers {
            WaitFor::Count(count) => Wanted::Count(count),
            WaitFor::Peers(names) => Wanted::Cortexes(names.iter().map(|name| (name.clone(), pin(name))).collect()),
        };
        self.reader().receipts().wait(event.dot, &wanted, timeout).await
    }

    /// Applies another configuration without a restart: see [`Syncer::reload`]. `keys` are accepted from now on, and the first is
    /// presented to peers. With `reconnect`, every connection is opened again.
    ///
    /// # Errors
    /// [`StartError`]: the configuration is invalid, or what is kept about a new peer cannot be read; nothing changed.
    pub async fn reload(&self, config: Config, keys: &[SharedKey], reconnect: bool) -> Result<PeerChanges, StartError> {
        config.validate()?;
        self.syncer.can_take_up(&config).await?;
        self.service.set_keys(keys);
        self.transports.iter().for_each(|transport| transport.set_keys(keys));
        self.service.set_mode(config.mode);
        self.service.set_peers(&config.peers);
        self.service.set_limits(&config.limits);
        self.log.set_limits(&config.limits);
        self.set_access(&config.access);
        Ok(self.syncer.reload(config, reconnect).await?)
    }

    /// Replaces the rules of what callers may read, if no authorizer of an application's own decides that.
    pub fn set_access(&self, access: &Access) {
        self.service.set_ruled(access);
        if !self.has_authorizer {
            self.service.set_authorizer(Arc::new(access.clone()));
        }
    }

    /// Replaces the working key. `issue` makes the next keys and keeps them durably ([`KeyFiles::rotate`](crate::KeyFiles::rotate) does both);
    /// it gets the statement that holds now, and the end of each epoch that this cortex began. A new epoch begins, since each epoch has one key.
    /// Connections are opened again: peers then learn of the new statement, and do not accept the former key from then on. Nothing that was
    /// appended is lost, and appends continue.
    ///
    /// # Errors
    /// [`RotateError`]; the present key stays in use.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use antiphon_kernel::testing::MemoryStore;
    /// use antiphon_kernel::{Cortex, Draft, KeyFiles};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// let files = KeyFiles::of(scratch.path());
    /// let keys = Arc::new(files.create()?);
    /// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").keys(keys).start().await?;
    /// cortex.append(Draft::new("note.written", "hello")).await?;
    /// let now = cortex.rotate_keys(move |present, ends| Ok(Arc::new(files.rotate(present, ends)?))).await?;
    /// let statement = now.signer.expect("it has keys").statement().clone();
    /// assert_eq!((statement.number(), statement.ends().len()), (2, 1));
    /// cortex.append(Draft::new("note.written", "signed by the new key")).await?;
    /// cortex.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate_keys(
        &self,
        issue: impl FnOnce(&KeyStatement, Vec<EndOfEpoch>) -> Result<Arc<dyn Signer>, Box<dyn Error + Send + Sync>>
        + Send
        + 'static,
    ) -> Result<LocalIdentity, RotateError> {
        let now = self.log.rotate_keys(Box::new(issue)).await?;
        self.service.rotated();
        self.syncer.reconnect().await;
        Ok(now)
    }

    /// Ends a fork here in favour of the version with this digest, and lets the replayers begin again if events of theirs
    /// left the log. Where the version held here is kept, the others are the ones to resolve it.
    ///
    /// # Errors
    /// [`ResolveForkError`]. A replayer that could not be rebuilt is when the process starts next.
    pub async fn resolve_fork(&self, keep: Digest) -> Result<Resolved, ResolveForkError> {
        let before = self.reader().rewrites();
        let resolved = self.log.resolve_fork(keep).await;
        // What the fork kept from crossing is wanted now, or what peers know of us is not true any more.
        self.syncer.ask_again().await;
        // If events left the log, so did every build of the replayers, in the same batch. After an error it is not known whether
        // they did. A replayer that cannot begin again must not keep the others from it.
        let mut failed = None;
        if self.reader().rewrites() != before {
            for replayer in &self.replayers {
                failed = replayer.refresh().await.err().or(failed);
            }
        }
        let resolved = resolved?;
        failed.map_or(Ok(()), Err)?;
        Ok(resolved)
    }

    /// Stops pulling, answering, replaying and writing, in this order. Everything acknowledged is durable.
    pub async fn stop(&self) {
        self.syncer.stop().await;
        self.service.close();
        let servers = std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
        futures_util::future::join_all(servers.into_iter().map(|server| server.shutdown())).await;
        for replayer in &self.replayers {
            replayer.stop().await;
        }
        self.log.close().await;
    }
}

/// Stops the cortex and closes its store: the same data can be opened again at once. What was acknowledged is durable. Blocks until
/// the writer has ended, for one commit at most; [`Cortex::stop`] waits without blocking, and lets answers to peers end.
impl Drop for Cortex {
    fn drop(&mut self) {
        self.syncer.abandon();
        self.service.close();
        self.servers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.replayers.iter().for_each(ReplayHandle::abandon);
        self.log.close_blocking();
        self.reader().store().close();
    }
}
