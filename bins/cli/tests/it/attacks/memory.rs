//! Askers that want much and read nothing: what they hold of a node's memory is bounded by one budget.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use antiphon_node::api::API_VERSION;

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

/// A command on the admin socket whose answer nobody reads, but for the line before the events.
fn stalled(socket: &Path, line: &str) -> BufReader<UnixStream> {
    let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    let header = line_of(&mut stream);
    assert!(header.contains("\"ok\""), "{header}");
    stream
}

fn line_of(stream: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

#[test]
fn commands_whose_answers_nobody_reads_hold_no_more_than_the_budget_and_others_wait() {
    let (port, other) = (free_port(), free_port());
    let alpha = place("alpha", port, ("bravo", other));
    let large = format!("{{\"specversion\":\"1.0\",\"type\":\"t\",\"data\":\"{}\"}}\n", "x".repeat(7 << 20));
    for _ in 0..2 {
        let (code, _, err) = alpha.pipe(&["import"], &large);
        assert_eq!(code, 0, "{err}");
    }
    let _serving = alpha.serve();
    let socket = alpha.dir.path().join("data/antiphon.sock");
    let status = |key: &str| alpha.json(&["status"])[key].as_u64().unwrap();
    let ask = format!("{{\"api\":{API_VERSION},\"ask\":\"log\",\"after\":null,\"limit\":1,\"wait_ms\":0}}");
    let mut held: Vec<_> = (0..24).map(|_| stalled(&socket, &ask)).collect();
    until("as many as fit hold their event, and the others wait", || {
        let used = status("memory_used_bytes");
        assert!(used <= BUDGET * MIB, "{used} bytes");
        (used >= 28 * MIB && status("memory_waiting") > 0).then_some(())
    });
    // A command that waits sees that the node is at work, and gets its whole answer in the end.
    let mut late = stalled(&socket, &ask);
    assert_eq!(line_of(&mut late), "working\n");
    held.clear();
    let mut line = line_of(&mut late);
    while line == "working\n" {
        line = line_of(&mut late);
    }
    let mut text = vec![0; line.trim_end().parse().unwrap()];
    late.read_exact(&mut text).unwrap();
    assert!(text.len() > 7 << 20 && text.ends_with(b"}"));
    let (code, out, err) = alpha.run(&["log"]);
    assert!(code == 0 && out.lines().count() == 2, "{err}");
    until("the budget is free again", || (status("memory_used_bytes") == 0).then_some(()));
}
