//! A failover without DNS: the region's death moves the servers of a farm at OVH's load balancer.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::{
    cluster::{Cluster, EAST, PROVIDER, Place, SOON, WEST, ZONE, ovh, until},
    fake_ovh::{FakeOvh, Fault},
    stage::{Health, Regions},
};

const BALANCER: &str = "ip-203.0.113.1";
/// OVH refuses no late write, so the cooldown must outlive the longest request.
const POLICY: &str = "fall = 2\nrise = 2\ncooldown = '2m'\nbudget = 100\nreconcile = '5s'\nopinion_ttl = '4s'\n";

fn taking(fake: &FakeOvh) -> Vec<String> {
    fake.deployed(BALANCER)[&("http".to_owned(), 7)].taking()
}

fn name(fake: &FakeOvh) -> String {
    fake.deployed(BALANCER)[&("http".to_owned(), 7)].display_name.clone().unwrap_or_default()
}

/// The service of the other scenarios with a farm in place of the A record.
fn service(regions: &Regions) -> String {
    let record = |zone: &str, name: &str, rest: &str| format!("zone = '{zone}'\nname = '{name}'\ntype = {rest}\n");
    let service = regions.service(POLICY);
    let service = service.replace(&record(ZONE, "app", "'A'\nttl = 30"), &record(BALANCER, "http-7", "'POOL'"));
    service
        .replace(&format!("A = ['{WEST}']"), "POOL = ['web-a', 'web-b']")
        .replace(&format!("A = ['{EAST}']"), "POOL = ['web-c']")
}

fn edits(fake: &FakeOvh) -> Vec<String> {
    fake.take_log().into_iter().filter(|call| !call.starts_with("GET ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_ovhs_load_balancer_where_others_work_too() {
    let fake = FakeOvh::start(ZONE).await;
    let servers = [(811, "web-a", true), (812, "web-b", true), (813, "web-c", false)];
    fake.seed_farm(BALANCER, ("http", 7), "web", &servers);
    fake.balancer(BALANCER, |balancer| balancer.takes = Duration::from_millis(300));
    let regions = Regions::start().await;
    let cluster = Cluster::start(vec![Place::local(ovh(&fake)); 3]);

    // Adoption changes no server, but leaves the fence in the farm's name.
    cluster.apply(&service(&regions));
    cluster.serves("west", 1);
    until("the fence is deployed", SOON, || name(&fake).starts_with("web _quorate v=1 cluster=").then_some(()));
    assert_eq!(taking(&fake), ["web-a", "web-b"]);
    let app = cluster.app().expect("the service");
    assert!(app["drift"].is_null() && app["trouble"].is_null(), "{app}");

    // A rehearsal and a check only read.
    drop(edits(&fake));
    let drill = cluster.ctl(&["drill", "app"]);
    assert_eq!(drill.exit, 0, "{:#}", drill.json);
    let check = cluster.ctl(&["provider", "check", PROVIDER, "--policy"]);
    assert_eq!(check.exit, 0, "{:#}", check.json);
    let text = check.json.to_string();
    for wanted in ["nothing of anybody else's is staged", "/ipLoadbalancing/ip-203.0.113.1/http/farm/7/server/*"] {
        assert!(text.contains(wanted), "no `{wanted}` in {:#}", check.json);
    }
    assert_eq!(edits(&fake), [""; 0]);

    // Somebody left an edit unpublished. A check says so, and the switch waits for that to end, with the reason.
    fake.balancer(BALANCER, |balancer| balancer.edits = 2);
    assert_eq!(cluster.ctl(&["drill", "app"]).exit, 3);
    let died = regions.west.set(Health::BlackHole);
    let trouble = |part: &'static str| {
        until("the trouble is told", SOON, || {
            cluster.app()?["trouble"].as_str().filter(|text| text.contains(part)).map(str::to_owned)
        })
    };
    let told = trouble("nobody published (2 in gra)");
    assert!(told.contains("undo them"), "{told}");
    assert_eq!((taking(&fake), edits(&fake)), (vec!["web-a".to_owned(), "web-b".to_owned()], vec![]));

    // They undo it. Then the answer to the refresh is lost, although it was carried out.
    fake.fail_next("POST", "/refresh", Fault::Drop { applied: true });
    fake.balancer(BALANCER, |balancer| balancer.edits = 0);
    until("the farm's servers are those of the east", SOON, || (taking(&fake) == ["web-c"]).then_some(()));
    println!("MEASURED OVH load balancer, others' edits and a refresh unanswered: {} ms", died.elapsed().as_millis());
    cluster.serves("east", 2);
    until("the trouble is over", SOON, || cluster.app()?["trouble"].is_null().then_some(()));
    until("the fence is deployed", SOON, || name(&fake).contains(" epoch=2 ").then_some(()));

    // A hand at the farm is drift, and left alone.
    fake.balancer(BALANCER, |balancer| {
        let farm = balancer.staged.get_mut(&("http".to_owned(), 7)).expect("the farm");
        farm.servers.get_mut(&811).expect("the server").active = true;
        balancer.settle();
    });
    let drift = until("the drift is told", SOON, || cluster.app()?["drift"].as_str().map(str::to_owned));
    assert!(drift.contains("web-a") && drift.contains("web-c"), "{drift}");
    fake.balancer(BALANCER, |balancer| {
        let farm = balancer.staged.get_mut(&("http".to_owned(), 7)).expect("the farm");
        farm.servers.get_mut(&811).expect("the server").active = false;
        balancer.settle();
    });
    until("the drift is over", SOON, || cluster.app()?["drift"].is_null().then_some(()));

    // And back, by hand.
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));
    let back = ["switch", "start", "app", "--to", "west", "--override", "cooldown", "--wait=30s"];
    assert_eq!(cluster.ctl(&back).ok()["status"], "observed");
    assert_eq!(taking(&fake), ["web-a", "web-b"]);
    let regional: BTreeSet<_> = [vec!["web-a".to_owned(), "web-b".to_owned()], vec!["web-c".to_owned()]].into();
    let deployed = fake.balancer(BALANCER, |balancer| balancer.deployments.clone());
    for farms in &deployed {
        let taking = farms[&("http".to_owned(), 7)].taking();
        assert!(regional.contains(&taking), "deployed half done: {taking:?}");
    }
    let evidence: Value = cluster.ctl(&["evidence", "get", "app", "2"]).ok().clone();
    let receipts = evidence["evidence"]["receipts"].to_string();
    assert!(receipts.contains("publishes the fence"), "{receipts}");
    cluster.check_switches(&["adopt", "failover", "manual"]);
}
