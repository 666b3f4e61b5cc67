//! The key files of a directory, readable and writable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{EndOfEpoch, InvalidKeyText, KeyStatement, Keys, SecretKey};
use crate::error_code::ErrorCode;
use crate::ids::CortexId;

/// Far more than a key file has; the rest of a strange file is not read.
const LONGEST: u64 = 128 * 1024;

/// Why keys cannot be had, or be kept.
///
/// ```
/// use antiphon_kernel::{KeyError, KeyFiles};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let dir = scratch.path();
/// let files = KeyFiles::of(dir);
/// // There is no root key to move out.
/// let error = files.export_root(&dir.join("alpha.root.key")).unwrap_err();
/// assert!(matches!(error, KeyError::RootAway { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A file that should be there is not.
    #[error(
        "the key file {} is missing. Copy it back from where the keys were saved: without it the cortex cannot sign, and a new \
         key would be another cortex",
        .file.display()
    )]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file is there that would be overwritten.
    #[error("{} exists, and a key file is never overwritten. Give another name, or move that file away", .file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// Others than its owner may use a file.
    #[error(
        "others than its owner may use the key file {} (its mode is {mode:o}). Run `chmod 600` on it; if others could read it, \
         the key may be stolen",
        .file.display()
    )]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is not a key file, or is damaged.
    #[error("{} cannot be used", .file.display())]
    Text {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: InvalidKeyText,
    },
    /// A key is another cortex's.
    #[error("{} is the key of cortex {found}, and {expected} is needed. Give the key of that cortex", .file.display())]
    OtherCortex {
        /// The file.
        file: PathBuf,
        /// Whose key it is.
        found: CortexId,
        /// Whose is needed.
        expected: CortexId,
    },
    /// The root key is not here.
    #[error("the root key is not here: there is no {}", .file.display())]
    RootAway {
        /// Where it would be.
        file: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("could not {doing} {}", .file.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What keeps the keys failed, and it is no file.
    #[error("the keys cannot be had: {0}")]
    Keeper(String),
}

impl KeyError {
    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } => ErrorCode::IdentityKeysMissing,
            Self::Exists { .. } => ErrorCode::IdentityKeyExists,
            Self::Mode { .. } => ErrorCode::IdentityKeyMode,
            Self::Text { source, .. } => source.code(),
            Self::OtherCortex { .. } => ErrorCode::IdentityOtherCortex,
            Self::RootAway { .. } => ErrorCode::IdentityRootAway,
            Self::Io { .. } | Self::Keeper(_) => ErrorCode::IdentityKeyFile,
        }
    }
}

/// The key files of one cortex in a directory: `identity.key` has the working key and its statement, `identity.root.key` the root
/// key. Both have mode 0600, and a file with a wider mode is refused. The root key's file may be away.
///
/// ```
/// use antiphon_kernel::{KeyFiles, Signer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let dir = scratch.path().join("keys");
/// # std::fs::create_dir(&dir)?;
/// let files = KeyFiles::of(&dir);
/// let keys = files.create()?;
/// let again = files.load()?.expect("they were just created");
/// assert_eq!(again.statement(), keys.statement());
///
/// // The root key goes to a safe place; the cortex runs without it.
/// files.export_root(&scratch.path().join("alpha.root.key"))?;
/// assert!(files.load()?.is_some_and(|keys| keys.root().is_none()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct KeyFiles {
    dir: PathBuf,
}

impl KeyFiles {
    /// The name of the root key's file.
    pub const ROOT: &str = "identity.root.key";
    /// The name of the working key's file.
    pub const WORKING: &str = "identity.key";

    /// The key files of a directory. Nothing is read.
    #[must_use]
    pub fn of(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The path of the root key's file.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.join(Self::ROOT)
    }

    /// The path of the working key's file.
    #[must_use]
    pub fn working(&self) -> PathBuf {
        self.dir.join(Self::WORKING)
    }

    /// Reads the keys; `None` if there is no working key.
    ///
    /// # Errors
    /// [`KeyError`]; also if the root key's file is there and cannot be used.
    pub fn load(&self) -> Result<Option<Keys>, KeyError> {
        let Some(text) = read(&self.working())? else { return Ok(None) };
        let keys = Keys::from_text(&text).map_err(|source| KeyError::Text { file: self.working(), source })?;
        let Some(root) = self.load_root()? else { return Ok(Some(keys)) };
        let expected = keys.cortex();
        let other = |found| KeyError::OtherCortex { file: self.root(), found, expected };
        keys.with_root(root).map(Some).map_err(other)
    }

