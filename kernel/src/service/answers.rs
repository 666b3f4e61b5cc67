//! A run of answers to one question.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::open::{Mailbox, memory_of};
use super::quotas::Payer;
#[cfg(any(test, feature = "testing"))]
use super::tamper::Tampered;
use super::turn::{Turn, Wanted};
use super::{Asker, Caller, Service};
use crate::access::Whose;
use crate::budget::{Account, Share};
use crate::codec::{Message, encode};
use crate::cursor::Seq;
use crate::limits::Cost;
use crate::log::{AskerHead, NextBatch, OpenQuery, Pinned, leave_out_parts};
use crate::mutant::{self, Mutant};
use crate::protocol::{Delivery, EventBatch, FetchReply, FetchRequest, MAX_BATCH_BYTES, MAX_WAIT, Refusal, RequestId};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How long a live tail leaves the asker's cursor behind what it was found to know already.
const ADVANCE_AFTER: Duration = Duration::from_secs(1);
/// How long a question waits for a log that is being rewritten.
const REWRITING: Duration = Duration::from_secs(10);
/// The least room for records in one batch, in bytes. An event that is larger gets room of its own.
const LEAST_ROOM: u64 = 64 * 1024;

/// The answers to one question, made as they are taken: whoever takes slowly is read for slowly.
pub struct Answers {
    service: Service,
    caller: Caller,
    key: (Asker, RequestId),
    mailbox: Arc<Mailbox>,
    durable: watch::Receiver<Seq>,
    pinned: watch::Receiver<Arc<Pinned>>,
    delivery: Delivery,
    /// Whether anybody waits here, so that holding an event back delays nothing but it.
    waits: bool,
    until: Instant,
    state: State,
    /// Since when the log was passed over without telling.
    passed: Option<Instant>,
    answered: bool,
    /// What its asker said of its own current origin.
    asker: Option<AskerHead>,
    /// Whom its memory and its reads are charged to.
    account: Account,
    /// Whose quota it counts against.
    payer: Payer,
    /// The memory for the frame that carries the answer.
    frame: Option<Share>,
    /// The least room for records that the next batch needs.
    needs: u64,
    /// Whether it walks the log for a fork that is a mere claim.
    claim: bool,
    /// Set once the asker takes no more answers.
    gone: Arc<AtomicBool>,
    #[cfg(any(test, feature = "testing"))]
    pub(super) tampered: Option<Tampered>,
}

enum State {
    Refused(Refusal),
    Asked(Box<FetchRequest>),
    Open(Box<OpenQuery>),
    /// Kept here rather than in the future that waits for it: dropping that one must lose nothing.
    Reading(Reading),
    Done,
}

type Reading = Pin<Box<dyn Future<Output = Result<Look, StoreError>> + Send>>;

/// What one look at the log came to.
enum Look {
    /// The refusal that ends the question.
    Ended(Box<FetchReply>),
    Found(Box<OpenQuery>, Box<NextBatch>),
    /// More must be read before there is anything to say. Others have their turn first.
    More(Box<OpenQuery>),
}

impl Look {
    /// Whether it walks the log for a fork that is a mere claim.
    fn is_claim(&self) -> bool {
        match self {
            Self::Ended(_) => false,
            Self::Found(asking, _) | Self::More(asking) => asking.is_claim(),
        }
    }
}

impl Answers {
    pub(super) fn new(caller: &Caller, request: FetchRequest) -> Self {
        let service = caller.service().clone();
        let (asker, refusal) = match caller.asker(request.from) {
            Ok(asker) => (asker, None),
            // It is charged to who asks, and not to whom it names.
            Err(refusal) => (Asker { cortex: caller.cortex().unwrap_or(request.from), is_proven: true }, Some(refusal)),
        };
        let key = (asker, request.request);
        if refusal.is_none() {
            service.asked_by(asker, &request, caller.address());
        }
        let own = AskerHead::of(&request);
        Self {
            account: service.account(asker),
            payer: service.payer(asker),
            frame: None,
            needs: LEAST_ROOM,
            claim: false,
            gone: Arc::default(),
            mailbox: service.inner.open.register(key),
            durable: service.inner.view.watch_durable(),
            pinned: service.inner.view.watch_pinned(),
            delivery: request.delivery,
            waits: request.delivery == Delivery::Live || !request.wait.is_zero(),
            until: Instant::now() + request.wait.min(MAX_WAIT),
            #[cfg(any(test, feature = "testing"))]
            tampered: service.tampered_run(&request),
            state: match refusal {
                None => State::Asked(Box::new(request)),
                Some(refusal) => State::Refused(refusal),
            },
            passed: None,
            answered: false,
            asker: own,
            caller: caller.clone(),
            service,
            key,
        }
    }

