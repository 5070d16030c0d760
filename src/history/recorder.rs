//! The recording side: a hand that never waits, and the thread that writes.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::warn;

use super::{
    format::encode,
    record::{Begin, Record},
    segments,
};
use crate::core::{
    names::{ClusterId, NodeId},
    state::{Position, State},
};

/// How many records may wait for the disk: more than a minute's worth.
const WAITING: usize = 256;
/// What is written at once.
const BUFFER: usize = 64 * 1024;
/// The longest that a record waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// A segment is this part of all, and not longer than so many bytes.
const PARTS: u64 = 8;
const LONGEST_SEGMENT: u64 = 8 * 1024 * 1024;
/// Nor longer than this: damage costs what follows it in the segment, because a change needs what it is a change of.
const LONGEST_SPAN: Duration = Duration::from_hours(1);
/// What the log and its snapshots must find free: below that nothing is recorded.
const RESERVE: u64 = 64 * 1024 * 1024;
/// How long the recording rests after the disk refused.
const REST: Duration = Duration::from_mins(1);

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// For how long.
    pub keep: Duration,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep: Duration::from_hours(7 * 24), bytes: 256 * 1024 * 1024 }
    }
}

/// Takes down what is applied. Dropping it writes what waits.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    jobs: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The last index that is recorded already: what a restart applies again is not recorded again.
    last: AtomicU64,
    /// The next record must come with the state before it.
    needs_state: AtomicBool,
    waiting: AtomicUsize,
}

#[derive(Debug)]
enum Job {
    Record(Record),
    Flush(SyncSender<()>),
}

impl Recorder {
    /// Begins; the directory is made when it is missing.
    ///
    /// # Errors
    /// The directory cannot be made or read, or no thread started.
    pub fn start(dir: &Path, settings: Settings, cluster: ClusterId, node: NodeId) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let begin = Begin::new(cluster, node, 0);
        let segments = segments::list(dir)?;
        let last = segments.last().and_then(|last| segments::last_index(&last.path, &begin));
        let shared = Arc::new(Shared {
            last: AtomicU64::new(last.unwrap_or(0)),
            needs_state: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
        });
        let (jobs, queue) = sync_channel(WAITING);
        let writer = Writer {
            dir: dir.to_owned(),
            settings,
            begin,
            shared: shared.clone(),
            next: segments.last().map_or(1, |last| last.number + 1),
            segment: None,
            rests_until: None,
        };
        describe();
        let thread = thread::Builder::new().name("quorate-history".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Self { dir: dir.to_owned(), jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)), shared })
    }

    /// Where the segments are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry at `position` is about to be applied to `state`; whether it is to be recorded afterwards. Costs a copy of the
    /// state now and then.
    #[must_use]
    pub fn before(&self, position: Position, state: &State) -> bool {
        if position.index <= self.shared.last.load(Ordering::Relaxed) {
            return false;
        }
        if self.shared.waiting.load(Ordering::Relaxed) >= WAITING - 1 {
            self.miss();
            return false;
        }
        if self.shared.needs_state.swap(false, Ordering::Relaxed) {
            self.take(Record::State { wall: wall(), state: Box::new(state.clone()) });
        }
        true
    }

    /// Takes down what was applied. Never waits: what finds no room is missing, and the next record comes with the state.
    pub fn record(&self, record: Record) {
        if let Some(position) = record.position() {
            self.shared.last.store(position.index, Ordering::Relaxed);
        }
        self.take(record);
    }

    /// A snapshot took the place of the state: entries are missing between the last record and the next.
    pub fn replaced(&self, at: Position) {
        if at.index > self.shared.last.load(Ordering::Relaxed) {
            self.shared.last.store(at.index, Ordering::Relaxed);
            self.shared.needs_state.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until everything that was taken down so far can be read, or cannot be written. Blocks.
    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(jobs) = jobs
            && jobs.send(Job::Flush(done)).is_ok()
        {
            // The thread answers, or it is gone.
            let _ = flushed.recv();
        }
    }

    fn take(&self, record: Record) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = jobs.as_ref() else { return };
        if jobs.try_send(Job::Record(record)).is_ok() {
            self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.miss();
        }
    }

    fn miss(&self) {
        self.shared.needs_state.store(true, Ordering::Relaxed);
        metrics::counter!("quorate_history_missed_total").increment(1);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn describe() {
    metrics::describe_counter!("quorate_history_bytes_total", "Bytes written to this node's history");
    metrics::describe_counter!("quorate_history_missed_total", "Entries missing from this node's history");
    metrics::describe_gauge!("quorate_history_recording", "1 while this node records its history");
}

fn wall() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(wall).unwrap_or(u64::MAX)
}

