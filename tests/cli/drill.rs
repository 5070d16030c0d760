//! `drill` and `provider`: what a person sees, and the exit codes.

use std::time::Duration;

use quorate::{
    dns::{Finding, Grade, Grant},
    inspect::{AccessSeen, Inspected, NodeAnswer, ProbeSeen, ProviderSeen, RecordSeen},
};
use serde_json::json;

use crate::{World, run};

/// What node `node` found: rights as told, everything else in order.
fn answer(node: u64, site: &str, rights: Finding) -> NodeAnswer {
    let record = RecordSeen {
        service: Some("app".parse().unwrap()),
        record: "app.example.com A".into(),
        findings: vec![Finding::pass("credentials", "the key is known"), rights],
    };
    let access =
        AccessSeen { kind: "ovh".into(), grade: Grade::C, longest_request: Duration::from_secs(120), least_ttl: 60 };
    let main = ProviderSeen {
        name: "ovh-main".parse().unwrap(),
        access: Some(access),
        services: ["app".parse().unwrap()].into(),
        records: vec![record],
        policy: vec![Grant { place: "OVH: the access rules".into(), text: "POST /x\n".into() }],
    };
    let probes = vec![ProbeSeen { probe: 0, failure: None, took: Duration::from_millis(12) }];
    let found =
        Ok(Inspected { providers: vec![main], probes, nameservers: vec![], tables: vec![], table_policy: vec![] });
    NodeAnswer { node, site: site.parse().unwrap(), voter: true, found, took: Duration::from_millis(40) }
}

fn may() -> Finding {
    Finding::pass("rights", "the key may publish")
}

fn lacks() -> Finding {
    Finding::fail("rights", "the key lacks `POST /x`", "make one with `POST /x`")
}

async fn world(second: Finding) -> World {
    let world = World::new().await;
    let gone = NodeAnswer { found: Err("it is away".into()), ..answer(3, "rome", may()) };
    *world.fake.answers.lock().unwrap() = vec![answer(1, "oslo", may()), answer(2, "paris", second), gone];
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn drill() {
    // The service's gates know nothing and hold: that alone stops a switch.
    let world = world(lacks()).await;
    let said = world.run(&["drill", "app"]).await.ends(3);
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines[0].contains("would stop a switch of app to us-east-1; "), "{}", said.out);
    assert!(said.out.contains("rehearsed: app from eu-west-3 to us-east-1, as epoch 2"), "{}", said.out);
    let line = |begins: &str, holds: &str| lines.iter().any(|line| line.starts_with(begins) && line.contains(holds));
    for (begins, holds) in [
        ("FINDING", "OUTCOME"),
        ("leadership", "node 1 leads, a quorum confirmed it in"),
        ("gate:dynamodb-lag", "unknown, and the policy holds"),
        ("window", "no maintenance windows"),
        ("probe", "2 of 3 sites reach us-east-1 now, 2 needed"),
        ("rights", "if it led: the key lacks `POST /x`"),
        ("node", "did not answer: it is away"),
        ("what to do", ""),
        ("  rights: make one with `POST /x`", ""),
    ] {
        assert!(line(begins, holds), "`{begins}` with `{holds}` is not in:\n{}", said.out);
    }
    for progress in ["rehearsing a switch of app to us-east-1; nothing is written", "node 2 (paris) has looked, 40 ms"]
    {
        said.complains(progress);
    }
    let json = world.run(&["drill", "app", "--to", "us-east-1", "-o", "json"]).await.ends(3);
    assert_eq!(json.err, "", "progress is for people");
    let json = json.json();
    assert_eq!((&json["service"], &json["epoch"], &json["answered_by"]), (&json!("app"), &json!(2), &json!(1)));
    let rights = json["findings"].as_array().unwrap().iter().find(|of| of["subject"] == "rights" && of["node"] == 2);
    assert_eq!(rights.unwrap()["stops"], json!(true), "{json:#}");
    world
        .run(&["drill", "app", "--to", "eu-west-3"])
        .await
        .ends(3)
        .complains("`eu-west-3` is the active region already");
    world.run(&["drill", "shop"]).await.ends(4).complains("there is no service `shop`");
    world.run_as("viewer-ada", &["drill", "app"]).await.ends(7).complains("needs the role operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_listed_and_checked() {
    let world = world(lacks()).await;
    let said = world.run_as("viewer-ada", &["provider", "list"]).await.ends(0);
    let row = said.out.lines().find(|line| line.starts_with("ovh-main")).unwrap_or_default();
    for cell in ["ovh ", " C ", "2 m", "60 s at least", "app", "1 2"] {
        assert!(row.contains(cell), "`{cell}` is not in:\n{}", said.out);
    }
    assert!(said.out.contains("node 3 (rome) did not answer: it is away"), "{}", said.out);

    let said = world.run(&["provider", "check", "ovh-main"]).await.ends(3);
    assert!(said.out.starts_with("ovh-main (ovh, grade C)\n"), "{}", said.out);
    assert!(said.out.contains("the key lacks `POST /x`") && !said.out.contains("# OVH"), "{}", said.out);
    let json = world.run(&["provider", "check", "--policy", "-o", "json"]).await.ends(3).json();
    assert_eq!(json["providers"][0]["policy"], json!([{ "place": "OVH: the access rules", "text": "POST /x\n" }]));
    assert_eq!(json["silent"][0]["node"], json!(3));
    world.run_as("viewer-ada", &["provider", "check"]).await.ends(7).complains("needs the role operator");
    world
        .run(&["provider", "check", "x", "--zone", "example.com", "--record", "app"])
        .await
        .ends(2)
        .complains("NAME:TYPE");

    let all_well = self::world(may()).await;
    all_well.run(&["provider", "check"]).await.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_printed_without_a_cluster() {
    let of = |kind: &'static str| {
        ["provider", "policy", kind, "--zone", "example.com", "--record", "app:A", "--record", "@:A"]
    };
    let said = run(&of("rfc2136")).await.ends(0);
    for line in [
        "# BIND: named.conf, in the block of zone \"example.com\" (in place of allow-update)",
        "    grant quorate-key name app.example.com. A;",
        "    grant quorate-key name _quorate.example.com. TXT;",
        "    update-type: [A, TXT]",
    ] {
        assert!(said.out.lines().any(|of| of == line), "`{line}` is not in:\n{}", said.out);
    }
    let said = run(&of("ovh")).await.ends(0);
    assert!(
        said.out.contains("\nhttps://eu.api.ovh.com/createToken/?GET=/domain/zone/example.com/record&"),
        "{}",
        said.out
    );
    run(&of("cobweb")).await.ends(2).complains("cobweb");
}

/// A farm of OVH's load balancer needs calls of its own, which the README lists; a name that is no farm's gets none.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_a_farm_is_the_one_of_the_readme() {
    let of = |record: &'static str| ["provider", "policy", "ovh", "--zone", "ip-203.0.113.1", "--record", record];
    let said = run(&of("http-12345:POOL")).await.ends(0);
    let rules: Vec<_> = said.out.lines().filter(|line| line.contains(" /ipLoadbalancing/")).collect();
    assert_eq!(rules.len(), 9, "{}", said.out);
    for rule in rules {
        assert!(include_str!("../../README.md").lines().any(|line| line == rule), "the README lacks `{rule}`");
    }
    assert!(
        said.out.contains("/createToken/?GET=/ipLoadbalancing/ip-203.0.113.1/http/farm/12345&PUT="),
        "{}",
        said.out
    );
    assert!(!said.out.contains("/domain/zone/"), "{}", said.out);
    run(&of("web:POOL")).await.ends(2).complains("http-12345");
}
