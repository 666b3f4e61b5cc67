//! The side that answers peers, whatever carried the question.

mod admission;
mod answers;
mod caller;
mod heartbeats;
mod held_text;
mod open;
mod page;
mod pending;
mod quotas;
mod served;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod tamper;
mod texts;
mod turn;
mod turns;

pub use admission::{Credential, TOKEN_FOR};
pub use answers::Answers;
pub(crate) use caller::Asker;
pub use caller::Caller;
pub use heartbeats::Heartbeats;
pub use held_text::{HeldText, PageError};
pub use page::{NoPage, Page};
pub use pending::Pending;
pub use served::{Puller, Served};
pub use texts::PageTexts;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::{Access, Authorizer, InForce, Standing, Whose};
use crate::budget::{Account, Budget, Share};
use crate::config::{FederationMode, PeerConfig, SharedKey};
use crate::cursor::Seq;
use crate::ids::{CortexId, PeerName};
use crate::limits::{Cost, PeerLimits};
use crate::log::{LocalIdentity, LogReader, OpenQuery};
use crate::protocol::{FetchRequest, Identity, Refresh};
use crate::receipts::LogReport;
use crate::store::StoreError;
use crate::time::Timestamp;
use admission::Admission;
use open::OpenQuestions;
use pending::PendingList;
use quotas::{Payer, Quotas};
use turns::Turns;

/// Answers peers from the durable log. Cheap to clone; transports' servers hold one. Callers are let in first.
///
/// ```
/// use antiphon_kernel::Cortex;
/// use antiphon_kernel::service::Credential;
/// use antiphon_kernel::testing::MemoryStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// // A cortex in open mode lets everybody in. Who proves nothing is no cortex.
/// let caller = cortex.service().admit(&Credential::Key(None))?;
/// assert_eq!((caller.cortex(), caller.identity().name.as_str()), (None, "alpha"));
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    view: LogReader,
    keys: watch::Sender<Arc<[SharedKey]>>,
    admission: Admission,
    /// The peers of the configuration: by the ids and the names that stand there.
    named: watch::Sender<Named>,
    pending: PendingList,
    mode: AtomicU8,
    turns: Turns,
    quotas: Quotas,
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
            admission: Admission::default(),
            named: watch::Sender::default(),
            pending: PendingList::default(),
            mode: AtomicU8::new(0),
            turns: Turns::default(),
            quotas: Quotas::default(),
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
        let service = Service { inner: Arc::new(self) };
        service.set_mode(mode);
        service
    }
}

/// The peers of a configuration.
#[derive(Debug, Default)]
struct Named {
    cortexes: BTreeSet<CortexId>,
    names: BTreeSet<PeerName>,
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

    /// Whether this is the same service.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
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

