//! How openraft reaches the other nodes: the protocol's client half.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use openraft::{
    AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
};
use tokio::{sync::Notify, time::Instant};
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tracing::{info, warn};

use super::{
    peers::{Peers, within},
    types::{Member, Snapshot, TypeConfig, Vote},
    wire::{self, AppendResult, TransferResult, WireError},
};
use crate::{
    core::names::NodeId,
    proto::raft::{self as pb, peer_service_client::PeerServiceClient},
};

/// How much of a snapshot goes into one message, in bytes.
const CHUNK: usize = 64 * 1024;

/// Makes a client for each peer.
pub(crate) struct Network(pub Peers);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> PeerClient {
        PeerClient { peers: self.0.clone(), target, member: node.clone(), away: false }
    }
}

/// One peer.
pub(crate) struct PeerClient {
    peers: Peers,
    target: NodeId,
    member: Member,
    /// The last stream of entries could not be opened.
    away: bool,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

impl PeerClient {
    fn client(&self) -> Rpc<PeerServiceClient<Channel>> {
        self.peers.client(self.target, &self.member).map_err(from_status)
    }

    /// Opens a stream of entries once there is one to send.
    async fn open<S>(&self, input: S, option: RPCOption) -> Rpc<BoxStream<'static, Rpc<AppendResult>>>
    where
        S: futures::Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let patience = self.patience(&option);
        let waiting = Arc::new(Waiting::default());
        let sent = waiting.clone();
        let mut requests = input
            .map(move |request| {
                sent.push();
                wire::append_request_to(&request)
            })
            .peekable();
        // openraft waits between attempts where it makes a request. A transport that cannot connect asks for none, and
        // would be called again at once, thousands of times a second, for as long as the peer is away.
        if Pin::new(&mut requests).peek().await.is_none() {
            return Ok(stream::empty().boxed());
        }
        let mut client = self.client()?;
        let answers = within(patience, client.stream_append(Request::new(requests))).await.map_err(from_status)?;
        let answers = stream::unfold(Some(answers), move |answers| {
            let waiting = waiting.clone();
            async move { next_answer(answers?, &waiting, patience).await }
        });
        Ok(answers.boxed())
    }

    /// Says once that the peer went away, and once that it is back; openraft would say so at every attempt.
    fn tell(&mut self, failed: Option<&RPCError<TypeConfig>>) {
        let (peer, address) = (self.target, &self.member.address);
        match failed {
            Some(why) if !self.away => warn!(peer, address, %why, "entries do not reach a peer"),
            None if self.away => info!(peer, address, "entries reach the peer again"),
            _ => {}
        }
        self.away = failed.is_some();
    }

    /// Entries wait for the peer's disk, so they get the time in which a follower would call a leader silent.
    fn patience(&self, option: &RPCOption) -> Duration {
        option.hard_ttl().max(self.peers.timing().election_min)
    }
}

/// A peer that is not there is left alone for a while; other failures are tried again soon.
fn from_status(status: Status) -> RPCError<TypeConfig> {
    if status.code() == Code::Unavailable {
        RPCError::Unreachable(Unreachable::new(&AnyError::error(status)))
    } else {
        RPCError::Network(NetworkError::from_string(status))
    }
}

fn from_wire(error: WireError) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(error))
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let last = rpc.entries.last().map(|e| e.log_id).or(rpc.prev_log_id);
        let mut answers = self.open(stream::iter([rpc]), option).await?;
        match answers.next().await {
            Some(Ok(Ok(matched))) if matched == last => Ok(AppendEntriesResponse::Success),
            Some(Ok(Ok(matched))) => Ok(AppendEntriesResponse::PartialSuccess(matched)),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => Ok(AppendEntriesResponse::HigherVote(vote)),
            Some(Err(e)) => Err(e),
            None => Err(RPCError::Network(NetworkError::from_string("the stream ended without an answer"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<AppendResult>>>>
    where
        S: futures::Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let opened = self.open(input, option).await;
            self.tell(opened.as_ref().err());
            let answers: BoxStream<'s, _> = opened?;
            Ok(answers)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let request = Request::new(wire::vote_request_to(&rpc));
        let answer = within(option.hard_ttl(), self.client()?.vote(request)).await.map_err(from_status)?;
        wire::vote_response_from(answer).map_err(from_wire)
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let request = Request::new(wire::vote_request_to(&rpc));
        let answer = within(option.hard_ttl(), self.client()?.pre_vote(request)).await.map_err(from_status)?;
        wire::vote_response_from(answer).map_err(from_wire)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let bytes = snapshot.snapshot;
        let header = pb::SnapshotHeader { vote: Some(wire::vote_to(&vote)), length: bytes.len() as u64 };
        let chunks = bytes.len().div_ceil(CHUNK).max(1);
        let messages = stream::iter((0..chunks).map(move |n| pb::SnapshotChunk {
            header: (n == 0).then_some(header),
            data: bytes.slice(n * CHUNK..bytes.len().min((n + 1) * CHUNK)),
        }));
        let mut client = self.client()?;
        let call = within(option.hard_ttl(), client.install_snapshot(Request::new(messages)));
        let answer = tokio::select! {
            answer = call => answer.map_err(from_status)?,
            closed = cancel => return Err(closed.into()),
        };
        let vote = answer.vote.ok_or(WireError::Missing("vote")).map_err(from_wire)?;
        Ok(SnapshotResponse::new(wire::vote_from(vote)))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferResult> {
        let request = Request::new(wire::transfer_request_to(&req));
        let answer = within(option.hard_ttl(), self.client()?.transfer_leader(request)).await.map_err(from_status)?;
        wire::transfer_result_from(answer).map_err(from_wire)
    }
}

type Answers = Streaming<pb::AppendEntriesResponse>;

/// The next answer and what to go on with; after an error, nothing.
async fn next_answer(
    mut answers: Answers,
    waiting: &Waiting,
    patience: Duration,
) -> Option<(Rpc<AppendResult>, Option<Answers>)> {
    let message = tokio::select! {
        message = answers.message() => message,
        () = waiting.overdue(patience) => {
            Err(Status::deadline_exceeded(format!("entries not answered within {patience:?}")))
        }
    };
    waiting.pop();
    match message {
        Ok(None) => None,
        Ok(Some(message)) => match wire::append_result_from(message) {
            Ok(result) => Some((Ok(result), Some(answers))),
            Err(e) => Some((Err(from_wire(e)), None)),
        },
        Err(status) => Some((Err(from_status(status)), None)),
    }
}

/// When each unanswered request was sent: a stream may idle for as long as it likes, but must not owe an answer.
#[derive(Default)]
struct Waiting {
    sent: Mutex<VecDeque<Instant>>,
    more: Notify,
}

impl Waiting {
    fn push(&self) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push_back(Instant::now());
        self.more.notify_one();
    }

    fn pop(&self) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    /// Returns once the oldest unanswered request is older than `patience`.
    async fn overdue(&self, patience: Duration) {
        loop {
            let oldest = self.sent.lock().unwrap_or_else(PoisonError::into_inner).front().copied();
            match oldest {
                Some(at) if at + patience <= Instant::now() => return,
                Some(at) => tokio::time::sleep_until(at + patience).await,
                None => self.more.notified().await,
            }
        }
    }
}
