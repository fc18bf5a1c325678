//! Copies of files as they are at one moment: instant where the filesystem shares blocks (XFS, btrfs), else the data
//! between the holes, and then only if nobody wrote meanwhile.

use base::{Error, Result};
use nix::errno::Errno;
use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

nix::ioctl_write_int!(
    /// `FICLONE` of linux/fs.h.
    ficlone,
    0x94,
    9
);

/// How often a copy is begun that a writer disturbs.
const TRIES: u32 = 5;
/// A file's time of change moves in steps of the kernel's clock, 10 ms at the most.
const TICK: Duration = Duration::from_millis(20);
const PIECE: usize = 1 << 20;

/// Makes `to`, private and of `from`'s length, with `from`'s bytes of one moment. `in_use`: somebody may be writing.
pub async fn copy(from: PathBuf, to: PathBuf, in_use: bool) -> Result<()> {
    tokio::task::spawn_blocking(move || copy_now(&from, &to, in_use, true))
        .await
        .map_err(Error::internal)?
}

fn copy_now(from: &Path, to: &Path, in_use: bool, instant: bool) -> Result<()> {
    let source = File::open(from).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found("There is nothing to copy."),
        _ => e.into(),
    })?;
    let target = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    if instant && clone(&source, &target)? {
        target.sync_all()?;
        return Ok(());
    }
    if is_remote(&source)? {
        if in_use {
            // Writes of other hosts are seen late there.
            return Err(Error::conflict(
                "The backend's folder is shared over the network and cannot copy a volume that is in use. Detach it \
                 first.",
            ));
        }
        // Its clock is not ours, so that times of change say nothing; but nobody has the volume.
        copy_data(&source, &target)?;
        target.sync_all()?;
        return Ok(());
    }
    for _ in 0..TRIES {
        if undisturbed(&source, || copy_data(&source, &target))? {
            target.sync_all()?;
            return Ok(());
        }
    }
    Err(Error::conflict(
        "The volume was written to while it was copied, and the backend's filesystem has no instant copies. Stop the \
         server or detach the volume, and try again.",
    ))
}

/// Shares the blocks of `source`, all at one moment; false if the filesystem cannot.
fn clone(source: &File, target: &File) -> Result<bool> {
    // SAFETY: both descriptors are open for as long as the call takes, and it takes no pointer.
    let done = unsafe { ficlone(target.as_raw_fd(), source.as_raw_fd() as _) };
    match done {
        Ok(_) => Ok(true),
        Err(
            Errno::EOPNOTSUPP
            | Errno::ENOTTY
            | Errno::EXDEV
            | Errno::EINVAL
            | Errno::ENOSYS
            | Errno::EPERM,
        ) => Ok(false),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

fn is_remote(file: &File) -> Result<bool> {
    let kind = fstatfs(file)
        .map_err(std::io::Error::from)?
        .filesystem_type();
    Ok([NFS_SUPER_MAGIC, FUSE_SUPER_MAGIC].contains(&kind))
}

/// Copies. True if the source was not written to since before the first byte was read: then the copy is what the source
/// was at that moment. A write that had begun earlier and was not answered yet may be in it or not, as after a power cut.
#[expect(
    clippy::disallowed_methods,
    reason = "it runs where blocking is allowed, and there is nothing to wait for but the clock"
)]
fn undisturbed(source: &File, copy: impl FnOnce() -> Result<()>) -> Result<bool> {
    let mut begin = SystemTime::now();
    // One look more than a tick after the last write; a busy writer is not waited for.
    if written_since(source, begin)? {
        std::thread::sleep(TICK * 2);
        begin = SystemTime::now();
        if written_since(source, begin)? {
            return Ok(false);
        }
    }
    copy()?;
    Ok(!written_since(source, begin)?)
}

fn written_since(file: &File, moment: SystemTime) -> Result<bool> {
    let meta = file.metadata()?;
    let changed = SystemTime::UNIX_EPOCH
        + Duration::new(meta.mtime().max(0) as u64, meta.mtime_nsec() as u32);
    Ok(changed + TICK > moment)
}

/// Copies the data between the holes.
fn copy_data(source: &File, target: &File) -> Result<()> {
    let length = source.metadata()?.len();
    // What an earlier try wrote goes.
    target.set_len(0)?;
    target.set_len(length)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        let Some(data) = seek(source, at, Whence::SeekData)? else {
            break;
        };
        let end = seek(source, data, Whence::SeekHole)?.unwrap_or(length);
        at = data;
        while at < end {
            let wanted = piece.len().min((end - at) as usize);
            let n = source.read_at(&mut piece[..wanted], at)?;
            if n == 0 {
                return Err(Error::internal("a file became shorter while it was copied"));
            }
            target.write_all_at(&piece[..n], at)?;
            at += n as u64;
        }
    }
    Ok(())
}

/// The next place of that kind; none if only a hole follows.
fn seek(file: &File, from: u64, whence: Whence) -> Result<Option<u64>> {
    match lseek(file, from as i64, whence) {
        Ok(at) => Ok(Some(at as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cinder-copy-{}", base::new_id()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn holes_stay_holes_and_data_is_the_same() {
        let folder = folder();
        let (from, to) = (folder.join("a"), folder.join("b"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        for (at, bytes) in [
            (0, vec![1; 3]),
            (5 << 20, vec![2; 3 << 20]),
            ((64 << 20) - 1, vec![3]),
        ] {
            file.write_all_at(&bytes, at).unwrap();
        }
        copy_now(&from, &to, true, false).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let meta = std::fs::metadata(&to).unwrap();
        assert!(meta.blocks() * 512 < 8 << 20, "{}", meta.blocks());
        assert_eq!(meta.mode() & 0o777, 0o600);
        // An empty one too, and what lies under the name is not kept.
        File::create(&from).unwrap().set_len(1 << 20).unwrap();
        copy_now(&from, &to, false, true).unwrap();
        assert!(std::fs::read(&to).unwrap() == vec![0; 1 << 20]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_write_while_it_is_copied_is_seen() {
        let folder = folder();
        let (from, to) = (folder.join("a"), folder.join("b"));
        let file = File::create_new(&from).unwrap();
        file.set_len(1 << 20).unwrap();
        let target = File::create(&to).unwrap();
        let source = File::open(&from).unwrap();
        // A write just before is waited for, one meanwhile is not forgiven, also if it changes nothing.
        file.write_all_at(&[7], 9).unwrap();
        assert!(undisturbed(&source, || copy_data(&source, &target)).unwrap());
        let write = || Ok(file.write_all_at(&[7], 9)?);
        assert!(!undisturbed(&source, write).unwrap());
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
