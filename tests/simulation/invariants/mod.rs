//! The invariants, one file each. Every one of them sees every entry that is applied, every write that reaches a provider,
//! every answer to a client, and every tick; it says what is broken, and nothing of why.

mod blindness;
mod cooldown;
mod durable;
mod epochs;
mod heard;
mod quorum;
mod reads;
mod record;
mod settled;
mod states;
mod superseded;
mod writes;

use std::collections::BTreeMap;

use quorate::{
    core::{
        names::{Epoch, NodeId},
        state::{Action, Response, State},
        switch::{Cause, Intent},
    },
    raft::simulated::{Disk, Replica, Step},
};

use crate::{
    cluster::Done,
    truth::Truth,
    world::{Arrived, World},
};

/// What an invariant may look at.
pub struct View<'a> {
    pub now: u64,
    pub replica: &'a Replica,
    pub disks: &'a BTreeMap<NodeId, Disk>,
    pub truth: &'a Truth,
    /// When the leader stamped the entry of a term and index.
    pub stamped: &'a BTreeMap<(u64, u64), u64>,
    pub world: &'a World,
}

impl View<'_> {
    pub fn state(&self) -> &State {
        self.replica.state()
    }

    /// When the leader stamped this entry. It may have waited for its quorum since, and leader and followers may have lost
    /// each other: what an entry rests on was so then.
    pub fn stamped(&self, step: &Step) -> u64 {
        self.stamped.get(&(step.position.term, step.position.index)).copied().unwrap_or(self.now)
    }
}

pub type Verdict = Result<(), String>;

/// One invariant.
pub trait Invariant {
    /// Its number.
    fn number(&self) -> u8;
    /// An entry was applied; the state is the one after it.
    fn applied(&mut self, _: &View<'_>, _: &Step) -> Verdict {
        Ok(())
    }
    /// A write reached its provider.
    fn written(&mut self, _: &View<'_>, _: &Arrived) -> Verdict {
        Ok(())
    }
    /// Somebody who asked a node was answered.
    fn answered(&mut self, _: &View<'_>, _: &Done) -> Verdict {
        Ok(())
    }
    /// Time went on.
    fn ticked(&mut self, _: &View<'_>) -> Verdict {
        Ok(())
    }
    /// Everything has been well for a while.
    fn at_rest(&mut self, _: &View<'_>) -> Verdict {
        Ok(())
    }
}

/// All of them but the ninth, which is the liveness phase itself.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<epochs::Epochs>::default(),
        Box::<writes::Writes>::default(),
        Box::<quorum::Quorum>::default(),
        Box::<blindness::Blindness>::default(),
        Box::new(record::Values),
        Box::<superseded::Superseded>::default(),
        Box::<durable::Durable>::default(),
        Box::new(reads::Reads),
        Box::<states::States>::default(),
        Box::new(settled::Settled),
        Box::<cooldown::Cooldown>::default(),
    ]
}

/// The intent that this step authorised, with its epoch.
pub fn authorised(step: &Step) -> Option<(&Intent, Epoch)> {
    let Response::Authorised(epoch) = &step.response else { return None };
    let mut action = step.action.as_ref()?;
    while let Action::Asked { what, .. } = action {
        action = what;
    }
    match action {
        Action::Authorise(intent) => Some((intent, *epoch)),
        _ => None,
    }
}

/// The same, if the cluster decided it.
pub fn automatic(step: &Step) -> Option<(&Intent, Epoch)> {
    authorised(step).filter(|(intent, _)| matches!(intent.cause, Cause::Failover | Cause::Failback))
}
