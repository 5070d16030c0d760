//! Providers: where a record is read and written.
//!
//! A provider knows nothing of Raft, verdicts or leadership. It is handed what was read before and what shall stand
//! after, and it refuses, as strongly as its API allows (its [`Grade`]), to write over anything else. It never empties a
//! record (invariant 5), never retries a write by itself, and never logs a credential.

pub mod accelerator;
mod amazon;
pub mod authoritative;
pub mod cloudflare;
pub mod config;
pub mod exec;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod hook;
pub mod http;
pub mod inspect;
pub mod ovh;
pub mod policy;
pub mod powerdns;
pub mod rfc2136;
pub mod route53;
mod text;
pub mod tsig;
pub mod webhook;
pub mod wire;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::core::{
    names::{ClusterId, ProviderName, RegionName, ServiceName},
    record::{Fence, Record, RecordType, RecordValue, RrSet},
    sabotage::Sabotage,
};

pub use inspect::{Finding, Grant};

/// How strongly a provider refuses a stale write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grade {
    /// The provider itself compares the whole old record and fence, and changes both or nothing.
    A,
    /// The provider refuses by the identity of the old record.
    B,
    /// The provider has no condition: a stale write is detected and undone, not refused.
    C,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        })
    }
}

/// What stood at the provider when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The record; `None` when the name has no RRset of that type.
    pub rrset: Option<RrSet>,
    /// The fence beside it.
    pub fence: FenceReading,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rrset {
            Some(rrset) => rrset.fmt(f)?,
            None => f.write_str("nothing")?,
        }
        match &self.fence {
            FenceReading::Absent => f.write_str(" without a fence"),
            FenceReading::Present(fence) => write!(f, " under `{fence}`"),
            FenceReading::Unreadable(texts) => write!(f, " under `{}`", clip(&texts.join(" | "))),
        }
    }
}

/// What stood at the fence's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceReading {
    /// No TXT at all.
    Absent,
    /// One TXT that is a fence.
    Present(Fence),
    /// TXT records that are no fence of ours: never written over.
    Unreadable(Vec<String>),
}

impl FenceReading {
    /// Reads the TXT strings at the fence's name.
    #[must_use]
    pub fn of(texts: Vec<String>) -> Self {
        match texts.as_slice() {
            [] => Self::Absent,
            [text] => text.parse().map_or(Self::Unreadable(texts), Self::Present),
            _ => Self::Unreadable(texts),
        }
    }

    /// The other cluster that owns the record, if one does.
    #[must_use]
    pub fn foreign_to(&self, cluster: &ClusterId) -> Option<&ClusterId> {
        match self {
            Self::Present(fence) if fence.cluster != *cluster => Some(&fence.cluster),
            _ => None,
        }
    }
}

/// One conditional write: from exactly `expected` to `rrset` under `fence`, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which record.
    pub record: Record,
    /// What was read just before; the write's condition. Its fence is `Absent` or `Present`.
    pub expected: Reading,
    /// What the record shall answer. Never empty.
    pub rrset: RrSet,
    /// What the fence shall say.
    pub fence: Fence,
}

impl Change {
    /// What must still stand when the write is carried out. A provider that can have it checked does.
    #[must_use]
    pub fn condition(&self) -> Option<&Reading> {
        (!Sabotage::NoFence.active()).then_some(&self.expected)
    }

    /// Whether the condition holds where `found` stands: the record and its fence are exactly what was read.
    #[must_use]
    pub fn holds_at(&self, found: &Reading) -> bool {
        self.condition().is_none_or(|expected| expected == found)
    }

    /// The refusals that need no provider: every provider makes them before it sends anything, whoever calls it.
    ///
    /// # Errors
    /// [`ProviderError::Permanent`] for a change that would empty the record, does not fit it, or takes another cluster's
    /// record; [`ProviderError::Stale`] for one whose fence is older than the one read.
    pub fn check(&self) -> Result<(), ProviderError> {
        self.check_values(|value| !matches!(value, RecordValue::Alias(_) | RecordValue::Member(_)))
    }

