//! The protocol's messages to and from openraft's types. Nothing a peer sends is trusted to be complete.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    EntryPayload,
    raft::{
        AppendEntriesRequest, StreamAppendError, TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::types::{Entry, LogId, Logged, Member, Membership, StoredMembership, TypeConfig, Vote, log_id};
use crate::proto::raft as pb;

/// What openraft answers to one `AppendEntries` of a stream.
pub(crate) type AppendResult = Result<Option<LogId>, StreamAppendError<TypeConfig>>;
/// What openraft answers to a transfer of leadership.
pub(crate) type TransferResult = Result<(), TransferLeaderError<TypeConfig>>;

/// Why a message is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field does not parse.
    #[error("the field `{field}` is not valid: {why}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn invalid(field: &'static str, why: impl std::fmt::Display) -> WireError {
    WireError::Invalid { field, why: why.to_string() }
}

/// CBOR (RFC 8949) with field names: a newer version may add fields.
pub(crate) fn to_cbor(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory fails only for a type that refuses to be serialised, and the core's types do not.
    ciborium::into_writer(value, &mut bytes).expect("the core's types serialise");
    bytes
}

/// Reads what [`to_cbor`] wrote.
pub(crate) fn from_cbor<T: DeserializeOwned>(field: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    ciborium::from_reader(bytes).map_err(|e| invalid(field, e))
}

pub(crate) fn log_id_to(id: LogId) -> pb::LogId {
    pb::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(crate) fn log_id_from(id: pb::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn vote_to(vote: &Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn vote_from(vote: pb::Vote) -> Vote {
    if vote.committed { Vote::new_committed(vote.term, vote.node) } else { Vote::new(vote.term, vote.node) }
}

fn required_vote(vote: Option<pb::Vote>) -> Result<Vote, WireError> {
    vote.map(vote_from).ok_or(WireError::Missing("vote"))
}

pub(crate) fn membership_to(membership: &Membership) -> pb::Membership {
    pb::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|set| pb::VoterSet { ids: set.iter().copied().collect() })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, m)| pb::Member { id: *id, site: m.site.to_string(), address: m.address.clone() })
            .collect(),
    }
}

pub(crate) fn membership_from(membership: pb::Membership) -> Result<Membership, WireError> {
    let mut members = BTreeMap::new();
    for m in membership.members {
        let site = m.site.parse().map_err(|e| invalid("site", e))?;
        if members.insert(m.id, Member { site, address: m.address }).is_some() {
            return Err(invalid("members", format!("node {} is there twice", m.id)));
        }
    }
    let configs: Vec<BTreeSet<u64>> = membership.configs.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    if configs.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, members).map_err(|e| invalid("membership", e))
}

pub(crate) fn stored_membership_from(
    at: Option<pb::LogId>,
    membership: Option<pb::Membership>,
) -> Result<StoredMembership, WireError> {
    let membership = membership_from(membership.ok_or(WireError::Missing("membership"))?)?;
    Ok(StoredMembership::new(at.map(log_id_from), membership))
}

pub(crate) fn entry_to(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(command) => pb::entry::Payload::Command(to_cbor(&command.0).into()),
        EntryPayload::Membership(m) => pb::entry::Payload::Membership(membership_to(m)),
    };
    pb::Entry { log_id: Some(log_id_to(entry.log_id)), payload: Some(payload) }
}

