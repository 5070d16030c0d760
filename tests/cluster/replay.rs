//! A real outage, recorded by real nodes, exported, and tried again offline.

use std::time::Duration;

use serde_json::Value;

use crate::{
    cluster::{Cluster, SOON, ZONE, make_person, quoratectl, until},
    dns_server::DnsServer,
    stage::{Health, POLICY, Regions},
};

/// The automatic switches of a column: target, log time and index.
fn automatic(switches: &Value) -> Vec<(String, u64, u64)> {
    let switches = switches.as_array().expect("switches").iter().filter(|of| of["cause"] == "failover");
    let of = |of: &Value| Some((of["to"].as_str()?.to_owned(), of["log_ms"].as_u64()?, of["index"].as_u64()?));
    switches.map(|switch| of(switch).expect("a switch")).collect()
}

fn replay(from: &str, policy: Option<&str>) -> Value {
    let policy = policy.map(|policy| vec!["--policy", policy]).unwrap_or_default();
    quoratectl(&[&["replay", "--from", from], &policy[..]].concat()).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_recorded_and_tried_again_under_other_policies() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let mut cluster = Cluster::on(&server);
    // Two probes in a row decide, and a switch is false when the region is back within ten seconds.
    cluster.apply(&regions.service(POLICY));
    regions.west.set(Health::Closed);
    cluster.serves("east", 2);
    // Long enough for five failures of each site, and not for thirty.
    std::thread::sleep(Duration::from_secs(4));
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));

    // A node that is killed loses nothing that the log does not give back.
    cluster.node(3).kill();
    cluster.node(3).start();
    cluster.leader();
    let there = cluster.switches();
    let failover = there.iter().find(|switch| switch["epoch"] == 2).expect("the failover").clone();
    let viewer = make_person(&cluster.pki(), "eve", "viewer");
    for id in [1, 3] {
        let (file, node) = (cluster.dir().join(format!("{id}.qh")), cluster.node(id).grpc.to_string());
        let file = file.to_str().expect("a UTF-8 path");
        // What the last seconds brought is there too: the export has it written first.
        let exported = viewer.ctl(&node, &["history", "export", "--from", "1h", "--out", file]).ok();
        assert_eq!(exported["damage"], Value::Array(vec![]), "{exported}");
        assert_eq!(exported["answered_by"], id);
        tries(file, &cluster, &failover);
        let refused = viewer.ctl(&node, &["history", "export", "--out", file]).refused(2);
        assert!(refused["message"].as_str().is_some_and(|why| why.contains("is there already")), "{refused}");
    }
    other_probes_are_refused(&cluster, &regions);
    let live = cluster.ctl(&["replay", "--from", "cluster", "--since", "1h"]).ok();
    assert_eq!(automatic(&live["happened"]).len(), 1);
    assert_eq!((&live["faithful"], &live["recorded"]["automatic"]), (&true.into(), &1.into()));
}

fn tries(file: &str, cluster: &Cluster, failover: &Value) {
    let same = replay(file, None);
    let recording = &same["recording"];
    assert_eq!((&recording["holes"], &recording["diverged"]), (&Value::Array(vec![]), &Value::Array(vec![])), "{same}");
    assert_eq!(same["faithful"], true, "{same}");
    let happened = automatic(&same["happened"]);
    assert_eq!(happened.len(), 1);
    assert_eq!((happened[0].0.as_str(), Some(happened[0].2)), ("east", failover["index"].as_u64()), "{failover}");
    assert_eq!(automatic(&same["recorded"]["switches"]), happened, "the same switch, at the same log time and index");
    assert_eq!(automatic(&same["tried"]["switches"]), happened);
    let detection = same["recorded"]["detection_p50_ms"].as_u64().expect("a detection");
    // Two failures half a second apart, and a quorum's second vote; the probe is refused at once.
    assert!((400..3_000).contains(&detection), "{detection} ms");

    let stricter = cluster.file("stricter.toml", "[policy]\nfall = 5\nrise = 2\ncooldown = '1s'\nopinion_ttl = '4s'\n");
    let stricter = replay(file, stricter.to_str());
    let later = automatic(&stricter["tried"]["switches"]);
    assert_eq!(later.len(), 1, "{stricter}");
    let late = later[0].1 - happened[0].1;
    // Three more failures, half a second apart.
    assert!((1_000..3_500).contains(&late), "{late} ms later");

    let never = cluster.file("never.toml", "[policy]\nfall = 30\nrise = 2\ncooldown = '1s'\nopinion_ttl = '4s'\n");
    let never = replay(file, never.to_str());
    assert_eq!(automatic(&never["tried"]["switches"]), []);
    assert_eq!(never["tried"]["missed"].as_array().map(Vec::len), Some(1), "{never}");
    assert_eq!(never["recorded"], same["recorded"], "what was recorded is judged alike");
}

fn other_probes_are_refused(cluster: &Cluster, regions: &Regions) {
    let other =
        cluster.file("other.toml", &regions.service(POLICY).replace("interval = '500ms'", "interval = '700ms'"));
    let file = cluster.dir().join("1.qh");
    let (file, other) = (file.to_str().expect("a path"), other.to_str().expect("a path"));
    let error = quoratectl(&["replay", "--from", file, "--policy", other]).refused(8);
    assert!(error["message"].as_str().is_some_and(|why| why.contains("interval of 700ms")), "{error}");
}
