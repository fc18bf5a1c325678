//! What a disk image is, judged by its bytes and not by what anybody says about it.
//!
//! Answers to `oslo_utils.imageutils.format_inspector`: an image made by a stranger may name other files of the
//! host (backing files, external data, extents), and `qemu-img` would open them. The [`Inspector`] sees bytes as
//! they stream by; [`convert`] and [`inspect_file`] work on files.

mod convert;
mod inspector;
mod qcow2;
mod vhdx;
mod vmdk;

pub use convert::{VIRTUAL_SIZE_UNKNOWN, convert, convert_within, create, inspect_file, resize};
pub use inspector::Inspector;

base::str_enum! {
    /// What an image can be.
    pub enum Format {
        Raw = "raw",
        /// A partitioned disk: raw, but known not to be anything else.
        Gpt = "gpt",
        Qcow2 = "qcow2",
        /// Never safe: unmaintained, and it can name a backing file.
        Qed = "qed",
        Vmdk = "vmdk",
        Vdi = "vdi",
        /// Virtual PC's format; glance says `vhd`, qemu `vpc`.
        Vhd = "vhd",
        Vhdx = "vhdx",
        Iso = "iso",
        Luks = "luks",
        /// Parallels' format, as OpenVZ has it.
        Ploop = "ploop",
    }
}

impl Format {
    /// qemu's name of the driver that reads it.
    pub fn qemu(self) -> &'static str {
        match self {
            Format::Vhd => "vpc",
            Format::Gpt | Format::Iso => "raw",
            Format::Ploop => "parallels",
            other => other.as_str(),
        }
    }

    /// Whether a user who said `claimed` (glance's `disk_format`) told the truth.
    pub fn agrees_with(self, claimed: &str) -> bool {
        match claimed {
            "raw" => matches!(self, Format::Raw | Format::Gpt | Format::Iso),
            "ami" | "ari" | "aki" => matches!(self, Format::Raw | Format::Gpt),
            "vhd" | "vpc" => self == Format::Vhd,
            other => self.as_str() == other,
        }
    }
}

/// What an image turned out to be.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its format.
    pub format: Format,
    /// The disk's size as a guest sees it, bytes.
    pub virtual_size: u64,
    /// Bytes of the file.
    pub actual_size: u64,
    /// Whether qemu may open it; else what is wrong with it.
    pub safety: Result<(), Vec<String>>,
}

impl Inspection {
    /// Refuses unsafe images, in words for the user.
    pub fn require_safe(&self) -> base::Result<()> {
        match &self.safety {
            Ok(()) => Ok(()),
            Err(reasons) => {
                let words = format!("Image content is not safe: {}", reasons.join("; "));
                Err(base::Error::bad_request(words).class("ImageUnacceptable"))
            }
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
