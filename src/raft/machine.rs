//! The replicated state and its snapshots, behind openraft's state machine traits.
//!
//! The state lives in memory; what survives a restart is the log and the last snapshot. A snapshot is one file, whole and
//! checksummed, synced before it is renamed into place. Bytes that do not check out are never installed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    store::{
        self, OpenError, files,
        format::{self, Kind},
    },
    types::{LogId, Membership, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, position},
    wire::{self, WireError},
};
use crate::{
    core::{
        names::{NodeId, Site},
        state::{Position, Response, State},
    },
    history::{Record, Recorder},
    proto::raft as pb,
};

/// The longest snapshot that is taken from a peer or a disk, in bytes.
pub(crate) const MAX_SNAPSHOT: u64 = 256 * 1024 * 1024;
const FILE: &str = "snapshot";

/// The state machine; clones share the state.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Shared>);

struct Shared {
    applied: RwLock<Applied>,
    position: watch::Sender<Position>,
    keep: Keep,
    /// One snapshot is written at a time: a build and an installation may meet.
    writing: Mutex<()>,
    hash: Mutex<Option<(Option<LogId>, String)>>,
    history: OnceLock<Arc<Recorder>>,
}

/// Where the last snapshot is kept.
enum Keep {
    File(PathBuf),
    #[cfg(feature = "testing")]
    Simulated(super::simulated::Kept),
}

#[derive(Clone, Default)]
pub(super) struct Applied {
    pub(super) state: State,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// Starts from the snapshot in `dir`, if there is one; `purged` is what the log no longer holds.
    pub(crate) fn open(dir: &Path, purged: Option<LogId>) -> Result<Self, OpenError> {
        let file = dir.join(FILE);
        let applied = match fs::read(&file) {
            Ok(bytes) => decode(&bytes).map_err(|why| store::corrupt(&file, None, why))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Applied::default(),
            Err(source) => return Err(OpenError::Io { dir: dir.to_owned(), source }),
        };
        if applied.last < purged {
            let why = match applied.last {
                None => "it is missing, and the log no longer holds what it stood for".to_owned(),
                Some(last) => format!("it ends at entry {}, before the log begins", last.index()),
            };
            return Err(store::corrupt(&file, purged.map(|id| id.index()), why));
        }
        let at = applied.last.map_or(Position { term: 0, index: 0 }, position);
        Ok(Self(Arc::new(Shared {
            applied: RwLock::new(applied),
            position: watch::Sender::new(at),
            keep: Keep::File(file),
            writing: Mutex::new(()),
            hash: Mutex::new(None),
            history: OnceLock::new(),
        })))
    }

    /// Starts from the snapshot in a simulated disk.
    #[cfg(feature = "testing")]
    pub(super) fn simulated(kept: super::simulated::Kept) -> Self {
        let bytes = kept.read();
        let applied =
            bytes.map_or_else(Applied::default, |bytes| decode(&bytes).expect("a simulated disk does not rot"));
        let at = applied.last.map_or(Position { term: 0, index: 0 }, position);
        Self(Arc::new(Shared {
            applied: RwLock::new(applied),
            position: watch::Sender::new(at),
            keep: Keep::Simulated(kept),
            writing: Mutex::new(()),
            hash: Mutex::new(None),
            history: OnceLock::new(),
        }))
    }

    /// Has what is applied from now on taken down; once.
    pub(crate) fn record_to(&self, history: Arc<Recorder>) {
        // A second recorder would record the same.
        let _ = self.0.history.set(history);
    }

