//! Proofs and tokens in the wrong hands, and identities made up by the thousand.

use std::time::{Duration, Instant};

use antiphon_kernel::identity::{KeyFiles, KeyStatement, SecretKey};
use antiphon_kernel::proof::Channel;
use antiphon_kernel::protocol::{FetchReply, FetchRequest, Hello};
use antiphon_kernel::testing::question;

use super::asker::memory;
use super::greeter::{Greeter, HOST, cortex, introduction, made_up, wait};
use crate::support::{Place, free_port, until};

const MIB: u64 = 1024 * 1024;

fn place(name: &str, port: u16, peers: &str) -> Place {
    Place::new(&format!(
        "node: {{ name: {name}, data_dir: data }}\nlisten: {{ https: 127.0.0.1:{port} }}\nfederation:\n  interval: 1s\n  \
         allow_plaintext_loopback: true\n  peers: [{peers}]\n"
    ))
}

#[test]
fn a_proof_for_another_node_another_host_or_other_protocols_lets_nobody_in() {
    let ports = [free_port(), free_port()];
    let [alpha, bravo] = [place("alpha", ports[0], ""), place("bravo", ports[1], "")];
    let serving = [alpha.serve(), bravo.serve()];
    let mut doors = ports.map(Greeter::new);
    let own = made_up();
    let honest = doors[0].hello_of(&own);
    assert_eq!(doors[0].hello(&honest).status, 200);
    // A node that is greeted with it cannot use it elsewhere.
    assert_eq!(doors[1].hello(&honest).status, 401, "made for alpha");
    // A node in between that passes bravo's proof on as its own.
    let asking = introduction(&own);
    let connect = asking.connect();
    let passed_on = doors[1].prove(&connect);
    let alphas = doors[0].prove(&connect);
    let forged = antiphon_kernel::protocol::Proof { from: alphas.from, statement: alphas.statement, ..passed_on };
    assert!(
        wait(asking.hello(&connect, &forged, Channel::Host(HOST))).is_err(),
        "the asker sees that it is another node"
    );
    let fresh = doors[0].hello_of(&own);
    for (what, hello) in [
        ("an older protocol", Hello { protocol_min: 1, protocol_max: 2, ..fresh.clone() }),
        ("no protocol of ours", Hello { protocol_min: 1, protocol_max: 1, ..fresh.clone() }),
        ("a nonce of its own", Hello { nonce: [7; 32], ..fresh.clone() }),
        ("another's name", Hello { from: alphas.from, ..fresh.clone() }),
        ("no proof of the key", Hello { key: None, ..fresh.clone() }),
    ] {
        let status = doors[0].hello(&hello).status;
        assert!(matches!(status, 400 | 401 | 403 | 409 | 426), "{what}: {status}");
    }
    assert_eq!(doors[0].hello(&fresh).status, 200, "it was good all the time");
    // A hello from before a restart.
    let [first, _bravo] = serving;
    assert_eq!(first.terminate(), 0);
    let _again = alpha.serve();
    assert_eq!(Greeter::new(ports[0]).hello(&fresh).status, 403, "nonces are of one process");
}

#[test]
fn a_stolen_token_ends_with_a_rotation_on_either_side_and_is_good_for_one_host() {
    let port = free_port();
    let alpha = place("alpha", port, "");
    let _serving = alpha.serve();
    let mut door = Greeter::new(port);
    let root = SecretKey::generate();
    let with_statement = |number| {
        let working = SecretKey::generate();
        let statement = KeyStatement::issue(&root, number, working.public(), Vec::new()).unwrap();
        cortex(std::sync::Arc::new(antiphon_kernel::Keys::new(working, statement).unwrap()))
    };
    let (first, second) = (with_statement(1), with_statement(2));
    let to = KeyFiles::of(alpha.dir.path().join("data")).load().unwrap().unwrap().cortex();
    let asked = || FetchRequest { log: None, ..question(first.cortex_id, to) };
    let token_of = |door: &mut Greeter, own| {
        let hello = door.hello_of(own);
        door.hello(&hello).token.expect("a token")
    };
    let stolen = token_of(&mut door, &first);
    assert_eq!(door.fetch(&stolen, HOST, asked()).status, 200);
    assert_eq!(door.fetch(&stolen, "localhost", asked()).status, 401, "of another host");
    // The owner replaces its key, and says so once.
    let newer = token_of(&mut door, &second);
    assert_eq!(door.fetch(&stolen, HOST, asked()).status, 401, "of the former key");
    let former = door.hello_of(&first);
    assert_eq!(door.hello(&former).status, 403, "the former key opens nothing");
    assert_eq!(door.fetch(&newer, HOST, asked()).status, 200);
    // The node replaces its own.
    alpha.json(&["identity", "rotate"]);
    assert_eq!(door.fetch(&newer, HOST, asked()).status, 401);
    let again = token_of(&mut door, &second);
    assert_eq!(door.fetch(&again, HOST, asked()).status, 200);
    let status = door.fetch(&again, HOST, FetchRequest { from: to, ..asked() });
    let antiphon_kernel::codec::Message::Reply(FetchReply::Refused { refusal, .. }) = status.message() else {
        panic!("a question in another's name was answered")
    };
    assert_eq!(refusal, antiphon_kernel::protocol::Refusal::OtherAsker);
}

