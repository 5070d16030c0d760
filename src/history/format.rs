//! The bytes of a history: records one after the other, each framed so that damage costs that record and no other.
//!
//! A frame is a mark (2 bytes), the length of the body (u32), CRC-32 (u32) over length and body, and the body, CBOR (RFC 8949);
//! numbers are little-endian. A file is any number of segments, each of which begins with [`Record::Begin`]; it names the
//! version. Whoever meets a frame that does not check out looks for the next one that does, byte by byte.

use super::record::{Record, VERSION};

/// No CBOR item begins with these two, and texts do not contain the first.
const MARK: [u8; 2] = [0xff, 0x51];
const HEADER: usize = 2 + 4 + 4;
/// The longest body, in bytes: as the longest snapshot.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// The frame of a record.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = MARK.to_vec();
    bytes.resize(HEADER, 0);
    // Writing to memory fails only for a type that refuses to be serialised, and these do not.
    ciborium::into_writer(record, &mut bytes).expect("records serialise");
    let length = u32::try_from(bytes.len() - HEADER).unwrap_or(u32::MAX).to_le_bytes();
    bytes[2..6].copy_from_slice(&length);
    let crc = checksum(length, &bytes[HEADER..]).to_le_bytes();
    bytes[6..HEADER].copy_from_slice(&crc);
    bytes
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(body);
    crc.finalize()
}

/// A stretch of bytes that holds no whole record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at {offset}: {why}")]
pub struct Damage {
    /// Where it begins, in bytes from the beginning of all that was pushed.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// What is wrong with it.
    pub why: String,
}

/// What a decoder finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Box<Record>),
    /// Bytes that were skipped.
    Damage(Damage),
}

/// Bytes in, records out. It never panics and never gives up, whatever the bytes are.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Of `buffer`: up to here is done.
    done: usize,
    /// Where `buffer` begins.
    offset: u64,
    /// Where the stretch began that does not check out, and why it does not.
    lost: Option<(u64, &'static str)>,
    ended: bool,
}

/// What stands at a place.
enum Found<'a> {
    Body(&'a [u8]),
    /// More bytes may make it whole.
    Short,
    Wrong(&'static str),
}

impl Decoder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.done > 0 {
            self.buffer.drain(..self.done);
            self.offset += self.done as u64;
            self.done = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// No more bytes will come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next record or stretch of damage; `None` when more bytes are needed, or none will come and none are left.
    pub fn next_item(&mut self) -> Option<Item> {
        loop {
            let rest = &self.buffer[self.done..];
            let here = self.offset + self.done as u64;
            let why = match look(rest) {
                Found::Short if !self.ended => return None,
                Found::Short if rest.is_empty() => return self.damage(here).map(Item::Damage),
                Found::Short => "cut off",
                Found::Wrong(why) => why,
                Found::Body(body) => {
                    let length = HEADER + body.len();
                    let read = ciborium::from_reader::<Record, _>(body);
                    if let Some(damage) = self.damage(here) {
                        // The record comes next.
                        return Some(Item::Damage(damage));
                    }
                    self.done += length;
                    return Some(match read {
                        Ok(record) => known(record, here, length),
                        Err(error) => {
                            damaged(here, length, &format!("its checksum is right, and it is no record: {error}"))
                        }
                    });
                }
            };
            self.lost.get_or_insert((here, why));
            // To the next place where a frame could begin.
            let next = self.buffer[self.done + 1..].iter().position(|byte| *byte == MARK[0]);
            self.done = next.map_or(self.buffer.len(), |next| self.done + 1 + next);
        }
    }

    fn damage(&mut self, to: u64) -> Option<Damage> {
        let (offset, why) = self.lost.take()?;
        Some(Damage { offset, length: to - offset, why: why.to_owned() })
    }
}

/// A head of another version than this one is no record.
fn known(record: Record, offset: u64, length: usize) -> Item {
    match &record {
        Record::Begin(begin) if begin.version != VERSION => damaged(
            offset,
            length,
            &format!("a history of version {}, which this release does not know", begin.version),
        ),
        // What reads it counts on what a node's own state always is.
        Record::State { state, .. } => match state.check() {
            Ok(()) => Item::Record(Box::new(record)),
            Err(why) => damaged(offset, length, &format!("its checksum is right, and its state is none: {why}")),
        },
        _ => Item::Record(Box::new(record)),
    }
}

fn damaged(offset: u64, length: usize, why: &str) -> Item {
    Item::Damage(Damage { offset, length: length as u64, why: why.to_owned() })
}

fn look(bytes: &[u8]) -> Found<'_> {
    if !MARK.starts_with(&bytes[..bytes.len().min(2)]) {
        return Found::Wrong("no record begins there");
    }
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Found::Short };
    let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
    let length = u32::from_le_bytes(word(2)) as usize;
    if length > MAX_BODY {
        return Found::Wrong("its length is not one");
    }
    match rest.get(..length) {
        None => Found::Short,
        Some(body) if checksum(word(2), body) == u32::from_le_bytes(word(6)) => Found::Body(body),
        Some(_) => Found::Wrong("its checksum does not match"),
    }
}
