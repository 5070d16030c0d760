//! A stretch of a history: what lies before it becomes the state that it begins with.

use super::record::{Begin, Record};
use crate::core::state::State;

/// Keeps what was recorded from `from` to `to` (wall time in ms since 1970, both included), record after record.
#[derive(Debug)]
pub struct Trimmer {
    from: u64,
    to: u64,
    /// Until the stretch begins: what was applied before it.
    before: Option<(Begin, Option<Box<State>>)>,
    begun: bool,
    wall: u64,
}

impl Trimmer {
    /// Without bounds it lets everything through.
    #[must_use]
    pub fn new(from: Option<u64>, to: Option<u64>) -> Self {
        Self { from: from.unwrap_or(0), to: to.unwrap_or(u64::MAX), before: None, begun: false, wall: 0 }
    }

    /// Whether everything that is wanted was given: nothing more need be read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.wall > self.to
    }

    /// What becomes of the next record: nothing, itself, or, where the stretch begins, a head and a state before it.
    pub fn take(&mut self, record: Record) -> Vec<Record> {
        if let Some(wall) = record.wall() {
            self.wall = wall;
        }
        if self.begun {
            return if self.is_over() { vec![] } else { vec![record] };
        }
        if self.wall < self.from {
            self.keep(record);
            return vec![];
        }
        match (&record, self.before.take()) {
            // Between head and state of a segment it is too early to begin.
            (Record::Begin(_), before) => {
                if let Some((_, Some(state))) = before {
                    self.begun = true;
                    let Record::Begin(begin) = &record else { return vec![] };
                    return vec![record.clone(), Record::State { wall: begin.wall, state }];
                }
                self.keep(record);
                vec![]
            }
            (_, Some((begin, Some(state)))) => {
                self.begun = true;
                let state = Record::State { wall: self.wall, state };
                let kept = [Record::Begin(begin), state, record];
                kept.into_iter().collect()
            }
            (Record::State { .. }, Some((begin, None))) => {
                self.begun = true;
                vec![Record::Begin(begin), record]
            }
            // Without a state nothing can be made of it.
            (_, before) => {
                self.before = before;
                vec![]
            }
        }
    }

    fn keep(&mut self, record: Record) {
        match (record, &mut self.before) {
            (Record::Begin(begin), before) => {
                let state = before.take().and_then(|(_, state)| state);
                *before = Some((begin, state));
            }
            (Record::State { state, .. }, Some((_, kept))) => *kept = Some(state),
            (Record::Entry { position, command }, Some((_, Some(state)))) => drop(state.apply(position, &command)),
            (Record::Term { position }, Some((_, Some(state)))) => state.enter_term(position),
            (Record::Voters { position, voters }, Some((_, Some(state)))) => state.set_voters(position, voters),
            _ => {}
        }
    }
}
