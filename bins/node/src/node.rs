//! The node: a cortex on RocksDB, and what commands may ask of it, whether it serves or not.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use antiphon_https::{HttpsOptions, HttpsTransport};
use antiphon_kernel::budget::{Account, Budget};
use antiphon_kernel::config::{FederationMode, PeerMode, SharedKey};
use antiphon_kernel::cortex::{Cortex, WaitFor};
use antiphon_kernel::cursor::{Cursor, Seq};
use antiphon_kernel::event::{CloudEventOptions, Draft, read_cloud_event};
use antiphon_kernel::ids::{EventId, Origin, PeerName};
use antiphon_kernel::log::{
    AppendError, Appended, Context as Seen, LogEntry, ReadError, event_outside, keys_outside, read_pin, verify,
};
use antiphon_kernel::replay::latest::{self, LatestBySubject};
use antiphon_kernel::replay::{self, Conflict, OnFailure, Parked, ReplayHandle};
use antiphon_kernel::service::HeldText;
use antiphon_kernel::state::{AppendAndSetError, PeerState};
use antiphon_kernel::store::{Durability, Store, StoreError, StoreErrorKind};
use antiphon_kernel::sync::Compared;
use antiphon_kernel::time::Timestamp;
use antiphon_kernel::transport::Transport;
use antiphon_quic::{QuicOptions, QuicTransport};
use antiphon_storage::{Create, RocksStore};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::attached::{Answer, Attached, Text, Texts};
use crate::config::{DurabilityName, NodeConfig, ReplayFailure};
use crate::monitor::history::History;
use crate::progress::too_many;
use crate::servers::Servers;
use crate::{backup, expiry, forks, reload, status};

/// What a command asks of a node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// CloudEvents JSON texts, appended together.
    Append {
        events: Attached,
        lowercase_extensions: bool,
        /// What is kept about an import, with the events or not at all.
        progress: Option<(String, String)>,
    },
    /// One event, of data as they are.
    AppendData {
        event_type: String,
        subject: Option<String>,
        content_type: Option<String>,
        data: Attached,
    },
    /// What is kept about an earlier import of an input that begins so.
    ImportProgress {
        key: String,
    },
    Log {
        after: Option<Cursor>,
        limit: usize,
        wait_ms: u64,
    },
    View {
        subject: Option<String>,
        /// Continue after this subject.
        after: Option<String>,
    },
    /// Whether it makes sense to wait for these peers, before anything is appended.
    CanWait {
        peers: Vec<PeerName>,
    },
    WaitReplicated {
        id: EventId,
        peers: Vec<PeerName>,
        count: usize,
        timeout_ms: u64,
    },
    Conflicts,
    Resolve {
        subject: String,
        /// Keep this one, or ...
        take: Option<EventId>,
        /// ... the type (that of the newest, if none) and content type of what replaces them ...
        replacement: Option<(Option<String>, String)>,
        /// ... and its data.
        data: Attached,
    },
    ReplayList {
        /// The node's own, if none.
        #[serde(default)]
        replayer: Option<String>,
    },
    ReplayRetry {
        #[serde(default)]
        replayer: Option<String>,
        subject: Option<String>,
    },
    ReplaySkip {
        #[serde(default)]
        replayer: Option<String>,
        at: Cursor,
    },
    Status,
    /// Whether its files are where its path leads to.
    Location,
    /// Read the configuration again and take it up.
    Reload,
    ResetPeer {
        name: PeerName,
    },
    SetPeerMode {
        name: PeerName,
        mode: PeerMode,
    },
    SetMode {
        mode: FederationMode,
    },
    /// Begin a new epoch, where ids cannot be made under this one.
    NewEpoch,
    Verify,
    Compare {
        peer: PeerName,
    },
    Digest,
    Backup {
        to: PathBuf,
    },
    ForkList,
    ForkEvidence {
        skip: usize,
        limit: usize,
    },
    ForkResolve(forks::Wanted),
    /// Append again what was set aside: what this node wrote, or all.
    ForkBringBack {
        all: bool,
    },
}

impl Ask {
    /// The bytes that follow the command.
    /// Whether it puts events into the log.
    pub const fn appends(&self) -> bool {
        matches!(
            self,
            Self::Append { .. } | Self::AppendData { .. } | Self::Resolve { .. } | Self::ForkBringBack { .. }
        )
    }

    pub const fn attached(&self) -> Option<&Attached> {
        match self {
            Self::Append { events, .. } => Some(events),
            Self::AppendData { data, .. } | Self::Resolve { data, .. } => Some(data),
            _ => None,
        }
    }

