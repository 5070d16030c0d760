//! A validated service: what fails over as one.
//!
//! The only way to a [`Service`] is [`Draft::validate`](super::draft::Draft::validate), which reports every problem at
//! once; what exists is valid and is never checked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    names::{RegionName, ServiceName},
    record::{DomainName, Record, RecordType, RecordValue, RrSet},
    window::Window,
};

/// Records, regions in order of preference, and a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Unique in the cluster.
    pub name: ServiceName,
    /// What a switch changes; at least one, no two for the same provider, name and type.
    pub records: Vec<Record>,
    /// At least two, in order of preference, each with values for every record.
    pub regions: Vec<Region>,
    /// When to switch.
    pub policy: Policy,
}

impl Service {
    /// The region of that name.
    #[must_use]
    pub fn region(&self, name: &RegionName) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == *name)
    }

    /// What `record` answers while `region` is active.
    #[must_use]
    pub fn rrset(&self, record: &Record, region: &Region) -> Option<RrSet> {
        let values = region.values.get(&record.rtype)?.clone();
        Some(RrSet { ttl: record.ttl, values })
    }

    /// What this service and `other` would both switch: the number of each such record, itself, and the other's record of the same
    /// name at the same provider. A name has one fence, whatever the types of its records, and a fence has one service's epochs.
    pub fn clashes<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = (usize, &'s Record, &'s Record)> {
        let same = |a: &Record, b: &Record| (&a.provider, &a.name) == (&b.provider, &b.name);
        let theirs = move |record| other.records.iter().find(|of| same(record, of));
        self.records.iter().enumerate().filter_map(move |(i, record)| Some((i, record, theirs(record)?)))
    }
}

/// One deployment of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Unique in the service.
    pub name: RegionName,
    /// The values that the service's records take, by type.
    pub values: BTreeMap<RecordType, BTreeSet<RecordValue>>,
    /// What is asked to learn whether the region is up: it is up when all pass, down when one has failed. At least one.
    pub probes: Vec<Probe>,
    /// The table that must be in order here before traffic comes.
    pub dynamodb: Option<Table>,
}

/// A DynamoDB table in one AWS region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Table {
    /// The table's name.
    pub table: String,
    /// The AWS region's name.
    pub region: String,
}

/// How one endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// How long an answer may take, in all; less than the interval.
    pub timeout: Duration,
    /// What is asked.
    pub check: Check,
}

/// Where a probe connects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// A host name or an address (IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The kinds of probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// An HTTP request.
    Http(HttpCheck),
    /// A TCP connection.
    Tcp(TcpCheck),
    /// A DNS query.
    Dns(DnsCheck),
    /// The standard gRPC health check (`grpc.health.v1.Health/Check`).
    Grpc(GrpcCheck),
    /// A consistent read of one item.
    Dynamodb(DynamodbCheck),
}

/// How TLS is spoken to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name to ask for and to verify; the Host if one is given, else the target's host.
    pub server_name: String,
    /// Accept a certificate that does not verify (the expiry is still checked).
    pub insecure: bool,
    /// The certificate must be valid for at least this long.
    pub min_validity: Duration,
}

/// An HTTP probe: up when everything that is configured matches. Redirects are not followed unless configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// Where to connect.
    pub target: Target,
    /// `Some` for https.
    pub tls: Option<Tls>,
    /// The Host header (and `:authority`); the target's when `None`.
    pub host: Option<String>,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// `GET` or `HEAD`.
    pub method: String,
    /// The status codes that pass.
    pub statuses: BTreeSet<u16>,
    /// JSON pointers (RFC 6901) and the scalar that must stand there.
    pub json: BTreeMap<String, Scalar>,
    /// Response headers (lower-case name) and the value that each must have.
    pub headers: BTreeMap<String, String>,
    /// What the body must contain.
    pub body: Option<String>,
    /// How many redirects are followed, within the same host.
    pub redirects: u8,
}

/// A JSON scalar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// true or false
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

/// A TCP probe: up when the connection is made, and, if configured, the answer contains the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCheck {
    /// Where to connect.
    pub target: Target,
    /// What is sent once connected.
    pub send: Option<String>,
    /// What the first 64 KiB of the answer must contain.
    pub expect: Option<String>,
}

/// A DNS probe: up when the server answers NOERROR and, if configured, with exactly these values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsCheck {
    /// The server.
    pub target: Target,
    /// The name asked for.
    pub name: DomainName,
    /// The type asked for.
    pub rtype: RecordType,
    /// The answer wanted; any non-empty one when empty.
    pub values: BTreeSet<RecordValue>,
}

/// A gRPC health probe: up when the service is SERVING.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcCheck {
    /// Where to connect.
    pub target: Target,
    /// `Some` for TLS.
    pub tls: Option<Tls>,
    /// The service asked for; empty for the server as a whole.
    pub service: String,
}

/// A `DynamoDB` probe: up when the table answers for the key, whether or not an item stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamodbCheck {
    /// Which table, and where.
    pub table: Table,
    /// The whole key by attribute: texts and whole numbers.
    pub key: BTreeMap<String, Scalar>,
}

/// When the cluster may switch a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Consecutive failures that make a site's opinion down.
    pub fall: u32,
    /// Consecutive successes that make a site's opinion up.
    pub rise: u32,
    /// How many sites must agree.
    pub quorum: Quorum,
    /// How long after a switch no automatic one follows.
    pub cooldown: Duration,
    /// How many automatic switches within [`Policy::budget_window`]; the next one freezes the service instead.
    pub budget: u32,
    /// The window of the budget.
    pub budget_window: Duration,
    /// Whether traffic returns to a preferred region by itself.
    pub failback: Failback,
    /// How long a preferred region must have been up before an automatic failback.
    pub dwell: Duration,
    /// Log time after which an observation no longer counts; from interval and timeout of the probe when `None`.
    pub opinion_ttl: Option<Duration>,
    /// Gate `dynamodb-lag`: how far the candidate may lag behind.
    pub max_replication_lag: Option<Duration>,
    /// What a gate that knows nothing means.
    pub gate_unknown: GateUnknown,
    /// What to do about a record that somebody else changed.
    pub drift: DriftPolicy,
    /// How often the leader compares provider and state.
    pub reconcile: Duration,
    /// When planned work holds automatic switches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
}

/// How many sites of the electorate must hold an opinion to make it the verdict. Never less than a majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quorum {
    /// More than half of the sites.
    Majority,
    /// This many, or a majority if that is more.
    AtLeast(u32),
    /// Every site.
    All,
}

/// Who moves traffic back to a preferred region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failback {
    /// An operator.
    Manual,
    /// The cluster, after the dwell.
    Automatic,
}

/// What a gate that knows nothing means for an automatic switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateUnknown {
    /// No switch.
    Hold,
    /// As if it passed.
    Pass,
}

/// What the leader does about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DriftPolicy {
    /// Say so and change nothing.
    Alarm,
    /// Write the committed values again, under a new epoch.
    Correct,
}
