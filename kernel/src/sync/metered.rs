//! What comes from a peer, whatever it was asked for, is charged to the peer's quota here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::limits::{Allowance, Cost, Limits, Rates};
use crate::mutant::{self, Mutant};
use crate::proof::Identified;
use crate::protocol::{FetchReply, FetchRequest, Pushed, Refresh};
use crate::transport::{Link, Tail, TransportError};

/// The quota of one peer that is pulled.
#[derive(Debug, Default)]
pub(super) struct Inbound(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    rates: Rates,
}

impl Inbound {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are the limits now. What was used under other ones is forgotten.
    pub(super) fn set(&self, limits: Limits) {
        let mut state = self.state();
        if state.limits != limits {
            *state = State { limits, rates: Rates::pulled(&limits, Instant::now()) };
        }
    }

    /// How long the next question waits.
    pub(super) fn wait(&self) -> Duration {
        let mut state = self.state();
        if state.rates.is_unbounded() { Duration::ZERO } else { state.rates.wait(Instant::now()) }
    }

    /// The most that one answer should bring, so that the next question need not wait for long.
    pub(super) fn allowance(&self) -> Allowance {
        self.state().rates.allowance()
    }

    fn came(&self, reply: &FetchReply) {
        let FetchReply::Batch(batch) = reply else { return };
        let mut state = self.state();
        if !state.rates.is_unbounded() && !mutant::is(Mutant::PulledNotCharged) {
            let bytes = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
            state.rates.charge(Cost::of_events(batch.events.len() as u64, bytes), Instant::now());
        }
    }
}

/// A link of which the answers are charged.
pub(super) struct Metered {
    pub(super) link: Arc<dyn Link>,
    pub(super) inbound: Arc<Inbound>,
}

#[async_trait]
impl Link for Metered {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        self.link.identify(deadline).await
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        let reply = self.link.fetch(request, deadline).await?;
        self.inbound.came(&reply);
        Ok(reply)
    }

    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        let tail = self.link.tail(request, deadline).await?;
        let metered = |tail| Box::new(MeteredTail { tail, inbound: Arc::clone(&self.inbound) }) as Box<dyn Tail>;
        Ok(tail.map(metered))
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        self.link.refresh(refresh, deadline).await
    }
}

struct MeteredTail {
    tail: Box<dyn Tail>,
    inbound: Arc<Inbound>,
}

#[async_trait]
impl Tail for MeteredTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        let pushed = self.tail.next(deadline).await?;
        if let Some(Pushed::Reply(reply)) = &pushed {
            self.inbound.came(reply);
        }
        Ok(pushed)
    }
}
