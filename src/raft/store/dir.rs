//! The directory of a store: made once, locked while it is open, and whose it is.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use prost::Message;

use super::{
    engine::Engine,
    files,
    format::{self, Kind},
    meta::MetaFile,
};
use crate::{
    core::names::{ClusterId, NodeId},
    proto::raft as pb,
};

pub(super) const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
pub(super) const META: &str = "vote";
pub(super) const LOG: &str = "log";

/// Why a store was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one already.
    #[error("{0} holds a store already: a node's store is made once, and never made anew under the same node id")]
    Exists(PathBuf),
    /// The disk refused.
    #[error("cannot make a store in {dir}: {source}")]
    Io {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error(
        "{0} holds no store: `quorated init` makes one for a new node; a node that lost its disk must come back under a \
         new id, with `quoratectl member replace`"
    )]
    Missing(PathBuf),
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// Something in it is not what was written.
    #[error("{file} is damaged{}: {why}; {hint}", .entry.map(|e| format!(" at entry {e}")).unwrap_or_default())]
    Corrupt {
        /// The file or directory.
        file: PathBuf,
        /// The entry of the log, where it is one.
        entry: Option<u64>,
        /// What does not check out.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The disk refused.
    #[error("cannot read the store in {dir}: {source}")]
    Io {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const HINT: &str = "this node must not vote with it: keep the directory aside, and rejoin under a new node id with \
                    `quoratectl member replace`";

pub(crate) fn corrupt(file: &Path, entry: Option<u64>, why: impl fmt::Display) -> OpenError {
    OpenError::Corrupt { file: file.to_owned(), entry, why: why.to_string(), hint: HINT }
}

/// Makes the store of a new node, durable when it returns. The directory may exist, and must be empty of a store.
pub fn create_store(dir: &Path, cluster: &ClusterId, node: NodeId) -> Result<(), CreateError> {
    let io = |source| CreateError::Io { dir: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(io)?;
    if [IDENTITY, META, LOG].iter().any(|name| dir.join(name).exists()) {
        return Err(CreateError::Exists(dir.to_owned()));
    }
    Engine::create(&dir.join(LOG)).map_err(io)?;
    MetaFile::create(&dir.join(META)).map_err(io)?;
    // The identity comes last: a store without one is no store, so that a power cut leaves nothing half-made.
    files::sync_dir(dir).map_err(io)?;
    files::replace(&dir.join(IDENTITY), &write_identity(cluster, node)).map_err(io)?;
    files::sync_dir(dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))).map_err(io)
}

/// The directory, locked for this process, and whose it is.
pub(crate) struct StoreDir {
    pub path: PathBuf,
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Held while the store is open.
    pub lock: Flock<File>,
}

impl StoreDir {
    /// Locks the directory and reads whose it is.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { dir: path.to_owned(), source };
        let identity_file = path.join(IDENTITY);
        let bytes = match fs::read(&identity_file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.join(META).exists() => {
                return Err(OpenError::Missing(path.to_owned()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(corrupt(&identity_file, None, "it is missing"));
            }
            Err(e) => return Err(io(e)),
        };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(io)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => OpenError::Locked(path.to_owned()),
            other => io(other.into()),
        })?;
        let (cluster, node) = read_identity(&bytes).map_err(|why| corrupt(&identity_file, None, why))?;
        Ok(Self { path: path.to_owned(), cluster, node, lock })
    }
}

pub(super) fn write_identity(cluster: &ClusterId, node: NodeId) -> Vec<u8> {
    let identity = pb::StoreIdentity { cluster: cluster.to_string(), node };
    format::seal(Kind::Identity, &identity.encode_to_vec())
}

pub(super) fn read_identity(bytes: &[u8]) -> Result<(ClusterId, NodeId), String> {
    let payload = format::unseal(Kind::Identity, bytes).map_err(|e| e.to_string())?;
    let identity = pb::StoreIdentity::decode(payload).map_err(|e| e.to_string())?;
    let cluster = identity.cluster.parse().map_err(|e| format!("{e}"))?;
    Ok((cluster, identity.node))
}
