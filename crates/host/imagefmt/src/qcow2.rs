//! qcow2: the header, and everything in it that points outside the file.

use crate::{be32, be64};

const DATA_FILE: u64 = 1 << 2;
/// Dirty, corrupt, external data, compression type, extended L2: what qemu knew when this was written.
const KNOWN: u64 = 0b1_1111;
/// Entries of the first table, as qemu limits them (32 MiB of them).
const MOST_L1: u32 = 32 << 20 >> 3;
/// Bytes of the table of reference counts.
const MOST_REFCOUNTS: u64 = 8 << 20;
const MOST_SNAPSHOTS: u32 = 65_536;

pub(crate) fn judge(head: &[u8]) -> (Option<u64>, Vec<String>) {
    let mut problems = Vec::new();
    let (Some(version), Some(backing), Some(size)) = (be32(head, 4), be64(head, 8), be64(head, 24))
    else {
        return (None, vec!["qcow2 header is incomplete".into()]);
    };
    if !matches!(version, 2 | 3) {
        problems.push(format!("qcow2 version {version} is not allowed"));
    }
    if backing != 0 {
        problems.push("qcow2 has a backing file".into());
    }
    problems.extend(bombs(head, size));
    if version >= 3 {
        match be64(head, 72) {
            None => problems.push("qcow2 header is incomplete".into()),
            Some(features) => {
                if features & DATA_FILE != 0 {
                    problems.push("qcow2 has an external data file".into());
                }
                if features & !KNOWN != 0 {
                    problems.push(format!("qcow2 has unknown features ({features:#x})"));
                }
            }
        }
    }
    (Some(size), problems)
}

/// Numbers that no honest writer writes: who believes them runs out of memory or disk.
fn bombs(head: &[u8], size: u64) -> Option<String> {
    let (bits, l1) = (be32(head, 20)?, be32(head, 36)?);
    let (refcounts, snapshots) = (be32(head, 56)?, be32(head, 60)?);
    if !(9..=21).contains(&bits) {
        return Some(format!("qcow2 has clusters of 2^{bits} bytes"));
    }
    if i64::try_from(size).is_err() {
        return Some(format!("qcow2 has a size of {size} bytes"));
    }
    let oversized =
        l1 > MOST_L1 || u64::from(refcounts) << bits > MOST_REFCOUNTS || snapshots > MOST_SNAPSHOTS;
    oversized.then(|| "qcow2 has oversized tables".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, backing: u64, features: u64) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[4..8].copy_from_slice(&version.to_be_bytes());
        head[8..16].copy_from_slice(&backing.to_be_bytes());
        head[20..24].copy_from_slice(&16u32.to_be_bytes());
        head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[72..80].copy_from_slice(&features.to_be_bytes());
        head
    }

    #[test]
    fn numbers_that_explode_are_seen() {
        for (at, number, word) in [
            (20, 8, "clusters"),
            (20, 30, "clusters"),
            (24, u32::MAX, "size"),
            (36, MOST_L1 + 1, "tables"),
            (56, 129, "tables"),
            (60, u32::MAX, "tables"),
        ] {
            let mut head = header(3, 0, 0);
            head[at..at + 4].copy_from_slice(&number.to_be_bytes());
            let (_, problems) = judge(&head);
            assert!(
                problems.iter().any(|p| p.contains(word)),
                "{at}: {problems:?}"
            );
        }
    }

    #[test]
    fn what_points_outside_is_seen() {
        let cases = [
            (header(3, 0, 0), None),
            (header(2, 0, DATA_FILE), None),
            (header(3, 0, 0b11), None),
            (header(3, 512, 0), Some("backing")),
            (header(3, 0, DATA_FILE), Some("external data")),
            (header(3, 0, 1 << 5), Some("unknown features")),
            (header(1, 0, 0), Some("version 1")),
            (header(3, 0, 0)[..40].to_vec(), Some("incomplete")),
        ];
        for (head, wrong) in cases {
            let (_, problems) = judge(&head);
            match wrong {
                None => assert!(problems.is_empty(), "{problems:?}"),
                Some(word) => assert!(
                    problems.iter().any(|p| p.contains(word)),
                    "{word}: {problems:?}"
                ),
            }
        }
    }
}
