//! What a peer sends, pushed or asked for: one way to take both.
//!
//! Where a transport keeps a run of answers open, the next one is taken from it; where it brings one answer a question,
//! the question is asked again each time. Pull is the truth: whatever becomes of a run, the next question goes on from
//! the durable cursor.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::links::hard;
use super::plain_question::plain_question;
use crate::blocking::blocking;
use crate::codec::Room;
use crate::health::{ErrorCategory, Failure};
use crate::ids::{CortexId, Origin, PeerName};
use crate::log::{Ahead, LogReader, Lookahead, SentQuery, excluded, read_cursor, withhold_from};
use crate::machine::Source;
use crate::protocol::{Delivery, FetchReply, FetchRequest, Heads, Known, MAX_WAIT, Pushed, Refresh, RequestId, Scope};
use crate::store::StoreError;
use crate::transport::{Link, Tail, TransportError};

/// How long the disk may take over what is visible already.
const DURABLE_DEADLINE: Duration = Duration::from_secs(30);

/// So few events the writer takes without anything computed before.
const AT_ONCE: usize = 8;

/// What the next answer is wanted for.
pub(super) struct Question {
    pub(super) view: LogReader,
    pub(super) peer: PeerName,
    pub(super) to: CortexId,
    /// The protocol that both sides speak.
    pub(super) protocol: u16,
    pub(super) by_clock: bool,
    pub(super) new_request: bool,
    pub(super) wait: Duration,
    /// Whose events. Unless everybody's, no cursor is kept, and one answer is asked for at a time.
    pub(super) scope: Scope,
    pub(super) direct: Vec<CortexId>,
    pub(super) request: RequestId,
    /// The most events.
    pub(super) max_events: u32,
    /// So many bytes of events at most.
    pub(super) max_bytes: u64,
    /// So long the answer may take to be whole, beyond the time it may be parked.
    pub(super) patience: Duration,
}

/// What the peer was told that we hold, for the question that is open.
#[derive(Default)]
pub(super) struct Advertised {
    request: Option<RequestId>,
    known: BTreeMap<Origin, u64>,
    direct: Vec<CortexId>,
}

impl Advertised {
    fn open(&mut self, request: &FetchRequest, known: &Heads) {
        self.request = Some(request.request);
        self.known = known.iter().map(|(origin, head)| (origin, head.counter)).collect();
        self.direct.clone_from(&request.direct);
    }

    pub(super) const fn is_open(&self) -> bool {
        self.request.is_some()
    }

    /// What there is to tell, counted as told.
    pub(super) fn news(&mut self, from: CortexId, held: &Heads, direct: Vec<CortexId>) -> Option<Refresh> {
        let request = self.request?;
        let moved = |origin: Origin, counter| self.known.get(&origin).is_none_or(|&advertised| advertised < counter);
        let known: Vec<_> = held.iter().filter(|(origin, head)| moved(*origin, head.counter)).collect();
        if known.is_empty() && direct == self.direct {
            return None;
        }
        self.known.extend(known.iter().map(|(origin, head)| (*origin, head.counter)));
        self.direct.clone_from(&direct);
        Some(Refresh { request, from, known: Heads::new(known), direct, room: Room::default() })
    }
}

pub(super) type SharedAdvertised = Arc<Mutex<Advertised>>;

pub(super) fn lock(advertised: &SharedAdvertised) -> MutexGuard<'_, Advertised> {
    advertised.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer, and what was computed of it.
pub(super) type Received = (Pushed, Ahead);
/// What came of waiting for the next answer of a run.
type Next = Result<Option<Received>, TransportError>;
type Reading = Pin<Box<dyn Future<Output = (Box<dyn Tail>, Lookahead, Next)> + Send>>;

/// An open run of answers.
struct Run {
    request: RequestId,
    withhold: Heads,
    exclude: Vec<CortexId>,
    view: LogReader,
    tail: Reader,
}

enum Reader {
    Idle(Box<dyn Tail>, Lookahead),
    /// The next answer is being read, whether anybody waits for it or not. Kept here: dropping it would lose what it has.
    Reading(Reading),
    Read(Box<dyn Tail>, Lookahead, Box<Next>),
}

