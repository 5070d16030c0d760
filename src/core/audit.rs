//! Who did what to the cluster: every administrative act, with the name in the certificate and what came of it.
//!
//! The record is part of the state, so that it is replicated, survives snapshots, and is the same on every node
//! (invariant 8). An act that the state refused is in it too. An act that the log itself carries out is one entry; one that
//! consensus carries out beside the log (a change of the membership, a handover of leadership) is told before it is tried
//! and told again when its end is known. If the second is missing, the node that was asked went away in between: the
//! members say what became of it.
//!
//! What is absent on purpose: reads, what the cluster decides by itself (that is a switch with its evidence), and calls that a
//! certificate has no right to make, which anybody could send without end: the node that denied one logs it.

use std::{collections::VecDeque, fmt};

use serde::{Deserialize, Serialize};

use super::{
    names::{Epoch, NodeId, RegionName, ServiceName, Site},
    safety::Rule,
    state::{Action, Response},
    switch::{Cause, Stamp},
};

/// How many entries are kept; the oldest go first.
pub const AUDIT_LIMIT: usize = 1000;
/// The longest outcome in words that is kept, in bytes.
const OUTCOME_LIMIT: usize = 500;

/// Who asked, by certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name in the certificate.
    pub name: String,
    /// The role in the certificate.
    pub role: String,
}

/// A change that consensus makes beside the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberAct {
    /// Forms the cluster from these members.
    Init {
        /// Their numbers, sites and addresses.
        members: Vec<(NodeId, Site, String)>,
    },
    /// Adds a learner.
    Add {
        /// Its number.
        id: NodeId,
        /// Its site.
        site: Site,
        /// `host:port`.
        address: String,
    },
    /// Makes a learner a voter.
    Promote {
        /// Its number.
        id: NodeId,
    },
    /// Removes a member.
    Remove {
        /// Its number.
        id: NodeId,
    },
    /// Puts a new member in the place of another.
    Replace {
        /// The one that goes.
        old: NodeId,
        /// The one that comes.
        id: NodeId,
        /// Its site.
        site: Site,
        /// `host:port`.
        address: String,
    },
    /// Hands leadership to a voter.
    Transfer {
        /// Its number.
        to: NodeId,
    },
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A service file was applied.
    ApplyService {
        /// The service.
        service: ServiceName,
    },
    /// A service was removed.
    RemoveService {
        /// The service.
        service: ServiceName,
    },
    /// A switch by hand.
    Switch {
        /// The service.
        service: ServiceName,
        /// The region to make active.
        to: RegionName,
        /// The epoch that it has, or would have had.
        epoch: Epoch,
        /// The rules overridden by name.
        overrides: Vec<Rule>,
        /// In the operator's words.
        reason: String,
    },
    /// The end of the open switch.
    Abort {
        /// The service.
        service: ServiceName,
        /// The region that it goes back to.
        to: RegionName,
        /// The epoch that it has, or would have had.
        epoch: Epoch,
        /// In the operator's words.
        reason: String,
    },
    /// A hold on automatic switches.
    Freeze {
        /// Of one service, or of all.
        service: Option<ServiceName>,
        /// In the operator's words.
        reason: String,
    },
    /// The end of a hold.
    Unfreeze {
        /// Of one service, or of all.
        service: Option<ServiceName>,
    },
    /// What consensus does beside the log.
    Member(MemberAct),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was about to be tried; its end is not known here.
    Begun,
    /// It took effect.
    Done,
    /// There was nothing to change.
    Unchanged,
    /// The state, or consensus, forbade it. Nothing was changed.
    Refused(String),
    /// It may or may not have taken effect.
    Unknown(String),
}

/// One act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it was applied; its index names the entry.
    pub at: Stamp,
    /// Who asked.
    pub by: Actor,
    /// For what.
    pub act: Act,
    /// What came of it.
    pub outcome: Outcome,
    /// When that was known, if later than the entry itself.
    pub settled: Option<Stamp>,
}

/// The record, the oldest entry first.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// At most [`AUDIT_LIMIT`].
    pub entries: VecDeque<AuditEntry>,
    /// How many older ones were forgotten.
    pub forgotten: u64,
}

impl Audit {
    /// Whether nothing was ever recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.forgotten == 0
    }

    /// Takes down what somebody asked for and what the state made of it.
    pub(super) fn note(&mut self, at: Stamp, by: &Actor, action: &Action, response: &Response) {
        let Some(act) = Act::of(action) else { return };
        if self.entries.len() == AUDIT_LIMIT {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        let entry = AuditEntry { at, by: by.clone(), act, outcome: Outcome::of(response), settled: None };
        self.entries.push_back(entry);
    }

    /// Takes down the end of what was begun at the entry `begun`; says whether that is still remembered and had no end yet.
    pub(super) fn settle(&mut self, at: Stamp, begun: u64, outcome: &Outcome) -> bool {
        let open = |entry: &&mut AuditEntry| entry.at.index == begun && entry.outcome == Outcome::Begun;
        let Some(entry) = self.entries.iter_mut().rev().find(open) else { return false };
        (entry.outcome, entry.settled) = (outcome.clone().cut(), Some(at));
        true
    }
}

