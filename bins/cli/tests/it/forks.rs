//! A node that was set back behind its own back, and wrote other events at the same sequence numbers.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::federation::mesh;
use crate::support::{Place, Serving, event, until};

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Alpha's numbers from 11 on name five events at bravo, and eight others here. Both serve, and have seen that.
pub(crate) fn forked(alpha: &Place, bravo: &Place) -> ([Serving; 2], [Value; 2]) {
    let lines = |from, to| (from..to).map(event).collect::<String>();
    let (serving, other) = (alpha.serve(), bravo.serve());
    alpha.pipe(&["import"], &lines(0, 10));
    until("bravo has the first", || (bravo.json(&["status"])["events"] == 10).then_some(()));
    assert_eq!(serving.terminate(), 0);
    let (data, saved) = (alpha.dir.path().join("data"), alpha.dir.path().join("saved"));
    copy(&data.join("db"), &saved);
    fs::copy(data.join("HEAD"), saved.join("HEAD")).unwrap();
    let serving = alpha.serve();
    alpha.pipe(&["import"], &lines(10, 15));
    until("bravo has more", || (bravo.json(&["status"])["events"] == 15).then_some(()));
    assert_eq!((serving.terminate(), other.terminate()), (0, 0));

    // As a snapshot of the whole machine would.
    fs::remove_dir_all(data.join("db")).unwrap();
    fs::rename(saved.join("HEAD"), data.join("HEAD")).unwrap();
    copy(&saved, &data.join("db"));
    alpha.pipe(&["import"], &lines(100, 108));
    assert_eq!(alpha.json(&["status"])["epoch_change"], Value::Null, "it cannot know");

    let (serving, other) = (alpha.serve(), bravo.serve());
    let forks = |place: &Place| {
        let (code, out, err) = place.run(&["fork", "list", "--json"]);
        assert_eq!(code, 0, "{err}");
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let here = until("alpha sees it", || forks(alpha).pop());
    let there = until("bravo sees it", || forks(bravo).pop());
    ([serving, other], [here, there])
}

/// What an operator does by the book is no reason to report a bug.
fn nobody_broke_the_protocol(places: &[Place]) {
    for place in places {
        assert!(!place.log().contains("breaks the protocol"), "{}", place.log());
    }
}

#[test]
fn a_fork_is_found_at_first_contact_kept_apart_and_ended() {
    let mut places = mesh(|_| "https");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let ([serving, other], [here, there]) = forked(alpha, bravo);
    assert_eq!((&here["from"], &here["ours"], &here["theirs"]), (&11.into(), &there["theirs"], &there["ours"]));
    assert_eq!(there["by_owner"], true);
    let (_, list, _) = bravo.run(&["fork", "list"]);
    assert!(list.contains("outranks a relay's") && list.contains("fork resolve --keep"), "{list}");
    // What each writes now has seen its own version, so it does not cross either.
    let (code, _, err) = bravo.run(&["append", "-t", "from.bravo"]);
    assert!(code == 0 && err.is_empty(), "it is not bravo's own history: {err}");
    let (code, out, err) = alpha.run(&["append", "-t", "from.alpha"]);
    assert!(
        code == 0 && out.contains("at sequence number") && err.contains("own events have two histories"),
        "{out}{err}"
    );
    let change = &alpha.json(&["status"])["epoch_change"];
    assert_eq!((&change["why"], &change["on_purpose"]), (&"forked".into(), &false.into()));

    let (code, out, err) = bravo.run(&["verify", "--peer", "alpha"]);
    assert!(code != 0 && out.contains("DIFFERS from 11 on") && err.contains("antiphon fork list"), "{out}{err}");
    let keep = there["ours"].as_str().unwrap();
    let (code, _, err) = alpha.run(&["fork", "resolve", "--keep", "0000000000"]);
    assert!(code != 0 && err.contains(keep), "{err}");
    let resolved = alpha.json(&["fork", "resolve", "--keep", &keep[..12]]);
    assert_eq!(resolved["set_aside"], 9, "its eight, and what it wrote after them: {resolved}");
    until("they agree", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["digest"] == b["digest"] && a["forks"] == 0 && b["forks"] == 0).then_some(())
    });
    let (_, log, _) = alpha.run(&["--json", "log"]);
    assert!(log.contains("from.bravo") && !log.contains("from.alpha"), "{log}");
    let (_, evidence, _) = alpha.run(&["fork", "evidence"]);
    assert!(evidence.lines().count() == 9 && evidence.contains("from.alpha"), "{evidence}");
    let (_, view, _) = alpha.run(&["--json", "latest"]);
    assert!(!view.contains("\"s/100\"") && view.contains("\"s/14\""), "the view began again: {view}");
    let (code, out, err) = bravo.run(&["verify", "--peer", "alpha"]);
    assert!(code == 0 && out.contains("the same up to 15") && !out.contains("DIFFERS"), "{out}{err}");
    nobody_broke_the_protocol(&places);
    assert_eq!((serving.terminate(), other.terminate()), (0, 0));
    let (code, _, err) = bravo.run(&["verify", "--peer", "alpha"]);
    assert!(code != 0 && err.contains("start `antiphon serve`"), "{err}");
}

