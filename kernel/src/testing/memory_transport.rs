//! A network in memory: every question and answer passes through the real wire format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::codec::{Message, WireError, decode, encode};
use crate::config::PeerConfig;
use crate::health::ErrorCategory;
use crate::log::LocalIdentity;
use crate::protocol::{FetchReply, FetchRequest, Identity, Pushed, Refresh};
use crate::service::{Answers, Heartbeats, Service};
use crate::transport::{Link, Tail, Transport, TransportError};

/// Cortexes by host name; endpoints read `memory://<name>`. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    services: Arc<Mutex<BTreeMap<String, Service>>>,
    polling: bool,
}

impl MemoryNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same network for those who bring one answer a question and nothing else: no live tail, no refreshes.
    #[must_use]
    pub fn polling(&self) -> Self {
        Self { polling: true, ..self.clone() }
    }

    /// Makes a service answer at `memory://<name>`, instead of any that did before.
    pub fn serve(&self, name: &str, service: Service) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), service);
    }

    /// Nothing answers there any more.
    pub fn remove(&self, name: &str) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Transport for MemoryNetwork {
    fn schemes(&self) -> &'static [&'static str] {
        &["memory"]
    }

    fn link(&self, peer: &PeerConfig, _own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        let host = peer
            .endpoint
            .strip_prefix("memory://")
            .ok_or_else(|| TransportError::new(ErrorCategory::Configuration, "write the endpoint as memory://name"))?;
        Ok(Box::new(MemoryLink { network: self.clone(), host: host.to_owned() }))
    }
}

struct MemoryLink {
    network: MemoryNetwork,
    host: String,
}

impl MemoryLink {
    fn service(&self) -> Result<Service, TransportError> {
        let services = self.network.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services.get(&self.host).cloned();
        service.ok_or_else(|| TransportError::new(ErrorCategory::Refused, format!("nobody answers at {}", self.host)))
    }
}

/// What arrives of a message: itself, read back from its bytes.
fn across(message: &Message) -> Result<Message, TransportError> {
    decode(&encode(message)).map_err(|e: WireError| TransportError::new(e.category(), e.to_string()))
}

fn question(request: &FetchRequest) -> Result<FetchRequest, TransportError> {
    match across(&Message::Fetch(request.clone()))? {
        Message::Fetch(request) => Ok(request),
        _ => Err(TransportError::new(ErrorCategory::Protocol, "a question read back as something else")),
    }
}

fn answer(pushed: Pushed) -> Result<Pushed, TransportError> {
    match across(&pushed.into())? {
        Message::Reply(reply) => Ok(Pushed::Reply(reply)),
        Message::Heartbeat(heartbeat) => Ok(Pushed::Heartbeat(heartbeat)),
        _ => Err(TransportError::new(ErrorCategory::Protocol, "an answer read back as something else")),
    }
}

async fn within<T>(deadline: Duration, answer: impl Future<Output = T>) -> Result<T, TransportError> {
    let late = |_| TransportError::new(ErrorCategory::Timeout, "no answer in time");
    tokio::time::timeout(deadline, answer).await.map_err(late)
}

#[async_trait]
impl Link for MemoryLink {
    async fn identify(&self, _deadline: Duration) -> Result<Identity, TransportError> {
        Ok(self.service()?.identity())
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        let reply = within(deadline, self.service()?.fetch(question(request)?)).await?;
        match answer(Pushed::Reply(reply))? {
            Pushed::Reply(reply) => Ok(reply),
            Pushed::Heartbeat(_) => Err(TransportError::new(ErrorCategory::Protocol, "a heartbeat answers nothing")),
        }
    }

    async fn tail(&self, request: &FetchRequest, _deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        if self.network.polling {
            return Ok(None);
        }
        let service = self.service()?;
        let heartbeats = service.heartbeats();
        Ok(Some(Box::new(MemoryTail { answers: service.answers(question(request)?), heartbeats })))
    }

    async fn refresh(&self, refresh: &Refresh, _deadline: Duration) -> Result<(), TransportError> {
        if self.network.polling {
            return Ok(());
        }
        if let Message::Refresh(refresh) = across(&Message::Refresh(refresh.clone()))? {
            self.service()?.refresh(refresh);
        }
        Ok(())
    }
}

struct MemoryTail {
    answers: Answers,
    heartbeats: Heartbeats,
}

#[async_trait]
impl Tail for MemoryTail {
    async fn next(&mut self, deadline: Duration) -> Result<Option<Pushed>, TransportError> {
        let pushed = async {
            tokio::select! {
                biased;
                reply = self.answers.next() => reply.map(Pushed::Reply),
                Some(heartbeat) = self.heartbeats.next() => Some(Pushed::Heartbeat(heartbeat)),
            }
        };
        within(deadline, pushed).await?.map(answer).transpose()
    }
}
