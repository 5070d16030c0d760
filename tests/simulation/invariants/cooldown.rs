//! 11. One outage causes one switch: no flap faster than the cooldown, none beyond the budget.
//!
//! By the simulation's own time, which no clock of a node moves.

use std::collections::BTreeMap;

use quorate::{
    core::{
        names::ServiceName,
        state::{Action, Response},
    },
    raft::simulated::Step,
};

use super::{Invariant, Verdict, View, authorised, automatic};
use crate::cluster::COOLDOWN;

/// Nodes take turns in a tick, and the stamp is seen at the end of one.
const TICKS: u64 = 20;

#[derive(Default)]
pub struct Cooldown {
    /// When the last switch of a service was authorised or observed, whichever was later, by the stamp of the entry that says
    /// so. Adoptions start no cooldown.
    last: BTreeMap<ServiceName, u64>,
}

impl Invariant for Cooldown {
    fn number(&self) -> u8 {
        11
    }

    fn applied(&mut self, view: &View<'_>, step: &Step) -> Verdict {
        let (cooldown, stamped) = (u64::try_from(COOLDOWN.as_millis()).unwrap(), view.stamped(step));
        if let Some((intent, epoch)) = automatic(step)
            && let Some(last) = self.last.get(&intent.service)
            && stamped + TICKS < last + cooldown
        {
            return Err(format!(
                "{}: epoch {epoch} came {} ms after the switch before",
                intent.service,
                stamped - last
            ));
        }
        if let Some((intent, epoch)) = authorised(step)
            && epoch.0 > 1
        {
            self.last.insert(intent.service.clone(), stamped);
        }
        if let Some(Action::Observed { service, epoch, .. }) = &step.action
            && step.response == Response::Done
            && epoch.0 > 1
        {
            self.last.insert(service.clone(), stamped);
        }
        Ok(())
    }
}
