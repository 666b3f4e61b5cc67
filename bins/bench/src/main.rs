//! `antiphon-bench`: two nodes in one process, so that one clock times both; their stores are RocksDB, and between them are
//! real sockets with TLS.

mod catchup;
mod cli;
mod depth;
mod idle;
mod interleave;
mod latency;
mod limit;
mod many;
mod mesh;
mod noise;
mod output;
mod replay;
mod replicate;
mod rig;
mod side;
mod throughput;
mod usage;

use anyhow::Result;
use clap::Parser as _;

use crate::cli::{BenchCommand, Cli};

/// The allocator of the program `antiphon`, so that memory is measured as a node uses it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    antiphon_node::refuse_huge_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(Cli::parse()))
}

async fn run(Cli { json, command }: Cli) -> Result<()> {
    match command {
        BenchCommand::Latency(args) => latency::run(args, json).await,
        BenchCommand::Replay(args) => replay::run(args, json).await,
        BenchCommand::Throughput(args) => throughput::run(args, json).await,
        BenchCommand::Replicate(args) => replicate::run(args, json).await,
        BenchCommand::Depth(args) => depth::run(args, json).await,
        BenchCommand::Mesh(args) => mesh::run(args, json).await,
        BenchCommand::Idle(args) => idle::run(args, json).await,
        BenchCommand::Catchup(args) => catchup::run(args, json).await,
        BenchCommand::Side(args) => side::run(args).await,
    }
}
