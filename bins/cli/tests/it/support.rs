//! Nodes as processes, in directories of their own, on ports of their own.

use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const KEY: &str = "canary-0123456789abcdef0123456789abcdef";

/// A configuration with this line in it gets no key from the environment.
pub(crate) const KEY_BY_FILE: &str = "# The key is in a file.\n";

pub(crate) fn antiphon(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
    command.arg("--config").arg(config).stdin(Stdio::null());
    let by_file = std::fs::read_to_string(config).is_ok_and(|text| text.contains(KEY_BY_FILE));
    if by_file {
        command.env_remove("ANTIPHON_SHARED_KEY")
    } else {
        command.env("ANTIPHON_SHARED_KEY", KEY)
    };
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!out.contains(KEY) && !err.contains(KEY), "the key is never printed");
    (output.status.code().unwrap_or(-1), out, err)
}

pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A port that is free for TCP and UDP, and stays so: below those that the system hands out to connections, and another
/// one each time.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 18_000).unwrap();
    loop {
        let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Makes a node of the log of all tests.
pub(crate) const INIT: [&str; 3] = ["init", "--log", "5ZRM1XBM2J7QDG6Y0K4V8W9ETH"];

/// The log of all tests.
pub(crate) fn log_id() -> antiphon_kernel::LogId {
    INIT[2].parse().unwrap()
}

/// A node alone in a directory, initialised.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) config: PathBuf,
}

impl Place {
    pub(crate) fn new(yaml: &str) -> Self {
        let place = Self::bare(yaml);
        let (code, _, err) = place.run(&INIT);
        assert_eq!(code, 0, "{err}");
        place
    }

    pub(crate) fn bare(yaml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("antiphon.yaml");
        std::fs::write(&config, yaml).unwrap();
        Self { dir, config }
    }

    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        outcome(&antiphon(&self.config).args(args).output().unwrap())
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    }

    pub(crate) fn pipe(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut child = antiphon(&self.config)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A child that refuses early does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        outcome(&child.wait_with_output().unwrap())
    }

    pub(crate) fn serve(&self) -> Serving {
        let mut serving = self.start();
        let socket = self.dir.path().join("data/antiphon.sock");
        until("the node serves", || {
            let ended = serving.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}: {}", self.log());
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        serving
    }

    /// A node that may not serve yet.
    pub(crate) fn start(&self) -> Serving {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = antiphon(&self.config).arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Serving { child }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(std::thread::panicking() || !log.contains(KEY), "the key is in a log");
    }
}

/// A running node; killed when dropped.
pub(crate) struct Serving {
    child: Child,
}

impl Serving {
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        until("the node ends", || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn event(n: usize) -> String {
    format!("{{\"specversion\":\"1.0\",\"type\":\"test\",\"subject\":\"s/{n}\",\"data\":{n}}}\n")
}

/// Whether a tool is there. `ANTIPHON_REQUIRE_TOOLS=1` says that it must be, as where the project is verified.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("ANTIPHON_REQUIRE_TOOLS").is_none(), "{tool} is missing: run `make setup`");
    if !found {
        eprintln!("skipped: {tool} is missing; `make setup` installs it");
    }
    found
}
