//! qcow2: the header, and everything in it that points outside the file.

use crate::{be32, be64};

const DATA_FILE: u64 = 1 << 2;
/// Dirty, corrupt, external data, compression type, extended L2: what qemu knew when this was written.
const KNOWN: u64 = 0b1_1111;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, backing: u64, features: u64) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[4..8].copy_from_slice(&version.to_be_bytes());
        head[8..16].copy_from_slice(&backing.to_be_bytes());
        head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[72..80].copy_from_slice(&features.to_be_bytes());
        head
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
