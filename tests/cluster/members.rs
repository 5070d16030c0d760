//! All nodes die at once; one loses its disk; members come and go. What was acknowledged stays (invariant 7).

use std::fs;

use serde_json::Value;

use crate::{
    cluster::{Cluster, EAST, Place, RECORD, SOON, ZONE, rfc2136, until},
    dns_server::DnsServer,
    stage::{POLICY, Regions, Watch},
};

fn roles(answer: &Value) -> Vec<(u64, String)> {
    let members = answer["members"].as_array().expect("members");
    let mut roles: Vec<_> =
        members.iter().map(|of| (of["id"].as_u64().unwrap(), of["role"].as_str().unwrap().to_owned())).collect();
    roles.sort();
    roles
}

fn are(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(id, role)| (*id, (*role).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_killed_whole_comes_back_as_it_was() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let mut cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    cluster.ctl(&["switch", "start", "app", "--to", "east", "--wait=20s"]).ok();
    cluster.ctl(&["freeze", "app", "--reason", "kept over a restart"]).ok();
    let services = |cluster: &Cluster| cluster.ctl(&["service", "list"]).ok()["services"].clone();
    let (before, switches) = (services(&cluster), cluster.switches());
    let watch = Watch::begin(server.address());
    watch.until(EAST, SOON);

    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.leader();
    assert_eq!(services(&cluster), before);
    assert_eq!(cluster.switches(), switches, "the same switches, to the last figure");
    let app = cluster.app().expect("the service");
    assert_eq!((&app["active_region"], &app["epoch"]), (&"east".into(), &2.into()));
    assert!(app["frozen"].as_str().is_some_and(|why| why.contains("kept over a restart")), "{app}");
    cluster.ctl(&["unfreeze", "app"]).ok();
    until("the verdicts are back", SOON, || {
        let app = cluster.app()?;
        assert_eq!(app["epoch"], 2, "the restart caused a switch: {app}");
        app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up").then_some(())
    });
    cluster.check_hashes();
    assert_eq!(watch.end(), [EAST], "nobody saw the restart");

    a_lost_disk_is_replaced(&mut cluster, &server);
    assert_eq!(server.dig(RECORD, "A"), [EAST]);
    cluster.check_switches(&["adopt", "manual"]);
}

fn a_lost_disk_is_replaced(cluster: &mut Cluster, server: &DnsServer) {
    let victim = cluster.node(3);
    victim.kill();
    fs::remove_dir_all(victim.data()).expect("to remove the store");
    let (started, said) = victim.quorated("run");
    assert!(!started && said.contains("holds no store") && said.contains("member replace"), "{said}");

    // The machine comes back under a new id.
    let place = Place::local(rfc2136(server.address(), server.address()));
    let newcomer = cluster.add_node(place);
    newcomer.start();
    let member = newcomer.as_member();
    // In no cluster yet, it does not pretend to know who its members are.
    let answer = until("node 4 answers", SOON, || {
        Some(cluster.at(4, &["member", "remove", "1"])).filter(|answer| answer.exit != 5)
    });
    assert_eq!(answer.refused(3)["reason"], "NOT_INITIALISED");
    until("the two that are left have a leader", SOON, || {
        (cluster.at(1, &["--timeout", "3s", "verdict", "get", "app"]).exit == 0).then_some(())
    });
    let site = cluster.nodes[2].site;
    let member = member.replacen(cluster.nodes[3].site, site, 1);
    let replaced = cluster.at(1, &["--timeout", "30s", "member", "replace", "3", &member]).ok();
    assert_eq!(roles(&replaced), are(&[(1, "voter"), (2, "voter"), (4, "voter")]));
    cluster.leader();
    cluster.check_hashes();
    // The newcomer counts: with it and one more there is a quorum.
    until("node 4 knows the service", SOON, || {
        (cluster.at(4, &["verdict", "get", "app"]).json["verdict"]["epoch"] == 2).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_leadership_is_handed_over() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let mut cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));

    let leader = cluster.leader();
    let heir = leader % 3 + 1;
    // Whichever node is asked, the leader does it.
    let to = heir.to_string();
    let handed = cluster.at(leader % 3 + 1, &["leader", "transfer", "--to", &to]).ok();
    assert_eq!(handed["leader"], heir);
    assert_eq!(cluster.leader(), heir);

    let place = Place::local(rfc2136(server.address(), server.address()));
    let newcomer = cluster.add_node(place);
    newcomer.start();
    let member = newcomer.as_member();
    let added = cluster.ctl(&["--timeout", "30s", "member", "add", &member]).ok();
    let three = [(1, "voter"), (2, "voter"), (3, "voter")];
    assert_eq!(roles(&added), are(&[&three[..], &[(4, "learner")]].concat()));
    assert_eq!(sites(&cluster), 3, "a learner has no vote");
    cluster.ctl(&["member", "promote", "9"]).refused(4);
    until("the learner has caught up and is promoted", SOON, || {
        let promoted = cluster.ctl(&["--timeout", "30s", "member", "promote", "4"]);
        assert!([0, 3, 6].contains(&promoted.exit), "{promoted:?}");
        (promoted.exit == 0).then(|| assert_eq!(roles(&promoted.json), are(&[&three[..], &[(4, "voter")]].concat())))
    });
    until("its site counts", SOON, || (sites(&cluster) == 4).then_some(()));
    cluster.check_hashes();

    // The leader itself goes: the others elect, and the service stays as it is.
    let leaving = cluster.leader().to_string();
    let left = cluster.ctl(&["--timeout", "30s", "member", "remove", &leaving]).ok();
    assert_eq!(roles(&left).len(), 3, "{left}");
    let leaving: u64 = leaving.parse().unwrap();
    until("the one that left knows of no leader", SOON, || {
        let seen = cluster.at(leaving, &["member", "list"]).ok();
        assert_eq!((roles(&seen).len(), &seen["answered_by"]), (3, &leaving.into()), "{seen}");
        seen["leader"].is_null().then_some(())
    });
    let log = cluster.node(leaving).log();
    assert!(log.contains("this node was removed from the cluster"), "{log}");
    cluster.node(leaving).kill();
    cluster.leader();
    until("three sites count, and both regions are up", SOON, || {
        let app = cluster.app()?;
        assert_eq!(app["epoch"], 1);
        let up = app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up");
        (up && sites(&cluster) == 3).then_some(())
    });
    cluster.check_switches(&["adopt"]);
}

fn sites(cluster: &Cluster) -> u64 {
    until("the verdict can be read", SOON, || cluster.app()?["regions"][0]["sites_total"].as_u64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_peer_is_told_once_and_not_at_every_attempt() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let mut cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    let leader = cluster.leader();
    let absent = leader % 3 + 1;
    let log = |cluster: &mut Cluster| cluster.node(leader).log();
    let before = log(&mut cluster).lines().count();
    cluster.node(absent).kill();
    until("the leader says that the peer is away", SOON, || {
        log(&mut cluster).contains("entries do not reach a peer").then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(4));
    let text = log(&mut cluster);
    let said = text.lines().count() - before;
    println!("MEASURED a peer away for 4 s: {said} lines in the leader's log");
    assert!(said < 10, "{said} lines about an absent peer:\n{text}");
    cluster.node(absent).start();
    until("the leader says that it is back", SOON, || {
        log(&mut cluster).contains("entries reach the peer again").then_some(())
    });
    cluster.check_hashes();
}
