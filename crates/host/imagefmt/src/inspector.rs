//! The push parser: it keeps the head of the stream that its format needs, and the last three sectors.

use crate::{Container, Format, Inspection, be32, be64, le32, le64, qcow2, vhdx, vmdk};

/// Looks at an image while it streams by.
#[derive(Default)]
pub struct Inspector {
    head: Vec<u8>,
    tail: Vec<u8>,
    seen: u64,
}

const SECTOR: usize = 512;
/// A vmdk's footer is the longest of what formats put at the end.
pub(crate) const TAIL: usize = 3 * SECTOR;
/// An ISO's magic word is at 32769.
const PLAIN_HEAD: usize = 64 * 1024;

impl Inspector {
    /// Nothing seen yet.
    pub fn new() -> Inspector {
        Inspector::default()
    }

    /// The next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // Twice at most: what to keep is known once the first sector is there.
        while !rest.is_empty()
            && self.seen == self.head.len() as u64
            && self.head.len() < self.wanted()
        {
            let goal = if self.head.len() < SECTOR {
                SECTOR
            } else {
                self.wanted()
            };
            let (now, later) = rest.split_at(rest.len().min(goal - self.head.len()));
            self.head.extend_from_slice(now);
            self.seen += now.len() as u64;
            rest = later;
        }
        self.seen += rest.len() as u64;
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// `bytes` that the caller did not read. Only what [`Inspector::wants_more`] does not want may be left out.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.seen += bytes;
    }

    /// Whether the head is not complete yet.
    pub(crate) fn wants_more(&self) -> bool {
        self.head.len() < self.wanted()
    }

    fn last_sector(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(SECTOR)..]
    }

    fn wanted(&self) -> usize {
        match self.head.get(..8) {
            _ if self.head.len() < SECTOR => PLAIN_HEAD,
            Some(b"vhdxfile") => vhdx::HEAD,
            Some(magic) if magic.starts_with(b"KDMV") => vmdk::HEAD,
            _ => PLAIN_HEAD,
        }
    }

    /// The judgement.
    pub fn finish(self) -> Inspection {
        let found = self.formats();
        let format = found.first().copied().unwrap_or(Format::Raw);
        let (size, mut problems) = self.judge(format);
        // An ISO that also boots from a stick has a partition table; all other doubles are somebody's trick.
        let others: Vec<_> = found
            .iter()
            .filter(|f| **f != format && **f != Format::Gpt)
            .collect();
        for other in others {
            problems.push(format!("content is both {format} and {other}"));
        }
        Inspection {
            format,
            container: Container::of(&self.head),
            virtual_size: size.unwrap_or(self.seen),
            actual_size: self.seen,
            safety: if problems.is_empty() {
                Ok(())
            } else {
                Err(problems)
            },
        }
    }

    /// All formats whose marks are there, the strongest first.
    fn formats(&self) -> Vec<Format> {
        let at = |offset: usize, magic: &[u8]| {
            self.head.get(offset..offset + magic.len()) == Some(magic)
        };
        let text = String::from_utf8_lossy(&self.head[..self.head.len().min(21)]);
        let marks = [
            (at(0, b"QFI\xfb"), Format::Qcow2),
            (at(0, b"QED\0"), Format::Qed),
            (at(0, b"KDMV") || at(0, b"COWD"), Format::Vmdk),
            (
                text.eq_ignore_ascii_case("# Disk DescriptorFile"),
                Format::Vmdk,
            ),
            (at(64, &[0x7f, 0x10, 0xda, 0xbe]), Format::Vdi),
            (at(0, b"vhdxfile"), Format::Vhdx),
            (
                at(0, b"conectix") || self.last_sector().starts_with(b"conectix"),
                Format::Vhd,
            ),
            (at(0, b"LUKS\xba\xbe"), Format::Luks),
            (
                at(0, b"WithoutFreeSpace") || at(0, b"WithouFreSpacExt"),
                Format::Ploop,
            ),
            (at(32769, b"CD001"), Format::Iso),
            (at(510, &[0x55, 0xaa]), Format::Gpt),
        ];
        marks
            .into_iter()
            .filter_map(|(found, format)| found.then_some(format))
            .collect()
    }

    fn judge(&self, format: Format) -> (Option<u64>, Vec<String>) {
        let head = &self.head;
        let known = |size: Option<u64>, what: &str| match size {
            Some(size) => (Some(size), Vec::new()),
            None => (None, vec![format!("{what} header is incomplete")]),
        };
        match format {
            Format::Raw | Format::Iso => (Some(self.seen), Vec::new()),
            Format::Gpt => (Some(self.seen), partitions(head)),
            Format::Qcow2 => qcow2::judge(head),
            Format::Qed => (None, vec!["the qed format is not allowed".into()]),
            Format::Vmdk => vmdk::judge(head, &self.tail),
            Format::Vdi => {
                // Types 1 (dynamic) and 2 (fixed) stand alone; 3 and 4 are differences to another file.
                let kind = le32(head, 0x4c);
                let (size, mut problems) = known(le64(head, 0x170), "vdi");
                if !matches!(kind, Some(1 | 2)) {
                    problems.push("vdi depends on another image".into());
                }
                (size, problems)
            }
            Format::Vhdx => vhdx::judge(head),
            Format::Vhd => {
                let footer = if head.starts_with(b"conectix") {
                    head
                } else {
                    self.last_sector()
                };
                // qemu believes one field or the other, depending on who says to have made the disk.
                let size = be64(footer, 48).map(|size| size.max(geometry(footer)));
                let (size, mut problems) = known(size, "vhd");
                // Disk type 4 is a differencing disk: it names its parent.
                if be32(footer, 60).is_none_or(|kind| kind != 2 && kind != 3) {
                    problems.push("vhd depends on another image".into());
                }
                (size, problems)
            }
            Format::Ploop => {
                // Sectors; the older of the two forms has 32 bits for them.
                let sectors = match head.starts_with(b"WithouFreSpacExt") {
                    true => le64(head, 36),
                    false => le32(head, 36).map(u64::from),
                };
                known(sectors.map(|s| s.saturating_mul(512)), "ploop")
            }
            Format::Luks => {
                let version = head.get(6..8).map(|v| u16::from_be_bytes([v[0], v[1]]));
                match version {
                    Some(1) => {
                        let payload = be32(head, 104).map(|sectors| u64::from(sectors) * 512);
                        known(payload.map(|p| self.seen.saturating_sub(p)), "luks")
                    }
                    _ => (
                        Some(self.seen),
                        vec!["only luks version 1 is allowed".into()],
                    ),
                }
            }
        }
    }
}

/// The size in bytes that a vhd's cylinders, heads and sectors make; 0 if they are the most there can be, which
/// says that the disk is larger.
fn geometry(footer: &[u8]) -> u64 {
    const MOST: u32 = 0xffff_10ff;
    match be32(footer, 56) {
        None | Some(MOST) => 0,
        Some(chs) => {
            u64::from(chs >> 16) * u64::from(chs >> 8 & 0xff) * u64::from(chs & 0xff) * 512
        }
    }
}

/// A protective partition must be what it says; anything else with a boot signature is an ordinary raw disk.
fn partitions(head: &[u8]) -> Vec<String> {
    let mut problems = Vec::new();
    for number in 0..4 {
        let at = 446 + number * 16;
        if head.get(at + 4) == Some(&0xee) && le32(head, at + 8) != Some(1) {
            problems.push(format!(
                "protective partition {number} does not begin at sector 1"
            ));
        }
    }
    problems
}
