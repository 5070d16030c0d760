//! 6. A write of a superseded epoch never lasts: refused (grades A and B), or found and undone within one reconcile interval
//!    (grade C; at rest, the record is what the state says).

use std::collections::BTreeMap;

use quorate::{
    core::{names::Epoch, record::Record},
    dns::Grade,
};

use super::{Invariant, Verdict, View};
use crate::world::Arrived;

#[derive(Default)]
pub struct Superseded(BTreeMap<Record, Epoch>);

impl Invariant for Superseded {
    fn number(&self) -> u8 {
        6
    }

    fn written(&mut self, _: &View<'_>, write: &Arrived) -> Verdict {
        if !write.applied {
            return Ok(());
        }
        let epoch = write.change.fence.epoch;
        let last = self.0.entry(write.change.record.clone()).or_default();
        if write.grade != Grade::C && epoch < *last {
            return Err(format!("{}: a write of epoch {epoch} landed over epoch {last}", write.change.record));
        }
        *last = epoch.max(*last);
        Ok(())
    }

    fn at_rest(&mut self, view: &View<'_>) -> Verdict {
        for (name, service) in &view.state().services {
            let Some(active) = &service.active else { continue };
            for (record, rrset) in service.answers(active) {
                let found = view.world.stands(&record);
                if found.rrset.as_ref() != Some(&rrset) {
                    let found = found.rrset.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
                    return Err(format!("{name}: {record} answers {found}, and {active} is active: {rrset}"));
                }
            }
        }
        Ok(())
    }
}
