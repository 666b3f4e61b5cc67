//! A relay that has the keys of others, and continues their chains before they do: the first lie wins, and must be named.

use antiphon_kernel::ids::{Epoch, Origin};
use antiphon_kernel::testing::{seeded_cortex, seeded_keys};
use serde_json::Value;

use super::forger::{Forged, Forger, id, keys_of, node, origin, peer, ports, scraped};
use crate::support::{Place, until};

fn forks(place: &Place) -> Vec<Value> {
    let (code, out, err) = place.run(&["fork", "list", "--json"]);
    assert_eq!(code, 0, "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_relay_that_forges_the_next_event_is_named_and_stopped_by_one_command() {
    let (port, metrics) = ports();
    let mut mallory = Forger::new("mallory", &[("alpha", port)]);
    let alpha = node("alpha", port, metrics, &[]);
    alpha.json(&["append", "-t", "note", "-s", "doc/1", "-d", "1"]);
    let _alpha = alpha.serve();
    mallory.holds(1);
    let own = origin(&alpha);
    let (keys, epoch) = (keys_of(&alpha), own.epoch());
    mallory.write(&[Forged { keys, epoch, id: id(1), subject: "doc/1", data: "\"a lie\"" }]);
    let (other, metrics) = ports();
    let bravo = node("bravo", other, metrics, &[("alpha", port), ("mallory", mallory.port())]);
    let _bravo = bravo.serve();
    until("bravo believes the first", || (bravo.json(&["status"])["events"] == 2).then_some(()));
    alpha.json(&["append", "-t", "note", "-s", "doc/1", "-d", "2"]);
    let fork = until("bravo sees two histories", || forks(&bravo).pop());
    assert_eq!(
        (&fork["peer"], &fork["by_owner"], &fork["brought_by"]),
        (&"alpha".into(), &true.into(), &"mallory".into())
    );
    assert_eq!(fork["suspects"], serde_json::json!(["mallory"]), "{fork}");
    let status = bravo.json(&["status"]);
    let suspected: Vec<_> =
        status["peers"].as_array().unwrap().iter().map(|p| (&p["name"], &p["suspect_forks"])).collect();
    assert_eq!(suspected, [(&"alpha".into(), &0.into()), (&"mallory".into(), &1.into())]);
    let text = scraped(metrics);
    assert!(text.contains("antiphon_peer_suspect_forks{cortex=\"bravo\",peer=\"mallory\"} 1\n"), "{text}");
    assert!(text.contains("antiphon_peer_suspect_forks{cortex=\"bravo\",peer=\"alpha\"} 0\n"), "{text}");
    for command in [&["status"][..], &["fork", "list"], &["doctor"]] {
        let (_, out, _) = bravo.run(command);
        assert!(out.contains("antiphon pause-peer mallory"), "{command:?}: {out}");
    }
    assert_eq!(bravo.run(&["pause-peer", "mallory"]).0, 0);
    let (code, out, err) = bravo.run(&["fork", "resolve", "--keep", "owner"]);
    assert_eq!(code, 0, "{out}{err}");
    until("bravo holds what alpha wrote", || {
        let (a, b) = (alpha.json(&["status"]), bravo.json(&["status"]));
        (a["digest"] == b["digest"] && b["forks"] == 0).then_some(())
    });
    // What was decided stays decided when the peer is pulled again.
    assert_eq!(bravo.run(&["resume-peer", "mallory"]).0, 0);
    let again = until("mallory is met again", || forks(&bravo).pop());
    assert_eq!((&again["peer"], &again["suspects"]), (&"mallory".into(), &serde_json::json!(["mallory"])), "{again}");
    assert_eq!(alpha.json(&["status"])["digest"], bravo.json(&["status"])["digest"]);
}

/// More forged chains than one question can name: what is too many is not taken, and all else is.
#[test]
fn sixty_six_forged_chains_exclude_two_cortexes_until_one_decision_for_the_honest_peer() {
    let event = |n: u8, data| Forged {
        keys: seeded_keys(n),
        epoch: Epoch::new(1),
        id: id(u64::from(n) + if data == "1" { 0 } else { 1 << 20 }),
        subject: "doc/1",
        data,
    };
    let all = |data| (1..=66).map(|n| event(n, data)).collect::<Vec<_>>();
    let (mut hub, mut mallory) = (Forger::new("hub", &[]), Forger::new("mallory", &[]));
    let first = all("1");
    hub.write(&first);
    mallory.write(&first);
    mallory.write(&all("\"a lie\""));
    let (port, metrics) = ports();
    let bravo = node("bravo", port, metrics, &[("hub", hub.port()), ("mallory", mallory.port())]);
    let _bravo = bravo.serve();
    until("bravo believes the first", || (bravo.json(&["status"])["events"] == 132).then_some(()));
    hub.write(&all("2"));
    let status = until("as many are known as can be named", || {
        let status = bravo.json(&["status"]);
        let excluded = peer(&status, "hub")["excluded"].as_array().is_some_and(|excluded| !excluded.is_empty());
        (status["forks"] == 64 && excluded).then_some(status)
    });
    assert!(peer(&status, "mallory")["suspect_forks"] == 64, "{status}");
    let (_, list, _) = bravo.run(&["fork", "list"]);
    assert!(list.contains("brought by mallory") && list.contains("antiphon pause-peer mallory"), "{list}");
    assert_eq!(bravo.run(&["pause-peer", "mallory"]).0, 0);
    until("bravo follows hub", || {
        if !forks(&bravo).is_empty() {
            let (code, out, err) = bravo.run(&["fork", "resolve", "--follow", "hub"]);
            assert!(code == 0 || err.contains("no fork"), "{out}{err}");
        }
        (bravo.json(&["status"])["digest"] == hub.digest().as_str()).then_some(())
    });
    assert_eq!(forks(&bravo), [Value::Null; 0]);
    let other = hub.head(Origin::new(seeded_cortex(66), Epoch::new(1))).unwrap();
    assert_eq!(other.counter, 2);
}
