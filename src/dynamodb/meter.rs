//! Measures links: writes heartbeats through one region, reads them in another, and asks that one about its replica.
//!
//! ```text
//!   writer, one a table and region written through        reader, one a link
//!   Taken ◀─▶ Slow ◀─▶ Down { since } ◀─▶ Blocked          seen: the newest heartbeat of this term
//! ```
//! Writers and readers never wait for each other, nor one link for another. What they find is kept until the next look; how
//! old that may be is part of the answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{Beat, Description, HeartbeatKey, KeySchema, Tables, status::meaning};
use crate::{
    aws::Fault,
    core::{
        gauge::{GAUGE_TTL, Lag, Replica},
        names::{ClusterId, LogTime},
        service::Table,
    },
};

/// From one look at a replica that is in order to the next.
const LOOK: Duration = Duration::from_secs(5);
/// The same while it is not, or is not known.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One table between two AWS regions, which may be one and the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The table's name.
    pub table: String,
    /// The AWS region through which heartbeats are written.
    pub through: String,
    /// The AWS region in which they are read.
    pub read: String,
}

/// Whose measurements they are.
#[derive(Clone)]
pub struct Author {
    /// In every heartbeat's key.
    pub cluster: ClusterId,
    /// In every heartbeat.
    pub term: u64,
    /// The leader's log time.
    pub clock: Arc<dyn Fn() -> LogTime + Send + Sync>,
}

/// The measuring of any number of links; dropping it stops it.
pub struct Meters {
    tables: Arc<dyn Tables>,
    author: Author,
    every: Duration,
    writers: BTreeMap<Table, Task<Pulse>>,
    readers: BTreeMap<Link, Task<Found>>,
}

impl Meters {
    /// Measures nothing yet. A heartbeat is written and looked for `every` so often.
    pub fn new(tables: Arc<dyn Tables>, author: Author, every: Duration) -> Self {
        Self { tables, author, every, writers: BTreeMap::new(), readers: BTreeMap::new() }
    }

    /// Measures these links and no others.
    pub fn follow(&mut self, links: &BTreeSet<Link>) {
        let sources: BTreeSet<_> = links.iter().map(Link::source).collect();
        self.writers.retain(|source, _| sources.contains(source));
        self.readers.retain(|link, _| links.contains(link));
        let (tables, author, every) = (&self.tables, &self.author, self.every);
        for source in sources {
            self.writers.entry(source).or_insert_with_key(|source| {
                Task::start(|pulse| write(tables.clone(), author.clone(), every, source.clone(), pulse))
            });
        }
        for link in links {
            self.readers.entry(link.clone()).or_insert_with_key(|link| {
                Task::start(|found| read(tables.clone(), author.clone(), every, link.clone(), found))
            });
        }
    }

    /// What is known of a link now.
    #[must_use]
    pub fn reading(&self, link: &Link) -> (Replica, Lag) {
        let not_yet = || "not measured yet".to_owned();
        let Some(found) = self.readers.get(link).map(Task::get) else {
            return (Replica::Unknown(not_yet()), Lag::Unknown(not_yet()));
        };
        let pulse = self.writers.get(&link.source()).map(Task::get).unwrap_or_default();
        let lag = found.lag(&link.read, &pulse);
        (found.replica.unwrap_or_else(|| Replica::Unknown(not_yet())), lag)
    }
}

impl Link {
    fn source(&self) -> Table {
        Table { table: self.table.clone(), region: self.through.clone() }
    }

    fn sink(&self) -> Table {
        Table { table: self.table.clone(), region: self.read.clone() }
    }
}

/// A task and what it found last; it ends with this.
struct Task<T> {
    shared: Arc<Mutex<T>>,
    task: AbortHandle,
}

