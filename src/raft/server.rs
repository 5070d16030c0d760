//! The protocol's server half: who may call, whether the message makes sense, then on to openraft or the [`PeerHandler`].
//!
//! A caller must hold a node's certificate of this cluster, and speaks for itself alone: a vote must name the caller, and so
//! must a report.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{
    MemberChange, MemberError, Raft, machine,
    peers::{MAX_MESSAGE, ReportAnswer},
    types::{Snapshot, TypeConfig, Vote},
    wire::{self, WireError},
};
use crate::{
    core::{
        names::NodeId,
        report::Report,
        state::{self, Action, Position},
    },
    proto::raft::{
        self as pb,
        peer_service_server::{PeerService, PeerServiceServer},
    },
    tls::{Identity, identity_of},
};

/// How long the next part of a snapshot may take.
const CHUNK_PATIENCE: Duration = Duration::from_secs(10);

/// What a node does with the calls that are not consensus. The caller is a member of the cluster and is who it says.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// A report of the node `from`, which is the report's own node.
    async fn report(&self, from: NodeId, report: Report) -> Result<ReportAnswer, Status>;
    /// An action that a client of the node `from` wants.
    async fn propose(&self, from: NodeId, action: Action) -> Result<(Position, state::Response), Status>;
    /// A change of the membership that a client of the node `from` wants.
    async fn change_members(&self, from: NodeId, change: MemberChange) -> Result<(), MemberError>;
    /// The read index, confirmed by a quorum.
    async fn read_index(&self, from: NodeId) -> Result<Position, Status>;
    /// What this node finds out for another without changing anything; question and answer are CBOR.
    async fn inspect(&self, from: NodeId, inspection: Bytes) -> Result<Bytes, Status> {
        let _ = (from, inspection);
        Err(Status::unimplemented("this node inspects nothing"))
    }
}

/// The service itself.
pub(crate) struct PeerServer<H> {
    raft: Raft,
    handler: Arc<H>,
}

impl<H: PeerHandler> PeerServer<H> {
    pub(crate) fn service(raft: Raft, handler: Arc<H>) -> PeerServiceServer<Self> {
        PeerServiceServer::new(Self { raft, handler })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// The calling node.
    fn caller<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        match identity_of(request)? {
            Identity::Node { cluster, id } if cluster == *self.raft.cluster() => Ok(id),
            other => Err(Status::permission_denied(format!("{other} is not a node of this cluster"))),
        }
    }

    /// The calling node, which the membership must name: only where this node's membership is sure to be current.
    fn member<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let id = self.caller(request)?;
        if self.raft.member(id).is_some() {
            Ok(id)
        } else {
            Err(Status::permission_denied(format!("node {id} is not a member of this cluster")))
        }
    }
}

