//! Repairing a damaged store: a new one takes over what is whole, and the old one is kept.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use antiphon_kernel::identity::KeyFiles;
use antiphon_kernel::internals::log::{Log, missing_of_noted, salvage};
use antiphon_kernel::log::{OpenError, verify};
use antiphon_kernel::store::{Store as _, StoreError, StoreErrorKind};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, DirectoryLock, RocksStore, StoredCopy};
use anyhow::{Context as _, Result};

use crate::data_dir::{BEFORE_REPAIR, replace, sibling};
use crate::links;
use crate::owner::must_be_the_owner;
use crate::reply::Repaired;

/// Suffix of a repair that is not finished.
const REPAIRING: &str = ".repairing";

/// What is wrong with a store that no process runs on. Fails if a newer version wrote to it: a repair by this one would leave
/// out what is whole.
fn fault(store: &Arc<StoredCopy>) -> Result<Option<String>, StoreError> {
    if let Err(error) = store.check() {
        return Ok(Some(error.to_string()));
    }
    match Log::look(store.clone()).and_then(|view| Ok(verify(&view)?)) {
        Ok(report) => Ok(report.faults.into_iter().next()),
        Err(OpenError::Store(error))
            if matches!(error.kind(), StoreErrorKind::NewerFormat | StoreErrorKind::OlderFormat) =>
        {
            Err(error)
        }
        Err(error) => Ok(Some(error.to_string())),
    }
}

pub fn repair(data: &Path) -> Result<Repaired> {
    let data = &links::resolved(data)?;
    must_be_the_owner(data)?;
    let _locked = DirectoryLock::take(data).map_err(|error| match error.kind() {
        StoreErrorKind::InUse => anyhow::anyhow!("{error}; stop the node first"),
        _ => error.into(),
    })?;
    let advice = "it cannot even be looked into; restore a backup, or move this directory away, make a new node in its place with \
                  `antiphon init`, and let it pull everything from its peers";
    // What is advised about such an error is what is being done, so it does not keep its code.
    let hopeless = |error: StoreError| anyhow::anyhow!("{error}; {advice}");
    let nothing = Repaired {
        fault: None,
        kept: 0,
        waiting: 0,
        lost: Vec::new(),
        lost_at_end: Some(0),
        notes: Vec::new(),
        before: None,
    };
    let (store, fault) = match StoredCopy::open(data) {
        Ok(store) => {
            let store = Arc::new(store);
            let Some(fault) = fault(&store)? else { return Ok(nothing) };
            (store, fault)
        }
        // What stands before the damage in the write-ahead log is whole.
        Err(error) if error.kind() == StoreErrorKind::Corrupt => {
            (Arc::new(StoredCopy::up_to_damage(data).map_err(hopeless)?), error.to_string())
        }
        Err(error) => return Err(hopeless(error)),
    };
    let unfinished = sibling(data, REPAIRING)?;
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("{}", unfinished.display()))?;
    }
    let new = Arc::new(RocksStore::open_with(&unfinished, Create::IfMissing)?);
    // The repaired store is the same cortex's, and begins a new epoch.
    let keys = KeyFiles::of(data.as_path()).copy_to(&unfinished).inspect_err(|_| {
        let _ = fs::remove_dir_all(&unfinished);
    });
    keys?;
    let salvaged = salvage(&*store, new, Timestamp::now()).inspect_err(|_| {
        let _ = fs::remove_dir_all(&unfinished); // the first error is the one to tell
    });
    let salvaged = match salvaged {
        Err(OpenError::Store(error))
            if matches!(error.kind(), StoreErrorKind::NewerFormat | StoreErrorKind::OlderFormat) =>
        {
            return Err(error.into());
        }
        salvaged => salvaged.context(advice)?,
    };
    let lost_at_end = store.noted().and_then(|noted| missing_of_noted(&*store, &noted).ok().flatten());
    drop(store);
    let before = replace(data, &unfinished, BEFORE_REPAIR)?;
    let lost = salvaged.lost.into_iter().map(|(origin, first, last)| (origin.to_string(), first, last)).collect();
    Ok(Repaired {
        fault: Some(fault),
        kept: salvaged.kept,
        waiting: salvaged.waiting,
        lost,
        lost_at_end,
        notes: salvaged.notes,
        before,
    })
}
