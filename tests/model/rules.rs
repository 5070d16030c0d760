//! The invariants as properties of the world of writes, and what must be reachable lest they hold of nothing.

use quorate::{
    core::switch::{Cause, SwitchStatus},
    dns::{Change, FenceReading, Grade, Reading},
};
use stateright::{Model, Property};

use super::{
    tables::{Deed, service_of},
    writes::{Limits, Office, World, Writes},
};

/// What grades A and B promise, and C cannot.
pub const REFUSED: &str = "6: a write of a superseded epoch, or over another cluster's fence, is refused";

pub fn properties(limits: Limits) -> Vec<Property<Writes>> {
    let mut all = vec![
        Property::always(
            "1 and 11: epochs rise by one, one switch is open, nothing flaps",
            |model: &Writes, world: &World| {
                let tables = model.tables();
                world.clusters.iter().all(|cluster| tables.facts(cluster.log).wrong.is_none())
            },
        ),
        Property::always(
            "2: a write names a committed intent, and its sender was confirmed after it",
            |_, world: &World| !world.fault.is_some_and(|fault| fault.starts_with('2')),
        ),
        Property::always("5: a record is never empty and never no region's", five),
        Property::always("10: when nothing more happens, every switch is through", ten),
        Property::sometimes("reached: all intents are through", |model: &Writes, world: &World| {
            let epochs = if model.limits.clusters == 1 { u64::from(model.limits.intents) + 1 } else { 1 };
            let tables = model.tables();
            let state = tables.states.get(world.clusters[0].log);
            service_of(&state).epoch.0 == epochs && service_of(&state).open.is_none()
        }),
        Property::sometimes(
            "reached: a write was applied and its sender does not know",
            |model: &Writes, world: &World| {
                let mut tables = model.tables();
                let cluster = &world.clusters[0];
                let job = tables.facts(cluster.log).job.filter(|job| !job.look);
                let stands = |job| tables.deed(0, job, world.reading, model.limits.grade) == Deed::Stands;
                cluster.offices[usize::from(cluster.term) - 1] == Office::Idle && job.is_some_and(stands)
            },
        ),
    ];
    if limits.grade == Grade::C && !limits.as_if_refused {
        all.push(Property::always("6 (grade C): what a late write did is recognised and would be undone", undone));
        all.push(Property::sometimes("reached: a late write stands", |model: &Writes, world: &World| {
            !in_order(model, world)
        }));
    } else {
        all.push(Property::always(REFUSED, |_, w: &World| !w.fault.is_some_and(|fault| fault.starts_with('6'))));
        all.push(Property::always("6: what the log calls written stands", |model, world| {
            model.limits.clusters > 1 || in_order(model, world)
        }));
    }
    if limits.terms > 1 && limits.clusters == 1 {
        all.push(Property::sometimes(
            "reached: a successor finishes another's epoch",
            |model: &Writes, world: &World| {
                let (tables, cluster) = (model.tables(), &world.clusters[0]);
                let facts = tables.facts(cluster.log);
                facts.observes && facts.authorised.is_some_and(|term| term < cluster.term.into())
            },
        ));
        all.push(Property::sometimes(
            "reached: a deposed leader has read and is about to write",
            |_, world: &World| {
                let cluster = &world.clusters[0];
                let old = &cluster.offices[..usize::from(cluster.term) - 1];
                old.iter().any(|office| matches!(office, Office::Read { .. }))
            },
        ));
    }
    if limits.intents > 2 && limits.clusters == 1 {
        all.push(Property::sometimes("reached: an abort is through", |model: &Writes, world: &World| {
            any_switch(model, world, |switch| {
                matches!(switch.cause, Cause::Abort { .. }) && switch.status() == SwitchStatus::Observed
            })
        }));
        all.push(Property::sometimes(
            "reached: an automatic switch follows an operator's",
            |model: &Writes, world: &World| {
                any_switch(model, world, |switch| switch.cause.is_automatic() && switch.epoch.0 > 2)
            },
        ));
    }
    if limits.grade != Grade::C {
        all.push(Property::sometimes(
            "reached: a write is on its way that will be refused",
            |model: &Writes, world: &World| {
                let tables = model.tables();
                let found = tables.readings.get(world.reading);
                let stale = |change: &Change| !change.holds_at(&found) && overwrites(change, &found).is_some();
                world.flight.iter().any(|request| stale(&tables.changes.get(request.change)))
            },
        ));
    }
    all
}

fn any_switch(model: &Writes, world: &World, is: impl Fn(&quorate::core::switch::Switch) -> bool) -> bool {
    let state = model.tables().states.get(world.clusters[0].log);
    service_of(&state).switches().any(is)
}

/// Invariant 6, as grades A and B promise it: nothing older is written over something newer, and no fence of another.
pub fn overwrites(change: &Change, found: &Reading) -> Option<&'static str> {
    match &found.fence {
        FenceReading::Present(stands) if stands.cluster != change.fence.cluster => {
            Some("6: a write over another cluster's fence")
        }
        FenceReading::Present(stands) if stands.epoch > change.fence.epoch => {
            Some("6: a write of a superseded epoch was carried out")
        }
        _ => None,
    }
}

fn five(model: &Writes, world: &World) -> bool {
    model.tables().is_a_regions(world.reading)
}

/// From `Written` on the record stands as the log says, or as a later switch, under way, has made it already.
fn in_order(model: &Writes, world: &World) -> bool {
    let mut tables = model.tables();
    let Some((to, epoch)) = tables.facts(world.clusters[0].log).written else { return true };
    if tables.standing(0, to, Some(epoch)) == world.reading {
        return true;
    }
    match &tables.readings.get(world.reading).fence {
        FenceReading::Present(fence) => fence.epoch.0 > u64::from(epoch),
        _ => false,
    }
}

/// At rest, what does not stand as the log says is seen by the reconciliation and written again.
fn undone(model: &Writes, world: &World) -> bool {
    let mut tables = model.tables();
    let Some(job) = tables.facts(world.clusters[0].log).job.filter(|job| job.look) else { return true };
    let stands = tables.standing(0, job.to, Some(job.epoch)) == world.reading;
    stands || matches!(tables.deed(0, job, world.reading, model.limits.grade), Deed::Write(_))
}

/// The end of everything: no step is left, the last leader lives, and the record stands as the log says.
fn ten(model: &Writes, world: &World) -> bool {
    let mut steps = vec![];
    if !world.flight.is_empty() || world.clusters.iter().any(|cluster| cluster.term < model.limits.terms) {
        return true;
    }
    model.actions(world, &mut steps);
    if !steps.is_empty() {
        return true;
    }
    let mut tables = model.tables();
    let mut through = |(id, log): (u8, u16)| {
        let job = tables.facts(log).job.filter(|job| job.look);
        job.is_some_and(|job| tables.standing(id, job.to, Some(job.epoch)) == world.reading)
    };
    let mut clusters = (0..).zip(world.clusters.iter().map(|cluster| cluster.log));
    // Of two clusters one gets the record, and the other holds back.
    if world.clusters.len() > 1 { clusters.any(&mut through) } else { clusters.all(through) }
}
