//! Whether the files that a store has open are still those that its path leads to.
//!
//! A process keeps files that were removed, renamed or covered by a mount, and writes to them without an error. Those writes
//! are gone after the next start. So the store compares what it opened with what the path leads to, again and again.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// One file or directory, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl From<Metadata> for FileId {
    fn from(metadata: Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What a path leads to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    File(FileId),
    Nothing,
    /// The system does not say, so nothing follows from it.
    Unknown,
}

/// How a path changed since its file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Removed,
    Replaced,
    OtherFileSystem,
}

/// What became of a file. Pure.
fn change(opened: FileId, found: Found) -> Option<Change> {
    match found {
        Found::File(id) if id == opened => None,
        Found::File(id) if id.device != opened.device => Some(Change::OtherFileSystem),
        Found::File(_) => Some(Change::Replaced),
        Found::Nothing => Some(Change::Removed),
        Found::Unknown => None,
    }
}

/// The first change, in words. The directory comes first: with it everything in it changes. Pure.
fn first_change(parts: &[(&str, FileId, Found)]) -> Option<String> {
    parts.iter().find_map(|&(name, opened, found)| {
        let what = if name.is_empty() { "the directory".to_owned() } else { format!("`{name}` in it") };
        Some(match change(opened, found)? {
            Change::Removed => format!("{what} was removed or renamed"),
            Change::Replaced => format!("{what} was replaced by another"),
            Change::OtherFileSystem => format!("{what} is covered by another file system"),
        })
    })
}

fn found(path: &Path) -> Found {
    match fs::metadata(path) {
        Ok(metadata) => Found::File(metadata.into()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::StaleNetworkFileHandle => {
                Found::Nothing
            }
            _ => Found::Unknown,
        },
    }
}

/// The open handles of what must stay where it is. They also keep the system from giving an inode number to another file.
#[derive(Debug)]
pub(crate) struct Location {
    dir: PathBuf,
    parts: Vec<(&'static str, File)>,
}

impl Location {
    /// Opens the directory itself and these entries of it.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn open(dir: &Path, names: &[&'static str]) -> io::Result<Self> {
        let names = std::iter::once("").chain(names.iter().copied());
        let parts = names.map(|name| Ok((name, File::open(below(dir, name))?)));
        Ok(Self { dir: dir.to_owned(), parts: parts.collect::<io::Result<_>>()? })
    }

    /// What changed, if anything did; `more` are other entries that are open.
    pub(crate) fn change(&self, more: &[(&'static str, &File)]) -> Option<String> {
        let all = self.parts.iter().map(|(name, file)| (*name, file)).chain(more.iter().copied());
        let parts: Vec<_> = all
            .filter_map(|(name, file)| Some((name, file.metadata().ok()?.into(), found(&below(&self.dir, name)))))
            .collect();
        first_change(&parts)
    }
}

fn below(dir: &Path, name: &str) -> PathBuf {
    if name.is_empty() { dir.to_owned() } else { dir.join(name) }
}

/// The files that a database which is open for writing cannot be without, as far as they are not there: `current` is what
/// `CURRENT` holds, `tables` are the sorted files in use. Pure.
fn missing(names: &BTreeSet<String>, current: Option<&str>, tables: &[String]) -> Option<String> {
    let Some(current) = current else { return Some("CURRENT".to_owned()) };
    if !names.contains(current.trim_end()) {
        return Some(current.trim_end().to_owned());
    }
    if !names.iter().any(|name| name.ends_with(".log")) {
        return Some("*.log".to_owned());
    }
    tables.iter().find(|name| !names.contains(*name)).cloned()
}

/// A file that is missing in a directory of RocksDB's, if one is; `tables` says which sorted files are in use.
pub(crate) fn missing_file(database: &Path, tables: impl Fn() -> Vec<String>) -> Option<String> {
    let look = || -> io::Result<Option<String>> {
        let tables = tables();
        let current = match fs::read_to_string(database.join("CURRENT")) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let names = fs::read_dir(database)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(missing(&names.collect::<io::Result<_>>()?, current.as_deref(), &tables))
    };
    // What RocksDB deleted between two of these looks is not in use at the second one.
    let first = look().ok().flatten()?;
    look().ok().flatten().filter(|second| *second == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_a_change_and_what_is_not_known_is_none() {
        let id = |device, inode| FileId { device, inode };
        let opened = id(1, 7);
        for (found, expected) in [
            (Found::File(id(1, 7)), None),
            (Found::File(id(1, 8)), Some(Change::Replaced)),
            (Found::File(id(2, 7)), Some(Change::OtherFileSystem)),
            (Found::Nothing, Some(Change::Removed)),
            (Found::Unknown, None),
        ] {
            assert_eq!(change(opened, found), expected, "{found:?}");
        }
        let same = ("LOCK", id(1, 9), Found::File(id(1, 9)));
        assert_eq!(first_change(&[("", opened, Found::File(opened)), same]), None);
        let gone = first_change(&[same, ("db", opened, Found::Nothing), ("HEAD", opened, Found::Nothing)]);
        assert_eq!(gone.as_deref(), Some("`db` in it was removed or renamed"));
        let covered = first_change(&[("", opened, Found::File(id(2, 1))), ("db", opened, Found::Nothing)]);
        assert_eq!(covered.as_deref(), Some("the directory is covered by another file system"));
    }

    #[test]
    fn a_database_needs_its_manifest_a_log_and_its_tables() {
        let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let whole = ["CURRENT", "MANIFEST-000005", "000004.log", "000009.sst"];
        let (current, tables) = (Some("MANIFEST-000005\n"), ["000009.sst".to_owned()]);
        assert_eq!(missing(&names(&whole), current, &tables), None);
        assert_eq!(missing(&names(&whole), None, &tables).as_deref(), Some("CURRENT"));
        for (lost, named) in [(1, "MANIFEST-000005"), (2, "*.log"), (3, "000009.sst")] {
            let mut left = whole.to_vec();
            left.remove(lost);
            assert_eq!(missing(&names(&left), current, &tables).as_deref(), Some(named));
        }
    }
}
