//! The keys of a node: where they are, how they leave and come back, and what a node without them says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Place, event};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn key(place: &Place) -> PathBuf {
    place.dir.path().join("data/identity.key")
}

fn root_key(place: &Place) -> PathBuf {
    place.dir.path().join("data/identity.root.key")
}

fn cortex(place: &Place) -> String {
    place.json(&["identity", "show"])["cortex_id"].as_str().unwrap().to_owned()
}

#[test]
fn init_creates_both_key_files_and_show_prints_what_they_say() {
    let place = Place::new(ALONE);
    for (file, begins) in [(key(&place), "antiphon working key 1\n"), (root_key(&place), "antiphon root key 1\n")] {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&file).unwrap().starts_with(begins));
    }
    let shown = place.json(&["identity", "show"]);
    assert_eq!((&shown["statement"], &shown["root_key_here"]), (&1.into(), &true.into()));
    assert_eq!(shown["cortex_id"], place.json(&["status"])["cortex_id"]);
    let (code, out, err) = place.run(&["identity", "show"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(shown["cortex_id"].as_str().unwrap()) && out.contains("identity.root.key"), "{out}");
    for secret in [key(&place), root_key(&place)] {
        let secret = fs::read_to_string(secret).unwrap();
        let secret = secret.lines().find_map(|line| line.strip_prefix("secret ")).unwrap();
        assert!(!out.contains(secret) && !shown.to_string().contains(secret), "a private key is never printed");
    }
}

#[test]
fn the_root_key_leaves_the_node_runs_without_it_and_it_comes_back() {
    let place = Place::new(ALONE);
    let out = place.dir.path().join("alpha.root.key");
    fs::write(&out, "precious").unwrap();
    let (code, _, err) = place.run(&["identity", "export-root", text(&out)]);
    assert!(code == 1 && err.contains("AP-IDENTITY-007") && err.contains("exists"), "{err}");
    assert!(root_key(&place).exists() && fs::read_to_string(&out).unwrap() == "precious");
    fs::remove_file(&out).unwrap();
    let moved = place.json(&["identity", "export-root", text(&out)]);
    assert_eq!((&moved["root_key_here"], &moved["cortex_id"]), (&false.into(), &cortex(&place).into()));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!root_key(&place).exists());
    let (code, _, err) = place.run(&["identity", "export-root", text(&place.dir.path().join("again"))]);
    assert!(code == 1 && err.contains("AP-IDENTITY-010"), "{err}");

    let serving = place.serve();
    place.json(&["append", "-t", "note"]);
    assert_eq!(place.json(&["identity", "show"])["root_key_here"], false, "also while it serves");
    assert_eq!(serving.terminate(), 0);

    let other = Place::new(ALONE);
    let (code, _, err) = place.run(&["identity", "import-root", text(&root_key(&other))]);
    assert!(code == 1 && err.contains("AP-IDENTITY-009"), "{err}");
    assert!(err.contains(&cortex(&place)) && err.contains(&cortex(&other)), "{err}");
    let (code, _, err) = place.run(&["identity", "import-root", text(&key(&other))]);
    assert!(code == 1 && err.contains("it is the file of a working key"), "{err}");
    place.json(&["identity", "import-root", text(&out)]);
    assert!(root_key(&place).exists() && out.exists());
    assert_eq!(place.json(&["identity", "show"])["root_key_here"], true);
}

