//! What takes the place of disk and chance while a node runs in a simulation.
//!
//! A [`Disk`] is a log and a snapshot in memory that tell what was written from what was synced: a crash takes back the
//! rest, as a power cut would. A node that is started with the path of a disk that [`Disk::make`] made has that disk; every
//! other node has the real store. The log's own code (`store`) cannot run in here, because it has threads of its own; it is
//! tested under power cuts, kill -9 and damage instead.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Debug,
    future::Future,
    io,
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    AsyncRuntime, EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use openraft_rng::{SeedableRng, rngs::StdRng};
use openraft_rt_tokio::TokioRuntime;

use super::{
    machine::{Applied, Machine},
    store,
    types::{Entry, LogId, TypeConfig, Vote, position},
    wire,
};
use crate::core::{
    names::{ClusterId, NodeId, Site},
    state::{Action, Position, Response, State},
};

thread_local! {
    static DISKS: RefCell<BTreeMap<PathBuf, Disk>> = const { RefCell::new(BTreeMap::new()) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
}

/// Begins a simulation on this thread: no disks, and chance from this seed.
pub fn begin(seed: u64) {
    DISKS.with_borrow_mut(BTreeMap::clear);
    CHANCE.set(seed);
}

/// What survives a crash, and what was written since.
#[derive(Clone, Default)]
struct Image {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    snapshot: Option<Bytes>,
}

impl Image {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }
}

struct Inner {
    cluster: ClusterId,
    node: NodeId,
    now: Image,
    synced: Image,
    /// Syncs that began, and the last of them that is done: a slow one that a quick one overtook takes nothing back.
    syncs: (u64, u64),
    /// How long a sync takes.
    sync: Duration,
    machine: Option<Machine>,
    installed: u64,
}

/// A node's disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    /// Makes an empty disk for a node that is started with this path on this thread.
    pub fn make(path: &Path, cluster: ClusterId, node: NodeId, sync: Duration) -> Self {
        let (now, synced) = (Image::default(), Image::default());
        let inner = Inner { cluster, node, now, synced, syncs: (0, 0), sync, machine: None, installed: 0 };
        let disk = Self(Arc::new(Mutex::new(inner)));
        DISKS.with_borrow_mut(|disks| disks.insert(path.to_owned(), disk.clone()));
        disk
    }

    pub(super) fn at(path: &Path) -> Option<Self> {
        DISKS.with_borrow(|disks| disks.get(path).cloned())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owner(&self) -> (ClusterId, NodeId) {
        let disk = self.lock();
        (disk.cluster.clone(), disk.node)
    }

    pub(super) fn log(&self) -> SimulatedLog {
        SimulatedLog(self.clone())
    }

    pub(super) fn machine(&self) -> Machine {
        let machine = Machine::simulated(Kept(self.clone()));
        self.lock().machine = Some(machine.clone());
        machine
    }

    /// The power fails: what was not synced is gone. The node must not run meanwhile.
    pub fn lose_power(&self) {
        let mut disk = self.lock();
        disk.now = disk.synced.clone();
        disk.machine = None;
    }

    /// How long a sync takes from now on.
    pub fn set_sync(&self, sync: Duration) {
        self.lock().sync = sync;
    }

    /// How many snapshots of other nodes took the place of entries that this node's log never had.
    #[must_use]
    pub fn installed(&self) -> u64 {
        self.lock().installed
    }

    /// Where the running node's state stands, and its hash: equal on all nodes at equal positions (invariant 8).
    #[must_use]
    pub fn state_hash(&self) -> Option<(Position, String)> {
        let machine = self.lock().machine.clone()?;
        let (at, hash) = machine.hash();
        Some((position(at?), hash))
    }

    /// The term and the leader that this node last voted for, once a quorum has elected it.
    #[must_use]
    pub fn leader(&self) -> Option<(u64, NodeId)> {
        let vote = self.lock().now.vote.filter(|vote| vote.committed)?;
        Some((vote.leader_id.term, vote.leader_id.voted_for))
    }

    /// The position of the running node's state.
    #[must_use]
    pub fn applied(&self) -> Option<Position> {
        let machine = self.lock().machine.clone()?;
        let at = *machine.position().borrow();
        (at.term > 0).then_some(at)
    }

    /// Where the log's entries from this index on stand, synced or not.
    #[must_use]
    pub fn entries_from(&self, index: u64) -> Vec<Position> {
        self.lock().now.entries.range(index..).map(|(_, entry)| position(entry.log_id)).collect()
    }

    /// The entry at an index, as a fingerprint that is equal for equal entries.
    fn entry(&self, index: u64) -> Option<Entry> {
        self.lock().now.entries.get(&index).cloned()
    }

    /// Whether the log begins after this index.
    fn purged(&self, index: u64) -> bool {
        self.lock().now.purged.is_some_and(|purged| purged.index() >= index)
    }
}

/// Applies what nodes applied, entry by entry, for whoever watches over them.
#[derive(Default)]
pub struct Replica {
    applied: Applied,
    next: u64,
    /// Every entry that any node applied: what was committed once stays (invariant 7).
    seen: BTreeMap<u64, LogId>,
}

/// One entry, as the replica applied it.
#[derive(Debug)]
pub struct Step {
    /// Where it stands.
    pub position: Position,
    /// The command's action, if it is one.
    pub action: Option<Action>,
    /// What became of it.
    pub response: Response,
}

