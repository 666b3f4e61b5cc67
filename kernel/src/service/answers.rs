//! A run of answers to one question.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::open::Mailbox;
use super::{Service, Tamper};
use crate::cursor::Seq;
use crate::ids::CortexId;
use crate::log::{Asking, Found};
use crate::protocol::{Delivery, EventBatch, FetchReply, FetchRequest, Known, MAX_WAIT, Refusal, RequestId};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How long a live tail leaves the asker's cursor behind what it was found to know already.
const ADVANCE_AFTER: Duration = Duration::from_secs(1);
/// How long a question waits for a log that is being rewritten.
const REWRITING: Duration = Duration::from_secs(10);

/// The answers to one question, made as they are taken: whoever takes slowly is read for slowly.
pub struct Answers {
    service: Service,
    key: (CortexId, RequestId),
    mailbox: Arc<Mailbox>,
    durable: watch::Receiver<Seq>,
    delivery: Delivery,
    /// Whether anybody waits here, so that holding an event back delays nothing but it.
    waits: bool,
    until: Instant,
    state: State,
    /// Since when the log was passed over without telling.
    passed: Option<Instant>,
    answered: bool,
    tamper: Option<(Arc<dyn Tamper>, FetchRequest)>,
    lies: VecDeque<FetchReply>,
}

enum State {
    Asked(Box<FetchRequest>),
    Open(Box<Asking>),
    /// Kept here rather than in the future that waits for it: dropping that one must lose nothing.
    Reading(Reading),
    Done,
}

type Reading = Pin<Box<dyn Future<Output = Result<Look, StoreError>> + Send>>;

/// What one look at the log came to.
enum Look {
    Refused(Refusal),
    Found(Box<Asking>, Found),
    /// More must be read before there is anything to say. Others have their turn first.
    More(Box<Asking>),
}

impl Answers {
    pub(super) fn new(service: Service, request: FetchRequest) -> Self {
        let key = (request.from, request.request);
        service.asked_by(request.from, request.request);
        Self {
            mailbox: service.inner.open.register(key),
            durable: service.inner.view.watch_durable(),
            delivery: request.delivery,
            waits: request.delivery == Delivery::Live || !request.wait.is_zero(),
            until: Instant::now() + request.wait.min(MAX_WAIT),
            tamper: service.inner.tamper.clone().map(|tamper| (tamper, request.clone())),
            lies: VecDeque::new(),
            state: State::Asked(Box::new(request)),
            passed: None,
            answered: false,
            service,
            key,
        }
    }