/// One peer's answers.
pub(super) struct Feed {
    link: Arc<dyn Link>,
    run: Option<Run>,
    advertised: SharedAdvertised,
    late: bool,
    /// Of the last question.
    patience: Duration,
}

impl Feed {
    pub(super) fn new(link: Arc<dyn Link>, advertised: SharedAdvertised) -> Self {
        Self { link, run: None, advertised, late: false, patience: Duration::ZERO }
    }

    /// Ends the open run: the next question is a new request.
    pub(super) fn end(&mut self) {
        self.run = None;
        lock(&self.advertised).request = None;
    }

    /// Whether the last answer was not whole in time, although the peer had begun it, as far as that can be told.
    pub(super) const fn was_late(&self) -> bool {
        self.late
    }

    /// Reads the next answer of the run while the one before is being stored. Never completes.
    pub(super) async fn read_ahead(&mut self) {
        if let Some(run) = self.run.take() {
            self.run = Some(run.reading(self.patience + MAX_WAIT));
        }
        if let Some(Run { tail: reader, .. }) = &mut self.run
            && let Reader::Reading(reading) = reader
        {
            let (tail, lookahead, next) = reading.as_mut().await;
            *reader = Reader::Read(tail, lookahead, Box::new(next));
        }
        std::future::pending().await
    }

    /// The next answer, with what it is measured against, and whether it was asked for just now or pushed.
    pub(super) async fn next(&mut self, question: &Question) -> (SentQuery, Source, Result<Received, Failure>) {
        let mut asked = SentQuery {
            request: question.request,
            to: question.to,
            after: None,
            max_events: question.max_events,
            max_bytes: question.max_bytes,
            scope: question.scope,
            withhold: Heads::default(),
            held: Heads::default(),
            exclude: Vec::new(),
        };
        self.late = false;
        self.patience = question.patience;
        let answer = self.answer(question, &mut asked).await;
        if answer.is_err() || self.run.is_none() {
            self.end();
        }
        let source = if asked.request == question.request { Source::Asked } else { Source::Pushed };
        (asked, source, answer)
    }

    async fn answer(&mut self, question: &Question, asked: &mut SentQuery) -> Result<Received, Failure> {
        let deadline = question.patience + question.wait;
        let failed = |e: StoreError| Failure::new(ErrorCategory::Store, e);
        let cursor = async || {
            let (store, peer) = (Arc::clone(question.view.store()), question.peer.clone());
            blocking(move || read_cursor(&*store, &peer)).await.map_err(failed)
        };
        if question.new_request {
            self.run = None;
        }
        if let Some(run) = self.run.take() {
            asked.request = run.request;
            asked.withhold.clone_from(&run.withhold);
            asked.exclude.clone_from(&run.exclude);
            asked.after = if question.by_clock { None } else { cursor().await? };
            if let Some(received) = self.take_next(run, deadline).await? {
                return Ok(received);
            }
        }
        // Nothing is open, or the server ended the run in order. What the question says is held must be so durably, and
        // the cursor must not be beyond it.
        durable(&question.view).await?;
        asked.request = question.request;
        let all = question.scope == Scope::All;
        asked.after = if question.by_clock || !all { None } else { cursor().await? };
        let (store, to, peer) = (Arc::clone(question.view.store()), question.to, question.peer.clone());
        let left_out = blocking(move || Ok((withhold_from(&*store, to)?, excluded(&*store, &peer)?)));
        (asked.withhold, asked.exclude) = left_out.await.map_err(failed)?;
        let request = self.request(question, asked);
        if let (false, Known::Full(held)) = (all, &request.known) {
            asked.held.clone_from(held);
        }
        let tail = if all { hard(deadline, self.link.tail(&request, deadline)).await? } else { None };
        match tail {
            Some(tail) => {
                let (request, withhold, exclude) = (asked.request, asked.withhold.clone(), asked.exclude.clone());
                let (view, tail) = (question.view.clone(), Reader::Idle(tail, Lookahead::default()));
                let run = Run { request, withhold, exclude, view, tail };
                let received = self.take_next(run, deadline).await?;
                received.ok_or_else(|| Failure::new(ErrorCategory::Eof, "the run of answers ended without one"))
            }
            None => {
                let request = FetchRequest { delivery: Delivery::Once, ..request };
                let reply = hard(deadline, self.link.fetch(&request, deadline)).await;
                self.late = matches!(&reply, Err(error) if error.category() == ErrorCategory::Timeout);
                let (_, received) = received(Lookahead::default(), &question.view, Pushed::Reply(reply?)).await;
                Ok(received)
            }
        }
    }

