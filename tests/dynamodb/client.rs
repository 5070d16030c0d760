//! The client and the meters.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as Kind,
};
use quorate::{
    aws::Fault,
    core::{
        gauge::{Lag, Replica},
        names::LogTime,
        service::Table,
    },
    dynamodb::{
        Beat, HeartbeatKey, Tables,
        meter::{Author, Link, Meters},
    },
};

use crate::{PARIS, SESSIONS, VIRGINIA, World, paris, proxy::Health, virginia};

fn beat(term: u64, at: u64) -> Beat {
    Beat { term, at: LogTime(at) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_arrives_in_the_other_region_and_an_older_one_is_refused() {
    let Some(world) = World::replicated().await else { return };
    let dynamodb = world.dynamodb();
    let seen = dynamodb.describe(&virginia()).await.unwrap();
    assert_eq!((seen.status.as_str(), seen.billing.as_str()), ("ACTIVE", "PAY_PER_REQUEST"));
    assert!(seen.replicas.contains_key(PARIS), "{seen:?}");
    let key = HeartbeatKey::new(&seen.keys, &"prod".parse().unwrap(), PARIS);
    assert_eq!(dynamodb.last_beat(&virginia(), &key).await, Ok(None));
    dynamodb.beat(&paris(), &key, beat(7, 100)).await.unwrap();
    assert_eq!(dynamodb.last_beat(&virginia(), &key).await, Ok(Some(beat(7, 100))));
    dynamodb.beat(&paris(), &key, beat(8, 90)).await.unwrap();
    for late in [beat(7, 500), beat(8, 90), beat(8, 89)] {
        let refused = dynamodb.beat(&paris(), &key, late).await.unwrap_err();
        assert!(refused.is("ConditionalCheckFailedException"), "{refused:?}");
    }
    assert_eq!(dynamodb.last_beat(&virginia(), &key).await, Ok(Some(beat(8, 90))));
}

/// Heartbeats have a place in a table of any keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_key_takes_a_heartbeat() {
    let Some(world) = World::alone().await else { return };
    let dynamodb = world.dynamodb();
    for (i, kinds) in [vec![Kind::N], vec![Kind::B, Kind::S], vec![Kind::S, Kind::N]].into_iter().enumerate() {
        let table = Table { table: format!("keys-{i}"), region: PARIS.into() };
        let mut create = world.server.dynamodb(PARIS).create_table().table_name(&table.table);
        for ((name, role), kind) in [("a", KeyType::Hash), ("b", KeyType::Range)].into_iter().zip(kinds) {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap();
            let element = KeySchemaElement::builder().attribute_name(name).key_type(role).build().unwrap();
            create = create.attribute_definitions(definition).key_schema(element);
        }
        create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
        let keys = dynamodb.describe(&table).await.unwrap().keys;
        let key = HeartbeatKey::new(&keys, &"prod".parse().unwrap(), PARIS);
        dynamodb.beat(&table, &key, beat(1, 2)).await.unwrap();
        assert_eq!(dynamodb.last_beat(&table, &key).await, Ok(Some(beat(1, 2))), "{keys:?}");
    }
}

/// A region that hangs, fails, denies or is gone is told apart, and none is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_has_its_meaning_within_bounds() {
    let Some(world) = World::replicated().await else { return };
    let dynamodb = world.dynamodb();
    let missing = Table { table: "no-such-table".into(), region: PARIS.into() };
    assert!(dynamodb.describe(&missing).await.unwrap_err().is("ResourceNotFoundException"));
    for (health, down) in [(Health::Hangs, true), (Health::Fails, true), (Health::Denies, false)] {
        world.paris.set_health(health);
        let began = Instant::now();
        let fault = dynamodb.describe(&paris()).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{health:?} took {:?}", began.elapsed());
        assert_eq!((matches!(fault, Fault::Down(_)), fault.is_about_rights()), (down, !down), "{health:?}: {fault:?}");
        assert_eq!(world.dynamodb().describe(&virginia()).await.unwrap().status, "ACTIVE", "the other region lives");
    }
    let asked = world.paris.asked("DescribeTable");
    assert_eq!(asked, 3 + 1, "no answer is asked for twice behind anyone's back");
}

