//! A service as somebody wrote it, and the one way from there to a [`Service`].
//!
//! [`Draft::validate`] refuses whatever would surprise at three in the morning, names every problem at once, and supplies
//! the defaults. It never reads a file, resolves a name or asks a provider: what it accepts depends on the draft alone.
//!
//! A field that is `None` was not written. Numbers and durations arrive as they were written, however absurd.

mod policy;
mod probe;
mod problem;
mod record;
mod region;
pub mod url;

use std::{collections::BTreeMap, time::Duration};

pub use problem::{Path, Problem, Segment, Warning};

use self::problem::Findings;
use super::{
    names::ServiceName,
    service::{Policy, Probe, Region, Scalar, Service},
};

/// How many records a service may have.
pub const MAX_RECORDS: usize = 64;
/// How many regions a service may have.
pub const MAX_REGIONS: usize = 16;
/// How many probes a region may have.
pub const MAX_PROBES: usize = 16;
/// How many maintenance windows a policy may have.
pub const MAX_WINDOWS: usize = 64;
/// How many values a region may give for one type of record.
pub const MAX_VALUES: usize = 32;

/// A service as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// Required.
    pub name: Option<String>,
    /// `[[record]]`, at least one.
    pub records: Vec<RecordDraft>,
    /// `[[region]]`, at least two, in order of preference.
    pub regions: Vec<RegionDraft>,
    /// `[policy]`.
    pub policy: PolicyDraft,
}

/// One `[[record]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordDraft {
    /// Required: a provider that the nodes are configured for.
    pub provider: Option<String>,
    /// Required.
    pub zone: Option<String>,
    /// Required: relative to the zone; `@` or empty for the zone itself; absolute when it ends with a dot.
    pub name: Option<String>,
    /// Required: A, AAAA or CNAME.
    pub rtype: Option<String>,
    /// Required, in seconds.
    pub ttl: Option<i64>,
}

/// One `[[region]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegionDraft {
    /// Required.
    pub name: Option<String>,
    /// Values by type of record, as written.
    pub values: BTreeMap<String, Vec<String>>,
    /// At least one.
    pub probes: Vec<ProbeDraft>,
    /// `dynamodb = { … }`
    pub dynamodb: Option<TableDraft>,
}

/// `dynamodb = { table = …, region = … }`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableDraft {
    /// Required.
    pub table: Option<String>,
    /// Required.
    pub region: Option<String>,
}

/// `dynamodb = { table = …, region = …, key = { … } }` of a probe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemDraft {
    /// Where it stands.
    pub at: TableDraft,
    /// Required: its whole key.
    pub key: BTreeMap<String, Scalar>,
}

/// One probe. Exactly one of `http`, `tcp`, `dns`, `grpc` and `dynamodb` says of which kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeDraft {
    /// `http[s]://host[:port]/path`
    pub http: Option<String>,
    /// `host:port`
    pub tcp: Option<String>,
    /// `host[:port]`
    pub dns: Option<String>,
    /// `http[s]://host[:port]`
    pub grpc: Option<String>,
    /// 2 s when not written.
    pub interval: Option<Duration>,
    /// 1 s when not written, or half of the interval if that is less.
    pub timeout: Option<Duration>,
    /// HTTP: the Host header.
    pub host: Option<String>,
    /// TLS: the name to ask for and verify.
    pub sni: Option<String>,
    /// TLS: accept any certificate that has not expired.
    pub insecure: Option<bool>,
    /// TLS: how long the certificate must still be valid.
    pub min_cert_validity: Option<Duration>,
    /// HTTP: GET or HEAD.
    pub method: Option<String>,
    /// HTTP: the codes that pass; 200 when not written.
    pub status: Option<Vec<StatusDraft>>,
    /// HTTP: JSON pointers and what must stand there.
    pub json: BTreeMap<String, Scalar>,
    /// HTTP: response headers and their values.
    pub headers: BTreeMap<String, String>,
    /// HTTP: what the body must contain.
    pub body: Option<String>,
    /// HTTP: how many redirects are followed.
    pub redirects: Option<i64>,
    /// TCP: what is sent.
    pub send: Option<String>,
    /// TCP: what the answer must contain.
    pub expect: Option<String>,
    /// DNS: what is asked.
    pub query: Option<QueryDraft>,
    /// gRPC: the service asked for.
    pub service: Option<String>,
    /// `dynamodb = { table = …, region = …, key = { … } }`
    pub dynamodb: Option<ItemDraft>,
}

