//! Images as files: inspection, conversion and sizes through `qemu-img`, which is told every format and given limits.

use crate::inspector::TAIL;
use crate::{Format, Inspection, Inspector};
use base::{Error, Result};
use host_privsep::{Limits, Privsep, Program};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

/// For [`create`] on a backing file whose size shall be kept.
pub const VIRTUAL_SIZE_UNKNOWN: u64 = 0;
/// What upstream allows `qemu-img` on a stranger's file, with more processor time for large images.
const LIMITS: Limits = Limits {
    cpu_seconds: 900,
    address_space: 2 << 30,
    file_size: None,
};
const PATIENCE: Duration = Duration::from_secs(3600);

/// Looks at a file: its head and its last sectors are read.
pub async fn inspect_file(path: &Path) -> Result<Inspection> {
    let gone = |e: std::io::Error| Error::internal(format!("{}: {e}", path.display()));
    let mut file = tokio::fs::File::open(path).await.map_err(gone)?;
    let size = file.metadata().await.map_err(gone)?.len();
    let mut inspector = Inspector::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut read = 0;
    while inspector.wants_more() {
        let n = file.read(&mut buffer).await.map_err(gone)?;
        if n == 0 {
            break;
        }
        inspector.feed(&buffer[..n]);
        read += n as u64;
    }
    let rest = size.saturating_sub(read);
    if rest > 0 {
        let tail = rest.min(TAIL as u64);
        inspector.skip(rest - tail);
        file.seek(SeekFrom::Start(size - tail))
            .await
            .map_err(gone)?;
        let mut end = Vec::new();
        file.take(tail).read_to_end(&mut end).await.map_err(gone)?;
        inspector.feed(&end);
    }
    Ok(inspector.finish())
}

/// Converts `src` to `dst`. The caller has inspected `src`.
pub async fn convert(
    privsep: &Privsep,
    src: &Path,
    dst: &Path,
    from: Format,
    to: Format,
) -> Result<()> {
    bounded(privsep, src, dst, from, to, LIMITS).await
}

/// The same, and `dst` becomes no larger than `largest`.
pub async fn convert_within(
    privsep: &Privsep,
    src: &Path,
    dst: &Path,
    from: Format,
    to: Format,
    largest: u64,
) -> Result<()> {
    let limits = Limits {
        file_size: Some(largest),
        ..LIMITS
    };
    bounded(privsep, src, dst, from, to, limits).await
}

async fn bounded(
    privsep: &Privsep,
    src: &Path,
    dst: &Path,
    from: Format,
    to: Format,
    limits: Limits,
) -> Result<()> {
    let command = privsep
        .command(Program::QemuImg)
        .args(["convert", "-t", "writeback"]);
    let command = command
        .args(["-f", from.qemu(), "-O", to.qemu()])
        .arg(src)
        .arg(dst);
    command
        .limits(limits)
        .timeout(PATIENCE)
        .run()
        .await
        .map(drop)
}

/// Makes an image of `size` bytes; over `backing` (with its format, always named) if given.
pub async fn create(
    privsep: &Privsep,
    path: &Path,
    format: Format,
    size: u64,
    backing: Option<(&Path, Format)>,
) -> Result<()> {
    let mut command = privsep
        .command(Program::QemuImg)
        .args(["create", "-q", "-f", format.qemu()]);
    if let Some((base, base_format)) = backing {
        command = command.args(["-F", base_format.qemu(), "-b"]).arg(base);
    }
    command = command.arg(path);
    if size != VIRTUAL_SIZE_UNKNOWN {
        command = command.arg(size.to_string());
    }
    command.run().await.map(drop)
}

/// Grows an image that no guest has open.
pub async fn resize(privsep: &Privsep, path: &Path, format: Format, size: u64) -> Result<()> {
    let command = privsep
        .command(Program::QemuImg)
        .args(["resize", "-q", "-f", format.qemu()]);
    command
        .arg(path)
        .arg(size.to_string())
        .run()
        .await
        .map(drop)
}