impl<T: Clone + Default + Send + 'static> Task<T> {
    fn start<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Arc<Mutex<T>>) -> F) -> Self {
        let shared = Arc::<Mutex<T>>::default();
        let task = tokio::spawn(work(shared.clone())).abort_handle();
        Self { shared, task }
    }

    fn get(&self) -> T {
        change(&self.shared, |value| value.clone())
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn change<T, R>(shared: &Mutex<T>, change: impl FnOnce(&mut T) -> R) -> R {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How the region written through takes heartbeats.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Pulse {
    /// None was tried yet, or it takes them.
    #[default]
    Taken,
    /// It limits how many; it is there.
    Slow,
    /// It does not answer, since the attempt that began then.
    Down { since: LogTime },
    /// It refuses: nothing about replication can be told.
    Blocked(String),
}

impl Pulse {
    fn after(&self, began: LogTime, outcome: Result<(), Fault>) -> Self {
        match (outcome, self) {
            (Ok(()), _) => Self::Taken,
            (Err(Fault::Down(_)), Self::Down { since }) => Self::Down { since: *since },
            (Err(Fault::Down(_)), _) => Self::Down { since: began },
            (Err(fault), _) if fault.is("ConditionalCheckFailedException") => Self::Blocked(
                "a heartbeat of a later term stands there: if that cluster is gone, delete its item".into(),
            ),
            (Err(Fault::Refused { code, .. }), _) if is_throttling(&code) => Self::Slow,
            (Err(fault), _) => Self::Blocked(fault.to_string()),
        }
    }
}

fn is_throttling(code: &str) -> bool {
    matches!(code, "ProvisionedThroughputExceededException" | "RequestLimitExceeded" | "ThrottlingException")
}

/// What was found in the region that is read.
#[derive(Debug, Default, Clone)]
struct Found {
    /// The newest heartbeat of this term, as of the last answer.
    seen: Option<LogTime>,
    /// Why none is; empty while none was looked for.
    none_because: String,
    /// When the region answered last.
    answered: Option<Instant>,
    replica: Option<Replica>,
}

impl Found {
    fn take(&mut self, term: u64, answer: Result<Option<Beat>, Fault>) {
        match answer {
            Ok(beat) => {
                self.answered = Some(Instant::now());
                // Whoever deletes the item, or writes another in its place, makes the lag unknown and not zero.
                self.seen = beat.filter(|beat| beat.term == term).map(|beat| beat.at);
                let why = match beat {
                    Some(beat) if beat.term != term => "only heartbeats of an earlier leader have arrived",
                    _ => "no heartbeat has arrived",
                };
                why.clone_into(&mut self.none_because);
            }
            // The last one seen was seen all the same: it only grows older.
            Err(fault) => self.none_because = format!("it cannot be read: {fault}"),
        }
    }

    fn lag(&self, region: &str, pulse: &Pulse) -> Lag {
        let failing = match pulse {
            Pulse::Blocked(why) => return Lag::Unknown(format!("no heartbeat can be written: {why}")),
            Pulse::Down { since } => Some(*since),
            Pulse::Taken | Pulse::Slow => None,
        };
        let recent = self.answered.is_some_and(|at| at.elapsed() <= GAUGE_TTL);
        match self.seen {
            Some(seen) if recent => Lag::Seen { seen, failing },
            Some(_) => Lag::Unknown(format!("{region} has not been read for long")),
            None if self.none_because.is_empty() => Lag::Unknown("not measured yet".to_owned()),
            None if failing.is_some() => {
                Lag::Unknown(format!("{region}: {}, and none can be written any more", self.none_because))
            }
            None => Lag::Unknown(format!("{region}: {}", self.none_because)),
        }
    }
}

async fn write(tables: Arc<dyn Tables>, author: Author, every: Duration, source: Table, pulse: Arc<Mutex<Pulse>>) {
    let mut ticks = ticks(every);
    let mut key = None;
    loop {
        ticks.tick().await;
        let began = (author.clock)();
        let outcome = match keys(&mut key, tables.as_ref(), &source).await {
            Ok(keys) => {
                let key = HeartbeatKey::new(keys, &author.cluster, &source.region);
                tables.beat(&source, &key, Beat { term: author.term, at: began }).await
            }
            Err(fault) => Err(fault),
        };
        let before = change(&pulse, |pulse| pulse.clone());
        let now = before.after(began, outcome);
        if before != now {
            tracing::info!(table = source.table, region = source.region, ?now, "heartbeats");
            change(&pulse, |pulse| *pulse = now);
        }
    }
}

async fn read(tables: Arc<dyn Tables>, author: Author, every: Duration, link: Link, found: Arc<Mutex<Found>>) {
    let sink = link.sink();
    let beats = async {
        let mut ticks = ticks(every);
        let mut key = None;
        loop {
            ticks.tick().await;
            let answer = match keys(&mut key, tables.as_ref(), &sink).await {
                Ok(keys) => tables.last_beat(&sink, &HeartbeatKey::new(keys, &author.cluster, &link.through)).await,
                Err(fault) => Err(fault),
            };
            change(&found, |found| found.take(author.term, answer));
        }
    };
    let replica = async {
        loop {
            let seen = tables.describe(&sink).await;
            let replica = replica(&link, seen);
            let pause = if matches!(replica, Replica::Usable(_)) { LOOK } else { LOOK_AGAIN };
            change(&found, |found| found.replica = Some(replica));
            sleep(pause).await;
        }
    };
    tokio::join!(beats, replica);
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    // What was slept through is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What the table's keys are called never changes: asked once.
async fn keys<'k>(
    known: &'k mut Option<KeySchema>,
    tables: &dyn Tables,
    table: &Table,
) -> Result<&'k KeySchema, Fault> {
    match known {
        Some(keys) => Ok(keys),
        unknown => Ok(unknown.insert(tables.describe(table).await?.keys)),
    }
}

/// What the region read says of its own replica.
fn replica(link: &Link, seen: Result<Description, Fault>) -> Replica {
    let Link { table, through, read } = link;
    let described = match seen {
        Ok(described) => described,
        Err(fault) if fault.is("ResourceNotFoundException") => {
            return Replica::Unusable(format!(
                "not there: `quoratectl dynamodb replicate {table} --to {read}` makes it"
            ));
        }
        Err(fault) => return Replica::Unknown(fault.to_string()),
    };
    if through != read && !described.replicas.contains_key(through) {
        return Replica::Unusable(format!("a table of its own, and no replica of the one in {through}"));
    }
    let status = described.replicas.get(read).map_or(&described.status, |line| &line.status);
    let meaning = meaning(status);
    if meaning.usable {
        Replica::Usable(status.clone())
    } else {
        Replica::Unusable(format!("{status}: {}", meaning.means))
    }
}
