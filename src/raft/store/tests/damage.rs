//! Damaged files: refused with the file and the entry, or mended from the copy, and never half-read.

use std::os::unix::fs::FileExt;

use super::*;
use crate::raft::machine::Machine;

/// A store with a few entries, closed; and the bytes of a file in it.
async fn filled() -> Fresh {
    let dir = Fresh::new();
    let mut store = dir.open();
    append(&mut store, (0..8).map(|i| entry(1, i, 300)).collect()).await;
    store.save_vote(&Vote::new(7, 1)).await.unwrap();
    dir
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn find(path: &Path, needle: &[u8]) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let found = bytes.windows(needle.len()).enumerate().filter(|(_, w)| *w == needle);
    found.map(|(at, _)| at as u64).collect()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// The store is whole, or it is refused with the file named.
fn whole_or_refused(dir: &Path, file: &str, what: &str) -> bool {
    match open(dir) {
        Ok(store) => {
            assert_eq!(ids(&store), expected(0..=7), "{what}: half-read");
            assert_eq!(store.tail().vote, Some(Vote::new(7, 1)), "{what}: another vote");
            for (index, read) in store.read(0, None, usize::MAX).unwrap().into_iter().enumerate() {
                assert_eq!(read, entry(1, index as u64, 300), "{what}: another entry");
            }
            false
        }
        Err(OpenError::Corrupt { file: named, hint, .. }) => {
            assert!(named.ends_with(file), "{what}: {named:?}");
            assert!(hint.contains("member replace"));
            true
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_log_is_never_half_read() {
    let dir = filled().await;
    let log = dir.path().join(LOG).join("db");
    let length = fs::read(&log).unwrap().iter().rposition(|b| *b != 0).unwrap() as u64 + 1;
    let mut refused = 0;
    let mut tried = 0;
    // Every byte in turn would take minutes; a prime stride meets every part of every structure over the runs of the bit.
    for at in (0..length).step_by(37) {
        let scratch = tempfile::tempdir().unwrap();
        copy(dir.path(), scratch.path());
        flip(&scratch.path().join(LOG).join("db"), at, u8::try_from(at % 8).unwrap());
        tried += 1;
        refused += usize::from(whole_or_refused(scratch.path(), LOG, &format!("db byte {at}")));
    }
    assert!(refused > 0, "none of {tried} flips was noticed");
}

#[tokio::test]
async fn a_flipped_bit_in_an_entrys_record_names_the_entry() {
    // Past sled's own checksums: the record is changed through sled itself.
    for index in 0..8 {
        let dir = filled().await;
        let engine = Engine::open(&dir.path().join(LOG)).unwrap();
        let mut record = engine.get(index).unwrap().unwrap();
        let at = record.len() / 2;
        record[at] ^= 4;
        engine.insert(&[(index, record)]).unwrap();
        engine.sync().unwrap();
        drop(engine);
        match open(dir.path()).map(drop) {
            Err(OpenError::Corrupt { entry: Some(named), .. }) => assert_eq!(named, index),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_lost_or_foreign_entry_is_named() {
    for (index, replacement) in
        [(7, None), (3, None), (3, Some(entry(2, 3, 0))), (3, Some(entry(1, 3, 0))), (7, Some(entry(1, 7, 0)))]
    {
        let dir = filled().await;
        let engine = Engine::open(&dir.path().join(LOG)).unwrap();
        engine.remove(index, Some(index + 1)).unwrap();
        if let Some(entry) = &replacement {
            // With a good checksum, and the right hash before it: another history.
            let record = engine.get(index - 1).unwrap().unwrap();
            let before = LogStore::decode(index - 1, &record).unwrap().1;
            let body = wire::entry_to(entry).encode_to_vec();
            engine.insert(&[(index, format::record(index, &before, &body))]).unwrap();
        }
        engine.sync().unwrap();
        drop(engine);
        match open(dir.path()).map(drop) {
            // A changed entry shows at the one after it, whose hash names the one that was there.
            Err(OpenError::Corrupt { entry: Some(named), .. }) => {
                let shows = if replacement.is_some() && index < 7 { index + 1 } else { index };
                assert_eq!(named, shows);
            }
            other => panic!("{index}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_vote_survives_the_loss_of_either_copy_and_is_refused_without_both() {
    let dir = filled().await;
    let used = 200;
    for at in (0..used).chain([4095, 4096]).chain(4097..4096 + used) {
        let scratch = tempfile::tempdir().unwrap();
        copy(dir.path(), scratch.path());
        flip(&scratch.path().join(META), at, 3);
        assert!(!whole_or_refused(scratch.path(), META, &format!("vote byte {at}")));
        assert!(!whole_or_refused(scratch.path(), META, "mended"));
    }
    flip(&dir.path().join(META), 30, 0);
    flip(&dir.path().join(META), 4096 + 30, 0);
    assert!(whole_or_refused(dir.path(), META, "both copies"));
}

#[tokio::test]
async fn a_log_that_is_still_being_closed_is_no_damage() {
    let dir = filled().await;
    let held = Engine::open(&dir.path().join(LOG)).unwrap();
    let closing = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(held);
    });
    assert_eq!(ids(&open(dir.path()).unwrap()), expected(0..=7));
    closing.join().unwrap();
}

#[tokio::test]
async fn a_missing_or_cut_file_is_refused() {
    for file in [META, IDENTITY, "log/db", "log/conf"] {
        let dir = filled().await;
        fs::remove_file(dir.path().join(file)).unwrap();
        let name = file.split('/').next().unwrap();
        assert!(whole_or_refused(dir.path(), name, file));
    }
    for file in [META, IDENTITY, "log/db"] {
        let dir = filled().await;
        OpenOptions::new().write(true).open(dir.path().join(file)).unwrap().set_len(20).unwrap();
        let name = file.split('/').next().unwrap();
        assert!(whole_or_refused(dir.path(), name, file));
    }
    let dir = filled().await;
    flip(&dir.path().join(IDENTITY), 30, 1);
    assert!(whole_or_refused(dir.path(), IDENTITY, "identity"));
    assert!(!find(&dir.path().join(LOG).join("db"), b"xxxxxxxxxx").is_empty(), "the log is in `db`");
}

#[tokio::test]
async fn a_damaged_or_lost_snapshot_is_refused() {
    use openraft::{RaftSnapshotBuilder, storage::RaftStateMachine};
    let dir = filled().await;
    let mut machine = Machine::open(dir.path(), None).unwrap();
    let applied: Vec<io::Result<_>> = (0..6).map(|i| Ok((entry(1, i, 0), None))).collect();
    machine.apply(futures::stream::iter(applied)).await.unwrap();
    let hash = machine.hash();
    machine.build_snapshot().await.unwrap();
    let reopened = Machine::open(dir.path(), Some(log_id(1, 5))).unwrap();
    assert_eq!(reopened.hash(), hash);
    let file = dir.path().join("snapshot");
    assert!(Machine::open(dir.path(), Some(log_id(1, 6))).is_err(), "it ends before the log begins");
    let length = fs::metadata(&file).unwrap().len();
    for at in 0..length {
        flip(&file, at, 2);
        let refused = Machine::open(dir.path(), None).map(drop);
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "byte {at}");
        flip(&file, at, 2);
    }
    fs::remove_file(&file).unwrap();
    assert!(Machine::open(dir.path(), Some(log_id(1, 5))).is_err(), "purged, and no snapshot");
    Machine::open(dir.path(), None).unwrap();
}
