//! The file `FORMAT`: one line, `antiphon-store 2`, which any version can read before it touches anything else.
//!
//! RocksDB cannot tell a version that its store is too new: it would open the families and write to them. So the number
//! stands outside of RocksDB, is the first thing written to a new store and the first thing read of an old one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use antiphon_kernel::store::{StoreError, StoreErrorKind};

use crate::error::{failure, from_io};

/// The format of the stores that this version writes, and the only one that it reads.
pub const STORE_FORMAT: u32 = 2;

pub(crate) const FILE: &str = "FORMAT";
const UNFINISHED: &str = "FORMAT.new";
const MAGIC: &str = "antiphon-store ";
/// Far more than any version writes; the rest of a strange file is not read.
const LONGEST: u64 = 256;

/// Whether there is a format file and it is one of ours. Changes nothing.
///
/// # Errors
/// `NewerFormat` for a later one, `OlderFormat` for an earlier one, `Corrupt` for one that is not understood.
pub(crate) fn read(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(FILE);
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
        Err(error) => return Err(from_io("could not read", &path, &error)),
    }
    match parse(&text) {
        Some(STORE_FORMAT) => Ok(true),
        Some(other) if other > 0 => {
            let why = format!("its format is {other}, and this version reads format {STORE_FORMAT}");
            let kind = if other > STORE_FORMAT { StoreErrorKind::NewerFormat } else { StoreErrorKind::OlderFormat };
            Err(failure(kind, "did not open", dir, &why))
        }
        _ => {
            let why = format!("it should begin with `{MAGIC}{STORE_FORMAT}`");
            Err(failure(StoreErrorKind::Corrupt, "did not understand", &path, &why))
        }
    }
}

/// The number, whatever a later version may write after it.
fn parse(text: &str) -> Option<u32> {
    text.strip_prefix(MAGIC)?.split_whitespace().next()?.parse().ok()
}

/// Writes the format file so that after a crash it is there whole or not at all.
///
/// # Errors
/// `ReadOnly`, `NoSpace`, `Io`.
pub(crate) fn write(dir: &Path) -> Result<(), StoreError> {
    let (unfinished, path) = (dir.join(UNFINISHED), dir.join(FILE));
    write_synced(&unfinished, format!("{MAGIC}{STORE_FORMAT}\n").as_bytes())
        .and_then(|()| fs::rename(&unfinished, &path))
        .and_then(|()| sync_directory(dir))
        .map_err(|error| from_io("could not write", &path, &error))
}

/// The format file of a directory. It is written once, when the store is made.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Undoes [`write`], as far as that can be done.
pub(crate) fn remove(dir: &Path) {
    for file in [FILE, UNFINISHED] {
        let _ = fs::remove_file(dir.join(file));
    }
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in a directory durable: a synced file can still lose its name.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_may_write_more() {
        for (text, number) in [
            ("antiphon-store 1\n", Some(1)),
            ("antiphon-store 2 families=12\nmore\n", Some(2)),
            ("antiphon-store", None),
            ("antiphon-store x", None),
            ("", None),
        ] {
            assert_eq!(parse(text), number, "{text:?}");
        }
    }
}