    /// The next answer, or `None` where the run is over. A refusal is the last one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FetchReply> {
        loop {
            if let Some(lie) = self.lies.pop_front() {
                return Some(lie);
            }
            let reply = self.honest().await?;
            let Some((tamper, request)) = &self.tamper else { return Some(reply) };
            match tamper.answer(request, reply) {
                Some(lies) => self.lies.extend(lies),
                None => std::future::pending().await,
            }
        }
    }

    async fn honest(&mut self) -> Option<FetchReply> {
        let reply = self.find().await?;
        if matches!(reply, FetchReply::Refused(_)) || self.delivery == Delivery::Once {
            self.state = State::Done;
        }
        self.answered = true;
        self.service.inner.served.count(self.key.0, &reply);
        Some(reply)
    }

    async fn find(&mut self) -> Option<FetchReply> {
        loop {
            if !self.service.mode().serves() {
                return Some(FetchReply::Refused(Refusal::NotServing));
            }
            let looked = match &mut self.state {
                State::Done => return None,
                State::Reading(reading) => reading.await,
                State::Asked(_) | State::Open(_) => {
                    self.durable.borrow_and_update();
                    let state = std::mem::replace(&mut self.state, State::Done);
                    self.state = State::Reading(self.look(state));
                    continue;
                }
            };
            self.state = State::Done;
            let (asking, found) = match looked {
                Ok(Look::Found(asking, found)) => (asking, found),
                Ok(Look::More(asking)) => {
                    self.state = State::Open(asking);
                    continue;
                }
                Ok(Look::Refused(refusal)) => return Some(FetchReply::Refused(refusal)),
                Err(error) => {
                    tracing::error!(%error, peer = %self.key.0, "a peer could not be answered");
                    return Some(FetchReply::Refused(Refusal::Internal));
                }
            };
            let asking = self.state.open(asking);
            let caught_up = found.batch.last == found.batch.head;
            // A long run of what the asker knows already is told, so that it need not be looked at again; and where a
            // live tail begins is told at once.
            let begins = self.delivery == Delivery::Live && !self.answered;
            if begins || !found.batch.events.is_empty() || !caught_up && found.held.is_none() {
                return Some(emit(asking, found.batch, &mut self.passed));
            }
            if self.delivery == Delivery::CatchUp && self.answered && caught_up {
                self.state = State::Done;
                return None;
            }
            // So are heads that the asker is to compare.
            if found.batch.last != found.batch.prev || !found.batch.heads.is_empty() {
                self.passed.get_or_insert_with(Instant::now);
            }
            if self.wait(found.held).await {
                continue;
            }
            // Time is up, or the service closes.
            let closing = *self.service.inner.closing.borrow();
            if self.delivery == Delivery::Live && (closing || self.passed.is_none()) {
                self.state = State::Done;
                return None;
            }
            let State::Open(asking) = &mut self.state else { return None };
            let batch = emit(asking, found.batch, &mut self.passed);
            if self.delivery == Delivery::CatchUp {
                self.state = State::Done;
            }
            return Some(batch);
        }
    }

    /// Waits for anything that may change the answer. False when time is up or the service closes.
    async fn wait(&mut self, held: Option<Duration>) -> bool {
        let mut closing = self.service.inner.closing.subscribe();
        let until = match self.delivery {
            Delivery::Live => self.passed.map(|passed| passed + ADVANCE_AFTER),
            _ => Some(self.until),
        };
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => false,
            changed = self.durable.changed() => changed.is_ok(),
            () = self.mailbox.told() => true,
            () = sleep_until(until) => false,
            () = sleep_until(held.map(|held| Instant::now() + held)) => true,
        }
    }

    /// Looks at the log on a thread that may block.
    fn look(&self, state: State) -> Reading {
        let (service, view) = (self.service.clone(), self.service.inner.view.clone());
        let (mailbox, refresh) = (Arc::clone(&self.mailbox), self.mailbox.take());
        let waits = self.waits;
        let read = move || {
            // While a fork is resolved no place of the log is sure. That is soon over; whoever was told so at once would come back
            // at once.
            if matches!(state, State::Asked(_)) && !view.wait_while_rewritten(REWRITING) {
                return Ok(Look::Refused(Refusal::Busy));
            }
            let mut asking = match state {
                State::Asked(request) => match view.ask(&request)? {
                    Ok(asking) => {
                        if let Known::Full(known) = &request.known {
                            view.receipts().note(request.from, &asking.agreed(known));
                        }
                        Box::new(asking)
                    }
                    Err(refusal) => return Ok(Look::Refused(refusal)),
                },
                State::Open(asking) => asking,
                State::Reading(_) | State::Done => return Ok(Look::Refused(Refusal::Internal)),
            };
            if let Some(refresh) = &refresh
                && let Err(refusal) = asking.refresh(refresh)
            {
                return Ok(Look::Refused(refusal));
            }
            match view.prepare(&mut asking)? {
                Ok(true) => {}
                Ok(false) => {
                    // That its asker holds something is told of once the histories were compared.
                    if let Some(refresh) = refresh {
                        mailbox.put_back(refresh);
                    }
                    return Ok(Look::More(asking));
                }
                Err(refusal) => return Ok(Look::Refused(refusal)),
            }
            match view.next_batch(&mut asking, waits.then(Timestamp::now))? {
                Ok(found) => {
                    if let Some(refresh) = refresh {
                        view.receipts().note(refresh.from, &asking.agreed(&refresh.known));
                    }
                    Ok(Look::Found(asking, found))
                }
                Err(refusal) => Ok(Look::Refused(refusal)),
            }
        };
        Box::pin(async move { service.blocking(read).await })
    }
}

impl State {
    fn open(&mut self, asking: Box<Asking>) -> &mut Asking {
        *self = Self::Open(asking);
        match self {
            Self::Open(asking) => asking,
            _ => unreachable!("it was made open a line above"),
        }
    }
}

fn emit(asking: &mut Asking, batch: EventBatch, passed: &mut Option<Instant>) -> FetchReply {
    asking.sent(&batch);
    *passed = None;
    FetchReply::Batch(batch)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.service.inner.open.forget(self.key, &self.mailbox);
        self.service.inner.view.doubles().closed(self.key.0, self.key.1);
    }
}
