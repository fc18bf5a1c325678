//! What a backup's objects look like: `<prefix>_metadata` says what there is, `<prefix>_sha256-<n>` has the hashes of the
//! volume's blocks, `<prefix>-<n>` the blocks that are not what they were before. Nothing here trusts what it read.

use super::store::damaged;
use base::{Error, Result};
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Read;

/// Bytes whose hash is kept: what an incremental backup decides about.
pub const BLOCK: usize = 32 * 1024;
/// Hashes in one object: those of 2 GiB.
pub const HASHES: u64 = 64 * 1024;
/// Of a hash.
pub const HASH: usize = 32;
/// An object is held in memory as a whole.
pub const LARGEST: u64 = 256 << 20;
/// The description of a backup, which grows with its objects.
pub const LARGEST_METADATA: u64 = 64 << 20;
const VERSION: &str = "1";

base::str_enum! {
    /// How objects are made smaller.
    pub enum Algorithm {
        /// Not at all.
        None = "none",
        /// Deflate.
        Zlib = "zlib",
    }
}
oslo_config::choice!(Algorithm);

/// One object, as the description has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Bytes before they were made smaller.
    pub length: u64,
    /// Of those bytes.
    pub sha256: String,
}

/// The description of a backup; when it is there, all of it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Of this format.
    pub version: String,
    /// The volume's.
    pub volume_id: String,
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes of a block.
    pub block: u64,
    /// How the objects were made smaller.
    pub compression: Algorithm,
    /// The backup that this one adds to, by the beginning of its objects' names.
    pub parent: Option<String>,
    /// Objects with blocks.
    pub objects: Vec<Object>,
    /// Objects with hashes.
    pub hashes: Vec<Object>,
    /// What cinder keeps beside.
    pub extra: Value,
}

impl Metadata {
    /// A description of nothing yet.
    pub fn new(volume_id: &str, size: u64, compression: Algorithm) -> Metadata {
        Metadata {
            version: VERSION.into(),
            volume_id: volume_id.into(),
            size,
            block: BLOCK as u64,
            compression,
            parent: None,
            objects: Vec::new(),
            hashes: Vec::new(),
            extra: Value::Null,
        }
    }

    /// Reads a description and refuses one that cannot be ours.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Metadata> {
        let read: Metadata = serde_json::from_slice(bytes).map_err(|e| damaged(name, e))?;
        let sane = read.version == VERSION
            && read.block == BLOCK as u64
            && read.hashes.len() as u64 == regions(read.size)
            && read
                .objects
                .iter()
                .chain(&read.hashes)
                .all(|o| o.length <= LARGEST);
        if !sane {
            return Err(damaged(name, "it is of another format"));
        }
        Ok(read)
    }
}

/// Objects that the hashes of so many bytes take.
pub fn regions(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).div_ceil(HASHES)
}

/// The name of the description.
pub fn metadata_name(prefix: &str) -> String {
    format!("{prefix}_metadata")
}

/// The name of an object with hashes.
pub fn hashes_name(prefix: &str, number: usize) -> String {
    format!("{prefix}_sha256-{number:05}")
}

/// The name of an object with blocks.
pub fn object_name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:05}")
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Makes an object: what it is in the description, and the bytes to keep.
pub fn pack(bytes: Vec<u8>, algorithm: Algorithm) -> Result<(Object, Vec<u8>)> {
    let object = Object {
        length: bytes.len() as u64,
        sha256: hex(&Sha256::digest(&bytes)),
    };
    let packed = match algorithm {
        Algorithm::None => bytes,
        Algorithm::Zlib => {
            let mut packed = Vec::new();
            ZlibEncoder::new(bytes.as_slice(), Compression::fast())
                .read_to_end(&mut packed)
                .map_err(Error::internal)?;
            packed
        }
    };
    Ok((object, packed))
}

