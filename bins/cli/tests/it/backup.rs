//! Backups made while a node serves, and what becomes of a node that is restored from one.

use std::path::Path;

use crate::federation::mesh;
use crate::support::{Place, event, until};

const ALONE: &str = "node: { name: alpha, data_dir: data }\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_restored_node_gets_back_what_it_wrote_since_and_repeats_nothing() {
    let mut places = mesh(|_| "quic");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let (serving, other) = (alpha.serve(), bravo.serve());
    let (code, _, err) = alpha.pipe(&["import"], &(0..200).map(event).collect::<String>());
    assert_eq!(code, 0, "{err}");
    let backup = alpha.dir.path().join("backup");
    let made = alpha.json(&["backup", text(&backup)]);
    assert_eq!((&made["events"], &made["digest"]), (&200.into(), &alpha.json(&["digest"])["digest"]));

    let (code, _, err) = alpha.run(&["backup", text(&backup)]);
    assert!(code != 0 && err.contains("exists and is not empty"), "{err}");
    let nowhere = alpha.dir.path().join("nowhere");
    let (code, _, err) = alpha.run(&["backup", text(&nowhere.join("backup"))]);
    assert!(code != 0 && err.contains(&format!("{} is no directory", nowhere.display())), "{err}");
    let (code, _, err) = alpha.run(&["restore", text(&backup)]);
    assert!(code != 0 && err.contains("stop the node first"), "{err}");

    let (code, _, err) = alpha.pipe(&["import"], &(200..300).map(event).collect::<String>());
    assert_eq!(code, 0, "{err}");
    until("bravo has all", || (bravo.json(&["status"])["events"] == 300).then_some(()));
    let before = alpha.json(&["status"]);
    assert_eq!(serving.terminate(), 0);

    let restored = alpha.json(&["restore", text(&backup)]);
    assert!(Path::new(restored["before"].as_str().unwrap()).join("db").exists(), "nothing is thrown away: {restored}");
    for dir in [alpha.dir.path().join("data"), backup.clone()] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&dir).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700, "{} is its owner's alone", dir.display());
    }
    let status = alpha.json(&["status"]);
    assert_eq!((&status["events"], &status["epoch_change"]["why"]), (&200.into(), &"restored".into()));
    assert_eq!((&status["epoch_change"]["from"], &status["epoch"]), (&before["epoch"], &restored["epoch"]));
    assert_eq!(status["epoch_change"]["on_purpose"], true, "it is no reason to warn");
    // Nobody may believe that it still stands where it stood.
    alpha.json(&["append", "-t", "after.restore"]);
    let serving = alpha.serve();
    // However long it would have backed off by now: it tries at once.
    bravo.json(&["pause-peer", "alpha"]);
    bravo.json(&["resume-peer", "alpha"]);
    until("both hold everything", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["events"] == 301 && b["events"] == 301 && a["digest"] == b["digest"]).then_some(())
    });
    assert_eq!((serving.terminate(), other.terminate()), (0, 0));
    for place in &places {
        let (code, out, err) = place.run(&["verify"]);
        assert!(code == 0 && out.starts_with("clean: 301 events"), "{out}{err}");
        assert_eq!(place.json(&["status"])["forks"], 0);
    }
}

