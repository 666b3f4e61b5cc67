//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// How many events one append has, unless it is asked otherwise.
pub(crate) const GROUP: u64 = 256;

/// Measures this machine: two nodes, real stores, real TLS, loopback.
#[derive(Debug, Parser)]
#[command(name = "antiphon-bench", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// How long an event takes from the call of append on one node to its replay on the other, one event at a time.
    Latency(LatencyArgs),
    /// How fast a node catches up over a path with latency, loss and a bandwidth limit.
    Throughput(ThroughputArgs),
    /// How fast events are appended, and replayed, by one replayer and by two.
    Replay(ReplayArgs),
    /// How fast a log crosses from one process to another, beside RocksDB's own limit for the same puts.
    Replicate(ReplicateArgs),
    /// How often each event crosses in a full mesh.
    Mesh(MeshArgs),
    /// What peers cost while nothing happens: CPU and memory each.
    Idle(IdleArgs),
    /// How much memory a node takes that reads a long log from its beginning.
    Catchup(CatchupArgs),
    /// What a peer's fetch costs at the end of a short log and of a long one.
    Depth(DepthArgs),
    /// One side of a bench, in a process of its own.
    #[command(hide = true)]
    Side(SideArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplicateArgs {
    /// Over which transports.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scheme::Quic, Scheme::Https])]
    pub(crate) transport: Vec<Scheme>,
    /// How many events.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    /// Bytes of data in each.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) size: u32,
    /// How many cortexes the log's clocks know of.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) cortexes: u16,
    /// How many cortexes wrote the log, in turns, an append each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=250), conflicts_with = "cortexes")]
    pub(crate) writers: u8,
    /// How many events one append has. Each append has a seal, so with 1 each event has.
    #[arg(long, default_value_t = GROUP, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) group: u64,
    /// How often, one after another.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Do not wait for the disk, on either side.
    #[arg(long)]
    pub(crate) relaxed: bool,
    /// Put the stores below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DepthArgs {
    /// Lengths of the log.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000, 10_000_000])]
    pub(crate) events: Vec<u64>,
    /// Bytes of data in each event.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) size: u32,
    /// Put the store below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MeshArgs {
    /// Over which transports.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scheme::Quic, Scheme::Https])]
    pub(crate) transport: Vec<Scheme>,
    /// How many cortexes.
    #[arg(long, value_delimiter = ',', default_values_t = [8])]
    pub(crate) cortexes: Vec<u16>,
    /// How many events each of them appends.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) events: u32,
    /// Put the stores below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Over which transports.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scheme::Quic, Scheme::Https])]
    pub(crate) transport: Vec<Scheme>,
    /// How many peers.
    #[arg(long, value_delimiter = ',', default_values_t = [1000])]
    pub(crate) peers: Vec<u32>,
    /// For how long they are watched once all are live.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Put the stores below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CatchupArgs {
    /// Over which transports.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scheme::Quic])]
    pub(crate) transport: Vec<Scheme>,
    /// How many events the log has.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) events: u64,
    /// Bytes of data in each.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) size: u32,
    /// Put the stores below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// What a process of a bench does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Serve,
    Pull,
    Many,
    PullMany,
}

#[derive(Debug, Args)]
pub(crate) struct SideArgs {
    /// Where the bench's files are.
    #[arg(long)]
    pub(crate) root: PathBuf,
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    #[arg(long, value_enum)]
    pub(crate) scheme: Scheme,
    /// The store's.
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) relaxed: bool,
    /// Whom to pull.
    #[arg(long)]
    pub(crate) from: Option<std::net::SocketAddr>,
    /// A file with addresses of whom to pull.
    #[arg(long)]
    pub(crate) peers: Option<PathBuf>,
    /// How many events to wait for, or how many cortexes to be.
    #[arg(long, default_value_t = 0)]
    pub(crate) events: u64,
    #[arg(long, default_value_t = 0)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheme {
    Quic,
    Https,
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Over which transports.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scheme::Quic, Scheme::Https])]
    pub(crate) transport: Vec<Scheme>,
    /// How many events, after a warm-up.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) events: u32,
    /// Bytes of data in each.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) size: u32,
    /// Put the stores below this directory, whose disk is what is measured.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// How many events.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) events: u32,
    /// Bytes of data in each.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) size: u32,
    /// Over how many subjects they are spread.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) subjects: u32,
    /// Put the stores below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ThroughputArgs {
    /// Over which transports.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Scheme::Quic, Scheme::Https])]
    pub(crate) transport: Vec<Scheme>,
    /// Round-trip times, in milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 100])]
    pub(crate) rtt: Vec<u32>,
    /// Losses, in percent. TCP cannot lose: what loss does to its pace is modelled.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1, 1.0])]
    pub(crate) loss: Vec<f64>,
    /// The path's bandwidth, in Mbit/s.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// How long each combination is measured, from the first connection on.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Bytes of data in each event.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) size: u32,
    /// Put the stores below this directory.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}