    pub const fn attached_mut(&mut self) -> Option<&mut Attached> {
        match self {
            Self::Append { events, .. } => Some(events),
            Self::AppendData { data, .. } | Self::Resolve { data, .. } => Some(data),
            _ => None,
        }
    }
}

pub struct Node {
    config: RwLock<Arc<NodeConfig>>,
    cortex: Cortex,
    store: Arc<RocksStore>,
    transports: Transports,
    servers: Mutex<Option<Servers>>,
    serving: bool,
    started_at: Timestamp,
    history: History,
    reloads: Mutex<Reloads>,
    /// One change of what the node does at a time: a reload, or a command that goes before the file.
    changing: tokio::sync::Mutex<()>,
}

/// The ways to peers, for when the key changes.
#[derive(Clone)]
pub struct Transports {
    https: HttpsTransport,
    quic: QuicTransport,
}

impl Transports {
    pub fn new(config: &NodeConfig, shared_key: &SharedKey) -> Self {
        Self {
            quic: QuicTransport::new(QuicOptions { shared_key: shared_key.clone() }),
            https: HttpsTransport::new(HttpsOptions {
                shared_key: shared_key.clone(),
                allow_plaintext_loopback: config.federation.allow_plaintext_loopback,
            }),
        }
    }

    pub fn set_shared_key(&self, key: &SharedKey) {
        self.https.set_shared_key(key.clone());
        self.quic.set_shared_key(key.clone());
    }

    /// The one that is presented.
    pub fn shared_key(&self) -> SharedKey {
        self.https.shared_key()
    }

    /// The one that a scheme picks.
    pub fn of(&self, endpoint: &str) -> &dyn Transport {
        if endpoint.starts_with("quic:") { &self.quic } else { &self.https }
    }
}

/// How the configuration was taken up anew.
#[derive(Debug, Clone, Default)]
pub struct Reloads {
    /// Whether the last time worked, if there was one.
    pub last: Option<bool>,
    pub succeeded: Option<Timestamp>,
    /// Why the last one was refused, if it was.
    pub refused: Option<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MODE_KEY: &str = "federation-mode";

/// The most events that one answer to a command brings.
const PAGE_EVENTS: usize = 1000;

/// The most bytes of events that one answer to a command brings.
const PAGE_BYTES: usize = 4 << 20;

const PEER_MODE: &str = "peer-mode/";

fn peer_mode_key(name: &PeerName) -> String {
    format!("{PEER_MODE}{name}")
}

impl Node {
    /// Opens the node's store. With `serving`, peers are pulled.
    pub async fn open(config: NodeConfig, serving: bool) -> Result<Arc<Self>> {
        let from = config.clone();
        // The store may have a long log to recover.
        let opened = tokio::task::spawn_blocking(move || {
            let store = Arc::new(open_store(&from)?);
            let keys = from.shared_keys()?;
            let mut kernel = from.kernel(keys.first().cloned().unwrap_or_default());
            let spent = apply_overrides(&*store, &mut kernel)?;
            anyhow::Ok((store, keys, kernel, spent))
        });
        let (store, keys, mut kernel, spent) = opened.await??;
        if !serving {
            kernel.peers.clear();
        }
        // The service and the transports take their shares of the one that belongs to the process.
        Budget::default().set_limit(config.memory_budget());
        let transports = Transports::new(&config, &kernel.shared_key);
        let durability = match config.node.durability {
            DurabilityName::Sync => Durability::Sync,
            DurabilityName::Relaxed => Durability::Relaxed,
        };
        let on_failure = match config.node.replay_failure {
            ReplayFailure::Halt => OnFailure::Halt,
            ReplayFailure::Quarantine => OnFailure::Quarantine,
        };
        let cortex = Cortex::builder(store.clone())
            .name(config.node.name.as_str())
            .config(kernel)
            .transport(transports.https.clone())
            .transport(transports.quic.clone())
            .durability(durability)
            .max_append_bytes(config.node.max_append_bytes);
        let cortex = config.replayers.add_to(cortex, LatestBySubject { on_failure }).start().await?;
        cortex.service().set_keys(&keys);
        let node = Self {
            config: RwLock::new(Arc::new(config)),
            cortex,
            store,
            transports,
            servers: Mutex::default(),
            serving,
            started_at: Timestamp::now(),
            history: History::default(),
            reloads: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        };
        if serving {
            node.forget_overrides(&spent).await?;
        }
        Ok(Arc::new(node))
    }

