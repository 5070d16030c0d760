//! The replicated state and the commands that change it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    names::{LogTime, NodeId, Site},
    report::Report,
};

/// Where a command stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// An action with the leader's stamps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The leader's log time; `apply` takes the maximum.
    pub at: LogTime,
    /// Wall time in ms since 1970, for people only.
    pub wall: u64,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Moves log time and nothing else.
    Tick,
    /// Reports that arrived together.
    Reports(Vec<Report>),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It took effect.
    Done,
}

/// Everything that the cluster agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The clock.
    pub log_time: LogTime,
    /// The term of the last entry.
    pub term: u64,
    /// The voting members and their sites.
    pub voters: BTreeMap<NodeId, Site>,
}

impl State {
    /// Applies one committed command.
    pub fn apply(&mut self, position: Position, command: &Command) -> Response {
        self.enter_term(position.term);
        self.log_time = self.log_time.max(command.at);
        Response::Done
    }

    /// A blank or membership entry of this term was applied.
    pub fn enter_term(&mut self, term: u64) {
        self.term = self.term.max(term);
    }

    /// The voters are these from now on.
    pub fn set_voters(&mut self, position: Position, voters: BTreeMap<NodeId, Site>) {
        self.enter_term(position.term);
        self.voters = voters;
    }
}
