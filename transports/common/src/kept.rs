//! What was read from files that may be replaced in place.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;

/// What the files hold, by a hash of this process's: a deployment may replace them and keep time and length.
type Stamp = Vec<Option<u64>>;

/// A value that is read again when its files change.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    value: T,
    /// Of the files that the value was read from.
    read: Stamp,
    /// Of files that could not be used, and were reported.
    refused: Option<Stamp>,
}

/// Files that changed and cannot be used.
pub(crate) struct Refused<E> {
    pub(crate) error: E,
    /// Whether these files were refused before.
    pub(crate) again: bool,
}

impl<T> Kept<T> {
    /// Reads it for the first time.
    pub(crate) fn read<E>(files: &[&Path], read: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        // The stamp first: a change in between is then seen next time.
        let stamp = stamp(files);
        Ok(Self { value: read()?, read: stamp, refused: None })
    }

    pub(crate) const fn value(&self) -> &T {
        &self.value
    }

    /// Reads it again if its files changed; true if they did. What cannot be used changes nothing, and is looked at again the next
    /// time: a certificate may begin to be valid.
    pub(crate) fn refresh<E>(
        &mut self,
        files: &[&Path],
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<bool, Refused<E>> {
        let now = stamp(files);
        if self.read == now {
            return Ok(false);
        }
        match read() {
            Ok(value) => {
                *self = Self { value, read: now, refused: None };
                Ok(true)
            }
            Err(error) => {
                let again = self.refused.as_ref() == Some(&now);
                self.refused = Some(now);
                Err(Refused { error, again })
            }
        }
    }
}

fn stamp(files: &[&Path]) -> Stamp {
    let one = |path: &&Path| {
        let mut hash = DefaultHasher::new();
        hash.write(&std::fs::read(path).ok()?);
        Some(hash.finish())
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_and_a_broken_one_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        let files = [file.as_path()];
        let read = || std::fs::read_to_string(&file).unwrap_or_default().parse::<u8>().map_err(|_| "no number");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        assert!(Kept::read(&files, read).is_err());
        write("1");
        let mut kept = Kept::read(&files, read).unwrap();
        assert!(matches!(kept.refresh(&files, read), Ok(false)));
        write("2");
        assert!(matches!(kept.refresh(&files, read), Ok(true)));
        for (text, again) in [("x", false), ("x", true), ("y", false)] {
            write(text);
            let refused = kept.refresh(&files, read).err().unwrap();
            assert_eq!((refused.error, refused.again, *kept.value()), ("no number", again, 2));
        }
        write("3");
        assert!(matches!(kept.refresh(&files, read), Ok(true)));
        assert_eq!(*kept.value(), 3);
    }
}
