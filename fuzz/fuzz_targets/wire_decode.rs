//! The decoders of foreign bytes, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| antiphon_fuzz::wire_decode::run(data));