    /// Reads the store on a thread that may block: a slow disk must not hold up other tasks.
    pub async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = Arc::clone(self);
        tokio::task::spawn_blocking(move || read(&node)).await?
    }

    /// Begins to answer peers, where the configuration says so.
    pub async fn listen(&self) -> Result<()> {
        let servers = Servers::start(&self.config(), self.cortex.service()).await?;
        servers.tell();
        *locked(&self.servers) = Some(servers);
        Ok(())
    }

    /// Stops answering peers, pulling and writing.
    pub async fn stop(&self) {
        let servers = locked(&self.servers).take();
        if let Some(servers) = servers {
            servers.shutdown().await;
        }
        self.cortex.stop().await;
    }

    pub fn config(&self) -> Arc<NodeConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_config(&self, config: NodeConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub const fn cortex(&self) -> &Cortex {
        &self.cortex
    }

    pub const fn store(&self) -> &Arc<RocksStore> {
        &self.store
    }

    pub const fn transports(&self) -> &Transports {
        &self.transports
    }

    pub const fn is_serving(&self) -> bool {
        self.serving
    }

    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Held by whoever changes what the node does.
    pub async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub fn reloads(&self) -> Reloads {
        locked(&self.reloads).clone()
    }

    /// Notes how a reload went: why it was refused, if it was.
    pub fn note_reload(&self, refused: Option<String>) {
        let mut reloads = locked(&self.reloads);
        reloads.last = Some(refused.is_none());
        if refused.is_none() {
            reloads.succeeded = Some(Timestamp::now());
        }
        reloads.refused = refused;
    }

    /// Remembers how far behind each peer is now.
    pub fn look(&self) {
        self.history.look(&self.cortex.syncer().peers());
    }

    /// Bytes of what is kept beside the log since forks and repairs; unknown if the store does not report it.
    pub fn evidence_bytes(&self) -> Option<u64> {
        let sizes = self.store.sizes().ok()??;
        sizes.families.iter().find(|(family, _)| family == "evidence").map(|(_, bytes)| *bytes)
    }

    /// How much each server put on the wire.
    pub fn wire_sent(&self) -> Vec<(&'static str, u64)> {
        locked(&self.servers).as_ref().map(Servers::wire_sent).unwrap_or_default()
    }

    /// The certificate that is shown, in DER form.
    fn certificate(&self) -> Option<Vec<u8>> {
        locked(&self.servers).as_ref().and_then(Servers::certificate)
    }

    /// Until when the certificate that is shown holds, in seconds since 1970.
    pub fn certificate_until(&self) -> Option<i64> {
        expiry::until(&self.certificate()?)
    }

    /// Whether peers are answered: somebody listens, and the mode is not one that refuses.
    pub fn answers_peers(&self) -> bool {
        self.cortex.service().mode().serves() && locked(&self.servers).as_ref().is_some_and(Servers::any)
    }

    /// Whether the certificate that is shown holds now.
    pub fn certificate_holds(&self) -> Option<bool> {
        Some(expiry::holds(&self.certificate()?))
    }

    /// That the certificate which is shown ends soon, or is over.
    pub fn certificate_trouble(&self) -> Option<String> {
        let (shown, files) = (self.certificate()?, self.config().tls_files()?);
        expiry::trouble(&files.cert, &shown, jiff::Timestamp::now())
    }

    /// Takes up certificates that changed, and says whether any did; this reads files.
    pub fn refresh_certificates(&self) -> Result<bool> {
        locked(&self.servers).as_ref().map_or(Ok(false), Servers::refresh_certificates)
    }

    /// Forgets what commands said and the file says by now as well, or of peers that it does not name.
    pub async fn forget_overrides(&self, keys: &[String]) -> Result<()> {
        for key in keys {
            self.cortex.state().delete(key).await?;
        }
        Ok(())
    }

    pub async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Answer> {
        let value: Result<Value> = match ask {
            Ask::Append { events, lowercase_extensions, progress } => {
                self.append(events.into_parts(), CloudEventOptions { lowercase_extensions }, progress).await
            }
            Ask::AppendData { event_type, subject, content_type, data } => {
                let mut draft = Draft::new(event_type, data.into_one());
                (draft.subject, draft.datacontenttype) = (subject, content_type);
                self.append_drafts(vec![draft], None).await
            }
            Ask::ImportProgress { key } => self.import_progress(&key).await,
            Ask::Log { after, limit, wait_ms } => return self.log(after, limit, wait_ms).await,
            Ask::View { subject, after } => return self.latest(subject, after).await,
            Ask::CanWait { peers } => self.can_wait(&peers).await.map(|()| json!({ "peers": peers })),
            Ask::WaitReplicated { id, peers, count, timeout_ms } => {
                self.wait_replicated(id, &peers, count, Duration::from_millis(timeout_ms)).await
            }
            Ask::Conflicts => return self.conflicts().await,
            Ask::Resolve { subject, take, replacement, data } => {
                let replacement = replacement.map(|(event_type, kind)| (event_type, kind, data.into_one()));
                self.resolve(subject, take, replacement).await
            }
            Ask::ReplayList { replayer } => self.reading(move |node| node.replay_list(replayer.as_deref())).await,
            Ask::ReplayRetry { replayer, subject } => {
                let replayer = self.replayer(replayer.as_deref())?;
                let replayed = replayer.retry(subject).await?;
                let left = replayer.status().parked;
                Ok(json!({ "replayed": replayed, "parked": left }))
            }
            Ask::ReplaySkip { replayer, at } => {
                self.replayer(replayer.as_deref())?.skip(at).await?;
                Ok(json!({ "skipped": at }))
            }
            Ask::Status => self.reading(status::of).await,
            Ask::Location => {
                let store = Arc::clone(&self.store);
                let displaced = tokio::task::spawn_blocking(move || store.check_location()).await?.err();
                let why = displaced.map(|error| error.to_string());
                Ok(json!({ "name": self.config().node.name, "process": std::process::id(), "displaced": why }))
            }
            Ask::Reload => reload::reload(self).await,
            Ask::ResetPeer { name } => {
                // What is kept about a peer outlives its entry in the configuration.
                let (configured, wanted) = (self.known_peer(&name), name.clone());
                if let Err(unknown) = &configured
                    && !self.reading(move |node| Ok(node.cortex.state().knows(&wanted)?)).await?
                {
                    bail!("{unknown}");
                }
                match configured {
                    Ok(()) if self.serving => self.cortex.syncer().reset(&name).await?,
                    Ok(()) | Err(_) => self.cortex.state().reset_peer(&name).await?,
                }
                Ok(json!({ "reset": name }))
            }
            Ask::SetPeerMode { name, mode } => self.set_peer_mode(&name, mode).await,
            Ask::SetMode { mode } => self.set_mode(mode).await,
            Ask::NewEpoch => {
                let from = self.cortex.view().local().epoch;
                let identity = self.cortex.log().new_epoch().await?;
                Ok(json!({ "from": from.to_string(), "epoch": identity.epoch.to_string() }))
            }
            Ask::Verify => {
                let view = self.cortex.view().clone();
                let report = tokio::task::spawn_blocking(move || verify(&view)).await??;
                Ok(json!({
                    "clean": report.is_clean(),
                    "events": report.events,
                    "origins": report.origins,
                    "digest": report.digest.to_string(),
                    "faults": report.faults,
                }))
            }
            Ask::Digest => {
                let heads = self.cortex.view().heads();
                let chains: Vec<_> = heads
                    .iter()
                    .map(|(o, h)| json!({ "origin": o.to_string(), "counter": h.counter, "digest": h.digest.to_string() }))
                    .collect();
                Ok(json!({ "digest": heads.fold().to_string(), "chains": chains }))
            }
            Ask::Compare { peer } => {
                self.known_peer(&peer)?;
                if !self.serving {
                    bail!("no node serves this store, so no peer is asked; start `antiphon serve`");
                }
                let compared = self.cortex.syncer().compare(&peer).await?;
                let known: Vec<_> =
                    self.reading(forks::known).await?.into_iter().filter(|fork| fork.peer == peer).collect();
                let report = |&(origin, result): &(Origin, Compared)| {
                    // What was decided for and is held by neither differs all the same: nothing of it crosses.
                    let fork = known.iter().find(|fork| fork.origin == origin);
                    let result = fork.map_or(result, |fork| Compared::Differ { from: fork.from });
                    json!({ "origin": origin.to_string(), "compared": result })
                };
                Ok(compared.iter().map(report).collect())
            }
            Ask::Backup { to } => {
                let (store, log) = (Arc::clone(&self.store), self.cortex.view().clone());
                Ok(json!(tokio::task::spawn_blocking(move || backup::make(&store, &log, &to)).await??))
            }
            Ask::ForkList => forks::list(self).await,
            Ask::ForkEvidence { skip, limit } => {
                let store = Arc::clone(&self.store);
                let read = move || keys_outside(&*store, skip, limit.min(PAGE_EVENTS), PAGE_BYTES);
                let keys = tokio::task::spawn_blocking(read).await??;
                return Ok(Answer { value: Value::Null, texts: keys.into_iter().map(Text::Outside).collect() });
            }
            Ask::ForkResolve(wanted) => forks::resolve(self, wanted).await,
            Ask::ForkBringBack { all } => forks::bring_back(self, all).await,
        };
        Ok(value?.into())
    }

    /// The text of an event for a command, read once there is room for it in the memory budget.
    pub async fn text(&self, text: Text) -> Result<HeldText> {
        let (log, service) = (self.cortex.view().clone(), self.cortex.service());
        match text {
            Text::Event(id) => {
                let read = move |bytes| -> Result<_> { log.find_within(id, bytes)?.with_context(|| no_event(id)) };
                service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event_alone()?)).await
            }
            Text::Latest(latest) => {
                let wanted = latest.clone();
                let left = "an event left the log while the view was read, since a fork was resolved; ask again";
                let read = move |bytes| -> Result<_> { wanted.find(&log, bytes)?.context(left) };
                service.text(&Account::Commands, read, move |entry| Ok(latest.text(entry)?)).await
            }
            Text::Outside(key) => {
                let left = "an event came back into the log while the evidence was read; ask again";
                let read = move |bytes| -> Result<_> { event_outside(&**log.store(), &key, bytes)?.context(left) };
                service.text(&Account::Commands, read, |entry| Ok(entry.to_cloud_event()?)).await
            }
        }
    }

    /// The newest event of one subject, or a page of them.
    async fn latest(&self, subject: Option<String>, after: Option<String>) -> Result<Answer> {
        self.replayed(self.cortex.view().visible()).await;
        let store = Arc::clone(self.cortex.view().store());
        let read = move || latest::read(&*store, subject.as_deref(), after.as_deref(), PAGE_EVENTS);
        let page = tokio::task::spawn_blocking(read).await??;
        let texts = page.found.into_iter().map(Text::Latest).collect();
        Ok(Answer { value: json!({ "next": page.next }), texts })
    }

    /// Whether events can reach others, and these are known.
    async fn can_wait(self: &Arc<Self>, peers: &[PeerName]) -> Result<()> {
        if !self.serving {
            bail!("no node serves this store, so nobody can fetch the event; start `antiphon serve`");
        }
        if !self.answers_peers() {
            bail!(
                "this node answers no peer (it listens nowhere, or its mode is subscribe), so nobody can fetch the event"
            );
        }
        let wanted = peers.to_vec();
        self.reading(move |node| {
            for peer in &wanted {
                node.known_peer(peer)?;
                if read_pin(&*node.store, peer)?.is_none() {
                    bail!(
                        "`{peer}` was never in contact, so nothing is known of what it holds; `antiphon status` says why"
                    );
                }
            }
            Ok(())
        })
        .await
    }

    async fn wait_replicated(
        self: &Arc<Self>,
        id: EventId,
        peers: &[PeerName],
        count: usize,
        timeout: Duration,
    ) -> Result<Value> {
        self.can_wait(peers).await?;
        let entry = self.entry_of(id).await?;
        let event = Appended { seq: entry.seq, id, dot: entry.view()?.dot };
        let wanted = if peers.is_empty() { WaitFor::Count(count) } else { WaitFor::Peers(peers) };
        Ok(match self.cortex.wait_replicated(&event, wanted, timeout).await {
            Ok(confirmed) => json!({ "confirmed": confirmed }),
            Err(late) => json!({
                "confirmed": late.confirmed, "missing": late.missing, "unknown": late.unknown, "error": late.to_string(),
            }),
        })
    }

    fn view(&self) -> Result<&ReplayHandle> {
        self.replayer(None)
    }

    /// The replayer of this name, or the node's own.
    fn replayer(&self, name: Option<&str>) -> Result<&ReplayHandle> {
        let name = name.unwrap_or(latest::NAME);
        self.cortex.replayer(name).with_context(|| {
            let names: Vec<_> = self.cortex.replayers().iter().map(ReplayHandle::name).collect();
            format!("there is no replayer `{name}`; this node has: {}", names.join(", "))
        })
    }

    /// What is open as of everything that the log holds now.
    async fn open_conflicts(&self) -> Result<Vec<Conflict>> {
        self.replayed(self.cortex.view().visible()).await;
        let log = self.cortex.view().clone();
        Ok(tokio::task::spawn_blocking(move || replay::conflicts(&**log.store(), latest::NAME)).await??)
    }

    async fn entry_of(&self, id: EventId) -> Result<LogEntry> {
        let log = self.cortex.view().clone();
        let read = move || -> Result<_> {
            let seq = log.find(id)?.with_context(|| no_event(id))?;
            log.entry(seq)?.with_context(|| no_event(id))
        };
        tokio::task::spawn_blocking(read).await?
    }

    /// Each conflict's subject, how many events it has, and how many are not listed; then all of those, in the same order.
    async fn conflicts(&self) -> Result<Answer> {
        let open = self.open_conflicts().await?;
        let one = |one: &Conflict| json!({ "subject": one.subject, "events": one.events.len(), "more": one.more });
        let value = open.iter().map(one).collect();
        let texts = open.iter().flat_map(|one| one.events.iter().map(|(_, id)| Text::Event(*id))).collect();
        Ok(Answer { value, texts })
    }

    async fn resolve(
        &self,
        subject: String,
        take: Option<EventId>,
        replacement: Option<(Option<String>, String, Bytes)>,
    ) -> Result<Value> {
        let open = self.open_conflicts().await?;
        let conflict = open.into_iter().find(|conflict| conflict.subject == subject);
        let conflict = conflict
            .with_context(|| format!("`{subject}` has no open conflict; `antiphon conflicts` lists those there are"))?;
        let ids: Vec<EventId> = conflict.events.iter().map(|(_, id)| *id).collect();
        if let Some(stranger) = take.filter(|id| !ids.contains(id)) {
            let known: Vec<_> = ids.iter().map(ToString::to_string).collect();
            bail!("{stranger} is none of the events in conflict at `{subject}`; they are: {}", known.join(", "));
        }
        let kept = take.or_else(|| ids.last().copied()).context("a conflict has events")?;
        let entry = self.entry_of(kept).await?;
        let kept = entry.view()?;
        let draft = match replacement {
            None => {
                let mut draft = Draft::new(kept.event_type, kept.data.to_vec()).subject(subject);
                draft.datacontenttype = (!kept.datacontenttype.is_empty()).then(|| kept.datacontenttype.to_owned());
                draft.extensions = kept.extensions.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
                draft
            }
            Some((event_type, content_type, data)) => {
                let event_type = event_type.unwrap_or_else(|| kept.event_type.to_owned());
                let mut draft = Draft::new(event_type, data).subject(subject);
                draft.datacontenttype = Some(content_type);
                draft
            }
        };
        let appended = self.cortex.log().append(vec![draft], Seen::Seen(conflict.context())).await?;
        let appended = appended.first().context("nothing was appended")?;
        self.replayed(appended.seq).await;
        // Those that are not listed stay, unless this node had seen them before.
        let open = self.open_conflicts().await?.into_iter().find(|open| open.subject == conflict.subject);
        let left = open.map_or(0, |open| (open.events.len() + open.more).saturating_sub(1));
        Ok(json!({ "id": appended.id, "seq": appended.seq.get(), "superseded": ids, "left": left }))
    }

    fn replay_list(&self, name: Option<&str>) -> Result<Value> {
        let replayer = self.replayer(name)?;
        let log = self.cortex.view();
        let store = &**log.store();
        // A place means nothing without its epoch: the cursor is what `replay skip` takes.
        let mut parked = Vec::new();
        for event in replay::parked(store, replayer.name())? {
            let cursor = log.entry(event.seq)?.map(|entry| entry.cursor()).transpose()?.flatten();
            let Parked { subject, tries, error, .. } = event;
            parked.push(json!({ "cursor": cursor, "subject": subject, "tries": tries, "error": error }));
        }
        let skipped: Vec<_> = replay::skipped(store, replayer.name())?
            .into_iter()
            .map(|e| {
                let at = e.at.to_string();
                json!({ "id": e.id, "subject": e.subject, "error": e.error, "at": at })
            })
            .collect();
        Ok(json!({ "replayer": replayer.status(), "parked": parked, "skipped": skipped }))
    }

    async fn replayed(&self, seq: Seq) {
        let Ok(replayer) = self.view() else { return };
        // A replayer that is stuck must not hold the command for ever: it shows in `status`.
        let _ = tokio::time::timeout(Duration::from_secs(10), replayer.wait_replayed(seq)).await;
    }

    async fn append(
        self: &Arc<Self>,
        events: Vec<Bytes>,
        options: CloudEventOptions,
        progress: Option<(String, String)>,
    ) -> Result<Value> {
        let read = move || {
            let drafts = events.iter().enumerate().map(|(index, event)| {
                let text = std::str::from_utf8(event).map_err(|error| (index, error.to_string()))?;
                read_cloud_event(text, options).map_err(|error| (index, error.to_string()))
            });
            drafts.collect::<Result<Vec<_>, _>>()
        };
        match tokio::task::spawn_blocking(read).await? {
            Ok(drafts) => self.append_drafts(drafts, progress).await,
            Err((index, error)) => Ok(json!({ "refused": index, "error": error })),
        }
    }

    /// What is kept under a key, if it is one of an import. The oldest is forgotten where there are too many.
    async fn import_progress(self: &Arc<Self>, key: &str) -> Result<Value> {
        let wanted = key.to_owned();
        let read = self.reading(move |node| {
            let state = node.cortex.state();
            let keys = antiphon_kernel::state::free_keys(&*node.store, "import/")?;
            if keys.contains(&wanted) {
                return Ok((state.get(&wanted)?, Vec::new()));
            }
            let kept = keys.into_iter().map(|key| state.get(&key).map(|value| (key, value)));
            Ok((None, too_many(kept.collect::<Result<_, _>>()?)))
        });
        let (progress, old) = read.await?;
        for key in old {
            self.cortex.state().delete(&key).await?;
        }
        Ok(json!(progress))
    }

    async fn append_drafts(self: &Arc<Self>, drafts: Vec<Draft>, progress: Option<(String, String)>) -> Result<Value> {
        let appended = match progress {
            None => self.cortex.log().append(drafts, Seen::Replayed).await,
            Some((key, value)) => {
                let appended = self.cortex.state().append_and_set(drafts, Seen::Replayed, &key, &value).await;
                match appended {
                    Err(AppendAndSetError::State(error)) => return Err(error.into()),
                    Err(AppendAndSetError::Append(error)) => Err(error),
                    Ok(appended) => Ok(appended),
                }
            }
        };
        match appended {
            Ok(appended) => {
                let list: Vec<_> = appended
                    .iter()
                    .map(|a| json!({ "seq": a.seq.get(), "id": a.id, "dot": a.dot.to_string(), "cursor": a.cursor() }))
                    .collect();
                let leaves = self.cortex.service().mode().serves();
                let own = self.cortex.view().local().cortex_id;
                // It is durable whatever can be read of forks.
                let forks = self.reading(forks::known).await;
                let forked = forks.is_ok_and(|forks| forks.iter().any(|fork| fork.origin.cortex() == own));
                Ok(json!({ "appended": list, "leaves": leaves, "forked": forked }))
            }
            Err(AppendError::Draft { index, source }) => Ok(json!({ "refused": index, "error": source.to_string() })),
            Err(error) => Err(error.into()),
        }
    }

    async fn log(&self, after: Option<Cursor>, limit: usize, wait_ms: u64) -> Result<Answer> {
        let until = Instant::now() + Duration::from_millis(wait_ms.min(30_000));
        let mut durable = self.cortex.view().watch_durable();
        let limit = limit.clamp(1, PAGE_EVENTS);
        loop {
            // Before it is read: what comes meanwhile is a change.
            durable.borrow_and_update();
            let page = match self.cortex.service().command_page(after, limit, PAGE_BYTES as u64).await {
                Err(ReadError::CursorUnknown(unknown)) => {
                    let error = format!(
                        "cursor {} is of another history than this log's: {}",
                        unknown.cursor, unknown.mismatch
                    );
                    return Ok(json!({ "cursor_unknown": { "error": error, "resume": unknown.resume } }).into());
                }
                page => page?,
            };
            if page.events == 0 && matches!(tokio::time::timeout_at(until, durable.changed()).await, Ok(Ok(()))) {
                continue;
            }
            let value = json!({ "next": page.next, "head": page.head });
            let events = page.events;
            return Ok(Answer { value, texts: Texts::Page(Box::new(page.into_texts()), events) });
        }
    }

    pub fn peers(&self) -> Result<Vec<PeerState>> {
        if self.serving { Ok(self.cortex.syncer().peers()) } else { self.idle_peers() }
    }

    /// Peers as they are kept, while nothing is pulled.
    fn idle_peers(&self) -> Result<Vec<PeerState>> {
        let (state, config) = (self.cortex.state(), self.config());
        let peers = config.federation.peers.iter().map(|peer| {
            let mut known = state.peer_state(&peer.name, &peer.endpoint)?;
            known.mode = peer.mode;
            known.phase = antiphon_kernel::machine::Phase::Paused;
            Ok(known)
        });
        peers.collect()
    }

    fn known_peer(&self, name: &PeerName) -> Result<()> {
        let config = self.config();
        if config.federation.peers.iter().any(|peer| peer.name == *name) {
            return Ok(());
        }
        let known: Vec<_> = config.federation.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bail!("there is no peer `{name}`; configured are: {known}")
    }

    async fn set_peer_mode(&self, name: &PeerName, mode: PeerMode) -> Result<Value> {
        let _alone = self.changing().await;
        self.known_peer(name)?;
        let config = self.config();
        let written = config.federation.peers.iter().find(|peer| peer.name == *name).map(|peer| peer.mode);
        self.override_file(&peer_mode_key(name), mode.as_str(), written == Some(mode)).await?;
        if self.serving {
            match mode {
                PeerMode::Paused => self.cortex.syncer().pause(name).await?,
                PeerMode::Sync => self.cortex.syncer().resume(name).await?,
            }
        }
        Ok(json!({ "peer": name, "mode": mode, "in_file": written }))
    }

    /// A command goes before the file for as long as it says something else: back at what stands there, the file counts again.
    async fn override_file(&self, key: &str, value: &str, as_written: bool) -> Result<()> {
        match as_written {
            true => self.cortex.state().delete(key).await?,
            false => self.cortex.state().set(key, value).await?,
        }
        Ok(())
    }

    async fn set_mode(&self, mode: FederationMode) -> Result<Value> {
        let _alone = self.changing().await;
        let written = self.config().federation.mode;
        self.override_file(MODE_KEY, mode.as_str(), written == mode).await?;
        self.cortex.service().set_mode(mode);
        self.cortex.syncer().set_mode(mode);
        Ok(json!({ "mode": mode, "in_file": written }))
    }
}

