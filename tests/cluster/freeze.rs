//! The operator's hold: a region dies, the verdict says so, nothing moves until the hold ends.

use std::time::{Duration, Instant};

use crate::{
    cluster::{Cluster, EAST, SOON, WEST, ZONE, until},
    dns_server::DnsServer,
    stage::{Health, POLICY, Regions, Watch},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_service_stays_and_says_so() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    let watch = Watch::begin(server.address());
    watch.until(WEST, SOON);
    for whole_cluster in [false, true] {
        let service: &[&str] = if whole_cluster { &[] } else { &["app"] };
        cluster.ctl(&[&["freeze"], service, &["--reason", "a migration until three"]].concat()).ok();
        let (active, dead, alive) =
            if whole_cluster { ("east", &regions.east, WEST) } else { ("west", &regions.west, EAST) };
        dead.set(Health::Closed);
        let explained = until("explain names the freeze as what holds", SOON, || {
            let explained = cluster.ctl(&["explain", "app"]);
            let said = explained.json["conclusion"].as_str()?;
            (said.contains("frozen by e2e: a migration until three")
                && said.contains(&format!("3 of 3 sites say {active} is down")))
            .then_some(explained.json)
        });
        assert_eq!(
            (&explained["due"], &explained["due_in_ms"]),
            (&false.into(), &serde_json::Value::Null),
            "{explained}"
        );
        let before = explained["verdict"]["epoch"].as_u64().unwrap();
        let held = Instant::now();
        while held.elapsed() < Duration::from_secs(2) {
            assert_eq!(cluster.app().expect("the service")["epoch"], before);
            std::thread::sleep(Duration::from_millis(100));
        }
        let thawed = Instant::now();
        cluster.ctl(&[&["unfreeze"], service].concat()).ok();
        let moved = watch.until(alive, SOON);
        println!("MEASURED unfrozen: to dig {} ms", moved.duration_since(thawed).as_millis());
        until("the service is served again", SOON, || (cluster.app()?["phase"] == "serving").then_some(()));
        dead.set(Health::Up);
        until("both are up again", SOON, || {
            let app = cluster.app()?;
            app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up").then_some(())
        });
    }
    assert_eq!(watch.end(), [WEST, EAST, WEST]);
    cluster.check_switches(&["adopt", "failover", "failover"]);
}
