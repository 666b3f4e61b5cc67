//! Certificates, shared keys and working keys are replaced while nodes serve, in any order, without one lost event.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{KEY_BY_FILE, Place, Serving, event, free_port, until};

const NAMES: [&str; 3] = ["alpha", "bravo", "charlie"];

/// A secret that is long enough, another one for each number.
fn shared_key(number: usize) -> String {
    format!("rotated-{number:08}-0123456789abcdef0123456789abcdef\n")
}

/// Makes certificates of a new authority for all nodes, and returns where they are.
fn certificates(place: &Place, number: usize) -> PathBuf {
    let dir = place.dir.path().join(format!("made-{number}"));
    let (code, _, err) = place.run(&[&["dev-certs", "--dir", dir.to_str().unwrap()], &NAMES[..]].concat());
    assert_eq!(code, 0, "{err}");
    dir
}

struct Federation {
    places: Vec<Place>,
    /// Where the newest authority is, and the number of keys and authorities that were made.
    authority: Mutex<(PathBuf, usize)>,
}

impl Federation {
    /// Three nodes that pull each other, over both transports, with a shared key in a file.
    fn new() -> Self {
        let ports: Vec<u16> = NAMES.iter().map(|_| free_port()).collect();
        let place = |own: usize| {
            let mut peers = String::new();
            for (at, name) in NAMES.iter().enumerate().filter(|(at, _)| *at != own) {
                let scheme = if (at + own).is_multiple_of(2) { "https" } else { "quic" };
                let port = ports[at];
                peers.push_str(&format!(
                    "    - {{ name: {name}, endpoint: \"{scheme}://127.0.0.1:{port}\", ca: ca.pem }}\n"
                ));
            }
            let (name, port) = (NAMES[own], ports[own]);
            let place = Place::bare(&format!(
                "{KEY_BY_FILE}node: {{ name: {name}, data_dir: data }}\nlisten:\n  https: 127.0.0.1:{port}\n  quic: 127.0.0.1:{port}\n  \
                 tls: {{ cert: node.pem, key: node.key }}\nfederation:\n  interval: 1s\n  key_file: shared.key\n  peers:\n{peers}"
            ));
            write_secret(&place.dir.path().join("shared.key"), &shared_key(0));
            place
        };
        let places: Vec<_> = (0..3).map(place).collect();
        let made = certificates(&places[0], 0);
        let federation = Self { places, authority: Mutex::new((made.clone(), 0)) };
        for (at, place) in federation.places.iter().enumerate() {
            federation.put_authorities(at, &[&made]);
            federation.put_certificate(at, &made);
            let (code, _, err) = place.run(&crate::support::INIT);
            assert_eq!(code, 0, "{err}");
        }
        federation
    }

    fn put_authorities(&self, at: usize, made: &[&Path]) {
        let text: String = made.iter().map(|dir| std::fs::read_to_string(dir.join("ca.pem")).unwrap()).collect();
        std::fs::write(self.places[at].dir.path().join("ca.pem"), text).unwrap();
    }

    fn put_certificate(&self, at: usize, made: &Path) {
        let dir = self.places[at].dir.path();
        std::fs::copy(made.join(format!("{}.pem", NAMES[at])), dir.join("node.pem")).unwrap();
        std::fs::copy(made.join(format!("{}.key", NAMES[at])), dir.join("node.key")).unwrap();
    }

    fn reload(&self, at: usize) {
        let (code, out, err) = self.places[at].run(&["reload"]);
        assert_eq!(code, 0, "{out}{err}");
    }

    /// On every node, one after another.
    fn everywhere(&self, change: impl Fn(usize)) {
        for at in 0..self.places.len() {
            change(at);
            self.reload(at);
        }
    }

    fn replace_certificates(&self) {
        let mut authority = self.authority.lock().unwrap();
        authority.1 += 1;
        let made = certificates(&self.places[0], authority.1);
        let before = std::mem::replace(&mut authority.0, made.clone());
        self.everywhere(|at| self.put_authorities(at, &[&before, &made]));
        self.everywhere(|at| self.put_certificate(at, &made));
        self.everywhere(|at| self.put_authorities(at, &[&made]));
    }

    fn replace_shared_key(&self) {
        let file = |at: usize| self.places[at].dir.path().join("shared.key");
        let before = std::fs::read_to_string(file(0)).unwrap();
        let mut authority = self.authority.lock().unwrap();
        authority.1 += 1;
        let next = shared_key(authority.1);
        let put = |at: usize, text: &str| write_secret(&file(at), text);
        self.everywhere(|at| put(at, &format!("{before}{next}")));
        self.everywhere(|at| put(at, &format!("{next}{before}")));
        self.everywhere(|at| put(at, &next));
    }