    /// Creates the keys of a new cortex. Keys that are there are loaded; a root key without a working key certifies a new one.
    ///
    /// Call it only for a cortex without a log.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn create(&self) -> Result<Keys, KeyError> {
        if let Some(keys) = self.load()? {
            return Ok(keys);
        }
        let root = match self.load_root()? {
            Some(root) => root,
            None => {
                let root = SecretKey::generate();
                put(&self.root(), &root.to_root_text())?;
                root
            }
        };
        // The working key's file comes last: keys without it are made again, with the same root key.
        let keys = Keys::certified_by(root, SecretKey::generate());
        put(&self.working(), &keys.to_text())?;
        Ok(keys)
    }

    /// Copies the key files to another directory: the working key's, and the root key's if it is here. Returns whose they are.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Exists`] if the directory has a key file.
    pub fn copy_to(&self, dir: &Path) -> Result<CortexId, KeyError> {
        let keys = self.load()?.ok_or_else(|| KeyError::Missing { file: self.working() })?;
        let to = Self::of(dir);
        for file in [to.root(), to.working()] {
            must_be_free(&file)?;
        }
        if let Some(root) = keys.root() {
            put(&to.root(), &root.to_root_text())?;
        }
        put(&to.working(), &keys.to_text())?;
        Ok(keys.cortex())
    }

    /// Moves the root key out: writes it to `to`, with mode 0600, syncs that, and then removes it here. Returns whose it is.
    ///
    /// # Errors
    /// [`KeyError`]; the root key is still here then.
    pub fn export_root(&self, to: &Path) -> Result<CortexId, KeyError> {
        let root = self.load_root()?.ok_or_else(|| KeyError::RootAway { file: self.root() })?;
        write_new(to, &root.to_root_text())?;
        sync_directory(parent_of(to)).map_err(failed("sync the directory of", to))?;
        // Read back, as what will be needed of it one day.
        let text = read(to)?.ok_or_else(|| KeyError::Missing { file: to.to_owned() })?;
        SecretKey::from_root_text(&text).map_err(|source| KeyError::Text { file: to.to_owned(), source })?;
        fs::remove_file(self.root()).map_err(failed("remove", &self.root()))?;
        sync_directory(&self.dir).map_err(failed("sync", &self.dir))?;
        Ok(CortexId::of_root(&root.public()))
    }

    /// Copies a root key in from a file, which stays. Returns whose it is.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::OtherCortex`] if it is not the root key of the working key that is here.
    pub fn import_root(&self, from: &Path) -> Result<CortexId, KeyError> {
        must_be_free(&self.root())?;
        let keys = self.load()?.ok_or_else(|| KeyError::Missing { file: self.working() })?;
        let text = read(from)?.ok_or_else(|| KeyError::Missing { file: from.to_owned() })?;
        let root = SecretKey::from_root_text(&text);
        let root = root.map_err(|source| KeyError::Text { file: from.to_owned(), source })?;
        let (found, expected) = (CortexId::of_root(&root.public()), keys.cortex());
        if found != expected {
            return Err(KeyError::OtherCortex { file: from.to_owned(), found, expected });
        }
        put(&self.root(), &root.to_root_text())?;
        Ok(found)
    }

    /// Makes a new working key, certified by the root key, in the place of the one that is here. `present` is the statement in use, and `ends`
    /// are what the next one lists. The file is replaced at once or not at all.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::RootAway`] without the root key. The working key is still here then.
    pub fn rotate(&self, present: &KeyStatement, ends: Vec<EndOfEpoch>) -> Result<Keys, KeyError> {
        let keys = self.load()?.ok_or_else(|| KeyError::Missing { file: self.working() })?;
        let (found, expected) = (keys.cortex(), present.cortex());
        if found != expected {
            return Err(KeyError::OtherCortex { file: self.working(), found, expected });
        }
        let next = keys.next(present, ends).ok_or_else(|| KeyError::RootAway { file: self.root() })?;
        let next = next.map_err(|source| KeyError::Text { file: self.working(), source: source.into() })?;
        replace(&self.working(), &next.to_text())?;
        Ok(next)
    }

    fn load_root(&self) -> Result<Option<SecretKey>, KeyError> {
        let Some(text) = read(&self.root())? else { return Ok(None) };
        SecretKey::from_root_text(&text).map(Some).map_err(|source| KeyError::Text { file: self.root(), source })
    }
}

fn failed(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let file = file.to_owned();
    move |source| KeyError::Io { doing, file, source }
}

fn must_be_free(file: &Path) -> Result<(), KeyError> {
    // A link that leads nowhere is something too.
    match fs::symlink_metadata(file) {
        Ok(_) => Err(KeyError::Exists { file: file.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", file)(error)),
    }
}

/// The text of a file that its owner alone may use; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, KeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let length = check_mode(path, &file)?;
    // Room for all of it at once: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length.min(LONGEST) as usize + 64));
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        // Not text: it is no key file, which is what an empty one is too.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(Zeroizing::default())),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Returns the length of a file that its owner alone may use.
fn check_mode(path: &Path, file: &File) -> Result<u64, KeyError> {
    let metadata = file.metadata().map_err(failed("look at", path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode { file: path.to_owned(), mode });
        }
    }
    Ok(metadata.len())
}

/// Writes a file that is not there, so that after a crash it is there whole or not at all.
fn put(path: &Path, text: &str) -> Result<(), KeyError> {
    must_be_free(path)?;
    replace(path, text)
}

/// Writes a file, or replaces it, so that after a crash one of the two is there, whole.
fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &unfinished)(error)),
        _ => {}
    }
    write_new(&unfinished, text)?;
    fs::rename(&unfinished, path).map_err(failed("name", path))?;
    sync_directory(parent_of(path)).map_err(failed("sync the directory of", path))
}

/// Creates a file with this text, for its owner alone, and syncs it. Never overwrites one.
fn write_new(path: &Path, text: &str) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { file: path.to_owned() },
        _ => failed("create", path)(error),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path); // the first error is the one to report
        failed("write", path)(error)
    })
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in a directory durable, where a directory can be opened.
fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
