//! Disk images as they stream by. However they are cut into pieces, and also when they are read from a file, the verdict
//! is the same, and no image makes the inspector hold much.
//!
//! An input is a file with holes: its length and a number from which the pieces are drawn (4 bytes each, little-endian),
//! then records of an offset (4; from the end if the highest bit is set), a length (2) and bytes. `fuzz/make-seeds` writes
//! real images so.

use crate::memory;
use host_imagefmt::{Format, Inspection, Inspector, inspect_file};
use std::path::PathBuf;
use std::sync::LazyLock;

/// Enough for what stands farthest from the beginning: a vhdx's metadata.
const LONGEST: usize = 5 << 20;
/// What an inspector may hold, whatever the image: twice its longest head, while that grows, and what it reads in it.
const MOST: i64 = 14 << 20;

/// What each inspector's marks are, by the name of its target.
pub const MARKS: [(&str, Mark); 3] = [
    ("image_qcow2", (0, b"QFI\xfb")),
    ("image_vmdk", (0, b"KDMV")),
    ("image_vhdx", (0, b"vhdxfile")),
];
/// Those of `image_other`, a bit of its first byte each; several make a file that is several things at once.
const OTHERS: [Mark; 8] = [
    (64, &[0x7f, 0x10, 0xda, 0xbe]),
    (0, b"conectix"),
    (32769, b"CD001"),
    (0, b"WithoutFreeSpace"),
    (0, b"WithouFreSpacExt"),
    (0, b"LUKS\xba\xbe"),
    (0, b"QED\0"),
    (510, &[0x55, 0xaa]),
];

/// Bytes and where they stand.
pub type Mark = (usize, &'static [u8]);

/// The image that an input of `target` stands for, and the number for its pieces.
pub fn image(target: &str, data: &[u8]) -> Option<(Vec<u8>, u64)> {
    if let Some((_, mark)) = MARKS.iter().find(|(name, _)| *name == target) {
        return build(data, &[*mark]);
    }
    let (which, data) = data.split_first()?;
    let marks = (0..8).filter(|bit| which >> bit & 1 == 1);
    let marks: Vec<Mark> = marks.map(|bit| OTHERS[bit]).collect();
    build(data, &marks)
}

fn build(data: &[u8], marks: &[Mark]) -> Option<(Vec<u8>, u64)> {
    let (head, mut rest) = data.split_at_checked(8)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    let length = number(&head[..4]) % LONGEST;
    let mut image = vec![0; length];
    let mut put = |at: usize, bytes: &[u8]| {
        let end = (at + bytes.len()).min(length);
        if at < end {
            image[at..end].copy_from_slice(&bytes[..end - at]);
        }
    };
    while let Some((record, after)) = rest.split_at_checked(6) {
        let (offset, size) = (number(&record[..4]), number(&record[4..]));
        let (bytes, after) = after.split_at(size.min(after.len()));
        match offset & 0x8000_0000 {
            0 => put(offset, bytes),
            _ => put(length.saturating_sub(offset & 0x7fff_ffff), bytes),
        }
        rest = after;
    }
    for (at, bytes) in marks {
        put(*at, bytes);
    }
    Some((image, number(&head[4..]) as u64))
}

/// An input of `target`.
pub fn run(target: &str, data: &[u8]) {
    if let Some((image, seed)) = image(target, data) {
        judge(&image, seed);
    }
}

fn judge(image: &[u8], seed: u64) {
    let (whole, most) = memory::most(|| {
        let mut inspector = Inspector::new();
        inspector.feed(image);
        inspector.finish()
    });
    assert!(most < MOST, "an image of {} bytes took {most}", image.len());
    assert_eq!(whole.actual_size, image.len() as u64);
    assert_eq!(whole.safety.is_ok(), whole.require_safe().is_ok());
    assert!(Format::parse(whole.format.as_str()).is_ok());

    let (pieces, most) = memory::most(|| stream(image, seed));
    assert!(most < MOST, "an image of {} bytes took {most}", image.len());
    same(&whole, &pieces);
    if image.len() < 2048 {
        let mut inspector = Inspector::new();
        image.chunks(1).for_each(|byte| inspector.feed(byte));
        same(&whole, &inspector.finish());
    }
    if seed % 32 == 0 {
        same(&whole, &from_file(image));
    }
}

/// Pieces of up to 1 MiB, empty ones among them; small ones near both ends, where what formats look at is cut.
fn stream(image: &[u8], seed: u64) -> Inspection {
    let mut inspector = Inspector::new();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut rest = image;
    let mut few = 2000;
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        few -= 1;
        let near = rest.len() < 4096 || image.len() - rest.len() < 1024;
        let most = if near { 700 } else { 1 << (state % 21) };
        let size = match few {
            0.. => (state >> 8) % most,
            _ => rest.len() as u64,
        };
        let (piece, after) = rest.split_at((size as usize).min(rest.len()));
        inspector.feed(piece);
        rest = after;
    }
    inspector.finish()
}

fn from_file(image: &[u8]) -> Inspection {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let name = format!("ferrostack-fuzz-{}", std::process::id());
        std::env::temp_dir().join(name)
    });
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.max_blocking_threads(1).build().expect("a runtime")
    });
    std::fs::write(&*PATH, image).expect("room for a file");
    let seen = RUNTIME.block_on(inspect_file(&PATH));
    let _ = std::fs::remove_file(&*PATH);
    seen.expect("a file that can be read")
}

fn same(one: &Inspection, other: &Inspection) {
    let all = |seen: &Inspection| {
        (
            seen.format,
            seen.virtual_size,
            seen.actual_size,
            seen.safety.clone(),
        )
    };
    assert_eq!(all(one), all(other));
}
