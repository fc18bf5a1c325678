//! vhdx: region table -> metadata region -> virtual size and whether a parent is named.

use crate::{le32, le64};

/// Where writers put the metadata region: within the first megabytes.
pub(crate) const HEAD: usize = 4 << 20;
const REGIONS: usize = 192 * 1024;
const METADATA: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
const SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
const PARENT: [u8; 16] = [
    0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c,
];

pub(crate) fn judge(head: &[u8]) -> (Option<u64>, Vec<String>) {
    let incomplete = || (None, vec!["vhdx metadata is incomplete".to_string()]);
    let Some(region) = region(head) else {
        return incomplete();
    };
    let Some(size) = entry(head, region, &SIZE).and_then(|at| le64(head, region + at)) else {
        return incomplete();
    };
    let parent = entry(head, region, &PARENT).is_some();
    (
        Some(size),
        if parent {
            vec!["vhdx depends on another image".into()]
        } else {
            Vec::new()
        },
    )
}

fn region(head: &[u8]) -> Option<usize> {
    let count = le32(head, REGIONS + 8)?.min(2047) as usize;
    let mut entries = (0..count).map(|n| REGIONS + 16 + n * 32);
    let at = entries.find(|at| head.get(*at..*at + 16) == Some(METADATA.as_slice()))?;
    usize::try_from(le64(head, at + 16)?)
        .ok()
        .filter(|o| *o < HEAD)
}

/// The offset of an item within the region.
fn entry(head: &[u8], region: usize, id: &[u8; 16]) -> Option<usize> {
    let count = head.get(region + 10..region + 12)?;
    let count = u16::from_le_bytes([count[0], count[1]]).min(2047) as usize;
    let mut entries = (0..count).map(|n| region + 32 + n * 32);
    let at = entries.find(|at| head.get(*at..*at + 16) == Some(id.as_slice()))?;
    le32(head, at + 16)
        .map(|o| o as usize)
        .filter(|o| *o < HEAD)
}
