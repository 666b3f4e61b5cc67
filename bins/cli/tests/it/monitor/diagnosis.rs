//! What the program says of itself: doctor, unit, manual.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use antiphon_node::api::API_VERSION;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Running, at, certificate, node};
use crate::support::{Place, antiphon, free_port, outcome, until};

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let [a, am, gone] = [(); 3].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[("gone", at(gone))]));
    let finding = |findings: &Value, check: &str| {
        let all = findings["findings"].as_array().unwrap();
        all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("{check} is not in {findings}")).clone()
    };
    let diagnose = || {
        let (code, out, _) = alpha.run(&["doctor", "--json"]);
        (code, serde_json::from_str::<Value>(&out).unwrap())
    };
    let (code, found) = diagnose();
    assert_eq!((code, &finding(&found, "node")["level"]), (1, &json!("warn")), "it does not run");
    let peer = finding(&found, "peer gone");
    assert!(peer["level"] == "fail" && peer["remedy"].as_str().unwrap().contains("check that the node runs"), "{peer}");
    assert_eq!(finding(&found, "listen.https")["level"], "ok");
    assert_eq!(alpha.run(&["status", "--check"]).0, 1, "nobody serves");
    let _alpha = alpha.serve();
    assert_eq!(finding(&diagnose().1, "node")["level"], "ok");
    assert_eq!(alpha.run(&["status", "--check"]).0, 0);
    let told = diagnose().1;
    for one in told["findings"].as_array().unwrap() {
        assert!(one["level"] == "ok" || one["remedy"].is_string(), "nothing to do about {one}");
    }
    // What cannot be read is the first thing to say.
    std::fs::write(&alpha.config, "node: {").unwrap();
    let (code, found) = diagnose();
    assert_eq!((code, &finding(&found, "configuration")["level"]), (1, &json!("fail")));
}

#[test]
fn unit_manual_and_completions_come_from_the_program() {
    let place = Place::bare("");
    let (code, unit, _) = place.run(&["systemd-unit"]);
    let config = place.config.display().to_string();
    assert!(code == 0 && unit.contains(&format!("--config {config} serve")) && unit.contains("Type=notify"), "{unit}");
    let pages = place.dir.path().join("man");
    assert_eq!(place.run(&["man", "--dir", pages.to_str().unwrap()]).0, 0);
    let page = std::fs::read_to_string(pages.join("antiphon-reload.1")).unwrap();
    assert!(page.contains("Apply the configuration file"), "{page}");
    assert!(place.run(&["completions", "bash"]).1.contains("doctor"));
}

