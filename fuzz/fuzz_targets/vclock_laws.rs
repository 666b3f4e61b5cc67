//! The laws of vector clocks, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| antiphon_fuzz::vclock_laws::run(data));
