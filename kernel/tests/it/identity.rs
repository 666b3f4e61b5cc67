//! A cortex is the one that its keys name, and no other.

use std::sync::Arc;

use antiphon_kernel::cortex::StartError;
use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::OpenError;
use antiphon_kernel::store::{KERNEL_FAMILIES, Store};
use antiphon_kernel::testing::{MemoryStore, seeded_cortex, seeded_keys};
use antiphon_kernel::{Cortex, Draft, Keys, Signer};

use crate::forward::forward;

/// A store that keeps no keys.
struct Keyless(MemoryStore);

impl Store for Keyless {
    forward!(0: get scan scan_floor last commit sync ensure_families reopen check);
}

fn is_empty(store: &dyn Store) -> bool {
    KERNEL_FAMILIES.iter().all(|family| store.last(*family, &[]).unwrap().is_none())
}

fn open_error(started: Result<Cortex, StartError>) -> OpenError {
    match started {
        Err(StartError::Open(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn a_store_in_memory_keeps_its_keys() {
    let store = Arc::new(MemoryStore::new());
    let cortex = Cortex::builder(Arc::clone(&store)).start().await.unwrap();
    let id = cortex.reader().local().cortex_id;
    cortex.append(Draft::new("t", "x")).await.unwrap();
    cortex.stop().await;
    assert_eq!(store.keys().unwrap().unwrap().statement().cortex(), id, "the id comes from the keys");
    store.crash(0);
    store.reopen().unwrap();
    let copy = Arc::new(store.durable_copy());
    for store in [store, copy] {
        let cortex = Cortex::builder(store).start().await.unwrap();
        assert_eq!(cortex.reader().local().cortex_id, id);
        cortex.stop().await;
    }
}

#[tokio::test]
async fn keys_that_are_given_name_the_cortex() {
    let store = Arc::new(Keyless(MemoryStore::new()));
    let keys: Arc<dyn Signer> = Arc::new(Keys::generate());
    for _ in 0..2 {
        let cortex = Cortex::builder(Arc::clone(&store)).keys(Arc::clone(&keys)).start().await.unwrap();
        assert_eq!(cortex.reader().local().cortex_id, keys.statement().cortex());
        cortex.append(Draft::new("t", "x")).await.unwrap();
        cortex.stop().await;
    }
}

#[tokio::test]
async fn keys_of_another_cortex_are_refused_and_both_are_named() {
    let store = Arc::new(MemoryStore::new());
    let start = |number| Cortex::builder(Arc::clone(&store)).keys(seeded_keys(number)).start();
    start(1).await.unwrap().stop().await;
    let error = open_error(start(2).await);
    assert!(
        matches!(error, OpenError::OtherKeys { store, keys } if (store, keys) == (seeded_cortex(1), seeded_cortex(2)))
    );
    let text = error.to_string();
    assert!([1, 2].iter().all(|&number| text.contains(&seeded_cortex(number).to_string())), "{text}");
    assert_eq!(error.code(), ErrorCode::IdentityOtherCortex);
    start(1).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_store_without_keys_never_gets_a_new_identity() {
    let store = Arc::new(Keyless(MemoryStore::new()));
    let error = open_error(Cortex::builder(Arc::clone(&store)).start().await);
    assert!(matches!(error, OpenError::NoKeys(None)), "{error}");
    assert!(is_empty(&*store), "an identity that nothing can sign for is not begun");
    let keys: Arc<dyn Signer> = Arc::new(Keys::generate());
    Cortex::builder(Arc::clone(&store)).keys(Arc::clone(&keys)).start().await.unwrap().stop().await;
    let error = open_error(Cortex::builder(Arc::clone(&store)).start().await);
    assert!(matches!(error, OpenError::NoKeys(Some(cortex)) if cortex == keys.statement().cortex()), "{error}");
    assert_eq!(error.code(), ErrorCode::IdentityKeysMissing);
}

#[test]
fn an_open_log_can_sign() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let identity = Log::begin(&*store, "alpha", None).unwrap();
    assert!(
        matches!(Log::begin(&*store, "alpha", None), Err(OpenError::AlreadyInitialised(id)) if id == identity.cortex_id)
    );
    let log = Log::open(store, LogOptions::default()).unwrap();
    let keys = log.keys().unwrap();
    let signature = keys.sign(b"sealed").unwrap();
    assert!(keys.statement().working().verifies(b"sealed", &signature));
}
