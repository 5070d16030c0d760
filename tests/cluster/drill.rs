//! `quoratectl drill`, `provider list` and `provider check` against real nodes, whose credentials differ.

use std::time::Duration;

use serde_json::Value;

use crate::{
    cluster::{Cluster, EAST, FENCE, PROVIDER, Place, RECORD, SOON, WEST, ZONE, rfc2136, until},
    dns_server::{DnsServer, KEY_NAME, POWERLESS_KEY, SECRET},
    failover::nsupdate,
    stage::{Health, POLICY, Regions},
};

/// The findings of a subject, as `outcome figure`.
fn of<'a>(report: &'a Value, subject: &str) -> Vec<&'a Value> {
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("no findings: {report}"));
    findings.iter().filter(|of| of["subject"] == subject).collect()
}

#[track_caller]
fn one<'a>(report: &'a Value, subject: &str, outcome: &str) -> &'a Value {
    let found = of(report, subject).into_iter().find(|of| of["outcome"] == outcome);
    found.unwrap_or_else(|| panic!("no `{subject}` with `{outcome}` in {report:#}"))
}

/// What a drill must leave as it is.
fn standing(server: &DnsServer, cluster: &Cluster) -> (Vec<String>, Vec<String>, Vec<String>, Vec<Value>) {
    let dig = |name: &str, rtype: &str| server.dig(name, rtype);
    (dig(ZONE, "SOA"), dig(RECORD, "A"), dig(FENCE, "TXT"), cluster.switches())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_says_what_would_stop_a_switch_and_writes_nothing() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    cluster.apply(&regions.service(POLICY));
    let up = || cluster.app().filter(|app| app["regions"][1]["verdict"] == "up");
    until("east is up", SOON, || up().map(drop));
    // The cooldown of the adoption is over, or would be found.
    std::thread::sleep(Duration::from_millis(1_100));

    let before = standing(&server, &cluster);
    // An election in between voids all opinions, and a drill says so: then it is asked again.
    let drill = until("a drill finds all in order", SOON, || {
        Some(cluster.ctl(&["drill", "app"])).filter(|drill| drill.exit == 0)
    });
    println!("MEASURED a drill of three nodes against BIND took {} ms", drill.took.as_millis());
    let report = drill.ok();
    assert_eq!((&report["stops"], &report["from"], &report["to"]), (&0.into(), &"west".into(), &"east".into()));
    assert_eq!(report["conclusion"], "nothing would stop a switch of app to east");
    for subject in [
        "leadership",
        "switch",
        "candidate-up",
        "frozen",
        "cooldown",
        "budget",
        "breaker",
        "shared-dependency",
        "drift",
        "window",
        "credentials",
        "clock",
        "zone",
        "rights",
        "record",
        "ttl",
        "fence",
        "write",
        "nameservers",
        "provider",
    ] {
        one(&report, subject, "pass");
    }
    assert_eq!(of(&report, "probe").len(), 4, "one a node, and the count: {report:#}");
    assert!(one(&report, "write", "pass")["figure"].as_str().unwrap().contains(&format!("to {EAST}")), "{report:#}");
    assert_eq!(of(&report, "rights").len(), 2, "the leader's in full: {report:#}");
    assert_eq!(standing(&server, &cluster), before, "the serial, the records and the switches are what they were");

    // Held by a person.
    cluster.ctl(&["freeze", "app", "--reason", "migration"]).ok();
    let held = cluster.ctl(&["drill", "app"]);
    assert_eq!((held.exit, one(&held.json, "frozen", "fail")["stops"].as_bool()), (3, Some(true)), "{}", held.json);
    cluster.ctl(&["unfreeze", "app"]).ok();

    // A candidate that is dead: seen by the probes at once.
    regions.east.set(Health::BlackHole);
    let dead = cluster.ctl(&["drill", "app"]);
    assert_eq!(dead.exit, 3, "{}", dead.json);
    let count = of(&dead.json, "probe").into_iter().find(|of| of["node"].is_null()).expect("the count");
    assert_eq!((&count["outcome"], &count["stops"]), (&"fail".into(), &true.into()), "{count}");
    assert!(count["figure"].as_str().unwrap().starts_with("0 of 3 sites reach east now"), "{count}");
    regions.east.set(Health::Up);
    until("east is up again", SOON, || up().map(drop));

    // A provider that takes questions and answers none: a switch would wait for it, and a silent nameserver proves nothing.
    server.stand_still();
    let silent = cluster.ctl(&["drill", "app"]);
    server.go_on();
    assert_eq!(silent.exit, 3, "{}", silent.json);
    assert_eq!(one(&silent.json, "write", "fail")["stops"], true, "{}", silent.json);
    assert_eq!(one(&silent.json, "nameservers", "unknown")["stops"], false, "{}", silent.json);
    one(&silent.json, "record", "unknown");

    // Somebody else's fence: whose it is, and that no switch would go through. Nothing is written over it.
    nsupdate(&server, &format!("update delete {FENCE} TXT\nupdate add {FENCE} 30 TXT \"v=1 cluster=other epoch=9\""));
    let foreign = cluster.ctl(&["drill", "app"]);
    assert_eq!(foreign.exit, 3, "{}", foreign.json);
    assert!(
        one(&foreign.json, "fence", "fail")["figure"].as_str().unwrap().contains("cluster `other` owns the record")
    );
    let write = one(&foreign.json, "write", "fail");
    assert!(!write["hint"].as_str().unwrap().contains("--override"), "no override writes over it: {write}");
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=other epoch=9\""]);
    assert_eq!(server.dig(RECORD, "A"), [WEST]);

    // What is asked for wrongly is refused before anything is asked.
    cluster.ctl(&["drill", "app", "--to", "west"]).refused(3);
    cluster.ctl(&["drill", "app", "--to", "north"]).refused(4);
    cluster.ctl(&["drill", "shop"]).refused(4);
}

