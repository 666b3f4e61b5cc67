//! The data directory: how another one takes its place, and how that shows when it was cut short.

use std::fs;
use std::path::{Path, PathBuf};

use antiphon_kernel::time::Timestamp;
use anyhow::{Context as _, Result, bail};

use crate::links;

/// Suffix of data that a restore moved aside.
pub(crate) const BEFORE_RESTORE: &str = "before-restore";
/// Suffix of data that a repair moved aside.
pub(crate) const BEFORE_REPAIR: &str = "damaged";
/// Suffix of the marker that exists while one directory takes the place of the other.
const REPLACING: &str = ".replacing";

/// Appends a suffix to the name of a directory: for what is not finished yet, or is moved aside.
pub(crate) fn sibling(path: &Path, suffix: &str) -> Result<PathBuf> {
    let mut name = path.file_name().with_context(|| format!("{} names no directory", path.display()))?.to_owned();
    name.push(suffix);
    Ok(path.with_file_name(name))
}

/// Puts `ready` in the place of `data`, and what was there aside, under a name that says `why`.
pub(crate) fn replace(data: &Path, ready: &Path, why: &str) -> Result<Option<PathBuf>> {
    let mut aside = None;
    let marker = sibling(data, REPLACING)?;
    fs::write(&marker, "").with_context(|| format!("{} could not be written", marker.display()))?;
    sync_parent(data)?;
    if data.exists() {
        let before = sibling(data, &format!(".{why}-{}", Timestamp::now().as_micros()))?;
        let moved = fs::rename(data, &before).inspect_err(|_| {
            let _ = fs::remove_file(&marker); // all is as it was
        });
        moved.with_context(|| format!("{} could not be moved aside", data.display()))?;
        aside = Some(before);
    }
    fs::rename(ready, data)
        .with_context(|| format!("the data are ready in {}, and could not be given their name", ready.display()))?;
    fs::remove_file(&marker).with_context(|| format!("{} could not be removed", marker.display()))?;
    sync_parent(data)?;
    Ok(aside)
}

pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = parent_of(path);
    fs::File::open(parent).and_then(|dir| dir.sync_all()).with_context(|| format!("{}", parent.display()))
}

/// The data that a replacement moved aside last, if it was cut short and the data directory is missing. A marker file shows that
/// it began.
fn cut_short(data: &Path) -> Option<PathBuf> {
    sibling(data, REPLACING).ok().filter(|marker| marker.exists())?;
    let (name, others) = (data.file_name()?.to_str()?, fs::read_dir(parent_of(data)).ok()?);
    let since = |path: &Path| -> Option<i64> {
        let rest = path.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
        [BEFORE_RESTORE, BEFORE_REPAIR].iter().find_map(|why| rest.strip_prefix(why)?.strip_prefix('-')?.parse().ok())
    };
    let aside = others.filter_map(|entry| Some(entry.ok()?.path())).filter_map(|path| Some((since(&path)?, path)));
    aside.max().map(|(_, path)| path)
}

/// A new store in its place would be another cortex.
pub(crate) fn must_not_be_cut_short(data: &Path) -> Result<()> {
    let data = &links::resolved(data)?;
    let Some(before) = Some(data).filter(|data| !data.exists()).and_then(|data| cut_short(data)) else { return Ok(()) };
    bail!(
        "{} is not there, and {} is: a restore or a repair was cut short. `mv` that back to its name, and do it again",
        data.display(),
        before.display()
    )
}
