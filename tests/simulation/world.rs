//! Everything outside of the cluster: what stands at the providers, and what becomes of each request to them.
//!
//! A request takes effect in the world's own time, whether or not its sender still lives, and its answer may be late, lost,
//! or a lie. The world writes down every request: it is the witness that the invariants are judged by.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use quorate::{
    core::{
        names::NodeId,
        record::{Record, RrSet},
        switch::NameserverLine,
    },
    dns::{Change, FenceReading, Grade, Provider, ProviderError, Reading, Receipt},
    leader::Nameservers,
};
use tokio::{sync::oneshot, time::timeout};

use crate::chance::Chance;

/// After this a client gives up on its provider.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest that a request of grade C may be on its way; the cooldown must not be shorter.
pub const LONGEST: Duration = Duration::from_secs(6);

/// What the provider does with the requests that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Well,
    /// Requests take seconds, and overtake each other.
    Slow,
    /// It answers, and every other write stays on the way for seconds, so that what is sent after it is there before it.
    Late,
    /// Requests arrive, and nobody hears of it.
    Mute,
    /// 429, and nothing is done.
    TooMany,
    /// 500, sometimes after the write was made.
    Failing,
}

/// A request that arrived at its provider.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// In ms of the simulation.
    pub sent: u64,
    pub at: u64,
    pub sender: NodeId,
    pub grade: Grade,
    pub change: Change,
    /// It was carried out.
    pub applied: bool,
}

struct Pending {
    due: u64,
    sent: u64,
    sender: NodeId,
    grade: Grade,
    request: Request,
    /// The write's answer is an error although it is carried out, or lost.
    lie: bool,
    refuse: Option<ProviderError>,
}

enum Request {
    Read(Record, oneshot::Sender<Result<Reading, ProviderError>>),
    Write(Box<Change>, oneshot::Sender<Result<Receipt, ProviderError>>),
}

#[derive(Default)]
pub struct Inner {
    pub now: u64,
    mood: Option<Mood>,
    chance: Option<Chance>,
    pending: Vec<Pending>,
    records: BTreeMap<Record, RrSet>,
    /// By zone and name: records of one name share a fence.
    fences: BTreeMap<String, quorate::core::record::Fence>,
    /// What arrived and was not yet judged.
    pub arrived: VecDeque<Arrived>,
    /// How many requests there were, for the trace.
    pub requests: u64,
}

/// The world; clones are the same.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<Inner>>);

impl World {
    pub fn new(seed: u64) -> Self {
        let world = Self::default();
        world.lock().chance = Some(Chance::new(seed));
        world
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = Some(mood);
    }

    /// A provider as one node has it configured.
    pub fn provider(&self, node: NodeId, grade: Grade) -> Arc<dyn Provider> {
        Arc::new(Simulated { world: self.clone(), node, grade })
    }

    /// Time goes on: what is due arrives.
    pub fn advance(&self, now: u64) {
        let due = {
            let mut world = self.lock();
            world.now = now;
            let (mut due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut world.pending).into_iter().partition(|pending| pending.due <= now);
            world.pending = later;
            due.sort_by_key(|pending| pending.due);
            due
        };
        for pending in due {
            self.lock().arrive(pending);
        }
    }

    /// What stands at the record's name now.
    pub fn stands(&self, record: &Record) -> Reading {
        self.lock().read(record)
    }
}

impl Inner {
    fn read(&self, record: &Record) -> Reading {
        let fence = self.fences.get(&record.fence_name().to_string()).cloned();
        Reading {
            rrset: self.records.get(record).cloned(),
            fence: fence.map_or(FenceReading::Absent, FenceReading::Present),
        }
    }