/// How long each of some appended events takes to the other node.
fn pace(from: &Place, to: &Place, count: u64) -> Duration {
    let events = |place: &Place| place.json(&["status"])["durable_events"].as_u64().unwrap();
    let mut took: Vec<_> = (0..count)
        .map(|_| {
            from.json(&["append", "-t", "t"]);
            let (began, wanted) = (Instant::now(), events(from));
            until("it is at the other node", || (events(to) >= wanted).then_some(()));
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

/// Each with the right shared key, a key of its own, a greeting and a question.
#[test]
fn ten_thousand_made_up_identities_cost_bounded_memory_and_disk_no_origin_and_no_peer_its_pace() {
    const IDENTITIES: usize = 10_000;
    let ports = [free_port(), free_port()];
    let peer = |name: &str, port: u16| format!("{{ name: {name}, endpoint: \"http://127.0.0.1:{port}\" }}");
    let alpha = place("alpha", ports[0], &peer("bravo", ports[1]));
    let bravo = place("bravo", ports[1], &peer("alpha", ports[0]));
    let serving = [alpha.serve(), bravo.serve()];
    let to = KeyFiles::of(alpha.dir.path().join("data")).load().unwrap().unwrap().cortex();
    let quiet = pace(&alpha, &bravo, 9);
    let status = alpha.json(&["status"]);
    let (origins, resident) = (status["origins"].clone(), memory(serving[0].id(), "VmRSS"));
    let disk = disk_bytes(&alpha);
    let ended = std::sync::atomic::AtomicBool::new(false);
    let attacked = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            let mut door = Greeter::new(ports[0]);
            for _ in 0..IDENTITIES {
                let own = made_up();
                let hello = door.hello_of(&own);
                let token = door.hello(&hello).token.expect("it has the key");
                let asked = FetchRequest { log: None, ..question(own.cortex_id, to) };
                assert_eq!(door.fetch(&token, HOST, asked).status, 200);
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut worst = Duration::ZERO;
        while !ended.load(std::sync::atomic::Ordering::Relaxed) && !crowd.is_finished() {
            worst = worst.max(pace(&alpha, &bravo, 9));
        }
        crowd.join().unwrap();
        worst
    });
    let status = alpha.json(&["status"]);
    let grown = memory(serving[0].id(), "VmHWM").saturating_sub(resident);
    let written = disk_bytes(&alpha).saturating_sub(disk);
    println!(
        "{IDENTITIES} identities: {} KiB of memory, {} KiB of disk, pace {quiet:?} and {attacked:?}",
        grown / 1024,
        written / 1024
    );
    assert_eq!(status["origins"], origins, "who asks writes nothing");
    assert!(status["pulled_by"].as_array().unwrap().len() <= 1024);
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    assert!(written < 4 * MIB, "{} MiB", written / MIB);
    // Commands start a process each, so the figure is that of the whole path; it must not grow with the crowd.
    assert!(attacked < quiet * 4 + Duration::from_millis(500), "{attacked:?} instead of {quiet:?}");
}

fn disk_bytes(place: &Place) -> u64 {
    let files = std::fs::read_dir(place.dir.path().join("data")).unwrap().flatten();
    // Files go while they are counted.
    files.filter_map(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}
