//! The log, the vote and whose store it is, on disk.
//!
//! | file | what it holds | how it is written |
//! |---|---|---|
//! | `identity` | cluster and node | once, by [`create_store`] |
//! | `lock` | nothing; locked while a process has the store open | |
//! | `vote` | vote, committed, purged, last entry and its hash ([`meta`]) | two copies, synced in turn |
//! | `log/` | the entries ([`engine`], the only file that names sled) | synced before `vote` names them |
//! | `snapshot` | the state as of an entry ([`super::machine`]) | whole, synced, renamed |
//!
//! Whatever does not check out when the store is opened is refused, with the file and the entry: it is never half-read,
//! never repaired by guessing, and a store is never made where one is expected, because a node that lost its disk would
//! vote again in elections it has voted in.

mod dir;
pub(crate) mod engine;
pub(crate) mod files;
pub(crate) mod format;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
pub(crate) mod meta;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

use std::{
    fmt::Debug,
    fs::File,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::fcntl::Flock;
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use prost::Message;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::dir::{CreateError, OpenError, create_store};
pub(crate) use self::dir::{StoreDir, corrupt};
use self::{
    dir::{LOG, META},
    engine::Engine,
    format::{Hash, NO_HASH},
    meta::{Meta, MetaError, MetaFile},
    writer::{Change, Job, Writer},
};
use super::{
    types::{Entry, LogId, TypeConfig, Vote},
    wire,
};
use crate::proto::raft as pb;

/// The longest entry that is taken, in bytes: what one message to a peer can carry with room to spare.
pub(crate) const MAX_ENTRY: usize = 1024 * 1024;
/// How many bytes of entries go to a peer at once, unless one alone is longer.
const READ_BYTES: usize = 1024 * 1024;

/// The log as openraft sees it.
#[derive(Clone)]
pub(crate) struct LogStore(Arc<Shared>);

struct Shared {
    engine: Arc<Engine>,
    writer: Writer,
    tail: Mutex<Meta>,
    /// Declared last but one, so that it is released when all else is.
    _lock: Flock<File>,
    released: DropGuard,
}

impl LogStore {
    /// Opens the log and checks every entry of it.
    pub(crate) fn open(dir: StoreDir) -> Result<Self, OpenError> {
        Self::open_with(dir, |_, _| {})
    }

    /// `open`, with a hook by which a test takes the syncs out.
    fn open_with(dir: StoreDir, arm: impl FnOnce(&mut Engine, &mut MetaFile)) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { dir: dir.path.clone(), source };
        let meta_path = dir.path.join(META);
        let (mut file, meta) = MetaFile::open(&meta_path).map_err(|e| match e {
            MetaError::Io(e) if e.kind() == io::ErrorKind::NotFound => corrupt(&meta_path, None, "it is missing"),
            MetaError::Io(e) => io(e),
            bad @ MetaError::BothBad(..) => corrupt(&meta_path, None, bad),
        })?;
        let log_path = dir.path.join(LOG);
        let mut engine = Engine::open(&log_path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::Other => corrupt(&log_path, None, e),
            _ => io(e),
        })?;
        verify(&engine, &meta, &log_path)?;
        arm(&mut engine, &mut file);
        let engine = Arc::new(engine);
        let writer = Writer::start(engine.clone(), file, meta.clone()).map_err(io)?;
        let released = CancellationToken::new().drop_guard();
        Ok(Self(Arc::new(Shared { engine, writer, tail: Mutex::new(meta), _lock: dir.lock, released })))
    }

    /// Cancelled when the last clone is gone and another process may open the store.
    pub(crate) fn released(&self) -> CancellationToken {
        self.0.released.token().clone()
    }

    /// The last entry that a snapshot must cover.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.tail().purged
    }

    fn tail(&self) -> MutexGuard<'_, Meta> {
        // Nothing panics while it holds the lock, and what it guards is replaced field by field.
        self.0.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decode(index: u64, record: &[u8]) -> io::Result<(Entry, Hash)> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("entry {index}: {why}"));
        let (before, body) = format::read_record(index, record).map_err(|e| bad(e.to_string()))?;
        let entry = pb::Entry::decode(body).map_err(|e| bad(e.to_string()))?;
        let entry = wire::entry_from(entry).map_err(|e| bad(e.to_string()))?;
        if entry.log_id.index() != index {
            return Err(bad(format!("it calls itself {}", entry.log_id)));
        }
        Ok((entry, format::chain(&before, body)))
    }

    /// Entries from `from` up to, not including, `until`, but no more than `bytes` of them unless the first alone is longer.
    fn read(&self, from: u64, until: Option<u64>, bytes: usize) -> io::Result<Vec<Entry>> {
        let (mut entries, mut size, mut failed) = (Vec::new(), 0, None);
        if until.is_some_and(|until| until <= from) {
            return Ok(entries);
        }
        self.0.engine.scan(from, |index, record| {
            size += record.len();
            if until.is_some_and(|until| index >= until) || (size > bytes && !entries.is_empty()) {
                return false;
            }
            match Self::decode(index, &record) {
                Ok((entry, _)) => entries.push(entry),
                Err(e) => failed = Some(e),
            }
            failed.is_none() && until.is_none_or(|until| index + 1 < until)
        })?;
        failed.map_or(Ok(entries), Err)
    }

    /// The id and hash of the entry at `index`.
    fn at(&self, index: u64) -> io::Result<(LogId, Hash)> {
        let record = self.0.engine.get(index)?;
        let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("entry {index} is missing"));
        let (entry, hash) = Self::decode(index, &record.ok_or_else(missing)?)?;
        Ok((entry.log_id, hash))
    }
}

