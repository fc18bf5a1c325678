//! What a disk image is, judged by its bytes and not by what anybody says about it.
//!
//! Answers to `oslo_utils.imageutils.format_inspector`: an image made by a stranger may name other files of the
//! host (backing files, external data, extents), and `qemu-img` would open them. The [`Inspector`] sees bytes as
//! they stream by; [`convert`] and [`inspect_file`] work on files.

mod container;
mod convert;
mod inspector;
mod qcow2;
mod vhdx;
mod vmdk;

pub use container::Container;
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
    /// What it is wrapped in.
    pub container: Container,
    /// The disk's size as a guest sees it, bytes.
    pub virtual_size: u64,
    /// Bytes of the file.
    pub actual_size: u64,
    /// Whether qemu may open it; else what is wrong with it.
    pub safety: Result<(), Vec<String>>,
}

/// What an inspection says to a claim.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What the bytes are: a disk's format, or the container it is in.
    pub found: String,
    /// Whether that is what was claimed.
    pub agrees: bool,
    /// The disk's size as a guest sees it, bytes; unknown in a container.
    pub virtual_size: Option<u64>,
    /// Why nobody should open it; empty if all is well.
    pub problems: Vec<String>,
}

impl Inspection {
    /// Judges by what the owner says (glance's `disk_format` and `container_format`). What is wrapped is judged by its
    /// wrapping, but a hostile disk is one whatever it is said to be in: others go by `disk_format` alone.
    pub fn against(self, disk_format: &str, container_format: &str) -> Judgement {
        let problems = self.safety.err().unwrap_or_default();
        if container_format == "bare" {
            return Judgement {
                found: self.format.to_string(),
                agrees: self.format.agrees_with(disk_format),
                virtual_size: Some(self.virtual_size),
                problems,
            };
        }
        let plain = matches!(self.format, Format::Raw | Format::Gpt | Format::Iso);
        Judgement {
            found: self.container.to_string(),
            agrees: self.container.agrees_with(container_format),
            virtual_size: None,
            problems: if plain { Vec::new() } else { problems },
        }
    }

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
