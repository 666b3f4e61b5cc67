//! A victim and a check as processes of their own, seen from outside.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, anyhow};

use crate::acks::Acks;
use crate::filled::Filled;
use crate::node::Buffers;
use crate::report::Report;
use crate::write::{GAVE_UP, Writing};

/// How a victim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Killed,
    GaveUp,
    /// It hung, crashed, or met what no fault explains.
    Wrong(String),
}

/// What a victim did and said, but for its acknowledgements.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) end: End,
    pub(crate) acked: u64,
    /// What follows `err`.
    pub(crate) errors: Vec<String>,
    /// Lines that were read only after it was struck. They are for whoever knows that they can be believed.
    pub(crate) late: Vec<String>,
}

/// Where a rig keeps what it needs beside the victim's directory.
pub(crate) struct Rig {
    exe: PathBuf,
    scratch: PathBuf,
}

impl Rig {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        Ok(Self { exe: std::env::current_exe()?, scratch: scratch.to_owned() })
    }

    /// Lets a victim write until it ends, or until `on_ack`, told how much it acknowledged, breaks: then it is killed.
    pub(crate) fn write(
        &self,
        dir: &Path,
        writing: Writing,
        prefix: &[OsString],
        acks: &mut Acks,
        mut on_ack: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Life> {
        let said = self.scratch.join("victim.stderr");
        let mut words: Vec<OsString> = prefix.to_vec();
        words.extend([self.exe.clone().into(), "write".into(), dir.into(), "--calls".into()]);
        words.push(writing.calls.to_string().into());
        if writing.buffers == Buffers::Small {
            words.push("--small-buffers".into());
        }
        let mut child = command(&words)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&said)?)
            .spawn()
            .context("could not start a victim")?;
        let mut life = Life { end: End::Done, acked: 0, errors: Vec::new(), late: Vec::new() };
        let mut alive = true;
        let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
        for line in lines.map_while(Result::ok) {
            if !alive {
                life.late.push(line);
            } else if let Some(error) = line.strip_prefix("err ") {
                life.errors.push(error.to_owned());
            } else if acks.take(&line) {
                life.acked += 1;
                if on_ack(life.acked).is_break() {
                    alive = false;
                    child.kill()?;
                }
            }
        }
        life.end = ended(child.wait()?, &said);
        Ok(life)
    }

    /// A round of a file system that fills up.
    pub(crate) fn fill(&self, at: &Path, seed: u64, round: u64, saved: &Path) -> Result<Filled> {
        let output = Command::new(&self.exe)
            .args([OsStr::new("fill"), at.as_os_str(), saved.as_os_str()])
            .args(["--seed".to_owned(), seed.to_string(), "--round".to_owned(), round.to_string()])
            .output()
            .context("could not start a victim")?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| anyhow!("{} ({})", last_lines(&String::from_utf8_lossy(&output.stderr)), output.status))
    }

    /// What is left in a directory, looked at by another process: it may die of it.
    pub(crate) fn check(&self, dir: &Path, acks: &Acks) -> Result<Report> {
        let file = self.scratch.join("acks");
        acks.save(&file)?;
        let output = Command::new(&self.exe)
            .arg("check")
            .arg(dir)
            .args([OsStr::new("--acked"), OsStr::new(&acks.head.to_string()), OsStr::new("--acks"), file.as_os_str()])
            .output()
            .context("could not start a check")?;
        let line = String::from_utf8_lossy(&output.stdout);
        let mut report: Report = serde_json::from_str(&line).unwrap_or_else(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            Report::dead(acks.head, format!("the check died ({}): {}", output.status, last_lines(&said)))
        });
        // A file cannot say the same sequence number twice.
        for twice in &acks.doubled {
            report.doubled(twice.clone());
        }
        Ok(report.judged())
    }
}

fn command(words: &[OsString]) -> Result<Command> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn ended(status: ExitStatus, said: &Path) -> End {
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Done,
        (Some(code), _) if code == i32::from(GAVE_UP) => End::GaveUp,
        (_, Some(9)) => End::Killed,
        _ => {
            let said = std::fs::read_to_string(said).unwrap_or_default();
            End::Wrong(format!("the victim ended with {status}: {}", last_lines(&said)))
        }
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(4).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}