/// What a peer may be sent that lacks the entries from `start` on: nothing if the first of them was purged.
///
/// openraft keeps what a stream of entries to a peer may need, but a stream whose session failed lives a little longer than
/// that, and would go on with a gap. An empty answer makes it wait until it is dropped.
pub(super) fn gapless(start: u64, entries: Vec<Entry>) -> Vec<Entry> {
    let gap = entries.first().is_some_and(|first| first.log_id.index() != start);
    if gap { Vec::new() } else { entries }
}

/// Checks each entry and the chain from the purged one to the last that was reported durable, and drops what lies outside.
fn verify(engine: &Engine, meta: &Meta, log: &Path) -> Result<(), OpenError> {
    let first = meta.purged.map_or(0, |id| id.index() + 1);
    let (end, end_hash) = meta.end();
    let next = end.map_or(0, |id| id.index() + 1);
    let (mut expected, mut hash, mut last) = (first, meta.base_hash, meta.purged);
    let mut failed = None;
    let scanned = engine.scan(first, |index, record| {
        if expected >= next {
            return false;
        }
        let checked = if index == expected {
            check(index, &record, &hash).map_err(|why| corrupt(log, Some(index), why))
        } else {
            Err(corrupt(log, Some(expected), "it is missing"))
        };
        match checked {
            Ok((id, _)) if Some(id) < last => {
                failed = Some(corrupt(log, Some(index), "its term is below that of the entry before it"));
            }
            Ok((id, chained)) => (expected, hash, last) = (index + 1, chained, Some(id)),
            Err(e) => failed = Some(e),
        }
        failed.is_none()
    });
    scanned.map_err(|e| corrupt(log, Some(expected), e))?;
    if let Some(e) = failed {
        return Err(e);
    }
    if expected != next {
        return Err(corrupt(log, Some(expected), "it was reported durable and is missing"));
    }
    if last != end || hash != end_hash {
        return Err(corrupt(log, end.map(|id| id.index()), "it is not the entry that was reported durable"));
    }
    let dropped = engine.remove(0, Some(first)).and_then(|()| engine.remove(next, None)).and_then(|()| engine.sync());
    dropped.map_err(|source| OpenError::Io { dir: log.to_owned(), source })
}

fn check(index: u64, record: &[u8], before: &Hash) -> Result<(LogId, Hash), String> {
    let (named, _) = format::read_record(index, record).map_err(|e| e.to_string())?;
    if named != *before {
        return Err("it does not follow the entry before it".to_owned());
    }
    LogStore::decode(index, record).map(|(entry, hash)| (entry.log_id, hash)).map_err(|e| e.to_string())
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(n) => n.checked_add(1),
            Bound::Excluded(n) => Some(*n),
            Bound::Unbounded => None,
        };
        self.read(from, until, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(gapless(start, self.read(start, Some(end), READ_BYTES)?))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.end().0 })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.writer.change(Change::Vote(*vote)).await?;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.tail().committed = committed;
        self.0.writer.send(Job::Committed(committed))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.tail().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut last, mut hash) = self.tail().end();
        let mut records = Vec::new();
        for entry in entries {
            let index = entry.log_id.index();
            if last.is_some_and(|last: LogId| last.index() + 1 != index) {
                return Err(io::Error::other(format!("entry {index} does not follow {last:?}")));
            }
            let body = wire::entry_to(&entry).encode_to_vec();
            records.push((index, format::record(index, &hash, &body)));
            (last, hash) = (Some(entry.log_id), format::chain(&hash, &body));
        }
        let Some(end) = last.filter(|_| !records.is_empty()) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        self.0.engine.insert(&records)?;
        {
            let mut tail = self.tail();
            (tail.last, tail.last_hash) = (last, hash);
        }
        self.0.writer.send(Job::Append { last: end, hash, done: callback })
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let (purged, base, end) = {
            let tail = self.tail();
            (tail.purged, tail.base_hash, tail.end().0)
        };
        if last_log_id >= end {
            return Ok(());
        }
        let (last, hash) = match last_log_id {
            Some(id) if Some(id) > purged => {
                let (found, hash) = self.at(id.index())?;
                (Some(found), hash)
            }
            _ => (purged, if purged.is_some() { base } else { NO_HASH }),
        };
        // The shorter end is durable first: what lies beyond it is dropped at the next opening, if not before.
        self.0.writer.change(Change::Truncated { last, hash }).await?;
        {
            let mut tail = self.tail();
            (tail.last, tail.last_hash) = (last, hash);
        }
        self.0.engine.remove(last.map_or(0, |id| id.index() + 1), None)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let (first, end, base) = {
            let tail = self.tail();
            (tail.purged.map_or(0, |id| id.index() + 1), tail.end().0, tail.base_hash)
        };
        if log_id.index() < first {
            return Ok(());
        }
        let base = if end >= Some(log_id) {
            match self.0.engine.get(log_id.index())? {
                Some(record) => Self::decode(log_id.index(), &record)?.1,
                // The log begins later: its first entry follows what it always followed.
                None => base,
            }
        } else {
            // A snapshot reaches beyond the log: a new chain begins at its last entry.
            format::chain(&NO_HASH, &wire::log_id_to(log_id).encode_to_vec())
        };
        self.0.writer.change(Change::Purged { purged: log_id, base }).await?;
        {
            let mut tail = self.tail();
            (tail.purged, tail.base_hash) = (Some(log_id), base);
        }
        self.0.engine.remove(0, Some(log_id.index() + 1))
    }
}
