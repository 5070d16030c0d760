//! The kept connections to the other nodes, and the calls that are not consensus.
//!
//! A connection is made when it is first needed and kept; tonic makes it anew when it breaks. The certificate at the other
//! end must be that very node's. Every call has a deadline.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use super::{MemberChange, MemberError, Timing, types::Member, wire};
use crate::{
    core::{
        names::NodeId,
        report::Report,
        state::{Action, Position, Response},
    },
    proto::raft::{self as pb, peer_service_client::PeerServiceClient},
    surroundings,
    tls::{PeerTls, node_name},
};

/// The longest message between nodes, in bytes: a batch of entries and one entry over.
pub(crate) const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// How often a quiet connection is tried.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The leader's answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportAnswer {
    /// The state does not hold the report's base: send a full one.
    pub needs_full: bool,
    /// The number of the last report that the state holds; the next one is above it.
    pub last_seq: u64,
}

/// Calls to other nodes; clones share the connections.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    tls: PeerTls,
    timing: Timing,
    routes: BTreeMap<NodeId, String>,
    channels: Mutex<BTreeMap<NodeId, (String, Channel)>>,
}

impl Peers {
    pub(crate) fn new(tls: PeerTls, timing: Timing, routes: BTreeMap<NodeId, String>) -> Self {
        Self(Arc::new(Inner { tls, timing, routes, channels: Mutex::default() }))
    }

    pub(crate) fn timing(&self) -> Timing {
        self.0.timing
    }

    /// Hands a node's report to the leader.
    pub async fn report(
        &self,
        to: NodeId,
        member: &Member,
        report: &Report,
        deadline: Duration,
    ) -> Result<ReportAnswer, Status> {
        let mut client = self.client(to, member)?;
        let request = pb::ReportRequest { report: wire::to_cbor(report).into() };
        let answer = within(deadline, client.report(Request::new(request))).await?;
        Ok(ReportAnswer { needs_full: answer.needs_full, last_seq: answer.last_seq })
    }

    /// Has the leader propose an action.
    pub async fn propose(
        &self,
        to: NodeId,
        member: &Member,
        action: &Action,
        deadline: Duration,
    ) -> Result<(Position, Response), Status> {
        let mut client = self.client(to, member)?;
        let request = pb::ProposeRequest { action: wire::to_cbor(action).into() };
        let answer = within(deadline, client.propose(Request::new(request))).await?;
        let response = wire::from_cbor("response", &answer.response).map_err(|e| Status::internal(e.to_string()))?;
        Ok((Position { term: answer.term, index: answer.index }, response))
    }

    /// Has the leader change the membership.
    pub async fn change_members(
        &self,
        to: NodeId,
        member: &Member,
        change: &MemberChange,
        deadline: Duration,
    ) -> Result<Result<(), MemberError>, Status> {
        let mut client = self.client(to, member)?;
        let request = pb::ChangeMembersRequest { change: wire::to_cbor(change).into() };
        let answer = within(deadline, client.change_members(Request::new(request))).await?;
        if answer.refused.is_empty() {
            return Ok(Ok(()));
        }
        let refused = wire::from_cbor("refused", &answer.refused).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Err(refused))
    }

    /// The leader's read index: what this node must have applied before it answers.
    pub async fn read_index(&self, to: NodeId, member: &Member, deadline: Duration) -> Result<Position, Status> {
        let mut client = self.client(to, member)?;
        let answer = within(deadline, client.read_index(Request::new(pb::ReadIndexRequest {}))).await?;
        Ok(Position { term: answer.term, index: answer.index })
    }

    /// Has a node find something out; question and answer are CBOR.
    pub async fn inspect(
        &self,
        to: NodeId,
        member: &Member,
        inspection: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, Status> {
        let mut client = self.client(to, member)?;
        let request = pb::InspectRequest { inspection };
        Ok(within(deadline, client.inspect(Request::new(request))).await?.inspected)
    }

    /// A client on the kept connection.
    pub(crate) fn client(&self, id: NodeId, member: &Member) -> Result<PeerServiceClient<Channel>, Status> {
        let address = self.0.routes.get(&id).unwrap_or(&member.address);
        let mut channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(&id) {
            Some((kept, channel)) if kept == address => channel.clone(),
            _ => {
                let channel = self.connect(id, address).map_err(|e| {
                    Status::invalid_argument(format!("node {id} cannot be reached at `{address}`: {e}"))
                })?;
                channels.insert(id, (address.clone(), channel.clone()));
                channel
            }
        };
        Ok(PeerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }

    fn connect(&self, id: NodeId, address: &str) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(self.0.tls.client(&node_name(id)))?
            .connect_timeout(self.0.timing.election_max)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(self.0.timing.election_max)
            .keep_alive_while_idle(true);
        Ok(surroundings::channel(&endpoint))
    }
}

/// The answer to a call, or `DEADLINE_EXCEEDED`.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {deadline:?}"))),
    }
}
