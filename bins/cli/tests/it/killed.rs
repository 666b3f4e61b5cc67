//! Commands that replace or copy a whole store, killed at a call of the system: what was there is there, or the command to get
//! it back is told, and the same command again finishes what it was to do.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::federation::mesh;
use crate::forks::{copy, forked};
use crate::repair::damage_the_log;
use crate::support::{KEY, Place, event, has, until};

/// What changes a directory or waits for the disk.
const CALLS: &str = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,fsync,fdatasync";

/// Runs a command that is killed at the n-th of those calls of one of its threads; whether it was.
fn killed(place: &Place, args: &[&str], at: usize) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}")]);
    command.args(["-e", &format!("inject={CALLS}:signal=SIGKILL:when={at}")]);
    command.arg(env!("CARGO_BIN_EXE_antiphon")).arg("--config").arg(&place.config).args(args);
    command.env("ANTIPHON_SHARED_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap();
    assert!(status.success() || status.signal() == Some(9) || status.code() == Some(137), "{args:?} at {at}: {status}");
    !status.success()
}

/// At how many points of a command it is killed, spread over all. Each costs some tenths of a second.
fn points() -> usize {
    std::env::var("ANTIPHON_KILL_POINTS").ok().and_then(|points| points.parse().ok()).unwrap_or(6)
}

/// Kills a command at points spread over its whole run, each time from the same beginning; `after` looks at what is left.
fn at_each_point(place: &Place, args: &[&str], begin: impl Fn(), after: impl Fn(usize)) {
    // Where does it end? Found by doubling, then halving.
    let dies = |at| {
        begin();
        killed(place, args, at)
    };
    let mut past = 1;
    while dies(past) {
        past *= 2;
    }
    let mut last = past / 2;
    while past - last > 1 {
        let middle = last + (past - last) / 2;
        if dies(middle) { last = middle } else { past = middle }
    }
    assert!(last >= 8, "{args:?} makes {last} calls");
    println!("{args:?}: killed at {} of {last} calls", last.div_ceil((last / points()).max(1)));
    let step = (last / points()).max(1);
    for at in (1..=last).rev().step_by(step) {
        if dies(at) {
            after(at);
        }
    }
}

/// Every directory beside the configuration that holds a store, and how many events are in it.
fn stores(place: &Place) -> Vec<(PathBuf, u64)> {
    let names = std::fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let of = |dir: PathBuf| {
        let name = dir.file_name()?.to_str()?.to_owned();
        let there = name.starts_with("data") && dir.join("db/CURRENT").exists();
        let config = place.dir.path().join("look.yaml");
        std::fs::write(&config, format!("node: {{ name: alpha, data_dir: {name} }}\n")).unwrap();
        let output = there.then(|| crate::support::antiphon(&config).args(["verify", "--json"]).output().unwrap())?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (report["clean"] == true).then_some((dir, report["events"].as_u64()?))
    };
    names.filter_map(of).collect()
}

/// Whatever the message says is to be done where something was cut short.
fn put_back(place: &Place, data: &Path) {
    if data.exists() {
        return;
    }
    let (code, _, err) = place.run(&["status"]);
    assert!(code == 1 && err.contains("cut short"), "{err}");
    let name = err.split(", and ").nth(1).and_then(|rest| rest.split(" is: ").next()).expect("it names it");
    std::fs::rename(name, data).unwrap();
}

#[test]
fn a_restore_a_backup_and_a_repair_may_be_killed_at_any_point() {
    if !has("strace") {
        return;
    }
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    let at = |name: &str| place.dir.path().join(name);
    let import = |from, to| assert_eq!(place.pipe(&["import"], &(from..to).map(event).collect::<String>()).0, 0);
    let clear = || {
        for entry in std::fs::read_dir(place.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("data") {
                if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
            }
        }
    };
    let store = |from: &str, to: &str| {
        std::fs::create_dir(at(to)).unwrap();
        for file in ["FORMAT", "HEAD", "identity.key", "identity.root.key"] {
            std::fs::copy(at(from).join(file), at(to).join(file)).unwrap();
        }
        copy(&at(from).join("db"), &at(to).join("db"));
    };
    let events = || place.json(&["status"])["events"].as_u64().unwrap();
    let clean = |expected: u64| {
        let (code, out, err) = place.run(&["verify"]);
        assert!(code == 0 && out.starts_with(&format!("clean: {expected} events")), "{out}{err}");
    };
    import(0, 50);
    place.json(&["backup", at("kept").to_str().unwrap()]);
    import(50, 80);
    std::fs::rename(at("data"), at("whole")).unwrap();
    let begin = || {
        clear();
        store("whole", "data");
    };

    let kept = at("kept").display().to_string();
    at_each_point(&place, &["restore", &kept], begin, |n| {
        // All of what was there is somewhere, and so is the backup.
        assert!(stores(&place).iter().any(|(_, events)| *events == 80), "at {n}: {:?}", stores(&place));
        put_back(&place, &at("data"));
        assert!([50, 80].contains(&events()), "at {n}");
        place.json(&["restore", &kept]);
        clean(50);
    });

    let copied = at("copied").display().to_string();
    let begin_backup = || {
        begin();
        let _ = std::fs::remove_dir_all(at("copied"));
    };
    at_each_point(&place, &["backup", &copied], begin_backup, |n| {
        // What has the name is whole.
        if at("copied").exists() {
            place.json(&["restore", &copied]);
            clean(80);
            std::fs::remove_dir_all(at("copied")).unwrap();
        }
        assert_eq!(events(), 80, "at {n}");
        assert_eq!(place.json(&["backup", &copied])["events"], 80);
    });

    begin();
    clean(80);
    damage_the_log(&place);
    std::fs::rename(at("data"), at("broken")).unwrap();
    let begin_repair = || {
        clear();
        store("broken", "data");
    };
    at_each_point(&place, &["verify", "--repair"], begin_repair, |n| {
        put_back(&place, &at("data"));
        let repaired = place.json(&["verify", "--repair"]);
        let (code, out, err) = place.run(&["verify"]);
        assert!(code == 0 && out.starts_with("clean"), "at {n}: {repaired} {out}{err}");
        // In its own place, or in what was moved aside, the damaged one is still there.
        let aside = std::fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(aside.into_iter().any(|name| name.to_str().unwrap().starts_with("data.damaged-")), "at {n}");
    });
}

