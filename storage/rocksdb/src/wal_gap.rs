//! A hole in a write-ahead log that RocksDB does not see.
//!
//! A log is blocks of 32 KiB, and each record in it has a header of seven bytes: checksum, length, type. A header without
//! length and type RocksDB takes for space that was set aside and never written: it drops what is left of that block without
//! a word, and reads on in the next one. At the end of a log that is right. Before its end it is a hole: a page that did not
//! reach the disk when the power went, or damage.
//!
//! Source: RocksDB's wiki, "Write Ahead Log File Format", and its `log_reader.cc`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;

/// Where a log stops making sense, although it goes on.
#[derive(Debug)]
pub(crate) struct Gap {
    /// The log's file.
    pub(crate) log: PathBuf,
    /// The first byte of the hole: what stands before it is whole records.
    pub(crate) at: u64,
    /// Whether no younger log follows.
    pub(crate) in_the_newest: bool,
}

impl Gap {
    /// Ends the log where the hole begins.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.log)?;
        file.set_len(self.at)?;
        file.sync_all()
    }

    /// Lays out the database as it is up to the hole, in a directory that is not there yet: files that do not change are
    /// linked.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn lay_out_before(&self, database: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir(to)?;
        for entry in fs::read_dir(database)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let text = name.to_string_lossy();
            // RocksDB's lock and its diary are each opening's own.
            if text.starts_with("LOCK") || text.starts_with("LOG") || !path.is_file() {
                continue;
            }
            if path == self.log {
                io::copy(&mut File::open(&path)?.take(self.at), &mut File::create(to.join(&name))?)?;
            } else {
                fs::hard_link(&path, to.join(&name))?;
            }
        }
        Ok(())
    }
}

/// The first hole in the logs of a database, the oldest log first.
///
/// # Errors
/// What the file system says.
pub(crate) fn first(database: &Path) -> io::Result<Option<Gap>> {
    let mut logs = Vec::new();
    match fs::read_dir(database) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
                logs.extend(number.filter(|_| path.extension().is_some_and(|end| end == "log")).map(|n| (n, path)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    logs.sort();
    let newest = logs.last().map(|(number, _)| *number);
    for (number, log) in logs {
        if let Some(at) = find(File::open(&log)?)? {
            return Ok(Some(Gap { log, at, in_the_newest: Some(number) == newest }));
        }
    }
    Ok(None)
}

/// Where the first header without length and type stands, if anything but zeros comes behind it.
fn find(mut log: impl Read) -> io::Result<Option<u64>> {
    let (mut hole, mut start, mut block) = (None, 0, Vec::with_capacity(BLOCK));
    loop {
        block.clear();
        let read = log.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if read == 0 {
            return Ok(None);
        }
        let mut rest = &block[..];
        if hole.is_none()
            && let Some(at) = unwritten(&block)
        {
            (hole, rest) = (Some(start + at as u64), &block[at..]);
        }
        if hole.is_some() && rest.iter().any(|&byte| byte != 0) {
            return Ok(hole);
        }
        start += read as u64;
    }
}

/// The first header of a block that has neither length nor type. One that leads beyond the block is RocksDB's to judge.
fn unwritten(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + HEADER) {
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length == 0 && kind == 0 {
            return Some(at);
        }
        at += HEADER + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let head = [1, 2, 3, 4, (length & 0xff) as u8, (length >> 8) as u8, 1];
        [&head[..], &vec![9; length]].concat()
    }

    #[test]
    fn zeros_are_a_hole_only_where_something_comes_behind_them() {
        let full = record(BLOCK - HEADER);
        let hole_at = |log: &[u8]| find(log).unwrap();
        assert_eq!(hole_at(&[]), None);
        assert_eq!(hole_at(&[record(10), record(0), record(20)].concat()), None, "an empty record has a type");
        assert_eq!(hole_at(&[record(10), vec![0; 3 * BLOCK]].concat()), None, "space that was set aside");
        // The end of a block that is too short for a header is filled with zeros.
        assert_eq!(hole_at(&[record(BLOCK - HEADER - 6), vec![0; 6], full.clone()].concat()), None);
        assert_eq!(hole_at(&[record(BLOCK - 2 * HEADER), vec![0; 7], full.clone()].concat()), Some(BLOCK as u64 - 7));
        assert_eq!(hole_at(&[full.clone(), vec![0; 2 * BLOCK], full.clone()].concat()), Some(BLOCK as u64));
        let zeroed = [record(10), vec![0; 7], vec![9; 20]].concat();
        assert_eq!(hole_at(&zeroed), Some(17), "the header alone");
        assert_eq!(hole_at(&[record(10), record(50_000)].concat()), None, "a length that leads out of the block");
        assert_eq!(hole_at(&record(100)[..50]), None, "torn");
    }
}
