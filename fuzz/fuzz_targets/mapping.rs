//! See `fuzz::mappings`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::mappings::run(data));
