//! 1. Epochs of a service rise by exactly one, and at most one switch is open per service.

use std::collections::BTreeMap;

use quorate::{
    core::{
        names::{Epoch, ServiceName},
        switch::Cause,
    },
    raft::simulated::Step,
};

use super::{Invariant, Verdict, View, authorised};

#[derive(Default)]
pub struct Epochs(BTreeMap<ServiceName, Epoch>);

impl Invariant for Epochs {
    fn number(&self) -> u8 {
        1
    }

    fn applied(&mut self, view: &View<'_>, step: &Step) -> Verdict {
        if let Some((intent, epoch)) = authorised(step) {
            let last = self.0.insert(intent.service.clone(), epoch).unwrap_or_default();
            if intent.cause != Cause::Adopt && epoch.0 != last.0 + 1 {
                return Err(format!("{}: epoch {epoch} follows {last}", intent.service));
            }
        }
        for (name, service) in &view.state().services {
            let last = self.0.get(name).copied().unwrap_or_default();
            if service.epoch != last {
                return Err(format!("{name}: the epoch is {} and {last} was authorised last", service.epoch));
            }
            if service.open.as_ref().is_some_and(|open| open.epoch != last) {
                return Err(format!("{name}: an older switch than epoch {last} is open"));
            }
        }
        Ok(())
    }
}
