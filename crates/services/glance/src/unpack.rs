//! Archives of one file: gzip, and zip with a single member. Nothing here trusts a number that it read.

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use std::io::{BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom};

/// The end of a zip file: its record and the longest comment.
const TAIL: u64 = 22 + 65_535;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const ENCRYPTED: u16 = 1;

fn broken(words: &str) -> Error {
    Error::new(ErrorKind::InvalidData, words)
}

/// What is inside, if this is an archive that can be opened; nothing if it is none.
pub fn open<R: Read + Seek + Send + 'static>(mut file: R) -> Result<Option<Box<dyn Read + Send>>> {
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    if magic.starts_with(b"\x1f\x8b\x08") {
        file.seek(SeekFrom::Start(0))?;
        let decoder = MultiGzDecoder::new(BufReader::new(file));
        return Ok(Some(Box::new(decoder)));
    }
    match magic.as_slice() {
        b"PK\x03\x04" => zip(file).map(Some),
        _ => Ok(None),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// `length` bytes at a place, and never fewer.
fn piece<R: Read + Seek>(file: &mut R, at: u64, length: usize) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The only member of a zip archive.
struct Member {
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    header: u64,
}

fn zip<R: Read + Seek + Send + 'static>(mut file: R) -> Result<Box<dyn Read + Send>> {
    let member = directory(&mut file)?;
    let local = piece(&mut file, member.header, 30)?;
    let lengths = (u16_at(&local, 26), u16_at(&local, 28));
    let ((Some(name), Some(extra)), true) = (lengths, local.starts_with(b"PK\x03\x04")) else {
        return Err(broken("the archive's member is not where it should be"));
    };
    let data = member.header + 30 + u64::from(name) + u64::from(extra);
    file.seek(SeekFrom::Start(data))?;
    let packed = BufReader::new(file).take(member.packed);
    let inner: Box<dyn Read + Send> = match member.method {
        STORED => Box::new(packed),
        DEFLATED => Box::new(DeflateDecoder::new(packed)),
        other => return Err(broken(&format!("compression method {other} is not known"))),
    };
    Ok(Box::new(Checked {
        inner,
        crc: flate2::Crc::new(),
        seen: 0,
        member,
    }))
}

/// Reads the directory at the end of the archive.
fn directory<R: Read + Seek>(file: &mut R) -> Result<Member> {
    let incomplete = || broken("the archive's directory is incomplete");
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(TAIL);
    let tail = piece(file, from, (length - from) as usize)?;
    let is_end = |at: &usize| {
        let comment = u16_at(&tail, at + 20).map(usize::from);
        tail[*at..].starts_with(b"PK\x05\x06") && comment == Some(tail.len() - at - 22)
    };
    let last = tail.len().checked_sub(22).ok_or_else(incomplete)?;
    let end = (0..=last).rev().find(is_end).ok_or_else(incomplete)?;
    let record = &tail[end..];
    let mut entries = u16_at(record, 10).map(u64::from).ok_or_else(incomplete)?;
    let mut start = u32_at(record, 16).map(u64::from).ok_or_else(incomplete)?;
    if entries == u64::from(u16::MAX) || start == u64::from(u32::MAX) {
        let locator = end.checked_sub(20).map(|at| &tail[at..end]);
        let locator = locator.filter(|l| l.starts_with(b"PK\x06\x07"));
        let at = locator.and_then(|l| u64_at(l, 8)).ok_or_else(incomplete)?;
        let record = piece(file, at, 56)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(incomplete());
        }
        entries = u64_at(&record, 32).ok_or_else(incomplete)?;
        start = u64_at(&record, 48).ok_or_else(incomplete)?;
    }
    if entries != 1 {
        return Err(broken("the archive has more or less than one file"));
    }
    let head = piece(file, start, 46)?;
    if !head.starts_with(b"PK\x01\x02") {
        return Err(incomplete());
    }
    let word = |at| u16_at(&head, at).ok_or_else(incomplete);
    let long = |at| u32_at(&head, at).ok_or_else(incomplete);
    let (name, extra) = (usize::from(word(28)?), usize::from(word(30)?));
    let rest = piece(file, start + 46, name + extra)?;
    if word(8)? & ENCRYPTED != 0 {
        return Err(broken("the archive is encrypted"));
    }
    if rest[..name].ends_with(b"/") {
        return Err(broken("the archive has a folder in place of a file"));
    }
    // Sizes that do not fit stand in a further field, in this order, those that fit left out.
    let wide = wide(&rest[name..]);
    let mut at = 0;
    let mut real = |short: u32| {
        if short != u32::MAX {
            return Ok(u64::from(short));
        }
        at += 8;
        u64_at(wide, at - 8).ok_or_else(incomplete)
    };
    let (size, packed, header) = (real(long(24)?)?, real(long(20)?)?, real(long(42)?)?);
    if header > length {
        return Err(incomplete());
    }
    Ok(Member {
        method: word(10)?,
        crc: long(16)?,
        packed,
        size,
        header,
    })
}

