//! What each command does.

mod append;
mod ask;
mod data;
mod demo;
mod doctor;
mod events;
mod federation;
mod forks;
mod identity;
mod import;
mod log;
mod replay;
mod serve;
mod setup;
mod status;

use antiphon_kernel::config::PeerMode;
use antiphon_node::config::NodeConfig;
use antiphon_node::keys::new_key;
use anyhow::Result;

use crate::cli::{Cli, Command, ConfigCommand, PeersCommand};
use crate::{output, unit};

pub(crate) async fn run(cli: Cli) -> Result<()> {
    let (json, quiet) = (cli.json, cli.quiet);
    let file = &cli.config;
    match cli.command {
        Command::Init(args) => setup::init(file, &args, json).await,
        Command::Serve { log_format } => serve::run(NodeConfig::load(file)?, log_format).await,
        Command::Append(args) => append::run(file, args, json).await,
        Command::Import(args) => import::run(file, args, json, quiet).await,
        Command::Log(args) => log::run(file, args, json).await,
        Command::Latest { subject } => events::latest(file, subject, json).await,
        Command::Conflicts => events::conflicts(file, json).await,
        Command::Resolve(args) => replay::resolve(file, args, json).await,
        Command::Replay { command } => replay::run(file, command, json).await,
        Command::Status { check: true, .. } => status::check_health(file).await,
        Command::Status { watch: true, .. } => status::watch(file, json).await,
        Command::Status { .. } => status::show(file, json).await,
        Command::Doctor => doctor::run(file, json).await,
        Command::Reload => federation::reload(file, json).await,
        Command::Peers { command: None } => status::peers(file, json).await,
        Command::Peers { command: Some(PeersCommand::Pending) } => federation::pending(file, json).await,
        Command::Peers { command: Some(PeersCommand::Allow { name, id }) } => {
            federation::allow(file, name, id, json).await
        }
        Command::ResetPeer { name } => federation::reset_peer(file, name, json).await,
        Command::PausePeer { name } => federation::set_peer(file, name, PeerMode::Paused, json).await,
        Command::ResumePeer { name } => federation::set_peer(file, name, PeerMode::Sync, json).await,
        Command::SetMode { mode } => federation::set_mode(file, mode, json).await,
        Command::NewEpoch => federation::new_epoch(file, json).await,
        Command::Verify { repair: true, .. } => data::repair(file, json).await,
        Command::Verify { peer: Some(peer), .. } => data::compare(file, &peer, json).await,
        Command::Verify { peer: None, .. } => data::verify(file, json, quiet).await,
        Command::Backup { to, with_keys } => data::backup(file, &to, with_keys, json, quiet).await,
        Command::Restore { from, keys_from } => data::restore(file, &from, keys_from, json, quiet).await,
        Command::Identity { command } => identity::run(file, &command, json).await,
        Command::Fork { command } => forks::run(file, command, json).await,
        Command::Digest { by_origin } => data::digest(file, by_origin, json).await,
        Command::Key => output::line(&new_key()?),
        Command::DevCerts { dir, names, host } => setup::make_certificates(&dir, &names, &host, json),
        Command::Config { command: ConfigCommand::Check } => setup::check(file, json),
        Command::SystemdUnit => output::line(unit::text(file)?.trim_end()),
        Command::Man { dir } => setup::man(dir.as_deref()),
        Command::Completions { shell } => setup::completions(shell),
        Command::Demo(args) => demo::run(args).await,
    }
}
