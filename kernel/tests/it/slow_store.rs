//! A store that is slow: no task of the runtime waits for it but the one that needs it, from the start to the stop of a cortex.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use antiphon_kernel::config::{Config, Interval, PeerConfig};
use antiphon_kernel::cortex::{Cortex, WaitFor};
use antiphon_kernel::event::Draft;
use antiphon_kernel::identity::{KeyError, Signer};
use antiphon_kernel::ids::PeerName;
use antiphon_kernel::replay::latest::LatestBySubject;
use antiphon_kernel::service::Credential;
use antiphon_kernel::store::{Batch, Durability, Family, KeyRange, KeyValue, Store, StoreError, Visitor};
use antiphon_kernel::testing::{MemoryNetwork, MemoryStore};
use futures_util::StreamExt as _;

use crate::support::{peer, until};

/// The one thread of the runtime, and the first use of a store on it.
struct Watch {
    thread: ThreadId,
    reads: AtomicU64,
    first: Mutex<Option<String>>,
}

impl Watch {
    fn read(&self) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if std::thread::current().id() == self.thread {
            let here = || std::backtrace::Backtrace::force_capture().to_string();
            self.first.lock().unwrap().get_or_insert_with(here);
        }
        // As a disk does that is busy with something else.
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Slow(MemoryStore, Arc<Watch>);

impl Store for Slow {
    fn get(&self, family: Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.1.read();
        self.0.get(family, key)
    }

    fn scan(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.1.read();
        self.0.scan(family, range, visit)
    }

    fn scan_floor(&self, family: Family<'_>, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.1.read();
        self.0.scan_floor(family, range, visit)
    }

    fn last(&self, family: Family<'_>, prefix: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        self.1.read();
        self.0.last(family, prefix)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.1.read();
        self.0.commit(batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.1.read();
        self.0.sync()
    }

    fn ensure_families(&self, names: &[&str]) -> Result<(), StoreError> {
        self.1.read();
        self.0.ensure_families(names)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.1.read();
        self.0.reopen()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.1.read();
        self.0.check()
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.1.read();
        self.0.free_bytes()
    }

    fn keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.0.keys()
    }

    fn create_keys(&self) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        self.0.create_keys()
    }
}

async fn start(network: &MemoryNetwork, own: &str, other: &str, watch: &Arc<Watch>) -> Cortex {
    let interval = Some(Interval::new(Duration::from_secs(20)).unwrap());
    let config = Config { interval, peers: vec![peer(other)], ..Config::default() };
    let store = Arc::new(Slow(MemoryStore::new(), Arc::clone(watch)));
    let builder =
        Cortex::builder(store).log(antiphon_kernel::testing::LOG).name(own).config(config).transport(network.clone());
    let cortex = builder.replayer(LatestBySubject::default()).start().await.unwrap();
    network.serve(own, cortex.service().clone());
    cortex
}

#[tokio::test]
async fn no_use_of_the_store_is_made_on_a_thread_of_the_runtime() {
    let watch =
        Arc::new(Watch { thread: std::thread::current().id(), reads: AtomicU64::new(0), first: Mutex::default() });
    let network = MemoryNetwork::new();
    let alpha = start(&network, "alpha", "bravo", &watch).await;
    let bravo = start(&network, "bravo", "alpha", &watch).await;
    for cortex in [&alpha, &bravo] {
        for peer in cortex.syncer().peers() {
            cortex.syncer().wake(&peer.name).await.unwrap();
        }
    }
    let mut last = None;
    for n in 0..5 {
        last = Some(alpha.append(Draft::new("t", format!("{n}"))).await.unwrap());
        bravo.append(Draft::new("t", format!("{n}"))).await.unwrap();
    }
    let both = || alpha.reader().head().seq.get() == 10 && bravo.reader().head().seq.get() == 10;
    until("both hold all", both).await;
    let name = PeerName::new("bravo").unwrap();
    let names = [name.clone()];
    let held = alpha.wait_replicated(&last.unwrap(), WaitFor::Peers(&names), Duration::from_secs(20)).await;
    assert_eq!(held, Ok(1));
    let followed: Vec<_> = bravo.subscribe(None).take(10).collect().await;
    assert!(followed.iter().all(Result::is_ok));
    assert_eq!(alpha.syncer().compare(&name).await.unwrap().len(), 2);
    let page =
        bravo.service().admit(&Credential::Key(None)).unwrap().page(None, 5, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(page.next.seq.get(), 5);
    // Another endpoint of the same peer, and a new peer.
    let moved = PeerConfig { endpoint: "memory://elsewhere".to_owned(), ..peer("bravo") };
    let config = Config { peers: vec![moved, peer("charlie")], ..Config::default() };
    let changes = alpha.reload(config, &[], true).await.unwrap();
    assert_eq!((changes.moved.len(), changes.added.len()), (1, 1));
    alpha.syncer().reset(&name).await.unwrap();
    assert!(!bravo.replayers().is_empty());
    bravo.replayers()[0].rebuild().await.unwrap();
    alpha.stop().await;
    bravo.stop().await;
    assert!(watch.reads.load(Ordering::SeqCst) > 20, "the stores were read");
    let first = watch.first.lock().unwrap().take();
    assert!(first.is_none(), "read on the runtime's thread: {}", first.unwrap_or_default());
}