    /// The run's next answer; the run stays open if there is one.
    async fn take_next(&mut self, run: Run, deadline: Duration) -> Next {
        let Run { request, withhold, exclude, view, tail } = run.reading(deadline);
        let (tail, lookahead, next) = match tail {
            Reader::Reading(reading) => reading.await,
            Reader::Read(tail, lookahead, next) => (tail, lookahead, *next),
            Reader::Idle(tail, lookahead) => (tail, lookahead, Ok(None)),
        };
        self.late = matches!(&next, Err(error) if error.category() == ErrorCategory::Timeout);
        if matches!(next, Ok(Some(_))) {
            self.run = Some(Run { request, withhold, exclude, view, tail: Reader::Idle(tail, lookahead) });
        }
        next
    }

    fn request(&self, question: &Question, asked: &SentQuery) -> FetchRequest {
        let (known, local) = (question.view.heads(), question.view.local());
        let request = FetchRequest {
            after: asked.after,
            known: Known::Full(known.clone()),
            direct: question.direct.clone(),
            max_events: asked.max_events,
            max_bytes: asked.max_bytes,
            wait: question.wait,
            delivery: Delivery::Live,
            scope: asked.scope,
            withhold: asked.withhold.clone(),
            exclude: asked.exclude.clone(),
            ..plain_question(&local, (asked.to, question.protocol), asked.request)
        };
        lock(&self.advertised).open(&request, &known);
        request
    }
}

impl Run {
    /// The same, with its next answer on the way.
    fn reading(self, deadline: Duration) -> Self {
        let view = self.view.clone();
        let tail = match self.tail {
            Reader::Idle(mut tail, lookahead) => Reader::Reading(Box::pin(async move {
                match hard(deadline, tail.next(deadline)).await {
                    Ok(Some(pushed)) => {
                        let (lookahead, received) = received(lookahead, &view, pushed).await;
                        (tail, lookahead, Ok(Some(received)))
                    }
                    Ok(None) => (tail, lookahead, Ok(None)),
                    Err(error) => (tail, lookahead, Err(error)),
                }
            })),
            other => other,
        };
        Self { tail, ..self }
    }
}

/// Computes what the writer will need of an answer, on a thread that may block. Of one small group that would take longer than it saves.
async fn received(mut lookahead: Lookahead, view: &LogReader, pushed: Pushed) -> (Lookahead, Received) {
    let batch = match pushed {
        Pushed::Reply(FetchReply::Batch(batch)) if batch.events.len() > AT_ONCE => batch,
        other => return (lookahead, (other, Ahead::default())),
    };
    let (view, batch) = (view.clone(), Arc::new(batch));
    let same = Arc::clone(&batch);
    let computed = crate::blocking::spawn_blocking(move || {
        let ahead = lookahead.compute(&view, &same);
        (lookahead, ahead)
    });
    let (lookahead, ahead) = computed.await.unwrap_or_default();
    (lookahead, (Pushed::Reply(FetchReply::Batch(Arc::unwrap_or_clone(batch))), ahead))
}

/// Waits until what is visible is durable as well.
async fn durable(view: &LogReader) -> Result<(), Failure> {
    let visible = view.visible();
    let mut durable = view.watch_durable();
    let reached = durable.wait_for(|head| *head >= visible);
    match tokio::time::timeout(DURABLE_DEADLINE, reached).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Failure::new(ErrorCategory::Store, "what was taken does not become durable")),
    }
}