fn no_event(id: EventId) -> String {
    format!("there is no event {id}")
}

/// Files that root made in somebody else's store would keep its owner from opening it.
pub fn must_be_the_owner(dir: &Path) -> Result<()> {
    let Ok(meta) = std::fs::metadata(dir) else { return Ok(()) };
    let owner = std::os::unix::fs::MetadataExt::uid(&meta);
    if !nix::unistd::geteuid().is_root() || owner == 0 {
        return Ok(());
    }
    let user =
        nix::unistd::User::from_uid(owner.into()).ok().flatten().map_or(format!("user {owner}"), |user| user.name);
    bail!(
        "no node serves, and the data in {} belong to {user}: root would leave files there that {user} cannot open; run this as \
         {user} (`runuser -u {user} -- antiphon ...`), or start the node first",
        dir.display()
    )
}

fn open_store(config: &NodeConfig) -> Result<RocksStore> {
    must_be_the_owner(&config.data_dir())?;
    backup::must_not_be_cut_short(&config.data_dir())?;
    RocksStore::open_with(config.data_dir(), Create::Never).map_err(|error| match error.kind() {
        StoreErrorKind::Missing => anyhow::anyhow!(
            "{error}: `antiphon init` makes one, a new node; if node.data_dir was changed, put back what stood there, or move the \
             data of the stopped node"
        ),
        _ => error.into(),
    })
}

/// What `set-mode`, `pause-peer` and `resume-peer` said outlives a restart and goes before the file. Gives the keys of what the
/// file says as well by now, and of peers that are not in it any more: that is to be forgotten.
pub fn apply_overrides(store: &dyn Store, config: &mut antiphon_kernel::config::Config) -> Result<Vec<String>> {
    let spent = spend_overrides(store, config);
    spent.context("what commands changed could not be read")
}

fn spend_overrides(store: &dyn Store, config: &mut antiphon_kernel::config::Config) -> Result<Vec<String>, StoreError> {
    let read = |key: &str| antiphon_kernel::state::read_free(store, key);
    let mut spent = antiphon_kernel::state::free_keys(store, PEER_MODE)?;
    if let Some(mode) = read(MODE_KEY)?.and_then(|m| m.parse().ok()) {
        if config.mode == mode {
            spent.push(MODE_KEY.to_owned());
        }
        config.mode = mode;
    }
    for peer in &mut config.peers {
        let key = peer_mode_key(&peer.name);
        if let Some(mode) = read(&key)?.and_then(|m| m.parse().ok())
            && mode != peer.mode
        {
            peer.mode = mode;
            spent.retain(|one| *one != key);
        }
    }
    Ok(spent)
}
