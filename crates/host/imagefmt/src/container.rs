//! What a disk is wrapped in, by the first bytes of the file.

base::str_enum! {
    /// Containers that can be told from their bytes.
    pub enum Container {
        /// Nothing, or nothing that is known.
        Bare = "bare",
        /// A tar archive whose first member describes a machine.
        Ova = "ova",
        /// Another tar archive: what `docker save` writes is one.
        Tar = "tar",
        /// Packed: gzip, zip, bzip2, xz, zstd.
        Compressed = "compressed",
    }
}

impl Container {
    /// Judges by the beginning of a file; a sector is enough.
    pub fn of(head: &[u8]) -> Container {
        const PACKED: [&[u8]; 5] = [
            b"\x1f\x8b\x08",
            b"PK\x03\x04",
            b"BZh",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
        ];
        if PACKED.iter().any(|magic| head.starts_with(magic)) {
            return Container::Compressed;
        }
        match tar_member(head) {
            Some(name) if name.to_ascii_lowercase().ends_with(b".ovf") => Container::Ova,
            Some(_) => Container::Tar,
            None => Container::Bare,
        }
    }

    /// Whether a user who said `claimed` (glance's `container_format`) told the truth. Of what is inside an `ovf` or a
    /// part of a machine image nothing can be told.
    pub fn agrees_with(self, claimed: &str) -> bool {
        match claimed {
            "ova" => self == Container::Ova,
            "docker" => matches!(self, Container::Tar | Container::Compressed),
            "compressed" => self == Container::Compressed,
            _ => true,
        }
    }
}

/// The name of a tar archive's first member, if this is one: its header's checksum is right.
fn tar_member(head: &[u8]) -> Option<&[u8]> {
    let header = head.get(..512)?;
    let digits = std::str::from_utf8(&header[148..156]).ok()?;
    let digits = digits.trim_matches([' ', '\0']);
    let said = u32::from_str_radix(digits, 8).ok()?;
    // The checksum is made as if it were blanks itself.
    let sum =
        |range: std::ops::Range<usize>| header[range].iter().map(|b| u32::from(*b)).sum::<u32>();
    let is = sum(0..148) + sum(156..512) + 8 * u32::from(b' ');
    let end = header[..100].iter().position(|b| *b == 0).unwrap_or(100);
    (said == is && end > 0).then(|| &header[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(name: &str) -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn containers_are_known_by_their_bytes() {
        let mut broken = tar("machine.ovf");
        broken[3] ^= 1;
        for (head, container, agrees) in [
            (tar("machine.ovf"), Container::Ova, "ova"),
            (tar("MACHINE.OVF"), Container::Ova, "ova"),
            (tar("manifest.json"), Container::Tar, "docker"),
            (
                b"\x1f\x8b\x08\0".to_vec(),
                Container::Compressed,
                "compressed",
            ),
            (
                b"PK\x03\x04\0".to_vec(),
                Container::Compressed,
                "compressed",
            ),
            (broken, Container::Bare, "bare"),
            (vec![0; 512], Container::Bare, "ovf"),
            (b"QFI\xfb".to_vec(), Container::Bare, "ami"),
            (Vec::new(), Container::Bare, "bare"),
        ] {
            let found = Container::of(&head);
            assert_eq!(found, container, "{agrees}");
            assert!(found.agrees_with(agrees), "{agrees}");
        }
        assert!(!Container::of(&tar("manifest.json")).agrees_with("ova"));
        assert!(!Container::of(b"QFI\xfb").agrees_with("compressed"));
        assert!(!Container::of(b"QFI\xfb").agrees_with("docker"));
    }
}
