//! The one thread that makes things durable: batch, flush, sync, report. Appends that wait meanwhile share the next sync.
//!
//! An entry is reported only after its bytes were synced and after that the new last index was. Whatever the log holds
//! beyond the recorded last index was never reported, and is dropped when the store is opened.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::{
    engine::Engine,
    format::Hash,
    meta::{Meta, MetaFile},
};
use crate::raft::types::{LogId, TypeConfig, Vote};

/// How many jobs may wait; an append blocks beyond that.
const QUEUE: usize = 1024;
/// How many jobs share one sync.
const BATCH: usize = 256;
/// How long a new committed index may wait for a write that takes it along. Losing it costs nothing but time at a restart.
const COMMITTED_DELAY: Duration = Duration::from_millis(200);

/// What becomes durable.
pub(crate) enum Job {
    /// Entries up to `last` were given to the engine.
    Append { last: LogId, hash: Hash, done: IOFlushed<TypeConfig> },
    /// A change that someone waits for.
    Change { change: Change, done: oneshot::Sender<io::Result<()>> },
    /// The committed index moved.
    Committed(Option<LogId>),
}

/// A change of what is kept beside the entries.
pub(crate) enum Change {
    Vote(Vote),
    /// The log ends here now.
    Truncated {
        last: Option<LogId>,
        hash: Hash,
    },
    /// The log begins after this entry now.
    Purged {
        purged: LogId,
        base: Hash,
    },
}

/// The thread and the way to it. Dropping it writes what waits and ends the thread.
pub(crate) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(engine: Arc<Engine>, file: MetaFile, meta: Meta) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let worker = Worker { engine, file, meta, dirty: false, failed: None };
        let thread = thread::Builder::new().name("quorate-log".to_owned()).spawn(move || worker.run(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a job over; blocks while the queue is full.
    pub(crate) fn send(&self, job: Job) -> io::Result<()> {
        let gone = || io::Error::other("the log writer ended");
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())
    }

    /// Makes a change and waits until it is durable.
    pub(crate) async fn change(&self, change: Change) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        self.send(Job::Change { change, done })?;
        outcome.await.map_err(|_| io::Error::other("the log writer ended"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened; there is nobody to hand it to here.
            let _ = thread.join();
        }
    }
}

struct Worker {
    engine: Arc<Engine>,
    file: MetaFile,
    meta: Meta,
    /// The committed index moved and no write has taken it along.
    dirty: bool,
    /// The first error: from then on nothing is written, as what is on disk is no longer known.
    failed: Option<(io::ErrorKind, String)>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let first = if self.dirty {
                queue.recv_timeout(COMMITTED_DELAY)
            } else {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(job) => {
                    let mut jobs = vec![job];
                    jobs.extend(queue.try_iter().take(BATCH - 1));
                    self.perform(jobs);
                }
                Err(RecvTimeoutError::Timeout) => self.perform(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.dirty {
            self.perform(Vec::new());
        }
    }

    fn perform(&mut self, jobs: Vec<Job>) {
        let outcome = match &self.failed {
            Some((kind, why)) => Err((*kind, why.clone())),
            None => self.write(&jobs).map_err(|e| (e.kind(), e.to_string())),
        };
        if let Err((kind, why)) = &outcome
            && self.failed.is_none()
        {
            tracing::error!(%why, "the log cannot be written: this node stops");
            self.failed = Some((*kind, why.clone()));
        }
        let report = || outcome.clone().map(|_| ()).map_err(|(kind, why)| io::Error::new(kind, why));
        for job in jobs {
            match job {
                Job::Append { done, .. } => done.io_completed(report()),
                // Whoever asked may have gone; the change stands all the same.
                Job::Change { done, .. } => drop(done.send(report())),
                Job::Committed(_) => {}
            }
        }
        if outcome == Ok(true) {
            self.mirror();
        }
    }

    /// Syncs the entries, then the first copy of the meta file. Returns whether the second copy is to follow.
    fn write(&mut self, jobs: &[Job]) -> io::Result<bool> {
        let (mut appended, mut changed) = (false, jobs.is_empty());
        for job in jobs {
            match job {
                Job::Append { last, hash, .. } => {
                    appended = true;
                    (self.meta.last, self.meta.last_hash) = (Some(*last), *hash);
                }
                Job::Change { change, .. } => {
                    changed = true;
                    self.meta.apply(change);
                }
                Job::Committed(committed) => {
                    self.dirty |= self.meta.committed != *committed;
                    self.meta.committed = *committed;
                }
            }
        }
        if appended {
            self.engine.sync()?;
        }
        if appended || changed {
            self.meta.seq += 1;
            self.file.write_first(&self.meta)?;
            self.dirty = false;
        }
        Ok(appended || changed)
    }

    fn mirror(&mut self) {
        if let Err(e) = self.file.write_second(&self.meta) {
            tracing::error!(why = %e, "the log cannot be written: this node stops");
            self.failed = Some((e.kind(), e.to_string()));
        }
    }
}

impl Meta {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Truncated { last, hash } => (self.last, self.last_hash) = (*last, *hash),
            Change::Purged { purged, base } => (self.purged, self.base_hash) = (Some(*purged), *base),
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::type_config::TypeConfigExt;

    use super::{
        super::{
            dir::{LOG, META, create_store},
            format::NO_HASH,
        },
        *,
    };
    use crate::raft::types::log_id;

    /// All of them wait before the first is written, so that it does not depend on which is faster, disk or test.
    #[tokio::test]
    async fn appends_that_wait_share_a_sync() {
        let dir = tempfile::tempdir().unwrap();
        create_store(dir.path(), &"test".parse().unwrap(), 1).unwrap();
        let meta_path = dir.path().join(META);
        let (file, meta) = MetaFile::open(&meta_path).unwrap();
        let before = meta.seq;
        let engine = Arc::new(Engine::open(&dir.path().join(LOG)).unwrap());
        let (jobs, queue) = sync_channel(QUEUE);
        let mut waiting = vec![];
        for index in 0..200 {
            let (sender, receiver) = TypeConfig::oneshot();
            let done = IOFlushed::signal(sender);
            jobs.send(Job::Append { last: log_id(1, index), hash: NO_HASH, done }).unwrap();
            waiting.push(receiver);
        }
        drop(jobs);
        Worker { engine, file, meta, dirty: false, failed: None }.run(&queue);
        for outcome in waiting {
            outcome.await.unwrap().unwrap();
        }
        let (_, meta) = MetaFile::open(&meta_path).unwrap();
        assert_eq!((meta.seq, meta.last), (before + 1, Some(log_id(1, 199))), "one sync for all of them");
    }
}
