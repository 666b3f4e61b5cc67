//! Two versions agree on the newest protocol that both speak. The newer one is made up: it speaks protocol 3, and adds an entry to
//! the room of each of its messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use antiphon_kernel::codec::{Absence, RecordRef, Room};
use antiphon_kernel::config::{Config, FederationMode, Interval, PeerConfig, SharedKey};
use antiphon_kernel::cortex::Cortex;
use antiphon_kernel::event::Draft;
use antiphon_kernel::health::ErrorCategory;
use antiphon_kernel::log::LocalIdentity;
use antiphon_kernel::proof::Identified;
use antiphon_kernel::protocol::{EventBatch, FetchReply, FetchRequest, Identity, Protocols, Refresh};
use antiphon_kernel::service::Service;
use antiphon_kernel::state::PeerState;
use antiphon_kernel::testing::{LOG, MemoryNetwork, MemoryStore, Tamper};
use antiphon_kernel::transport::{Link, Tail, Transport, TransportError};
use async_trait::async_trait;

use crate::support::{peer, until};

/// A version: the protocols that it speaks, and the number of the entry that it adds to its messages.
#[derive(Clone)]
struct Version {
    protocols: Protocols,
    number: Option<u64>,
    /// It relays events without their data, and has the data when it is asked for one event.
    thins: bool,
    /// The protocols of the questions that it was asked.
    asked: Arc<Mutex<Vec<u16>>>,
}

impl Version {
    fn of(min: u16, max: u16, number: Option<u64>) -> Self {
        Self { protocols: Protocols::of(min, max), number, thins: false, asked: Arc::default() }
    }

    /// This build.
    fn this() -> Self {
        Self { protocols: Protocols::SPOKEN, number: None, thins: false, asked: Arc::default() }
    }

    fn room(&self) -> Room {
        self.number.map_or_else(Room::default, |number| Room::default().with(number, b"made up"))
    }

    fn asked(&self) -> Vec<u16> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.dedup();
        asked
    }
}

/// What the version answers.
impl Tamper for Version {
    fn answer(&self, request: &FetchRequest, reply: FetchReply) -> Option<Vec<FetchReply>> {
        self.asked.lock().unwrap().push(request.protocol);
        Some(vec![match reply {
            FetchReply::Batch(mut batch) => {
                if self.thins && request.max_events > 1 {
                    for (_, record) in &mut batch.events {
                        *record = RecordRef::decode(record).unwrap().without(None, Some(Absence::Missing));
                    }
                }
                FetchReply::Batch(EventBatch { room: self.room(), ..batch })
            }
            refused @ FetchReply::Refused { .. } => refused,
        }])
    }

    fn identity(&self, identity: Identity) -> Identity {
        Identity { room: self.room(), ..identity }
    }
}

/// What the version asks, over another transport.
struct Asking(MemoryNetwork, Version);

impl Transport for Asking {
    fn schemes(&self) -> &'static [&'static str] {
        self.0.schemes()
    }

    fn link(&self, peer: &PeerConfig, own: &LocalIdentity) -> Result<Box<dyn Link>, TransportError> {
        Ok(Box::new(AskingLink(self.0.link(peer, own)?, self.1.clone())))
    }
}

struct AskingLink(Box<dyn Link>, Version);

#[async_trait]
impl Link for AskingLink {
    async fn identify(&self, deadline: Duration) -> Result<Identified, TransportError> {
        self.0.identify(deadline).await
    }

    async fn fetch(&self, request: &FetchRequest, deadline: Duration) -> Result<FetchReply, TransportError> {
        self.0.fetch(&FetchRequest { room: self.1.room(), ..request.clone() }, deadline).await
    }

    async fn tail(&self, request: &FetchRequest, deadline: Duration) -> Result<Option<Box<dyn Tail>>, TransportError> {
        self.0.tail(&FetchRequest { room: self.1.room(), ..request.clone() }, deadline).await
    }

    async fn refresh(&self, refresh: &Refresh, deadline: Duration) -> Result<(), TransportError> {
        self.0.refresh(&Refresh { room: self.1.room(), ..refresh.clone() }, deadline).await
    }
}

