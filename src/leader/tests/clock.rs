//! Log time goes on while leadership is in doubt, and what waits meanwhile ages.

use super::*;
use crate::core::report::Report;

/// Holds office with this clock until what is done in it is done.
async fn hold(world: &World, clock: &mut Option<LogClock>, done: impl AsyncFnOnce(Arc<Office<TestLog>>)) {
    let (desk, mut seen) = watch::channel(None);
    let (log, tools) = (world.log.clone(), World::tools(world.provider.clone()));
    let office = Office::hold(log, tools, world.log.term(), clock, desk, CancellationToken::new());
    let work = async {
        let office = seen.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        done(office).await;
    };
    tokio::select! {
        () = office => panic!("the office ended"),
        () = work => {}
    }
}

fn report(seq: u64) -> Report {
    Report { node: 1, seq, ..Report::default() }
}

async fn hand_in(world: &World, clock: &mut Option<LogClock>, seq: u64) {
    hold(world, clock, async |office| assert!(office.report(report(seq)).await.is_ok())).await;
}

fn log_time(world: &World) -> LogTime {
    world.log.with_state(|state| state.log_time)
}

/// Invariant 4: an opinion expires by time that passes, also while the leader is without a quorum.
#[tokio::test(start_paused = true)]
async fn log_time_goes_on_between_two_offices_of_one_term() {
    let away = Duration::from_secs(8);
    let world = World::new(Some(0), FenceReading::Absent, u32::MAX, Fault::Before);
    let mut clock = None;
    hand_in(&world, &mut clock, 1).await;
    let before = log_time(&world);
    tokio::time::sleep(away).await;
    hand_in(&world, &mut clock, 2).await;
    assert!(log_time(&world).since(before) >= away, "it stood still");

    // Another term: what stood on the log is all that is known, and its opinions are void anyway.
    world.next_term();
    let before = log_time(&world);
    tokio::time::sleep(away).await;
    hand_in(&world, &mut clock, 3).await;
    assert!(log_time(&world).since(before) < away, "a clock of another term went on");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_waits_for_the_one_before_it_ages() {
    let (early, waits) = (Duration::from_secs(1), Duration::from_secs(2));
    let world = World::new(Some(0), FenceReading::Absent, u32::MAX, Fault::Before);
    *world.log.slow.lock().unwrap() = early + waits;
    hold(&world, &mut None, async |office| {
        let late = async {
            tokio::time::sleep(early).await;
            office.report(report(2)).await
        };
        let (first, late) = tokio::join!(office.report(report(1)), late);
        assert!(first.is_ok() && late.is_ok());
    })
    .await;
    let age = world.log.with_state(|state| state.log_time.since(state.views[&1].logged));
    assert_eq!(age, waits, "it came in when the first had waited for a while");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_its_sender_gave_up_is_not_logged_afterwards() {
    let world = World::new(Some(0), FenceReading::Absent, u32::MAX, Fault::Before);
    *world.log.slow.lock().unwrap() = Duration::from_secs(3);
    hold(&world, &mut None, async |office| {
        let impatient = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(tokio::time::timeout(Duration::from_secs(1), office.report(report(2))).await.is_err());
        };
        let (first, ()) = tokio::join!(office.report(report(1)), impatient);
        assert!(first.is_ok());
        // What waits is looked at in turn: once this one is answered, the one before it was as well.
        let third = Report { base: Some(1), ..report(3) };
        assert_eq!(office.report(third).await.unwrap(), ReportReply { needs_full: None });
    })
    .await;
}
