//! The `DynamoDB` probe: a table that answers passes, one that does not fails, and a node without rights says nothing.

use std::time::Duration;

use quorate::{
    core::{
        report::Observation,
        service::{Check, DynamodbCheck, Probe, Scalar, Table},
    },
    probe::check::{Client, run},
};

use crate::{PARIS, World, paris, proxy::Health};

async fn asked(world: &World, table: Table, key: &str) -> Option<Observation> {
    let key = [(key.to_owned(), Scalar::Text("health".into()))].into();
    let check = Check::Dynamodb(DynamodbCheck { table, key });
    let probe = Probe { interval: Duration::from_secs(20), timeout: Duration::from_secs(8), check };
    let client = Client::with(rustls::RootCertStore::empty(), world.dynamodb());
    run(&client, &probe, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_up_while_it_answers() {
    let Some(world) = World::alone().await else { return };
    assert_eq!(asked(&world, paris(), "pk").await, Some(Observation::pass()), "no item needs to stand there");
    assert!(world.paris.asked("GetItem") == 1, "one read, and nothing else");
    assert_eq!(
        world.paris.stale_reads(),
        0,
        "and a consistent one: what a cache would answer says nothing of the table"
    );
    for (health, reason) in [(Health::Hangs, "no answer"), (Health::Fails, "status 500")] {
        world.paris.set_health(health);
        let failed = asked(&world, paris(), "pk").await.expect("it is the region's");
        assert!(failed.reason.contains(reason), "{failed:?}");
    }
    for ours in [Health::Denies, Health::Expired] {
        world.paris.set_health(ours);
        assert_eq!(asked(&world, paris(), "pk").await, None, "rights are the node's affair (invariant 4)");
    }
    world.paris.set_health(Health::Well);
    assert_eq!(asked(&world, paris(), "other").await, None, "a key that is not the table's is a slip of ours");
    let gone = Table { table: "gone".into(), region: PARIS.into() };
    let failed = asked(&world, gone, "pk").await.expect("a table that is not there is down");
    assert!(failed.reason.contains("ResourceNotFoundException"), "{failed:?}");
}
