//! Telling the torn end of a write-ahead log from damage in its middle.
//!
//! RocksDB opens a log that breaks off, and refuses one with a record that fails its checksum, wherever that stands. But a
//! power loss leaves such a record at the end as well: of a write that was under way, some pages reached the disk and
//! others did not. What was acknowledged lies before it, so the file `HEAD` tells: if everything that was noted there is
//! before the first bad record, the rest was never acknowledged, and is dropped. Otherwise it is damage, and refused.

use std::path::Path;

use antiphon_kernel::log::reaches_noted;
use antiphon_kernel::store::{StoreError, StoreErrorKind};

use crate::backup::StoredCopy;
use crate::database::{Database, Wal};
use crate::marker;
use crate::options::Options;
use crate::place;

/// Opens the database in a data directory, and says whether writes are missing at its end that were noted as durable: whole
/// records that went are no damage to RocksDB.
///
/// # Errors
/// As [`Database::open`].
pub(crate) fn open(dir: &Path, options: &Options) -> Result<(Database, bool), StoreError> {
    let database = open_whole(dir, options)?;
    let lost = marker::synced(dir).is_some_and(|synced| database.newest() < synced);
    Ok((database, lost))
}

fn open_whole(dir: &Path, options: &Options) -> Result<Database, StoreError> {
    let path = place::database(dir);
    match Database::open(&path, options, Wal::Whole) {
        Err(error) if error.kind() == StoreErrorKind::Corrupt && ends_torn(dir, options) => {
            tracing::warn!(
                path = %dir.display(),
                "the write-ahead log ends in a write that was cut short, as after a power loss; nothing that was \
                 acknowledged is missing ({error})"
            );
            Database::open(&path, options, Wal::UpToDamage)
        }
        other => other,
    }
}

/// Opens it for reading alone.
///
/// # Errors
/// As [`Database::open_for_reading`].
pub(crate) fn open_for_reading(dir: &Path, options: &Options) -> Result<Database, StoreError> {
    let path = place::database(dir);
    match Database::open_for_reading(&path, options, Wal::Whole) {
        Err(error) if error.kind() == StoreErrorKind::Corrupt && ends_torn(dir, options) => {
            Database::open_for_reading(&path, options, Wal::UpToDamage)
        }
        other => other,
    }
}

/// Opens it for reading alone, up to the first bad record of its write-ahead log, whatever that is: to save what can be.
///
/// # Errors
/// As [`Database::open_for_reading`].
pub(crate) fn open_up_to_damage(dir: &Path, options: &Options) -> Result<Database, StoreError> {
    Database::open_for_reading(&place::database(dir), options, Wal::UpToDamage)
}

/// Whether what stands before the first bad record is all that was ever acknowledged, as far as was noted.
fn ends_torn(dir: &Path, options: &Options) -> bool {
    let (Some(noted), Some(synced)) = (marker::noted(dir), marker::synced(dir)) else { return false };
    let Ok(database) = Database::open_for_reading(&place::database(dir), options, Wal::UpToDamage) else {
        return false;
    };
    database.newest() >= synced && reaches_noted(&StoredCopy::over(database, dir), &noted).unwrap_or(false)
}
