//! `antiphon-torture`: does to a log whatever a machine may do to it, and counts what becomes of what was acknowledged.
//!
//! | module | holds |
//! |---|---|
//! | `write`, `check` | the victim, and the look at what is left of it |
//! | `payload`, `peer`, `tally` | what the victim writes, made so that any loss or doubling shows |
//! | `acks`, `report` | what must be there; what is |
//! | `victim`, `strace`, `mounts`, `files`, `wal` | the tools |
//! | `rounds` | one module for each kind of harm |
//! | `table` | the sum |

mod acks;
mod check;
mod cli;
mod deadline;
mod entropy;
mod files;
mod filled;
mod mounts;
mod node;
mod payload;
mod peer;
mod report;
mod rounds;
mod strace;
mod table;
mod tally;
mod victim;
mod wal;
mod write;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("antiphon-torture: {error:#}");
            ExitCode::from(2)
        }
    }
}
