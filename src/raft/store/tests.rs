//! The store against openraft's own suite, damage, kill -9, power cuts and a full disk.

mod cost;
mod damage;
mod fixtures;
mod power;
mod suite;

use std::{
    fs::{self, OpenOptions},
    ops::Deref,
    path::{Path, PathBuf},
};

use openraft::{
    EntryPayload,
    storage::{RaftLogStorage, RaftLogStorageExt},
};

use super::{dir::IDENTITY, *};
use crate::{
    core::{
        names::{ClusterId, LogTime},
        state::{Action, Command},
    },
    raft::types::{Logged, TypeConfig, log_id},
};

fn cluster() -> ClusterId {
    "test".parse().unwrap()
}

/// A new store in an own directory.
struct Fresh {
    dir: tempfile::TempDir,
}

impl Fresh {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        create_store(dir.path(), &cluster(), 1).unwrap();
        Self { dir }
    }

    fn open(&self) -> LogStore {
        open(self.path()).unwrap()
    }
}

impl Deref for Fresh {
    type Target = tempfile::TempDir;
    fn deref(&self) -> &tempfile::TempDir {
        &self.dir
    }
}

fn open(dir: &Path) -> Result<LogStore, OpenError> {
    LogStore::open(StoreDir::open(dir)?)
}

/// An entry whose body is of `size` bytes or a little more.
fn entry(term: u64, index: u64, size: usize) -> Entry {
    let mut wall = 1_000_000 + index;
    wall += size as u64 % 7;
    let command = Command { at: LogTime(index), wall, action: Action::Reports(reports(size)) };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Logged(command)) }
}

fn reports(size: usize) -> Vec<crate::core::report::Report> {
    let one = |n: usize| crate::core::report::Report {
        node: 1,
        seq: n as u64,
        blind: Some("x".repeat(90)),
        ..Default::default()
    };
    (0..size / 100).map(one).collect()
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    store.blocking_append(entries).await.unwrap();
}

/// The ids of all entries.
fn ids(store: &LogStore) -> Vec<LogId> {
    store.read(0, None, usize::MAX).unwrap().iter().map(|e| e.log_id).collect()
}

fn expected(range: std::ops::RangeInclusive<u64>) -> Vec<LogId> {
    range.map(|index| log_id(1, index)).collect()
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let dir = Fresh::new();
    let mut store = dir.open();
    append(&mut store, (0..50).map(|i| entry(1, i, 0)).collect()).await;
    // Longer than a piece, than a sled page and than a batch for a peer.
    append(&mut store, vec![entry(1, 50, 900_000), entry(1, 51, 900_000)]).await;
    store.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
    store.save_committed(Some(log_id(1, 40))).await.unwrap();
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(50, 52).await.unwrap().len(), 1, "the bytes are bounded");
    assert_eq!(reader.limited_get_log_entries(50, 52).await.unwrap()[0], entry(1, 50, 900_000));
    drop((store, reader));

    let mut store = dir.open();
    assert_eq!(ids(&store), expected(0..=51));
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new_committed(3, 2)));
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 40)));
    let blobs = fs::read_dir(dir.path().join(LOG).join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "sled keeps files that nothing syncs");

    store.truncate_after(Some(log_id(1, 45))).await.unwrap();
    append(&mut store, vec![entry(2, 46, 0)]).await;
    store.purge(log_id(1, 9)).await.unwrap();
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(9, 12).await.unwrap(), [], "a peer would be sent a gap");
    assert_eq!(reader.limited_get_log_entries(10, 12).await.unwrap().len(), 2);
    drop((store, reader));
    let mut store = dir.open();
    let state = store.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 9)), Some(log_id(2, 46))));
    assert_eq!(ids(&store)[0], log_id(1, 10));

    // A snapshot reaches beyond the log, and the log goes on after it.
    store.purge(log_id(2, 80)).await.unwrap();
    append(&mut store, vec![entry(2, 81, 0)]).await;
    store.truncate_after(Some(log_id(2, 80))).await.unwrap();
    append(&mut store, vec![entry(3, 81, 0), entry(3, 82, 0)]).await;
    drop(store);
    assert_eq!(ids(&dir.open()), [log_id(3, 81), log_id(3, 82)]);
}

#[tokio::test]
async fn a_store_is_never_made_where_one_is_expected() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Missing(_))));
    assert!(matches!(open(&dir.path().join("absent")), Err(OpenError::Missing(_))));
    create_store(dir.path(), &cluster(), 1).unwrap();
    assert!(matches!(create_store(dir.path(), &cluster(), 1), Err(CreateError::Exists(_))));
    let store = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Locked(_))), "a second process");
    drop(store);
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn after_an_error_nothing_more_is_taken() {
    let dir = Fresh::new();
    let mut store = dir.open();
    append(&mut store, vec![entry(1, 0, 0)]).await;
    store.0.engine.fail();
    assert!(store.blocking_append([entry(1, 1, 0)]).await.is_err());
    drop(store);
}
