//! What drills and checks of providers show.

use serde::Serialize;

use super::{text, word};
use crate::proto::v1;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// `credentials`, `clock`, `zone`, `record`, `ttl`, `fence`, `rights`, `write`, `probe`, a rule's name …
    pub subject: String,
    /// `pass`, `fail` or `unknown`.
    pub outcome: String,
    /// In words and figures.
    pub figure: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The node that looked; `null` when it follows from the state.
    pub node: Option<u64>,
    /// Its site.
    pub site: Option<String>,
    /// The record, where it is about one.
    pub record: Option<String>,
    /// It would stop a real switch now.
    pub stops: bool,
}

impl From<v1::Finding> for Finding {
    fn from(of: v1::Finding) -> Self {
        Self {
            outcome: word(of.outcome, v1::RuleOutcome::as_str_name, "RULE_OUTCOME_"),
            subject: of.subject,
            figure: of.figure,
            hint: text(of.hint),
            node: Some(of.node).filter(|node| *node > 0),
            site: text(of.site),
            record: text(of.record),
            stops: of.stops,
        }
    }
}

/// A rehearsed switch.
#[derive(Debug, Clone, Serialize)]
pub struct Drill {
    /// Whose.
    pub service: String,
    /// The region that is active.
    pub from: Option<String>,
    /// The region that was rehearsed.
    pub to: String,
    /// The epoch that a real switch would have.
    pub epoch: u64,
    /// How many findings would stop it.
    pub stops: u32,
    /// One sentence.
    pub conclusion: String,
    /// In the order in which a switch would meet them.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub took_ms: u64,
    /// Who put it together.
    pub answered_by: u64,
}

impl From<v1::DrillReport> for Drill {
    fn from(of: v1::DrillReport) -> Self {
        Self {
            service: of.service,
            from: text(of.from),
            to: of.to,
            epoch: of.epoch,
            stops: of.stops,
            conclusion: of.conclusion,
            findings: of.findings.into_iter().map(Finding::from).collect(),
            took_ms: of.took_ms,
            answered_by: of.answered_by,
        }
    }
}

/// A provider and the nodes that are configured for it.
#[derive(Debug, Clone, Serialize)]
pub struct Provider {
    /// Its name in the configurations.
    pub provider: String,
    /// Its `type`; `null` when no node is configured for it.
    pub kind: Option<String>,
    /// `A`, `B` or `C`: how strongly it refuses a stale write.
    pub grade: Option<String>,
    /// The longest that a write may go on after it was sent.
    pub longest_request_ms: u64,
    /// The least TTL that it publishes, in seconds.
    pub least_ttl: u32,
    /// Whose records are there.
    pub services: Vec<String>,
    /// Nodes that are configured for it.
    pub nodes: Vec<u64>,
    /// Nodes that are not, although they must be.
    pub missing_on: Vec<u64>,
}

impl From<v1::ProviderStatus> for Provider {
    fn from(of: v1::ProviderStatus) -> Self {
        Self {
            provider: of.provider,
            kind: text(of.kind),
            grade: text(of.grade),
            longest_request_ms: of.longest_request_ms,
            least_ttl: of.least_ttl,
            services: of.services,
            nodes: of.nodes,
            missing_on: of.missing_on,
        }
    }
}

/// A node that did not answer.
#[derive(Debug, Clone, Serialize)]
pub struct SilentNode {
    /// Which.
    pub node: u64,
    /// Its site.
    pub site: String,
    /// Why.
    pub why: String,
}

impl From<v1::SilentNode> for SilentNode {
    fn from(of: v1::SilentNode) -> Self {
        Self { node: of.node, site: of.site, why: of.why }
    }
}

/// What was found out about a provider.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderFindings {
    /// Its name in the configurations.
    pub provider: String,
    /// Its `type`; `null` when no node is configured for it.
    pub kind: Option<String>,
    /// How strongly it refuses a stale write: A, B or C.
    pub grade: Option<String>,
    /// By node and record.
    pub findings: Vec<Finding>,
    /// The least that its credentials must be allowed.
    pub policy: Vec<Grant>,
}

impl From<v1::ProviderFindings> for ProviderFindings {
    fn from(of: v1::ProviderFindings) -> Self {
        Self {
            provider: of.provider,
            kind: text(of.kind),
            grade: text(of.grade),
            findings: of.findings.into_iter().map(Finding::from).collect(),
            policy: of.policy.into_iter().map(Grant::from).collect(),
        }
    }
}

/// A part of a policy.
#[derive(Debug, Clone, Serialize)]
pub struct Grant {
    /// Where it goes.
    pub place: String,
    /// What to paste or open there.
    pub text: String,
}

impl From<v1::Grant> for Grant {
    fn from(of: v1::Grant) -> Self {
        Self { place: of.place, text: of.text }
    }
}

impl From<crate::dns::Grant> for Grant {
    fn from(of: crate::dns::Grant) -> Self {
        Self { place: of.place, text: of.text }
    }
}
