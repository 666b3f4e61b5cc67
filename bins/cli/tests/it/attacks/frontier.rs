//! More concurrent events on one subject than are listed.

use antiphon_kernel::ids::Epoch;
use antiphon_kernel::testing::seeded_keys;

use super::forger::{Forged, Forger, id, node, ports};
use crate::support::until;

#[test]
fn seventy_concurrent_events_on_one_subject_stop_no_view() {
    let mut mallory = Forger::new("mallory", &[]);
    let made_up = |n: u8| Forged {
        keys: seeded_keys(n),
        epoch: Epoch::new(1),
        id: id(u64::from(n)),
        subject: "doc/1",
        data: "{}",
    };
    mallory.write(&(1..=70).map(made_up).collect::<Vec<_>>());
    let (port, metrics) = ports();
    let alpha = node("alpha", port, metrics, &[("mallory", mallory.port())]);
    // Before it has seen any of them: what its chain has seen, its next events supersede.
    alpha.json(&["append", "-t", "note", "-s", "doc/2", "-d", "1"]);
    let _serving = alpha.serve();
    let status = until("all is replayed", || {
        let status = alpha.json(&["status"]);
        (status["replayers"][0]["position"] == 71).then_some(status)
    });
    assert!(status["replayers"][0]["last_error"].is_null() && status["conflicts"] == 1, "{status}");
    let (code, out, err) = alpha.run(&["conflicts", "--json"]);
    assert_eq!(code, 0, "{err}");
    let conflict: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((conflict["events"].as_array().unwrap().len(), &conflict["more"]), (64, &6.into()), "{conflict}");
    let (_, out, _) = alpha.run(&["conflicts"]);
    assert!(out.contains("and 6 more"), "{out}");
    let (_, out, _) = alpha.run(&["resolve", "doc/1", "--data", "1"]);
    assert!(out.contains("supersedes 64 events; 6 more stay in conflict"), "{out}");
    let (_, out, _) = alpha.run(&["resolve", "doc/1", "--data", "2"]);
    assert!(out.contains("supersedes 7 events") && !out.contains("more"), "{out}");
    assert_eq!(alpha.json(&["status"])["conflicts"], 0);
}
