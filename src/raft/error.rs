//! What can go wrong, one enum an operation.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::{store::OpenError, types::Member};
use crate::{
    core::names::NodeId,
    tls::{Identity, IdentityError},
};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store is not there, in use or damaged.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store is another node's.
    #[error("the store in {dir} is of node {have}, not of node {want}")]
    OtherNode {
        /// Where it is.
        dir: PathBuf,
        /// Whose it is.
        have: NodeId,
        /// Whose was wanted.
        want: NodeId,
    },
    /// The certificate says nothing.
    #[error("this node's certificate: {0}")]
    Certificate(#[from] IdentityError),
    /// The certificate is not this node's.
    #[error("the certificate is of {have}, the store of {want}")]
    OtherIdentity {
        /// Whose the certificate is.
        have: Identity,
        /// Whose the store is.
        want: Identity,
    },
    /// The clocks make no sense together.
    #[error("the timing is not usable: {0}")]
    Timing(String),
    /// openraft refused what it found.
    #[error("consensus does not start: {0}")]
    Consensus(String),
}

/// Why the cluster was not initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// This node has a log or a vote already.
    #[error("this node already takes part in a cluster")]
    AlreadyDone,
    /// The members do not name this node.
    #[error("node {0} must be one of the first members")]
    NotAMember(NodeId),
    /// Consensus stopped.
    #[error("consensus stopped: {0}")]
    Fatal(String),
}

/// This node is not the leader, or cannot show that it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("not the leader{}", .leader.as_ref().map(|(id, m)| format!("; node {id} at {} may be", m.address)).unwrap_or_default())]
pub struct NotLeader {
    /// Who may be.
    pub leader: Option<(NodeId, Member)>,
}

/// Why a command has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not proposed: this node does not lead in that term.
    #[error("not the leader of that term{}", .leader.as_ref().map(|(id, m)| format!("; node {id} at {} may lead", m.address)).unwrap_or_default())]
    NotLeader {
        /// Who may lead.
        leader: Option<(NodeId, Member)>,
    },
    /// It may or may not be committed, now or later: the state will tell.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// It was not proposed: it is too long.
    #[error("the command is {length} bytes long, {max} are possible")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// Consensus stopped on this node, and so must the node.
    #[error("consensus stopped: {0}")]
    Fatal(String),
}

/// Why the members did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MemberError {
    /// Only the leader changes members.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// The change makes no sense as things are.
    #[error("{0}")]
    Refused(String),
    /// The learner lacks too much of the log to vote.
    #[error(
        "node {id} has not caught up: it holds {} of {} entries; try again when it has",
        matched.unwrap_or_default(),
        last.unwrap_or_default()
    )]
    Behind {
        /// The learner.
        id: NodeId,
        /// The last entry it is known to hold.
        matched: Option<u64>,
        /// The leader's last entry.
        last: Option<u64>,
    },
    /// It may or may not have happened: the status will tell.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Consensus stopped on this node.
    #[error("consensus stopped: {0}")]
    Fatal(String),
}

/// Waiting for an entry to be applied took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {wanted} is not applied yet; {applied} is")]
pub struct NotApplied {
    /// What was waited for.
    pub wanted: u64,
    /// What is applied.
    pub applied: u64,
}