    fn replace_working_key(&self, at: usize) {
        let place = &self.places[at];
        let before = place.json(&["identity", "show"]);
        let now = place.json(&["identity", "rotate"]);
        assert_eq!(now["cortex_id"], before["cortex_id"]);
        assert_eq!(now["statement"].as_u64(), before["statement"].as_u64().map(|number| number + 1));
        assert_ne!(now["working_fingerprint"], before["working_fingerprint"]);
    }
}

fn write_secret(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Appends until it is ended, and counts what was acknowledged.
fn write_on(place: &Place, ended: &AtomicBool, written: &AtomicU64) {
    let events: String = (0..20).map(event).collect();
    while !ended.load(Ordering::Relaxed) {
        let (code, out, err) = place.pipe(&["import"], &events);
        assert!(code == 0 && out.contains("20 events imported"), "{out}{err}");
        written.fetch_add(20, Ordering::Relaxed);
    }
}

/// For `ANTIPHON_ROTATE_SECONDS` seconds, or until each of the three was replaced.
#[test]
fn what_proves_and_admits_is_replaced_in_any_order_under_load_without_one_lost_event() {
    let seconds = std::env::var("ANTIPHON_ROTATE_SECONDS").map_or(0, |text| text.parse().unwrap());
    let mut random: u64 = std::env::var("ANTIPHON_ROTATE_SEED").map_or(1, |text| text.parse().unwrap());
    let federation = Federation::new();
    let serving: Vec<Serving> = federation.places.iter().map(Place::serve).collect();
    let (ended, written) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let mut replaced = [0_u32; 3];
    let federation = &federation;
    std::thread::scope(|scope| {
        let _end = EndOnDrop(&ended);
        for (place, written) in federation.places.iter().zip(&written) {
            let ended = &ended;
            scope.spawn(move || write_on(place, ended, written));
        }
        until("all write", || written.iter().all(|written| written.load(Ordering::Relaxed) > 0).then_some(()));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) || replaced.contains(&0) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let kind = usize::try_from(random >> 33).unwrap() % 3;
            match kind {
                0 => federation.replace_certificates(),
                1 => federation.replace_shared_key(),
                _ => federation.replace_working_key(usize::try_from(random >> 40).unwrap() % 3),
            }
            replaced[kind] += 1;
        }
    });
    let all: u64 = written.iter().map(|written| written.load(Ordering::Relaxed)).sum();
    println!("replaced certificates, shared keys, working keys: {replaced:?}; {all} events");
    until("each event is everywhere", || {
        let all_have = federation.places.iter().all(|place| place.json(&["status"])["events"] == all);
        all_have.then_some(())
    });
    let digests: Vec<_> = federation.places.iter().map(|place| place.json(&["digest"])["digest"].clone()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    for (place, node) in federation.places.iter().zip(serving) {
        assert_eq!(node.terminate(), 0);
        let (code, out, err) = place.run(&["verify"]);
        assert!(code == 0 && out.starts_with(&format!("clean: {all} events")), "{out}{err}");
    }
}

/// A failed assertion ends the writers too.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_key_is_rotated_with_the_root_key_only_and_whether_the_node_runs_or_not() {
    let place = Place::new("node: { name: alpha, data_dir: data }\n");
    place.json(&["append", "-t", "t"]);
    let away = place.dir.path().join("alpha.root.key");
    let away = away.to_str().unwrap();
    assert_eq!(place.run(&["identity", "export-root", away]).0, 0);
    let (code, _, err) = place.run(&["identity", "rotate"]);
    assert!(code == 1 && err.contains("antiphon identity import-root"), "{err}");
    assert_eq!(place.json(&["identity", "show"])["statement"], 1);
    assert_eq!(place.run(&["identity", "import-root", away]).0, 0);
    assert_eq!(place.json(&["identity", "rotate"])["statement"], 2);
    let serving = place.serve();
    let rotated = place.json(&["identity", "rotate"]);
    assert_eq!((&rotated["statement"], &rotated["ended_epochs"]), (&3.into(), &1.into()));
    place.json(&["append", "-t", "t"]);
    assert_eq!(place.json(&["status"])["epoch"], rotated["epoch"]);
    assert_eq!(serving.terminate(), 0);
    let (code, out, err) = place.run(&["verify"]);
    assert!(code == 0 && out.starts_with("clean: 2 events"), "{out}{err}");
}