pub(crate) fn entry_from(entry: pb::Entry) -> Result<Entry, WireError> {
    let log_id = entry.log_id.map(log_id_from).ok_or(WireError::Missing("log_id"))?;
    let payload = match entry.payload.ok_or(WireError::Missing("payload"))? {
        pb::entry::Payload::Blank(_) => EntryPayload::Blank,
        pb::entry::Payload::Command(bytes) => EntryPayload::Normal(Logged(from_cbor("command", &bytes)?)),
        pb::entry::Payload::Membership(m) => EntryPayload::Membership(membership_from(m)?),
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn append_request_to(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendEntriesRequest {
    pb::AppendEntriesRequest {
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.map(log_id_to),
        entries: request.entries.iter().map(entry_to).collect(),
        committed: request.leader_commit.map(log_id_to),
    }
}

/// Checks, beside the fields, that the entries follow one another from `prev`: openraft takes that for granted.
pub(crate) fn append_request_from(
    request: pb::AppendEntriesRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let vote = required_vote(request.vote)?;
    let prev_log_id = request.prev.map(log_id_from);
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut before = prev_log_id;
    for entry in request.entries {
        let entry = entry_from(entry)?;
        let next = before.map_or(Some(0), |id| id.index().checked_add(1));
        if next != Some(entry.log_id.index()) || Some(entry.log_id) < before {
            return Err(invalid("entries", format!("{} does not follow {before:?}", entry.log_id)));
        }
        before = Some(entry.log_id);
        entries.push(entry);
    }
    if entries.iter().any(|e| e.log_id.committed_leader_id().term > vote.leader_id.term) {
        return Err(invalid("entries", "an entry's term is above the sender's"));
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: request.committed.map(log_id_from) })
}

pub(crate) fn append_result_to(result: &AppendResult) -> pb::AppendEntriesResponse {
    use pb::append_entries_response::Result as R;
    let result = match result {
        Ok(last) => R::Matched(pb::Matched { last: last.map(log_id_to) }),
        Err(StreamAppendError::Conflict(id)) => R::Conflict(log_id_to(*id)),
        Err(StreamAppendError::HigherVote(vote)) => R::HigherVote(vote_to(vote)),
    };
    pb::AppendEntriesResponse { result: Some(result) }
}

pub(crate) fn append_result_from(response: pb::AppendEntriesResponse) -> Result<AppendResult, WireError> {
    use pb::append_entries_response::Result as R;
    Ok(match response.result.ok_or(WireError::Missing("result"))? {
        R::Matched(m) => Ok(m.last.map(log_id_from)),
        R::Conflict(id) => Err(StreamAppendError::Conflict(log_id_from(id))),
        R::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from(vote))),
    })
}

pub(crate) fn vote_request_to(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to(&request.vote)),
        last: request.last_log_id.map(log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from(request: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, WireError> {
    let mut decoded = VoteRequest::new(required_vote(request.vote)?, request.last.map(log_id_from));
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

pub(crate) fn vote_response_to(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.map(log_id_to),
    }
}

pub(crate) fn vote_response_from(response: pb::VoteResponse) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse::new(required_vote(response.vote)?, response.last.map(log_id_from), response.granted))
}

pub(crate) fn transfer_request_to(request: &TransferLeaderRequest<TypeConfig>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from: Some(vote_to(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().copied().map(log_id_to),
    }
}

pub(crate) fn transfer_request_from(
    request: pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    let from = request.from.map(vote_from).ok_or(WireError::Missing("from"))?;
    Ok(TransferLeaderRequest::new(from, request.to, request.last.map(log_id_from)))
}

pub(crate) fn transfer_result_to(result: &TransferResult) -> pb::TransferLeaderResponse {
    use pb::transfer_leader_response::Result as R;
    let result = match result {
        Ok(()) => R::Accepted(pb::Blank {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            R::VoteChanged(pb::VoteChanged { expected: Some(vote_to(expected)), actual: Some(vote_to(actual)) })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            R::LogNotFlushed(pb::LogNotFlushed { expected: expected.map(log_id_to), actual: actual.map(log_id_to) })
        }
    };
    pb::TransferLeaderResponse { result: Some(result) }
}

pub(crate) fn transfer_result_from(response: pb::TransferLeaderResponse) -> Result<TransferResult, WireError> {
    use pb::transfer_leader_response::Result as R;
    Ok(match response.result.ok_or(WireError::Missing("result"))? {
        R::Accepted(_) => Ok(()),
        R::VoteChanged(c) => Err(TransferLeaderError::VoteChanged {
            expected: required_vote(c.expected)?,
            actual: required_vote(c.actual)?,
        }),
        R::LogNotFlushed(c) => Err(TransferLeaderError::LogNotFlushed {
            expected: c.expected.map(log_id_from),
            actual: c.actual.map(log_id_from),
        }),
    })
}
