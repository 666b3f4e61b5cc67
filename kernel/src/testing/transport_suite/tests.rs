//! The suite on the network in memory, and on eight that break it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{Running, TransportHarness, failures, key, run};
use crate::config::PeerConfig;
use crate::log::LocalIdentity;
use crate::proof::Identified;
use crate::protocol::{EventBatch, FetchReply, FetchRequest, Heartbeat, Pushed, Refresh};
use crate::service::Service;
use crate::testing::MemoryNetwork;
use crate::transport::{Link, Tail, Transport, TransportError};

struct Memory {
    network: MemoryNetwork,
    fault: Fault,
}

struct Server(MemoryNetwork, String);

#[async_trait]
impl Running for Server {
    fn endpoint(&self) -> String {
        format!("memory://{}", self.1)
    }

    async fn stop(self: Box<Self>) {
        self.0.remove(&self.1);
    }
}

#[async_trait]
impl TransportHarness for Memory {
    async fn serve(&self, name: &str, service: Service) -> Box<dyn Running> {
        self.network.serve(name, service);
        Box::new(Server(self.network.clone(), name.to_owned()))
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(Broken { network: self.network.with_key(key()), fault: self.fault })
    }
}

/// What a transport gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Two answers of a run change places.
    Reorders,
    /// An answer of a run comes twice, and the one after it never.
    DuplicatesIntoAHole,
    /// The last events of a batch are missing, and it claims to cover them.
    TruncatesSilently,
    /// It asks for more than it was asked to.
    IgnoresLimits,
    /// It says who the peer was when it first asked.
    SwapsIdentity,
    /// It says how far the log reached when it first asked.
    ServesAStaleHead,
    /// Its server takes the name in a question for who asks.
    BelievesNames,
    /// It says that it proves who answers, and does not look.
    ProvesNothing,
}

struct Broken {
    network: MemoryNetwork,
    fault: Fault,
}

impl Transport for Broken {
    fn schemes(&self) -> &'static [&'static str] {
        self.network.schemes()
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        let link = self.network.link(peer, own)?;
        let service = peer.endpoint.strip_prefix("memory://").and_then(|host| self.network.service(host));
        Ok(Box::new(BrokenLink { link, service, fault: self.fault, first: Arc::default() }))
    }
}

#[derive(Default)]
struct First {
    identity: Option<Identified>,
    head: Option<Heartbeat>,
    /// How many answers the runs brought, and whether one came out of order.
    answers: usize,
    is_out_of_order: bool,
}

struct BrokenLink {
    link: Box<dyn Link>,
    service: Option<Service>,
    fault: Fault,
    first: Arc<Mutex<First>>,
}

fn spoil(fault: Fault, first: &Mutex<First>, reply: &mut FetchReply) {
    let FetchReply::Batch(EventBatch { from, events, last, head, head_time, .. }) = reply else { return };
    match fault {
        Fault::TruncatesSilently if events.len() > 1 => {
            events.pop();
        }
        Fault::ServesAStaleHead => {
            let (floor, room) = (crate::cursor::Seq::ZERO, crate::codec::Room::default());
            let now = Heartbeat { from: *from, head: *head, floor, head_time: *head_time, room };
            let then = first.lock().unwrap().head.get_or_insert(now).clone();
            *head = if then.head.seq >= last.seq { then.head } else { *last };
            *head_time = then.head_time;
        }
        _ => {}
    }
}

impl BrokenLink {
    fn question(&self, request: &FetchRequest) -> FetchRequest {
        let mut request = request.clone();
        if self.fault == Fault::IgnoresLimits {
            request.max_events = request.max_events.saturating_add(1);
        }
        request
    }
}

