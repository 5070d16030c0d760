//! A region dies: a quorum agrees, one switch, the world sees the other region. At BIND, at Knot, and at OVH's API.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    cluster::{Cluster, EAST, FENCE, RECORD, SOON, WEST, ZONE, until},
    dns_server::{DnsServer, KEY_NAME, SECRET},
    stage::{Health, POLICY, Regions, Watch},
};

/// Sends these lines to `nsupdate`, signed with the key that the nodes have: a colleague's hand.
pub fn nsupdate(server: &DnsServer, lines: &str) {
    let mut child = Command::new("nsupdate")
        .args(["-y", &format!("hmac-sha256:{KEY_NAME}:{SECRET}")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nsupdate to run");
    let text = format!("server 127.0.0.1 {}\nzone {ZONE}\n{lines}\nsend\n", server.port);
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("to write");
    assert!(child.wait().expect("nsupdate to end").success(), "nsupdate was refused: {lines}");
}

/// How many sites held the region down when the switch was authorised.
fn sites_down(evidence: &Value, region: &str) -> u64 {
    let regions = evidence["regions"].as_array().expect("regions");
    let region = regions.iter().find(|of| of["region"] == region).expect("the region");
    region["sites_down"].as_u64().expect("a number")
}

async fn fails_over(server: DnsServer, health: Health) {
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    assert_eq!(server.dig(RECORD, "A"), [WEST], "nothing stood there: the first region was written");
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=e2e epoch=1\""]);

    let watch = Watch::begin(server.address());
    watch.until(WEST, SOON);
    let died = regions.west.set(health);
    let moved = watch.until(EAST, SOON);
    println!("MEASURED {:?} {health:?}: outage to dig {} ms", server.kind, moved.duration_since(died).as_millis());
    cluster.serves("east", 2);
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=e2e epoch=2\""]);
    let got = cluster.ctl(&["evidence", "get", "app", "2"]).ok();
    assert!(sites_down(&got["evidence"], "west") >= 2, "{got}");
    assert_eq!(got["switch"]["cause"], "failover");
    let answers = got["evidence"]["answers"].as_array().expect("answers");
    assert!(!answers.is_empty() && answers.iter().all(|answer| answer["agrees"] == true), "{got}");

    // The region comes back; the way back is a person's.
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));
    let wait = ["switch", "start", "app", "--to", "west", "--override", "cooldown", "--reason", "back", "--wait=20s"];
    let back = cluster.ctl(&wait).ok();
    assert_eq!((&back["epoch"], &back["status"]), (&Value::from(3), &Value::from("observed")));
    watch.until(WEST, SOON);
    assert_eq!(watch.end(), [WEST, EAST, WEST], "one outage, one switch, one way back");

    is_reported_and_left(&cluster, &server);
    cluster.check_switches(&["adopt", "failover", "manual"]);
    cluster.check_hashes();
}

/// Somebody's hand at the record is told, and nothing is done about it.
fn is_reported_and_left(cluster: &Cluster, server: &DnsServer) {
    nsupdate(server, &format!("update delete {RECORD} A\nupdate add {RECORD} 30 A 198.51.100.99"));
    let drift = until("the drift is reported", SOON, || {
        let app = cluster.app()?;
        app["drift"].as_str().map(str::to_owned)
    });
    assert!(drift.contains("198.51.100.99"), "{drift}");
    // Two more looks of the reconciler: it had its chance to write.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(server.dig(RECORD, "A"), ["198.51.100.99"], "drift is reported, not corrected");
    nsupdate(server, &format!("update delete {RECORD} A\nupdate add {RECORD} 30 A {WEST}"));
    until("the drift is over", SOON, || cluster.app()?["drift"].is_null().then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_bind_when_a_region_falls_silent() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    fails_over(server, Health::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_knot_when_a_region_refuses_connections() {
    let Some(server) = DnsServer::knot(ZONE, &["app"]) else { return };
    fails_over(server, Health::Closed).await;
}
