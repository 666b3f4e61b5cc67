//! The key files of a node.

use std::path::Path;

use antiphon_kernel::identity::{KeyError, KeyFiles, Keys, Signer as _};
use antiphon_kernel::ids::CortexId;
use anyhow::{Result, bail};

use crate::config::NodeConfig;
use crate::links;
use crate::owner::must_be_the_owner;
use crate::reply::{NodeIdentity, RootKeyMoved};

/// Returns what the key files say. The store is not opened, so a node may be serving.
pub fn show(config: &NodeConfig) -> Result<NodeIdentity> {
    let files = files_of(config)?;
    let keys = loaded(&files)?;
    let statement = keys.statement();
    Ok(NodeIdentity {
        cortex_id: keys.cortex(),
        root_fingerprint: statement.root().fingerprint(),
        working_fingerprint: statement.working().fingerprint(),
        statement: statement.number(),
        root_key_here: keys.root().is_some(),
        identity_key: files.working(),
        root_key: files.root(),
    })
}

/// Moves the root key out into a file that must not exist.
pub fn export_root(config: &NodeConfig, to: &Path) -> Result<RootKeyMoved> {
    let files = files_of(config)?;
    // A root key whose working key is lost is still the cortex: it is not checked here.
    let cortex_id = files.export_root(to)?;
    Ok(RootKeyMoved { cortex_id, file: to.to_owned(), root_key_here: false })
}

/// Copies the root key in from a file, which stays.
pub fn import_root(config: &NodeConfig, from: &Path) -> Result<RootKeyMoved> {
    let cortex_id = files_of(config)?.import_root(from)?;
    Ok(RootKeyMoved { cortex_id, file: from.to_owned(), root_key_here: true })
}

pub(crate) fn files_of(config: &NodeConfig) -> Result<KeyFiles> {
    let dir = links::resolved(&config.data_dir())?;
    must_be_the_owner(&dir)?;
    Ok(KeyFiles::of(dir))
}

fn loaded(files: &KeyFiles) -> Result<Keys, KeyError> {
    files.load()?.ok_or_else(|| KeyError::Missing { file: files.working() })
}

/// Finds the keys for a restore: in the directory that was given, or in the data directory and the backup. Of these two, the later
/// statement counts.
pub(crate) fn for_restore(cortex: CortexId, given: Option<&Path>, data: &Path, backup: &Path) -> Result<KeyFiles> {
    let must_be_of = |files: &KeyFiles, keys: &Keys| match keys.cortex() {
        found if found == cortex => Ok(()),
        found => Err(KeyError::OtherCortex { file: files.working(), found, expected: cortex }),
    };
    if let Some(dir) = given {
        let files = KeyFiles::of(dir);
        must_be_of(&files, &loaded(&files)?)?;
        return Ok(files);
    }
    let mut found: Option<(u64, KeyFiles)> = None;
    for files in [data, backup].map(KeyFiles::of) {
        let Some(keys) = files.load()? else { continue };
        must_be_of(&files, &keys)?;
        let number = keys.statement().number();
        if found.as_ref().is_none_or(|(best, _)| number > *best) {
            found = Some((number, files));
        }
    }
    let Some((_, files)) = found else {
        bail!(
            "the keys of cortex {cortex} are missing: the backup holds none, and there is no {}. Give the directory that has its \
             `{}` with `--keys-from DIR`, or copy that file into {}",
            KeyFiles::of(data).working().display(),
            KeyFiles::WORKING,
            backup.display()
        );
    };
    Ok(files)
}