    /// The same for a provider that writes other values than those of plain DNS: `takes` says which.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_values(&self, takes: impl Fn(&RecordValue) -> bool) -> Result<(), ProviderError> {
        let Self { record, expected, rrset, fence } = self;
        let refuse = |message: String, hint: &str| Err(ProviderError::Permanent { message, hint: hint.to_owned() });
        let wrong = "report this as a bug: a validated service has no such values";
        if rrset.values.is_empty() || expected.rrset.as_ref().is_some_and(|old| old.values.is_empty()) {
            return refuse(format!("a change of {record} from or to no value was refused"), wrong);
        }
        let alone =
            record.rtype == RecordType::Cname || rrset.values.iter().any(|v| matches!(v, RecordValue::Alias(_)));
        if !rrset.values.iter().all(|value| value.fits(record.rtype)) || (alone && rrset.values.len() != 1) {
            return refuse(format!("{rrset} cannot stand at {record}"), wrong);
        }
        if let Some(value) = rrset.values.iter().find(|value| !takes(value)) {
            return refuse(
                format!("`{}` cannot write {value}", record.provider),
                "an alias needs a provider of type route53, and a POOL one that switches pools",
            );
        }
        if !record.name.is_in(&record.zone) {
            return refuse(format!("{record} does not lie in zone {}", record.zone), wrong);
        }
        if self.condition().is_none() {
            return Ok(());
        }
        if let Some(owner) = expected.fence.foreign_to(&fence.cluster) {
            return refuse(
                format!("{record} belongs to cluster `{owner}`"),
                "delete the fence by hand if that cluster is no more",
            );
        }
        match &expected.fence {
            FenceReading::Unreadable(texts) => refuse(
                format!("{} is no fence: {}", record.fence_place(), clip(&texts.join(" | "))),
                "remove that text by hand",
            ),
            FenceReading::Present(old) if old.epoch > fence.epoch => Err(ProviderError::Stale(format!(
                "{record} stands at epoch {}, this is epoch {}",
                old.epoch, fence.epoch
            ))),
            FenceReading::Present(_) | FenceReading::Absent => Ok(()),
        }
    }
}

/// Refuses what a provider of plain DNS cannot hold.
fn only_dns(record: &Record) -> Result<(), ProviderError> {
    if record.rtype.is_in_dns() {
        return Ok(());
    }
    Err(ProviderError::Permanent {
        message: format!("{record} is no DNS record"),
        hint: "give the record a type of DNS, or a provider that switches pools".to_owned(),
    })
}

/// The beginning of a text that came from outside, fit for one line of a message.
fn clip(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a provider said of a write it took: for people and evidence, such as a change id or a serial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt(pub String);

/// Why a provider could not be read or written. No variant carries a credential.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderError {
    /// The condition did not hold: someone else wrote in between. Nothing was changed.
    #[error("the provider refused a stale write: {0}")]
    Stale(String),
    /// The answer never came: the write may or may not have been applied. Read before anything else.
    #[error("the provider did not answer, the change may or may not have been applied: {0}")]
    Indeterminate(String),
    /// The provider put off a later step of a write: those before it are done. Read before anything else, and not sooner than
    /// it asked.
    #[error("{message}")]
    Unfinished {
        /// What is done, and what the provider said to the next step.
        message: String,
        /// When it asked to be tried again.
        retry_after: Option<Duration>,
    },
    /// Nothing was changed and it may work later.
    #[error("{message}")]
    Transient {
        /// What the provider said.
        message: String,
        /// When it asked to be tried again.
        retry_after: Option<Duration>,
    },
    /// Nothing was changed and it will not work until somebody changes something: credentials, rights, zone.
    #[error("{message}; {hint}")]
    Permanent {
        /// What the provider said, with its own error code and request id.
        message: String,
        /// What to do about it.
        hint: String,
    },
}

