//! 3. An automatic switch is authorised only with a quorum of distinct sites down on `from`, and up on `to`, all logged in the
//!    current term and fresh.
//!
//! Judged twice: by the evidence, as far as its nodes were heard lately, and by what really was so.

use std::collections::BTreeSet;

use quorate::{
    core::{opinion::Opinion, switch::Cause},
    raft::simulated::Step,
};

use super::{Invariant, Verdict, View, automatic, heard::Heard};
use crate::cluster::REGIONS;

/// For how long after a failure an opinion of it can still count: the time to live, the successes that end it, and the way.
const MEMORY: u64 = 4_000 + 2_500 + 3_000;

#[derive(Default)]
pub struct Quorum(Heard);

impl Invariant for Quorum {
    fn number(&self) -> u8 {
        3
    }

    fn applied(&mut self, view: &View<'_>, step: &Step) -> Verdict {
        self.0.applied(view, step);
        let Some((intent, epoch)) = automatic(step) else { return Ok(()) };
        let service = &view.state().services[&intent.service];
        let Some(open) = &service.open else { return Err("an authorised switch is not open".to_owned()) };
        let sites: BTreeSet<_> = view.replica.voters().values().collect();
        let needed = sites.len() / 2 + 1;
        let held = |region, opinion| {
            let votes = open.evidence.regions.get(region).into_iter().flat_map(|evidence| &evidence.votes);
            let votes = votes.filter(|vote| vote.opinion == opinion && self.0.lately(view, step, vote.node));
            votes.map(|vote| &vote.site).collect::<BTreeSet<_>>().len()
        };
        let up = held(&intent.to, Opinion::Up);
        if up < needed {
            return Err(format!("epoch {epoch}: {up} of {} sites, heard lately, hold {} up", sites.len(), intent.to));
        }
        if intent.cause != Cause::Failover {
            return Ok(());
        }
        let from = open.from.as_ref().expect("a failover leaves a region");
        let down = held(from, Opinion::Down);
        if down < needed {
            return Err(format!(
                "epoch {epoch}: {down} of {} sites, heard lately, hold {from} down, {needed} needed",
                sites.len()
            ));
        }
        let term = step.position.term;
        let votes = &open.evidence.regions[from].votes;
        let down = votes.iter().filter(|vote| vote.opinion == Opinion::Down);
        if let Some(vote) = down.clone().find(|vote| vote.runs.iter().any(|run| run.term != term)) {
            return Err(format!("epoch {epoch}: node {} votes with what was logged before term {term}", vote.node));
        }
        let region = REGIONS.iter().position(|name| *name == from.as_str()).expect("a region of ours");
        let memory = MEMORY + view.now - view.stamped(step);
        let really = view.replica.voters().iter().filter(|(node, _)| view.truth.failed_lately(**node, region, memory));
        let really: BTreeSet<_> = really.map(|(_, site)| site).collect();
        if really.len() < needed {
            return Err(format!(
                "epoch {epoch}: {} of {} sites really failed to reach {from}",
                really.len(),
                sites.len()
            ));
        }
        Ok(())
    }
}
