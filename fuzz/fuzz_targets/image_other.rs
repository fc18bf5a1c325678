//! See `fuzz::image`: vdi, vhd, iso, ploop, luks, qed, partitioned disks, several of these at once and none of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image::run("image_other", data));
