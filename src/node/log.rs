//! Consensus as the leader sees it.

use tokio::sync::watch;

use crate::{
    core::state::{Command, Position, Response, State},
    leader::{Deposed, Lease, Log},
    raft::Raft,
};

impl Log for Raft {
    fn with_state<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        Self::with_state(self, read)
    }

    fn applied(&self) -> watch::Receiver<Position> {
        Self::applied(self)
    }

    async fn propose(&self, term: u64, command: Command) -> Result<(Position, Response), Deposed> {
        match Self::propose(self, term, command).await {
            Ok(committed) => Ok(committed),
            Err(why) => {
                tracing::warn!(%why, "a proposal has no answer");
                Err(Deposed)
            }
        }
    }

    async fn confirm(&self) -> Result<Lease, Deposed> {
        let confirmed = Self::confirm(self).await.map_err(|_| Deposed)?;
        Ok(Lease { term: confirmed.term, until: confirmed.lease_until })
    }
}
