//! A node whose store was damaged.

use std::fs;

use crate::federation::mesh;
use crate::support::{Place, event, until};

/// Changes a bit in a table of the log, of a node that is stopped. Which table that is only its damage tells.
pub(crate) fn damage_the_log(place: &Place) {
    let tables = fs::read_dir(place.dir.path().join("data/db")).unwrap().map(|entry| entry.unwrap().path());
    let tables = tables.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let in_the_log = tables.into_iter().any(|table| {
        let whole = fs::read(&table).unwrap();
        let mut bytes = whole.clone();
        let at = bytes.len() / 3;
        bytes[at] ^= 1;
        fs::write(&table, bytes).unwrap();
        let (code, _, err) = place.run(&["verify"]);
        let hit = code != 0 && err.contains("`log`");
        assert!(!hit || err.contains("verify --repair"), "{err}");
        if !hit {
            fs::write(&table, whole).unwrap();
        }
        hit
    });
    assert!(in_the_log, "no table is the log's");
}

#[test]
fn a_damaged_store_is_repaired_and_its_peers_bring_what_is_missing() {
    let mut places = mesh(|_| "quic");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let (serving, other) = (alpha.serve(), bravo.serve());
    let (code, _, err) = alpha.pipe(&["import"], &(0..3000).map(event).collect::<String>());
    assert_eq!(code, 0, "{err}");
    bravo.pipe(&["import"], &(3000..3200).map(event).collect::<String>());
    until("both have all", || {
        [alpha, bravo].iter().all(|place| place.json(&["status"])["events"] == 3200).then_some(())
    });
    // What is visible may be younger than what is told to be durable there.
    until("bravo holds it durably", || (bravo.json(&["digest"]) == alpha.json(&["digest"])).then_some(()));
    assert_eq!(serving.terminate(), 0);
    // The next start reads the write-ahead log into tables.
    let (code, out, err) = alpha.run(&["verify"]);
    assert!(code == 0 && out.starts_with("clean"), "{out}{err}");
    let (code, out, _) = alpha.run(&["verify", "--repair"]);
    assert!(code == 0 && out.contains("nothing is damaged"), "{out}");

    damage_the_log(alpha);
    let repaired = alpha.json(&["verify", "--repair"]);
    let kept = repaired["kept"].as_u64().unwrap();
    assert!(kept > 0 && kept < 3200, "{repaired}");
    assert!(!repaired["lost"].as_array().unwrap().is_empty(), "{repaired}");
    assert!(std::path::Path::new(repaired["before"].as_str().unwrap()).join("db").exists(), "{repaired}");
    assert_eq!(alpha.json(&["status"])["epoch_change"]["why"], "repaired");
    let serving = alpha.serve();
    alpha.json(&["append", "-t", "after.repair"]);
    until("both hold everything", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["events"] == 3201 && a["digest"] == b["digest"]).then_some(())
    });
    let (code, out, err) = alpha.run(&["verify", "--repair"]);
    assert!(code != 0 && err.contains("stop the node first"), "{out}{err}");
    assert_eq!((serving.terminate(), other.terminate()), (0, 0));
    for place in &places {
        let (code, out, err) = place.run(&["verify"]);
        assert!(code == 0 && out.starts_with("clean: 3201 events"), "{out}{err}");
        assert_eq!(place.json(&["status"])["forks"], 0);
    }
}

#[test]
fn a_repair_says_how_much_the_log_lost_at_its_end() {
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    let serving = place.serve();
    for _ in 0..4 {
        assert_eq!(place.pipe(&["import"], &(0..500).map(event).collect::<String>()).0, 0);
    }
    // Its log is read into tables at an orderly end.
    serving.kill();
    let files = fs::read_dir(place.dir.path().join("data/db")).unwrap().map(|entry| entry.unwrap().path());
    let log = files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&log, bytes).unwrap();

    let (code, out, err) = place.run(&["verify", "--repair"]);
    assert!(code == 0 && out.contains("at the end of the log, which were durable"), "{out}{err}");
    let kept = place.json(&["status"])["events"].as_u64().unwrap();
    assert!(out.contains(&format!("missing: {} events", 2000 - kept)) && kept > 0 && kept < 2000, "{kept}: {out}");
}
