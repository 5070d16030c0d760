//! What the evidence says of a write is what really became of it.

use super::*;

/// What the evidence of epoch 2 says of the one record, after writes with these fates.
async fn told(fates: &[Option<Fate>]) -> (String, World) {
    let world = World::switching(u32::MAX, Fault::Before);
    world.provider.fates.lock().unwrap().extend(fates);
    world.lead(|app| app.open.is_none()).await;
    let receipts = world.log.with_state(|state| {
        let switch = state.services["app"].switches().next().unwrap();
        assert_eq!((switch.epoch, switch.status()), (Epoch(2), SwitchStatus::Observed));
        switch.evidence.receipts.values().cloned().collect::<Vec<_>>()
    });
    (receipts.concat(), world)
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_the_last_writes_own_or_says_why_there_is_none() {
    let lost = "reads back as written; the provider's own receipt was lost: no answer to this one";
    let put_off = "reads back as written; the provider's own receipt was lost: one step is done, the next was put off";
    let (stale, gone, done) =
        (Some(Fate::Stale), Some(Fate::Lost { applied: false }), Some(Fate::Lost { applied: true }));
    let off = |applied| Some(Fate::PutOff { applied, seconds: 1 });
    for (fates, receipt) in [
        (&[None][..], "ok"),
        (&[stale], "ok"),
        (&[gone], "ok"),
        (&[done], lost),
        (&[Some(Fate::Forgotten)], "ok"),
        // The last attempt of a round.
        (&[stale, gone, None], "ok"),
        (&[stale, stale, done], lost),
        (&[stale, stale, Some(Fate::Forgotten), None], "ok"),
        // In the next round.
        (&[gone, gone, gone, done], lost),
        (&[off(false)], "ok"),
        (&[off(true)], put_off),
    ] {
        assert_eq!(told(fates).await.0, receipt, "{fates:?}");
    }
}

/// What was written in the last of a round's attempts is read back in that round, and nobody is told of a trouble.
#[tokio::test(start_paused = true)]
async fn a_write_that_succeeds_at_last_is_no_trouble() {
    let world = World::switching(u32::MAX, Fault::Before);
    world.provider.fates.lock().unwrap().extend([Some(Fate::Stale), Some(Fate::Stale)]);
    let troubled = Arc::new(Mutex::new(None));
    let seen = troubled.clone();
    world
        .lead(move |app| {
            let mut seen = seen.lock().unwrap();
            *seen = seen.take().or_else(|| app.trouble.clone());
            app.open.is_none()
        })
        .await;
    assert_eq!(*troubled.lock().unwrap(), None);
    assert_eq!(world.taken(), [(2, rrset(1))]);
}

/// A record that was there when the leader first read it was not written by it.
#[tokio::test(start_paused = true)]
async fn what_stood_before_the_first_reading_stood_already() {
    let world = World::switching(u32::MAX, Fault::Before);
    *world.provider.stands.lock().unwrap() =
        Reading { rrset: Some(rrset(1)), fence: FenceReading::Present(fence("prod", 2)) };
    world.lead(|app| app.open.is_none()).await;
    let receipts =
        world.log.with_state(|state| state.services["app"].switches().next().unwrap().evidence.receipts.clone());
    assert_eq!(
        (receipts.into_values().collect::<Vec<_>>().concat(), world.taken().len()),
        ("stood already, as an earlier leader wrote it under this epoch".into(), 0)
    );
}

/// A write that is let go because no quorum confirms the leader in time may have been applied; the same office goes on with it.
#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_with_its_lease_is_told_of() {
    let world = World::switching(u32::MAX, Fault::Before);
    world.provider.fates.lock().unwrap().extend([Some(Fate::Hangs)]);
    world.log.later.lock().unwrap().0 = Later::Silence;
    let confirmed_again = async {
        while world.provider.dropped.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.log.later.lock().unwrap().0 = Later::Same;
        std::future::pending::<()>().await;
    };
    tokio::select! { () = world.lead(|app| app.open.is_none()) => {}, () = confirmed_again => {} }
    let receipts =
        world.log.with_state(|state| state.services["app"].switches().next().unwrap().evidence.receipts.clone());
    let lost =
        "reads back as written; the provider's own receipt was lost: the write was given up when no quorum confirmed";
    assert!(receipts.values().all(|receipt| receipt.starts_with(lost)) && receipts.len() == 1, "{receipts:?}");
    assert_eq!(world.taken(), [(2, rrset(1))], "it was applied once, by the write that nobody heard of");
}

/// A provider that asks for patience between two steps is left alone for as long, as between two writes.
#[tokio::test(start_paused = true)]
async fn a_step_that_was_put_off_is_waited_for() {
    let began = Instant::now();
    let (receipt, _) = told(&[Some(Fate::PutOff { applied: false, seconds: 90 })]).await;
    let took = began.elapsed();
    assert!(receipt == "ok" && (Duration::from_secs(90)..Duration::from_secs(95)).contains(&took), "{took:?}");
}
