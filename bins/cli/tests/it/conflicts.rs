//! Three nodes write one subject while apart; all see the same conflict; one resolves it; all agree.

use serde_json::Value;

use crate::support::{Place, free_port, until};

/// Nodes that pull each other over plain loopback HTTP.
fn mesh(count: usize) -> Vec<Place> {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    (0..count)
        .map(|own| {
            let peers: String = (0..count)
                .filter(|n| *n != own)
                .map(|n| format!("    - {{ name: node-{n}, endpoint: \"http://127.0.0.1:{}\" }}\n", ports[n]))
                .collect();
            Place::new(&format!(
                "node: {{ name: node-{own}, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{}\" }}\nfederation:\n  \
                 interval: 1s\n  allow_plaintext_loopback: true\n  peers:\n{peers}",
                ports[own]
            ))
        })
        .collect()
}

fn conflicts(place: &Place) -> Vec<Value> {
    let (code, out, err) = place.run(&["conflicts", "--json"]);
    assert_eq!(code, 0, "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(conflict: &Value) -> Vec<String> {
    conflict["events"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_conflict_is_listed_and_resolved_everywhere() {
    let places = mesh(3);
    for (n, place) in places.iter().enumerate() {
        let data = format!("{{\"from\":{n}}}");
        assert_eq!(place.run(&["append", "-t", "doc.written", "-s", "doc/1", "-d", &data]).0, 0);
        assert_eq!(place.run(&["append", "-t", "doc.written", "-s", &format!("own/{n}"), "-d", "1"]).0, 0);
    }
    let serving: Vec<_> = places.iter().map(Place::serve).collect();
    let seen: Vec<_> = places
        .iter()
        .map(|place| {
            until("three events stand beside each other", || {
                let found = conflicts(place);
                found.first().filter(|c| c["events"].as_array().unwrap().len() == 3).map(|c| (found.len(), ids(c)))
            })
        })
        .collect();
    assert!(seen.iter().all(|s| *s == seen[0] && s.0 == 1), "the same conflict everywhere: {seen:?}");
    // Each replayed the three in another order, and they hold the same.
    let said: Vec<_> = places.iter().map(|place| (place.json(&["latest", "doc/1"]), conflicts(place))).collect();
    assert!(said.iter().all(|s| *s == said[0]), "equal nodes answer equally: {said:#?}");
    let (view, others) = (&said[0].0, &said[0].0["concurrent_with"]);
    assert_eq!((&view["concurrent"], others.as_array().unwrap().len()), (&true.into(), 2), "{view}");
    assert!(
        seen[0]
            .1
            .iter()
            .all(|id| view["id"] == id.as_str() || others.as_array().unwrap().contains(&id.as_str().into()))
    );
    let (_, all, _) = places[0].run(&["--json", "latest"]);
    let mut lines = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.find(|line| line["subject"] == "doc/1").as_ref(), Some(view));
    let (code, out, _) = places[2].run(&["conflicts"]);
    assert!(code == 0 && out.contains("doc/1") && out.contains(&seen[0].1[0]), "{out}");

    let take = &seen[0].1[0];
    let refused = places[1].run(&["resolve", "own/1", "--take", take]);
    assert!(refused.0 == 1 && refused.2.contains("no open conflict"), "{refused:?}");
    let stranger = places[1].run(&["resolve", "doc/1", "--take", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
    assert!(stranger.0 == 1 && stranger.2.contains(take), "{stranger:?}");
    assert_eq!(places[1].run(&["resolve", "doc/1"]).0, 2, "one of --take and --data is needed");
    let (code, out, err) = places[1].run(&["resolve", "doc/1", "--take", take]);
    assert!(code == 0 && out.contains("supersedes 3 events"), "{out}{err}");

    let winner = |place: &Place| place.json(&["latest", "doc/1"]);
    until("no conflict, and one view", || {
        let all: Vec<_> = places.iter().map(winner).collect();
        let none = places.iter().all(|place| conflicts(place).is_empty());
        (none && all.iter().all(|view| *view == all[0] && view["concurrent"] == false)).then_some(())
    });
    // A digest is of what is durable; replay may be a sync ahead of it.
    until("one digest", || {
        let digests: Vec<_> = places.iter().map(|place| place.json(&["digest"])["digest"].clone()).collect();
        digests.iter().all(|digest| *digest == digests[0]).then_some(())
    });
    // Another way out: something new that replaces all.
    assert_eq!(places[0].run(&["resolve", "doc/1", "--data", "{}"]).0, 1, "nothing is open any more");
    let (code, out, _) = places[0].run(&["replay", "list"]);
    assert!(code == 0 && out.contains("replayer view at sequence number 7"), "{out}");
    assert_eq!(places[0].run(&["replay", "retry"]).0, 0);
    // A cursor skips an event, and only one of this history; a sequence number alone would name another event after a restore.
    let (_, first, _) = places[0].run(&["--json", "log", "--limit", "1"]);
    let first: Value = serde_json::from_str(&first).unwrap();
    let cursor = first["antiphoncursor"].as_str().unwrap();
    let (code, _, err) = places[0].run(&["replay", "skip", cursor]);
    assert!(code == 1 && err.contains("neither parked nor"), "{err}");
    let (_, elsewhere) = cursor.split_once('-').unwrap();
    let (code, _, err) = places[0].run(&["replay", "skip", &format!("feed-{elsewhere}")]);
    assert!(code == 1 && err.contains("another history"), "{err}");
    let (code, _, err) = places[0].run(&["replay", "skip", "1"]);
    assert!(code == 2 && err.contains("number alone"), "{err}");
    // With all of them there, an append can wait for its copies; with one gone, it says who is missing, and is stored.
    // Events of one may have come by way of the other: a name can be waited for from the first contact on.
    until("every peer met", || {
        let status = places[0].json(&["status"]);
        let peers = status["peers"].as_array().unwrap();
        (peers.len() == 2 && peers.iter().all(|peer| peer["cortex_id"].is_string())).then_some(())
    });
    let wait = |args: &[&str]| places[0].run(&[&["append", "-t", "t"], args].concat());
    let (code, out, err) = wait(&["--wait-for", "node-1,node-2"]);
    assert!(code == 0 && out.contains("confirmed by 2"), "{out}{err}");
    assert_eq!(wait(&["--wait-for", "2"]).0, 0);
    let mut serving = serving;
    serving.pop().unwrap().kill();
    let (code, out, err) = wait(&["--wait-for", "node-1,node-2", "--wait-timeout", "1"]);
    assert!(code == 1 && err.contains("not confirmed in time by node-2"), "{out}{err}");
    assert!(out.contains(" at sequence number 10"), "{out}");
    // A name that is not known is said before anything is appended: whoever corrects it would append twice.
    let (code, out, err) = wait(&["--wait-for", "node-1,nobody"]);
    assert!(
        code == 1
            && out.is_empty()
            && err.contains("nothing was appended, since nobody can be waited for: there is no peer `nobody`"),
        "{out}{err}"
    );
    let (code, out, _) = places[0].run(&["peers"]);
    let pinned = places[1].json(&["status"])["cortex_id"].as_str().unwrap().to_owned();
    assert!(code == 0 && out.contains(&pinned) && out.contains(" s ago"), "{out}");
    for node in serving {
        assert_eq!(node.terminate(), 0);
    }
    let (code, out, err) = wait(&["--wait-for", "1"]);
    assert!(
        code == 1
            && out.is_empty()
            && err.contains("nothing was appended, since nobody can be waited for: no node serves"),
        "{out}{err}"
    );
    assert_eq!(places[0].json(&["status"])["events"], 10, "that they say is true");
}
