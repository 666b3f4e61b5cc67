//! The conformance suite of a [`Transport`]: what its traits oblige an implementation to, as cases that any implementation can be put
//! to, through its real client and its real server. The rest of each case is the real kernel.
//!
//! An implementer's whole test:
//!
//! ```
//! use std::sync::Arc;
//!
//! use antiphon_kernel::testing::MemoryNetwork;
//! use antiphon_kernel::testing::transport_suite::{self, Running, TransportHarness};
//! use antiphon_kernel::{Service, Transport};
//! use async_trait::async_trait;
//!
//! struct InMemory(MemoryNetwork);
//! struct Server(MemoryNetwork, String);
//!
//! #[async_trait]
//! impl TransportHarness for InMemory {
//!     async fn serve(&self, name: &str, service: Service) -> Box<dyn Running> {
//!         self.0.serve(name, service);
//!         Box::new(Server(self.0.clone(), name.to_owned()))
//!     }
//!
//!     fn transport(&self) -> Arc<dyn Transport> {
//!         Arc::new(self.0.with_key(transport_suite::key()))
//!     }
//! }
//!
//! #[async_trait]
//! impl Running for Server {
//!     fn endpoint(&self) -> String {
//!         format!("memory://{}", self.1)
//!     }
//!
//!     async fn stop(self: Box<Self>) {
//!         self.0.remove(&self.1);
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() {
//! transport_suite::run(&InMemory(MemoryNetwork::new())).await;
//! # }
//! ```
//!
//! A case that stops a server closes its [`Service`] before. What the suite cannot do is stand between client and server:
//! that damage, truncation and loss on the way are noticed, an implementer shows with a proxy of their own
//! (`transports/proxy` has one for TCP and UDP). It has been seen to fail: broken transports are put to it in its own
//! tests.

mod answers;
mod claims;
mod federation;
mod liars;
mod room;
mod runs;
mod stops;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;

use crate::config::SharedKey;
use crate::service::Service;
use crate::transport::Transport;

/// How the suite gets servers and clients of one implementation.
#[async_trait]
pub trait TransportHarness: Send + Sync {
    /// Makes this service answer, as the implementation's server does. `name` is letters, digits and `-`, and another one
    /// each time.
    async fn serve(&self, name: &str, service: Service) -> Box<dyn Running>;

    /// A client. Where the transport authenticates, it proves to have [`key`].
    fn transport(&self) -> Arc<dyn Transport>;

    /// Whether both ends prove who they are: see [`crate::proof`]. One that says no is put to no case about that, and a peer over it
    /// is pulled only where the configuration says `unproven`.
    fn proves(&self) -> bool {
        true
    }
}

/// A server that answers.
#[async_trait]
pub trait Running: Send + Sync {
    /// How a peer's configuration names it.
    fn endpoint(&self) -> String;

    /// The authority that vouches for it, where there is one.
    fn ca(&self) -> Option<PathBuf> {
        None
    }

    /// Stops in order, as at the end of a process that receives SIGTERM: each caller that waits gets its answer.
    async fn stop(self: Box<Self>);
}

/// The key of every service that the suite makes.
#[must_use]
pub fn key() -> SharedKey {
    SharedKey::new("transport-suite-0123456789abcdef0123456789abcdef").unwrap_or_default()
}

type CaseRun<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type Case = (&'static str, for<'a> fn(&'a dyn TransportHarness) -> CaseRun<'a>);

/// One case by the name of its function.
macro_rules! case {
    ($name:ident) => {
        (stringify!($name), |harness| Box::pin($name(harness)))
    };
}
use case;

/// All cases, by the names that a failure is reported under.
const CASES: [&[Case]; 6] = [answers::CASES, claims::CASES, runs::CASES, stops::CASES, liars::CASES, federation::CASES];
/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Puts an implementation to every case. Call it on a runtime with several threads.
///
/// # Panics
/// After all cases ran, if one failed; the message names each that did, and why.
pub async fn run(harness: &dyn TransportHarness) {
    let failures = failures(harness, |_| true).await;
    assert!(failures.is_empty(), "the transport failed {} of its cases:\n{}", failures.len(), failures.join("\n"));
}

async fn failures(harness: &dyn TransportHarness, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut failures = Vec::new();
    for (name, case) in CASES.into_iter().flatten().filter(|(name, _)| wanted(name)) {
        let outcome = tokio::time::timeout(PATIENCE, AssertUnwindSafe(case(harness)).catch_unwind()).await;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => failures.push(format!("case `{name}`: {}", message(panic.as_ref()))),
            Err(_) => failures.push(format!("case `{name}`: it hangs")),
        }
    }
    failures
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked without a message")
}
