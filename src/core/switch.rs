//! A switch: one change of a service's active region, from authorised to observed.
//!
//! ```text
//!            due + authorised in apply              provider accepted          every nameserver answers
//! Serving(a) ────────────────────────▶ Authorised(e,a→b) ─────────▶ Written(e) ─────────▶ Serving(b), cooldown
//!     ▲                                   │    ▲ new leader resumes the same epoch
//!     └── superseded by epoch e+1 ────────┘    └─ indeterminate: read, then write again under the same epoch
//! ```
//! The intent outlives its leader: whoever leads next finishes the same epoch (invariant 10). Every change of mind is a new
//! epoch, which fences the old one at the provider; an abort is one too, back to the region that was active before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    gauge::Behind,
    names::{Epoch, LogTime, NodeId, RegionName, ServiceName, Site},
    opinion::Opinion,
    report::Outcome,
    safety::{Rule, RuleReading},
    seal::Hash,
    verdict::Tally,
};

/// What a leader proposes; it authorises nothing until `apply` has checked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The service to switch.
    pub service: ServiceName,
    /// The epoch that the switch shall have: refused unless it is the next one.
    pub epoch: Epoch,
    /// The region to make active.
    pub to: RegionName,
    /// Why.
    pub cause: Cause,
}

/// Why a switch is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The first one: the record answers this region already, or nothing at all.
    Adopt,
    /// The active region is down.
    Failover,
    /// A region of higher preference has been up for the dwell.
    Failback,
    /// An operator asked.
    Manual {
        /// The name in the operator's certificate.
        by: String,
        /// In the operator's words.
        reason: String,
        /// The rules overridden by name.
        overrides: BTreeSet<Rule>,
    },
    /// The service file changed what the active region's records answer.
    Revise {
        /// The name in the certificate of who applied it.
        by: String,
    },
    /// An operator ended the open switch before it was observed: back to the region that was active before it.
    ///
    /// No rule holds an abort, for it only undoes what is not over yet: not the cooldown, which is there against a second
    /// move, and not a verdict, for the operator knows that the region left is not what the verdict says. What the rules say
    /// stands in its evidence. The budget keeps the automatic switch that was aborted, so that a cluster and an operator who
    /// disagree end in a freeze and not in a flap, and the cooldown begins anew once the abort is observed.
    Abort {
        /// The name in the operator's certificate.
        by: String,
        /// In the operator's words.
        reason: String,
    },
}

impl Cause {
    /// The word for it in tables and events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Failover => "failover",
            Self::Failback => "failback",
            Self::Manual { .. } => "manual",
            Self::Revise { .. } => "revise",
            Self::Abort { .. } => "abort",
        }
    }

    /// Who asked for it; empty for the cluster itself.
    #[must_use]
    pub fn by(&self) -> &str {
        match self {
            Self::Manual { by, .. } | Self::Revise { by } | Self::Abort { by, .. } => by,
            Self::Adopt | Self::Failover | Self::Failback => "",
        }
    }

    /// In the words of who asked for it; empty for the cluster itself.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Manual { reason, .. } | Self::Abort { reason, .. } => reason,
            Self::Adopt | Self::Failover | Self::Failback | Self::Revise { .. } => "",
        }
    }

    /// Whether the cluster decided it: what cooldown and budget are about.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        matches!(self, Self::Failover | Self::Failback)
    }

    /// Whether the operator named `rule` to be overridden. An abort overrides what is read for it, and never the hand of
    /// somebody else at the record.
    #[must_use]
    pub fn overrides(&self, rule: Rule) -> bool {
        match self {
            Self::Manual { overrides, .. } => overrides.contains(&rule),
            Self::Abort { .. } => rule != Rule::Drift,
            Self::Adopt | Self::Failover | Self::Failback | Self::Revise { .. } => false,
        }
    }
}

/// When something was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Log time.
    pub at: LogTime,
    /// Wall time in ms since 1970, for people only.
    pub wall: u64,
    /// The term of the entry.
    pub term: u64,
    /// The index of the entry.
    pub index: u64,
}

