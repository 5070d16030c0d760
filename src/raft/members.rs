//! Changes of the membership. Only the leader makes them, one at a time; a node id is never used twice.

use std::{collections::BTreeSet, time::Duration};

use openraft::{
    ChangeMembers,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, RaftError},
};

use serde::{Deserialize, Serialize};

use super::{BATCH, Member, MemberError, NotLeader, Raft, leader, types::TypeConfig};
use crate::core::names::NodeId;

/// A change of the membership, as it travels to the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// [`Raft::add_learner`]
    Add(NodeId, Member),
    /// [`Raft::promote`]
    Promote(NodeId),
    /// [`Raft::remove`]
    Remove(NodeId),
    /// [`Raft::replace`]
    Replace {
        /// The voter that goes.
        old: NodeId,
        /// The node that comes.
        id: NodeId,
        /// Where it is.
        member: Member,
    },
    /// [`Raft::transfer_leader`]
    Transfer(NodeId),
}

/// How long the new member of a replacement may take to catch up.
const REPLACE: Duration = Duration::from_secs(45);
/// How long any change may take: longer than a replacement and its two entries.
pub const CHANGE_DEADLINE: Duration = Duration::from_secs(60);

impl Raft {
    /// Makes a change; only the leader can.
    pub async fn change(&self, change: MemberChange) -> Result<(), MemberError> {
        match change {
            MemberChange::Add(id, member) => self.add_learner(id, member).await,
            MemberChange::Promote(id) => self.promote(id).await,
            MemberChange::Remove(id) => self.remove(id).await,
            MemberChange::Replace { old, id, member } => self.replace(old, id, member, REPLACE).await,
            MemberChange::Transfer(to) => self.transfer_leader(to).await,
        }
    }

    /// Adds a node that learns the log and does not vote.
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), MemberError> {
        if self.member(id).is_some() {
            return Err(MemberError::Refused(format!("node {id} is a member already; ids are never used again")));
        }
        self.changing(self.0.inner.add_learner(id, member, false)).await
    }

    /// Lets a learner vote, once it holds nearly all of the log.
    pub async fn promote(&self, id: NodeId) -> Result<(), MemberError> {
        self.caught_up(id)?;
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        self.changing(self.0.inner.change_membership(change, true)).await
    }

    /// Removes a member for good.
    pub async fn remove(&self, id: NodeId) -> Result<(), MemberError> {
        let ids = BTreeSet::from([id]);
        let change = if self.voters()?.contains(&id) {
            ChangeMembers::RemoveVoters(ids)
        } else {
            ChangeMembers::RemoveNodes(ids)
        };
        if self.member(id).is_none() {
            return Err(MemberError::Refused(format!("node {id} is not a member")));
        }
        self.changing(self.0.inner.change_membership(change, false)).await
    }

    /// Puts the node `id` into the place of the voter `old`: it learns, and when it has caught up, both change in one step.
    ///
    /// May be called again, if the node needed longer than `timeout` to catch up.
    pub async fn replace(&self, old: NodeId, id: NodeId, member: Member, timeout: Duration) -> Result<(), MemberError> {
        let mut voters = self.voters()?;
        if !voters.remove(&old) {
            return Err(MemberError::Refused(format!("node {old} is not a voter")));
        }
        match self.member(id) {
            None => self.add_learner(id, member).await?,
            Some(known) if known == member && !voters.contains(&id) => {}
            Some(_) => return Err(MemberError::Refused(format!("node {id} is a member already, and another one"))),
        }
        let mut metrics = self.0.inner.metrics();
        let progress = async {
            while self.caught_up(id).is_err() {
                if metrics.changed().await.is_err() {
                    break;
                }
            }
        };
        if tokio::time::timeout(timeout, progress).await.is_err() {
            self.caught_up(id)?;
        }
        voters.insert(id);
        self.changing(self.0.inner.change_membership(ChangeMembers::ReplaceAllVoters(voters), false)).await
    }

    /// Asks the voter `to` to take over, and waits until it leads.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), MemberError> {
        if !self.voters()?.contains(&to) {
            return Err(MemberError::Refused(format!("node {to} is not a voter")));
        }
        let trigger = self.0.inner.trigger();
        trigger.transfer_leader(to).await.map_err(|e| MemberError::Fatal(e.to_string()))?;
        let mut leadership = self.leadership();
        let led = leadership.wait_for(|l| l.leader.as_ref().is_some_and(|(id, _)| *id == to));
        match tokio::time::timeout(self.0.timing.election_max * 2, led).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(MemberError::Fatal("it ended".to_owned())),
            Err(_) => Err(MemberError::Unknown(format!("node {to} does not lead yet"))),
        }
    }

    /// The voters, if this node may be the leader.
    fn voters(&self) -> Result<BTreeSet<NodeId>, MemberError> {
        let leadership = self.leadership().borrow().clone();
        if !leadership.mine {
            return Err(NotLeader { leader: leadership.leader }.into());
        }
        Ok(self.0.inner.metrics().borrow_watched().membership_config.voter_ids().collect())
    }

    fn caught_up(&self, id: NodeId) -> Result<(), MemberError> {
        self.voters()?;
        let status = self.status();
        let Some(member) = status.members.iter().find(|m| m.id == id) else {
            return Err(MemberError::Refused(format!("node {id} is not a member: add it as a learner first")));
        };
        // What a snapshot and one more batch would bring is no reason to wait.
        let last = status.last_log.unwrap_or(0);
        match member.matched {
            Some(matched) if matched + BATCH >= last => Ok(()),
            matched => Err(MemberError::Behind { id, matched, last: status.last_log }),
        }
    }

    async fn changing<T>(
        &self,
        change: impl Future<Output = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>,
    ) -> Result<(), MemberError> {
        match tokio::time::timeout(self.0.timing.election_max * 4, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(NotLeader { leader: leader(to) }.into())
            }
            Ok(Err(RaftError::APIError(e @ ClientWriteError::LogEntryDiscarded(_)))) => {
                Err(MemberError::Unknown(e.to_string()))
            }
            Ok(Err(RaftError::APIError(e))) => Err(MemberError::Refused(e.to_string())),
            Ok(Err(RaftError::Fatal(e))) => Err(MemberError::Fatal(e.to_string())),
            Err(_) => Err(MemberError::Unknown("no quorum answered in time".to_owned())),
        }
    }
}