    /// Whether everybody is let in, with or without a key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.keys.borrow().iter().any(SharedKey::is_open)
    }

    /// Lets this cortex in, without a proof: for tests of what comes after.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn trusting(&self, cortex: CortexId) -> Caller {
        let proven = admission::ProvenBy { cortex, statement: u64::MAX };
        Caller::new(self.clone(), Some(proven), admission::Admitted::Trusted)
    }

    /// Replaces the keys that are accepted: two of them while one is being replaced. None at all is open mode.
    pub fn set_keys(&self, keys: &[SharedKey]) {
        let keys = if keys.is_empty() { [SharedKey::default()].into() } else { keys.into() };
        self.inner.keys.send_replace(keys);
        self.inner.admission.changed();
    }

    /// Replaces what decides who may read what, and whose events are taken from whom. It holds at once, for open questions too.
    pub fn set_authorizer(&self, authorizer: Arc<dyn Authorizer>) {
        self.inner.view.set_access(InForce(authorizer));
        self.inner.admission.changed();
    }

    /// The working key of this cortex was replaced. Callers that were let in before greet it again, and learn of the new one.
    pub(crate) fn rotated(&self) {
        self.inner.admission.rotated();
    }

    /// The peers of the configuration, who may read without a rule.
    pub(crate) fn set_peers(&self, peers: &[PeerConfig]) {
        let cortexes = peers.iter().filter_map(|peer| peer.cortex).collect();
        let names = peers.iter().map(|peer| peer.name.clone()).collect();
        self.inner.named.send_replace(Named { cortexes, names });
        self.inner.admission.changed();
    }

    /// Replaces the quotas of callers. They hold at once, for open questions too: see [`crate::limits`].
    pub fn set_limits(&self, limits: &PeerLimits) {
        self.inner.quotas.set(limits);
    }

    /// These cortexes have rules for what they may read, so no caller made their ids up.
    pub(crate) fn set_ruled(&self, access: &Access) {
        self.inner.quotas.set_ruled(access.rules.iter().map(|rule| rule.cortex).collect());
    }

    /// Whose events a caller reads.
    fn reads(&self, cortex: Option<CortexId>) -> Whose {
        self.inner.view.access().read(cortex, cortex.map_or(Standing::Other, |cortex| self.standing(cortex)))
    }

    fn standing(&self, cortex: CortexId) -> Standing {
        let pinned = self.inner.view.pinned();
        let named = self.inner.named.borrow();
        let is_named =
            named.cortexes.contains(&cortex) || pinned.get(&cortex).is_some_and(|pin| named.names.contains(&pin.name));
        if is_named { Standing::Peer } else { Standing::Other }
    }

    /// The cortexes that proved who they are since the start, and may not read anything here; at most 256 of them.
    #[must_use]
    pub fn pending(&self) -> Arc<[Pending]> {
        self.inner.pending.list()
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

    /// Who this cortex is.
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
    /// [`Refusal::Busy`](crate::protocol::Refusal::Busy) at once, so that their askers know that they were not cut off.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    fn refreshed(&self, asker: Asker, refresh: Refresh) {
        if asker.is_proven {
            self.inner.view.doubles().refreshed(refresh.from, refresh.request);
        }
        let account = self.account(asker);
        self.inner.open.deliver(asker, refresh, &self.inner.budget, &account);
    }

    /// The memory budget that answers are made within. Whatever else is made of the log for others takes its shares here too.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Whom an asker's memory and reads are charged to.
    fn account(&self, asker: Asker) -> Account {
        match asker {
            // An id that is only claimed has no account of its own, and costs its owner nothing.
            Asker { is_proven: false, .. } => Account::Readers,
            Asker { cortex, .. } if self.inner.view.pinned().contains_key(&cortex) => Account::Pinned(cortex),
            Asker { cortex, .. } => Account::Guest(cortex),
        }
    }

    /// Whose quota the answers to an asker count against.
    fn payer(&self, asker: Asker) -> Payer {
        match asker {
            Asker { is_proven: false, .. } => Payer::Readers,
            Asker { cortex, .. } if self.inner.view.pinned().contains_key(&cortex) => Payer::Known(cortex),
            Asker { cortex, .. } if self.inner.named.borrow().cortexes.contains(&cortex) => Payer::Known(cortex),
            Asker { cortex, .. } if self.inner.quotas.has_rule(cortex) => Payer::Known(cortex),
            Asker { cortex, .. } => Payer::Guest(cortex),
        }
    }

    /// Counts what was read for an asker.
    fn worked(&self, account: &Account, payer: Payer, asking: &mut OpenQuery) {
        let (passed, sent, claim) = asking.take_work();
        self.inner.turns.count(account, passed, claim);
        let work = Cost::of_reading(passed.entries + sent.entries, passed.bytes + sent.bytes);
        self.inner.quotas.charge(payer, work);
    }

    /// Calls this with the id of each cortex that proved who it is and asks: see [`crate::sync::Syncer::hears`]. The first one given is kept.
    pub(crate) fn on_asked(&self, tell: impl Fn(CortexId) + Send + Sync + 'static) {
        // A cortex is composed once.
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

    fn asked_by(&self, asker: Asker, request: &FetchRequest, address: Option<&Arc<str>>) {
        self.inner.served.asked(asker, request.after, address, Timestamp::now());
        // What is only claimed must not set off anything.
        if asker.is_proven {
            self.inner.view.doubles().asked(asker.cortex, request.request);
            if let Some(tell) = self.inner.on_asked.get() {
                tell(asker.cortex);
            }
        }
    }

    /// How many questions are open: being answered, or parked.
    #[must_use]
    pub fn open_questions(&self) -> usize {
        self.inner.open.count()
    }

    /// The cortexes that asked since the start; at most 1,024 of them.
    #[must_use]
    pub fn pullers(&self) -> Vec<Puller> {
        let open = self.inner.open.askers();
        self.inner.served.pullers(|asker| open.contains(&asker))
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
        // The asker may go away, and the thread reads on: it counts until it has ended.
        let read = move || {
            let _permit = permit;
            read()
        };
        crate::blocking::blocking(read).await
    }
}
