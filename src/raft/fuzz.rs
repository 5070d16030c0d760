//! The messages of peers, as the server and the client of `server.rs` and `peers.rs` read them.

use std::fmt::Debug;

use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

use super::{MemberChange, MemberError, machine, store, types::log_id, wire};
use crate::{
    core::{
        report::Report,
        state::{Action, Refusal, Response},
    },
    fuzz::{Target, joined, split},
    proto::raft as pb,
};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "peer-append", run: append, seeds: appends },
    Target { name: "peer-messages", run: messages, seeds: some_messages },
    Target { name: "peer-cbor", run: cbor, seeds: some_cbor },
    Target { name: "snapshot", run: snapshot, seeds: snapshots },
];

/// Whatever is understood of a message is what is told of it, and understood the same.
fn holds<M, D, E: Debug>(bytes: &[u8], from: fn(M) -> Result<D, E>, to: fn(&D) -> M)
where
    M: Message + Default + PartialEq,
{
    let Ok(message) = M::decode(bytes) else { return };
    let Ok(decoded) = from(message) else { return };
    let told = to(&decoded);
    let again = M::decode(&told.encode_to_vec()[..]).expect("what was written reads");
    assert!(to(&from(again).expect("what was told is understood")) == told, "another message comes back");
}

fn append(input: &[u8]) {
    holds(input, wire::append_request_from, wire::append_request_to);
}

fn appends() -> Vec<Vec<u8>> {
    let entries = store::fuzz::log();
    let vote = Some(pb::Vote { term: 3, node: 2, committed: true });
    let committed = Some(pb::LogId { term: 1, index: 0 });
    let request = |prev, entries| pb::AppendEntriesRequest { vote, prev, entries, committed }.encode_to_vec();
    let from_one = entries[1..].iter().map(wire::entry_to).collect();
    vec![
        request(None, entries.iter().map(wire::entry_to).collect()),
        request(Some(wire::log_id_to(entries[0].log_id)), from_one),
        request(None, vec![]),
    ]
}

fn messages(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    match kind {
        0 => holds(bytes, wire::append_result_from, wire::append_result_to),
        1 => holds(bytes, wire::vote_request_from, wire::vote_request_to),
        2 => holds(bytes, wire::vote_response_from, wire::vote_response_to),
        3 => holds(bytes, wire::transfer_request_from, wire::transfer_request_to),
        4 => holds(bytes, wire::transfer_result_from, wire::transfer_result_to),
        5 => holds(bytes, wire::membership_from, wire::membership_to),
        _ => drop((pb::SnapshotChunk::decode(bytes), pb::SnapshotResponse::decode(bytes))),
    }
}

fn some_messages() -> Vec<Vec<u8>> {
    use pb::{append_entries_response::Result as Appended, transfer_leader_response::Result as Transferred};
    let vote = pb::Vote { term: 7, node: 2, committed: true };
    let last = Some(pb::LogId { term: 6, index: 1000 });
    let appended = |result| pb::AppendEntriesResponse { result: Some(result) }.encode_to_vec();
    let transferred = |result| pb::TransferLeaderResponse { result: Some(result) }.encode_to_vec();
    let changed = pb::VoteChanged { expected: Some(vote), actual: Some(vote) };
    let header = Some(pb::SnapshotHeader { vote: Some(vote), length: u64::from(u32::MAX) });
    vec![
        joined(0, appended(Appended::Matched(pb::Matched { last }))),
        joined(0, appended(Appended::Conflict(pb::LogId { term: 1, index: 2 }))),
        joined(0, appended(Appended::HigherVote(vote))),
        joined(1, pb::VoteRequest { vote: Some(vote), last, leadership_transfer: true }.encode_to_vec()),
        joined(2, pb::VoteResponse { vote: Some(vote), granted: true, last }.encode_to_vec()),
        joined(3, pb::TransferLeaderRequest { from: Some(vote), to: 3, last }.encode_to_vec()),
        joined(4, transferred(Transferred::Accepted(pb::Blank {}))),
        joined(4, transferred(Transferred::VoteChanged(changed))),
        joined(4, transferred(Transferred::LogNotFlushed(pb::LogNotFlushed { expected: last, actual: None }))),
        joined(5, wire::membership_to(&store::fuzz::membership()).encode_to_vec()),
        joined(6, pb::SnapshotChunk { header, data: vec![1, 2, 3].into() }.encode_to_vec()),
    ]
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = wire::from_cbor::<T>("value", bytes) {
        let again: T = wire::from_cbor("value", &wire::to_cbor(&value)).expect("what was accepted reads back");
        assert_eq!(again, value);
    }
}

fn cbor(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    match kind {
        0 => reads_back::<Report>(bytes),
        1 => reads_back::<Action>(bytes),
        2 => reads_back::<Response>(bytes),
        3 => drop(wire::from_cbor::<MemberChange>("change", bytes)),
        _ => drop(wire::from_cbor::<MemberError>("refused", bytes)),
    }
}

fn some_cbor() -> Vec<Vec<u8>> {
    let actions = crate::fuzz::log_of_actions();
    let reports = actions.iter().filter_map(|action| if let Action::Reports(of) = action { of.first() } else { None });
    let reports = reports.map(|report| joined(0, wire::to_cbor(report)));
    let refused = Response::Refused(Refusal::AlreadyActive("eu-west-3".parse().expect("a name")));
    let asked = Response::Reports { needs_full: vec![(1, 7)] };
    let others = vec![
        joined(2, wire::to_cbor(&refused)),
        joined(2, wire::to_cbor(&asked)),
        joined(3, wire::to_cbor(&MemberChange::Remove(3))),
        // A byte string that says it is 4 GiB long, and lists within lists.
        joined(0, [0x5a, 0xff, 0xff, 0xff, 0xff, 0]),
        joined(1, vec![0x81; 4096]),
    ];
    actions.iter().map(|action| joined(1, wire::to_cbor(action))).chain(reports).chain(others).collect()
}

/// A frame, or what stands in one: the state in it must be one that every question can be asked of.
fn snapshot(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let sealed = store::format::seal(store::format::Kind::Snapshot, bytes);
    let Ok(mut applied) = machine::decode(if kind == 0 { bytes } else { &sealed }) else { return };
    let encoded = applied.encode();
    let again = machine::decode(&encoded).expect("what was written reads");
    assert_eq!(again.encode(), encoded);
    crate::fuzz::answer_everything(&applied.state);
    for entry in store::fuzz::log() {
        let _ = applied.apply(entry, None);
        crate::fuzz::answer_everything(&applied.state);
    }
}

fn snapshots() -> Vec<Vec<u8>> {
    let mut applied = machine::Applied::default();
    let mut files = Vec::new();
    for entry in store::fuzz::log() {
        let _ = applied.apply(entry, None);
        files.push(applied.encode());
    }
    let last = files.last().cloned().unwrap_or_default();
    let whole = [joined(0, &last), joined(0, include_bytes!("../../tests/fixtures/store-v1/snapshot"))];
    let payload = |file: &bytes::Bytes| {
        let payload = store::format::unseal(store::format::Kind::Snapshot, file).expect("a frame");
        joined(1, payload)
    };
    // The middle of a switch and the end: the more there is in a state, the more there is to go wrong.
    let payloads = files.iter().skip(3).step_by(4).map(payload);
    let far = pb::SnapshotFile { last: Some(wire::log_id_to(log_id(u64::MAX, u64::MAX))), ..Default::default() };
    whole.into_iter().chain(payloads).chain([joined(1, far.encode_to_vec())]).collect()
}