/// One meter between Paris and Virginia; its clock is the test's own, in ms since it began.
fn meter(world: &World, term: u64) -> (Meters, Link) {
    let began = Instant::now();
    let clock = Arc::new(move || LogTime(u64::try_from(began.elapsed().as_millis()).unwrap()));
    let author = Author { cluster: "prod".parse().unwrap(), term, clock };
    let mut meters = Meters::new(Arc::new(world.dynamodb()), author, Duration::from_millis(100));
    let link = Link { table: SESSIONS.into(), through: PARIS.into(), read: VIRGINIA.into() };
    meters.follow(&BTreeSet::from([link.clone()]));
    (meters, link)
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_measured_is_unknown_and_an_outage_holds_its_bound() {
    let Some(world) = World::replicated().await else { return };
    world.virginia.set_lag(Duration::from_secs(2));
    let (meters, link) = meter(&world, 5);
    assert!(matches!(meters.reading(&link), (Replica::Unknown(_), Lag::Unknown(_))), "nothing is known at first");
    let mut first = None;
    until("a heartbeat arrives", || {
        if let Lag::Seen { seen, failing: None } = meters.reading(&link).1 {
            first.get_or_insert((seen, Instant::now()));
        }
        first.is_some()
    })
    .await;
    assert_eq!(meters.reading(&link).0, Replica::Usable("ACTIVE".into()));

    // Paris is gone: what is known of it stands, and the outage begins with the first heartbeat that it did not take.
    world.paris.set_health(Health::Hangs);
    until("the outage shows", || matches!(meters.reading(&link).1, Lag::Seen { failing: Some(_), .. })).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let Lag::Seen { seen, failing: Some(failing) } = meters.reading(&link).1 else { panic!("the bound is gone") };
    assert!(seen < failing, "nothing that failed can have been seen");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let still = Lag::Seen { seen, failing: Some(failing) };
    assert_eq!(meters.reading(&link).1, still, "an outage that goes on changes nothing");

    // Another leader measures for itself: the heartbeats of the first are not its own.
    let (second, link) = meter(&world, 6);
    until(
        "the second leader has looked",
        || matches!(&second.reading(&link).1, Lag::Unknown(why) if why.contains("an earlier leader")),
    )
    .await;
    world.paris.set_health(Health::Well);
    until("its own arrive", || matches!(second.reading(&link).1, Lag::Seen { failing: None, .. })).await;
    until(
        "the first is told off",
        || matches!(&meters.reading(&link).1, Lag::Unknown(why) if why.contains("a later term")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_missing_are_no_outage() {
    let Some(world) = World::replicated().await else { return };
    let (meters, link) = meter(&world, 5);
    until("a heartbeat arrives", || matches!(meters.reading(&link).1, Lag::Seen { .. })).await;
    world.paris.set_health(Health::Denies);
    until(
        "the lag is not known",
        || matches!(&meters.reading(&link).1, Lag::Unknown(why) if why.contains("AccessDeniedException")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicas_status_decides() {
    let Some(world) = World::replicated().await else { return };
    let (meters, link) = meter(&world, 5);
    for (status, usable) in [("CREATING", false), ("UPDATING", true), ("REGION_DISABLED", false), ("NEW_ONE", false)] {
        world.virginia.set_own_status(Some(status));
        until(status, || match meters.reading(&link).0 {
            Replica::Usable(text) => usable && text == status,
            Replica::Unusable(text) => !usable && text.starts_with(status),
            Replica::Unknown(_) => false,
        })
        .await;
    }
    world.virginia.set_health(Health::Fails);
    until("not known", || matches!(meters.reading(&link).0, Replica::Unknown(_))).await;
}
