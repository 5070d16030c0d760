//! How answers look, word for word. A table that changes breaks someone's eyes, a JSON field someone's script.

use std::time::Duration;

use quorate::core::state::{Action, Freeze};
use serde_json::json;

use crate::World;

#[tokio::test(flavor = "multi_thread")]
async fn verdicts() {
    let world = World::new().await;
    world.fake.report(|node, region| region != "eu-west-3" || node == 3);
    let said = world.run(&["verdict", "list"]).await.ends(0);
    assert_eq!(
        said.out,
        "SERVICE  ACTIVE     EPOCH  PHASE    VERDICTS                      NOTES\n\
         app      eu-west-3  1      serving  eu-west-3 down, us-east-1 up  -\n"
    );
    let said = world.run(&["verdict", "get", "app"]).await.ends(0);
    assert_eq!(
        said.out,
        "app: eu-west-3 is active, epoch 1, serving\n\
         \n\
         REGION     VERDICT  FOR   SITES UP  SITES DOWN  NEEDED  FAILING DEPENDENCIES\n\
         eu-west-3  down     0 ms  1 of 3    2 of 3      2       -\n\
         us-east-1  up       0 ms  3 of 3    0 of 3      2       -\n\
         \n\
         REGION     SITE   OPINION  WHY\n\
         eu-west-3  oslo   down     3 of 3 failures: status 503, 200 wanted\n\
         eu-west-3  paris  down     3 of 3 failures: status 503, 200 wanted\n\
         eu-west-3  rome   up       1 of 1 probes pass\n\
         us-east-1  oslo   up       1 of 1 probes pass\n\
         us-east-1  paris  up       1 of 1 probes pass\n\
         us-east-1  rome   up       1 of 1 probes pass\n"
    );
    world.run(&["verdict", "get", "app", "--exit-code"]).await.ends(10);
    world.fake.report(|node, region| region != "eu-west-3" || node > 1);
    world.run(&["verdict", "get", "app", "--exit-code"]).await.ends(0);
    let json = world.run(&["verdict", "get", "app", "-o", "json"]).await.ends(0).json();
    assert_eq!(
        json["verdict"]["regions"][0]["opinions"][0],
        json!({ "site": "oslo", "opinion": "down", "reason": "3 of 3 failures: status 503, 200 wanted" })
    );
    assert_eq!((&json["verdict"]["phase"], &json["verdict"]["frozen"]), (&json!("serving"), &json!(null)));
    assert_eq!((&json["read"]["term"], &json["read"]["age_ms"]), (&json!(2), &json!(null)));
    world.run(&["verdict", "get", "shop"]).await.ends(4).complains("there is no service `shop` (NO_SERVICE)");
    world.run(&["verdict", "get", "Shop!"]).await.ends(8).complains("error: service: `Shop!` is not a service name");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain() {
    let world = World::new().await;
    let freeze = Freeze { by: "ada".into(), reason: "migration".into() };
    world.fake.apply(Action::Freeze { service: Some("app".parse().unwrap()), freeze });
    world.fake.report(|node, region| region != "eu-west-3" || node == 3);
    let said = world.run(&["explain", "app"]).await.ends(0);
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines[0].starts_with("2 of 3 sites say eu-west-3 is down, 2 needed; "), "{}", said.out);
    assert!(lines[0].contains("frozen service frozen by ada: migration"), "{}", said.out);
    for line in [
        "app: eu-west-3 is active, epoch 1, serving",
        "frozen: service frozen by ada: migration",
        "eu-west-3  oslo   down     3 of 3 failures: status 503, 200 wanted",
        "rules for a switch to us-east-1",
    ] {
        assert!(lines.contains(&line), "`{line}` is not in:\n{}", said.out);
    }
    let rule = |name: &str| lines.iter().find(|line| line.starts_with(name)).copied().unwrap_or_default();
    assert!(rule("active-down").contains("pass") && rule("frozen  ").contains("fail"), "{}", said.out);
    assert!(rule("gate:dynamodb-lag").contains("unknown"), "{}", said.out);
    let json = world.run(&["explain", "app", "--to", "us-east-1", "-o", "json"]).await.ends(0).json();
    assert_eq!(
        (&json["due"], &json["due_in_ms"], &json["candidate"]),
        (&json!(false), &json!(null), &json!("us-east-1"))
    );
    let unknown = world.run(&["explain", "app", "--to", "ap-south-1"]).await.ends(4);
    unknown.complains("has no region `ap-south-1`");
    unknown.complains("hint: `quoratectl verdict get SERVICE` names its regions");
    let here = world.run(&["explain", "app", "--to", "eu-west-3"]).await.ends(0);
    assert!(
        here.out.starts_with("`eu-west-3` is the active region already\n\napp: eu-west-3 is active"),
        "{}",
        here.out
    );
    assert!(!here.out.contains("rules for a switch"), "there is no switch to speak of: {}", here.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_and_their_evidence() {
    let world = World::new().await;
    let said = world.run(&["switch", "list", "app"]).await.ends(0);
    assert_eq!(
        said.out,
        "SERVICE  EPOCH  FROM  TO         CAUSE  BY  STATUS    AUTHORISED            WRITTEN AFTER  OBSERVED AFTER\n\
         app      1      -     eu-west-3  adopt  -   observed  2026-11-23T12:00:01Z  0 ms           1.5 s\n"
    );
    world.fake.pass(Duration::from_secs(1));
    let args =
        ["switch", "start", "app", "--to", "us-east-1", "--reason", "upgrade", "--override", "gate:dynamodb-lag"];
    let held = world.run(&args).await.ends(3);
    held.complains("rule `gate:dynamodb-replica` holds it");
    held.complains("hint: `quoratectl explain SERVICE` shows every rule");
    let mut args = args.to_vec();
    args.extend(["--override", "gate:dynamodb-replica"]);
    let said = world.run(&args).await.ends(0);
    assert_eq!(said.out, "app: switch to us-east-1, epoch 2: authorised\n");
    world.fake.settle("app");
    let said = world.run(&["evidence", "get", "app"]).await.ends(0);
    for line in [
        "reason: upgrade",
        "RECORD             NAMESERVER       AGREES  ANSWER",
        "app.example.com A  ns1.example.com  yes     198.51.100.20",
        "app.example.com A  serial 7",
    ] {
        assert!(said.out.lines().any(|of| of == line), "`{line}` is not in:\n{}", said.out);
    }
    assert!(said.out.contains("unknown (overridden)"), "{}", said.out);
    let json = world.run(&["evidence", "get", "app", "2", "-o", "json"]).await.ends(0).json();
    assert_eq!((&json["switch"]["by"], &json["switch"]["cause"]), (&json!("ada"), &json!("manual")));
    assert_eq!(json["evidence"]["electorate"], json!({ "1": "oslo", "2": "paris", "3": "rome" }));
    assert_eq!(json["evidence"]["regions"][1]["votes"][0]["runs"][0]["outcome"], "pass");
    world.run(&["evidence", "get", "app", "9"]).await.ends(4).complains("no switch of epoch 9");
}

#[tokio::test(flavor = "multi_thread")]
async fn members() {
    let world = World::new().await;
    let said = world.run(&["member", "list"]).await.ends(0);
    assert_eq!(
        said.out,
        "cluster test: node 1 leads, term 2, applied 7 of 8, as node 1 sees it\n\
         \n\
         ID  SITE   ADDRESS         ROLE    MATCHED  SILENT FOR\n\
         1   oslo   192.0.2.1:7700  leader  7        40 ms\n\
         2   paris  192.0.2.2:7700  voter   7        40 ms\n\
         3   rome   192.0.2.3:7700  voter   7        40 ms\n"
    );
    let json = world.run(&["member", "add", "4=berlin@192.0.2.4:7700", "-o", "json"]).await.ends(0).json();
    assert_eq!(
        json["members"][3],
        json!({ "id": 4, "site": "berlin", "address": "192.0.2.4:7700", "role": "learner", "leader": false,
                "matched_index": 7, "silent_ms": 40 })
    );
    world.run(&["member", "promote", "4"]).await.ends(0);
    world.run(&["member", "promote", "9"]).await.ends(4);
    world.run(&["member", "replace", "3", "3=rome@192.0.2.3:7700"]).await.ends(8).complains("ids are never used twice");
    let replaced = world.run(&["member", "replace", "3", "5=rome@192.0.2.3:7700"]).await.ends(0);
    assert!(replaced.out.contains("\n5   rome") && !replaced.out.contains("\n3   rome"), "{}", replaced.out);
    world.run(&["leader", "transfer", "--to", "2"]).await.ends(0);
}
