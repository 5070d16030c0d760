//! An entry of the record of administrative acts.

use serde::Serialize;

use super::{text, wall, word};
use crate::proto::v1;

/// Who did what, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct AuditEntry {
    /// Where the act stands in the log.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Wall time, RFC 3339.
    pub at: Option<String>,
    /// Log time.
    pub log_ms: u64,
    /// The name in the certificate of who asked.
    pub by: String,
    /// The role in it.
    pub role: String,
    /// `switch`, `freeze`, `add-member` …
    pub act: String,
    /// `null`: the cluster as a whole.
    pub service: Option<String>,
    /// What exactly, in words.
    pub detail: Option<String>,
    /// The epoch of a switch or an abort.
    pub epoch: Option<u64>,
    /// The region that a switch or an abort leads to.
    pub to: Option<String>,
    /// The rules that were overridden by name.
    pub overrides: Vec<String>,
    /// In the words of who asked.
    pub reason: Option<String>,
    /// `begun`, `done`, `unchanged`, `refused` or `unknown`.
    pub outcome: String,
    /// Why it was refused, or is not known.
    pub why: Option<String>,
}

impl From<v1::AuditEntry> for AuditEntry {
    fn from(of: v1::AuditEntry) -> Self {
        Self {
            index: of.index,
            term: of.term,
            at: of.at.and_then(wall),
            log_ms: of.log_ms,
            by: of.by,
            role: of.role,
            act: of.act,
            service: text(of.service),
            detail: text(of.detail),
            epoch: of.epoch,
            to: text(of.to),
            overrides: of.overrides,
            reason: text(of.reason),
            outcome: word(of.outcome, v1::AuditOutcome::as_str_name, "AUDIT_OUTCOME_"),
            why: text(of.why),
        }
    }
}
