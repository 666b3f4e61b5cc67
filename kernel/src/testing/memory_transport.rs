//! A network in memory: every question and answer passes through the real wire format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::codec::{Message, decode, encode};
use crate::config::PeerConfig;
use crate::health::ErrorCategory;
use crate::protocol::{FetchReply, FetchRequest, Identity};
use crate::service::Service;
use crate::transport::{Link, Transport, TransportError};

/// Cortexes by host name; endpoints read `memory://<name>`. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    services: Arc<Mutex<BTreeMap<String, Service>>>,
}

impl MemoryNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    fn link(&self, peer: &PeerConfig) -> Result<Box<dyn Link>, TransportError> {
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

#[async_trait]
impl Link for MemoryLink {
    async fn identify(&self, _deadline: Duration) -> Result<Identity, TransportError> {
        Ok(self.service()?.identity())
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        let corrupt = |e: crate::codec::WireError| TransportError::new(ErrorCategory::Corrupt, e.to_string());
        let service = self.service()?;
        let Message::Fetch(request) = decode(&encode(&Message::Fetch(request.clone()))).map_err(corrupt)? else {
            return Err(TransportError::new(ErrorCategory::Protocol, "a request read back as something else"));
        };
        let reply = tokio::time::timeout(deadline, service.fetch(request))
            .await
            .map_err(|_| TransportError::new(ErrorCategory::Timeout, "no answer in time"))?;
        match decode(&encode(&Message::Reply(reply))).map_err(corrupt)? {
            Message::Reply(reply) => Ok(reply),
            Message::Fetch(_) => Err(TransportError::new(ErrorCategory::Protocol, "a reply read back as a request")),
        }
    }
}
