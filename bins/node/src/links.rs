//! Links, where directories are replaced, renamed and compared: that must happen to what a link leads to, never to the link.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// So many links in a row lead in a circle.
const MOST: usize = 40;

/// Where a path leads, with all links resolved. The last parts need not be there.
pub(crate) fn resolved(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    // Without a slash at the end, which would follow the link unseen.
    let mut at: PathBuf = absolute.components().collect();
    for _ in 0..MOST {
        let Ok(target) = fs::read_link(&at) else { return Ok(without_links_above(&at)) };
        at = at.parent().unwrap_or(Path::new("/")).join(target);
    }
    bail!("{} is a link that leads in a circle", path.display())
}

/// The deepest directory that is there, resolved, and what comes after it.
fn without_links_above(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(canonical), _, _) => canonical,
        (Err(_), Some(parent), Some(name)) => without_links_above(parent).join(name),
        _ => path.to_owned(),
    }
}

/// Fails where a directory holds anything but files and directories of its own.
///
/// # Errors
/// The link, or the special file.
pub(crate) fn must_hold_files_alone(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path).with_context(|| format!("{}", path.display()))?.file_type();
        if kind.is_dir() {
            must_hold_files_alone(&path)?;
        } else if !kind.is_file() {
            bail!(
                "{} is a link or a special file, and a backup holds files of its own alone: make it again",
                path.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_resolved_as_far_as_it_is_there() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real", at("link")).unwrap();
        symlink(at("link"), at("twice")).unwrap();
        symlink("real/later", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for (path, leads_to) in [
            ("real", "real"),
            ("link", "real"),
            ("link/", "real"),
            ("twice", "real"),
            ("twice/a/b", "real/a/b"),
            ("dangling", "real/later"),
            ("nothing/there", "nothing/there"),
        ] {
            assert_eq!(resolved(&at(path)).unwrap(), at(leads_to), "{path}");
        }
        assert!(resolved(&at("circle")).is_err());
    }
}
