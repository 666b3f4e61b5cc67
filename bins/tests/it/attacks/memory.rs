//! Askers that want much and read nothing: what they hold of a node's memory is bounded by one budget.

use super::asker::{Asker, memory};
use crate::support::{KEY, Place, free_port, until};

const MIB: u64 = 1024 * 1024;
const BUDGET: u64 = 64;

fn place(name: &str, port: u16, other: (&str, u16)) -> Place {
    let (peer, peer_port) = other;
    Place::new(&format!(
        "node: {{ name: {name}, data_dir: data, max_append_bytes: 16777216, memory_budget_mib: {BUDGET} }}\nlisten: {{ https: 127.0.0.1:{port} }}\n\
         federation:\n  interval: 1s\n  allow_plaintext_loopback: true\n  peers: [{{ name: {peer}, endpoint: \"http://127.0.0.1:{peer_port}\" }}]\n"
    ))
}

#[test]
fn askers_that_read_nothing_hold_no_more_than_the_budget_and_a_pinned_peer_is_served_meanwhile() {
    let (port, other) = (free_port(), free_port());
    let alpha = place("alpha", port, ("bravo", other));
    let bravo = place("bravo", other, ("alpha", port));
    let large = format!("{{\"specversion\":\"1.0\",\"type\":\"t\",\"data\":\"{}\"}}\n", "x".repeat(7 << 20));
    for _ in 0..4 {
        let (code, _, err) = alpha.pipe(&["import"], &large);
        assert_eq!(code, 0, "{err}");
    }
    let serving = [alpha.serve(), bravo.serve()];
    let events = |place: &Place| place.json(&["status"])["durable_events"].as_u64();
    until("bravo has all", || events(&bravo).filter(|&events| events == 4));
    until("both are pinned", || {
        let status = alpha.json(&["status"]);
        status["peers"][0]["cortex_id"].as_str().map(str::to_owned)
    });
    let before = memory(serving[0].id(), "VmRSS");
    let misers: Vec<_> = (0..48).map(|n| Asker::new(port, 1000 + n)).collect();
    let to = misers[0].identity().cortex_id;
    let held: Vec<_> = misers.iter().map(|asker| asker.send(asker.question(to))).collect();
    let used = until("the budget is in use", || {
        alpha.json(&["status"])["memory_used_bytes"].as_u64().filter(|&used| used > 20 * MIB)
    });
    assert!(used <= BUDGET * MIB, "{used} bytes");
    // A peer continues, and its answers are large as well.
    let (code, _, err) = alpha.pipe(&["import"], &large);
    assert_eq!(code, 0, "{err}");
    until("bravo has the next one", || events(&bravo).filter(|&events| events == 5));
    // Without the budget each would hold 14 MiB, 672 in all. The store's reads and the appended event come on top: 191 MiB were
    // measured once.
    let spent = memory(serving[0].id(), "VmHWM").saturating_sub(before);
    assert!(spent < BUDGET * MIB + 320 * MIB, "{} MiB for {} askers", spent / MIB, held.len());
    drop(held);
    until("the budget is free again", || {
        alpha.json(&["status"])["memory_used_bytes"].as_u64().filter(|&used| used < 20 * MIB)
    });
    assert!(!alpha.log().contains(KEY));
}