impl Replica {
    /// The state after the last step.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.applied.state
    }

    /// The index of the entry that it applies next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// SHA-256 of the state, as nodes tell it.
    #[must_use]
    pub fn hash(&self) -> String {
        use sha2::{Digest, Sha256};
        hex::encode(Sha256::digest(wire::to_cbor(&self.applied.state)))
    }

    /// Applies the next entry that this disk's node has applied and the replica has not; `None` when there is none.
    ///
    /// # Errors
    /// The node applied another entry than one before it did, at the same index.
    pub fn step(&mut self, disk: &Disk) -> Result<Option<Step>, String> {
        if disk.applied().is_none_or(|at| at.index < self.next) {
            return Ok(None);
        }
        let Some(entry) = disk.entry(self.next) else {
            // The entry went into a snapshot; another node's log has it, or had it when it was applied there.
            return Ok(None);
        };
        self.next += 1;
        self.seen.insert(entry.log_id.index(), entry.log_id);
        let action = match &entry.payload {
            EntryPayload::Normal(command) => Some(command.0.action.clone()),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        let position = position(entry.log_id);
        let response = self.applied.apply(entry, None);
        Ok(Some(Step { position, action, response }))
    }

    /// Whether the log of this disk's node, up to what the node applied, is what was applied everywhere.
    ///
    /// # Errors
    /// Where it is not.
    pub fn agrees(&self, disk: &Disk) -> Result<(), String> {
        let Some(applied) = disk.applied() else { return Ok(()) };
        for (index, id) in self.seen.range(..=applied.index).rev().take(64) {
            match disk.entry(*index) {
                Some(entry) if entry.log_id == *id => {}
                Some(entry) => {
                    return Err(format!("entry {index} is {} on one node and {id} on another", entry.log_id));
                }
                None if disk.purged(*index) => break,
                None => return Err(format!("entry {index} was applied and is gone from the log")),
            }
        }
        Ok(())
    }

    /// The voters and their sites.
    #[must_use]
    pub fn voters(&self) -> &BTreeMap<NodeId, Site> {
        &self.applied.state.voters
    }
}

/// The snapshot's place on a disk.
#[derive(Clone)]
pub(super) struct Kept(Disk);

impl Kept {
    pub(super) fn read(&self) -> Option<Bytes> {
        self.0.lock().now.snapshot.clone()
    }

    /// Whole or not at all, and synced when it returns.
    pub(super) async fn write(&self, bytes: Bytes) -> io::Result<()> {
        let sync = self.0.lock().sync;
        tokio::time::sleep(sync).await;
        let mut disk = self.0.lock();
        let last = |bytes: &Bytes| super::machine::inspect(bytes).ok().and_then(|meta| meta.last_log_id);
        if disk.now.snapshot.as_ref().is_some_and(|old| last(old) > last(&bytes)) {
            return Ok(());
        }
        disk.now.snapshot = Some(bytes.clone());
        disk.synced.snapshot = Some(bytes);
        Ok(())
    }
}

/// The log as openraft sees it.
#[derive(Clone)]
pub(super) struct SimulatedLog(Disk);

impl SimulatedLog {
    /// Syncs what was written so far.
    async fn sync(&self) {
        let (sync, written, number) = {
            let mut disk = self.0.lock();
            disk.syncs.0 += 1;
            (disk.sync, disk.now.clone(), disk.syncs.0)
        };
        tokio::time::sleep(sync).await;
        let mut disk = self.0.lock();
        if number > disk.syncs.1 {
            disk.syncs.1 = number;
            let snapshot = disk.synced.snapshot.clone();
            disk.synced = Image { snapshot, ..written };
        }
    }
}

impl RaftLogReader<TypeConfig> for SimulatedLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let disk = self.0.lock();
        let bound = |bound: Bound<&u64>| bound.cloned();
        let range = (bound(range.start_bound()), bound(range.end_bound()));
        Ok(disk.now.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.lock().now.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(store::gapless(start, self.try_get_log_entries(start..end).await?))
    }
}

impl RaftLogStorage<TypeConfig> for SimulatedLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let disk = self.0.lock();
        Ok(LogState { last_purged_log_id: disk.now.purged, last_log_id: disk.now.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.lock().now.vote = Some(*vote);
        self.sync().await;
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Written and never synced, as in the real store: it may be behind after a crash.
        self.0.lock().now.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.lock().now.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        {
            let mut disk = self.0.lock();
            for entry in entries {
                disk.now.entries.insert(entry.log_id.index(), entry);
            }
        }
        let log = self.clone();
        tokio::spawn(async move {
            log.sync().await;
            callback.io_completed(Ok(()));
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        {
            let mut disk = self.0.lock();
            let from = last_log_id.map_or(0, |id| id.index() + 1);
            disk.now.entries.split_off(&from);
        }
        self.sync().await;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        {
            let mut disk = self.0.lock();
            if disk.now.purged >= Some(log_id) {
                return Ok(());
            }
            if disk.now.last().is_none_or(|last| last.index() < log_id.index()) {
                disk.installed += 1;
            }
            disk.now.purged = Some(log_id);
            disk.now.entries = disk.now.entries.split_off(&(log_id.index() + 1));
        }
        self.sync().await;
        Ok(())
    }
}

/// tokio, with chance that a simulation determines.
#[derive(Debug)]
pub struct SeededRuntime(TokioRuntime);

impl AsyncRuntime for SeededRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = StdRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        if turmoil::in_simulation() {
            let seed = CHANCE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            CHANCE.set(seed);
            StdRng::seed_from_u64(seed)
        } else {
            StdRng::from_rng(&mut openraft_rng::rng())
        }
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
