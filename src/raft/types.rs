//! Which types openraft works with here. Nothing above `raft` sees any of them but [`Member`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::{
    names::{NodeId, Site},
    state::{Command, Position, Response},
};

/// Where a node stands and listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The site that its votes count for.
    pub site: Site,
    /// `host:port` of its peer listener.
    pub address: String,
}

/// A command as the log carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Logged(pub Command);

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command at log time {}", self.0.at)
    }
}

#[cfg(not(feature = "testing"))]
type Runtime = openraft_rt_tokio::TokioRuntime;
#[cfg(feature = "testing")]
type Runtime = super::simulated::SeededRuntime;

openraft::declare_raft_types!(
    /// openraft's type configuration.
    pub(crate) TypeConfig:
        D = Logged,
        R = Response,
        NodeId = NodeId,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>,
        AsyncRuntime = Runtime,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, bytes::Bytes>;

/// The position of an entry, in the core's words.
pub(crate) fn position(id: LogId) -> Position {
    Position { term: id.committed_leader_id().term, index: id.index() }
}

/// openraft's name of an entry.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}
