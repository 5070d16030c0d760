//! The same failover at OVH's API: staged edits, a refresh that fails, and the TTL that OVH raises.

use std::time::Duration;

use crate::{
    cluster::{Cluster, EAST, Place, RECORD, SOON, WEST, ZONE, ovh, until},
    dns_server,
    fake_ovh::{FakeOvh, Fault},
    stage::{Health, Regions, Watch},
};

/// OVH refuses no late write, so the cooldown must outlive the longest request.
const POLICY: &str = "fall = 2\nrise = 2\ncooldown = '2m'\nbudget = 100\nreconcile = '5s'\nopinion_ttl = '4s'\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_ovh_when_a_refresh_fails() {
    if !dns_server::available("dig", "bind9-dnsutils") {
        return;
    }
    let fake = FakeOvh::start(ZONE).await;
    let regions = Regions::start().await;
    let cluster = Cluster::start(vec![Place::local(ovh(&fake)); 3]);

    // A cooldown shorter than a late write can live is refused, with the reason; nothing is written.
    let file = cluster.file("short.toml", &regions.service("cooldown = '30s'\n"));
    let refused = cluster.ctl(&["service", "apply", file.to_str().unwrap()]).refused(3);
    assert!(refused.to_string().contains("grade C"), "{refused}");
    assert_eq!(fake.published(ZONE), []);

    cluster.apply(&regions.service(POLICY));
    let published = fake.published(ZONE);
    let a = published.iter().find(|record| record.field_type == "A").expect("an A record");
    assert_eq!((a.sub_domain.as_str(), a.target.as_str(), a.ttl), ("app", WEST, 60), "30 s are raised to 60");
    let app = cluster.app().expect("the service");
    assert!(app["drift"].is_null() && app["trouble"].is_null(), "a raised TTL is no drift: {app}");

    // A rehearsal reads, and says what the consumer key lacks.
    drop(fake.take_log());
    let drill = cluster.ctl(&["drill", "app"]);
    let finding = |report: &serde_json::Value, subject: &str, outcome: &str| {
        let findings = report["findings"].as_array().unwrap_or_else(|| panic!("no findings: {report}")).clone();
        let found = findings.into_iter().find(|of| of["subject"] == subject && of["outcome"] == outcome);
        found.unwrap_or_else(|| panic!("no `{subject}` with `{outcome}` in {report:#}"))
    };
    let ttl = finding(&drill.json, "ttl", "pass");
    assert!(ttl["figure"].as_str().unwrap().starts_with("30 s asked for, the provider makes it 60 s"), "{ttl}");
    finding(&drill.json, "late-write", "pass");
    finding(&drill.json, "nameservers", "pass");
    assert_eq!(drill.exit, 0, "{:#}", drill.json);
    fake.set_grants(&[("GET", "/*"), ("PUT", "/*"), ("POST", "/domain/zone/example.test/record")]);
    let drill = cluster.ctl(&["drill", "app"]);
    assert_eq!(drill.exit, 3, "{:#}", drill.json);
    let lacks = finding(&drill.json, "rights", "fail");
    assert!(lacks["figure"].as_str().unwrap().contains("/domain/zone/example.test/refresh"), "{lacks}");
    let log = fake.take_log();
    assert!(!log.is_empty() && log.iter().all(|call| call.starts_with("GET ")), "a drill only reads: {log:?}");
    fake.set_grants(&[("GET", "/*"), ("PUT", "/*"), ("POST", "/*"), ("DELETE", "/*")]);

    let watch = Watch::begin(fake.dns);
    watch.until(WEST, SOON);
    for _ in 0..4 {
        let error = Fault::Error { status: 500, code: "INTERNAL_SERVER_ERROR", retry_after: None };
        fake.fail_next("POST", "/refresh", error);
    }
    let died = regions.west.set(Health::BlackHole);
    let trouble =
        until("the failing refresh is reported", SOON, || cluster.app()?["trouble"].as_str().map(str::to_owned));
    assert!(trouble.contains("refresh"), "{trouble}");
    let moved = watch.until(EAST, SOON);
    println!("MEASURED OVH, refresh failing 4 times: outage to dig {} ms", moved.duration_since(died).as_millis());
    cluster.serves("east", 2);
    until("the trouble is over", SOON, || cluster.app()?["trouble"].is_null().then_some(()));

    // Back without a fault: every nameserver agrees.
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));
    let back = ["switch", "start", "app", "--to", "west", "--override", "cooldown", "--wait=20s"];
    assert_eq!(cluster.ctl(&back).ok()["status"], "observed");
    assert_eq!(dns_server::dig(fake.dns, RECORD, "A"), [WEST]);
    assert_eq!(watch.end(), [WEST, EAST, WEST]);
    for set in fake.publications() {
        let values: Vec<_> =
            set.iter().filter(|record| record.field_type == "A").map(|record| &*record.target).collect();
        assert!(values.is_empty() || values == [WEST] || values == [EAST], "published half done: {values:?}");
    }
    std::thread::sleep(Duration::from_secs(6));
    let app = cluster.app().expect("the service");
    assert!(app["drift"].is_null() && app["trouble"].is_null(), "{app}");
    cluster.check_switches(&["adopt", "failover", "manual"]);
}
