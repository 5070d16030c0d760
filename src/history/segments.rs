//! The directory of a history: one file a segment, numbered, the oldest removed first.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    format::{Decoder, Item},
    record::{Begin, Record},
};

const PREFIX: &str = "segment-";
/// How much of a file its first record lies in.
const HEAD: u64 = 4096;
/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number; a later one is greater.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// When it was written to last.
    pub modified: SystemTime,
}

/// The path of the segment of this number.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:08}"))
}

/// The segments in order; none when there is no such directory.
///
/// # Errors
/// The directory cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut segments = vec![];
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|number| number.parse().ok());
        if let (Some(number), Ok(of)) = (number, entry.metadata()) {
            let modified = of.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            segments.push(Segment { number, path: entry.path(), bytes: of.len(), modified });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// Whose a segment is and when it was begun; `None` where that cannot be read.
#[must_use]
pub fn head(path: &Path) -> Option<Begin> {
    let mut bytes = vec![];
    File::open(path).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    match decoder.next_item()? {
        Item::Record(record) => match *record {
            Record::Begin(begin) => Some(begin),
            _ => None,
        },
        Item::Damage(_) => None,
    }
}

/// The index of the last entry that a segment holds, if it is this cluster's and node's.
pub(super) fn last_index(path: &Path, of: &Begin) -> Option<u64> {
    let theirs = head(path)?;
    if (&theirs.cluster, theirs.node) != (&of.cluster, of.node) {
        return None;
    }
    let mut last = None;
    // What is damaged says nothing of where it ended.
    let _ = read(path, &mut |item| {
        if let Item::Record(record) = item
            && let Some(position) = record.position()
        {
            last = Some(position.index);
        }
    });
    last
}

/// Reads a file to its end.
///
/// # Errors
/// The disk's; damage is an item.
pub fn read(path: &Path, each: &mut dyn FnMut(Item)) -> io::Result<()> {
    let mut file = File::open(path)?;
    let (mut decoder, mut chunk) = (Decoder::new(), vec![0; CHUNK]);
    loop {
        let length = file.read(&mut chunk)?;
        decoder.push(&chunk[..length]);
        if length == 0 {
            decoder.end();
        }
        while let Some(item) = decoder.next_item() {
            each(item);
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// The segments that may hold something recorded between the two wall times (ms since 1970).
///
/// # Errors
/// The directory cannot be read.
pub fn overlapping(dir: &Path, from: u64, to: u64) -> io::Result<Vec<Segment>> {
    let segments = list(dir)?;
    let begins: Vec<Option<u64>> = segments.iter().map(|of| head(&of.path).map(|begin| begin.wall)).collect();
    let wanted = |i: &usize| {
        let begins_late = begins[*i].is_some_and(|wall| wall > to);
        // One that ends before the stretch is followed by one that begins before it.
        let ends_early = begins.get(i + 1).copied().flatten().is_some_and(|next| next <= from);
        !begins_late && !ends_early
    };
    Ok(segments.iter().enumerate().filter(|(i, _)| wanted(i)).map(|(_, segment)| segment.clone()).collect())
}

/// Removes the oldest segments until the others are no older than `keep` and no longer than `bytes` in all.
pub(super) fn prune(dir: &Path, keep: Duration, bytes: u64) -> io::Result<()> {
    let segments = list(dir)?;
    let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    // The last one is being written.
    for segment in segments.iter().take(segments.len().saturating_sub(1)) {
        let old = segment.modified.elapsed().is_ok_and(|age| age > keep);
        if !old && total <= bytes {
            break;
        }
        fs::remove_file(&segment.path)?;
        total -= segment.bytes;
    }
    Ok(())
}
