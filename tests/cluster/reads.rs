//! Reads: linearizable on every node, stale with an age where no quorum is.

use std::time::Duration;

use crate::{
    cluster::{Cluster, SOON, ZONE, until},
    dns_server::DnsServer,
    stage::{POLICY, Regions},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_reads_what_was_written_and_admits_when_it_cannot() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));

    // What one node acknowledged, every node shows at once.
    for (round, (writer, to)) in [(1, "east"), (2, "west"), (3, "east")].into_iter().enumerate() {
        let started = cluster.at(writer, &["switch", "start", "app", "--to", to, "--override", "cooldown"]).ok();
        let epoch = started["epoch"].as_u64().unwrap();
        assert_eq!(epoch, round as u64 + 2);
        for reader in 1..=3 {
            let read = cluster.at(reader, &["verdict", "get", "app"]).ok();
            assert_eq!((&read["verdict"]["epoch"], &read["read"]["answered_by"]), (&epoch.into(), &reader.into()));
            assert!(read["read"]["age_ms"].is_null(), "a linearizable read has no age: {read}");
        }
        cluster.serves(to, epoch);
    }

    // Two nodes stand still, their connections open: the third knows how old its answers are, and says no quickly.
    let leader = cluster.leader();
    for alone in [leader, leader % 3 + 1] {
        let others = || cluster.nodes.iter().filter(|node| node.id != alone);
        others().for_each(super::cluster::Node::stop);
        until("a stale read tells a growing age", SOON, || {
            let stale = cluster.at(alone, &["--consistency", "stale", "verdict", "get", "app"]).ok();
            assert_eq!(stale["verdict"]["epoch"], 4);
            (stale["read"]["age_ms"].as_u64()? > 1500).then_some(())
        });
        for command in [["verdict", "get", "app"], ["switch", "list", "app"]] {
            let answer = cluster.at(alone, &command);
            let took = answer.took;
            let error = answer.refused(5);
            println!(
                "MEASURED node alone (leader: {}): {command:?} refused after {} ms",
                alone == leader,
                took.as_millis()
            );
            assert!(took < Duration::from_secs(10), "{took:?}: {error}");
            assert!(!error["message"].as_str().unwrap_or_default().is_empty(), "{error}");
        }
        others().for_each(super::cluster::Node::resume);
        until("the cluster goes on", SOON, || (cluster.at(alone, &["verdict", "get", "app"]).exit == 0).then_some(()));
    }
    cluster.check_switches(&["adopt", "manual", "manual", "manual"]);
    cluster.check_hashes();
}