/// The bytes of an object. However small what was stored is, it unfolds to no more than was said, and to nothing else.
pub fn unpack(
    name: &str,
    object: &Object,
    algorithm: Algorithm,
    stored: Vec<u8>,
) -> Result<Vec<u8>> {
    let bytes = match algorithm {
        Algorithm::None => stored,
        Algorithm::Zlib => {
            let mut bytes = Vec::new();
            ZlibDecoder::new(stored.as_slice())
                .take(object.length + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| damaged(name, e))?;
            bytes
        }
    };
    if bytes.len() as u64 != object.length {
        return Err(damaged(name, "its length is another one"));
    }
    if hex(&Sha256::digest(&bytes)) != object.sha256 {
        return Err(damaged(name, "its checksum is another one"));
    }
    Ok(bytes)
}

/// Blocks that are stored: where they belong, then their bytes.
#[derive(Default)]
pub struct Blocks {
    places: Vec<(u64, u64)>,
    bytes: Vec<u8>,
}

impl Blocks {
    /// Adds what stands at a place, after what is there already.
    pub fn push(&mut self, at: u64, bytes: &[u8]) {
        match self.places.last_mut() {
            Some((start, length)) if *start + *length == at => *length += bytes.len() as u64,
            _ => self.places.push((at, bytes.len() as u64)),
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of blocks.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// As they stand in an object.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.places.len() * 16 + self.bytes.len());
        out.extend_from_slice(&(self.places.len() as u64).to_be_bytes());
        for (start, length) in &self.places {
            out.extend_from_slice(&start.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(&self.bytes);
        out
    }

    /// The places of an object's blocks, each with its bytes; none is beyond `size`.
    pub fn decode<'a>(name: &str, object: &'a [u8], size: u64) -> Result<Vec<(u64, &'a [u8])>> {
        let wrong = || damaged(name, "its places are wrong");
        let number = |at: usize| -> Result<u64> {
            let bytes = object.get(at..at + 8).and_then(|b| b.try_into().ok());
            Ok(u64::from_be_bytes(bytes.ok_or_else(wrong)?))
        };
        let count = usize::try_from(number(0)?).map_err(|_| wrong())?;
        if count > object.len() / 16 {
            return Err(wrong());
        }
        let mut rest = object.get(8 + count * 16..).ok_or_else(wrong)?;
        let mut out = Vec::with_capacity(count);
        for index in 0..count {
            let (start, length) = (number(8 + index * 16)?, number(16 + index * 16)?);
            let within = start.checked_add(length).is_some_and(|end| end <= size);
            let length = usize::try_from(length).map_err(|_| wrong())?;
            if !within || length > rest.len() {
                return Err(wrong());
            }
            let (bytes, after) = rest.split_at(length);
            out.push((start, bytes));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back() {
        let mut blocks = Blocks::default();
        blocks.push(0, b"ab");
        blocks.push(2, b"c");
        blocks.push(10, b"d");
        let bytes = blocks.encode();
        let back = Blocks::decode("x", &bytes, 11).unwrap();
        assert_eq!(back, [(0, &b"abc"[..]), (10, &b"d"[..])]);
        assert!(
            Blocks::decode("x", &bytes, 10).is_err(),
            "beyond the volume"
        );
        assert!(Blocks::decode("x", &bytes[..bytes.len() - 1], 11).is_err());
        let many = u64::MAX.to_be_bytes();
        assert!(Blocks::decode("x", &many, 11).is_err());
        let far: Vec<u8> = [1, u64::MAX, 2]
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect();
        assert!(Blocks::decode("x", &far, 11).is_err());
    }

    #[test]
    fn a_bomb_unfolds_to_no_more_than_was_said() {
        for algorithm in [Algorithm::None, Algorithm::Zlib] {
            let (object, stored) = pack(vec![7; 1 << 20], algorithm).unwrap();
            unpack("x", &object, algorithm, stored.clone()).unwrap();
            let small = Object {
                length: 10,
                ..object.clone()
            };
            assert!(unpack("x", &small, algorithm, stored.clone()).is_err());
            let other = Object {
                sha256: "00".into(),
                ..object
            };
            assert!(unpack("x", &other, algorithm, stored).is_err());
        }
    }
}
