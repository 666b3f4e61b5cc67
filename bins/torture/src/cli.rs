//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::acks::Acks;
use crate::node::Buffers;
use crate::report::Verdict;
use crate::rounds;
use crate::rounds::plan::Plan;
use crate::table::{self, Outcome};
use crate::write::{self, GAVE_UP, Writing};
use crate::{check, deadline, mounts};

/// What a round of a victim or a check may take at most, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Kills, cuts the power of, and damages a log, and counts what is lost.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The victim: appends, pulls and replays in DIR, and prints `ack <seq> <counter> <run> <call>` for each event that
    /// was acknowledged, `got <cursor> <head>` for what a peer sent, `err <kind> ..` for an error
    Write {
        dir: PathBuf,
        /// How many calls it makes
        #[arg(long, default_value_t = 1000)]
        calls: u64,
        /// Flush and compact as often as can be
        #[arg(long)]
        small_buffers: bool,
    },
    /// What is left in DIR, as one line of JSON. Fails unless all is there, or it is refused as damaged
    Check {
        dir: PathBuf,
        /// The last sequence number that was acknowledged
        #[arg(long, default_value_t = 0)]
        acked: u64,
        /// The victim's own words: each acknowledged event is looked for
        #[arg(long)]
        acks: Option<PathBuf>,
    },
    /// One round of `full`, in a file system that is mounted at DIR
    #[command(hide = true)]
    Fill {
        dir: PathBuf,
        saved: PathBuf,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        round: u64,
    },
    /// SIGKILL at calls of the system, several times in a row
    Kill(Rounds),
    /// Calls of the system that fail, once or from some point on
    Errors(Rounds),
    /// Power loss, on an ext4 in a file (needs root)
    Power(Rounds),
    /// The write-ahead log cut at every byte of its last COUNT records
    Tail {
        #[command(flatten)]
        rounds: Rounds,
        /// Only at every so many bytes
        #[arg(long, default_value_t = 1)]
        every: usize,
    },
    /// One bit changed in a file
    Flip(Rounds),
    /// A file system that fills up, and is emptied again
    Full(Rounds),
    /// A file system that becomes read-only
    Readonly(Rounds),
    /// All of them, and one table
    All {
        #[command(flatten)]
        common: Common,
        #[arg(long, default_value_t = 300)]
        kills: u64,
        #[arg(long, default_value_t = 60)]
        errors: u64,
        #[arg(long, default_value_t = 60)]
        powers: u64,
        /// How many records are cut away, byte by byte
        #[arg(long, default_value_t = 2)]
        tails: u64,
        #[arg(long, default_value_t = 200)]
        flips: u64,
        #[arg(long, default_value_t = 4)]
        fulls: u64,
        #[arg(long, default_value_t = 4)]
        readonlys: u64,
    },
}

#[derive(Args)]
struct Common {
    /// What happens follows from it, as far as the system's threads allow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to work; by default in memory where no disk is needed
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Leave copies of the stores that failed there
    #[arg(long)]
    keep: Option<PathBuf>,
}

#[derive(Args)]
struct Rounds {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 20)]
    count: u64,
    /// The number of the first round
    #[arg(long, default_value_t = 0)]
    first: u64,
}

type Run = fn(&Plan) -> Result<Outcome>;

pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    let every = if let Command::Tail { every, .. } = &cli.command { *every } else { 1 };
    let (common, kinds): (_, Vec<(&'static str, Run, u64, u64)>) = match cli.command {
        Command::Write { dir, calls, small_buffers } => return victim(&dir, calls, small_buffers),
        Command::Check { dir, acked, acks } => return look(&dir, acked, acks.as_deref()),
        Command::Fill { dir, saved, seed, round } => {
            println!("{}", serde_json::to_string(&rounds::full::fill(&dir, seed, round, &saved)?)?);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Kill(r) => (r.common, vec![("kill", rounds::kill::run, r.first, r.count)]),
        Command::Errors(r) => (r.common, vec![("errors", rounds::errors::run, r.first, r.count)]),
        Command::Power(r) => (r.common, vec![("power", rounds::power::run, r.first, r.count)]),
        Command::Tail { rounds: r, .. } => (r.common, vec![("tail", rounds::tail::run, r.first, r.count)]),
        Command::Flip(r) => (r.common, vec![("flip", rounds::flip::run, r.first, r.count)]),
        Command::Full(r) => (r.common, vec![("full", rounds::full::run, r.first, r.count)]),
        Command::Readonly(r) => (r.common, vec![("readonly", rounds::readonly::run, r.first, r.count)]),
        Command::All { common, kills, errors, powers, tails, flips, fulls, readonlys } => (
            common,
            vec![
                ("kill", rounds::kill::run as Run, 0, kills),
                ("errors", rounds::errors::run, 0, errors),
                ("power", rounds::power::run, 0, powers),
                ("tail", rounds::tail::run, 0, tails),
                ("flip", rounds::flip::run, 0, flips),
                ("full", rounds::full::run, 0, fulls),
                ("readonly", rounds::readonly::run, 0, readonlys),
            ],
        ),
    };
    mounts::own_namespace();
    let mut outcomes = Vec::new();
    for (kind, run, first, count) in kinds {
        if count == 0 {
            outcomes.push(Outcome::skipped(kind, "not wanted"));
            continue;
        }
        let scratch = scratch(common.scratch.as_deref())?;
        let plan = Plan {
            seed: common.seed,
            every,
            first,
            count,
            scratch: scratch.path().to_owned(),
            keep: common.keep.clone(),
        };
        outcomes.push(run(&plan).with_context(|| format!("{kind}, seed {}", common.seed))?);
    }
    Ok(if table::print(&outcomes, common.seed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn victim(dir: &Path, calls: u64, small_buffers: bool) -> Result<ExitCode> {
    deadline::within(PATIENCE);
    let buffers = if small_buffers { Buffers::Small } else { Buffers::Usual };
    Ok(match write::run(dir, Writing { calls, buffers })? {
        write::Ended::Done => ExitCode::SUCCESS,
        write::Ended::GaveUp => ExitCode::from(GAVE_UP),
    })
}

fn look(dir: &Path, acked: u64, acks: Option<&Path>) -> Result<ExitCode> {
    deadline::within(PATIENCE);
    let mut acks = acks.map_or_else(|| Ok(Acks::default()), Acks::load)?;
    acks.head = acks.head.max(acked);
    let report = check::run(dir, &acks)?;
    println!("{}", serde_json::to_string(&report)?);
    let fine = matches!(report.verdict, Verdict::Whole | Verdict::Refused);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A directory that goes with the rounds. A process that is killed loses nothing that it gave to the system, and a cut
/// power is the image's: memory serves as well as a disk, and faster.
fn scratch(wanted: Option<&Path>) -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("antiphon-torture.");
    let made = match wanted {
        Some(dir) => builder.tempdir_in(dir),
        None => builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()),
    };
    made.context("no place to work in")
}
