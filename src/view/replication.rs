//! What is measured of a region's table.

use serde::{Deserialize, Serialize};

use super::{Read, Rule, text};
use crate::proto::v1;

/// One region's replica, and how far it is behind the active region.
#[derive(Debug, Clone, Serialize)]
pub struct Replication {
    /// The service.
    pub service: String,
    /// Its region.
    pub region: String,
    /// The table.
    pub table: String,
    /// The AWS region that has it.
    pub aws_region: String,
    /// The region through which heartbeats are written: the active one.
    pub through: Option<String>,
    /// Gate `dynamodb-replica`.
    pub replica: Option<Rule>,
    /// Gate `dynamodb-lag`.
    pub lag: Option<Rule>,
    /// What was written in the active region within this time may not have arrived; `null` when that is not known.
    pub lag_ms: Option<u64>,
    /// The same as a sentence, or why it is not known.
    pub lag_text: Option<String>,
    /// What the policy allows; `null` for any lag.
    pub limit_ms: Option<u64>,
    /// How old the reading is; `null` without one that counts.
    pub read_ms_ago: Option<u64>,
}

/// All of them.
#[derive(Debug, Clone, Serialize)]
pub struct Replications {
    /// One for each region with a table that is not active.
    pub replications: Vec<Replication>,
    /// What it was read from.
    pub read: Read,
}

/// What a switch may have lost of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LostWrites {
    /// At most what was written within this time; `null` when that is not known.
    pub bound_ms: Option<u64>,
    /// The same as a sentence, or why it is not known.
    pub text: String,
}

impl From<v1::Replication> for Replication {
    fn from(of: v1::Replication) -> Self {
        Self {
            service: of.service,
            region: of.region,
            table: of.table,
            aws_region: of.aws_region,
            through: text(of.through),
            replica: of.replica.map(Into::into),
            lag: of.lag.map(Into::into),
            lag_ms: of.lag_ms,
            lag_text: text(of.lag_text),
            limit_ms: of.limit_ms,
            read_ms_ago: of.read_ms_ago,
        }
    }
}

impl From<v1::ListReplicationResponse> for Replications {
    fn from(of: v1::ListReplicationResponse) -> Self {
        Self {
            replications: of.replications.into_iter().map(Into::into).collect(),
            read: of.read.unwrap_or_default().into(),
        }
    }
}