/// The field of sizes with 64 bits among the extra ones.
fn wide(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(field) = extra.get(4..4 + usize::from(length)) else {
            break;
        };
        if id == 1 {
            return field;
        }
        extra = &extra[4 + usize::from(length)..];
    }
    &[]
}

/// Makes sure at the end that everything came, and as it was.
struct Checked {
    inner: Box<dyn Read + Send>,
    crc: flate2::Crc,
    seen: u64,
    member: Member,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.inner.read(buffer)?;
        self.crc.update(&buffer[..n]);
        self.seen += n as u64;
        let over = self.seen > self.member.size;
        let at_end = n == 0 && !buffer.is_empty();
        let differs = self.seen != self.member.size || self.crc.sum() != self.member.crc;
        if over || at_end && differs {
            return Err(broken(
                "the archive's member is not what its directory says",
            ));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn crc(data: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        crc.sum()
    }

    /// A zip archive as others write it; `wide` puts the sizes where large ones stand.
    fn archive(name: &str, data: &[u8], method: u16, entries: u16, wide: bool) -> Vec<u8> {
        let packed = match method {
            DEFLATED => deflated(data),
            _ => data.to_vec(),
        };
        let sizes = |bytes: &mut Vec<u8>| {
            bytes.extend(crc(data).to_le_bytes());
            for size in [packed.len(), data.len()] {
                let size = if wide { u32::MAX } else { size as u32 };
                bytes.extend(size.to_le_bytes());
            }
            bytes.extend((name.len() as u16).to_le_bytes());
        };
        let mut zip = b"PK\x03\x04\x14\0\0\0".to_vec();
        zip.extend(method.to_le_bytes());
        zip.extend([0; 4]);
        sizes(&mut zip);
        zip.extend(0u16.to_le_bytes());
        zip.extend(name.as_bytes());
        zip.extend(&packed);
        let start = zip.len() as u32;
        zip.extend(b"PK\x01\x02\x14\0\x14\0\0\0");
        zip.extend(method.to_le_bytes());
        zip.extend([0; 4]);
        sizes(&mut zip);
        zip.extend(if wide { 20u16 } else { 0 }.to_le_bytes());
        zip.extend([0; 14]);
        zip.extend(name.as_bytes());
        if wide {
            zip.extend(b"\x01\0\x10\0");
            zip.extend((data.len() as u64).to_le_bytes());
            zip.extend((packed.len() as u64).to_le_bytes());
        }
        let length = zip.len() as u32 - start;
        zip.extend(b"PK\x05\x06\0\0\0\0");
        zip.extend(entries.to_le_bytes());
        zip.extend(entries.to_le_bytes());
        zip.extend(length.to_le_bytes());
        zip.extend(start.to_le_bytes());
        zip.extend(3u16.to_le_bytes());
        zip.extend(b"end");
        zip
    }

    fn read(bytes: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let Some(mut inside) = open(Cursor::new(bytes))? else {
            return Ok(None);
        };
        let mut all = Vec::new();
        inside.read_to_end(&mut all)?;
        Ok(Some(all))
    }

    #[test]
    fn archives_of_one_file_open() {
        let data = b"some bytes, some bytes, some bytes".repeat(500);
        for method in [STORED, DEFLATED] {
            for wide in [false, true] {
                let zip = archive("disk", &data, method, 1, wide);
                assert_eq!(read(zip).unwrap().unwrap(), data, "{method} {wide}");
            }
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gz.write_all(&data).unwrap();
        let gz = gz.finish().unwrap();
        assert_eq!(read(gz.clone()).unwrap().unwrap(), data);
        assert!(read(gz[..gz.len() / 2].to_vec()).is_err());
        assert!(read(data).unwrap().is_none());
        assert!(read(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_with_an_archive_is_told() {
        let whole = archive("disk", b"data", STORED, 1, false);
        for (zip, word) in [
            (archive("disk", b"data", STORED, 2, false), "more or less"),
            (archive("disk", b"data", STORED, 0, false), "more or less"),
            (archive("disk/", b"", STORED, 1, false), "folder"),
            (archive("disk", b"data", 12, 1, false), "method"),
            (whole[..whole.len() - 1].to_vec(), "incomplete"),
            (whole[..10].to_vec(), "incomplete"),
        ] {
            let error = read(zip).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
        // The data differ from what the directory says of them.
        let at = whole.windows(4).position(|w| w == b"data").unwrap();
        let mut other = whole.clone();
        other[at] = b'D';
        assert!(read(other).is_err());
        // Any byte may be anything: an error or other data, never a panic.
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut other = whole.clone();
                other[at] = byte;
                let _ = read(other);
            }
        }
    }
}
