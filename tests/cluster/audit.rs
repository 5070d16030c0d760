//! The record of administrative acts: what was acknowledged is in it although the leader dies at once (invariant 7), on every
//! node alike (invariant 8), with the name in the certificate.

use serde_json::Value;

use crate::{
    cluster::{Cluster, SOON, ZONE, make_person, until},
    dns_server::DnsServer,
    stage::{POLICY, Regions},
};

fn acts(cluster: &Cluster) -> Vec<Value> {
    let listed = until("the record can be read", SOON, || {
        Some(cluster.ctl(&["audit", "list"])).filter(|answer| answer.exit == 0)
    });
    listed.json["entries"].as_array().expect("entries").clone()
}

fn told(of: &Value) -> String {
    let word = |field: &str| of[field].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {}: {}", word("by"), word("role"), word("act"), word("service"), word("outcome"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_recorded_though_the_leader_dies() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let mut cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    until("who formed the cluster is taken down", SOON, || {
        acts(&cluster).iter().any(|of| told(of) == "e2e admin init-cluster -: done").then_some(())
    });
    let bob = make_person(&cluster.pki(), "bob", "operator");
    let follower = |cluster: &Cluster| cluster.nodes.iter().find(|node| node.id != cluster.leader()).unwrap().grpc;
    let ask = |cluster: &Cluster, args: &[&str]| bob.ctl(&follower(cluster).to_string(), args);

    // Through a follower, so that the name travels; and the leader dies as soon as the act is acknowledged.
    let through = follower(&cluster).to_string();
    let leader = cluster.leader();
    bob.ctl(&through, &["freeze", "app", "--reason", "before the leader dies"]).ok();
    cluster.node(leader).kill();
    cluster.leader();
    let newest = acts(&cluster).remove(0);
    assert_eq!(told(&newest), "bob operator freeze app: done");
    assert_eq!(newest["reason"], "before the leader dies");

    // Leadership is handed over by consensus itself: told before, and again by whoever is asked.
    cluster.node(leader).start();
    cluster.leader();
    let to = cluster.nodes.iter().find(|node| node.id != cluster.leader()).unwrap().id.to_string();
    ask(&cluster, &["leader", "transfer", "--to", &to]).ok();
    ask(&cluster, &["switch", "start", "app", "--to", "west"]).refused(3);
    ask(&cluster, &["service", "remove", "app"]).refused(7);
    let all = acts(&cluster);
    let newest: Vec<_> = all.iter().take(2).map(told).collect();
    assert_eq!(newest, ["bob operator switch app: refused", "bob operator transfer-leadership -: done"]);
    assert!(all[0]["why"].as_str().unwrap().contains("`west` is the active region already"), "{}", all[0]);
    let denied = |node: &crate::cluster::Node| node.log().contains("a call was denied");
    assert!(cluster.nodes.iter().any(denied), "the node that denied a call says so in its log");
    cluster.check_hashes();

    // All die, and it is still the same.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.leader();
    assert_eq!(acts(&cluster), all);
    cluster.check_hashes();
}
