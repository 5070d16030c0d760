//! What every provider must do, whatever its API: a table of cases, each run against the real server or its stand-in.
//!
//! A [`Subject`] is one provider at one server. It says how the world's truth is read without the provider, and how a call is
//! made to go wrong; the cases say what must come of it. What cannot happen with a provider is `n/a` with the reason, never
//! green. Grades differ in one place only, and it is asked for: A and B must refuse what comes late, C must let it be seen.
//!
//! A provider that switches pools hands over a record of type POOL (TTL 0), members for values, and for the fence whatever text
//! stands beside the pool; every case holds for it as it stands.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::FutureExt;
use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{Change, FenceReading, Grade, Provider, ProviderError, Reading, Receipt},
};

use crate::cases::{self, Case};

/// A provider that cases hand about.
pub type Handle = Arc<dyn Provider>;

/// The cluster that the cases write for.
pub const CLUSTER: &str = "prod";
/// How long a server asks to be left alone, where it can.
pub const RETRY_AFTER: Duration = Duration::from_secs(7);

/// How long a reading is asked for that nobody made go wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a reading or a write shall go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Reading,
    Writing,
}

/// What goes wrong. With `applied`, the change is carried out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The answer is lost with its connection.
    AnswerLost { applied: bool },
    /// Too many calls, with [`RETRY_AFTER`].
    TooMany,
    /// The same, of a write, after a step of it that was carried out.
    PutOff,
    /// The server, or a gateway before it, fails.
    ServerError { applied: bool },
    /// The answer is nonsense; the change is carried out.
    Garbage,
    /// The answer is well-formed and longer than anybody reads; the change is carried out.
    Flood,
    /// There is no answer, ever.
    Hang { applied: bool },
    /// The answer says that all went well, and holds nothing.
    EmptyAnswer,
    /// The credential is expired or unknown.
    Expired,
    /// The credential lacks the right.
    Forbidden,
    /// The call is caught on its way; [`Subject::caught`] and [`Subject::release`].
    Held,
}

/// What stands at the server, asked without the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// The values, as [`RecordValue`]'s texts, sorted.
    pub values: Vec<String>,
    /// The texts where the fence stands.
    pub fence: Vec<String>,
}

/// One provider at one server.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The title of its column; each word has a line of its own there.
    fn name(&self) -> &'static str;

    /// The provider that an operator would have.
    fn provider(&self) -> Handle;

    /// A record that holds the first of [`Self::values`], without a fence, when the cases begin.
    fn record(&self) -> Record;

    /// Three values of the record, as [`RecordValue::parse`] reads them for its type: addresses, or members of the pool.
    fn values(&self) -> [&'static str; 3];

    /// A record that is not there, or why there is no such thing.
    fn absent(&self) -> Result<Record, &'static str>;

    /// A record of a kind that the provider does not switch, or why there is none.
    fn misfit(&self) -> Result<Record, &'static str> {
        let record = self.record();
        let (rtype, ttl) = if record.rtype.is_in_dns() { (RecordType::Pool, 0) } else { (RecordType::A, 60) };
        Ok(Record { rtype, ttl, ..record })
    }

    /// Whether a write goes in steps, between which old values stand beside new ones.
    fn goes_in_steps(&self) -> bool {
        false
    }

    /// Whether a write has a step that can be put off after another was carried out; or why not.
    fn has_later_step(&self) -> Result<(), &'static str> {
        Err("a write is one call: no step of it comes after another")
    }

    /// What stands at the server.
    async fn truth(&self) -> Truth;

    /// Puts another text where the fence stands, behind everybody's back; `None` removes it.
    async fn put_fence(&self, text: Option<&str>);

    /// Makes the next reading or write of the provider that is returned go wrong; or says why that cannot happen.
    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str>;

    /// How many of the faults were not met by any call; forgets them.
    async fn disarm(&self) -> usize;

    /// How many times the call that changes the record was sent since the last time.
    async fn sent(&self) -> usize;

    /// Waits until the call is held.
    async fn caught(&self);

    /// Lets the held call go on.
    async fn release(&self);

    /// What no error may show.
    fn secrets(&self) -> Vec<String>;
}

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// It cannot happen, and why.
    NotApplicable(&'static str),
    Failed(String),
}

/// One subject, and the epochs that it has seen.
pub struct Bench<'s> {
    pub subject: &'s dyn Subject,
    epoch: Mutex<u64>,
}

