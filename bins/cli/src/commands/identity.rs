//! Commands about the node's keys.

use std::path::Path;

use antiphon_node::api::Request;
use antiphon_node::config::NodeConfig;
use antiphon_node::identity;
use antiphon_node::reply::KeyRotated;
use anyhow::Result;

use super::ask::ask;
use crate::cli::IdentityCommand;
use crate::output::done;

pub(super) async fn run(file: &Path, command: &IdentityCommand, json: bool) -> Result<()> {
    let config = NodeConfig::load(file)?;
    match command {
        IdentityCommand::Show => show(&config, json),
        IdentityCommand::Rotate => rotate(file, json).await,
        IdentityCommand::ExportRoot { file } => {
            let moved = identity::export_root(&config, file)?;
            let text = format!(
                "the root key of cortex {} is in {}, and no longer here; the node runs without it. Keep that file offline: with it, a \
                 lost working key can be replaced",
                moved.cortex_id,
                moved.file.display()
            );
            done(&moved, json, &text)
        }
        IdentityCommand::ImportRoot { file } => {
            let moved = identity::import_root(&config, file)?;
            let text = format!("the root key of cortex {} is here; {} stays", moved.cortex_id, moved.file.display());
            done(&moved, json, &text)
        }
    }
}

async fn rotate(file: &Path, json: bool) -> Result<()> {
    let rotated: KeyRotated = ask(file, Request::RotateKey).await?;
    let text = format!(
        "working key {} is in use, with statement {}; epoch {} begins with the next event. Save {} where the keys are saved: the former key \
         signs nothing any more",
        rotated.working_fingerprint,
        rotated.statement,
        rotated.epoch,
        rotated.identity_key.display()
    );
    done(&rotated, json, &text)
}

fn show(config: &NodeConfig, json: bool) -> Result<()> {
    let shown = identity::show(config)?;
    let root = match shown.root_key_here {
        true => format!("here, in {}", shown.root_key.display()),
        false => "not here".to_owned(),
    };
    let text = format!(
        "cortex       {}\nroot key     {} ({root})\nworking key  {} (in {})\nstatement    {}",
        shown.cortex_id,
        shown.root_fingerprint,
        shown.working_fingerprint,
        shown.identity_key.display(),
        shown.statement
    );
    done(&shown, json, &text)
}
