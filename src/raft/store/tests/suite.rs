//! openraft's own storage suite, on the real store.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};

use super::*;
use crate::raft::machine::Machine;

/// The suite makes members up.
impl Default for crate::raft::Member {
    fn default() -> Self {
        Self { site: "suite".parse().unwrap(), address: String::new() }
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, Fresh> for Builder {
    async fn build(&self) -> Result<(Fresh, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = Fresh::new();
        let (log, machine) = (dir.open(), Machine::open(dir.path(), None).unwrap());
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
