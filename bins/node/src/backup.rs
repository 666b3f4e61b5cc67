//! Backups of a node's store, and putting one back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::identity::KeyFiles;
use antiphon_kernel::internals::log::{Log, LogOptions};
use antiphon_kernel::log::{LogReader, OpenError, verify_with};
use antiphon_kernel::store::{Store as _, StoreErrorKind};
use antiphon_kernel::time::Timestamp;
use antiphon_storage::{Create, DirectoryLock, RocksStore, StoredCopy};
use anyhow::{Context as _, Result, bail};

use crate::data_dir::{BEFORE_RESTORE, must_not_be_cut_short, parent_of, replace, sibling, sync_parent};
use crate::identity;
use crate::links;
use crate::owner::must_be_the_owner;
use crate::reply::{Manifest, Restored};
use crate::steps::{Step, Steps, Work};

const MANIFEST: &str = "BACKUP.json";
/// Suffix of a restore that is not finished.
const RESTORING: &str = ".restoring";

/// How often the growth of a copy is reported.
const GROWTH_EVERY: Duration = Duration::from_millis(200);

/// Looks at every byte of a copy, and at its log as a whole.
fn verified(dir: &Path, steps: &Steps) -> Result<LogReader> {
    let store = Arc::new(StoredCopy::open(dir)?);
    store.check_with(&mut |done, total| steps.report(Step { work: Work::Store, done, total }))?;
    let view = Log::look(store)?;
    let report = verify_with(&view, &mut |step| steps.report(step))?;
    if let Some(fault) = report.faults.first() {
        bail!("{} does not fit together: {fault}", dir.display());
    }
    Ok(view)
}

/// Targets of backups that are being written.
static BEING_MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

struct BeingMade(PathBuf);

impl BeingMade {
    fn begin(to: &Path) -> Result<Self> {
        if !BEING_MADE.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_owned()) {
            bail!("a backup to {} is being made already; wait for it", to.display());
        }
        Ok(Self(to.to_owned()))
    }
}

impl Drop for BeingMade {
    fn drop(&mut self) {
        BEING_MADE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Writes a verified copy of the store to `to`, and the key files of the node if `with_keys` says so.
pub fn make(store: &RocksStore, log: &LogReader, to: &Path, with_keys: bool, steps: &Steps) -> Result<Manifest> {
    let (cortex, before) = (log.local().cortex_id, log.head().seq.get());
    let (to, data) = (&links::resolved(to)?, links::resolved(store.path())?);
    if to.starts_with(&data) {
        bail!("{} is inside the data directory {}: give another one", to.display(), data.display());
    }
    let _alone = BeingMade::begin(to)?;
    let is_empty = |dir: &Path| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    if to.exists() && !is_empty(to) {
        bail!("{} exists and is not empty; give a directory that is not there yet", to.display());
    }
    let above = parent_of(to);
    if !above.is_dir() {
        bail!("{} is no directory: make it first, as the user that the node runs as", above.display());
    }
    // Another node may be told to write to the same place by mistake.
    let unfinished = sibling(to, &format!(".{cortex}.unfinished"))?;
    if unfinished.exists() {
        // Of a backup that was cut short: nobody else makes such a name.
        fs::remove_dir_all(&unfinished).with_context(|| format!("{}", unfinished.display()))?;
    }
    let made = copy(store, &unfinished, with_keys, steps).and_then(|made| match made.events {
        // What a copy fits together by itself says nothing of what it lacks.
        events if events >= before => Ok(made),
        events => bail!(
            "the copy holds {events} events, and this node held {before} before it was made; if a fork was resolved meanwhile, do it \
             again, and if not, run `antiphon verify`"
        ),
    });
    let made = made.inspect_err(|_| {
        let _ = fs::remove_dir_all(&unfinished); // the first error is the one to tell
    })?;
    fs::rename(&unfinished, to).with_context(|| format!("{} could not be given its name", to.display()))?;
    sync_parent(to)?;
    Ok(made)
}

fn copy(store: &RocksStore, to: &Path, with_keys: bool, steps: &Steps) -> Result<Manifest> {
    while_growing(to, bytes_below(store.path()), steps, || store.copy_to(to))?;
    // Its files may be linked with those of the store. They are never written again by either, and looking does not.
    let view = verified(to, steps)
        .context("the copy is not whole, so this node's own data may not be: run `antiphon verify`")?;
    if with_keys {
        KeyFiles::of(store.path()).copy_to(to)?;
    }
    let own = view.identity(Timestamp::now());
    let manifest = Manifest {
        cortex_id: own.cortex_id,
        name: own.name,
        epoch: own.epoch.to_string(),
        events: own.head.seq.get(),
        digest: own.digest.to_string(),
        made_at: Timestamp::now().to_string(),
        version: own.version,
        keys: with_keys,
    };
    let file = to.join(MANIFEST);
    fs::write(&file, serde_json::to_vec_pretty(&manifest)?)?;
    fs::File::open(&file)?.sync_all()?;
    fs::File::open(to)?.sync_all()?;
    Ok(manifest)
}

/// The bytes of all files below a directory. What cannot be read counts as nothing: the sum is for a bar.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => bytes_below(&path),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(|entry| bytes(entry.path())).sum()
}

/// Does work that makes a directory grow to about this number of bytes, and reports its growth meanwhile.
fn while_growing<T>(dir: &Path, total: u64, steps: &Steps, work: impl FnOnce() -> T) -> T {
    let report = |done: u64| steps.report(Step { work: Work::Copy, done: done.min(total), total });
    report(0);
    std::thread::scope(|scope| {
        // Dropped at the end of the work, also if that panics.
        let (_working, ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            while ended.recv_timeout(GROWTH_EVERY) == Err(RecvTimeoutError::Timeout) {
                report(bytes_below(dir));
            }
        });
        work()
    })
}

