//! Copies of a closed store, and what is done to their files.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Makes `to` a copy of the directory `from`, whatever was there.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(to)?,
    }
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Puts the files of a copy back into the store that it was made of. The store stands where it stood: `FORMAT` marks that.
pub(crate) fn put_back(copy_of: &Path, store: &Path) -> io::Result<()> {
    copy(&copy_of.join("db"), &store.join("db"))?;
    fs::copy(copy_of.join("HEAD"), store.join("HEAD")).map(|_| ())
}

/// The files below a directory, in the order of their names.
pub(crate) fn all(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(all(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The write-ahead log in use: the newest.
pub(crate) fn wal(dir: &Path) -> io::Result<PathBuf> {
    let mut logs = all(&dir.join("db"))?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.next_back().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no write-ahead log"))
}

pub(crate) fn cut(file: &Path, length: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.set_len(length)
}

pub(crate) fn flip(file: &Path, at: usize, bit: u32) -> io::Result<()> {
    let mut bytes = fs::read(file)?;
    let byte = bytes.get_mut(at).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "beyond the end"))?;
    *byte ^= 1 << bit;
    fs::write(file, bytes)
}
