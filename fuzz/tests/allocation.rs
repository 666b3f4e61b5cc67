//! No peer can make us allocate beyond a bound. A length in a foreign message is a claim: believed before the bytes are
//! there, forty bytes are enough to make a decoder ask for megabytes. So what decoding allocates is measured, over the
//! whole corpus, hostile claims included.
//!
//! A binary of its own with one test, because the counter counts the whole process.

#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::path::Path;

use antiphon_fuzz::wire_decode::Input;
use antiphon_kernel::codec::{EventRef, decode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Room for lists as long as the protocol allows, whatever the input's size.
const FIXED: usize = 1024 * 1024;
/// In memory, a decoded message may be this many times as large as its frame.
const FACTOR: usize = 8;

/// Bytes that `work` asked for in all, freed ones included: never less than its peak.
fn allocated(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    region.change().bytes_allocated
}

#[test]
fn decoding_allocates_within_its_bound() {
    assert!(allocated(|| drop(vec![1_u8; 3 * FIXED])) >= 3 * FIXED, "the allocator does not count");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/wire_decode");
    let (mut claims, mut beyond) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (size, spent) = match Input::of(&std::fs::read(&path).unwrap()) {
            Some(Input::Frame(frame)) => (frame.len(), allocated(|| drop(decode(&frame)))),
            Some(Input::Record(record)) => (record.len(), allocated(|| drop(EventRef::decode(&record)))),
            None => continue,
        };
        claims += usize::from(name.contains("claim"));
        if spent > FACTOR * size + FIXED {
            beyond.push(format!("{name}: {spent} bytes allocated for {size}"));
        }
    }
    assert!(claims >= 20, "the corpus lost its hostile claims");
    assert!(beyond.is_empty(), "{beyond:#?}");
}
