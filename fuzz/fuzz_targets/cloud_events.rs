//! CloudEvents in and out, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| antiphon_fuzz::cloud_events::run(data));
