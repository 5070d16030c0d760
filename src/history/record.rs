//! What a history consists of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::{
    names::{ClusterId, NodeId, Site},
    state::{Command, Position, State},
};

/// The version of the format; a reader refuses what it does not know.
pub(super) const VERSION: u32 = 1;

/// The first record of a segment: what follows, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Of the format.
    pub version: u32,
    /// Which cluster.
    pub cluster: ClusterId,
    /// Which node recorded it.
    pub node: NodeId,
    /// Wall time at which the segment was begun, in ms since 1970.
    pub wall: u64,
}

impl Begin {
    /// The head of a segment that is begun now, in the present format.
    #[must_use]
    pub fn new(cluster: ClusterId, node: NodeId, wall: u64) -> Self {
        Self { version: VERSION, cluster, node, wall }
    }
}

/// One record. New kinds are added at the end; a kind is never given another meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A segment begins.
    #[serde(rename = "B")]
    Begin(Begin),
    /// The whole state, as it was before the entry that follows.
    #[serde(rename = "S")]
    State {
        /// Wall time at which it was taken, in ms since 1970.
        #[serde(rename = "w")]
        wall: u64,
        /// With its position.
        #[serde(rename = "s")]
        state: Box<State>,
    },
    /// A command as it was committed.
    #[serde(rename = "E")]
    Entry {
        /// Where in the log.
        #[serde(rename = "p")]
        position: Position,
        /// With the leader's stamps.
        #[serde(rename = "c")]
        command: Command,
    },
    /// A new leader's first entry.
    #[serde(rename = "T")]
    Term {
        /// Where in the log.
        #[serde(rename = "p")]
        position: Position,
    },
    /// The electorate changed.
    #[serde(rename = "V")]
    Voters {
        /// Where in the log.
        #[serde(rename = "p")]
        position: Position,
        /// The voting members and their sites.
        #[serde(rename = "v")]
        voters: BTreeMap<NodeId, Site>,
    },
}

impl Record {
    /// Where it stands in the log; of a state, the last entry in it.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Begin(_) => None,
            Self::State { state, .. } => Some(state.position),
            Self::Entry { position, .. } | Self::Term { position } | Self::Voters { position, .. } => Some(*position),
        }
    }

    /// The wall time that it carries, in ms since 1970.
    #[must_use]
    pub fn wall(&self) -> Option<u64> {
        match self {
            Self::Begin(begin) => Some(begin.wall),
            Self::State { wall, .. } => Some(*wall),
            Self::Entry { command, .. } => Some(command.wall),
            Self::Term { .. } | Self::Voters { .. } => None,
        }
    }
}
