//! The only file that names sled. It keeps bytes by index and syncs them; what they mean is none of its business.
//!
//! sled 0.34.7 never calls fsync: `flush` hands its buffers to the kernel and no further. So the database file is synced
//! through a descriptor of our own. An entry is cut into small pieces, because a leaf of sled's tree that outgrows a segment
//! (512 KiB) goes to a file of its own in `blobs/`, which nothing syncs: that lost acknowledged entries in the power-cut
//! test. A leaf has at most 17 pieces. Should a blob appear all the same, it is synced too.

use std::{
    fs::{self, File},
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::files;

/// The longest value given to sled, in bytes.
const PIECE: usize = 8 * 1024;
/// sled's page cache, in bytes. The log is read from its end, and seldom.
const CACHE: u64 = 1024 * 1024;
/// How long a database may be held by whoever closed it.
const RELEASE: Duration = Duration::from_secs(5);
/// How many removals go into one batch.
const BATCH: usize = 512;

/// A sled database with a second descriptor for syncing.
///
/// After an error it is used no more, and not even dropped: sled then waits for writes that never come.
pub(crate) struct Engine {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    file: File,
    blobs: PathBuf,
    failed: AtomicBool,
    #[cfg(test)]
    pub(crate) skip_sync: bool,
}

impl Engine {
    /// Makes an empty database, durable before it returns.
    pub(crate) fn create(dir: &Path) -> io::Result<()> {
        let engine = Self::open_any(dir)?;
        engine.sync()?;
        files::sync_file(&dir.join("conf"))?;
        files::sync_dir(dir)
    }

    /// Opens a database that is there; never makes one.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        for name in ["db", "conf"] {
            if !dir.join(name).is_file() {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} is missing")));
            }
        }
        Self::open_any(dir)
    }

    fn open_any(dir: &Path) -> io::Result<Self> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None);
        let began = Instant::now();
        let db = loop {
            // sled panics over some kinds of damage that it meets while it opens.
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the storage engine gave up on it"))?;
            match opened.map_err(to_io) {
                Ok(db) => break db,
                // A database that was closed a moment ago may be held a while longer by threads of sled's own.
                Err(e) if is_held(&e) && began.elapsed() < RELEASE => thread::sleep(Duration::from_millis(10)),
                Err(e) if is_held(&e) => return Err(io::Error::new(io::ErrorKind::WouldBlock, e)),
                Err(e) => return Err(e),
            }
        };
        let file = File::open(dir.join("db"))?;
        Ok(Self {
            db: Some(db),
            file,
            blobs: dir.join("blobs"),
            failed: AtomicBool::new(false),
            #[cfg(test)]
            skip_sync: false,
        })
    }

    /// Stores records; durable after the next [`Engine::sync`].
    pub(crate) fn insert(&self, records: &[(u64, Vec<u8>)]) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for (index, record) in records {
            for (part, piece) in record.chunks(PIECE).enumerate() {
                let part = u16::try_from(part).map_err(|_| io::Error::other("the entry is too long"))?;
                batch.insert(&key(*index, part)[..], piece);
            }
        }
        self.guarded(|db| db.apply_batch(batch))
    }

    /// Calls `f` with each record from `from` on, in order, until it says `false`.
    pub(crate) fn scan(&self, from: u64, mut f: impl FnMut(u64, Vec<u8>) -> bool) -> io::Result<()> {
        let mut current: Option<(u64, Vec<u8>, u16)> = None;
        for item in self.db().range(key(from, 0)..) {
            let (k, piece) = item.map_err(to_io)?;
            let (index, part) = parse_key(&k)?;
            match &mut current {
                Some((at, record, next)) if *at == index && *next == part => {
                    record.extend_from_slice(&piece);
                    *next += 1;
                }
                _ if part != 0 => {
                    let why = format!("entry {index} lacks the piece before piece {part}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                _ => {
                    if let Some((at, record, _)) = current.replace((index, piece.to_vec(), 1))
                        && !f(at, record)
                    {
                        return Ok(());
                    }
                }
            }
        }
        if let Some((at, record, _)) = current {
            f(at, record);
        }
        Ok(())
    }

    /// The record at `index`.
    pub(crate) fn get(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        let mut found = None;
        self.scan(index, |at, record| {
            if at == index {
                found = Some(record);
            }
            false
        })?;
        Ok(found)
    }

    /// Removes the records from `from` up to, not including, `until`.
    pub(crate) fn remove(&self, from: u64, until: Option<u64>) -> io::Result<()> {
        loop {
            let mut batch = sled::Batch::default();
            let mut count = 0;
            let range = match until {
                Some(until) => self.db().range(key(from, 0)..key(until, 0)),
                None => self.db().range(key(from, 0)..),
            };
            for item in range.take(BATCH) {
                batch.remove(item.map_err(to_io)?.0);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            self.guarded(|db| db.apply_batch(batch))?;
        }
    }

    /// Returns once everything that was stored before is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.guarded(|db| db.flush().map(drop))?;
        #[cfg(test)]
        if self.skip_sync {
            return Ok(());
        }
        let synced = self.file.sync_data().and_then(|()| self.sync_blobs());
        synced.inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let mut any = false;
        for blob in fs::read_dir(&self.blobs)? {
            match files::sync_file(&blob?.path()) {
                // sled removes one in the background when it is no longer needed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            any = true;
        }
        if any { files::sync_dir(&self.blobs) } else { Ok(()) }
    }

    /// As if the disk had refused a write.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("it is taken only by `drop`")
    }

    fn guarded(&self, write: impl FnOnce(&sled::Db) -> sled::Result<()>) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the storage engine failed before"));
        }
        write(self.db()).map_err(|e| {
            self.failed.store(true, Ordering::Release);
            to_io(e)
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        if self.failed.load(Ordering::Acquire) {
            mem::forget(db);
        }
    }
}

fn key(index: u64, part: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> io::Result<(u64, u16)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a key that is no entry's");
    let (index, part) = key.split_at_checked(8).ok_or_else(wrong)?;
    let index = u64::from_be_bytes(index.try_into().map_err(|_| wrong())?);
    Ok((index, u16::from_be_bytes(part.try_into().map_err(|_| wrong())?)))
}

/// Somebody has the database open. That is no damage.
fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(e) => e,
        sled::Error::Corruption { .. } => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        other => io::Error::other(other.to_string()),
    }
}