/// An authorised switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Its number.
    pub epoch: Epoch,
    /// The region that was to be answered before; `None` for the first.
    pub from: Option<RegionName>,
    /// The region to be answered.
    pub to: RegionName,
    /// Why.
    pub cause: Cause,
    /// When the intent was applied.
    pub authorised: Stamp,
    /// When the provider had accepted every record.
    pub written: Option<Stamp>,
    /// When the nameservers had been asked.
    pub observed: Option<Stamp>,
    /// When a later epoch took its place before it was observed.
    pub superseded: Option<Stamp>,
    /// What it rested on and what came of it.
    pub evidence: Evidence,
}

/// How far a switch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchStatus {
    /// The intent is committed.
    Authorised,
    /// The provider accepted.
    Written,
    /// The nameservers were asked; the switch is over.
    Observed,
    /// A later epoch took over; the switch is over.
    Superseded,
}

impl Switch {
    /// How far it has come.
    #[must_use]
    pub fn status(&self) -> SwitchStatus {
        if self.superseded.is_some() {
            SwitchStatus::Superseded
        } else if self.observed.is_some() {
            SwitchStatus::Observed
        } else if self.written.is_some() {
            SwitchStatus::Written
        } else {
            SwitchStatus::Authorised
        }
    }
}

/// Everything that a switch rested on, and what the provider and the nameservers said.
///
/// It is sealed when the switch is over ([`super::seal`]): new fields are left out while they have nothing to say.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The index at which the service was applied as it then stood.
    pub revision: u64,
    /// The voting members and their sites.
    pub electorate: BTreeMap<NodeId, Site>,
    /// What was held of each region.
    pub regions: BTreeMap<RegionName, RegionEvidence>,
    /// Every rule with its figure.
    pub rules: Vec<RuleReading>,
    /// By record: what the provider said when it accepted.
    pub receipts: BTreeMap<String, String>,
    /// What each nameserver answered.
    pub answers: Vec<NameserverLine>,
    /// The SHA-256 of the service file as it then stood, with regions and policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: Hash,
    /// What each voter's controls said, and which peers it reached; nothing of one that was not heard in the term.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sight: BTreeMap<NodeId, SightEvidence>,
    /// What was written in the region left and may not have arrived in the other; `None` where there is no table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_writes: Option<Behind>,
}

/// What was known of a node's own sight when a switch was authorised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SightEvidence {
    /// Its site.
    pub site: Site,
    /// Why it called itself blind.
    pub blind: Option<String>,
    /// Its controls and what kept each from working; nothing for one that worked.
    pub controls: Vec<(String, Option<String>)>,
    /// Its peers, and whether it reached them.
    pub peers: BTreeMap<NodeId, bool>,
}

/// What was held of one region when a switch was authorised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionEvidence {
    /// The count.
    pub tally: Tally,
    /// Every node's opinion and the runs under it.
    pub votes: Vec<Vote>,
}

/// One node's opinion of one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The node.
    pub node: NodeId,
    /// Its site.
    pub site: Site,
    /// What it held.
    pub opinion: Opinion,
    /// Why, in words.
    pub reason: String,
    /// The runs it rests on, one an endpoint that anything is known of.
    pub runs: Vec<RunEvidence>,
}

/// A run that a vote rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvidence {
    /// Which of the region's probes, from 0.
    pub probe: usize,
    /// What it consists of.
    pub outcome: Outcome,
    /// How long it was when it was last news.
    pub count: u32,
    /// The term in which it was logged.
    pub term: u64,
    /// The entry that told of it last.
    pub index: u64,
    /// Why the last observation failed.
    pub reason: String,
}

/// One nameserver's answer for one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameserverLine {
    /// The record.
    pub record: String,
    /// The nameserver.
    pub server: String,
    /// What it answered, or why it did not.
    pub answer: String,
    /// Whether that is what the switch wrote.
    pub agrees: bool,
}

impl NameserverLine {
    /// How the answer of one begins that gave none.
    pub const SILENT: &str = "no usable answer: ";

    /// Whether it gave no usable answer, so that nobody knows what it would have said.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.answer.starts_with(Self::SILENT)
    }
}
