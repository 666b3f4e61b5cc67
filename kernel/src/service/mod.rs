//! The side that answers peers, whatever carried the question.

mod answers;
mod heartbeats;
mod held_text;
mod open;
mod page;
mod served;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod tamper;
mod texts;
mod turns;

pub use answers::Answers;
pub use heartbeats::Heartbeats;
pub use held_text::{HeldText, PageError};
pub use page::Page;
pub use served::{Puller, Served};
pub use texts::PageTexts;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::budget::{Account, Budget, Share};
use crate::config::{FederationMode, SharedKey};
use crate::cursor::Seq;
use crate::ids::CortexId;
use crate::log::{LocalIdentity, LogReader, OpenQuery};
use crate::protocol::{Delivery, FetchReply, FetchRequest, Identity, Refresh, Refusal};
use crate::receipts::LogReport;
use crate::store::StoreError;
use crate::time::Timestamp;
use open::OpenQuestions;
use turns::Turns;

/// Answers peers from the durable log. Cheap to clone; transports' servers hold one.
///
/// ```
/// use antiphon_kernel::protocol::FetchReply;
/// use antiphon_kernel::testing::{MemoryStore, question};
/// use antiphon_kernel::{Cortex, CortexId, Draft};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// cortex.append(Draft::new("note.written", "hello")).await?;
/// // What a transport does with a question that it received.
/// let service = cortex.service();
/// let request = question(CortexId::from_bytes([7; 16]), service.identity().cortex_id);
/// let FetchReply::Batch(batch) = service.fetch(request).await else { panic!("the service refused") };
/// assert_eq!(batch.events.len(), 1);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
    /// Where the questions come from that this handle answers.
    caller: Option<Arc<str>>,
}

/// The most characters of a caller's address that are kept.
const MAX_ADDRESS: usize = 64;

struct Inner {
    view: LogReader,
    keys: watch::Sender<Arc<[SharedKey]>>,
    mode: AtomicU8,
    turns: Turns,
    budget: Budget,
    closing: watch::Sender<bool>,
    open: OpenQuestions,
    served: served::Counters,
    on_asked: OnceLock<Box<dyn Fn(CortexId) + Send + Sync>>,
    on_report: OnceLock<Box<dyn Fn(CortexId, LogReport) + Send + Sync>>,
    #[cfg(any(test, feature = "testing"))]
    tamper: Option<Arc<dyn tamper::Tamper>>,
}

impl Inner {
    fn new(view: LogReader, key: SharedKey, budget: Budget) -> Self {
        Self {
            view,
            keys: watch::Sender::new([key].into()),
            mode: AtomicU8::new(0),
            turns: Turns::default(),
            budget,
            closing: watch::Sender::new(false),
            open: OpenQuestions::default(),
            served: served::Counters::default(),
            on_asked: OnceLock::new(),
            on_report: OnceLock::new(),
            #[cfg(any(test, feature = "testing"))]
            tamper: None,
        }
    }

    fn serving(self, mode: FederationMode) -> Service {
        let service = Service { inner: Arc::new(self), caller: None };
        service.set_mode(mode);
        service
    }
}

/// Reports that the accepted keys were replaced.
#[derive(Debug, Clone)]
pub struct KeyChanges(watch::Receiver<Arc<[SharedKey]>>);

impl KeyChanges {
    /// Completes when they were, since this was asked last. Never, once the service is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

const MODES: [FederationMode; 3] = [FederationMode::Sync, FederationMode::Publish, FederationMode::Subscribe];

impl Service {
    /// A service over a log, guarded by a key (an empty one is open mode).
    #[must_use]
    pub fn new(view: LogReader, key: SharedKey, mode: FederationMode) -> Self {
        Self::within(view, key, mode, Budget::default())
    }

    /// A service with a memory budget of its own, rather than the one of the process.
    #[must_use]
    pub fn within(view: LogReader, key: SharedKey, mode: FederationMode, budget: Budget) -> Self {
        Inner::new(view, key, budget).serving(mode)
    }

    /// Returns a handle for the questions that come from this address. Operators see the newest address of each asker in
    /// [`Service::pullers`]. It is text in a form of the transport's own, such as `192.0.2.7:51820`, and decides nothing. 64
    /// characters are kept.
    #[must_use]
    pub fn called_from(&self, address: &str) -> Self {
        let address: String = address.chars().take(MAX_ADDRESS).collect();
        Self { inner: Arc::clone(&self.inner), caller: Some(address.into()) }
    }

    /// Changes whether it serves; holds for the next question.
    pub fn set_mode(&self, mode: FederationMode) {
        let code = MODES.iter().position(|&m| m == mode).and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        self.inner.mode.store(code, Ordering::Relaxed);
    }

    /// What this cortex does in its federation.
    #[must_use]
    pub fn mode(&self) -> FederationMode {
        MODES[usize::from(self.inner.mode.load(Ordering::Relaxed)) % MODES.len()]
    }

    /// Whether whoever presented this key (`None`: no key) may ask anything. Compared in constant time, with all keys that
    /// are valid now.
    #[must_use]
    pub fn authorises(&self, presented: Option<&[u8]>) -> bool {
        let keys = Arc::clone(&self.inner.keys.borrow());
        let matches = |key: &[u8]| keys.iter().fold(false, |found, ours| ours.matches(key) | found);
        keys.iter().any(SharedKey::is_open) || presented.is_some_and(matches)
    }