/// A cortex of a version, which pulls a peer.
async fn start(network: &MemoryNetwork, own: &str, version: &Version, pulls: &str) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(1)).unwrap());
    let config = Config { interval, peers: vec![peer(pulls)], ..Config::default() };
    let builder = Cortex::builder(MemoryStore::new()).name(own).log(LOG).protocols(version.protocols).config(config);
    let cortex = builder.transport(Asking(network.clone(), version.clone())).start().await.unwrap();
    let (view, tamper) = (cortex.reader().clone(), Arc::new(version.clone()));
    network.serve(own, Service::tampered(view, SharedKey::default(), FederationMode::Sync, tamper));
    cortex
}

/// Two cortexes, each of its version, that pull each other. The one that started first tries again now.
async fn pair(one: &Version, other: &Version) -> (Cortex, Cortex) {
    let network = MemoryNetwork::new();
    let alpha = start(&network, "alpha", one, "bravo").await;
    let bravo = start(&network, "bravo", other, "alpha").await;
    alpha.append(Draft::new("t", "alpha's")).await.unwrap();
    bravo.append(Draft::new("t", "bravo's")).await.unwrap();
    alpha.syncer().wake(&peer("bravo").name).await.unwrap();
    (alpha, bravo)
}

fn status(cortex: &Cortex) -> PeerState {
    cortex.syncer().peers().remove(0)
}

async fn converge(alpha: Cortex, bravo: Cortex) {
    until("both hold both events", || [&alpha, &bravo].iter().all(|cortex| cortex.reader().head().seq.get() == 2))
        .await;
    alpha.stop().await;
    bravo.stop().await;
}

/// Neither takes anything, and each says why.
async fn refuse(alpha: Cortex, bravo: Cortex, why: [(ErrorCategory, &str); 2]) {
    for (cortex, (category, detail)) in [&alpha, &bravo].into_iter().zip(why) {
        until("the failure", || status(cortex).health.last_error == Some(category)).await;
        let shown = status(cortex).detail.unwrap_or_default();
        assert!(shown.contains(detail), "{shown}");
        assert_eq!(cortex.reader().head().seq.get(), 1);
    }
    alpha.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_without_a_protocol_in_common_refuse_each_other_by_name() {
    let (alpha, bravo) = pair(&Version::this(), &Version::of(3, 3, Some(2))).await;
    let speaks = |text| (ErrorCategory::Version, text);
    refuse(alpha, bravo, [speaks("speaks protocols 3 to 3"), speaks("speaks protocols 2 to 2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_speaks_the_older_protocol_and_what_it_adds_is_ignored() {
    let (old, new) = (Version::this(), Version::of(2, 3, Some(2)));
    let (alpha, bravo) = pair(&old, &new).await;
    converge(alpha, bravo).await;
    assert_eq!((old.asked(), new.asked()), (vec![2], vec![2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_newer_versions_speak_the_newer_protocol() {
    let (one, other) = (Version::of(2, 3, Some(2)), Version::of(2, 3, Some(4)));
    let (alpha, bravo) = pair(&one, &other).await;
    converge(alpha, bravo).await;
    assert_eq!((one.asked(), other.asked()), (vec![3], vec![3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_parts_are_asked_for_in_the_protocol_that_is_spoken() {
    let (one, other) = (Version::of(3, 3, None), Version { thins: true, ..Version::of(3, 3, None) });
    let (alpha, bravo) = pair(&one, &other).await;
    until("alpha has bravo's event", || alpha.reader().head().seq.get() == 2).await;
    until("nothing is missing", || alpha.reader().owed() == 0).await;
    assert_eq!(other.asked(), vec![3]);
    converge(alpha, bravo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_understood_and_is_not_known_is_refused_on_both_sides() {
    let (alpha, bravo) = pair(&Version::this(), &Version::of(2, 3, Some(3))).await;
    let reads = (ErrorCategory::Newer, "it needs a newer version");
    let is_refused = (ErrorCategory::Version, "it needs a newer version to read the request");
    refuse(alpha, bravo, [reads, is_refused]).await;
}
