//! What a node makes is its owner's alone, and it warns of what others can read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{KEY, Place, until};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file and directory below this one.
fn below(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { [below(&path), vec![path]].concat() } else { vec![path] }).collect()
}

#[test]
fn a_node_started_with_any_umask_makes_files_for_its_owner_alone() {
    let place = Place::bare("node: { name: alpha, data_dir: data }\nlisten: { https: 127.0.0.1:0 }\n");
    assert_eq!(place.run(&crate::support::INIT).0, 0);
    let data = place.dir.path().join("data");
    let before = below(&data);
    let log = std::fs::File::create(place.dir.path().join("log")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$0\" --config \"$1\" serve", env!("CARGO_BIN_EXE_antiphon")]);
    let child = command.arg(&place.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let running = Running(child);
    until("it serves", || (place.run(&["status", "--check"]).0 == 0).then_some(()));
    assert_eq!(place.run(&["append", "-t", "t"]).0, 0);
    let backup = place.dir.path().join("backup");
    assert_eq!(place.run(&["backup", backup.to_str().unwrap()]).0, 0);
    let made: Vec<_> = below(&data).into_iter().filter(|path| !before.contains(path)).chain(below(&backup)).collect();
    // The backup's tables may be links to those that `init` made, and RocksDB keeps the diary of `init` under another name.
    let of_init = |path: &&std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".sst") || name.starts_with("LOG.old")
    };
    for path in made.iter().filter(|path| !of_init(path)) {
        assert_eq!(mode(path) & 0o077, 0, "{} has mode {:o}", path.display(), mode(path));
    }
    assert!(made.len() > 5, "{made:?}");
    assert!(!place.log().contains("others than its owner"), "{}", place.log());
    drop(running);
}

#[test]
fn what_others_can_read_is_warned_of() {
    let place = Place::bare(
        "node: { name: alpha, data_dir: data }\nlisten:\n  https: 127.0.0.1:0\n  tls: { cert: certs/alpha.pem, key: certs/alpha.key }\n\
         federation: { key_file: shared.key }\n",
    );
    let dir = place.dir.path();
    let (code, _, err) = place.run(&["dev-certs", "--dir", dir.join("certs").to_str().unwrap(), "alpha"]);
    assert_eq!(code, 0, "{err}");
    std::fs::write(dir.join("shared.key"), KEY).unwrap();
    let (code, _, err) = place.run(&crate::support::INIT);
    assert_eq!(code, 0, "{err}");
    for (file, open) in [("data", 0o755), ("shared.key", 0o640), ("certs/alpha.key", 0o644)] {
        std::fs::set_permissions(dir.join(file), std::fs::Permissions::from_mode(open)).unwrap();
    }
    let serving = place.serve();
    for file in ["data", "shared.key", "certs/alpha.key"] {
        let says = format!("others than its owner can read {}", dir.join(file).display());
        assert!(place.log().contains(&says), "{says}: {}", place.log());
    }
    drop(serving);
}
