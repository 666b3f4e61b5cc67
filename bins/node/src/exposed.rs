//! Files that others than their owner can read, and should not.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::config::NodeConfig;

/// Whether others than its owner may read a file, or look into a directory.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o077 != 0)
}

/// The data directory and the keys of a configuration that others can read, each with what closes it.
pub(crate) fn warnings(config: &NodeConfig) -> Vec<String> {
    let key = config.federation.key_file.as_ref().map(|file| config.path(file));
    let tls = config.tls_files().map(|files| files.key);
    let dir = [(config.data_dir(), 700)].into_iter();
    let shown = config.federation.peers.iter().filter_map(|peer| peer.client_key.clone()).collect::<BTreeSet<_>>();
    let all = dir.chain([key, tls].into_iter().flatten().chain(shown).map(|file| (file, 600)));
    let open = all.filter(|(path, _)| is_open_to_others(path));
    open.map(|(path, mode)| format!("others than its owner can read {0}; `chmod {mode} {0}`", path.display())).collect()
}
