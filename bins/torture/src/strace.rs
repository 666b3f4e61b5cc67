//! strace as the hand that strikes: it stops a process at its n-th call of something, or lets that call fail.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why strace cannot be used here, if it cannot.
pub(crate) fn missing() -> Option<String> {
    let tried = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::piped()).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Some(format!("strace may not trace here: {}", why.lines().next().unwrap_or_default()))
        }
        Err(error) => Some(format!("strace: {error}")),
    }
}

/// What is done at which call.
#[derive(Debug, Clone)]
pub(crate) struct Injection {
    pub(crate) calls: String,
    /// In strace's words: `signal=SIGKILL`, `error=EIO`.
    pub(crate) what: &'static str,
    /// In strace's words: `5`, or `5+` for every one from there on. Counted by thread.
    pub(crate) when: String,
}

impl Injection {
    /// The words before the command.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        let Self { calls, what, when } = self;
        let words = ["strace", "-f", "-qq", "-o", "/dev/null"].map(str::to_owned);
        let inject = ["-e".to_owned(), format!("trace={calls}"), "-e".to_owned()];
        let inject = inject.into_iter().chain([format!("inject={calls}:{what}:when={when}")]);
        words.into_iter().chain(inject).map(OsString::from).collect()
    }
}

/// The words before a command whose calls are to be counted.
pub(crate) fn counting(calls: &[&str], file: &Path) -> Vec<OsString> {
    let words = ["strace", "-f", "-qq", "-o"].map(OsString::from).into_iter().chain([file.as_os_str().to_owned()]);
    words.chain([OsString::from("-e"), format!("trace={}", calls.join(",")).into()]).collect()
}

/// How often the busiest thread made each call.
pub(crate) fn counted(trace: &str) -> BTreeMap<String, u64> {
    let mut threads: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        // What is resumed began in an earlier line.
        if let Some((call, _)) = rest.trim_start().split_once('(') {
            *threads.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in threads {
        let entry = most.entry(call.to_owned()).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}