#[test]
fn what_is_no_backup_of_this_cortex_is_refused_and_changes_nothing() {
    let (alpha, other) = (Place::new(ALONE), Place::new(ALONE));
    alpha.json(&["append", "-t", "kept"]);
    other.json(&["append", "-t", "other"]);
    let foreign = other.dir.path().join("backup");
    // Without a server, too.
    other.json(&["backup", text(&foreign)]);
    let (own, id) = (alpha.json(&["status"])["cortex_id"].clone(), other.json(&["status"])["cortex_id"].clone());

    let (code, _, err) = alpha.run(&["restore", text(&foreign)]);
    assert!(code != 0 && err.contains(own.as_str().unwrap()) && err.contains(id.as_str().unwrap()), "{err}");
    let (code, _, err) = alpha.run(&["restore", text(other.dir.path())]);
    assert!(code != 0 && err.contains("is no backup"), "{err}");

    // Nor under another name, where there is nothing to compare it with.
    let third = Place::bare("node: { name: third, data_dir: data }\n");
    let (code, _, err) = third.run(&["restore", text(&foreign)]);
    assert!(code != 0 && err.contains("configured as `third`") && !third.dir.path().join("data").exists(), "{err}");

    let backup = alpha.dir.path().join("backup");
    alpha.json(&["backup", text(&backup)]);
    let sst = std::fs::read_dir(backup.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let sst = sst.filter(|path| path.extension().is_some_and(|end| end == "sst")).max().unwrap();
    let mut bytes = std::fs::read(&sst).unwrap();
    bytes[10] ^= 1;
    // A file of its own: the one there may be the live store's.
    std::fs::remove_file(&sst).unwrap();
    std::fs::write(&sst, bytes).unwrap();
    let (code, _, err) = alpha.run(&["restore", text(&backup)]);
    assert!(code != 0 && err.contains("damaged"), "{err}");
    let status = alpha.json(&["status"]);
    assert_eq!((&status["events"], &status["epoch_change"]), (&1.into(), &serde_json::Value::Null));
    assert!(!alpha.dir.path().join("data.restoring").exists());
}

#[test]
fn a_backup_does_not_go_over_what_cannot_be_read_and_may_be_another_cortex() {
    let (alpha, beta) = (Place::new(ALONE), Place::new("node: { name: beta, data_dir: data }\n"));
    alpha.json(&["append", "-t", "kept"]);
    let backup = alpha.dir.path().join("backup");
    alpha.json(&["backup", text(&backup)]);
    for place in [&alpha, &beta] {
        place.json(&["append", "-t", "more"]);
        std::fs::write(place.dir.path().join("data/db/CURRENT"), "nothing\n").unwrap();
    }
    let (code, _, err) = beta.run(&["restore", text(&backup)]);
    assert!(code != 0 && err.contains("`alpha`") && err.contains("`beta`"), "{err}");
    assert!(beta.dir.path().join("data").exists());
    let (code, _, err) = alpha.run(&["restore", text(&backup)]);
    assert!(code == 0 && err.contains("whose it was is not checked"), "{err}");
    assert_eq!(alpha.json(&["status"])["events"], 1);
}

/// Found by starting three of them at once: each deleted what the others were writing.
#[test]
fn backups_to_one_place_at_once_are_one_backup() {
    let place = Place::new(ALONE);
    let serving = place.serve();
    place.pipe(&["import"], &(0..500).map(event).collect::<String>());
    let to = place.dir.path().join("backup");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..3).map(|_| scope.spawn(|| place.run(&["backup", text(&to)]))).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|(code, _, _)| *code == 0).count(), 1, "{outcomes:?}");
    let typed = |err: &str| err.contains("is being made already") || err.contains("exists and is not empty");
    assert!(outcomes.iter().all(|(code, _, err)| *code == 0 || typed(err)), "{outcomes:?}");
    assert_eq!(serving.terminate(), 0);
    // And back, twice within a second.
    for _ in 0..2 {
        place.json(&["restore", text(&to)]);
    }
    assert_eq!(place.json(&["status"])["events"], 500);
}

#[test]
fn a_restore_that_was_cut_short_is_not_taken_for_a_node_that_never_was() {
    let place = Place::new(ALONE);
    let data = place.dir.path().join("data");
    let aside = place.dir.path().join("data.before-restore-1795000000000000");
    std::fs::rename(&data, &aside).unwrap();
    // That one was to take the place of the other. And of a repair long ago, what it kept.
    std::fs::write(place.dir.path().join("data.replacing"), "").unwrap();
    std::fs::create_dir(place.dir.path().join("data.damaged-1600000000000000")).unwrap();
    for command in ["init", "serve", "status"] {
        let (code, _, err) = place.run(&[command]);
        assert!(code == 1 && err.contains("cut short") && err.contains(text(&aside)), "{command}: {err}");
    }
    std::fs::rename(&aside, &data).unwrap();
    assert_eq!(place.json(&["status"])["events"], 0);
    // Moved away on purpose, for a new node: what is kept of old repairs does not stand in its way.
    std::fs::remove_file(place.dir.path().join("data.replacing")).unwrap();
    std::fs::rename(&data, place.dir.path().join("old")).unwrap();
    let (code, out, err) = place.run(&["init"]);
    assert!(code == 0 && out.contains("is ready"), "{out}{err}");
}
