//! Members that claim to hold an event: `append --wait-for` does not believe them.

use antiphon_kernel::digest::Digest;
use antiphon_kernel::ids::CortexId;
use antiphon_kernel::protocol::{ChainHead, FetchReply, FetchRequest, Heads, Known};

use super::asker::Asker;
use crate::support::{Place, antiphon, event, free_port, outcome, until};

fn place(name: &str, port: u16, other: (&str, u16)) -> Place {
    let (peer, peer_port) = other;
    Place::new(&format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten: {{ https: 127.0.0.1:{port} }}\n\
         federation:\n  interval: 1s\n  allow_plaintext_loopback: true\n  peers: [{{ name: {peer}, endpoint: \"http://127.0.0.1:{peer_port}\" }}]\n"
    ))
}

#[test]
fn an_event_is_not_confirmed_by_whoever_says_to_hold_it() {
    let (port, other) = (free_port(), free_port());
    let (alpha, bravo) = (place("alpha", port, ("bravo", other)), place("bravo", other, ("alpha", port)));
    let (code, _, err) = alpha.pipe(&["import"], &event(1));
    assert_eq!(code, 0, "{err}");
    let _alpha = alpha.serve();
    let serving = bravo.serve();
    let pinned =
        until("bravo is pinned", || alpha.json(&["status"])["peers"][0]["cortex_id"].as_str().map(str::to_owned));
    serving.kill();
    let stranger = Asker::new(port, 7);
    let to = stranger.identity().cortex_id;
    let FetchReply::Batch(batch) = stranger.ask(stranger.question(to)) else { panic!("no batch") };
    let (origin, head) = batch.heads.iter().next().unwrap();
    let wait = |wanted: &str| {
        let append = ["append", "--type", "t", "-d", "1", "--wait-for", wanted, "--wait-timeout", "1"];
        outcome(&antiphon(&alpha.config).args(append).output().unwrap())
    };
    // The event that is appended next would be number 2; a stranger and a thief of bravo's id say to hold a hundred.
    let bravo_id: CortexId = serde_json::from_value(pinned.into()).unwrap();
    let thief = Asker { id: bravo_id, ..Asker::new(port, 0) };
    for asker in [&stranger, &thief] {
        for claim in
            [ChainHead { counter: 100, digest: head.digest }, ChainHead { counter: 1, digest: Digest::of(b"x") }]
        {
            let known = Known::Full(Heads::new(vec![(origin, claim)]));
            asker.ask(FetchRequest { known, ..asker.question(to) });
        }
    }
    for wanted in ["1", "bravo"] {
        let (code, out, err) = wait(wanted);
        assert!(code != 0 && out.contains("sequence number") && err.contains("0 confirmed"), "{code} {out} {err}");
    }
    // It does as soon as bravo really has them.
    let _bravo = bravo.serve();
    until("bravo confirms", || (wait("bravo").0 == 0).then_some(()));
}
