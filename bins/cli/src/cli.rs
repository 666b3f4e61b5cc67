//! The command line.

use std::path::PathBuf;

use antiphon_kernel::config::FederationMode;
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::{EventId, PeerName};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A node that keeps an append-only event log and converges with its peers.
#[derive(Debug, Parser)]
#[command(name = "antiphon", version = antiphon_node::VERSION, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// The node's configuration.
    #[arg(short, long, global = true, env = "ANTIPHON_CONFIG", default_value = "antiphon.yaml")]
    pub(crate) config: PathBuf,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make this node's identity and store (and a first configuration, if there is none).
    Init(InitArgs),
    /// Run the node: pull peers, answer peers, until SIGINT or SIGTERM.
    Serve {
        /// How log lines look. RUST_LOG sets what is logged; `info` if unset.
        #[arg(long, value_enum, default_value_t)]
        log_format: LogFormat,
    },
    /// Append one event. Returns when it is durable.
    Append(AppendArgs),
    /// Append many CloudEvents: one a line, or in a JSON array.
    Import(ImportArgs),
    /// Print the log, one CloudEvent a line.
    Log(LogArgs),
    /// Print the newest event of each subject, or of one.
    View {
        /// Only this subject.
        subject: Option<String>,
    },
    /// List subjects at which events stand beside each other that had not seen one another.
    Conflicts,
    /// Close a conflict: append an event that has seen all of it, and nothing that came since.
    Resolve(ResolveArgs),
    /// See and mend what the view could not replay.
    Replay {
        #[command(subcommand)]
        command: ReplayCommand,
    },
    /// Say how this node and its peers fare.
    Status {
        /// Go on saying it, until interrupted. Where that is no terminal, say only what changes.
        #[arg(short, long, conflicts_with = "check")]
        watch: bool,
        /// Say nothing, and fail unless a node serves and can write: for health checks.
        #[arg(long)]
        check: bool,
    },
    /// Look for what is wrong, or will be: configuration, key, certificates, clocks, disk, limits, every peer.
    Doctor,
    /// Let the node that serves read its configuration again. Nothing changes unless all of it is good.
    Reload,
    /// List the peers.
    Peers,
    /// Forget a peer's pinned identity, cursor and health.
    ResetPeer {
        /// Its name in the configuration.
        name: PeerName,
    },
    /// Stop pulling a peer (it is still served), until it is resumed.
    PausePeer {
        /// Its name in the configuration.
        name: PeerName,
    },
    /// Pull a paused peer again.
    ResumePeer {
        /// Its name in the configuration.
        name: PeerName,
    },
    /// Change what this node does in its federation, until changed again.
    SetMode {
        /// sync, publish or subscribe.
        mode: FederationMode,
    },
    /// Begin a new epoch when the last event id is far ahead.
    ///
    /// Appends are refused while the last event id is more than 24 hours ahead of the clock. If the clock is right now, this
    /// ends that: event ids go on from the clock. It uses one of the 1,024 origins.
    NewEpoch,
    /// Read the whole log and check it against itself, or against a peer's.
    Verify {
        /// Compare all histories with those of this peer instead, by their digests; the node must be serving.
        #[arg(long, value_name = "NAME")]
        peer: Option<PeerName>,
        /// Where the log is damaged, take over what is whole into a new store and keep the old one aside; the rest comes
        /// back from the peers. The node must be stopped.
        #[arg(long, conflicts_with = "peer")]
        repair: bool,
    },
    /// Copy this node's store, while it serves or not, and verify the copy.
    Backup {
        /// The directory to make. On the file system of the data it is quick, and needs little space.
        to: PathBuf,
    },
    /// Put a backup in the place of the data directory; what is there is moved aside. The node must be stopped.
    Restore {
        /// The directory that `antiphon backup` made.
        from: PathBuf,
    },
    /// See and end forks: places where two nodes hold different histories of one origin.
    Fork {
        #[command(subcommand)]
        command: ForkCommand,
    },
    /// Print one digest over everything held: equal on nodes that hold the same events.
    Digest {
        /// List the chain of each origin as well.
        #[arg(long)]
        by_origin: bool,
    },
    /// Make a shared key and print it.
    Key,
    /// Make a certificate authority and a certificate for each node, for trying things out.
    DevCerts {
        /// Where to write them.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// Names of nodes.
        #[arg(required = true)]
        names: Vec<PeerName>,
        /// More host names or addresses that the certificates hold for, beside localhost.
        #[arg(long)]
        host: Vec<String>,
    },
    /// Work on the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a systemd unit for this program. Its configuration is /etc/antiphon/antiphon.yaml, or that of --config.
    SystemdUnit,
    /// Print the manual page, or write one for each command.
    Man {
        /// Write `antiphon.1`, `antiphon-serve.1` and so on into this directory.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Print completions for a shell.
    Completions {
        /// Which.
        shell: clap_complete::Shell,
    },
    /// Start three nodes on this machine, import events at two of them, and wait until all three hold the same.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or `-` for standard input.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Leave out what an earlier import of the same input appended.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Turn names of extensions into lower case, such as `methodName`.
    #[arg(long)]
    pub(crate) lowercase_extensions: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Begin after this cursor: the `antiphoncursor` of an event.
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<Cursor>,
    /// Stop after this number of events.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Print events as they come, also after the node restarts.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The subject.
    pub(crate) subject: String,
    /// Keep this one of its events: its type and data are appended again.
    #[arg(long, value_name = "ID", conflicts_with = "data", required_unless_present = "data")]
    pub(crate) take: Option<EventId>,
    /// Or replace them all by this: JSON, or text with another --content-type. `-` reads standard input.
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// CloudEvents `type` of the replacement; that of the newest of them if not given.
    #[arg(long = "type", short = 't', requires = "data")]
    pub(crate) event_type: Option<String>,
    /// CloudEvents `datacontenttype` of the replacement.
    #[arg(long, default_value = "application/json", requires = "data")]
    pub(crate) content_type: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Print how far replay is, which events are parked, and which were skipped.
    List {
        /// Only of this replayer; without it, of the node's own.
        #[arg(long, value_name = "NAME")]
        replayer: Option<String>,
    },
    /// Try parked events again, in order: those of one subject, or all. Also frees an event at which processes died.
    Retry {
        /// Only of this replayer; without it, of the node's own.
        #[arg(long, value_name = "NAME")]
        replayer: Option<String>,
        /// Only this subject.
        subject: Option<String>,
    },
    /// Leave an event out for good, parked or halting; that is recorded.
    Skip {
        /// Of this replayer; without it, of the node's own.
        #[arg(long, value_name = "NAME")]
        replayer: Option<String>,
        /// Its cursor, as `antiphon replay list` prints it.
        cursor: Cursor,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForkCommand {
    /// List the forks that this node knows of.
    List,
    /// Print the events that this node keeps beside its log, one CloudEvent a line: those that left it when forks were resolved,
    /// and those that wait behind a hole since a repair.
    Evidence {
        /// At most so many; all if not given.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// End one here: keep this version, and set the other aside with all that depends on it.
    Resolve(ForkResolveArgs),
    /// Append the events again that this node wrote and set aside.
    ///
    /// They get new ids, and supersede nothing that was written meanwhile. Each comes back once. Every node brings its own
    /// back: with --all on several nodes, events would come back several times.
    BringBack {
        /// Also those that other nodes wrote; on one node only.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ForkResolveArgs {
    /// Only forks of this origin, or of those that begin so.
    pub(crate) origin: Option<String>,
    /// The version's digest as `antiphon fork list` prints it, or at least its first 8 digits. `owner` ends every fork of
    /// which this node knows the version that the origin's own cortex holds, and keeps that one.
    #[arg(long, value_name = "DIGEST", required_unless_present = "follow", conflicts_with = "follow")]
    pub(crate) keep: Option<String>,
    /// Keep what this peer holds, in every fork with it.
    #[arg(long, value_name = "PEER")]
    pub(crate) follow: Option<PeerName>,
    /// Say what would be set aside and what the other choice costs; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration can be used, and what it means.
    Check,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The node's name, for a first configuration.
    #[arg(long, default_value = "alpha")]
    pub(crate) name: PeerName,
    /// Its data directory, for a first configuration.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    /// CloudEvents `type`, 1 to 128 bytes.
    #[arg(long = "type", short = 't')]
    pub(crate) event_type: String,
    /// CloudEvents `subject`.
    #[arg(long, short)]
    pub(crate) subject: Option<String>,
    /// The payload, JSON by default. `-` reads the bytes of standard input.
    #[arg(long, short, default_value = "")]
    pub(crate) data: String,
    /// CloudEvents `datacontenttype`.
    #[arg(long, default_value = "application/json")]
    pub(crate) content_type: String,
    /// Wait until these peers (bravo,charlie), or so many (2), durably hold it. Needs a node that serves.
    #[arg(long, value_name = "PEERS|NUMBER")]
    pub(crate) wait_for: Option<String>,
    /// How many seconds to wait for them.
    #[arg(long, default_value_t = 30, requires = "wait_for", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) wait_timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// NDJSON CloudEvents to import into the second node at the same time.
    #[arg(long)]
    pub(crate) input: Option<PathBuf>,
    /// Work in this directory and leave it there, instead of a temporary one.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 300)]
    pub(crate) timeout: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for child in command.get_subcommands() {
            let path = format!("{path} {}", child.get_name()).trim_start().to_owned();
            match child.has_subcommands() {
                true => leaves(child, &path, found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn the_reference_of_json_has_every_command() {
        let page = include_str!("../../../docs/reference/json.md");
        let mut commands = Vec::new();
        leaves(&Cli::command(), "", &mut commands);
        assert!(commands.contains(&"fork list".to_owned()), "{commands:?}");
        for command in commands {
            let has = page.contains(&format!("\n## antiphon {command}\n")) || page.contains(&format!("`{command}`"));
            assert!(has, "docs/reference/json.md does not say what `antiphon {command} --json` prints");
        }
    }
}
