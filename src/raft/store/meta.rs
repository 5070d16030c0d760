//! Vote, committed, purged and the durable last entry: what must never be read back older than it was.
//!
//! The file holds two copies. A write syncs the first copy and is then done; the second follows before the next write
//! begins. So a write torn by a power cut leaves the other copy whole, and a copy that goes bad later is mended from the
//! other one: a single fault can neither lose a vote nor bring an older one back. If neither copy checks out, the node must
//! not vote.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use prost::Message;

use super::format::{FormatError, Hash, Kind, NO_HASH, seal, unseal_prefix};
use crate::{
    proto::raft as pb,
    raft::{
        types::{LogId, Vote},
        wire,
    },
};

/// Each copy's place. A payload is at most a few hundred bytes.
pub(super) const SLOT: usize = 4096;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Meta {
    pub seq: u64,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub base_hash: Hash,
    pub last: Option<LogId>,
    pub last_hash: Hash,
}

/// The open file.
pub(crate) struct MetaFile {
    file: File,
    #[cfg(test)]
    pub(crate) skip_sync: bool,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetaError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("first copy: {0}; second copy: {1}")]
    BothBad(String, String),
}

impl MetaFile {
    /// Makes the file; `path` must not exist.
    pub(crate) fn create(path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let made = Self {
            file,
            #[cfg(test)]
            skip_sync: false,
        };
        let meta = Meta::default();
        made.write_first(&meta)?;
        made.write_second(&meta)?;
        made.file.sync_all()
    }

    /// Opens the file and reads the newer good copy, mending the other one.
    pub(crate) fn open(path: &Path) -> Result<(Self, Meta), MetaError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let opened = Self {
            file,
            #[cfg(test)]
            skip_sync: false,
        };
        let meta = match (opened.read(0)?, opened.read(1)?) {
            (Ok(a), Ok(b)) if b.seq > a.seq => b,
            (Ok(a), _) => a,
            (Err(why), Ok(b)) => {
                tracing::warn!(%why, "the first copy of the vote file is bad: mended from the second");
                b
            }
            (Err(a), Err(b)) => return Err(MetaError::BothBad(a, b)),
        };
        opened.write_first(&meta)?;
        opened.write_second(&meta)?;
        Ok((opened, meta))
    }

    fn read(&self, slot: u64) -> io::Result<Result<Meta, String>> {
        let mut bytes = vec![0; SLOT];
        let mut have = 0;
        while have < SLOT {
            match self.file.read_at(&mut bytes[have..], slot * SLOT as u64 + have as u64)? {
                0 => break,
                n => have += n,
            }
        }
        Ok(decode(&bytes[..have]))
    }

    /// Durable when it returns.
    pub(crate) fn write_first(&self, meta: &Meta) -> io::Result<()> {
        self.write(0, meta)
    }

    /// The copy that mends the first; to be called after [`MetaFile::write_first`], before anything else is written.
    pub(crate) fn write_second(&self, meta: &Meta) -> io::Result<()> {
        self.write(1, meta)
    }

    fn write(&self, slot: u64, meta: &Meta) -> io::Result<()> {
        self.file.write_all_at(&encode(meta), slot * SLOT as u64)?;
        #[cfg(test)]
        if self.skip_sync {
            return Ok(());
        }
        self.file.sync_data()
    }
}

pub(super) fn encode(meta: &Meta) -> Vec<u8> {
    let message = pb::StoreMeta {
        seq: meta.seq,
        vote: meta.vote.as_ref().map(wire::vote_to),
        committed: meta.committed.map(wire::log_id_to),
        purged: meta.purged.map(wire::log_id_to),
        base_hash: meta.base_hash.to_vec().into(),
        last: meta.last.map(wire::log_id_to),
        last_hash: meta.last_hash.to_vec().into(),
    };
    let mut bytes = seal(Kind::Meta, &message.encode_to_vec());
    assert!(bytes.len() <= SLOT, "the fields are few and of fixed size");
    bytes.resize(SLOT, 0);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Meta, String> {
    if bytes.len() != SLOT {
        return Err(FormatError::Length { have: bytes.len() as u64, want: SLOT as u64 }.to_string());
    }
    let payload = unseal_prefix(Kind::Meta, bytes).map_err(|e| e.to_string())?;
    let message = pb::StoreMeta::decode(payload).map_err(|e| e.to_string())?;
    let hash = |bytes: &[u8]| Hash::try_from(bytes).map_err(|_| "a hash of the wrong length".to_owned());
    Ok(Meta {
        seq: message.seq,
        vote: message.vote.map(wire::vote_from),
        committed: message.committed.map(wire::log_id_from),
        purged: message.purged.map(wire::log_id_from),
        base_hash: hash(&message.base_hash)?,
        last: message.last.map(wire::log_id_from),
        last_hash: hash(&message.last_hash)?,
    })
}

impl Meta {
    /// The last entry, which may be purged, and its hash.
    pub(crate) fn end(&self) -> (Option<LogId>, Hash) {
        if self.last > self.purged {
            (self.last, self.last_hash)
        } else if self.purged.is_some() {
            (self.purged, self.base_hash)
        } else {
            (None, NO_HASH)
        }
    }
}
