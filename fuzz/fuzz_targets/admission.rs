//! Handshakes and credentials from any bytes, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| antiphon_fuzz::admission::run(data));