fn invalid(error: impl Into<WireError>) -> Status {
    Status::invalid_argument(error.into().to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node's consensus stopped: {error}"))
}

fn speaks_for_itself(caller: NodeId, vote: &Vote) -> Result<(), Status> {
    if vote.leader_id.voted_for == caller {
        Ok(())
    } else {
        let named = vote.leader_id.voted_for;
        Err(Status::permission_denied(format!("node {caller} may not speak for node {named}")))
    }
}

#[async_trait]
impl<H: PeerHandler> PeerService for PeerServer<H> {
    type StreamAppendStream = Pin<Box<dyn Stream<Item = Result<pb::AppendEntriesResponse, Status>> + Send>>;

    async fn stream_append(
        &self,
        request: Request<Streaming<pb::AppendEntriesRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let caller = self.caller(&request)?;
        let (refused, refusal) = tokio::sync::oneshot::channel();
        // openraft takes a stream of good requests: the first bad one ends it, and its reason ends the answers.
        let requests = futures::stream::unfold(
            Some((request.into_inner(), refused)),
            move |open: Option<(Streaming<_>, tokio::sync::oneshot::Sender<_>)>| async move {
                let (mut messages, refused) = open?;
                let decoded = match messages.message().await {
                    Ok(Some(message)) => wire::append_request_from(message).map_err(invalid),
                    Ok(None) => return None,
                    Err(status) => Err(status),
                };
                match decoded.and_then(|r| speaks_for_itself(caller, &r.vote).map(|()| r)) {
                    Ok(request) => Some((request, Some((messages, refused)))),
                    Err(status) => {
                        let _ = refused.send(status);
                        None
                    }
                }
            },
        );
        let answers = self.raft.inner().stream_append(requests).map(|answer| match answer {
            Ok(result) => Ok(wire::append_result_to(&result)),
            Err(fatal) => Err(stopped(fatal)),
        });
        let refusal = futures::stream::once(refusal).filter_map(|r| async move { r.ok().map(Err) });
        Ok(Response::new(Box::pin(answers.chain(refusal))))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let caller = self.caller(&request)?;
        let rpc = wire::vote_request_from(request.into_inner()).map_err(invalid)?;
        speaks_for_itself(caller, &rpc.vote)?;
        let answer = self.raft.inner().vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::vote_response_to(&answer)))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let caller = self.caller(&request)?;
        let rpc = wire::vote_request_from(request.into_inner()).map_err(invalid)?;
        speaks_for_itself(caller, &rpc.vote)?;
        let answer = self.raft.inner().pre_vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::vote_response_to(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let caller = self.caller(&request)?;
        let (vote, bytes) = receive(request.into_inner()).await?;
        speaks_for_itself(caller, &vote)?;
        let meta = machine::inspect(&bytes).map_err(|e| Status::data_loss(format!("the snapshot: {e}")))?;
        let last = meta.last_log_id.ok_or_else(|| Status::invalid_argument("the snapshot is of nothing"))?;
        // openraft takes both for granted, and panics otherwise.
        let committed = self.raft.committed();
        let same_slot = Some(last) > committed && Some(last.index()) <= committed.map(|id| id.index());
        if last.committed_leader_id().term > vote.leader_id.term || same_slot {
            return Err(Status::failed_precondition("the snapshot is not of this log"));
        }
        let snapshot = Snapshot { meta, snapshot: bytes };
        let answer = self.raft.inner().install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(pb::SnapshotResponse { vote: Some(wire::vote_to(&answer.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let caller = self.caller(&request)?;
        let rpc = wire::transfer_request_from(request.into_inner()).map_err(invalid)?;
        speaks_for_itself(caller, rpc.from_leader())?;
        let answer = self.raft.inner().handle_transfer_leader(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::transfer_result_to(&answer)))
    }

    async fn report(&self, request: Request<pb::ReportRequest>) -> Result<Response<pb::ReportResponse>, Status> {
        let caller = self.member(&request)?;
        let report: Report = wire::from_cbor("report", &request.into_inner().report).map_err(invalid)?;
        if report.node != caller {
            let of = report.node;
            return Err(Status::permission_denied(format!("node {caller} may not report for node {of}")));
        }
        let ReportAnswer { needs_full, last_seq } = self.handler.report(caller, report).await?;
        Ok(Response::new(pb::ReportResponse { needs_full, last_seq }))
    }

    async fn propose(&self, request: Request<pb::ProposeRequest>) -> Result<Response<pb::ProposeResponse>, Status> {
        let caller = self.member(&request)?;
        let action = wire::from_cbor("action", &request.into_inner().action).map_err(invalid)?;
        let (at, response) = self.handler.propose(caller, action).await?;
        let response = wire::to_cbor(&response).into();
        Ok(Response::new(pb::ProposeResponse { response, index: at.index, term: at.term }))
    }

    async fn change_members(
        &self,
        request: Request<pb::ChangeMembersRequest>,
    ) -> Result<Response<pb::ChangeMembersResponse>, Status> {
        let caller = self.member(&request)?;
        let change = wire::from_cbor("change", &request.into_inner().change).map_err(invalid)?;
        let refused = match self.handler.change_members(caller, change).await {
            Ok(()) => Bytes::new(),
            Err(why) => wire::to_cbor(&why).into(),
        };
        Ok(Response::new(pb::ChangeMembersResponse { refused }))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        let caller = self.member(&request)?;
        let at = self.handler.read_index(caller).await?;
        Ok(Response::new(pb::ReadIndexResponse { index: at.index, term: at.term }))
    }

    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let caller = self.member(&request)?;
        let inspected = self.handler.inspect(caller, request.into_inner().inspection).await?;
        Ok(Response::new(pb::InspectResponse { inspected }))
    }
}

/// The whole snapshot, as long as its header says and no longer.
async fn receive(mut chunks: Streaming<pb::SnapshotChunk>) -> Result<(Vote, Bytes), Status> {
    let mut header: Option<(Vote, usize)> = None;
    let mut bytes = BytesMut::new();
    loop {
        let next = tokio::time::timeout(CHUNK_PATIENCE, chunks.message()).await;
        let Some(chunk) = next.map_err(|_| Status::deadline_exceeded("the snapshot stalled"))?? else { break };
        if let Some(h) = chunk.header {
            let vote = h.vote.map(wire::vote_from).ok_or_else(|| invalid(WireError::Missing("vote")))?;
            let length = usize::try_from(h.length).ok().filter(|n| *n as u64 <= machine::MAX_SNAPSHOT);
            let length = length.ok_or_else(|| Status::resource_exhausted("the snapshot is too long"))?;
            header = Some((vote, length));
        }
        let (_, length) = header.ok_or_else(|| invalid(WireError::Missing("header")))?;
        if bytes.len() + chunk.data.len() > length {
            return Err(Status::invalid_argument("the snapshot is longer than its header says"));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    let (vote, length) = header.ok_or_else(|| invalid(WireError::Missing("header")))?;
    if bytes.len() == length {
        Ok((vote, bytes.freeze()))
    } else {
        Err(Status::invalid_argument("the snapshot is shorter than its header says"))
    }
}

/// What openraft's own handle is called here.
pub(crate) type Inner = openraft::Raft<TypeConfig, machine::Machine>;