    /// Replaces the keys that are accepted: two of them while one is being replaced. None at all is open mode.
    pub fn set_keys(&self, keys: &[SharedKey]) {
        let keys = if keys.is_empty() { [SharedKey::default()].into() } else { keys.into() };
        self.inner.keys.send_replace(keys);
    }

    /// How many keys are accepted now; none is open mode.
    #[must_use]
    pub fn accepted_keys(&self) -> usize {
        self.inner.keys.borrow().iter().filter(|key| !key.is_open()).count()
    }

    /// Whether these are the keys that are accepted now.
    #[must_use]
    pub fn accepts_just(&self, keys: &[SharedKey]) -> bool {
        let ours = Arc::clone(&self.inner.keys.borrow());
        let open = |keys: &[SharedKey]| keys.iter().all(SharedKey::is_open);
        *ours == *keys || open(&ours) && open(keys)
    }

    /// Completes each time that [`Service::set_keys`] was called: whoever was let in by a key may have to leave.
    #[must_use]
    pub fn watch_keys(&self) -> KeyChanges {
        KeyChanges(self.inner.keys.subscribe())
    }

    /// Who this cortex is, for the greeting of a transport.
    #[must_use]
    pub fn local(&self) -> LocalIdentity {
        self.inner.view.local()
    }

    /// What this cortex says of itself.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let identity = self.inner.view.identity(Timestamp::now());
        #[cfg(any(test, feature = "testing"))]
        let identity = self.tampered_identity(identity);
        identity
    }

    /// The server is about to stop. Questions that are parked, and later ones that there is nothing new for, are refused as
    /// [`Refusal::Busy`] at once, so that their askers know that they were not cut off.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Answers a peer with one batch. Parks for up to `request.wait` (at most 60 s) while there is nothing new;
    /// dropping the future frees everything.
    pub async fn fetch(&self, request: FetchRequest) -> FetchReply {
        let once = FetchRequest { delivery: Delivery::Once, ..request };
        self.answers(once).next().await.unwrap_or(FetchReply::refused(Refusal::Internal))
    }

    /// Answers a peer with as many batches as `request.delivery` says. Dropping them ends the run.
    #[must_use]
    pub fn answers(&self, request: FetchRequest) -> Answers {
        Answers::new(self.clone(), request)
    }

    /// A peer says what it holds by now: that goes to its question, if that is still open.
    pub fn refresh(&self, refresh: Refresh) {
        self.inner.view.doubles().refreshed(refresh.from, refresh.request);
        let account = self.account(refresh.from);
        self.inner.open.deliver(refresh, &self.inner.budget, &account);
    }

    /// The memory budget that answers are made within. Whatever else is made of the log for others takes its shares here too.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Whom an asker's memory and reads are charged to.
    #[must_use]
    pub fn account(&self, asker: CortexId) -> Account {
        let pinned = self.inner.view.pinned().contains_key(&asker);
        if pinned { Account::Pinned(asker) } else { Account::Guest(asker) }
    }

    /// Calls this with the id that each asker gives: see [`crate::sync::Syncer::hears`]. The first one given is kept.
    pub(crate) fn on_asked(&self, tell: impl Fn(CortexId) + Send + Sync + 'static) {
        // Whoever composes a cortex does so once.
        let _ = self.inner.on_asked.set(Box::new(tell));
    }

    /// Calls this with what each peer reports of its log: see [`crate::sync::Syncer::takes_reports`]. The first one given is kept.
    pub(crate) fn on_report(&self, take: impl Fn(CortexId, LogReport) + Send + Sync + 'static) {
        let _ = self.inner.on_report.set(Box::new(take));
    }

    /// Passes on what the asker of a question reported of its log, if that is news.
    fn report(&self, asking: &mut OpenQuery) {
        if let Some(take) = self.inner.on_report.get()
            && let Some(report) = self.inner.view.report(asking)
        {
            take(asking.asker(), report);
        }
    }

    fn asked_by(&self, request: &FetchRequest) {
        let asker = request.from;
        self.inner.served.asked(asker, request.after, self.caller.as_ref(), Timestamp::now());
        self.inner.view.doubles().asked(asker, request.request);
        if let Some(tell) = self.inner.on_asked.get() {
            tell(asker);
        }
    }

    /// How far the log reaches, whenever it is time to say so.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        Heartbeats::new(self.clone())
    }

    /// How many questions are open: being answered, or parked.
    #[must_use]
    pub fn open_questions(&self) -> usize {
        self.inner.open.count()
    }

    /// The cortexes that asked since the start, by the ids that they gave; at most 1,024 of them.
    #[must_use]
    pub fn pullers(&self) -> Vec<Puller> {
        let open = self.inner.open.askers();
        self.inner.served.pullers(|cortex| open.contains(&cortex))
    }

    /// What was sent to peers so far.
    #[must_use]
    pub fn served(&self) -> Served {
        self.inner.served.read()
    }

    /// Waits for a new durable entry. False when time is up or the service closes.
    async fn park(&self, durable: &mut watch::Receiver<Seq>, until: Instant) -> bool {
        let mut closing = self.inner.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => false,
            changed = durable.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(until) => false,
        }
    }

    /// Runs a read of the store on a thread that may block.
    async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        permit: Share,
        read: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        // Whoever asked may go away, and the thread reads on: it counts until it has ended.
        let read = move || {
            let _permit = permit;
            read()
        };
        crate::blocking::blocking(read).await
    }
}
