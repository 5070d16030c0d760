//! 4. Blind, silent or expired is never down.

use quorate::{core::opinion::Opinion, raft::simulated::Step};

use super::{Invariant, Verdict, View, automatic};

/// After this a site has noticed that it is blind, and what a dead node said has outlived its time.
const NOTICED: u64 = 7_000;

pub struct Blindness;

impl Invariant for Blindness {
    fn number(&self) -> u8 {
        4
    }

    fn applied(&mut self, view: &View<'_>, step: &Step) -> Verdict {
        let Some((intent, epoch)) = automatic(step) else { return Ok(()) };
        let Some(open) = &view.state().services[&intent.service].open else { return Ok(()) };
        let votes = open.evidence.regions.values().flat_map(|evidence| &evidence.votes);
        for vote in votes.filter(|vote| vote.opinion == Opinion::Down) {
            let mute = view.truth.mute_for(vote.node);
            if mute > NOTICED {
                return Err(format!("epoch {epoch}: node {}, blind or dead for {mute} ms, counts as down", vote.node));
            }
        }
        Ok(())
    }
}