impl Outcome {
    fn of(response: &Response) -> Self {
        match response {
            Response::Done | Response::Authorised(_) | Response::Reports { .. } => Self::Done,
            Response::Unchanged => Self::Unchanged,
            Response::Begun(_) => Self::Begun,
            Response::Refused(why) => Self::Refused(why.to_string()).cut(),
        }
    }

    fn cut(mut self) -> Self {
        if let Self::Refused(why) | Self::Unknown(why) = &mut self {
            why.truncate(why.floor_char_boundary(OUTCOME_LIMIT));
        }
        self
    }

    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Why; empty where that needs no words.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Unknown(why) => why,
            Self::Begun | Self::Done | Self::Unchanged => "",
        }
    }
}

impl Act {
    /// What of an action is told; nothing of what is no administrative act.
    fn of(action: &Action) -> Option<Self> {
        Some(match action {
            Action::ApplyService { service, .. } => Self::ApplyService { service: service.name.clone() },
            Action::RemoveService { service } => Self::RemoveService { service: service.clone() },
            Action::Authorise(intent) => {
                let (service, to, epoch) = (intent.service.clone(), intent.to.clone(), intent.epoch);
                match &intent.cause {
                    Cause::Manual { reason, overrides, .. } => {
                        let overrides = overrides.iter().copied().collect();
                        Self::Switch { service, to, epoch, overrides, reason: reason.clone() }
                    }
                    Cause::Abort { reason, .. } => Self::Abort { service, to, epoch, reason: reason.clone() },
                    _ => return None,
                }
            }
            Action::Freeze { service, freeze } => {
                Self::Freeze { service: service.clone(), reason: freeze.reason.clone() }
            }
            Action::Unfreeze { service } => Self::Unfreeze { service: service.clone() },
            Action::Begin(act) => Self::Member(act.clone()),
            _ => return None,
        })
    }

    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::ApplyService { .. } => "apply-service",
            Self::RemoveService { .. } => "remove-service",
            Self::Switch { .. } => "switch",
            Self::Abort { .. } => "abort",
            Self::Freeze { .. } => "freeze",
            Self::Unfreeze { .. } => "unfreeze",
            Self::Member(MemberAct::Init { .. }) => "init-cluster",
            Self::Member(MemberAct::Add { .. }) => "add-member",
            Self::Member(MemberAct::Promote { .. }) => "promote-member",
            Self::Member(MemberAct::Remove { .. }) => "remove-member",
            Self::Member(MemberAct::Replace { .. }) => "replace-member",
            Self::Member(MemberAct::Transfer { .. }) => "transfer-leadership",
        }
    }

    /// The service that it is about; none for the cluster as a whole.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::ApplyService { service }
            | Self::RemoveService { service }
            | Self::Switch { service, .. }
            | Self::Abort { service, .. } => Some(service),
            Self::Freeze { service, .. } | Self::Unfreeze { service } => service.as_ref(),
            Self::Member(_) => None,
        }
    }

    /// In the words of who asked; empty where none were given.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Switch { reason, .. } | Self::Abort { reason, .. } | Self::Freeze { reason, .. } => reason,
            Self::ApplyService { .. } | Self::RemoveService { .. } | Self::Unfreeze { .. } | Self::Member(_) => "",
        }
    }
}

/// What it is about, in words: `to us-east-1 under epoch 7, overriding cooldown`.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyService { .. } | Self::RemoveService { .. } => Ok(()),
            Self::Switch { to, epoch, overrides, .. } => {
                write!(f, "to {to} under epoch {epoch}")?;
                for (i, rule) in overrides.iter().enumerate() {
                    write!(f, "{}{rule}", if i == 0 { ", overriding " } else { ", " })?;
                }
                Ok(())
            }
            Self::Abort { to, epoch, .. } => write!(f, "back to {to} under epoch {epoch}"),
            Self::Freeze { service, .. } | Self::Unfreeze { service } => {
                f.write_str(if service.is_some() { "" } else { "the whole cluster" })
            }
            Self::Member(act) => act.fmt(f),
        }
    }
}

impl fmt::Display for MemberAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init { members } => {
                for (i, (id, site, address)) in members.iter().enumerate() {
                    write!(f, "{}{id}={site}@{address}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Add { id, site, address } => write!(f, "{id}={site}@{address}"),
            Self::Promote { id } | Self::Remove { id } => write!(f, "{id}"),
            Self::Replace { old, id, site, address } => write!(f, "{old} by {id}={site}@{address}"),
            Self::Transfer { to } => write!(f, "to {to}"),
        }
    }
}
