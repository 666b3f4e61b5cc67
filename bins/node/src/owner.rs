//! Whose the data directory is.

use std::path::Path;

use anyhow::{Result, bail};

/// Files that root makes in the data of another user would keep its owner from opening it.
pub(crate) fn must_be_the_owner(dir: &Path) -> Result<()> {
    let Ok(meta) = std::fs::metadata(dir) else { return Ok(()) };
    let owner = std::os::unix::fs::MetadataExt::uid(&meta);
    if !nix::unistd::geteuid().is_root() || owner == 0 {
        return Ok(());
    }
    let user =
        nix::unistd::User::from_uid(owner.into()).ok().flatten().map_or(format!("user {owner}"), |user| user.name);
    bail!(
        "no node serves, and the data in {} belong to {user}: root would leave files there that {user} cannot open; run this as \
         {user} (`runuser -u {user} -- antiphon ...`), or start the node first",
        dir.display()
    )
}
