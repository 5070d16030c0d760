//! What the servers need of the cluster: read, propose, change the membership. `node` implements it; tests do too.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::{
    core::{
        names::{ClusterId, LogTime, NodeId, Site},
        service::Service,
        state::{Action, Position, Response, State},
    },
    history::Recorder,
    inspect::{Inspection, NodeAnswer},
};

/// How old an answer may be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Not older than the call.
    #[default]
    Linearizable,
    /// What this node has applied.
    Stale,
}

/// What an answer was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadInfo {
    /// The last entry in the state.
    pub position: Position,
    /// The state's log time.
    pub log_time: LogTime,
    /// How long ago this node last applied an entry or heard from a leader; `None` if it never did. Only what was read
    /// [`Consistency::Stale`] carries it on.
    pub age: Option<Duration>,
    /// Who answered.
    pub answered_by: NodeId,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number; never 0.
    pub id: NodeId,
    /// The place that it observes from.
    pub site: Site,
    /// `host:port` of its gRPC listener.
    pub address: String,
}

/// A member as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Votes; a learner only replicates.
    pub voter: bool,
    /// Believed to lead.
    pub leader: bool,
    /// Known on the leader only: the last log index that it has.
    pub matched_index: Option<u64>,
    /// Known on the leader only: for how long it has not answered.
    pub silent: Option<Duration>,
}

/// The cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The cluster's identity.
    pub cluster: ClusterId,
    /// Voters and learners, by id.
    pub members: Vec<MemberStatus>,
    /// Believed to lead.
    pub leader: Option<NodeId>,
    /// The node's term.
    pub term: u64,
    /// The last entry in the node's log.
    pub last_log_index: u64,
    /// The last entry in the node's state.
    pub applied_index: u64,
    /// Hex SHA-256 of the state at `applied_index` (invariant 8).
    pub state_hash: String,
}

/// One thing wrong with what a caller sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: a field's name, or `line 12` of a file.
    pub field: String,
    /// What, and what would be right.
    pub description: String,
}

/// Why the cluster did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// `InitCluster` has not been called.
    #[error("the cluster is not initialised: run `quoratectl cluster init`")]
    NotInitialised,
    /// `InitCluster` was called before.
    #[error("the cluster is initialised already")]
    AlreadyInitialised,
    /// Nothing was changed; another node may know more, or the same one later.
    #[error("{why}")]
    Unavailable {
        /// In words: no leader is known, the leader does not answer, no quorum confirms it.
        why: String,
        /// Who leads as far as this node knows, and where.
        leader: Option<(NodeId, String)>,
    },
    /// The proposal may or may not take effect.
    #[error("no answer within {}: the outcome is unknown", crate::core::explain::words(*.after))]
    OutcomeUnknown {
        /// How long was waited.
        after: Duration,
    },
    /// A membership change that the state forbids. Nothing was changed.
    #[error("{description}")]
    Forbidden {
        /// `UPPER_SNAKE_CASE`, for programs.
        reason: &'static str,
        /// In words.
        description: String,
    },
    /// No such member.
    #[error("there is no member {0}")]
    NoMember(NodeId),
    /// What was asked for is wrong in itself. Nothing was changed.
    #[error("{} in the request", if .0.len() == 1 { "1 problem".into() } else { format!("{} problems", .0.len()) })]
    Invalid(Vec<Violation>),
    /// This node is broken; nothing is known of the outcome.
    #[error("{0}")]
    Internal(String),
}

/// The cluster, from one node. Every call ends within a bounded time, whatever the peers do.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Waits until this node's state is as new as `consistency` asks for: for [`Consistency::Linearizable`] until the
    /// leader's read index is applied (`ReadIndex`).
    ///
    /// # Errors
    /// [`ClusterError::NotInitialised`], [`ClusterError::Unavailable`].
    async fn catch_up(&self, consistency: Consistency) -> Result<(), ClusterError>;

    /// Shows the applied state. `look` runs under the state's lock: it copies out what it needs and returns.
    fn with_state(&self, look: &mut dyn FnMut(&State, ReadInfo));

    /// Where the entry last applied stands; changes are signalled after the state shows them. Closes when the node stops.
    fn applied(&self) -> watch::Receiver<Position>;

    /// Has the leader commit an action, from whichever node, and waits until it is applied there.
    ///
    /// # Errors
    /// [`ClusterError::NotInitialised`], [`ClusterError::Unavailable`] (not proposed), [`ClusterError::OutcomeUnknown`].
    /// What the state forbids is no error here but [`Response::Refused`].
    async fn propose(&self, action: Action) -> Result<Response, ClusterError>;

    /// Whether the providers suit a service, as `ApplyService` asks before it proposes; with `read`, its records are read there.
    ///
    /// # Errors
    /// What stands in the way, one line a record.
    async fn check_providers(&self, service: &Service, read: bool) -> Result<(), Vec<String>>;

    /// Has every member find something out without changing anything, and hands on each answer as it comes. Ends within
    /// [`inspect::PATIENCE`](crate::inspect::PATIENCE), or when nobody listens any more.
    async fn inspect(&self, inspection: Inspection, to: mpsc::Sender<NodeAnswer>) {
        let _ = (inspection, to);
    }

    /// What this node records, if it does.
    fn history(&self) -> Option<Arc<Recorder>> {
        None
    }

    /// The members as this node sees them.
    fn membership(&self) -> Membership;

    /// Forms the cluster from these members, this node among them.
    async fn init(&self, members: Vec<Member>) -> Result<(), ClusterError>;

    /// Adds a learner and waits until it replicates.
    async fn add_member(&self, member: Member) -> Result<(), ClusterError>;

    /// Makes a learner that has caught up a voter.
    async fn promote_member(&self, id: NodeId) -> Result<(), ClusterError>;

    /// Removes a member.
    async fn remove_member(&self, id: NodeId) -> Result<(), ClusterError>;

    /// Puts `member`, with a new id, in the place of `old`, which lost its store.
    async fn replace_member(&self, old: NodeId, member: Member) -> Result<(), ClusterError>;

    /// Hands leadership to a voter and waits until it leads.
    async fn transfer_leadership(&self, to: NodeId) -> Result<(), ClusterError>;
}

impl dyn Cluster {
    /// Reads from the state, as new as asked for.
    ///
    /// # Errors
    /// As [`Cluster::catch_up`].
    pub async fn read<T>(
        &self,
        consistency: Consistency,
        look: impl FnOnce(&State) -> T,
    ) -> Result<(T, ReadInfo), ClusterError> {
        self.catch_up(consistency).await?;
        let mut look = Some(look);
        let mut seen = None;
        self.with_state(&mut |state, mut info| {
            if consistency == Consistency::Linearizable {
                info.age = None;
            }
            if let Some(look) = look.take() {
                seen = Some((look(state), info));
            }
        });
        seen.ok_or_else(|| ClusterError::Internal("the state was not shown".into()))
    }
}