/// Puts a backup in the place of the data directory. What was there is moved aside. The keys come from `keys_from`, or from what was
/// there, or from the backup.
pub fn restore(from: &Path, data: &Path, name: &str, keys_from: Option<&Path>, steps: &Steps) -> Result<Restored> {
    let (from, data) = (&links::resolved(from)?, &links::resolved(data)?);
    must_be_the_owner(data)?;
    if fs::symlink_metadata(from.join(MANIFEST)).is_ok() {
        links::must_hold_files_alone(from)?;
    }
    let manifest = fs::read(from.join(MANIFEST)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("{} is no backup: there is no {MANIFEST}; `antiphon backup` makes them", from.display())
        }
        _ => anyhow::anyhow!("{} could not be read: {error}", from.join(MANIFEST).display()),
    })?;
    let backup: Manifest = serde_json::from_slice(&manifest)
        .with_context(|| format!("{} does not read", from.join(MANIFEST).display()))?;
    if from.starts_with(data) || data.starts_with(from) {
        bail!(
            "{} and the data directory {} are one inside the other: copy the backup elsewhere",
            from.display(),
            data.display()
        );
    }
    // Held until the end: no node may start on what is being replaced.
    let _locked = present(data, &backup, name)?;
    let keys = identity::for_restore(backup.cortex_id, keys_from, data, from)?;
    let unfinished = sibling(data, RESTORING)?;
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("{}", unfinished.display()))?;
    }
    if let Some(parent) = data.parent() {
        fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
    }
    let (epoch, cursor) = prepare(from, &unfinished, &backup, &keys, steps).inspect_err(|_| {
        let _ = fs::remove_dir_all(&unfinished); // the first error is the one to tell
    })?;
    let before = replace(data, &unfinished, BEFORE_RESTORE)?;
    Ok(Restored { backup, epoch, cursor, before })
}

/// What is there must be the same cortex's, and nobody's at present: it stays locked, and is only looked into.
fn present(data: &Path, backup: &Manifest, name: &str) -> Result<Option<DirectoryLock>> {
    must_not_be_cut_short(data)?;
    if !data.exists() {
        if backup.name != name {
            bail!(
                "the backup is of `{}`, and this node is configured as `{name}`: two nodes must not run as one cortex. If it is \
                 to go on under another name, restore it as `{}`, and change `node.name` then",
                backup.name,
                backup.name
            );
        }
        return Ok(None);
    }
    let lock = DirectoryLock::take(data).map_err(|error| match error.kind() {
        StoreErrorKind::InUse => anyhow::anyhow!("{error}; stop the node first"),
        _ => error.into(),
    })?;
    let there = match StoredCopy::open(data) {
        Ok(store) => match Log::look(Arc::new(store)) {
            Ok(there) => Some(there),
            Err(OpenError::NotInitialised) => None,
            Err(error) => unreadable(&error, data, backup, name)?,
        },
        Err(error) if error.kind() == StoreErrorKind::Missing => None,
        Err(error) => unreadable(&error, data, backup, name)?,
    };
    if let Some(there) = there.map(|view| view.local().cortex_id).filter(|there| *there != backup.cortex_id) {
        bail!(
            "the backup is of cortex {} ({}), and {} holds cortex {there}; a backup goes back to its own cortex, or to a \
             directory that holds none",
            backup.cortex_id,
            backup.name,
            data.display()
        );
    }
    Ok(Some(lock))
}

/// What is restored may be so because this is damaged. It is moved aside, and nothing of it is lost; but whose it was cannot
/// be compared, and two nodes must not run as one cortex.
fn unreadable(error: &dyn std::fmt::Display, data: &Path, backup: &Manifest, name: &str) -> Result<Option<LogReader>> {
    if backup.name != name {
        bail!(
            "what is in {} cannot be read ({error}), so whose it was is not known; the backup is of `{}`, and this node is \
             configured as `{name}`. If it is the right one all the same, move that directory away first",
            data.display(),
            backup.name
        );
    }
    eprintln!("what is there cannot be read ({error}), so whose it was is not checked");
    Ok(None)
}

/// Copies, checks, and begins the new epoch.
fn prepare(from: &Path, to: &Path, backup: &Manifest, keys: &KeyFiles, steps: &Steps) -> Result<(String, Cursor)> {
    while_growing(to, bytes_below(from), steps, || copy_files(from, to))?;
    let view = verified(to, steps)?;
    let found = view.identity(Timestamp::now());
    if found.cortex_id != backup.cortex_id || found.digest.to_string() != backup.digest {
        bail!("{}: {MANIFEST} is of another store than the one beside it", from.display());
    }
    drop(view);
    fs::remove_file(to.join(MANIFEST))?;
    // The backup's own key files came along, and may be older ones.
    for copied in [KeyFiles::of(to).root(), KeyFiles::of(to).working()] {
        if copied.exists() {
            fs::remove_file(&copied).with_context(|| format!("{}", copied.display()))?;
        }
    }
    keys.copy_to(to)?;
    let store = Arc::new(RocksStore::open_with(to, Create::Never)?);
    let log = Log::open(store, LogOptions { restored: true, ..LogOptions::default() })?;
    Ok((log.reader().local().epoch.to_string(), found.head))
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to).with_context(|| format!("{}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_files(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("{}", path.display()))?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all().with_context(|| format!("{}", to.display()))
}
