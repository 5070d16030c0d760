//! Evidence from real switches: exported, the same on every node, and verified without a cluster.
//!
//! `QUORATE_WRITE_FIXTURES=1` keeps the export as the fixture that must verify for ever.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    cluster::{Cluster, SOON, ZONE, quoratectl, until},
    dns_server::DnsServer,
    stage::{Health, POLICY, Regions},
};

fn export(cluster: &Cluster, name: &str) -> (String, Value) {
    let file = cluster.dir().join(name).display().to_string();
    let told = cluster.ctl(&["evidence", "export", "app", "--out", &file]).ok();
    (file, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_real_switches_rested_on_verifies_without_a_cluster() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    regions.west.set(Health::Closed);
    cluster.serves("east", 2);
    let (earlier, _) = export(&cluster, "earlier.json");
    regions.west.set(Health::Up);
    until("the operator can switch back", SOON, || {
        let back = ["switch", "start", "app", "--to", "west", "--reason", "it is well again", "--wait=20s"];
        (cluster.ctl(&back).exit == 0).then_some(())
    });
    cluster.serves("west", 3);
    let (file, told) = export(&cluster, "app.json");
    if std::env::var("QUORATE_WRITE_FIXTURES").as_deref() == Ok("1") {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/evidence/v1.json");
        fs::copy(&file, fixture).expect("the fixture");
    }

    // Every node has sealed the same.
    let head = told["services"]["app"]["head"].as_str().expect("a head").to_owned();
    for node in 1..=3 {
        let got = cluster.at(node, &["evidence", "get", "app"]).ok();
        assert_eq!(got["hash"], head.as_str(), "node {node}");
        let sight = &got["evidence"]["sight"][0];
        assert_eq!((&sight["peers_reached"], &sight["blind"]), (&serde_json::json!([2, 3]), &Value::Null), "{sight}");
    }

    // Without a cluster, an address or a certificate.
    let verified = quoratectl(&["evidence", "verify", &file, "--expect-head", &head, "--previous", &earlier]).ok();
    assert_eq!(verified["services"]["app"]["epochs"], serde_json::json!([1, 2, 3]));
    let text = fs::read_to_string(&file).expect("the export");
    let failover = serde_json::from_str::<Value>(&text).expect("JSON")["services"]["app"]["bundles"][1].clone();
    assert_eq!(failover["cause"], "Failover");
    let votes = failover["evidence"]["regions"]["west"]["votes"].as_array().expect("votes");
    let down: Vec<_> = votes.iter().filter(|vote| vote["opinion"] == "Down").collect();
    assert!(down.len() >= 2 && down.iter().all(|vote| vote["runs"][0]["term"].as_u64() >= Some(1)), "{votes:?}");
    assert!(failover["evidence"]["answers"].as_array().is_some_and(|answers| !answers.is_empty()), "{failover}");

    // An older one does not go on from a newer one, and another head is another history.
    let faults = |args: &[&str]| quoratectl(&[&["evidence", "verify"], args].concat()).refused(8).to_string();
    assert!(faults(&[&earlier, "--previous", &file]).contains("is not in this chain"));
    assert!(faults(&[&file, "--expect-head", "app=00"]).contains("the chain ends in"));
    // One flipped byte is named.
    let forged = text.replacen("it is well again", "it is well agaim", 1);
    assert_ne!(forged, text);
    let forged = cluster.file("forged.json", &forged);
    assert!(faults(&[&forged.display().to_string()]).contains("app, epoch 3, /cause/Manual/reason"));
}