#[test]
fn a_node_whose_key_file_is_gone_is_never_another_cortex() {
    let place = Place::new(ALONE);
    place.json(&["append", "-t", "note"]);
    let (id, kept) = (cortex(&place), place.dir.path().join("kept"));
    fs::rename(key(&place), &kept).unwrap();
    for command in [&["append", "-t", "note"][..], &["serve"], &["identity", "show"]] {
        let (code, _, err) = place.run(command);
        assert!(code == 1 && err.contains("AP-IDENTITY-008") && err.contains("identity.key"), "{command:?}: {err}");
    }
    let (code, _, err) = place.run(&["init"]);
    assert!(code == 1 && err.contains(&format!("already holds cortex {id}")), "{err}");
    assert!(!key(&place).exists(), "nothing makes a new one");
    // The keys of another node.
    let other = Place::new(ALONE);
    fs::copy(key(&other), key(&place)).unwrap();
    fs::remove_file(root_key(&place)).unwrap();
    let (code, _, err) = place.run(&["append", "-t", "note"]);
    assert!(code == 1 && err.contains("AP-IDENTITY-009"), "{err}");
    assert!(err.contains(&id) && err.contains(&cortex(&other)), "{err}");
    fs::rename(&kept, key(&place)).unwrap();
    place.json(&["append", "-t", "note"]);
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let place = Place::new(ALONE);
    fs::set_permissions(key(&place), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = place.run(&["append", "-t", "note"]);
    assert!(code == 1 && err.contains("AP-IDENTITY-006") && err.contains("chmod 600"), "{err}");
    fs::set_permissions(key(&place), fs::Permissions::from_mode(0o600)).unwrap();
    place.json(&["append", "-t", "note"]);
}

/// A backup of a node with ten events, and its cortex.
fn backed_up(args: &[&str]) -> (Place, PathBuf, String) {
    let place = Place::new(ALONE);
    let (code, _, err) = place.pipe(&["import"], &(0..10).map(event).collect::<String>());
    assert_eq!(code, 0, "{err}");
    let backup = place.dir.path().join("backup");
    let made = place.json(&[&["backup", text(&backup)], args].concat());
    assert_eq!(made["keys"], !args.is_empty());
    let id = cortex(&place);
    (place, backup, id)
}

#[test]
fn a_backup_holds_no_keys_and_a_restore_says_how_to_give_them() {
    let (place, backup, id) = backed_up(&[]);
    assert!(!backup.join("identity.key").exists() && !backup.join("identity.root.key").exists());
    // Where they are, they are used.
    place.json(&["restore", text(&backup)]);
    assert_eq!(cortex(&place), id);
    place.json(&["append", "-t", "note"]);

    // On a new machine.
    let keys = place.dir.path().join("data");
    let fresh = Place::bare(ALONE);
    let (code, _, err) = fresh.run(&["restore", text(&backup)]);
    assert!(code == 1 && err.contains(&id), "{err}");
    assert!(err.contains("--keys-from") && err.contains("identity.key"), "{err}");
    assert!(!fresh.dir.path().join("data").exists(), "nothing was changed");
    let other = Place::new(ALONE);
    let (code, _, err) = fresh.run(&["restore", text(&backup), "--keys-from", text(&other.dir.path().join("data"))]);
    assert!(code == 1 && err.contains("AP-IDENTITY-009") && err.contains(&cortex(&other)), "{err}");
    fresh.json(&["restore", text(&backup), "--keys-from", text(&keys)]);
    assert_eq!(cortex(&fresh), id);
    assert_eq!(fs::metadata(key(&fresh)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fresh.json(&["status"])["events"], 10);

    // Copied into the backup.
    let third = Place::bare(ALONE);
    fs::copy(keys.join("identity.key"), backup.join("identity.key")).unwrap();
    third.json(&["restore", text(&backup)]);
    assert_eq!((cortex(&third), root_key(&third).exists()), (id, false));
}

#[test]
fn a_backup_with_keys_is_enough_on_a_new_machine() {
    let (_place, backup, id) = backed_up(&["--with-keys"]);
    assert_eq!(fs::metadata(backup.join("identity.root.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let fresh = Place::bare(ALONE);
    fresh.json(&["restore", text(&backup)]);
    assert_eq!((cortex(&fresh), root_key(&fresh).exists()), (id, true));
    fresh.json(&["append", "-t", "note"]);
}
