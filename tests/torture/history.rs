//! The history: everything that clients did, the nemesis did and the witness saw, on one monotonic clock.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::edn::{Edn, key, map, vector};

/// How an operation ended, or that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen, and never will.
    Fail,
    /// It may or may not have happened, or happen yet. A time-out is this and never a failure.
    Info,
}

impl Type {
    pub fn word(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    Client(u64),
    Nemesis,
    Witness,
}

#[derive(Debug, Clone)]
pub struct Op {
    pub time: u64,
    pub process: Process,
    pub kind: Type,
    pub f: &'static str,
    pub value: Edn,
}

/// The lines so far.
pub struct History {
    start: Instant,
    ops: Mutex<Vec<Op>>,
    clients: AtomicU64,
}

impl History {
    pub fn begin() -> Self {
        Self { start: Instant::now(), ops: Mutex::default(), clients: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Op>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the beginning.
    pub fn time(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn now(&self) -> u64 {
        self.time(Instant::now())
    }

    /// A process that nobody was before: each client has one, and a new one after each unknown outcome.
    pub fn new_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    pub fn add(&self, time: u64, process: Process, kind: Type, f: &'static str, value: Edn) {
        self.lock().push(Op { time, process, kind, f, value });
    }

    pub fn client(&self, process: u64, kind: Type, f: &'static str, value: Edn) {
        self.add(self.now(), Process::Client(process), kind, f, value);
    }

    pub fn nemesis(&self, f: &'static str, value: Edn) {
        self.add(self.now(), Process::Nemesis, Type::Info, f, value);
    }

    pub fn witness(&self, f: &'static str, value: Edn) {
        self.add(self.now(), Process::Witness, Type::Info, f, value);
    }

    /// Ground truth about a node: `dead`, `paused`, `blind` or `isolated`.
    pub fn node(&self, node: u64, state: &str, on: bool) {
        self.nemesis("node", map([("node", node.into()), ("state", key(state)), ("on", on.into())]));
    }

    /// Who votes, as far as the nemesis knows.
    pub fn electorate(&self, voters: &[u64]) {
        self.nemesis("electorate", map([("voters", vector(voters.iter().copied()))]));
    }

    /// All lines in the order of their times.
    pub fn ops(&self) -> Vec<Op> {
        let mut ops = self.lock().clone();
        // Stable: what was written at one instant stays in its order.
        ops.sort_by_key(|op| op.time);
        ops
    }

    /// Writes the file that the checkers read.
    pub fn write(&self, file: &Path) -> std::io::Result<usize> {
        let mut out = BufWriter::new(File::create(file)?);
        let ops = self.ops();
        for (index, op) in ops.iter().enumerate() {
            let process = match op.process {
                Process::Client(number) => Edn::Int(number),
                Process::Nemesis => key("nemesis"),
                Process::Witness => key("witness"),
            };
            let line = map([
                ("index", (index as u64).into()),
                ("time", op.time.into()),
                ("process", process),
                ("type", key(op.kind.word())),
                ("f", key(op.f)),
                ("value", op.value.clone()),
            ]);
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        Ok(ops.len())
    }

    /// Operations of clients by name and outcome.
    pub fn outcomes(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let mut outcomes = BTreeMap::<_, BTreeMap<_, u64>>::new();
        for op in self.lock().iter() {
            if matches!(op.process, Process::Client(_)) && op.kind != Type::Invoke {
                *outcomes.entry(op.f).or_default().entry(op.kind.word()).or_default() += 1;
            }
        }
        outcomes
    }
}
