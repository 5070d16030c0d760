//! What version 1 wrote must read back for ever. `QUORATE_WRITE_FIXTURES=1` writes the files, once a version.

use std::env;

use openraft::{
    RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftStateMachine},
};

use super::{damage::copy, *};
use crate::{
    core::names::Site,
    raft::{Member, machine::Machine, types::Membership},
};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-v1")
}

/// One entry of each kind, and a few.
fn entries() -> Vec<Entry> {
    let site: Site = "paris".parse().unwrap();
    let member = Member { site, address: "node-1.example.com:7400".to_owned() };
    let membership =
        Membership::new(vec![[1].into()], [(1, member)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    let mut entries = vec![
        Entry { log_id: log_id(0, 0), payload: EntryPayload::Membership(membership.unwrap()) },
        Entry { log_id: log_id(1, 1), payload: EntryPayload::Blank },
    ];
    entries.extend((2..12).map(|index| entry(1, index, 200)));
    entries
}

async fn write() {
    let dir = fixture();
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap();
    }
    create_store(&dir, &cluster(), 1).unwrap();
    let mut store = open(&dir).unwrap();
    append(&mut store, entries()).await;
    store.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    store.save_committed(Some(log_id(1, 9))).await.unwrap();
    let mut machine = Machine::open(&dir, None).unwrap();
    let applied: Vec<io::Result<_>> = entries().into_iter().take(8).map(|e| Ok((e, None))).collect();
    machine.apply(futures::stream::iter(applied)).await.unwrap();
    machine.build_snapshot().await.unwrap();
    store.purge(log_id(1, 3)).await.unwrap();
    drop(store);
    fs::write(dir.join("state-hash"), machine.hash().1).unwrap();
    fs::remove_file(dir.join("lock")).unwrap();
}

#[tokio::test]
async fn a_store_of_version_1_reads_back() {
    if env::var("QUORATE_WRITE_FIXTURES").as_deref() == Ok("1") {
        write().await;
    }
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture(), scratch.path());
    // git keeps no empty directory.
    fs::create_dir_all(scratch.path().join("log/blobs")).unwrap();
    let dir = StoreDir::open(scratch.path()).unwrap();
    assert_eq!((dir.cluster.as_str(), dir.node), ("test", 1));
    let mut store = LogStore::open(dir).unwrap();
    assert_eq!(store.read(0, None, usize::MAX).unwrap(), entries()[4..]);
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)));
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 9)));
    let machine = Machine::open(scratch.path(), store.purged()).unwrap();
    let (last, hash) = machine.hash();
    assert_eq!(last, Some(log_id(1, 7)));
    assert_eq!(hash, fs::read_to_string(fixture().join("state-hash")).unwrap(), "the state reads back to another one");
    // And it goes on from there.
    append(&mut store, vec![entry(2, 12, 0)]).await;
    drop(store);
    assert_eq!(ids(&open(scratch.path()).unwrap()).last(), Some(&log_id(2, 12)));
}
