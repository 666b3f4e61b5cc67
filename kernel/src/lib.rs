//! Antiphon's kernel: an event-sourced replication kernel with pluggable transports and stores.
//!
//! Every cortex keeps an append-only log. Cortexes pull each other's logs from a durable cursor, verify a pinned identity,
//! store what is new, and converge; replayers turn events into an application's own state.
//!
//! ```
//! use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
//! use antiphon_kernel::{Cortex, Draft, Peer};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = MemoryNetwork::new();
//! let alpha = Cortex::builder(MemoryStore::new()).name("alpha").start().await?;
//! network.serve("alpha", alpha.service().clone());
//! alpha.append(Draft::new("note.written", "hello").subject("notes/1")).await?;
//!
//! let bravo = Cortex::builder(MemoryStore::new())
//!     .name("bravo")
//!     .transport(network)
//!     .peer(Peer::new("alpha", "memory://alpha"))
//!     .start()
//!     .await?;
//! bravo.reader().watch_durable().wait_for(|head| head.get() == 1).await?;
//! assert_eq!(alpha.reader().heads().fold(), bravo.reader().heads().fold());
//! # bravo.stop().await;
//! # alpha.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The paved path of an embedder, and of the author of a transport or a store, is re-exported here, and each of these items has an
//! example. What goes beyond it is in the modules.
//!
//! | modules | hold |
//! |---|---|
//! | [`ids`], [`clock`], [`cursor`], [`digest`], [`time`], [`event`] | values with laws |
//! | [`identity`] | the keys of a cortex |
//! | [`codec`], [`protocol`], [`rule`] | every byte layout; what peers say to each other |
//! | [`store`], [`log`] | what is asked of a store; the log built above it |
//! | [`sync`], [`transport`], [`service`], [`receipts`] | pulling peers, answering them, which cortex holds what |
//! | [`access`], [`budget`], [`limits`] | what others may read, and what they may cost |
//! | [`replay`], [`state`], [`config`], [`error_code`], [`health`], [`condition`] | an application's side, and an operator's |
//! | [`cortex`] | all of it, assembled |
//! | [`testing`] | stores and networks in memory, and the conformance suites for implementers |
//! | [`internals`] | what other packages of the workspace use; not stable |

pub mod access;
mod blocking;
pub mod budget;
mod causes;
mod checksum;
pub mod clock;
pub mod codec;
pub mod condition;
pub mod config;
pub mod cortex;
pub mod cursor;
pub mod digest;
mod doubles;
mod entropy;
pub mod error_code;
pub mod event;
pub mod health;
pub mod identity;
pub mod ids;
pub mod internals;
pub mod limits;
pub mod log;
mod machine;
mod measure;
#[cfg_attr(not(feature = "mutants"), allow(dead_code, unreachable_pub))]
mod mutant;
pub mod proof;
pub mod protocol;
pub mod receipts;
pub mod replay;
pub mod rule;
pub mod service;
mod simulated;
mod spans;
pub mod state;
pub mod store;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod transport;
mod worker;

pub use config::{Config, FederationMode, Interval, PeerMode, SharedKey, TlsVersion};
pub use cortex::{Cortex, CortexBuilder, Peer, StartError, WaitFor};
pub use cursor::{Cursor, Seq};
pub use event::{Draft, Event};
pub use identity::{
    InvalidStatement, KeyError, KeyFiles, KeyStatement, Keys, PublicKey, SecretKey, SharedSigner, SignError, Signature,
    Signer,
};
pub use ids::{CortexId, Dot, EventId, LogId, Origin, PeerName};
pub use log::{AppendError, Appended, CausalContext, LogEntry, LogHandle, LogReader, ReadError, RotateError};
pub use receipts::NotReplicated;
pub use replay::{EventReplayer, NotReplayed, OnFailure, Projection, ReadAt, ReplayError, ReplayHandle, ReplayOptions};
pub use service::Service;
pub use state::{PeerState, State};
pub use store::{Batch, Durability, Family, KeyRange, Store, StoreError, StoreErrorKind};
pub use time::Timestamp;
pub use transport::{Link, ServeError, Server, Tail, Transport, TransportError, TransportErrorKind};
