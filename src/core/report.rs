//! What a node tells the cluster: runs of equal observations, as changes since its last report.
//!
//! A **full** report (`base: None`) names every run that the node holds. A **delta** names only what is news since the
//! report numbered `base`, and thereby says of every other run that it goes on: an endpoint whose probing stalled must be
//! named in `lost`. A delta on another base than the state's is refused, and the node answers with a full one.
//!
//! A run is news while its count is at most the greater of rise and fall (opinions form there), when its outcome or its
//! failing dependencies change, and once more, with the final count, when it ends. So the outcomes are kept without loss
//! and a steady state costs nothing, however many endpoints there are.

use serde::{Deserialize, Serialize};

use super::names::{EndpointId, NodeId};

/// The longest reason or dependency name that travels, in bytes; longer ones are cut at a character.
pub const DETAIL_LIMIT: usize = 160;
/// How many failing dependencies travel.
pub const DEPENDENCIES_LIMIT: usize = 8;

/// The result of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything that was configured matched.
    #[serde(rename = "p")]
    Pass,
    /// Something did not.
    #[serde(rename = "f")]
    Fail,
}

/// One site's answer from one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Pass or fail.
    pub outcome: Outcome,
    /// Why it failed, in words (`status 503, 200 wanted`); empty when it passed. No secret, no body.
    pub reason: String,
    /// The dependencies that the endpoint itself calls failing, sorted.
    pub dependencies: Vec<String>,
}

/// What is news of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The endpoint.
    #[serde(rename = "e")]
    pub endpoint: EndpointId,
    /// What all observations of the run have in common.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// How many there are by now.
    #[serde(rename = "n")]
    pub count: u32,
    /// The final count of the run before this one, when this one is new.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u32>,
    /// Why the last observation failed.
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The dependencies that the endpoint calls failing.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
}

/// A node's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who observed.
    #[serde(rename = "i")]
    pub node: NodeId,
    /// One more than the node's last report; starts anew with the process, from a full report.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The report that this one is a change of; `None` for a full one.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Why the node calls itself blind: its opinions are unknown then, and it sends no runs.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// What is news.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// Endpoints of which the node knows nothing any more: their opinions are unknown.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<EndpointId>,
    /// How many runs go on unchanged: a check that both sides hold the same set.
    #[serde(rename = "u", default)]
    pub unchanged: u32,
}