#[test]
fn the_owners_own_version_is_kept_where_that_is_asked_for() {
    let mut places = mesh(|_| "https");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let (_serving, [here, _]) = forked(alpha, bravo);
    bravo.json(&["append", "-t", "from.bravo"]);
    // In either order, and on each node by itself.
    let there = bravo.json(&["fork", "resolve", "--keep", "owner"]);
    assert_eq!((&there["resolved"][0]["kept"], &there["left"]), (&here["ours"], &Value::Array(Vec::new())));
    assert_eq!(there["resolved"][0]["set_aside"], 6, "five of alpha's, and what bravo wrote after them: {there}");
    until("they agree", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["digest"] == b["digest"] && a["forks"] == 0 && b["forks"] == 0).then_some(())
    });
    assert_eq!(alpha.json(&["status"])["events"], 18);
    let (_, evidence, _) = bravo.run(&["fork", "evidence"]);
    assert!(evidence.lines().count() == 6 && evidence.contains("from.bravo"), "{evidence}");
    nobody_broke_the_protocol(&places);
    let (code, _, err) = alpha.run(&["fork", "resolve", "--keep", "owner"]);
    assert!(code == 1 && err.contains("there is no fork to resolve"), "{err}");
}

/// No digest is carried from node to node, each choice says before what it costs, and what it cost comes back.
#[test]
fn a_decision_is_followed_costs_what_was_said_and_what_it_cost_comes_back() {
    let mut places = mesh(|_| "https");
    places.truncate(2);
    let [alpha, bravo] = &places[..] else { panic!("two nodes") };
    let (_serving, [here, _]) = forked(alpha, bravo);
    alpha.json(&["append", "-t", "from.alpha", "-s", "s/100"]);
    let (_, list, _) = alpha.run(&["fork", "list"]);
    assert!(list.contains("keeping the one here sets aside at least 5 events at bravo"), "{list}");
    assert!(
        list.contains("keeping the one at bravo sets aside 9 of the 19 events here: ") && list.contains("this node's"),
        "{list}"
    );
    assert!(list.contains(&format!("advice: --keep {}", &here["ours"].as_str().unwrap()[..12])), "{list}");
    let before = alpha.json(&["status"])["digest"].clone();
    let (code, out, err) = alpha.run(&["fork", "resolve", "--follow", "bravo", "--dry-run"]);
    assert!(
        code == 0 && out.contains("sets aside 9 of the 19 events here") && out.ends_with("nothing was changed\n"),
        "{out}{err}"
    );
    assert_eq!(alpha.json(&["status"])["digest"], before);
    let (code, _, err) = alpha.run(&["fork", "resolve", "ffff", "--follow", "bravo"]);
    assert!(code == 1 && err.contains("no fork of an origin that begins with ffff"), "{err}");
    let origin = here["origin"].as_str().unwrap();
    let answer = alpha.json(&["fork", "resolve", &origin[..12], "--follow", "bravo"]);
    assert_eq!(
        (&answer["resolved"][0]["kept"], &answer["resolved"][0]["set_aside"]),
        (&here["theirs"], &9.into()),
        "{answer}"
    );
    until("they agree", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["digest"] == b["digest"] && a["forks"] == 0 && b["forks"] == 0).then_some(())
    });
    assert_eq!(alpha.json(&["status"])["events"], 15);
    let (code, out, err) = alpha.run(&["fork", "bring-back"]);
    assert!(code == 0 && out.contains("9 events came back"), "{out}{err}");
    assert_eq!(alpha.json(&["fork", "bring-back"])["appended"], 0, "once");
    until("bravo has them", || (bravo.json(&["status"])["events"] == 24).then_some(()));
    let (_, view, _) = bravo.run(&["--json", "latest", "s/100"]);
    assert!(view.contains("from.alpha"), "{view}");
    let (_, evidence, _) = alpha.run(&["fork", "evidence"]);
    assert_eq!(evidence.lines().count(), 9, "the evidence stays: {evidence}");
    nobody_broke_the_protocol(&places);
}
