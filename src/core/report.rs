//! What a node tells the cluster: runs of equal observations, as changes since its last report.
//!
//! A **full** report (`base: None`) names every run that the node holds. A **delta** names only what is news since the
//! report numbered `base`, and thereby says of every other run that it goes on: an endpoint whose probing stalled must be
//! named in `lost`. A delta on another base than the state's is refused, and the node answers with a full one.
//!
//! A run is news while its count is at most the greater of rise and fall (opinions form there), when its outcome or its
//! failing dependencies change, and once more, with the final count, when it ends. So the outcomes are kept without loss
//! and a steady state costs nothing, however many endpoints there are.
//!
//! # What the state does with a report
//! Let `last` be the number of the last report that it accepted from the node (0: none).
//!
//! 1. **Accept or refuse.** A full report is accepted iff `seq > last`. A delta is accepted iff `base == last`,
//!    `seq > last`, and the state holds at most `unchanged` runs of the node besides those that the report names in `runs`
//!    or `lost`. A refusal changes nothing and tells the node `last`; the node then sends a full report numbered above it.
//! 2. **Holding fewer than `unchanged` is no reason to refuse.** The log removed an endpoint that the node, some entries
//!    behind, still probes. Refusing would ask for full reports in a loop until the node catches up. Holding more is a fault:
//!    the state would keep a run fresh that nobody vouches for.
//! 3. **A full report replaces** all runs of the node. `blind` forgets all of them, and `lost` those named.
//! 4. **The runs of one endpoint come in order.** `before` is the final count of the run numbered one less, which had the
//!    other outcome; it is given whether or not the state holds that run. Where it is missing the run before was dropped
//!    (blind, lost, or the node's memory of ended runs was full) and says nothing. A run with a lower number than the one
//!    held, or the same number and a lower count, was told before: telling twice changes nothing.
//! 5. **An endpoint that the state does not know** was removed: its runs are ignored.
//! 6. **Whoever forgets runs for any other reason** (a new term) keeps `last` and refuses the node's deltas until its next
//!    full report. Forgetting `last` too would let a full report that was delayed on the way overwrite a newer one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    names::{EndpointId, NodeId, RegionName, ServiceName},
    service::Probe,
};

/// What a node probes: one probe of one region of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number; a changed probe gets a new one.
    pub id: EndpointId,
    /// The service it belongs to.
    pub service: ServiceName,
    /// The region it answers for.
    pub region: RegionName,
    /// How it is asked.
    pub probe: Probe,
    /// The greater of rise and fall: the count at which a run has formed every opinion it can form.
    pub settle: u32,
}

impl Endpoint {
    /// How long the endpoint may go without a completed observation before the node calls it lost: two intervals and a
    /// timeout, so that one skipped probe is not a loss.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.probe.interval.saturating_mul(2).saturating_add(self.probe.timeout)
    }
}

/// Everything that a node probes, in order of the endpoints' numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The endpoints; no two have one number.
    pub endpoints: Vec<Endpoint>,
}

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

impl Observation {
    /// Everything matched.
    #[must_use]
    pub fn pass() -> Self {
        Self { outcome: Outcome::Pass, reason: String::new(), dependencies: Vec::new() }
    }

    /// Something did not match. The reason is cut to [`DETAIL_LIMIT`].
    #[must_use]
    pub fn fail(reason: &str) -> Self {
        Self { outcome: Outcome::Fail, reason: cut(reason), dependencies: Vec::new() }
    }

    /// The same with these failing dependencies: sorted, each once, cut to [`DETAIL_LIMIT`] and [`DEPENDENCIES_LIMIT`].
    #[must_use]
    pub fn with_dependencies<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(cut).collect();
        self.dependencies = names.into_iter().take(DEPENDENCIES_LIMIT).collect();
        self
    }
}

/// The text without control characters, at most [`DETAIL_LIMIT`] bytes of it.
#[must_use]
pub fn cut(text: &str) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).take(DETAIL_LIMIT).collect();
    kept.truncate(kept.floor_char_boundary(DETAIL_LIMIT));
    kept
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
    /// Which run of the endpoint this is, counted from 1 since the node's process began to probe it; tells a run that is
    /// told twice from a new one.
    #[serde(rename = "k")]
    pub number: u32,
    /// How many there are by now.
    #[serde(rename = "n")]
    pub count: u32,
    /// The final count of the run before this one, when this one is new.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u32>,
    /// Why the last observation failed; empty in a run that ended meanwhile.
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The dependencies that the endpoint calls failing.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
}

/// How many controls and peers a node tells of.
pub const SIGHT_LIMIT: usize = 64;

/// What a node's controls last said, and which peers it reached: what its blindness, or its seeing, rests on.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Its controls and what keeps each from working; nothing for one that works.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<(String, Option<String>)>,
    /// Its peers, and whether it reached them.
    #[serde(rename = "p", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<NodeId, bool>,
}

/// A node's report.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who observed.
    #[serde(rename = "i")]
    pub node: NodeId,
    /// More than that of the node's last report; starts anew with the process, from a full report, and above what a refusal
    /// names.
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
    /// How many runs the state was told of before, go on, and are not named here; 0 in a full report.
    #[serde(rename = "u", default)]
    pub unchanged: u32,
    /// What the node's controls say, in a full report and when it is news.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub sight: Option<Sight>,
    /// For how long, in ms, the leader had it in hand before it was put on the log, because what came before it waited for a
    /// quorum. The leader says so: what a node says of it counts for nothing.
    #[serde(rename = "w", default, skip_serializing_if = "is_nothing")]
    pub waited: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_nothing(waited: &u64) -> bool {
    *waited == 0
}
