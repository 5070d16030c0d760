//! The bytes on disk: a frame for whole files, a record for log entries. Pure; no I/O.
//!
//! A **frame** is magic (8 bytes), version (u32), length (u64), CRC-32 (u32) of all that and the payload, payload; numbers
//! are little-endian. A **record** is version (u8), CRC-32 (u32) of index, chain and body, the hash of the entry before it
//! (32), body. An entry's hash is SHA-256 over the previous hash and the body, so that an entry of another history cannot
//! stand in for one that was lost, whatever its own CRC says.

use sha2::{Digest, Sha256};

/// An entry's hash.
pub(crate) type Hash = [u8; 32];
/// What the first entry of a log names as the hash before it.
pub(crate) const NO_HASH: Hash = [0; 32];

const FRAME_HEADER: usize = 8 + 4 + 8 + 4;
const RECORD_VERSION: u8 = 1;
const RECORD_HEADER: usize = 1 + 4 + 32;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whose store it is.
    Identity,
    /// Vote, committed, purged and last.
    Meta,
    /// A snapshot.
    Snapshot,
}

impl Kind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Identity => *b"QRATEID\n",
            Self::Meta => *b"QRATEMT\n",
            Self::Snapshot => *b"QRATESN\n",
        }
    }

    /// The version that is written. Each one ever released stays readable.
    const fn version(self) -> u32 {
        match self {
            Self::Identity | Self::Meta | Self::Snapshot => 1,
        }
    }
}

/// Why bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("it does not start with the right magic")]
    Magic,
    #[error("it is of version {0}, which this release does not know")]
    Version(u32),
    #[error("it is {have} bytes long, {want} expected")]
    Length { have: u64, want: u64 },
    #[error("its checksum does not match")]
    Checksum,
}

/// Wraps `payload` into a frame.
pub(crate) fn seal(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER + payload.len());
    out.extend_from_slice(&kind.magic());
    out.extend_from_slice(&kind.version().to_le_bytes());
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    let crc = checksum(&[&out, payload]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
    out
}

/// The payload of a frame; bytes after its end are the caller's business (`unseal` refuses them).
pub(crate) fn unseal_prefix(kind: Kind, bytes: &[u8]) -> Result<&[u8], FormatError> {
    let short = FormatError::Length { have: bytes.len() as u64, want: FRAME_HEADER as u64 };
    let (head, rest) = bytes.split_at_checked(FRAME_HEADER).ok_or(short)?;
    let (covered, crc) = head.split_at(FRAME_HEADER - 4);
    if covered[..8] != kind.magic() {
        return Err(FormatError::Magic);
    }
    let want = u64_at(covered, 12);
    let payload = usize::try_from(want).ok().and_then(|n| rest.get(..n));
    let payload = payload.ok_or(FormatError::Length { have: rest.len() as u64, want })?;
    if checksum(&[covered, payload]) != u32_at(crc, 0) {
        return Err(FormatError::Checksum);
    }
    // The version is looked at last: of a damaged frame nothing is believed.
    match u32_at(covered, 8) {
        version if version == kind.version() => Ok(payload),
        version => Err(FormatError::Version(version)),
    }
}

/// The payload of a frame that is all of `bytes`.
pub(crate) fn unseal(kind: Kind, bytes: &[u8]) -> Result<&[u8], FormatError> {
    let payload = unseal_prefix(kind, bytes)?;
    let want = (FRAME_HEADER + payload.len()) as u64;
    if bytes.len() as u64 == want { Ok(payload) } else { Err(FormatError::Length { have: bytes.len() as u64, want }) }
}

/// The record of an entry.
pub(crate) fn record(index: u64, before: &Hash, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD_HEADER + body.len());
    out.push(RECORD_VERSION);
    out.extend_from_slice(&checksum(&[&[RECORD_VERSION], &index.to_le_bytes(), before, body]).to_le_bytes());
    out.extend_from_slice(before);
    out.extend_from_slice(body);
    out
}

/// The hash before an entry and its body.
pub(crate) fn read_record(index: u64, bytes: &[u8]) -> Result<(Hash, &[u8]), FormatError> {
    let short = FormatError::Length { have: bytes.len() as u64, want: RECORD_HEADER as u64 };
    let (head, body) = bytes.split_at_checked(RECORD_HEADER).ok_or(short)?;
    let mut before = NO_HASH;
    before.copy_from_slice(&head[5..]);
    if checksum(&[&head[..1], &index.to_le_bytes(), &before, body]) != u32_at(head, 1) {
        return Err(FormatError::Checksum);
    }
    if head[0] != RECORD_VERSION {
        return Err(FormatError::Version(u32::from(head[0])));
    }
    Ok((before, body))
}

/// The hash of the entry with this body that follows the one hashed `before`.
pub(crate) fn chain(before: &Hash, body: &[u8]) -> Hash {
    Sha256::new().chain_update(before).chain_update(body).finalize().into()
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in parts {
        crc.update(part);
    }
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_in_a_frame_is_refused() {
        let good = seal(Kind::Meta, b"payload");
        assert_eq!(unseal(Kind::Meta, &good), Ok(&b"payload"[..]));
        assert!(unseal(Kind::Snapshot, &good).is_err());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Kind::Meta, &bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(unseal(Kind::Meta, &good[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_record_is_refused() {
        let good = record(7, &[9; 32], b"body");
        assert_eq!(read_record(7, &good), Ok(([9; 32], &b"body"[..])));
        assert!(read_record(8, &good).is_err(), "another index");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_record(7, &bad).is_err(), "bit {bit}");
        }
    }
}
