//! The cluster as the public API sees it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::warn;

use super::{Node, peers::Unreached};
use crate::{
    core::{
        explain::words,
        names::NodeId,
        sabotage::Sabotage,
        service::Service,
        state::{Action, Position, Response, State},
    },
    dns::{Grade, serving},
    grpc::cluster::{Cluster, ClusterError, Consistency, Member, MemberStatus, Membership, ReadInfo},
    history::Recorder,
    inspect::{Inspection, NodeAnswer},
    raft::{self, InitError, MemberChange, MemberError},
};

/// How long a linearizable read may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long a provider may take to answer when a service is applied: less than whoever applies it waits for the answer.
const PROVIDER_CHECK: Duration = Duration::from_secs(7);

#[async_trait]
impl Cluster for Node {
    async fn catch_up(&self, consistency: Consistency) -> Result<(), ClusterError> {
        self.initialised()?;
        if consistency == Consistency::Stale || Sabotage::StaleReads.active() {
            return Ok(());
        }
        let index = self.read_index().await.map_err(|why| self.unavailable(why))?;
        self.raft.wait_applied(index, CATCH_UP).await.map_err(|why| ClusterError::Unavailable {
            why: format!("this node is behind: {why}"),
            leader: self.leader(),
        })
    }

    fn with_state(&self, look: &mut dyn FnMut(&State, ReadInfo)) {
        let age = self.heard.borrow().map(|at| at.elapsed());
        self.raft.with_state(|state| {
            let info =
                ReadInfo { position: state.position, log_time: state.log_time, age, answered_by: self.raft.id() };
            look(state, info);
        });
    }

    fn applied(&self) -> watch::Receiver<Position> {
        self.raft.applied()
    }

    async fn propose(&self, action: Action) -> Result<Response, ClusterError> {
        self.initialised()?;
        match self.submit(action).await {
            Ok((_, response)) => Ok(response),
            Err(Unreached::Unknown(why)) => {
                warn!(%why, "the outcome of a proposal is unknown");
                Err(ClusterError::OutcomeUnknown { after: self.patience * 2 })
            }
            Err(not_sent) => Err(self.unavailable(not_sent)),
        }
    }

    async fn check_providers(&self, service: &Service, read: bool) -> Result<(), Vec<String>> {
        let checks = service.records.iter().map(|record| async move {
            let Some(provider) = self.providers.get(&record.provider) else {
                if !read {
                    return None;
                }
                let known: Vec<_> = self.providers.keys().map(ToString::to_string).collect();
                return Some(format!(
                    "{record}: node {} has no provider `{}` (it has: {})",
                    self.raft.id(),
                    record.provider,
                    if known.is_empty() { "none".into() } else { known.join(", ") }
                ));
            };
            let (cooldown, longest) = (service.policy.cooldown, provider.longest_request());
            if provider.grade() == Grade::C && cooldown < longest {
                return Some(format!(
                    "{record}: the provider cannot refuse a late write (grade C) and one may live for {}, the cooldown is {}: \
                     set cooldown to that or more",
                    words(longest),
                    words(cooldown)
                ));
            }
            if !read {
                return None;
            }
            let provider = serving(provider, &service.name);
            match timeout(PROVIDER_CHECK, provider.read(record)).await {
                Ok(Ok(_)) => None,
                Ok(Err(why)) => Some(format!("{record}: {why}")),
                Err(_) => Some(format!("{record}: no answer within {} s", PROVIDER_CHECK.as_secs())),
            }
        });
        let problems: Vec<_> = futures::future::join_all(checks).await.into_iter().flatten().collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    async fn inspect(&self, inspection: Inspection, to: mpsc::Sender<NodeAnswer>) {
        self.inspect_everywhere(inspection, to).await;
    }

    fn history(&self) -> Option<Arc<Recorder>> {
        self.history.clone()
    }

    fn membership(&self) -> Membership {
        let status = self.raft.status();
        let hashed = status.state_hash.0.map_or(0, |position| position.index);
        let members = status.members.into_iter().map(|of| MemberStatus {
            member: Member { id: of.id, site: of.member.site, address: of.member.address },
            voter: of.voter,
            leader: Some(of.id) == status.leader,
            matched_index: of.matched,
            // The leader does not hear from itself.
            silent: of.silent_ms.filter(|_| of.id != self.raft.id()).map(Duration::from_millis),
        });
        Membership {
            cluster: self.raft.cluster().clone(),
            members: members.collect(),
            leader: status.leader,
            term: status.term,
            last_log_index: status.last_log.unwrap_or_default(),
            applied_index: hashed,
            state_hash: status.state_hash.1,
        }
    }

    async fn init(&self, members: Vec<Member>) -> Result<(), ClusterError> {
        let members: BTreeMap<_, _> = members.into_iter().map(|member| (member.id, plain(member))).collect();
        self.raft.init_cluster(members).await.map_err(|why| match why {
            InitError::AlreadyDone => ClusterError::AlreadyInitialised,
            InitError::NotAMember(_) => {
                ClusterError::Forbidden { reason: "NOT_A_MEMBER", description: why.to_string() }
            }
            InitError::Fatal(_) => ClusterError::Internal(why.to_string()),
        })
    }

    async fn add_member(&self, member: Member) -> Result<(), ClusterError> {
        self.change(MemberChange::Add(member.id, plain(member))).await
    }

    async fn promote_member(&self, id: NodeId) -> Result<(), ClusterError> {
        self.known(id)?;
        self.change(MemberChange::Promote(id)).await
    }

    async fn remove_member(&self, id: NodeId) -> Result<(), ClusterError> {
        self.known(id)?;
        self.change(MemberChange::Remove(id)).await
    }

    async fn replace_member(&self, old: NodeId, member: Member) -> Result<(), ClusterError> {
        self.known(old)?;
        self.change(MemberChange::Replace { old, id: member.id, member: plain(member) }).await
    }

    async fn transfer_leadership(&self, to: NodeId) -> Result<(), ClusterError> {
        self.known(to)?;
        self.change(MemberChange::Transfer(to)).await?;
        // The leader that was asked knows its successor before this node may have heard of it.
        let mut leadership = self.raft.leadership();
        let seen = leadership.wait_for(|now| now.leader.as_ref().is_some_and(|(id, _)| *id == to));
        match timeout(CATCH_UP, seen).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ClusterError::OutcomeUnknown { after: CATCH_UP }),
        }
    }
}

