//! See `fuzz::image`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image::run("image_vhdx", data));
