//! Antiphon keeps an append-only event log in each of your programs, and lets them pull each other's over QUIC or HTTPS until all
//! hold the same. No broker, no leader.
//!
//! ```no_run
//! use antiphon::{Cortex, Draft, Event, EventReplayer, Peer, Projection, Quic, ReplayError, RocksStore, SharedKey};
//!
//! /// Keeps the newest note of each subject.
//! struct Notes;
//!
//! impl EventReplayer for Notes {
//!     fn name(&self) -> &str {
//!         "notes"
//!     }
//!
//!     fn families(&self) -> Vec<String> {
//!         vec!["notes".to_owned()]
//!     }
//!
//!     fn replay_event(&mut self, event: &Event, notes: &mut Projection<'_>) -> Result<(), ReplayError> {
//!         let subject = event.subject.as_deref().unwrap_or_default();
//!         Ok(notes.put("notes", subject.as_bytes(), &event.data)?)
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cortex = Cortex::builder(RocksStore::open("alpha")?)
//!         .name("alpha")
//!         .shared_key(SharedKey::from_env()?)
//!         .serve(Quic::on("0.0.0.0:7443").tls("alpha.pem", "alpha.key"))
//!         .peer(Peer::new("bravo", "quic://bravo.example:7443").ca("ca.pem"))
//!         .causal_replayer(Notes)
//!         .start()
//!         .await?;
//!     let event = cortex.append(Draft::new("note.written", r#"{"text":"hello"}"#).subject("notes/1").json()).await?;
//!     cortex.wait_replayed(&event).await?;
//!     println!("event {} is durable and replayed", event.id);
//!     cortex.stop().await;
//!     Ok(())
//! }
//! ```
//!
//! | feature | has |
//! |---|---|
//! | `rocksdb` (default) | [`RocksStore`] |
//! | `https` (default), `quic` (default) | [`Https`], [`Quic`] |
//! | `metrics` | `antiphon::metrics`: the metrics of a cortex in Prometheus' text format |
//! | `node` | `antiphon::node`: a node that a file configures |
//! | `testing` | `antiphon::testing`: stores, networks and federations in memory, the conformance suites, the simulator |
//!
//! The rest of the kernel is in [`kernel`].

pub use antiphon_kernel as kernel;
pub use antiphon_kernel::{
    AppendError, Appended, Batch, CausalContext, Config, Cortex, CortexBuilder, CortexId, Cursor, Dot, Draft,
    Durability, Event, EventId, EventReplayer, Family, FederationMode, Interval, InvalidStatement, KeyError, KeyFiles,
    KeyRange, KeyStatement, Keys, Link, LogEntry, LogHandle, LogId, LogReader, NotReplayed, NotReplicated, OnFailure,
    Origin, Peer, PeerMode, PeerName, PeerState, Projection, PublicKey, ReadAt, ReadError, ReplayError, ReplayHandle,
    ReplayOptions, RotateError, SecretKey, Seq, ServeError, Server, Service, SharedKey, SharedSigner, SignError,
    Signature, Signer, StartError, State, Store, StoreError, StoreErrorKind, Tail, Timestamp, TlsVersion, Transport,
    TransportError, TransportErrorKind, WaitFor,
};

#[cfg(feature = "https")]
pub use antiphon_https::Https;
#[cfg(feature = "metrics")]
pub use antiphon_metrics as metrics;
#[cfg(feature = "node")]
pub use antiphon_node as node;
#[cfg(feature = "quic")]
pub use antiphon_quic::Quic;
#[cfg(feature = "rocksdb")]
pub use antiphon_storage::{Create, Options, RocksStore};

#[cfg(feature = "testing")]
pub use antiphon_kernel::testing;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