/// Node 1 has everything, node 2 a key without rights, node 3 no provider of that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_could_not_switch_is_found_before_it_leads() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let good = rfc2136(server.address(), server.address());
    let powerless = good.replace(KEY_NAME, POWERLESS_KEY);
    let other = good.replace(&format!("[provider.{PROVIDER}]"), "[provider.elsewhere]");
    let mut cluster = Cluster::start([good, powerless, other].map(Place::local).into());
    until("node 1 leads", SOON, || {
        cluster.at(1, &["leader", "transfer", "1"]);
        (cluster.leader() == 1).then_some(())
    });
    // Applied at node 1, which can read the record.
    let file = cluster.file("app.toml", &regions.service(POLICY));
    cluster.at(1, &["service", "apply", file.to_str().unwrap()]).ok();
    cluster.serves("west", 1);
    until("east is up", SOON, || (cluster.app()?["regions"][1]["verdict"] == "up").then_some(()));
    let before = standing(&server, &cluster);

    let listed = cluster.ctl(&["provider", "list"]).ok();
    let main = listed["providers"].as_array().unwrap().iter().find(|of| of["provider"] == PROVIDER).expect("main");
    assert_eq!((&main["kind"], &main["grade"]), (&"rfc2136".into(), &"A".into()), "{listed:#}");
    assert_eq!(
        (&main["nodes"], &main["missing_on"]),
        (&serde_json::json!([1, 2]), &serde_json::json!([3])),
        "{listed:#}"
    );
    assert_eq!(main["services"], serde_json::json!(["app"]));

    let checked = cluster.ctl(&["provider", "check", PROVIDER, "--policy"]);
    assert_eq!(checked.exit, 3, "{}", checked.json);
    let main = &checked.json["providers"][0];
    let at = |node: u64, subject: &str| -> Vec<String> {
        let found = of(main, subject).into_iter().filter(|of| of["node"] == node);
        found.map(|of| of["outcome"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(at(1, "rights"), ["pass", "pass"], "{main:#}");
    assert_eq!((at(2, "credentials"), at(2, "rights")), (vec!["pass".into()], vec!["fail".to_owned(); 2]), "{main:#}");
    assert_eq!((at(3, "credentials"), at(3, "rights")), (vec!["fail".into()], vec![]), "{main:#}");
    let policy = main["policy"][0]["text"].as_str().unwrap();
    assert!(policy.contains(&format!("name {FENCE}. TXT;")), "{main:#}");
    assert!(!checked.json.to_string().contains(SECRET) && !checked.stderr.contains(SECRET), "no secret is shown");

    let drill = cluster.ctl(&["drill", "app"]);
    assert_eq!(drill.exit, 3, "{}", drill.json);
    let figures: Vec<_> =
        of(&drill.json, "rights").into_iter().filter(|of| of["node"] == 2).map(|of| of["figure"].clone()).collect();
    assert!(
        figures.len() == 2 && figures.iter().all(|of| of.as_str().unwrap().starts_with("if it led: ")),
        "{figures:?}"
    );
    assert_eq!(one(&drill.json, "credentials", "fail")["node"], 3, "{}", drill.json);

    // A node that is gone is said to be unknown; the rest is judged all the same.
    cluster.node(3).kill();
    let without = cluster.at(1, &["drill", "app"]);
    assert_eq!(one(&without.json, "node", "unknown")["node"], 3, "{}", without.json);
    assert_eq!(standing(&server, &cluster), before, "nothing was written by any of it");
}