#[async_trait]
impl Link for BrokenLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        let now = self.link.identify(deadline).await;
        match self.fault {
            Fault::ProvesNothing => Ok(Identified::claimed(now?.into_identity())),
            Fault::SwapsIdentity => {
                let mut first = self.first.lock().unwrap();
                match &first.identity {
                    Some(first) => Ok(first.clone()),
                    None => Ok(first.identity.insert(now?).clone()),
                }
            }
            _ => now,
        }
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        if self.fault == Fault::BelievesNames {
            let service = self.service.as_ref().expect("it answers");
            return Ok(service.trusting(request.from).fetch(request.clone()).await);
        }
        let mut reply = self.link.fetch(&self.question(request), deadline).await?;
        spoil(self.fault, &self.first, &mut reply);
        Ok(reply)
    }

    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        let tail = self.link.tail(&self.question(request), deadline).await?;
        let (fault, first) = (self.fault, Arc::clone(&self.first));
        Ok(tail.map(|tail| Box::new(BrokenTail { tail, fault, first, held: None }) as Box<dyn Tail>))
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        self.link.refresh(refresh, deadline).await
    }
}

struct BrokenTail {
    tail: Box<dyn Tail>,
    fault: Fault,
    first: Arc<Mutex<First>>,
    held: Option<FetchReply>,
}

impl BrokenTail {
    /// Whether this answer is to come out of order: once, and with one before it, in whichever run that is.
    fn is_due(&self) -> bool {
        let mut first = self.first.lock().unwrap();
        first.answers += 1;
        first.answers >= 2 && !first.is_out_of_order
    }

    /// The reply after this one. Heartbeats in between are left out, so that a fault shows at whatever pace the run comes.
    async fn following(&mut self, deadline: Duration) -> Option<FetchReply> {
        loop {
            match self.tail.next(deadline).await {
                Ok(Some(Pushed::Reply(reply))) => return Some(reply),
                Ok(Some(Pushed::Heartbeat(_))) => {}
                _ => return None,
            }
        }
    }
}

#[async_trait]
impl Tail for BrokenTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(Pushed::Reply(held)));
        }
        let mut reply = match self.tail.next(deadline).await {
            Ok(Some(Pushed::Reply(reply))) => reply,
            other => return other,
        };
        if self.is_due() {
            match self.fault {
                Fault::Reorders => {
                    if let Some(next) = self.following(deadline).await {
                        self.held = Some(std::mem::replace(&mut reply, next));
                    }
                }
                Fault::DuplicatesIntoAHole => {
                    let lost = self.following(deadline).await;
                    self.held = lost.map(|_| reply.clone());
                }
                _ => {}
            }
            self.first.lock().unwrap().is_out_of_order = self.held.is_some();
        }
        spoil(self.fault, &self.first, &mut reply);
        Ok(Some(Pushed::Reply(reply)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_in_memory_passes() {
    run(&Memory { network: MemoryNetwork::new(), fault: Fault::None }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_a_question_passes() {
    run(&Memory { network: MemoryNetwork::new().polling(), fault: Fault::None }).await;
}

async fn fails(fault: Fault, case: &str) {
    // Only that case: a transport that is broken makes others wait for what never comes.
    for (fault, count) in [(fault, 1), (Fault::None, 0)] {
        let failures = failures(&Memory { network: MemoryNetwork::new(), fault }, |name| name == case).await;
        assert_eq!(failures.len(), count, "{fault:?} at `{case}`: {failures:#?}");
    }
}

macro_rules! control {
    ($name:ident, $fault:ident, $case:literal) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            fails(Fault::$fault, $case).await;
        }
    };
}

control!(one_that_reorders_fails, Reorders, "a_run_brings_batch_after_batch");
control!(one_that_duplicates_into_a_hole_fails, DuplicatesIntoAHole, "a_run_brings_batch_after_batch");
control!(one_that_truncates_silently_fails, TruncatesSilently, "events_come_in_order_without_a_hole");
control!(one_that_ignores_limits_fails, IgnoresLimits, "limits_are_honoured");
control!(one_that_swaps_identity_fails, SwapsIdentity, "another_identity_is_refused");
control!(one_that_believes_names_fails, BelievesNames, "a_question_in_anothers_name_is_refused");
control!(one_that_proves_nothing_fails, ProvesNothing, "both_sides_prove_who_they_are");
control!(one_that_serves_a_stale_head_fails, ServesAStaleHead, "events_come_in_order_without_a_hole");
