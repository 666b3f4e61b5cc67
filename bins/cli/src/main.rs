//! `antiphon`: the node and its command line.

mod cli;
mod commands;
mod event_line;
mod input;
mod log_lines;
mod narrate;
mod output;
mod peer_table;
mod progress;
mod unit;

use std::process::ExitCode;

use antiphon_node::error_text::explained;
use antiphon_node::terminal::complain;
use clap::Parser as _;

/// glibc's allocator keeps what a burst of large answers took; this one gives it back within seconds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the key out of cores: it is in this process's memory, and in its environment. (`LimitCORE=0` does not hold for
/// cores that are piped to a program, as systemd-coredump.) Debuggers of others than root stay out as well.
fn keep_out_of_cores() {
    #[cfg(target_os = "linux")]
    if std::env::var_os("ANTIPHON_ALLOW_CORE").is_none_or(|value| value.is_empty())
        && let Err(error) = nix::sys::prctl::set_dumpable(false)
    {
        eprintln!("antiphon: a core of this process would hold its key: {error}");
    }
}

fn main() -> ExitCode {
    keep_out_of_cores();
    antiphon_node::refuse_huge_pages();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; wrong usage is 2.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("antiphon: no threads could be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::run(cli));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<output::ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&explained(&error));
            ExitCode::FAILURE
        }
    }
}
