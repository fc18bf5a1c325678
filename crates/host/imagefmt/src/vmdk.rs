//! vmdk: only the two kinds that are one file, and only if their descriptor agrees.

use crate::le64;

const DESCRIPTOR_MAX: usize = 1 << 20;
/// The sparse header, and the descriptor, which follows it.
pub(crate) const HEAD: usize = DESCRIPTOR_MAX + 64 * 1024;
/// In place of the grain directory's offset: it is in the footer.
const GD_AT_END: u64 = u64::MAX;
const KINDS: [&str; 2] = ["monolithicSparse", "streamOptimized"];

/// `tail` is the end of the file: a stream's footer stands before its last sector, and qemu believes it.
pub(crate) fn judge(head: &[u8], tail: &[u8]) -> (Option<u64>, Vec<String>) {
    if !head.starts_with(b"KDMV") {
        return (
            None,
            vec!["vmdk whose descriptor stands alone is not allowed".into()],
        );
    }
    let fields = (le64(head, 12), le64(head, 28), le64(head, 36));
    let (Some(capacity), Some(offset), Some(length)) = fields else {
        return (None, vec!["vmdk header is incomplete".into()]);
    };
    let size = Some(capacity.saturating_mul(512));
    if capacity == 0 {
        // qemu would take the descriptor for a list of further files.
        return (size, vec!["vmdk without capacity is not allowed".into()]);
    }
    if le64(head, 56) == Some(GD_AT_END) && !repeats(tail, head) {
        return (size, vec!["vmdk footer contradicts its header".into()]);
    }
    let (offset, length) = (offset.saturating_mul(512), length.saturating_mul(512));
    if length == 0 || length > DESCRIPTOR_MAX as u64 || offset.saturating_add(length) > HEAD as u64
    {
        return (
            size,
            vec!["vmdk descriptor is not where it should be".into()],
        );
    }
    match head.get(offset as usize..(offset + length) as usize) {
        None => (size, vec!["vmdk descriptor is incomplete".into()]),
        Some(bytes) => (size, descriptor(bytes)),
    }
}

/// Whether the footer says the same as the header, as to how large the disk is and where its descriptor stands.
fn repeats(tail: &[u8], head: &[u8]) -> bool {
    let Some(footer) = tail.len().checked_sub(1024).map(|at| &tail[at..]) else {
        return false;
    };
    let same = |at| le64(footer, at) == le64(head, at);
    footer.starts_with(b"KDMV")
        && le64(footer, 56) != Some(GD_AT_END)
        && [12, 20, 28, 36].into_iter().all(same)
}

fn descriptor(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut problems = Vec::new();
    let (mut kinds, mut extents) = (Vec::new(), 0);
    for line in text.lines().map(str::trim) {
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("createtype") {
            kinds.push(
                line.split_once('=')
                    .map_or("", |(_, v)| v.trim().trim_matches('"'))
                    .to_string(),
            );
        } else if ["rw ", "rdonly ", "noaccess "]
            .iter()
            .any(|access| lower.starts_with(access))
        {
            extents += 1;
            let fields: Vec<&str> = line.split_whitespace().collect();
            let name = line.split('"').nth(1).unwrap_or("");
            if fields
                .get(2)
                .is_none_or(|kind| !kind.eq_ignore_ascii_case("SPARSE"))
            {
                problems.push(format!("vmdk extent is not allowed: {line}"));
            } else if name.contains('/') || name.contains('\\') || name.contains("..") {
                problems.push("vmdk extent lies in another folder".into());
            }
        } else if lower.starts_with("parentfilenamehint") {
            problems.push("vmdk depends on another image".into());
        }
    }
    if !matches!(kinds.as_slice(), [kind] if KINDS.contains(&kind.as_str())) {
        problems.push(format!(
            "vmdk createType is not allowed: {}",
            kinds.join(", ")
        ));
    }
    if extents > 1 {
        problems.push("vmdk has several extents".into());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors() {
        let good = "createType=\"streamOptimized\"\nRW 2048 SPARSE \"disk.vmdk\"\n";
        assert!(descriptor(good.as_bytes()).is_empty());
        for bad in [
            "createType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/shadow\" 0\n",
            "createType=\"monolithicSparse\"\nRW 2048 SPARSE \"/etc/shadow\"\n",
            "createType=\"monolithicSparse\"\nRW 2048 FLAT \"x\"\n",
            "createType=\"monolithicSparse\"\ncreateType=\"vmfs\"\nRW 2048 SPARSE \"x\"\n",
            "createType=\"monolithicSparse\"\nRW 1 SPARSE \"x\"\nRW 1 SPARSE \"y\"\n",
            "RW 2048 SPARSE \"x\"\n",
        ] {
            assert!(!descriptor(bad.as_bytes()).is_empty(), "{bad}");
        }
    }
}
