//! A provider whose writes go in steps, and a leader that was lost between two of them.

use super::*;

/// Values of both regions, as between the first step and the last.
fn between(fence: FenceReading) -> Reading {
    let values = rrset(0).values.union(&rrset(1).values).cloned().collect();
    Reading { rrset: Some(RrSet { values, ..rrset(0) }), fence }
}

fn world(found: Reading, goes_in_steps: bool) -> World {
    let mut world = World::switching(u32::MAX, Fault::Before);
    let provider = Arc::get_mut(&mut world.provider).unwrap();
    (provider.grade, provider.goes_in_steps) = (Grade::C, goes_in_steps);
    *provider.stands.get_mut().unwrap() = found;
    world
}

/// Invariant 10: it costs time, never somebody's hand. Under the epoch that was begun, or one that came after it.
#[tokio::test(start_paused = true)]
async fn what_a_lost_leader_left_half_done_is_finished() {
    for epoch in [1, 2] {
        let world = world(between(FenceReading::Present(fence("prod", epoch))), true);
        world.lead(|app| app.open.is_none()).await;
        assert_eq!(world.taken(), [(2, rrset(1))], "found under epoch {epoch}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mixture_that_no_write_of_ours_leaves_is_somebodys_hand() {
    let ours = FenceReading::Present(fence("prod", 2));
    let strange = RrSet { values: rrset(0).values.union(&rrset(9).values).cloned().collect(), ..rrset(0) };
    for (found, goes_in_steps) in [
        (between(ours.clone()), false),
        (between(FenceReading::Absent), true),
        (Reading { rrset: Some(strange), fence: ours }, true),
    ] {
        let world = world(found, goes_in_steps);
        let held = |app: &ServiceState| app.trouble.as_ref().is_some_and(|why| why.contains("no region's value"));
        world.lead(held).await;
        assert_eq!(world.taken(), []);
    }
}

/// A step of a superseded write that comes late is undone, as grade C promises: within one reconcile interval.
#[tokio::test(start_paused = true)]
async fn a_step_that_comes_late_is_undone() {
    let world = world(Reading { rrset: Some(rrset(0)), fence: FenceReading::Present(fence("prod", 1)) }, true);
    world.lead(|app| app.open.is_none()).await;
    *world.provider.stands.lock().unwrap() = between(FenceReading::Present(fence("prod", 2)));
    let provider = world.provider.clone();
    world.lead(move |_| provider.taken.lock().unwrap().len() == 2).await;
    assert_eq!(world.taken(), [(2, rrset(1)), (2, rrset(1))]);
}