struct Writer {
    dir: PathBuf,
    settings: Settings,
    begin: Begin,
    shared: Arc<Shared>,
    /// The number of the next segment.
    next: u64,
    segment: Option<Open>,
    rests_until: Option<Instant>,
}

/// The segment that is being written.
struct Open {
    file: File,
    began: Instant,
    flushed: Instant,
    bytes: u64,
    /// The next one was asked for.
    over: bool,
    buffer: Vec<u8>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let job = queue.recv_timeout(DELAY);
            if matches!(job, Ok(Job::Record(_))) {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            let done = match &job {
                Ok(Job::Record(record)) => self.take(record),
                Ok(Job::Flush(_)) | Err(_) => self.flush(),
            };
            if let Err(error) = done {
                self.rest(&error);
            }
            match job {
                Ok(Job::Flush(done)) => drop(done.send(())),
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(Job::Record(_)) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, record: &Record) -> io::Result<()> {
        if let Some(until) = self.rests_until {
            if Instant::now() < until {
                metrics::counter!("quorate_history_missed_total").increment(1);
                return Ok(());
            }
            self.rests_until = None;
            self.shared.needs_state.store(true, Ordering::Relaxed);
        }
        if let Record::State { wall, .. } = record {
            self.open(*wall)?;
        }
        let Some(open) = &mut self.segment else {
            metrics::counter!("quorate_history_missed_total").increment(1);
            return Ok(());
        };
        open.buffer.extend_from_slice(&encode(record));
        let full = open.bytes + open.buffer.len() as u64 >= LONGEST_SEGMENT.min(self.settings.bytes / PARTS);
        if !open.over && (full || open.began.elapsed() >= LONGEST_SPAN) {
            open.over = true;
            self.shared.needs_state.store(true, Ordering::Relaxed);
        }
        if open.buffer.len() >= BUFFER || open.flushed.elapsed() >= DELAY { self.flush() } else { Ok(()) }
    }

    /// A new segment, and room for it.
    fn open(&mut self, wall: u64) -> io::Result<()> {
        self.flush()?;
        self.segment = None;
        enough_room(&self.dir)?;
        let longest = LONGEST_SEGMENT.min(self.settings.bytes / PARTS);
        let path = segments::path(&self.dir, self.next);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        self.next += 1;
        segments::prune(&self.dir, self.settings.keep, self.settings.bytes - longest)?;
        let buffer = encode(&Record::Begin(Begin { wall, ..self.begin.clone() }));
        let now = Instant::now();
        self.segment = Some(Open { file, began: now, flushed: now, bytes: 0, over: false, buffer });
        metrics::gauge!("quorate_history_recording").set(1.0);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(open) = self.segment.as_mut().filter(|open| !open.buffer.is_empty()) else { return Ok(()) };
        enough_room(&self.dir)?;
        open.file.write_all(&open.buffer)?;
        open.bytes += open.buffer.len() as u64;
        open.flushed = Instant::now();
        metrics::counter!("quorate_history_bytes_total").increment(open.buffer.len() as u64);
        open.buffer.clear();
        // A state is long and rare.
        open.buffer.shrink_to(BUFFER);
        Ok(())
    }

    /// Gives up for a while. What the segment holds stays; the next one begins with the state.
    fn rest(&mut self, error: &io::Error) {
        warn!(dir = %self.dir.display(), %error, "the history cannot be written: nothing is recorded for a minute, the node goes on");
        metrics::gauge!("quorate_history_recording").set(0.0);
        self.segment = None;
        self.rests_until = Some(Instant::now() + REST);
    }
}

/// The history never takes the room that the log needs.
fn enough_room(dir: &Path) -> io::Result<()> {
    let of = nix::sys::statvfs::statvfs(dir)?;
    let free = of.blocks_available().saturating_mul(of.fragment_size());
    if free >= RESERVE {
        return Ok(());
    }
    let why = format!("{} MiB are free, {} stay so", free >> 20, RESERVE >> 20);
    Err(io::Error::new(io::ErrorKind::StorageFull, why))
}