#[test]
fn a_fork_that_is_being_resolved_may_be_killed_at_any_point() {
    if !has("strace") {
        return;
    }
    let mut places = mesh(|_| "https");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let (serving, [here, _]) = forked(alpha, bravo);
    let [serving, other] = serving;
    assert_eq!((serving.terminate(), other.terminate()), (0, 0));
    let (data, saved) = (bravo.dir.path().join("data"), bravo.dir.path().join("saved"));
    std::fs::create_dir(&saved).unwrap();
    copy(&data.join("db"), &saved.join("db"));
    std::fs::copy(data.join("HEAD"), saved.join("HEAD")).unwrap();
    let begin = || {
        std::fs::remove_dir_all(data.join("db")).unwrap();
        copy(&saved.join("db"), &data.join("db"));
        std::fs::copy(saved.join("HEAD"), data.join("HEAD")).unwrap();
    };
    let keep = here["ours"].as_str().unwrap();
    let evidence = || bravo.run(&["fork", "evidence"]).1.lines().count();
    at_each_point(bravo, &["fork", "resolve", "--keep", keep], begin, |n| {
        let (code, out, err) = bravo.run(&["verify"]);
        assert!(code == 0, "at {n}: {out}{err}");
        // Decided or not, and nothing in between: then it can be decided again.
        let events = bravo.json(&["status"])["events"].as_u64().unwrap();
        assert!(events == 15 || events == 10 && evidence() == 5, "at {n}: {events} events, {} beside them", evidence());
        bravo.run(&["fork", "resolve", "--keep", keep]);
        assert_eq!((bravo.json(&["status"])["events"].as_u64(), evidence()), (Some(10), 5), "at {n}");
    });
    let _serving = (alpha.serve(), bravo.serve());
    crate::support::until("they agree in the end", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["digest"] == b["digest"] && b["events"] == 18 && b["forks"] == 0).then_some(())
    });
}

/// The node dies at the disk with an append in its hands: the command reports that the event may be in the log.
#[test]
fn an_append_whose_node_dies_says_that_it_may_be_there() {
    if !has("strace") {
        return;
    }
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    let socket = place.dir.path().join("data/antiphon.sock");
    for at in 1..200 {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
        command.args(["-e", &format!("inject=fsync,fdatasync:signal=SIGKILL:when={at}")]);
        command.arg(env!("CARGO_BIN_EXE_antiphon")).arg("--config").arg(&place.config).arg("serve");
        command.env("ANTIPHON_SHARED_KEY", KEY).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut node = command.spawn().unwrap();
        let serves = until("it serves or dies", || match node.try_wait().unwrap() {
            Some(_) => Some(false),
            None => std::os::unix::net::UnixStream::connect(&socket).ok().map(|_| true),
        });
        if !serves {
            continue;
        }
        let mut acknowledged = 0;
        // Each thread counts its own calls.
        let (code, out, err) = loop {
            let asked = match acknowledged % 2 {
                0 => place.run(&["append", "-tnote"]),
                _ => place.pipe(&["import", "-"], &event(acknowledged)),
            };
            if asked.0 != 0 {
                break asked;
            }
            acknowledged += 1;
            assert!(acknowledged < 1000, "it dies of no append");
        };
        let words = "may be in the log all the same";
        assert!(code == 1 && out.is_empty() && err.contains("went away") && err.contains(words), "{out}{err}");
        node.wait().unwrap();
        // Either way, and whole.
        let (code, out, err) = place.run(&["verify"]);
        assert_eq!(code, 0, "{out}{err}");
        let held = place.json(&["status"])["events"].as_u64().unwrap();
        assert!(held == acknowledged as u64 || held == acknowledged as u64 + 1, "{held} of {acknowledged}");
        return;
    }
    panic!("it never served");
}
