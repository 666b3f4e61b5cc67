//! Where the key must not be found.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{KEY, Place, antiphon, until};

/// The same command, allowed to leave a core of any size.
fn with_cores(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.env("ANTIPHON_SHARED_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// How a node ends that breaks while it serves.
fn broken(place: &Place, allow: &str) -> ExitStatus {
    let mut command = with_cores(antiphon(&place.config).arg("serve"));
    let mut child = command.env("ANTIPHON_ALLOW_CORE", allow).current_dir(place.dir.path()).spawn().unwrap();
    let socket = place.dir.path().join("data/antiphon.sock");
    until("it serves", || {
        assert_eq!(child.try_wait().unwrap(), None);
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGABRT).unwrap();
    until("it is gone", || child.try_wait().unwrap())
}

#[test]
fn a_node_that_breaks_leaves_no_core() {
    let place = Place::new("node: { name: alpha, data_dir: data }\nlisten: { https: 127.0.0.1:0 }\n");
    if !broken(&place, "1").core_dumped() {
        eprintln!("skipped: this system writes no cores");
        return;
    }
    let status = broken(&place, "");
    assert!(status.signal() == Some(Signal::SIGABRT as i32) && !status.core_dumped(), "{status}");
}
