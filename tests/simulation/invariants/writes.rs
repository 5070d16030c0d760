//! 2. Every provider write names a committed intent; its sender was confirmed leader after that intent was committed.
//!
//! Confirmation is a lease: until it runs out no other node can be elected. So when a write is sent, nobody else's term may
//! have begun.

use std::collections::BTreeMap;

use quorate::{
    core::names::{Epoch, NodeId},
    raft::simulated::Step,
};

use super::{Invariant, Verdict, View, authorised};
use crate::world::Arrived;

#[derive(Default)]
pub struct Writes {
    authorised: BTreeMap<(String, Epoch), u64>,
    /// The highest term that anything was applied in, its leader, and when that was seen first.
    terms: BTreeMap<u64, u64>,
    leaders: BTreeMap<u64, NodeId>,
}

impl Invariant for Writes {
    fn number(&self) -> u8 {
        2
    }

    fn applied(&mut self, view: &View<'_>, step: &Step) -> Verdict {
        self.terms.entry(step.position.term).or_insert(view.now);
        if let Some((intent, epoch)) = authorised(step) {
            self.authorised.entry((intent.service.to_string(), epoch)).or_insert(view.now);
        }
        Ok(())
    }

    fn ticked(&mut self, view: &View<'_>) -> Verdict {
        for disk in view.disks.values() {
            if let Some((term, leader)) = disk.leader() {
                self.leaders.insert(term, leader);
            }
        }
        Ok(())
    }

    fn written(&mut self, _: &View<'_>, write: &Arrived) -> Verdict {
        let record = write.change.record.name.to_string();
        let service = record.split('.').next().unwrap_or_default().to_owned();
        let epoch = write.change.fence.epoch;
        match self.authorised.get(&(service.clone(), epoch)) {
            Some(at) if *at <= write.sent + 5 => {}
            _ => return Err(format!("{service}: a write of epoch {epoch}, which was not authorised when it was sent")),
        }
        let Some((term, since)) = self.terms.iter().rev().find(|(_, since)| **since < write.sent) else {
            return Ok(());
        };
        match self.leaders.get(term) {
            Some(leader) if *leader != write.sender => Err(format!(
                "{service}: node {} sent a write of epoch {epoch} at {} ms, and node {leader} had led term {term} since {since} ms",
                write.sender, write.sent
            )),
            _ => Ok(()),
        }
    }
}
