//! `quoratectl provider check` and `drill` of a service with tables: every node's own credentials and clock at DynamoDB, and what it
//! may do there, without writing.

use std::time::Duration;

use serde_json::Value;

use crate::{
    PARIS, SESSIONS, VIRGINIA, World,
    cluster::{SOON, until},
    gates::Stage,
    ministack::Ministack,
    proxy::Health,
};

/// The findings about the tables.
fn tables(json: &Value) -> Vec<Value> {
    let of = json["providers"].as_array().expect("providers").iter().find(|of| of["provider"] == "[dynamodb]");
    of.unwrap_or_else(|| panic!("no tables in {json:#}"))["findings"].as_array().expect("findings").clone()
}

fn with<'f>(found: &'f [Value], outcome: &str) -> Vec<(&'f str, &'f str)> {
    let text = |of: &'f Value, key: &str| of[key].as_str().unwrap_or_default();
    found.iter().filter(|of| of["outcome"] == outcome).map(|of| (text(of, "subject"), text(of, "figure"))).collect()
}

async fn items(server: &Ministack) -> i32 {
    server.dynamodb(PARIS).scan().table_name(SESSIONS).send().await.expect("a scan").count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_nodes_way_to_the_tables_is_looked_at_and_nothing_is_written() {
    let Some(world) = World::replicated().await else { return };
    // The leader's heartbeats are kept out, so that whatever else is written shows.
    world.paris.set_health(Health::Denies);
    let Some(stage) = Stage::set(world, "").await else { return };
    let (paris, virginia) = (&stage.world.paris, &stage.world.virginia);
    let before = items(&stage.world.server).await;
    let check = || stage.cluster.ctl(&["provider", "check", "--policy"]);

    let checked = check();
    assert_eq!(checked.exit, 3, "a node that may not ask could not lead a failover: {:#}", checked.json);
    let found = tables(&checked.json);
    let failed = with(&found, "fail");
    assert_eq!(failed.len(), 3, "every node says so of Paris: {failed:?}");
    let denied = |(subject, figure): &(&str, &str)| {
        *subject == "rights" && figure.contains("DescribeTable: AccessDeniedException")
    };
    assert!(failed.iter().all(denied), "{failed:?}");
    assert!(found.iter().any(|of| of["record"] == format!("{SESSIONS} in {VIRGINIA}")), "{found:#?}");
    // Credentials, clock, table, and two rights of each node in Virginia; the clock in Paris.
    assert_eq!(with(&found, "pass").len(), 3 * (5 + 1), "{found:#?}");

    paris.set_health(Health::Expired);
    let found = tables(&check().json);
    let expired = |(subject, figure): &(&str, &str)| *subject == "credentials" && figure.contains("ExpiredToken");
    assert!(with(&found, "fail").iter().all(expired), "{found:#?}");

    paris.set_health(Health::Hangs);
    let checked = check();
    let found = tables(&checked.json);
    let unknown = with(&found, "unknown");
    assert!(unknown.len() == 3 && unknown.iter().all(|(subject, _)| *subject == "table"), "{found:#?}");
    assert_eq!(checked.exit, 0, "what is not known stops nothing: {found:#?}");
    assert_eq!(items(&stage.world.server).await, before, "nothing was written");

    paris.set_health(Health::Well);
    virginia.set_own_status(Some("REGION_DISABLED"));
    paris.set_clock(-400);
    virginia.set_clock(-400);
    let checked = until("the clock is told", SOON, || {
        let checked = check();
        (with(&tables(&checked.json), "fail").iter().any(|(subject, _)| *subject == "clock")).then_some(checked)
    });
    let found = tables(&checked.json);
    let failed = with(&found, "fail");
    assert!(failed.iter().any(|(_, figure)| figure.contains("AWS's clock is 400 s behind")), "{failed:?}");
    assert!(
        failed.iter().any(|(subject, figure)| *subject == "table" && figure.contains("REGION_DISABLED")),
        "{failed:?}"
    );
    let hints: Vec<_> = found.iter().filter(|of| of["outcome"] != "pass").map(|of| of["hint"].as_str()).collect();
    assert!(hints.iter().all(|hint| hint.is_some_and(|hint| !hint.is_empty())), "each says what to do: {found:#?}");
    let of_tables = checked.json["providers"].as_array().unwrap().iter().find(|of| of["provider"] == "[dynamodb]");
    let policy = of_tables.and_then(|of| of["policy"][0]["text"].as_str()).expect("a policy");
    let policy: Value = serde_json::from_str(policy).expect("JSON to paste");
    assert_eq!(policy["Statement"][0]["Action"], "dynamodb:DescribeTable");
    let keys = &policy["Statement"][1]["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
    assert!(
        keys[0].as_str().is_some_and(|key| key.starts_with("quorate#heartbeat#") && key.ends_with("#*")),
        "{policy}"
    );

    virginia.set_own_status(None);
    stage.until_lag("the gates pass", |lag| lag["lag"]["outcome"] == "pass" && lag["replica"]["outcome"] == "pass");
    for proxy in [paris, virginia] {
        proxy.set_clock(0);
    }
    until("all of it passes", SOON, || {
        let checked = check();
        (checked.exit == 0 && with(&tables(&checked.json), "pass").len() == 3 * 10).then_some(())
    });
}

/// A rehearsal probes the tables with the endpoints and the credentials that the node has, as its probes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_asks_the_tables_as_the_nodes_do() {
    let Some(world) = World::replicated().await else { return };
    let Some(stage) = Stage::probing(world).await else { return };
    stage.until_lag("the gates pass", |lag| lag["lag"]["outcome"] == "pass" && lag["replica"]["outcome"] == "pass");
    let rehearsed = until("nothing stands in the way", SOON, || {
        let drill = stage.cluster.ctl(&["drill", "app"]);
        (drill.exit == 0).then_some(drill.json)
    });
    let findings = rehearsed["findings"].as_array().expect("findings");
    let probes: Vec<_> = findings.iter().filter(|of| of["subject"] == "probe").collect();
    assert!(probes.iter().all(|of| of["outcome"] == "pass"), "{probes:#?}");
    assert!(
        probes.iter().any(|of| of["figure"].as_str().is_some_and(|text| text.starts_with("2 of 2 probes"))),
        "{probes:#?}"
    );
    assert!(findings.iter().any(|of| of["record"] == format!("{SESSIONS} in {PARIS}")), "{findings:#?}");

    stage.world.virginia.set_health(Health::Denies);
    let drill = stage.cluster.ctl(&["drill", "app"]);
    assert_eq!(drill.exit, 3, "{:#}", drill.json);
    tokio::time::sleep(Duration::ZERO).await;
}
