//! A copy of a data directory that runs next to its original: both say so, and so does a third node.

use std::process::Command;

use serde_json::Value;

use crate::support::{Place, free_port, until};

fn node(name: &str, port: u16, peers: &[(&str, u16)]) -> String {
    let peers: String = peers
        .iter()
        .map(|(peer, port)| format!("    - {{ name: {peer}, endpoint: \"http://127.0.0.1:{port}\" }}\n"))
        .collect();
    let peers = if peers.is_empty() { " []\n".to_owned() } else { format!("\n{peers}") };
    format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten: {{ https: \"127.0.0.1:{port}\", metrics: \"127.0.0.1:{}\" }}\n\
         federation:\n  interval: 500ms\n  allow_plaintext_loopback: true\n  peers:{peers}",
        free_port()
    )
}

fn doubles(place: &Place) -> Vec<Value> {
    place.json(&["status"])["doubles"].as_array().unwrap().clone()
}

#[test]
fn a_copy_that_runs_is_recognised_by_both_and_by_a_third_node() {
    let [alpha_port, copy_port, third_port] = [free_port(), free_port(), free_port()];
    let third = Place::new(&node("third", third_port, &[]));
    // It dials itself as well, which is no copy.
    let peers = [("third", third_port), ("twin", copy_port), ("mirror", alpha_port)];
    let alpha = Place::new(&node("alpha", alpha_port, &peers));
    let copy = Place::bare(&node("other", copy_port, &[("third", third_port)]));
    let (from, to) = (alpha.dir.path().join("data"), copy.dir.path().join("data"));
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    let serving = [third.serve(), alpha.serve(), copy.serve()];

    let id = alpha.json(&["status"])["cortex_id"].clone();
    let own =
        |place: &Place| doubles(place).into_iter().find(|double| double["cortex_id"] == id && double["own"] == true);
    let found = until("alpha knows", || own(&alpha).filter(|own| own["peers"][0] == "twin"));
    assert_eq!(found["peers"].as_array().unwrap().len(), 1, "and it is no copy of itself: {found}");
    until("the copy knows", || own(&copy));
    let seen = until("the third node knows", || doubles(&third).into_iter().next());
    assert!(seen["cortex_id"] == id && seen["own"] == false, "{seen}");

    let peers = alpha.json(&["status"])["peers"].clone();
    let error =
        |name: &str| peers.as_array().unwrap().iter().find(|peer| peer["name"] == name).unwrap()["last_error"].clone();
    assert_eq!((error("twin"), error("mirror")), ("double".into(), "own_address".into()));
    for place in [&alpha, &copy, &third] {
        let (_, out, _) = place.run(&["status"]);
        assert!(out.contains("stop the copy for good"), "{out}");
        let (code, out, _) = place.run(&["doctor"]);
        assert!(code == 1 && out.contains("stop the copy for good"), "{out}");
        assert!(place.log().contains("copy of"), "{}", place.log());
    }
    // Its configuration gives another name than the data have.
    let (_, out, _) = copy.run(&["status"]);
    assert!(out.contains("node.name is `other`, but these data are of `alpha`"), "{out}");
    assert!(copy.run(&["doctor"]).1.contains("node.name is `other`"));
    assert!(copy.log().contains("node.name is `other`"));
    assert_eq!(alpha.json(&["status"])["configured_name"], Value::Null);
    drop(serving);
}