    /// The next answer, or `None` where the run is over. A refusal is the last one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FetchReply> {
        self.frame = None;
        #[cfg(any(test, feature = "testing"))]
        if self.tampered.is_some() {
            return self.next_tampered().await;
        }
        self.honest().await
    }

    /// An answer of [`Answers::next`] as the frame that carries it. The memory of the frame stays charged to the asker until
    /// the last byte of it is dropped: hand it on without a copy.
    #[must_use]
    pub fn frame(&mut self, reply: FetchReply) -> Bytes {
        let frame = encode(&Message::Reply(reply));
        match self.frame.take() {
            Some(share) => share.hold(frame),
            None => frame,
        }
    }

    pub(super) async fn honest(&mut self) -> Option<FetchReply> {
        let mut reply = self.find().await?;
        if let (FetchReply::Batch(batch), Whose::Of(readable)) = (&mut reply, self.caller.reads()) {
            leave_out_parts(batch, |cortex| readable.contains(&cortex) || self.caller.cortex() == Some(cortex));
        }
        if matches!(reply, FetchReply::Refused { .. }) || self.delivery == Delivery::Once {
            self.state = State::Done;
        }
        self.answered = true;
        if let FetchReply::Batch(batch) = &reply {
            let bytes = batch.events.iter().map(|(_, record)| record.len() as u64).sum();
            self.service.inner.quotas.charge(self.payer, Cost::of_events(batch.events.len() as u64, bytes));
        }
        self.service.inner.served.count(self.key.0, &reply);
        Some(reply)
    }

    async fn find(&mut self) -> Option<FetchReply> {
        loop {
            if let Some(refusal) = self.caller.refusal() {
                return Some(FetchReply::refused(refusal));
            }
            if !self.service.mode().serves() {
                return Some(FetchReply::refused(Refusal::NotServing));
            }
            let looked = match &mut self.state {
                State::Done => return None,
                State::Refused(refusal) => return Some(FetchReply::refused(refusal.clone())),
                State::Reading(reading) => reading.await,
                State::Asked(_) | State::Open(_) => {
                    let turn = match self.turn().await {
                        Ok(turn) => turn,
                        Err(refusal) => return Some(FetchReply::refused(refusal)),
                    };
                    self.durable.borrow_and_update();
                    let state = std::mem::replace(&mut self.state, State::Done);
                    self.state = State::Reading(self.look(state, turn));
                    continue;
                }
            };
            self.state = State::Done;
            self.claim = looked.as_ref().is_ok_and(Look::is_claim);
            let (asking, found) = match looked {
                Ok(Look::Found(asking, found)) => (asking, *found),
                Ok(Look::More(asking)) => {
                    self.state = State::Open(asking);
                    continue;
                }
                Ok(Look::Ended(refusal)) => return Some(*refusal),
                Err(error) => {
                    tracing::error!(%error, code = %error.code(), peer = %self.key.0.cortex, "a peer could not be answered");
                    return Some(FetchReply::refused(Refusal::Internal));
                }
            };
            let mut asking = asking;
            self.needs = found.lacks.unwrap_or(LEAST_ROOM);
            if found.lacks.is_some() {
                self.state = State::Open(asking);
                continue;
            }
            self.frame = asking.take_room();
            let asking = self.state.open(asking);
            let caught_up = found.batch.last == found.batch.head;
            // The end of a long run that the asker knows is sent, so that it need not be looked at again. Where a live tail
            // begins is sent at once. An asker whose store was set back is answered at once as well, but not because of
            // events that it may have written since it asked: those are held back.
            let is_set_back = found.batch.own.is_some() && found.held.is_none();
            let begins = !self.answered && (self.delivery == Delivery::Live || is_set_back);
            if begins || !found.batch.events.is_empty() || !caught_up && found.held.is_none() {
                return Some(emit(asking, found.batch, &mut self.passed));
            }
            if self.delivery == Delivery::CatchUp && self.answered && caught_up {
                self.state = State::Done;
                return self.closing();
            }
            // So are heads that the asker is to compare.
            if found.batch.last != found.batch.prev || !found.batch.heads.is_empty() {
                self.passed.get_or_insert_with(Instant::now);
            }
            // A question that is parked keeps no memory but its own.
            self.frame = None;
            if self.wait(found.held).await {
                continue;
            }
            // Time is up, or the service closes.
            if let Some(closing) = self.closing() {
                return Some(closing);
            }
            if self.delivery == Delivery::Live && self.passed.is_none() {
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

    /// The answer to who waits once the service closes. It is not an empty batch: the asker would ask again at once, and log that
    /// nothing answers as a fault of the peer.
    fn closing(&self) -> Option<FetchReply> {
        self.service.inner.closing.borrow().then_some(FetchReply::refused(Refusal::Busy))
    }

    /// Waits for the right to read, and for memory. Dropping the future loses nothing but the place in the queue.
    async fn turn(&mut self) -> Result<Turn, Refusal> {
        let (own, records) = match &self.state {
            State::Asked(request) => (memory_of(request), request.max_bytes.min(MAX_BATCH_BYTES)),
            State::Open(asking) => (0, asking.max_bytes()),
            State::Refused(_) | State::Reading(_) | State::Done => (0, 0),
        };
        let (asker, account, payer) = (self.key.0, self.account.clone(), self.payer);
        let least = own + OpenQuery::room_for(self.needs);
        let most = own + OpenQuery::room_for(records.max(self.needs));
        let mut turn = self.service.turn(&Wanted { asker, account, payer, claim: self.claim, least, most }).await?;
        if own > 0 {
            self.mailbox.charge(turn.room.split(own));
        }
        Ok(turn)
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
            changed = self.durable.changed(), if !mutant::is(Mutant::ParkedNotWoken) => changed.is_ok(),
            Ok(()) = self.pinned.changed() => {
                self.account = self.service.account(self.key.0);
                self.payer = self.service.payer(self.key.0);
                true
            }
            () = self.mailbox.told() => true,
            () = self.caller.revoked() => true,
            () = sleep_until(until) => false,
            () = sleep_until(held.map(|held| Instant::now() + held)) => true,
        }
    }

    /// Looks at the log on a thread that may block.
    fn look(&self, state: State, turn: Turn) -> Reading {
        let (service, view) = (self.service.clone(), self.service.inner.view.clone());
        let (mailbox, refresh) = (Arc::clone(&self.mailbox), self.mailbox.take());
        let (waits, gone) = (self.waits, Arc::clone(&self.gone));
        let reporting = self.service.clone();
        // The asker may be gone by the end of a read: what was read is charged there.
        let (counting, account, payer) = (self.service.clone(), self.account.clone(), self.payer);
        let count = move |asking: &mut OpenQuery| counting.worked(&account, payer, asking);
        let allowance = self.service.inner.quotas.allowance(payer);
        let Turn { read: turn, room } = turn;
        let (asker, is_proven) = (self.asker, self.key.0.is_proven);
        let read = move || {
            let refuse = |refusal| Ok(Look::Ended(Box::new(view.refuse(asker, refusal)?)));
            if gone.load(Ordering::Relaxed) {
                return Ok(Look::Ended(Box::new(FetchReply::refused(Refusal::Busy))));
            }
            // While a fork is resolved no sequence number of the log is sure. The question waits
            // for the end: an asker that is refused at once would ask again at once.
            if matches!(state, State::Asked(_)) && !view.wait_while_rewritten(REWRITING) {
                return Ok(Look::Ended(Box::new(FetchReply::refused(Refusal::Busy))));
            }
            let first = matches!(state, State::Asked(_));
            let mut asking = match state {
                State::Asked(request) => match view.ask(&request)? {
                    Ok(asking) => {
                        let mut asking = Box::new(asking);
                        asking.end_with(gone);
                        asking
                    }
                    Err(refusal) => return refuse(refusal),
                },
                State::Open(asking) => asking,
                State::Refused(_) | State::Reading(_) | State::Done => {
                    return Ok(Look::Ended(Box::new(FetchReply::refused(Refusal::Internal))));
                }
            };
            if let Some(refresh) = &refresh
                && let Err(refusal) = asking.refresh(refresh)
            {
                return refuse(refusal);
            }
            // A claim is walked for at the pace of claims, which its first turn could not know.
            let prepared = if first && asking.is_claim() { Ok(false) } else { view.prepare(&mut asking)? };
            count(&mut asking);
            match prepared {
                Ok(true) => {}
                Ok(false) => {
                    // That its asker holds something is told of once the histories were compared.
                    if let Some(refresh) = refresh {
                        mailbox.put_back(refresh);
                    }
                    return Ok(Look::More(asking));
                }
                Err(refusal) => return refuse(refusal),
            }
            asking.set_room(room);
            asking.set_allowance(allowance);
            let found = view.next_batch(&mut asking, waits.then(Timestamp::now))?;
            count(&mut asking);
            match found {
                Ok(found) => {
                    // What is only claimed has no effect.
                    if is_proven {
                        reporting.report(&mut asking);
                        // Each time: a pin may have come since it was said.
                        let (holder, said) = asking.said();
                        if let Err(error) = view.acknowledge(holder, &said) {
                            // An event that is acknowledged later is no loss.
                            tracing::debug!(%error, "what an asker holds could not be compared");
                        }
                    }
                    Ok(Look::Found(asking, Box::new(found)))
                }
                Err(refusal) => refuse(refusal),
            }
        };
        if mutant::is(Mutant::TurnKept) {
            std::mem::forget(turn);
            return Box::pin(crate::blocking::blocking(read));
        }
        Box::pin(async move { service.blocking(turn, read).await })
    }
}

impl State {
    fn open(&mut self, asking: Box<OpenQuery>) -> &mut OpenQuery {
        *self = Self::Open(asking);
        match self {
            Self::Open(asking) => asking,
            _ => unreachable!("it was made open a line above"),
        }
    }
}

fn emit(asking: &mut OpenQuery, batch: EventBatch, passed: &mut Option<Instant>) -> FetchReply {
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
        self.gone.store(true, Ordering::Relaxed);
        self.service.inner.open.forget(self.key, &self.mailbox);
        if self.key.0.is_proven {
            self.service.inner.view.doubles().closed(self.key.0.cortex, self.key.1);
        }
    }
}