#[test]
fn the_service_manager_is_told_when_it_serves_and_when_it_ends() {
    let place = Place::new("node: { name: alpha, data_dir: data }\nlisten: { https: 127.0.0.1:0 }\n");
    let path = place.dir.path().join("notify");
    tells_the_service_manager(&place, &UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
}

/// As it is in containers.
#[cfg(target_os = "linux")]
#[test]
fn the_service_manager_may_listen_on_an_abstract_socket() {
    use std::os::linux::net::SocketAddrExt as _;
    let place = Place::new("node: { name: alpha, data_dir: data }\nlisten: { https: 127.0.0.1:0 }\n");
    let name = format!("antiphon-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    tells_the_service_manager(&place, &UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}

fn tells_the_service_manager(place: &Place, socket: &UnixDatagram, path: &str) {
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let said = || {
        let mut text = [0; 1024];
        let read = socket.recv(&mut text).expect("it says something");
        String::from_utf8_lossy(&text[..read]).trim().to_owned()
    };
    let mut command = antiphon(&place.config);
    command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "300000").env_remove("WATCHDOG_PID");
    let child = command.arg("serve").stderr(Stdio::null()).spawn().unwrap();
    let running = Running(child);
    assert_eq!(said(), "READY=1");
    for _ in 0..2 {
        assert_eq!(said(), "WATCHDOG=1", "it pings the watchdog while it works");
    }
    assert_eq!(place.run(&["status", "--check"]).0, 0, "it serves when it says so");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(running.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    loop {
        let last = said();
        if last == "STOPPING=1" {
            break;
        }
        assert_eq!(last, "WATCHDOG=1");
    }
}

#[test]
fn whoever_watches_waits_for_a_node_and_keeps_none_from_starting() {
    let [a, am, gone] = [(); 3].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[("gone", at(gone))]));
    let mut command = antiphon(&alpha.config);
    let child = command.args(["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watching = Running(child);
    let lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let line = |what: &str| while !told.recv_timeout(Duration::from_secs(60)).expect(what).contains(what) {};
    line("no node serves");
    let serving = alpha.serve();
    line("gone refuses the connection");
    assert_eq!(serving.terminate(), 0);
    line("no node serves");
    let _again = alpha.serve();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(watching.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = until("it ends", || watching.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

/// It took the connection and says nothing: stopped, or at a disk that does not answer.
#[test]
fn a_node_that_hangs_is_told_of_in_time_and_by_its_process() {
    let [a, am, gone] = [(); 3].map(|()| free_port());
    let alpha = Place::new(&node("alpha", a, am, &[("gone", at(gone))]));
    let serving = alpha.serve();
    serving.signal(Signal::SIGSTOP);
    let commands =
        [["status", "--check"], ["doctor", "--json"], ["reload", "--json"], ["peers", "--json"], ["append", "-tnote"]];
    let asked = commands.map(|args| {
        let (out, err) = (Stdio::piped(), Stdio::piped());
        antiphon(&alpha.config).args(args).stdout(out).stderr(err).spawn().unwrap()
    });
    for (child, args) in asked.into_iter().zip(commands) {
        let (code, out, err) = outcome(&child.wait_with_output().unwrap());
        let told = if args[0] == "doctor" { &out } else { &err };
        assert!(code == 1 && told.contains("says nothing for 10 s"), "{args:?}: {out}{err}");
        assert!(told.contains(&format!("process {}", serving.id())), "{args:?}: {told}");
        assert_eq!(told.contains("may be in the log all the same"), args[0] == "append", "{args:?}: {told}");
        if args[0] == "doctor" {
            let found: Value = serde_json::from_str(&out).unwrap();
            let checks: Vec<_> = found["findings"].as_array().unwrap().iter().map(|one| &one["check"]).collect();
            assert!(checks.contains(&&json!("peer gone")) && !checks.contains(&&json!("listen.https")), "{checks:?}");
        }
    }
    // One that only takes long is waited for.
    serving.signal(Signal::SIGCONT);
    assert_eq!(alpha.run(&["status", "--check"]).0, 0);
    until("the append is carried out all the same", || (alpha.json(&["status"])["events"] == 1).then_some(()));
    let end = &alpha.json(&["append", "-tlast"])["cursor"];
    let line = format!("{{\"api\":{API_VERSION},\"ask\":\"log\",\"after\":{end},\"limit\":1,\"wait_ms\":3000}}\n");
    let mut socket = UnixStream::connect(alpha.dir.path().join("data/antiphon.sock")).unwrap();
    socket.write_all(line.as_bytes()).unwrap();
    let mut said = BufReader::new(socket).lines().map(Result::unwrap);
    assert_eq!(said.next().unwrap(), "{\"working\":true}");
    assert!(said.find(|line| !line.contains("working")).unwrap().contains("\"ok\":"));
}

/// Each thing that the doctor looks at, once well and once not; whatever is wrong comes with what to do.
#[test]
fn the_doctor_looks_at_key_certificate_disk_and_files() {
    let yaml = "node: { name: alpha, data_dir: data }\nlisten:\n  https: 127.0.0.1:0\n  tls: { cert: alpha.pem, key: alpha.key }\n\
                federation: { key_file: keys }\n";
    let alpha = Place::new(yaml);
    let at = |file: &str| alpha.dir.path().join(file);
    let allow = |file: &str, mode: u32| {
        std::fs::set_permissions(at(file), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let diagnose = |files: u32| {
        let shell = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(shell).arg(env!("CARGO_BIN_EXE_antiphon")).arg("--config").arg(&alpha.config);
        let output = command.args(["doctor", "--json"]).env_remove("ANTIPHON_SHARED_KEY").output().unwrap();
        let (_, out, err) = outcome(&output);
        let found: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        let all = found["findings"].as_array().unwrap().clone();
        for one in &all {
            assert!(one["level"] == "ok" || one["remedy"].as_str().is_some_and(|text| !text.is_empty()), "{one}");
        }
        move |check: &str| -> Vec<(String, String)> {
            let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
            let of = all.iter().filter(|one| one["check"] == check);
            of.map(|one| (text(one, "level"), text(one, "says"))).collect()
        }
    };
    certificate(&at("alpha.pem"), &at("alpha.key"), 2040);
    std::fs::write(at("keys"), "k".repeat(40)).unwrap();
    for (file, mode) in [("keys", 0o600), ("alpha.key", 0o600), ("data", 0o700)] {
        allow(file, mode);
    }
    let well = diagnose(8192);
    for check in ["configuration", "key", "certificate", "open files", "disk"] {
        assert!(
            well(check).iter().all(|(level, _)| level == "ok") && !well(check).is_empty(),
            "{check}: {:?}",
            well(check)
        );
    }
    for (file, mode) in [("keys", 0o644), ("alpha.key", 0o640), ("data", 0o755)] {
        allow(file, mode);
    }
    std::fs::write(&alpha.config, yaml.replace("data_dir: data", "data_dir: data, min_free_mib: 999999999999"))
        .unwrap();
    certificate(&at("alpha.pem"), &at("alpha.key"), 2020);
    let ill = diagnose(512);
    for (check, level, says) in [
        ("key", "warn", "others than its owner may read"),
        ("certificate", "warn", "others than its owner may read"),
        ("certificate", "fail", "is over since 2020-01-01"),
        ("open files", "warn", "may open 512"),
        ("disk", "fail", "are to stay so"),
        ("disk", "warn", "others than its owner may look into"),
    ] {
        let found = ill(check);
        assert!(found.iter().any(|(one, text)| one == level && text.contains(says)), "{check} {says}: {found:?}");
    }
    std::fs::write(at("keys"), "short").unwrap();
    let (_, other_key) = (certificate(&at("x.pem"), &at("x.key"), 2040), at("x.key"));
    std::fs::copy(other_key, at("alpha.key")).unwrap();
    let ill = diagnose(8192);
    assert_eq!(ill("key")[0].0, "fail");
    assert!(ill("certificate").iter().any(|(_, says)| says.contains("does not go with")), "{:?}", ill("certificate"));
}
