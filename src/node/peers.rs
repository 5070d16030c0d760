//! What this node does for its peers while it leads, and asks of them while it does not.

use std::{collections::BTreeMap, error::Error, iter::successors, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, time::timeout};
use tonic::{Code, ConnectError, Status};

use super::Node;
use crate::{
    core::{
        names::NodeId,
        report::Report,
        state::{Action, Position, Response},
    },
    leader::{Deposed, Office, ReportReply},
    raft::{CHANGE_DEADLINE, Member, MemberChange, MemberError, PeerHandler, Raft, ReportAnswer},
    surroundings,
};

/// How often the way to the peers is tried, and how long it may take.
const PEER_CONTROL_INTERVAL: Duration = Duration::from_secs(1);

/// Why a call did not reach the leader.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// Nothing was proposed.
    #[error("{why}")]
    NotSent { why: String, leader: Option<(NodeId, Member)> },
    /// It may or may not have been.
    #[error("{0}")]
    Unknown(String),
}

impl Node {
    /// The office of this node's leadership, if it holds one.
    fn office(&self) -> Option<Arc<Office<Raft>>> {
        self.desk.borrow().clone()
    }

    /// The leader, if another node is thought to be it.
    fn other_leader(&self) -> Option<(NodeId, Member)> {
        self.raft.leadership().borrow().leader.clone().filter(|(id, _)| *id != self.raft.id())
    }

    fn no_leader(&self) -> Unreached {
        let why = match self.raft.leadership().borrow().leader {
            Some((id, _)) if id == self.raft.id() => "this node leads but no quorum has confirmed it yet".into(),
            _ => "no leader is known: an election is under way, or too few nodes can talk to each other".into(),
        };
        Unreached::NotSent { why, leader: None }
    }

    /// Hands a report to whoever leads.
    pub(super) async fn hand_in(&self, report: Report) -> Result<ReportReply, Unreached> {
        if let Some(office) = self.office() {
            return office.report(report).await.map_err(|Deposed| Unreached::Unknown(Deposed.to_string()));
        }
        let (id, member) = self.other_leader().ok_or_else(|| self.no_leader())?;
        match self.raft.peers().report(id, &member, &report, self.patience).await {
            Ok(answer) => Ok(ReportReply { needs_full: answer.needs_full.then_some(answer.last_seq) }),
            Err(status) => Err(Unreached::Unknown(format!("node {id} at {}: {}", member.address, status.message()))),
        }
    }

    /// Has whoever leads commit an action.
    pub(super) async fn submit(&self, action: Action) -> Result<(Position, Response), Unreached> {
        if let Some(office) = self.office() {
            return office.commit(action).await.map_err(|Deposed| Unreached::Unknown(Deposed.to_string()));
        }
        let (id, member) = self.other_leader().ok_or_else(|| self.no_leader())?;
        let answer = self.raft.peers().propose(id, &member, &action, self.patience * 2).await;
        answer.map_err(|status| unreached(&status, id, member))
    }

    /// Has whoever leads change the membership.
    pub(super) async fn change_members_at_leader(
        &self,
        change: MemberChange,
    ) -> Result<Result<(), MemberError>, Unreached> {
        let Some((id, member)) = self.other_leader() else { return Ok(self.raft.change(change).await) };
        let answer = self.raft.peers().change_members(id, &member, &change, CHANGE_DEADLINE).await;
        answer.map_err(|status| unreached(&status, id, member))
    }

    /// An index that everything committed before this call lies at or below.
    pub(super) async fn read_index(&self) -> Result<u64, Unreached> {
        if self.raft.leadership().borrow().mine {
            return match self.raft.confirm().await {
                Ok(confirmed) => Ok(confirmed.index),
                Err(not) => {
                    let why = "no quorum confirms this node's leadership".into();
                    Err(Unreached::NotSent { why, leader: not.leader })
                }
            };
        }
        let (id, member) = self.other_leader().ok_or_else(|| self.no_leader())?;
        match self.raft.peers().read_index(id, &member, self.patience).await {
            Ok(position) => Ok(position.index),
            Err(status) => Err(Unreached::NotSent {
                why: format!("node {id} at {}: {}", member.address, status.message()),
                leader: Some((id, member)),
            }),
        }
    }

