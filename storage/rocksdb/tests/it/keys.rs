//! The keys of a cortex are files in its data directory.

use std::fs;
use std::sync::Arc;

use antiphon_kernel::error_code::ErrorCode;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::OpenError;
use antiphon_kernel::store::Store;
use antiphon_storage::{Create, RocksStore};

#[test]
fn keys_are_created_once_and_a_lost_key_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let open = |create| -> Arc<dyn Store> { Arc::new(RocksStore::open_with(dir.path(), create).unwrap()) };
    let store = open(Create::IfMissing);
    let identity = Log::begin(&*store, "alpha", None).unwrap();
    drop(Log::open(store, LogOptions::default()).unwrap());
    for name in ["identity.key", "identity.root.key"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join(name)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    let log = Log::open(open(Create::Never), LogOptions::default()).unwrap();
    assert_eq!(log.keys().unwrap().statement().cortex(), identity.cortex_id);
    drop(log);

    let (key, kept) = (dir.path().join("identity.key"), dir.path().join("kept"));
    fs::rename(&key, &kept).unwrap();
    let store = open(Create::IfMissing);
    assert!(matches!(Log::begin(&*store, "alpha", None), Err(OpenError::AlreadyInitialised(_))));
    let error = Log::open(store, LogOptions::default()).err().expect("it has no key");
    assert_eq!(error.code(), ErrorCode::IdentityKeysMissing);
    assert!(error.to_string().contains("identity.key") && !key.exists(), "{error}");
    fs::rename(&kept, &key).unwrap();
    assert!(Log::open(open(Create::Never), LogOptions::default()).is_ok());
}
