//! The command line.

use std::path::PathBuf;

use antiphon_kernel::config::FederationMode;
use antiphon_kernel::cursor::Cursor;
use antiphon_kernel::ids::{CortexId, EventId, LogId, PeerName};
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
    /// Show no progress on the terminal.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
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
    /// Create the node's identity, its store, and a first configuration.
    Init(InitArgs),
    /// Run the node until SIGINT or SIGTERM.
    Serve {
        /// Format of log lines. RUST_LOG sets the level; the default is `info`.
        #[arg(long, value_enum, default_value_t)]
        log_format: LogFormat,
    },
    /// Append one event, and wait until it is durable.
    Append(AppendArgs),
    /// Append many CloudEvents: one a line, or a JSON array.
    Import(ImportArgs),
    /// Print the log, one event a line. With --json: CloudEvents.
    Log(LogArgs),
    /// Print the newest event of each subject, or of one.
    #[command(visible_alias = "view")]
    Latest {
        /// Only this subject.
        subject: Option<String>,
    },
    /// List subjects with events that have not seen each other.
    Conflicts,
    /// Resolve a conflict by one of its events, or by new data.
    Resolve(ResolveArgs),
    /// List events that could not be replayed; retry or skip them.
    Replay {
        #[command(subcommand)]
        command: ReplayCommand,
    },
    /// Print the status of the node and its peers.
    Status {
        /// Repeat until interrupted. Without a terminal, print changes only.
        #[arg(short, long, conflicts_with = "check")]
        watch: bool,
        /// Print nothing; fail unless a node serves and can write.
        #[arg(long)]
        check: bool,
    },
    /// Check configuration, key, certificates, clocks, disk, limits and peers.
    Doctor,
    /// Apply the configuration file to the running node, whole or not at all.
    Reload,
    /// List the peers, or the nodes that want to connect.
    Peers {
        #[command(subcommand)]
        command: Option<PeersCommand>,
    },
    /// Forget a peer's pinned identity, cursor and health.
    ResetPeer {
        /// Its name in the configuration.
        name: PeerName,
    },
    /// Stop pulling a peer until it is resumed. It is still served.
    PausePeer {
        /// Its name in the configuration.
        name: PeerName,
    },
    /// Pull a paused peer again.
    ResumePeer {
        /// Its name in the configuration.
        name: PeerName,
    },
    /// Set the node's mode, until it is set again.
    SetMode {
        /// sync, publish or subscribe.
        mode: FederationMode,
    },
    /// Begin a new epoch if the last event id is far ahead.
    ///
    /// Appends are refused while the last event id is more than 24 hours ahead of the clock. If the clock is right now, this
    /// ends that: event ids continue from the clock. It uses one of the 1,024 origins.
    NewEpoch,
    /// Check the whole log, or compare it with a peer's.
    Verify {
        /// Compare with this peer instead, by digests. The node must serve.
        #[arg(long, value_name = "NAME")]
        peer: Option<PeerName>,
        /// Move what is whole of a damaged log into a new store. Stop the node first.
        ///
        /// The old store is kept aside. Peers bring the rest back.
        #[arg(long, conflicts_with = "peer")]
        repair: bool,
    },
    /// Copy the store, also while the node serves, and verify the copy.
    Backup {
        /// The directory to create. On the same file system files are linked, not copied.
        to: PathBuf,
        /// Copy the node's own keys too: the backup is then a secret.
        #[arg(long)]
        with_keys: bool,
    },
    /// Restore a backup, and keep the present data aside. Stop the node first.
    Restore {
        /// The directory that `antiphon backup` made.
        from: PathBuf,
        /// The directory with the node's `identity.key`; default: the data directory, or the backup.
        #[arg(long, value_name = "DIR")]
        keys_from: Option<PathBuf>,
    },
    /// Print the node's identity, or move its root key.
    Identity {
        #[command(subcommand)]
        command: IdentityCommand,
    },
    /// List and resolve forks: different histories of one origin.
    Fork {
        #[command(subcommand)]
        command: ForkCommand,
    },
    /// Print a digest that is equal on nodes with the same events.
    Digest {
        /// Print the chain of each origin too.
        #[arg(long)]
        by_origin: bool,
    },
    /// Create a shared key and print it.
    Key,
    /// Create a certificate authority and certificates for tests.
    DevCerts {
        /// Where to write them.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// Names of nodes.
        #[arg(required = true)]
        names: Vec<PeerName>,
        /// Further host names or addresses of the certificates; localhost is included.
        #[arg(long)]
        host: Vec<String>,
    },
    /// Check the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a systemd unit.
    ///
    /// Its configuration is /etc/antiphon/antiphon.yaml, or the file of --config.
    SystemdUnit,
    /// Print the manual page, or write one for each command.
    Man {
        /// Write `antiphon.1`, `antiphon-serve.1` and so on into this directory.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Run three nodes, import events at two, and wait until they converge.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or `-` for standard input.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Skip events that an earlier import of this input appended.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Write names of extensions, such as `methodName`, in lower case.
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
    /// Continue with new events, also after the node restarts.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The subject.
    pub(crate) subject: String,
    /// Append the type and data of this event of the conflict again.
    #[arg(long, value_name = "ID", conflicts_with = "data", required_unless_present = "data")]
    pub(crate) take: Option<EventId>,
    /// Append this data instead, JSON by default. `-` reads standard input.
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// CloudEvents `type` of the data; default: type of the newest event.
    #[arg(long = "type", short = 't', requires = "data")]
    pub(crate) event_type: Option<String>,
    /// CloudEvents `datacontenttype` of the data.
    #[arg(long, default_value = "application/json", requires = "data")]
    pub(crate) content_type: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplayCommand {
    /// Print the replayer's position, parked events, and skipped events.
    List {
        /// The replayer; default: the node's own.
        #[arg(long, value_name = "NAME")]
        replayer: Option<String>,
    },
    /// Retry parked events, and an event at which processes died.
    Retry {
        /// The replayer; default: the node's own.
        #[arg(long, value_name = "NAME")]
        replayer: Option<String>,
        /// Only this subject.
        subject: Option<String>,
    },
    /// Skip a parked or failing event permanently, and record that.
    Skip {
        /// The replayer; default: the node's own.
        #[arg(long, value_name = "NAME")]
        replayer: Option<String>,
        /// The event's cursor, as `antiphon replay list` prints it.
        cursor: Cursor,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForkCommand {
    /// List the forks that this node knows.
    List,
    /// Print the events that are kept outside the log, as CloudEvents.
    ///
    /// These are events that were set aside when forks were resolved, and events after a gap that wait since a repair.
    Evidence {
        /// The number of events to print; default: all.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Keep one version of a fork, and set the other aside.
    Resolve(ForkResolveArgs),
    /// Append the node's own events again that were set aside.
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
    /// The origin, or its first digits; default: all forks.
    pub(crate) origin: Option<String>,
    /// Digest of the version to keep, or `owner`.
    ///
    /// `antiphon fork list` prints the digests; 8 digits are enough. `owner` resolves every fork of which this node knows the
    /// version that the origin's own cortex holds, and keeps that version.
    #[arg(long, value_name = "DIGEST", required_unless_present = "follow", conflicts_with = "follow")]
    pub(crate) keep: Option<String>,
    /// Keep this peer's version, in every fork with it.
    #[arg(long, value_name = "PEER")]
    pub(crate) follow: Option<PeerName>,
    /// Print what each choice would set aside; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// List the nodes that proved who they are and may not read anything here.
    Pending,
    /// Let a node read the log, until the configuration has a rule for it.
    ///
    /// Compare the fingerprint first: `antiphon identity show` prints it there.
    Allow {
        /// A name for it, for people.
        name: PeerName,
        /// Its cortex id, as `antiphon peers pending` prints it.
        id: CortexId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Print the cortex id, fingerprints, and whether the root key is here.
    Show,
    /// Replace the working key by a new one.
    ///
    /// The root key must be here: it certifies the new key. The node may be serving, and its cortex id stays. Peers learn of the new
    /// key at their next contact, and do not accept the former one from then on.
    Rotate,
    /// Move the root key out of the data directory into a new file.
    ///
    /// The file is written and synced first. The node runs without the root key.
    ExportRoot {
        /// The file to create.
        file: PathBuf,
    },
    /// Copy the root key in from a file.
    ImportRoot {
        /// The file that `antiphon identity export-root` made.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration, and print its effect.
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
    /// Join this log, whose id `antiphon init` and `antiphon status` print.
    #[arg(long, value_name = "ID")]
    pub(crate) log: Option<LogId>,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    /// CloudEvents `type`, 1 to 128 bytes.
    #[arg(long = "type", short = 't')]
    pub(crate) event_type: String,
    /// CloudEvents `subject`.
    #[arg(long, short)]
    pub(crate) subject: Option<String>,
    /// The data, JSON by default. `-` reads standard input.
    #[arg(long, short, default_value = "")]
    pub(crate) data: String,
    /// CloudEvents `datacontenttype`.
    #[arg(long, default_value = "application/json")]
    pub(crate) content_type: String,
    /// Wait until these peers (bravo,charlie), or this number of peers, durably hold it.
    #[arg(long, value_name = "PEERS|NUMBER")]
    pub(crate) wait_for: Option<String>,
    /// Seconds to wait for copies.
    #[arg(long, default_value_t = 30, requires = "wait_for", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) wait_timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// CloudEvents, one a line, to import into the second node.
    #[arg(long)]
    pub(crate) input: Option<PathBuf>,
    /// Directory to use and keep; default: a temporary one.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Seconds after which it fails.
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
