//! `antiphon`: the node and its command line.

mod admin;
mod attached;
mod backup;
mod bench;
mod chain;
mod cli;
mod commands;
mod config;
mod dev_certs;
mod doctor;
mod expiry;
mod exposed;
mod forks;
mod hidden;
mod input;
mod links;
mod listen;
mod monitor;
mod narrate;
mod node;
mod reload;
mod repair;
mod space;
mod status;
mod terminal;
mod unit;
mod yaml;

use std::process::ExitCode;

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
        Err(error) if error.is::<commands::show::ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(&chain::told(&error));
            ExitCode::FAILURE
        }
    }
}

/// Compares a part of a document, between `<!-- NAME -->` and `<!-- /NAME -->`, with what the code says it should be. With
/// ANTIPHON_WRITE_DOCS=1 it is written there instead.
#[cfg(test)]
fn documented(file: &str, name: &str, expected: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    let text = std::fs::read_to_string(&path).expect("the document can be read");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the part begins");
    let (found, after) = rest.split_once(&end).expect("the part ends");
    if std::env::var_os("ANTIPHON_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{expected}{end}{after}")).expect("the document can be written");
    } else {
        assert_eq!(found, expected, "docs/{file} is not what the code says: run this test with ANTIPHON_WRITE_DOCS=1");
    }
}