    /// Tries the way to each peer: the node's own control of whether it is cut off. True while at least half of the peers
    /// (all, of one) take a connection; which ones is told too, for the evidence.
    pub(super) async fn watch_peers(
        raft: Raft,
        works: watch::Sender<bool>,
        reached: watch::Sender<BTreeMap<NodeId, bool>>,
    ) {
        loop {
            let peers: Vec<_> = raft.status().members.into_iter().filter(|member| member.id != raft.id()).collect();
            let tried = peers.iter().map(|peer| async {
                let tried = timeout(PEER_CONTROL_INTERVAL, surroundings::connect_to(&peer.member.address)).await;
                (peer.id, tried.is_ok_and(|connected| connected.is_ok()))
            });
            let seen: BTreeMap<_, _> = futures::future::join_all(tried).await.into_iter().collect();
            let enough = seen.values().filter(|reached| **reached).count() * 2 >= peers.len();
            reached.send_if_modified(|reached| std::mem::replace(reached, seen.clone()) != seen);
            works.send_if_modified(|works| std::mem::replace(works, enough) != enough);
            tokio::time::sleep(PEER_CONTROL_INTERVAL).await;
        }
    }
}

#[async_trait]
impl PeerHandler for Node {
    async fn report(&self, _: NodeId, report: Report) -> Result<ReportAnswer, Status> {
        let office = self.office().ok_or_else(not_leading)?;
        let reply = office.report(report).await.map_err(|Deposed| not_leading())?;
        Ok(ReportAnswer { needs_full: reply.needs_full.is_some(), last_seq: reply.needs_full.unwrap_or_default() })
    }

    async fn propose(&self, from: NodeId, action: Action) -> Result<(Position, Response), Status> {
        let office = self.office().ok_or_else(not_leading)?;
        tracing::debug!(from, ?action, "proposed through a peer");
        office.commit(action).await.map_err(|Deposed| Status::unknown("leadership was lost: the outcome is unknown"))
    }

    async fn change_members(&self, from: NodeId, change: MemberChange) -> Result<(), MemberError> {
        tracing::info!(from, ?change, "a change of the membership through a peer");
        self.raft.change(change).await
    }

    async fn inspect(&self, from: NodeId, inspection: Bytes) -> Result<Bytes, Status> {
        tracing::debug!(from, "an inspection for a peer");
        self.look_for_peer(inspection).await
    }

    async fn read_index(&self, _: NodeId) -> Result<Position, Status> {
        let confirmed = self.raft.confirm().await.map_err(|_| not_leading())?;
        Ok(Position { term: confirmed.term, index: confirmed.index })
    }
}

/// What a call's failure says of its effect: none if it was refused, or if no connection was made.
fn unreached(status: &Status, id: NodeId, member: Member) -> Unreached {
    let why = format!("node {id} at {}: {}", member.address, status.message());
    let mut causes = successors(status.source(), |cause: &&(dyn Error + 'static)| (*cause).source());
    if status.code() == Code::FailedPrecondition || causes.any(<dyn Error>::is::<ConnectError>) {
        Unreached::NotSent { why, leader: Some((id, member)) }
    } else {
        Unreached::Unknown(why)
    }
}

fn not_leading() -> Status {
    Status::failed_precondition("this node does not lead, or no quorum confirms it")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_is_away_was_sent_nothing() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{free}")).unwrap().connect_lazy();
        let mut client = crate::proto::raft::peer_service_client::PeerServiceClient::new(channel);
        let call = client.propose(crate::proto::raft::ProposeRequest::default());
        let status = timeout(Duration::from_secs(5), call).await.unwrap().unwrap_err();
        let member = || Member { site: "a".parse().unwrap(), address: free.to_string() };
        assert!(matches!(unreached(&status, 2, member()), Unreached::NotSent { .. }), "{status:?}");
        let lost = Status::unknown("h2 protocol error");
        assert!(matches!(unreached(&lost, 2, member()), Unreached::Unknown(_)));
    }
}
