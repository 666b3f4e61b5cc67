//! Replays the corpora on a stable compiler: what fuzzing found once stays found. Then a short random walk around them,
//! always the same one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use antiphon_fuzz::TARGETS;
use antiphon_fuzz::seeds::messages;
use antiphon_fuzz::wire_decode::Input;
use antiphon_kernel::codec::{EventRef, Message, decode};

const ROUNDS: u64 = 20_000;

/// Names and contents, sorted by name so that a failure is the same everywhere.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{} holds next to nothing", folder.display());
    files
}

#[test]
fn every_corpus_passes() {
    for &(name, run) in TARGETS {
        for (file, input) in corpus(name) {
            assert!(catch_unwind(|| run(&input)).is_ok(), "corpus/{name}/{file} fails; see above");
        }
    }
}

#[test]
fn the_corpus_holds_a_valid_message_of_every_kind_and_a_valid_record() {
    let (mut frames, mut records) = (BTreeSet::new(), 0);
    for (_, input) in corpus("wire_decode") {
        match Input::of(&input) {
            Some(Input::Frame(frame)) => frames.extend(decode(&frame).ok().map(|m| format!("{m:?}"))),
            Some(Input::Record(record)) => records += usize::from(EventRef::decode(&record).is_ok()),
            None => {}
        }
    }
    let refresh = "the format changed? `cargo run -p antiphon-fuzz --example seeds` writes the seeds again";
    for (name, message) in messages() {
        assert!(frames.contains(&format!("{message:?}")), "no frame in the corpus holds `{name}`; {refresh}");
    }
    assert!(frames.iter().any(|m| m.starts_with("Fetch")) && frames.iter().any(|m| m.starts_with("Reply")));
    assert!(records >= 3, "{records} valid records; {refresh}");
    let events = |m: &Message| matches!(m, Message::Reply(r) if format!("{r:?}").contains("note.written"));
    assert!(messages().iter().any(|(_, m)| events(m)), "some batch carries events");
}

#[test]
fn a_walk_around_the_corpus_passes() {
    for &(name, run) in TARGETS {
        let files = corpus(name);
        for round in 0..ROUNDS {
            let mut entropy = Entropy(round);
            let (file, base) = &files[entropy.below(files.len())];
            let input = mutated(base, &files[entropy.below(files.len())].1, &mut entropy);
            let passed = catch_unwind(AssertUnwindSafe(|| run(&input))).is_ok();
            assert!(passed, "{name} fails on round {round}, a mutation of {file}: {input:02x?}");
        }
    }
}

fn mutated(base: &[u8], other: &[u8], entropy: &mut Entropy) -> Vec<u8> {
    const TELLING: [u8; 8] = [0, 1, 2, 127, 250, 251, 253, 255];
    let mut input = base.to_vec();
    for _ in 0..=entropy.below(4) {
        let at = entropy.below(input.len().max(1));
        match entropy.below(6) {
            _ if input.is_empty() => input.push(0),
            0 => input[at] ^= 1 << entropy.below(8),
            1 => input[at] = TELLING[entropy.below(TELLING.len())],
            2 => input.truncate(at),
            3 => drop(input.remove(at)),
            4 => input.insert(at, TELLING[entropy.below(TELLING.len())]),
            _ => {
                let from = entropy.below(other.len().max(1)).min(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}

/// SplitMix64: small, and the same on every machine.
struct Entropy(u64);

impl Entropy {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}
