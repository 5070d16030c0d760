//! What stands on disk: records of entries, the vote, whose store it is.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use prost::Message;

use super::{
    LogStore, dir,
    format::{self, Kind, NO_HASH},
    meta,
};
use crate::{
    core::{names::LogTime, state::Command},
    fuzz::{Target, joined, split},
    raft::{
        Member,
        types::{Entry, Logged, Membership, Vote, log_id},
        wire,
    },
};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "store-record", run: record, seeds: records },
    Target { name: "store-entry", run: entry, seeds: entries },
    Target { name: "store-vote", run: vote, seeds: votes },
    Target { name: "store-identity", run: identity, seeds: identities },
];

pub(crate) fn membership() -> Membership {
    let member = |id: u64, site: &str| {
        (id, Member { site: site.parse().expect("a name"), address: format!("node-{id}.example.net:7700") })
    };
    let members: BTreeMap<_, _> = [member(1, "paris"), member(2, "oslo"), member(3, "rome")].into();
    Membership::new(vec![[1, 2, 3].into(), [1, 2].into()], members).expect("a membership")
}

/// One entry of each kind.
pub(crate) fn log() -> Vec<Entry> {
    let mut entries = vec![
        Entry { log_id: log_id(0, 0), payload: EntryPayload::Membership(membership()) },
        Entry { log_id: log_id(1, 1), payload: EntryPayload::Blank },
    ];
    for (index, action) in (2..).zip(crate::fuzz::log_of_actions()) {
        let command = Command { at: LogTime(index * 60_000), wall: index, action };
        entries.push(Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Logged(command)) });
    }
    entries
}

/// Any change of one byte must be noticed. Which ones are tried follows from the bytes, so that a failure repeats.
fn every_flip_is_refused(bytes: &[u8], accepted: impl Fn(&[u8]) -> bool) {
    let mut changed = bytes.to_vec();
    for step in 0..16.min(bytes.len()) {
        let at = step * bytes.len() / 16.min(bytes.len());
        changed[at] ^= 1 << (step % 8);
        assert!(!accepted(&changed), "byte {at} of {} was changed, and nobody noticed", bytes.len());
        changed[at] = bytes[at];
    }
}

/// Eight bytes of index, and the record.
fn record(input: &[u8]) {
    let Some((index, bytes)) = input.split_first_chunk() else { return };
    let index = u64::from_le_bytes(*index);
    let Ok((entry, _)) = LogStore::decode(index, bytes) else { return };
    assert_eq!(entry.log_id.index(), index);
    let (before, _) = format::read_record(index, bytes).expect("it was read just now");
    assert_eq!(format::record(index, &before, &wire::entry_to(&entry).encode_to_vec()), bytes);
    every_flip_is_refused(bytes, |changed| LogStore::decode(index, changed).is_ok());
}

fn records() -> Vec<Vec<u8>> {
    let mut before = NO_HASH;
    let of = |entry: &Entry| {
        let (index, body) = (entry.log_id.index(), wire::entry_to(entry).encode_to_vec());
        let record = format::record(index, &before, &body);
        before = format::chain(&before, &body);
        [&index.to_le_bytes()[..], &record].concat()
    };
    log().iter().map(of).collect()
}

/// Eight bytes of index, and the body of a record whose checksum is right: what a newer version might have written.
fn entry(input: &[u8]) {
    let Some((index, body)) = input.split_first_chunk() else { return };
    let index = u64::from_le_bytes(*index);
    let Ok((entry, hash)) = LogStore::decode(index, &format::record(index, &NO_HASH, body)) else { return };
    assert_eq!(hash, format::chain(&NO_HASH, body));
    let written = wire::entry_to(&entry).encode_to_vec();
    let (again, _) = LogStore::decode(index, &format::record(index, &NO_HASH, &written)).expect("it reads back");
    assert_eq!(wire::entry_to(&again).encode_to_vec(), written);
}

fn entries() -> Vec<Vec<u8>> {
    let of = |entry: &Entry| [&entry.log_id.index().to_le_bytes()[..], &wire::entry_to(entry).encode_to_vec()].concat();
    log().iter().map(of).collect()
}

/// A copy of the vote file, or what stands in one.
fn vote(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let mut slot = if kind == 0 { bytes.to_vec() } else { format::seal(Kind::Meta, bytes) };
    slot.resize(slot.len().max(meta::SLOT), 0);
    let Ok(read) = meta::decode(&slot) else { return };
    let written = meta::encode(&read);
    assert_eq!(meta::decode(&written).as_ref(), Ok(&read));
    let _ = read.end();
    let sealed = format::unseal_prefix(Kind::Meta, &written).map_or(0, <[u8]>::len) + 24;
    every_flip_is_refused(&written[..sealed], |changed| {
        let mut slot = changed.to_vec();
        slot.resize(meta::SLOT, 0);
        meta::decode(&slot).is_ok()
    });
}

fn votes() -> Vec<Vec<u8>> {
    let full = meta::Meta {
        seq: 9,
        vote: Some(Vote::new_committed(7, 2)),
        committed: Some(log_id(6, 90)),
        purged: Some(log_id(5, 10)),
        base_hash: [7; 32],
        last: Some(log_id(7, 100)),
        last_hash: [9; 32],
    };
    let of = |meta: &meta::Meta| {
        let slot = meta::encode(meta);
        let payload = format::unseal_prefix(Kind::Meta, &slot).expect("a frame").to_vec();
        [joined(0, slot), joined(1, payload)]
    };
    [&meta::Meta::default(), &full].into_iter().flat_map(of).collect()
}

/// The identity file, or what stands in it.
fn identity(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let file = if kind == 0 { bytes.to_vec() } else { format::seal(Kind::Identity, bytes) };
    let Ok((cluster, node)) = dir::read_identity(&file) else { return };
    let written = dir::write_identity(&cluster, node);
    assert_eq!(dir::read_identity(&written), Ok((cluster, node)));
    every_flip_is_refused(&written, |changed| dir::read_identity(changed).is_ok());
}

fn identities() -> Vec<Vec<u8>> {
    let file = dir::write_identity(&"prod".parse().expect("a name"), 3);
    let payload = format::unseal(Kind::Identity, &file).expect("a frame").to_vec();
    vec![joined(0, file), joined(1, payload)]
}
