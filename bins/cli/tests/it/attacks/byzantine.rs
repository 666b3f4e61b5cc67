//! A Byzantine peer: it has the shared key and an empty log, and answers over plain HTTP what its test chooses.

use std::sync::Arc;

use antiphon_https::{HttpsServer, Limits, ServerOptions};
use antiphon_kernel::config::FederationMode;
use antiphon_kernel::ids::Epoch;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{LocalIdentity, LogHandle};
use antiphon_kernel::service::Service;
use antiphon_kernel::store::Durability;
use antiphon_kernel::testing::{MemoryStore, Tamper, seeded_cortex};
use tokio::runtime::Runtime;

use super::forger::key;
use crate::support::log_id;

/// The identity that every answer of the peer carries.
pub(super) fn identity() -> LocalIdentity {
    let identity = LocalIdentity::new(seeded_cortex(0xbb), Epoch::new(7), "mallory".to_owned());
    LocalIdentity { log: Some(log_id()), ..identity }
}

/// A server on loopback whose answers go through a [`Tamper`]. It ends when dropped.
pub(super) struct Byzantine {
    runtime: Runtime,
    log: LogHandle,
    server: HttpsServer,
}

impl Byzantine {
    pub(super) fn new(tamper: Arc<dyn Tamper>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (log, server) = runtime.block_on(async {
            let store = Arc::new(MemoryStore::new());
            Log::create(&*store, &identity()).unwrap();
            let log = LogHandle::start(Log::open(store, LogOptions::default()).unwrap(), Durability::Sync).unwrap();
            let service = Service::tampered(log.reader().clone(), key(), FederationMode::Sync, tamper);
            let addr = "127.0.0.1:0".parse().unwrap();
            let options = ServerOptions {
                addr,
                tls: None,
                names: Vec::new(),
                keyed: true,
                allow_open: false,
                limits: Limits::default(),
            };
            (log, HttpsServer::start(options, service).await.unwrap())
        });
        Self { runtime, log, server }
    }

    pub(super) fn port(&self) -> u16 {
        self.server.local_addr().port()
    }
}

impl Drop for Byzantine {
    fn drop(&mut self) {
        self.runtime.block_on(self.log.close());
    }
}
