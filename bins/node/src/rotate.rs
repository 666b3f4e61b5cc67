//! Replacing the working key of a node.

use std::sync::Arc;

use anyhow::{Result, bail};

use crate::identity::files_of;
use crate::node::Node;
use crate::reply::KeyRotated;

/// Replaces the working key of a node that runs, in its file and in use.
pub(crate) async fn rotate_key(node: &Node) -> Result<KeyRotated> {
    let files = files_of(&node.config())?;
    if !files.root().exists() {
        bail!(
            "the root key is not here, and it has to certify a new working key: run `antiphon identity import-root FILE` first, and \
             `antiphon identity export-root FILE` afterwards"
        );
    }
    let identity_key = files.working();
    let now = node.cortex().rotate_keys(move |present, ends| Ok(Arc::new(files.rotate(present, ends)?))).await?;
    let Some(signer) = &now.signer else { bail!("the node runs without its keys") };
    let statement = signer.statement();
    Ok(KeyRotated {
        cortex_id: now.cortex_id,
        working_fingerprint: statement.working().fingerprint(),
        statement: statement.number(),
        ended_epochs: statement.ends().len(),
        epoch: now.epoch.to_string(),
        identity_key,
    })
}