impl Bench<'_> {
    pub fn grade(&self) -> Grade {
        self.subject.provider().grade()
    }

    /// The epoch after the last.
    pub fn next_epoch(&self) -> u64 {
        let mut epoch = self.epoch.lock().expect("no panic under the lock");
        *epoch += 1;
        *epoch
    }

    pub fn rrset(&self, values: &[&str]) -> RrSet {
        let Record { rtype, ttl, .. } = self.subject.record();
        let values: BTreeSet<_> =
            values.iter().map(|value| RecordValue::parse(rtype, value).expect("a value")).collect();
        self.subject.provider().published(&RrSet { ttl, values })
    }

    pub fn change(&self, expected: Reading, values: &[&str], epoch: u64) -> Change {
        let fence = Fence { cluster: CLUSTER.parse().expect("an id"), epoch: Epoch(epoch) };
        Change { record: self.subject.record(), expected, rrset: self.rrset(values), fence }
    }

    /// What stands there. A machine that is busy with other things may keep a server from answering in time: then it is asked
    /// again, which changes nothing.
    pub async fn read(&self) -> Reading {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.subject.provider().read(&self.subject.record()).await {
                Err(ProviderError::Transient { message, .. }) if Instant::now() < deadline => {
                    println!("asked again: {message}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                reading => return reading.expect("a reading"),
            }
        }
    }

    /// Reads, and writes what was read to these values: what the leader does.
    pub async fn switch(&self, values: &[&str], epoch: u64) -> Result<Receipt, ProviderError> {
        let expected = self.read().await;
        self.subject.provider().write(&self.change(expected, values, epoch)).await
    }

    /// The record at its first value under a new epoch, whatever the case before left.
    pub async fn fresh(&self) -> u64 {
        let (epoch, first) = (self.next_epoch(), self.subject.values()[0]);
        self.switch(&[first], epoch).await.expect("a write");
        self.must_stand(&[first], epoch).await;
        epoch
    }

    /// The truth is these values under this epoch, and a reading says the same.
    pub async fn must_stand(&self, values: &[&str], epoch: u64) {
        assert_eq!(self.subject.truth().await, truth_of(values, epoch), "epoch {epoch}");
        let reading = self.read().await;
        assert_eq!((reading.rrset.as_ref(), epoch_of(&reading)), (Some(&self.rrset(values)), Some(epoch)));
    }

    /// What the leader does with a write in doubt: reads, and writes again under the same epoch if it is not there.
    pub async fn finish(&self, values: &[&str], epoch: u64) {
        let found = self.read().await;
        if found.rrset.as_ref() != Some(&self.rrset(values)) || epoch_of(&found) != Some(epoch) {
            let provider = self.subject.provider();
            provider.write(&self.change(found, values, epoch)).await.expect("the epoch can be finished");
        }
        self.must_stand(values, epoch).await;
    }

    /// An error shows no credential.
    pub fn keeps_secrets(&self, error: &ProviderError) {
        let text = format!("{error} {error:?} {:?}", self.subject.provider());
        for secret in self.subject.secrets() {
            assert!(!text.contains(&secret), "a secret is shown: {text}");
        }
    }
}

pub fn truth_of(values: &[&str], epoch: u64) -> Truth {
    let mut values: Vec<_> = values.iter().map(|&value| value.to_owned()).collect();
    values.sort();
    Truth { values, fence: vec![format!("v=1 cluster={CLUSTER} epoch={epoch}")] }
}

pub fn epoch_of(reading: &Reading) -> Option<u64> {
    match &reading.fence {
        FenceReading::Present(fence) => Some(fence.epoch.0),
        FenceReading::Absent | FenceReading::Unreadable(_) => None,
    }
}

/// One column of the table.
pub struct Column {
    pub name: &'static str,
    pub grade: Grade,
    pub outcomes: Vec<Outcome>,
    pub took: Duration,
}

/// Runs the cases on a subject. One that fails does not keep the others from running.
pub async fn run(subject: &dyn Subject, cases: &[(&str, Case)]) -> Column {
    let bench = Bench { subject, epoch: Mutex::new(0) };
    let (begun, mut outcomes) = (Instant::now(), Vec::new());
    for (_, case) in cases {
        let ran = AssertUnwindSafe(cases::run(*case, &bench)).catch_unwind().await;
        let left = subject.disarm().await;
        outcomes.push(match ran {
            Ok(Outcome::Ok) if left > 0 => Outcome::Failed(format!("{left} faults were met by no call")),
            Ok(outcome) => outcome,
            Err(panic) => Outcome::Failed(said(panic.as_ref())),
        });
    }
    Column { name: subject.name(), grade: bench.grade(), outcomes, took: begun.elapsed() }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
