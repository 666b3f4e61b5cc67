//! A caller that was let in, and what it asks.

use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admitted, ProvenBy};
use super::quotas::Payer;
use super::{Answers, Heartbeats, NoPage, Page, Service};
use crate::access::Whose;
use crate::budget::Account;
use crate::cursor::Cursor;
use crate::ids::CortexId;
use crate::proof::Channel;
use crate::protocol::{Delivery, FetchReply, FetchRequest, Identity, Refresh, Refusal};

/// The most characters of a caller's address that are kept.
const MAX_ADDRESS: usize = 64;

/// A cortex that asks, and whether it proved that it is that one. What one claims never meets what another proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Asker {
    pub(crate) cortex: CortexId,
    pub(crate) is_proven: bool,
}

/// A program that was let in by [`Service::admit`]: a cortex that proved who it is, or a caller of which only the shared key is known.
/// Cheap to clone; each connection of a transport's server holds one.
///
/// ```
/// use antiphon_kernel::protocol::FetchReply;
/// use antiphon_kernel::service::Credential;
/// use antiphon_kernel::testing::{MemoryStore, question};
/// use antiphon_kernel::{Cortex, CortexId, Draft};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
/// cortex.append(Draft::new("note.written", "hello")).await?;
/// // This cortex is in open mode. A reader without an identity asks.
/// let caller = cortex.service().admit(&Credential::Key(None))?;
/// let request = question(CortexId::from_bytes([7; 16]), caller.identity().cortex_id);
/// let FetchReply::Batch(batch) = caller.fetch(request).await else { panic!("the service refused") };
/// assert_eq!(batch.events.len(), 1);
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Caller {
    service: Service,
    proven: Option<ProvenBy>,
    admitted: Admitted,
    /// How many times the key of the service's cortex had been replaced when it was let in.
    rotations: u64,
    /// Where its questions come from.
    address: Option<Arc<str>>,
}

impl Caller {
    pub(super) fn new(service: Service, proven: Option<ProvenBy>, admitted: Admitted) -> Self {
        let rotations = service.inner.admission.rotations();
        Self { service, proven, admitted, rotations, address: None }
    }

    /// The same caller, with the address that it asks from. Operators see the newest one in [`Service::pullers`]. It is text in a
    /// form of the transport's own, such as `192.0.2.7:51820`, and decides nothing. 64 characters are kept.
    #[must_use]
    pub fn called_from(&self, address: &str) -> Self {
        let address: String = address.chars().take(MAX_ADDRESS).collect();
        Self { address: Some(address.into()), ..self.clone() }
    }

    /// The cortex that it proved to be, if it did.
    #[must_use]
    pub fn cortex(&self) -> Option<CortexId> {
        self.proven.map(|proven| proven.cortex)
    }

    /// Whose events it reads.
    #[must_use]
    pub fn reads(&self) -> Whose {
        #[cfg(any(test, feature = "testing"))]
        if self.admitted == Admitted::Trusted {
            return Whose::All;
        }
        self.service.reads(self.cortex())
    }

    /// What answers it.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    pub(super) const fn address(&self) -> Option<&Arc<str>> {
        self.address.as_ref()
    }

    /// Who asks with a question that names this cortex.
    ///
    /// # Errors
    /// [`Refusal::OtherAsker`]: the caller proved to be another one.
    pub(super) fn asker(&self, named: CortexId) -> Result<Asker, Refusal> {
        match self.cortex() {
            Some(cortex) if cortex != named => Err(Refusal::OtherAsker),
            cortex => Ok(Asker { cortex: named, is_proven: cortex.is_some() }),
        }
    }

    /// Whom the memory of what it sends is charged to. Callers that proved nothing share one account.
    #[must_use]
    pub fn account(&self) -> Account {
        match self.cortex() {
            Some(cortex) => self.service.account(Asker { cortex, is_proven: true }),
            None => Account::Readers,
        }
    }

    /// A token that replaces the handshake of this caller for ten minutes on this channel; none if it proved nothing. Present it as
    /// [`Credential::Token`](super::Credential::Token).
    #[must_use]
    pub fn token(&self, channel: Channel<'_>) -> Option<String> {
        self.proven.map(|proven| self.service.inner.admission.token(proven, &self.admitted, channel))
    }

    /// Why it must leave, if it must: the key that let it in is not accepted any more, or a working key was
    /// replaced, its own or that of this cortex. Its questions
    /// are refused so, open ones too.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.service.refusal_of(self.proven, &self.admitted, self.rotations)
    }

    /// Completes once it must leave: close its connection then.
    pub async fn revoked(&self) {
        let mut admission = self.service.inner.admission.watch();
        let mut pinned = self.service.inner.view.watch_pinned();
        loop {
            pinned.borrow_and_update();
            admission.borrow_and_update();
            if self.refusal().is_some() {
                return;
            }
            let gone = tokio::select! {
                biased;
                changed = admission.changed() => changed.is_err(),
                changed = pinned.changed() => changed.is_err(),
            };
            if gone {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What the answering cortex says of itself.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.service.identity()
    }

    /// Answers with one batch. Parks for up to `request.wait` (at most 60 s) while there is nothing new; dropping the future frees
    /// everything.
    pub async fn fetch(&self, request: FetchRequest) -> FetchReply {
        let once = FetchRequest { delivery: Delivery::Once, ..request };
        self.answers(once).next().await.unwrap_or(FetchReply::refused(Refusal::Internal))
    }

    /// Answers with as many batches as `request.delivery` says. Dropping them ends the run. A question that names another cortex
    /// than the caller proved to be is refused as [`Refusal::OtherAsker`].
    #[must_use]
    pub fn answers(&self, request: FetchRequest) -> Answers {
        Answers::new(self, request)
    }

    /// It says what it holds by now: that goes to its question, if that is still open. News in another's name are dropped.
    pub fn refresh(&self, refresh: Refresh) {
        if let Ok(asker) = self.asker(refresh.from) {
            self.service.refreshed(asker, refresh);
        }
    }

    /// How far the log reaches, whenever it is time to say so.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        Heartbeats::new(self.service.clone())
    }

    /// A page of the log as text: see [`Page`]. A caller that may read the events of some cortexes alone gets none: its own node has
    /// them.
    ///
    /// # Errors
    /// [`NoPage`].
    pub async fn page(&self, after: Option<Cursor>, limit: usize, wait: Duration) -> Result<Option<Page>, NoPage> {
        if self.reads() != Whose::All {
            return Ok(None);
        }
        let payer =
            self.cortex().map_or(Payer::Readers, |cortex| self.service.payer(Asker { cortex, is_proven: true }));
        self.service.page(payer, after, limit, wait).await
    }
}
