//! The laws of the protocol with one peer, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| antiphon_fuzz::peer_machine::run(data));
