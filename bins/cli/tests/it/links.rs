//! Links where directories are copied and replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::repair::damage_the_log;
use crate::support::{Place, event};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A node whose data directory is a link to a directory on another disk, say.
fn linked() -> Place {
    let place = Place::bare(ALONE);
    let disk = place.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    assert_eq!(place.run(&crate::support::INIT).0, 0);
    fs::rename(place.dir.path().join("data"), disk.join("alpha")).unwrap();
    symlink("disk/alpha", place.dir.path().join("data")).unwrap();
    place.json(&["append", "-t", "kept"]);
    place
}

/// The link is as it was, and the directory that it leads to is another one by now, next to the one from before.
fn replaced_behind_the_link(place: &Place, before: &str) {
    let data = place.dir.path().join("data");
    assert_eq!(fs::read_link(&data).unwrap(), Path::new("disk/alpha"));
    let disk = place.dir.path().join("disk").canonicalize().unwrap();
    assert_eq!(Path::new(before).parent(), Some(&*disk));
    assert!(Path::new(before).join("db").exists() && disk.join("alpha/db").exists());
    let names = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strays: Vec<_> = names.filter(|name| name.starts_with("data.")).collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn a_restore_replaces_the_directory_behind_a_link() {
    let place = linked();
    let backup = place.dir.path().join("backup");
    place.json(&["backup", "--with-keys", text(&backup)]);
    place.json(&["append", "-t", "later"]);
    // By a link as well.
    symlink("backup", place.dir.path().join("latest")).unwrap();
    let restored = place.json(&["restore", text(&place.dir.path().join("latest"))]);
    replaced_behind_the_link(&place, restored["before"].as_str().unwrap());
    assert_eq!(place.json(&["status"])["events"], 1);
    // One that leads to nothing: what it leads to is made.
    fs::remove_dir_all(place.dir.path().join("disk/alpha")).unwrap();
    place.json(&["restore", text(&backup)]);
    assert_eq!(fs::read_link(place.dir.path().join("data")).unwrap(), Path::new("disk/alpha"));
    assert_eq!(place.json(&["status"])["events"], 1);
}

#[test]
fn a_repair_replaces_the_directory_behind_a_link() {
    let place = linked();
    assert_eq!(place.pipe(&["import"], &(0..500).map(event).collect::<String>()).0, 0);
    // The next start reads the write-ahead log into tables.
    assert_eq!(place.run(&["verify"]).0, 0);
    damage_the_log(&place);
    let repaired = place.json(&["verify", "--repair"]);
    replaced_behind_the_link(&place, repaired["before"].as_str().unwrap());
}

#[test]
fn a_backup_into_the_data_directory_is_refused_by_any_path() {
    let place = linked();
    let here = |path: &str| place.dir.path().join(path);
    symlink("data/db", here("elsewhere")).unwrap();
    for to in ["data/backup", "disk/alpha/backup", "data/db/../backup", "elsewhere/backup"] {
        let (code, _, err) = place.run(&["backup", text(&here(to))]);
        assert!(code == 1 && err.contains("is inside the data directory"), "{to}: {err}");
    }
    assert!(fs::read_dir(here("data")).unwrap().all(|entry| entry.unwrap().file_name() != "backup"));
    // Elsewhere a link is followed.
    fs::create_dir(here("target")).unwrap();
    symlink("target", here("link")).unwrap();
    place.json(&["backup", text(&here("link"))]);
    assert!(here("target/BACKUP.json").is_file() && fs::read_link(here("link")).is_ok());
    // And back from inside of what it replaces.
    fs::rename(here("target"), here("data/backup")).unwrap();
    let (code, _, err) = place.run(&["restore", text(&here("data/backup"))]);
    assert!(code == 1 && err.contains("one inside the other"), "{err}");
}

#[test]
fn links_inside_a_backup_are_refused() {
    let place = Place::new(ALONE);
    place.json(&["append", "-t", "kept"]);
    let backup = place.dir.path().join("backup");
    place.json(&["backup", text(&backup)]);
    let before = place.json(&["status"]);
    for name in ["BACKUP.json", "FORMAT", "db/CURRENT", "db"] {
        let (file, moved) = (backup.join(name), place.dir.path().join("moved"));
        fs::rename(&file, &moved).unwrap();
        symlink(&moved, &file).unwrap();
        let (code, _, err) = place.run(&["restore", text(&backup)]);
        assert!(code == 1 && err.contains("is a link or a special file"), "{name}: {err}");
        fs::remove_file(&file).unwrap();
        fs::rename(&moved, &file).unwrap();
    }
    nix::unistd::mkfifo(&backup.join("db/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (code, _, err) = place.run(&["restore", text(&backup)]);
    assert!(code == 1 && err.contains("is a link or a special file"), "{err}");
    assert_eq!(place.json(&["status"])["epoch"], before["epoch"]);
}
