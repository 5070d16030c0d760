//! `DynamoDB` Global Tables: what a region says of its replica, and how far that is behind the active region.
//!
//! ```text
//!   leader ─▶ meter ─┬─ heartbeat, once an interval ─▶ the active region's replica ─┐
//!                    │                                                              │ AWS replicates
//!                    └─ which one has arrived? ────── ▶ every other region ◀────────┘
//! ```
//! Lag is measured and not asked for: AWS's own metric goes missing in an outage, and what it says then is not "none". The
//! surviving region is asked, never the one that is down. A heartbeat is stamped with the leader's log time and the term, so
//! that no clock but the leader's own is ever compared, and another leader's heartbeats count for nothing.
//!
//! What is absent on purpose: a judgement. Whether a replica will do is the gates' affair, in [`crate::core::gauge`].

mod client;
#[cfg(feature = "testing")]
pub(crate) use client::fuzz;
mod key;
pub mod meter;
pub mod status;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::{
    aws::Fault,
    core::{names::LogTime, service::Table},
};
pub use client::DynamoDb;
pub use key::{HeartbeatKey, KeySchema, KeyType, KeyValue};

/// What `DescribeTable` says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The table's status in the region asked.
    pub status: String,
    /// What its keys are called.
    pub keys: KeySchema,
    /// Its replicas by region; some answers leave out the region asked.
    pub replicas: BTreeMap<String, ReplicaLine>,
    /// How it is paid for: `PAY_PER_REQUEST` or `PROVISIONED`.
    pub billing: String,
    /// What its stream shows; `None` without one.
    pub stream: Option<String>,
    /// `2017.11.29` or `2019.11.21`; `None` for a table of one region.
    pub global_version: Option<String>,
}

/// One replica as AWS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaLine {
    /// Its status.
    pub status: String,
    /// What AWS adds to it.
    pub description: Option<String>,
    /// How far its creation has come, in percent, as AWS says it.
    pub progress: Option<String>,
}

/// A leader's mark in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beat {
    /// The term of the leader that wrote it: there is one leader a term.
    pub term: u64,
    /// The leader's log time when it began to write it.
    pub at: LogTime,
}

/// What a leader asks of `DynamoDB`. Each call is over within a second or two, and is never repeated by itself.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// Describes the table as its region sees it.
    async fn describe(&self, table: &Table) -> Result<Description, Fault>;

    /// Writes a heartbeat, unless a later one stands there.
    async fn beat(&self, table: &Table, key: &HeartbeatKey, beat: Beat) -> Result<(), Fault>;

    /// Reads the heartbeat that stands there.
    async fn last_beat(&self, table: &Table, key: &HeartbeatKey) -> Result<Option<Beat>, Fault>;
}

/// No tables at all: every answer is that nobody can tell.
#[derive(Debug, Clone, Copy)]
pub struct NoTables;

#[async_trait]
impl Tables for NoTables {
    async fn describe(&self, _: &Table) -> Result<Description, Fault> {
        Err(nobody())
    }

    async fn beat(&self, _: &Table, _: &HeartbeatKey, _: Beat) -> Result<(), Fault> {
        Err(nobody())
    }

    async fn last_beat(&self, _: &Table, _: &HeartbeatKey) -> Result<Option<Beat>, Fault> {
        Err(nobody())
    }
}

fn nobody() -> Fault {
    Fault::Ours("this node reads no tables".to_owned())
}