impl ProviderError {
    /// Whether trying again without anybody's help can succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Stale(_) | Self::Indeterminate(_) | Self::Unfinished { .. } | Self::Transient { .. } => true,
            Self::Permanent { .. } => false,
        }
    }
}

/// One DNS provider account or server.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// How strongly it refuses a stale write.
    fn grade(&self) -> Grade;

    /// The longest that a write may go on at the provider after it was sent. For grade C the cooldown is never shorter.
    fn longest_request(&self) -> Duration;

    /// What the provider will make of `wanted`: some raise a TTL. Readings and nameservers are compared with this.
    fn published(&self, wanted: &RrSet) -> RrSet {
        wanted.clone()
    }

    /// Reads the record and its fence from the provider itself, never from a cache.
    async fn read(&self, record: &Record) -> Result<Reading, ProviderError>;

    /// Writes once. The caller bounds the time by dropping the future, which may leave the write indeterminate.
    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError>;

    /// The same provider as it is asked for one service, where whoever is asked shall know which; `None` where the service's name
    /// goes nowhere. Callers ask [`serving`].
    fn serving(&self, service: &ServiceName) -> Option<Arc<dyn Provider>> {
        let _ = service;
        None
    }

    /// Whether a write goes in steps, so that a writer who is lost between two of them leaves values of two regions beside each
    /// other. Where it does, such a mixture under this cluster's own fence is taken for what a write of its own left.
    fn goes_in_steps(&self) -> bool {
        false
    }

    /// Where the fence of a record stands, in words for whoever must look at it or remove it.
    fn fence_place(&self, record: &Record) -> String {
        record.fence_place()
    }

    /// The `type` under which a node's configuration names this kind of provider.
    fn kind(&self) -> &'static str {
        "other"
    }

    /// Whether a switch of `record` would be let through, found out **without changing anything**: with calls that only
    /// read, or with one that the provider must refuse or ignore whatever its rights are. Bounded in time like a read.
    ///
    /// The findings are of [`inspect::subject`]: `CREDENTIALS` (known to the provider?), `CLOCK` (where it checks one),
    /// `ZONE` (served there?) and `RIGHTS` (one finding for each right that a switch needs: the record's, the fence's,
    /// publication). What cannot be told apart without writing is [`Finding::unknown`], with a hint how to find out; a
    /// right that is known to be missing is [`Finding::fail`], and its hint names what to grant. The record, its TTL and
    /// its fence are compared by the caller, from [`Self::read`]; they do not belong here.
    async fn rights(&self, record: &Record) -> Vec<Finding> {
        let hint = "compare what was granted with `quoratectl provider policy`";
        let _ = record;
        vec![Finding::unknown(inspect::subject::RIGHTS, "nobody can tell without writing", hint)]
    }

    /// Whether the record could hold what the regions want, found out **without changing anything**: the names of a pool's
    /// members are the provider's to know, and a switch is too late to learn that one is written wrongly. The findings are
    /// of [`inspect::subject::VALUES`]; none where any value of the right type can be written.
    async fn values(&self, record: &Record, regions: &[(RegionName, RrSet)]) -> Vec<Finding> {
        let _ = (record, regions);
        vec![]
    }

    /// The least that these credentials must be allowed, as text to paste, for these records and their fences. All records
    /// are this provider's. Empty where nothing of the kind exists.
    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        let _ = records;
        vec![]
    }
}

/// The provider as it is asked for this service.
#[must_use]
pub fn serving(provider: &Arc<dyn Provider>, service: &ServiceName) -> Arc<dyn Provider> {
    provider.serving(service).unwrap_or_else(|| provider.clone())
}

/// The providers that a node is configured for.
pub type Providers = Arc<BTreeMap<ProviderName, Arc<dyn Provider>>>;
