//! Two small things beside the database that tell what it cannot: where it stands, and how far it reached.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use antiphon_kernel::store::StoreError;

use crate::error::from_io;
use crate::format;

/// What was noted last: see [`antiphon_kernel::store::Store::note`].
pub(crate) const HEAD: &str = "HEAD";
/// Longer notes are not taken.
const LONGEST: usize = 64;

/// What tells this directory from any copy of it: the machine, and the inode and birth of the file `FORMAT`, which is
/// written once. A copy of it is another file; a directory that is only renamed keeps it.
///
/// # Errors
/// `Io`.
pub(crate) fn fingerprint(dir: &Path) -> Result<Vec<u8>, StoreError> {
    let marker = format::path(dir);
    let metadata = fs::metadata(&marker).map_err(|error| from_io("could not look at", &marker, &error))?;
    // Where a machine has no id, or a file system no birth times, the rest must do.
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |since| since.as_nanos());
    Ok(format!("{}:{}:{born}", machine.trim(), metadata.ino()).into_bytes())
}

/// What is left of the file system for whoever may not use its reserve.
///
/// # Errors
/// `Io`.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, StoreError> {
    let stat = nix::sys::statvfs::statvfs(dir)
        .map_err(|error| from_io("could not ask for the free space of", dir, &std::io::Error::from(error)))?;
    // On some systems they are 32 bits.
    #[allow(clippy::useless_conversion)]
    Ok(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
}

/// The file `HEAD`: written over, and synced at the first note alone, so that a note costs a copy into the page cache. It
/// survives the process, and after a power loss it may be an older one; whoever reads it checks what it says.
#[derive(Debug, Default)]
pub(crate) struct Head(OnceLock<Option<File>>, OnceLock<()>);

impl Head {
    /// Notes that the database is durable up to this sequence number. Behind what the kernel notes; with its inverse, so
    /// that half of it is none.
    pub(crate) fn write_synced(&self, dir: &Path, number: u64) {
        let Some(file) = self.file(dir) else { return };
        let bytes = [number.to_be_bytes(), (!number).to_be_bytes()].concat();
        if let Err(error) = file.write_all_at(&bytes, LONGEST as u64) {
            tracing::debug!(%error, "what is durable could not be noted");
        }
    }

    /// The file, once something was noted.
    pub(crate) fn opened(&self) -> Option<&File> {
        self.0.get().and_then(Option::as_ref)
    }

    fn file(&self, dir: &Path) -> Option<&File> {
        let file = self.0.get_or_init(|| {
            let path = dir.join(HEAD);
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            file.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "a lost tail will go unnoticed"))
                .ok()
        });
        file.as_ref()
    }

    pub(crate) fn write(&self, dir: &Path, bytes: &[u8], durable: bool) {
        let Some(file) = self.file(dir) else { return };
        // Once in any case, so that after a power loss there is an old note rather than none.
        let sync = self.1.set(()).is_ok() || durable;
        let written = file.write_all_at(&bytes[..bytes.len().min(LONGEST)], 0).and_then(|()| match sync {
            true => file.sync_all().and_then(|()| format::sync_directory(dir)),
            false => Ok(()),
        });
        if let Err(error) = written {
            // The data are safe; only what would tell of their loss is stale.
            tracing::debug!(%error, "the head could not be noted");
        }
    }
}

/// Whether anything was ever noted: there was a log.
pub(crate) fn is_there(dir: &Path) -> bool {
    dir.join(HEAD).exists()
}

/// What was noted last, by whichever process.
pub(crate) fn noted(dir: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(dir.join(HEAD)).ok()?;
    bytes.truncate(LONGEST);
    Some(bytes)
}

/// The last of the database's sequence numbers that was noted to be durable.
pub(crate) fn synced(dir: &Path) -> Option<u64> {
    let bytes = fs::read(dir.join(HEAD)).ok()?;
    let (number, inverted) = bytes.get(LONGEST..LONGEST + 16)?.split_at(8);
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
    word(number).filter(|number| word(inverted) == Some(!number))
}