/// `status = [200, "2xx", "200-204"]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusDraft {
    /// One code.
    Code(i64),
    /// A class (`2xx`) or a range (`200-204`).
    Range(String),
}

/// `query = { name = …, type = …, values = […] }`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryDraft {
    /// Required: an absolute name.
    pub name: Option<String>,
    /// A when not written.
    pub rtype: Option<String>,
    /// Any answer will do when empty.
    pub values: Vec<String>,
}

/// `quorum = "majority"`, `"all"` or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuorumDraft {
    /// A number of sites.
    Sites(i64),
    /// `majority` or `all`.
    Word(String),
}

/// `[policy]`; every key has a default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyDraft {
    /// 3 when not written.
    pub fall: Option<i64>,
    /// 3 when not written.
    pub rise: Option<i64>,
    /// A majority when not written.
    pub quorum: Option<QuorumDraft>,
    /// 10 min when not written.
    pub cooldown: Option<Duration>,
    /// 2 when not written.
    pub budget: Option<i64>,
    /// 1 h when not written.
    pub budget_window: Option<Duration>,
    /// `manual` when not written.
    pub failback: Option<String>,
    /// 10 min when not written.
    pub dwell: Option<Duration>,
    /// From interval and timeout when not written.
    pub opinion_ttl: Option<Duration>,
    /// No such gate when not written.
    pub max_replication_lag: Option<Duration>,
    /// `hold` when not written.
    pub gate_unknown: Option<String>,
    /// `alarm` when not written.
    pub drift: Option<String>,
    /// 30 s when not written.
    pub reconcile: Option<Duration>,
    /// None when empty.
    pub windows: Vec<String>,
}

impl Draft {
    /// The service that this draft describes, and what is allowed in it but worth knowing.
    ///
    /// # Errors
    /// Every problem, in the order of the fields. Nothing is half-accepted.
    pub fn validate(self) -> Result<(Service, Vec<Warning>), Vec<Problem>> {
        let mut found = Findings::default();
        let root = Path::default();
        let name = found.required::<ServiceName>(&root.key("name"), self.name.as_deref());
        let records = record::validate(&self.records, &mut found);
        let regions = region::validate(&self.regions, &records, &mut found);
        let policy = policy::validate(&self.policy, &regions, &mut found);
        found.into_result(move || {
            let regions = regions.into_iter().collect::<Option<Vec<_>>>()?;
            Some(Service { name: name?, records: records.into_valid()?, regions, policy: policy? })
        })
    }
}

impl PolicyDraft {
    /// The policy that this draft describes for a service with these regions.
    ///
    /// # Errors
    /// Every problem.
    pub fn validate(&self, regions: &[Region]) -> Result<(Policy, Vec<Warning>), Vec<Problem>> {
        let mut found = Findings::default();
        let regions: Vec<_> = regions.iter().cloned().map(Some).collect();
        let policy = policy::validate(self, &regions, &mut found);
        found.into_result(move || policy)
    }
}

impl ProbeDraft {
    /// The probe that this draft at `path` describes, outside of any service.
    ///
    /// # Errors
    /// Every problem.
    pub fn validate(&self, path: &Path) -> Result<(Probe, Vec<Warning>), Vec<Problem>> {
        let mut found = Findings::default();
        let probe = probe::one(path, self, &mut found);
        found.into_result(move || probe)
    }
}