impl Node {
    /// Has the leader change the membership, wherever it is.
    async fn change(&self, change: MemberChange) -> Result<(), ClusterError> {
        self.initialised()?;
        let changed = self.change_members_at_leader(change).await.map_err(|why| match why {
            Unreached::Unknown(why) => {
                warn!(%why, "the outcome of a change of the membership is unknown");
                ClusterError::OutcomeUnknown { after: raft::CHANGE_DEADLINE }
            }
            not_sent @ Unreached::NotSent { .. } => self.unavailable(not_sent),
        })?;
        changed.map_err(|why| self.member_error(why))
    }

    fn initialised(&self) -> Result<(), ClusterError> {
        let status = self.raft.status();
        if status.members.is_empty() { Err(ClusterError::NotInitialised) } else { Ok(()) }
    }

    /// A node that is in no cluster yet knows of no member; that is not the answer to whether there is one.
    fn known(&self, id: NodeId) -> Result<(), ClusterError> {
        self.initialised()?;
        self.raft.member(id).map(drop).ok_or(ClusterError::NoMember(id))
    }

    fn leader(&self) -> Option<(NodeId, String)> {
        self.raft.leadership().borrow().leader.clone().map(|(id, member)| (id, member.address))
    }

    fn unavailable(&self, why: Unreached) -> ClusterError {
        match why {
            Unreached::NotSent { why, leader } => ClusterError::Unavailable {
                why,
                leader: leader.map(|(id, member)| (id, member.address)).or_else(|| self.leader()),
            },
            Unreached::Unknown(why) => ClusterError::Unavailable { why, leader: self.leader() },
        }
    }

    fn member_error(&self, why: MemberError) -> ClusterError {
        let description = why.to_string();
        match why {
            MemberError::NotLeader(not) => {
                let leader = not.leader.map(|(id, member)| (id, member.address)).or_else(|| self.leader());
                ClusterError::Unavailable { why: description, leader }
            }
            MemberError::Refused(_) => ClusterError::Forbidden { reason: "MEMBERSHIP", description },
            MemberError::Behind { .. } => ClusterError::Forbidden { reason: "NOT_CAUGHT_UP", description },
            MemberError::Unknown(_) => ClusterError::OutcomeUnknown { after: self.patience * 2 },
            MemberError::Fatal(_) => ClusterError::Internal(description),
        }
    }
}

fn plain(member: Member) -> raft::Member {
    raft::Member { site: member.site, address: member.address }
}