    /// Reads the applied state. `f` keeps entries from being applied while it runs.
    pub(crate) fn with_state<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        f(&self.read().state)
    }

    /// The position of the last applied entry, as it moves.
    pub(crate) fn position(&self) -> watch::Receiver<Position> {
        self.0.position.subscribe()
    }

    /// SHA-256 over the state's CBOR, in hex, and where it was taken. Computed once for each position that is asked for.
    pub(crate) fn hash(&self) -> (Option<LogId>, String) {
        let (last, state) = {
            let applied = self.read();
            let cache = self.0.hash.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, hash)) = cache.as_ref()
                && *at == applied.last
            {
                return (*at, hash.clone());
            }
            (applied.last, wire::to_cbor(&applied.state))
        };
        let hash = hex::encode(Sha256::digest(&state));
        *self.0.hash.lock().unwrap_or_else(PoisonError::into_inner) = Some((last, hash.clone()));
        (last, hash)
    }

    fn read(&self) -> RwLockReadGuard<'_, Applied> {
        // `State::apply` is total; were it to panic, openraft stops this node before anyone reads on.
        self.0.applied.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.0.applied.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self) {
        if let Some(last) = self.read().last {
            self.0.position.send_replace(position(last));
        }
    }

    async fn store_snapshot(&self, bytes: Bytes) -> io::Result<()> {
        let shared = self.0.clone();
        let file = match &shared.keep {
            Keep::File(file) => file.clone(),
            #[cfg(feature = "testing")]
            Keep::Simulated(kept) => return kept.write(bytes).await,
        };
        let write = move || {
            let _writing = shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
            // An older snapshot never replaces a newer one.
            let newer = fs::read(&file).ok().and_then(|old| decode(&old).ok()).map(|old| old.last);
            let last = decode(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?.last;
            if newer.is_some_and(|newer| newer > last) {
                return Ok(());
            }
            files::replace(&file, &bytes)
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

impl Applied {
    pub(super) fn apply(&mut self, entry: super::types::Entry, history: Option<&Recorder>) -> Response {
        let at = position(entry.log_id);
        self.last = Some(entry.log_id);
        let history = history.filter(|history| history.before(at, &self.state));
        let (response, record) = match entry.payload {
            EntryPayload::Normal(command) => {
                let response = self.state.apply(at, &command.0);
                (response, Record::Entry { position: at, command: command.0 })
            }
            EntryPayload::Blank => {
                self.state.enter_term(at);
                (Response::Done, Record::Term { position: at })
            }
            EntryPayload::Membership(membership) => {
                let voters = voters(&membership);
                self.state.set_voters(at, voters.clone());
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                (Response::Done, Record::Voters { position: at, voters })
            }
        };
        if let Some(history) = history {
            history.record(record);
        }
        response
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() }
    }

    pub(super) fn encode(&self) -> Bytes {
        let message = pb::SnapshotFile {
            last: self.last.map(wire::log_id_to),
            membership_at: self.membership.log_id().map(wire::log_id_to),
            membership: Some(wire::membership_to(self.membership.membership())),
            state: wire::to_cbor(&self.state).into(),
        };
        format::seal(Kind::Snapshot, &message.encode_to_vec()).into()
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Applied, String> {
    let payload = format::unseal(Kind::Snapshot, bytes).map_err(|e| e.to_string())?;
    let message = pb::SnapshotFile::decode(payload).map_err(|e| e.to_string())?;
    let read = || -> Result<Applied, WireError> {
        let state: State = wire::from_cbor("state", &message.state)?;
        state.check().map_err(|why| WireError::Invalid { field: "state", why })?;
        Ok(Applied {
            state,
            last: message.last.map(wire::log_id_from),
            membership: wire::stored_membership_from(message.membership_at, message.membership.clone())?,
        })
    };
    read().map_err(|e| e.to_string())
}

/// What a snapshot's bytes say they are, after every check that installing them would make.
pub(crate) fn inspect(bytes: &[u8]) -> Result<SnapshotMeta, String> {
    decode(bytes).map(|applied| applied.meta())
}

/// The voting members' sites; of a joint membership, those of both sets.
fn voters(membership: &Membership) -> std::collections::BTreeMap<NodeId, Site> {
    let of = |id: NodeId| membership.get_node(&id).map(|m| (id, m.site.clone()));
    membership.voter_ids().filter_map(of).collect()
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let applied = self.read().clone();
        let meta = applied.meta();
        #[cfg(feature = "testing")]
        if let Keep::Simulated(kept) = &self.0.keep {
            // No thread: it would end at another instant each time.
            let bytes = applied.encode();
            kept.write(bytes.clone()).await?;
            return Ok(Snapshot { meta, snapshot: bytes });
        }
        let bytes = tokio::task::spawn_blocking(move || applied.encode()).await.map_err(io::Error::other)?;
        self.store_snapshot(bytes.clone()).await?;
        Ok(Snapshot { meta, snapshot: bytes })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let response = self.write().apply(entry, self.0.history.get().map(Arc::as_ref));
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        self.publish();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let applied = decode(&snapshot).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        if applied.meta() != *meta {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot is not what its header says"));
        }
        self.store_snapshot(snapshot).await?;
        if let (Some(history), Some(last)) = (self.0.history.get(), applied.last) {
            history.replaced(position(last));
        }
        *self.write() = applied;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let file = match &self.0.keep {
            Keep::File(file) => file.clone(),
            #[cfg(feature = "testing")]
            Keep::Simulated(kept) => {
                let Some(bytes) = kept.read() else { return Ok(None) };
                let meta = inspect(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                return Ok(Some(Snapshot { meta, snapshot: bytes }));
            }
        };
        let bytes = tokio::task::spawn_blocking(move || fs::read(file)).await.map_err(io::Error::other)?;
        let bytes = match bytes {
            Ok(bytes) => Bytes::from(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let meta = inspect(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(Some(Snapshot { meta, snapshot: bytes }))
    }
}
