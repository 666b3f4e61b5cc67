//! Telling the torn end of a write-ahead log from damage in its middle.
//!
//! RocksDB opens a log that breaks off, and refuses one with a record that fails its checksum, wherever that stands. But a
//! power loss leaves such a record at the end as well: of a write that was under way, some pages reached the disk and
//! others did not. What was acknowledged lies before it, so the file `HEAD` tells: if everything that was noted there is
//! before the first bad record, the rest was never acknowledged, and is dropped. Otherwise it is damage, and refused. The same
//! goes for a hole that RocksDB does not see: see [`crate::wal_gap`].

use std::fs;
use std::path::Path;

use antiphon_kernel::internals::log::missing_of_noted;
use antiphon_kernel::store::{StoreError, StoreErrorKind};

use crate::backup::StoredCopy;
use crate::database::{Database, Wal};
use crate::error::{failure, from_io};
use crate::options::Options;
use crate::wal_gap::{self, Gap};
use crate::{data_dir, marker};

/// Where a database is laid out for a moment, up to a hole in its log.
const BEFORE: &str = "before-the-hole";

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
    let path = data_dir::database(dir);
    if let Some(gap) = gap(&path)? {
        let error = hole(&gap);
        if !(gap.in_the_newest && nothing_noted_behind(&gap, dir, options)) {
            return Err(error);
        }
        tracing::warn!(
            path = %dir.display(),
            "the write-ahead log has a hole in writes that were cut short, as after a power loss; it ends there from now on, and \
             nothing that was acknowledged is missing ({error})"
        );
        gap.cut().map_err(|error| from_io("could not cut", &gap.log, &error))?;
    }
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
    let path = data_dir::database(dir);
    if let Some(gap) = gap(&path)? {
        return Err(hole(&gap));
    }
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
    Database::open_for_reading(&data_dir::database(dir), options, Wal::UpToDamage)
}

fn gap(database: &Path) -> Result<Option<Gap>, StoreError> {
    wal_gap::first(database).map_err(|error| from_io("could not read the logs of", database, &error))
}

fn hole(gap: &Gap) -> StoreError {
    let why = format!("it reads as zeros at byte {}, and goes on behind that", gap.at);
    failure(StoreErrorKind::Corrupt, "did not open", &gap.log, &why)
}

/// Whether what stands before a hole is all that was ever acknowledged, as far as was noted.
fn nothing_noted_behind(gap: &Gap, dir: &Path, options: &Options) -> bool {
    let look = dir.join(BEFORE);
    // One from a look that was cut short.
    let _ = fs::remove_dir_all(&look);
    let laid_out = gap.lay_out_before(&data_dir::database(dir), &look);
    let reaches = laid_out.is_ok() && holds_what_was_noted(dir, &look, options);
    let _ = fs::remove_dir_all(&look);
    reaches
}

/// Whether what stands before the first bad record is all that was ever acknowledged, as far as was noted.
fn ends_torn(dir: &Path, options: &Options) -> bool {
    holds_what_was_noted(dir, &data_dir::database(dir), options)
}

/// Whether a database holds, before the first bad record of its log, whatever was noted in a data directory.
fn holds_what_was_noted(dir: &Path, database: &Path, options: &Options) -> bool {
    let (Some(noted), Some(synced)) = (marker::noted(dir), marker::synced(dir)) else { return false };
    let Ok(database) = Database::open_for_reading(database, options, Wal::UpToDamage) else { return false };
    database.newest() >= synced
        && missing_of_noted(&StoredCopy::over(database, dir), &noted).is_ok_and(|missing| missing == Some(0))
}
