//! Carrying out what the machine wants.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::PeerTask;
use super::inputs::{Input, Refused, Stored};
use crate::entropy;
use crate::health::PeerHealth;
use crate::identity::PublicKey;
use crate::ids::{CortexId, Origin, PeerName};
use crate::log::{ExclusionCause, IngestError, LogHandle, Pin};
use crate::machine::{Action, Inspection, News, Phase};
use crate::protocol::{EventBatch, Pushed, RequestId, Scope};
use crate::sync::exclude::{end_exclusions, exclude};
use crate::sync::feed::{Feed, Question, lock};
use crate::sync::inspect::{MAX_QUESTIONS, inspect};
use crate::sync::links::{hard, link_to, who_and_when};
use crate::sync::metered::Metered;
use crate::sync::probe::must_be_this_node;
use crate::time::Timestamp;
use crate::transport::{Link, TransportError};

/// How long news of what we hold may be on their way.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);
/// News of what we hold are at least this far apart, and further if sending them takes longer; what changes in
/// between goes with the next. Within a peer's grace for events that a direct peer sends.
const REFRESH_APART: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(200);
/// The number of cortexes that are advertised before they wrote anything.
const TELL_ALL: usize = 64;

impl PeerTask {
    /// Carries out everything the machine wants now.
    pub(super) async fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Identify { number } => self.identify(number),
                Action::Pin { cortex_id, root, statement } => self.pin(cortex_id, root, statement).await,
                Action::Fetch { number, to, by_clock, mut new_request, own, wait } => {
                    match end_exclusions(&self.log, &self.peer.name, to).await {
                        Ok(ended) => {
                            self.stale |= ended;
                            new_request |= ended;
                        }
                        Err(error) => {
                            tracing::error!(peer = %self.peer.name, %error, code = %error.code(), "what is excluded cannot be read");
                        }
                    }
                    let scope = if own { self.own() } else { self.scope() };
                    self.fetch(number, to, by_clock, new_request, scope, wait);
                }
                Action::Inspect { number, to, origin, counter } => self.inspect(number, to, origin, counter),
                Action::Ingest { number, batch } => self.ingest(number, *batch),
                Action::Timer { token, at } => {
                    if self.machine.is_put_off() {
                        self.slowed.waits(at);
                    }
                    if self.machine.gives_up_run() {
                        self.close_feed();
                    }
                    self.timer = Some((token, self.started + at));
                }
                Action::Save { health, news } => self.save(health, news).await,
            }
        }
    }

    async fn pin(&mut self, cortex_id: CortexId, root: PublicKey, statement: u64) {
        self.stale = true;
        let pin = Pin { cortex_id, root: Some(root), statement, since: Timestamp::now() };
        match self.state.pin(&self.peer.name, pin, &self.statuses.names()).await {
            Ok(before) if before.is_empty() => {
                tracing::info!(peer = %self.peer.name, %cortex_id, statement, "pinned, with its root key and key statement");
            }
            Ok(before) => {
                let before = before.iter().map(PeerName::as_str).collect::<Vec<_>>().join(", ");
                tracing::warn!(
                    peer = %self.peer.name, %cortex_id,
                    "pinned to the cortex that `{before}` was pinned to, which is not configured any more: that pin is forgotten"
                );
            }
            Err(error) => {
                tracing::error!(peer = %self.peer.name, %error, code = %error.code(), "a pin could not be stored");
                self.detail = Some(error.to_string());
                self.machine.handle_pin_failed(self.now(), entropy::random() as u64);
            }
        }
    }

    async fn save(&mut self, health: PeerHealth, news: News) {
        self.stale = true;
        if let News::Failed(category) | News::StillFailing(category) = news {
            self.close_feed();
            self.measures.failed(category);
            if category.is_refusal() {
                // What was read from files may have been replaced by now, and another cortex may answer next: a link is held to the
                // one that answered first.
                self.link = None;
            }
        }
        match news {
            News::Failed(_) | News::StillFailing(_) => {
                let breach = self.machine.breach().map(|rule| rule.to_string());
                self.status.detail = breach.or_else(|| self.detail.take()).filter(|why| !why.is_empty());
            }
            News::Recovered | News::None => self.status.detail = None,
        }
        self.tell(news, &health);
        let detail = self.status.detail.as_deref();
        if let Err(error) = self.state.set_health(&self.peer.name, &health, detail).await {
            tracing::error!(peer = %self.peer.name, %error, code = %error.code(), "a peer's health could not be stored");
        }
    }

    fn link(&mut self) -> Result<Arc<dyn Link>, TransportError> {
        if let Some(link) = &self.link {
            return Ok(Arc::clone(link));
        }
        let link = link_to(&self.transports, &self.peer, self.log.reader())?;
        let link: Arc<dyn Link> = Arc::new(Metered { link, inbound: Arc::clone(&self.inbound) });
        self.link = Some(Arc::clone(&link));
        self.link_log = self.log.reader().local().log;
        Ok(link)
    }

    fn identify(&mut self, number: u64) {
        if self.link_log != self.log.reader().local().log {
            // Its greeting names no log.
            self.link = None;
        }
        let link = self.link();
        self.clock = None;
        self.clock_read = Instant::now();
        let (view, peer) = (self.log.reader().clone(), self.peer.name.clone());
        self.in_flight = Some(Box::pin(async move {
            let answer = async {
                let link = link?;
                let answer = who_and_when(&*link).await?;
                if answer.0.identity().cortex_id == view.local().cortex_id {
                    must_be_this_node(&*link, &view, &peer).await?;
                }
                Ok(answer)
            };
            Input::Identity(number, answer.await)
        }));
    }

    /// Reads the peer's clock again, next to other questions: a contact may last for months.
    pub(super) fn read_clock(&mut self) {
        self.clock_read = Instant::now();
        let Some(link) = self.link.clone() else { return };
        self.clock = Some(Box::pin(async move {
            let (identified, skew) = who_and_when(&*link).await.ok()?;
            Some((identified.identity().cortex_id, skew))
        }));
    }

    fn fetch(&mut self, number: u64, to: CortexId, by_clock: bool, new_request: bool, scope: Scope, wait: Duration) {
        self.requests += 1;
        self.overdue.asked(self.started.elapsed(), wait);
        let (log, view) = (self.log.clone(), self.log.reader().clone());
        let request = RequestId { process: view.process(), number: self.requests };
        let (peer, direct) = (self.peer.name.clone(), self.direct());
        let allowance = self.inbound.allowance();
        let (max_bytes, patience) = (self.batch_budget.bytes(), self.batch_budget.patience());
        let max_bytes = max_bytes.min(allowance.bytes);
        let max_events = u32::try_from(allowance.events).unwrap_or(u32::MAX).min(self.batch_budget.events());
        let protocol = self.protocol();
        let question = Question {
            view,
            peer,
            to,
            protocol,
            by_clock,
            new_request,
            wait,
            scope,
            direct,
            request,
            max_events,
            max_bytes,
            patience,
        };
        let feed = match self.feed.take() {
            Some(feed) => Ok(feed),
            None => self.link().map(|link| Feed::new(link, Arc::clone(&self.advertised))),
        };
        // A node that has caught up waits for new events, and not for the peer.
        let timed = wait.is_zero() || self.machine.phase() == Phase::CatchingUp;
        self.in_flight = Some(Box::pin(async move {
            match feed {
                Ok(mut feed) => {
                    let began = Instant::now();
                    let (asked, source, answer) = feed.next(&question).await;
                    let took = timed.then(|| began.elapsed());
                    let own = if let Ok((Pushed::Reply(reply), _)) = &answer { reply.own() } else { None };
                    if let Some(own) = own
                        && let Err(error) = log.note_own_head(question.peer.clone(), *own).await
                    {
                        tracing::error!(peer = %question.peer, %error, code = %error.code(), "a new epoch cannot be stored");
                    }
                    Input::Answer(number, Box::new((feed, asked, source)), took, answer)
                }
                Err(error) => Input::NoLink(number, error.into()),
            }
        }));
    }

    fn inspect(&mut self, number: u64, to: CortexId, origin: Origin, counter: u64) {
        self.close_feed();
        let first = self.requests + 1;
        let to = (to, self.protocol());
        self.requests += MAX_QUESTIONS;
        let (link, log, peer, batch_budget) =
            (self.link(), self.log.clone(), self.peer.name.clone(), self.batch_budget);
        self.in_flight = Some(Box::pin(async move {
            let outcome = match link {
                Ok(link) => inspect(link, log, peer, to, Inspection::new(origin, counter), first, batch_budget).await,
                Err(error) => Err(error.into()),
            };
            Input::Inspected(number, outcome)
        }));
    }

    /// The protocol that is spoken with the peer.
    pub(super) fn protocol(&self) -> u16 {
        self.machine.protocol().unwrap_or_else(|| self.log.reader().local().protocols.max())
    }

    /// A publisher wants back what it wrote and has lost, and nothing else.
    fn scope(&mut self) -> Scope {
        if self.federation.borrow_and_update().pulls() { Scope::All } else { self.own() }
    }

    fn own(&self) -> Scope {
        Scope::Cortex(self.log.reader().local().cortex_id)
    }

    /// Whom we pull ourselves. Where they are many, those alone who ever wrote anything: of the others there is nothing to
    /// hold back, and among a thousand peers that say nothing each would get news of all others.
    fn direct(&mut self) -> Vec<CortexId> {
        let live = self.live.borrow_and_update();
        if live.len() <= TELL_ALL { live.to_vec() } else { self.log.reader().authors_among(&live) }
    }

    /// Tells the peer what we hold by now, so that it does not send it.
    pub(super) fn refresh(&mut self) {
        let direct = self.direct();
        let view = self.log.reader();
        let news = lock(&self.advertised).news(view.local().cortex_id, &view.heads(), direct);
        let (Some(refresh), Some(link)) = (news, self.link.clone()) else { return };
        let peer = self.peer.name.clone();
        self.refreshing = Some(Box::pin(async move {
            let began = Instant::now();
            if let Err(error) = hard(REFRESH_DEADLINE, link.refresh(&refresh, REFRESH_DEADLINE)).await {
                tracing::debug!(%peer, category = %error.category(), "what we hold could not be advertised: {error}");
            }
            let apart = (began.elapsed() * 4).clamp(*REFRESH_APART.start(), *REFRESH_APART.end());
            tokio::time::sleep(apart).await;
        }));
    }

    fn ingest(&mut self, number: u64, batch: EventBatch) {
        let (log, peer, asked) = (self.log.clone(), self.peer.name.clone(), self.asked.take());
        let ahead = std::mem::take(&mut self.ahead);
        let mut feed = self.feed.take().map(Box::new);
        let (name, is_proven) = (peer.clone(), self.is_proven);
        let (may_narrow, groups) = (self.batch_budget.may_narrow(), batch.seals.len());
        self.in_flight = Some(Box::pin(async move {
            let (holder, heads) = (batch.from, batch.heads.clone());
            let bytes = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
            let mut stored = Stored { events: batch.events.len() as u64, bytes, took: Duration::ZERO };
            let began = Instant::now();
            let ingested = async {
                match asked {
                    Some(asked) => log.ingest_visibly(peer, asked, batch, ahead).await,
                    None => Err(IngestError::NotAsked),
                }
            };
            let result = match &mut feed {
                // The next answer is received and decoded while this one is stored.
                Some(feed) => tokio::select! {
                    biased;
                    result = ingested => result,
                    () = feed.read_ahead() => Err(IngestError::NotAsked),
                },
                None => ingested.await,
            };
            if result.is_ok() {
                let view = log.reader().clone();
                let own = view.local().cortex_id;
                // What is only claimed has no effect.
                if is_proven && heads.iter().any(|(origin, _)| origin.cortex() == own) {
                    // An event that is acknowledged later is no loss, so an error here is none.
                    let noted = crate::blocking::spawn_blocking(move || view.acknowledge(holder, &heads)).await;
                    if let Ok(Err(error)) = noted {
                        tracing::debug!(%error, "what the peer holds could not be compared");
                    }
                }
            }
            let result = match result {
                // What fits is to come before its cortex is excluded.
                Err(IngestError::OverQuota { .. }) if may_narrow && groups > 1 => Err(Refused::Narrow),
                Err(error) => match leave_out(&log, (&name, holder), &error).await {
                    true => Err(Refused::Excluded),
                    false => Err(Refused::Ingest(error)),
                },
                Ok(ingested) => Ok(ingested),
            };
            stored.took = began.elapsed();
            Input::Ingested(number, feed, stored, result)
        }));
    }
}

/// Excludes the cortex that an answer cannot be taken because of. False if it is not because of one, or if that cannot help.
async fn leave_out(log: &LogHandle, (name, holder): (&PeerName, CortexId), error: &IngestError) -> bool {
    let (cortex, cause) = match error {
        IngestError::TooManyOrigins { origin } => (origin.cortex(), (ExclusionCause::Origins, 0)),
        IngestError::OverQuota { cortex, cause, need } => (*cortex, (*cause, *need)),
        _ => return false,
    };
    exclude(log, (name, holder), cortex, cause).await.unwrap_or_else(|error| {
        tracing::error!(peer = %name, %error, code = %error.code(), "a cortex cannot be excluded");
        false
    })
}