    fn arrive(&mut self, pending: Pending) {
        let Pending { sent, sender, grade, request, lie, refuse, .. } = pending;
        self.requests += 1;
        match request {
            Request::Read(record, answer) => {
                let reading = self.read(&record);
                if !lie {
                    let _ = answer.send(refuse.map_or(Ok(reading), Err));
                }
            }
            Request::Write(change, answer) => {
                let found = self.read(&change.record);
                // What the provider compares is all that keeps a late write out; grade C compares nothing.
                let holds = grade == Grade::C || change.condition().is_none_or(|condition| *condition == found);
                let applied = refuse.is_none() && holds;
                if applied {
                    self.records.insert(change.record.clone(), change.rrset.clone());
                    self.fences.insert(change.record.fence_name().to_string(), change.fence.clone());
                }
                let arrived = Arrived { sent, at: self.now, sender, grade, change: *change, applied };
                let said = match refuse {
                    Some(error) => Err(error),
                    None if lie => Err(ProviderError::Indeterminate("500 after the fact".to_owned())),
                    None if !holds => Err(ProviderError::Stale("the condition does not hold".to_owned())),
                    None => Ok(Receipt(format!("request {}", self.requests))),
                };
                self.arrived.push_back(arrived);
                if !(lie && self.mood == Some(Mood::Mute)) {
                    let _ = answer.send(said);
                }
            }
        }
    }

    fn send(&mut self, sender: NodeId, grade: Grade, request: Request) {
        let mood = self.mood.unwrap_or(Mood::Well);
        let chance = self.chance.get_or_insert_with(|| Chance::new(0));
        let (write, longest) = (matches!(request, Request::Write(..)), u64::try_from(LONGEST.as_millis()).unwrap());
        let (delay, lie, refuse) = match mood {
            Mood::Well => (chance.between(5, 60), false, None),
            Mood::Slow if grade == Grade::C => (chance.between(50, longest - 100), false, None),
            Mood::Slow => (chance.between(50, 15_000), false, None),
            Mood::Late if write && chance.one_in(2) => {
                let longest = if grade == Grade::C { longest } else { 15_000 };
                (chance.between(2_000, longest - 100), false, None)
            }
            Mood::Late => (chance.between(5, 60), false, None),
            Mood::Mute => (chance.between(5, 2_000), true, None),
            Mood::TooMany => {
                let retry_after = Some(Duration::from_millis(chance.between(100, 3_000)));
                (20, false, Some(ProviderError::Transient { message: "429".to_owned(), retry_after }))
            }
            Mood::Failing if write && chance.one_in(2) => (chance.between(5, 500), true, None),
            Mood::Failing => {
                (20, false, Some(ProviderError::Transient { message: "500".to_owned(), retry_after: None }))
            }
        };
        let (sent, due) = (self.now, self.now + delay);
        self.pending.push(Pending { due, sent, sender, grade, request, lie, refuse });
    }
}

/// The provider as a node sees it.
struct Simulated {
    world: World,
    node: NodeId,
    grade: Grade,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulated({}, {})", self.node, self.grade)
    }
}

#[async_trait]
impl Provider for Simulated {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn longest_request(&self) -> Duration {
        LONGEST
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        let (answer, read) = oneshot::channel();
        self.world.lock().send(self.node, self.grade, Request::Read(record.clone(), answer));
        let late = || ProviderError::Transient { message: "no answer".to_owned(), retry_after: None };
        timeout(PATIENCE, read).await.map_err(|_| late())?.map_err(|_| late())?
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check()?;
        let (answer, written) = oneshot::channel();
        self.world.lock().send(self.node, self.grade, Request::Write(Box::new(change.clone()), answer));
        let unknown = || ProviderError::Indeterminate("no answer".to_owned());
        timeout(PATIENCE, written).await.map_err(|_| unknown())?.map_err(|_| unknown())?
    }
}

/// Nameservers that answer what the provider holds.
pub struct Names(pub World);

#[async_trait]
impl Nameservers for Names {
    async fn settle(&self, record: &Record, wanted: &RrSet, within: Duration) -> Vec<NameserverLine> {
        let agrees = || self.0.stands(record).rrset.as_ref() == Some(wanted);
        let settled = async {
            while !agrees() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(within, settled).await;
        let (agrees, answer) = (agrees(), format!("{:?}", self.0.stands(record).rrset));
        vec![NameserverLine { record: record.to_string(), server: "ns.test".to_owned(), answer, agrees }]
    }
}
