//! 4. Blind, silent or expired is never down.

use quorate::{core::opinion::Opinion, raft::simulated::Step};

use super::{Invariant, Verdict, View, automatic, heard::Heard};

/// After this a site has noticed that it is blind, and what a dead node said has outlived its time.
const NOTICED: u64 = 7_000;

#[derive(Default)]
pub struct Blindness(Heard);

impl Invariant for Blindness {
    fn number(&self) -> u8 {
        4
    }

    fn applied(&mut self, view: &View<'_>, step: &Step) -> Verdict {
        self.0.applied(view, step);
        let Some((intent, epoch)) = automatic(step) else { return Ok(()) };
        let Some(open) = &view.state().services[&intent.service].open else { return Ok(()) };
        let votes = open.evidence.regions.values().flat_map(|evidence| &evidence.votes);
        for vote in votes.filter(|vote| vote.opinion == Opinion::Down) {
            if !self.0.lately(view, step, vote.node) {
                return Err(format!("epoch {epoch}: node {}, not heard for too long, counts as down", vote.node));
            }
            let mute = view.truth.mute_for(vote.node).saturating_sub(view.now - view.stamped(step));
            if mute > NOTICED {
                return Err(format!("epoch {epoch}: node {}, blind or dead for {mute} ms, counts as down", vote.node));
            }
        }
        Ok(())
    }
}
