//! Who did what: every administrative command leaves its entry, refused ones too, and denied ones do not.

use serde_json::{Value, json};

use crate::World;

async fn entries(world: &World, more: &[&str]) -> Vec<Value> {
    let args = [&["audit", "list", "-o", "json"], more].concat();
    world.run_as("viewer-ada", &args).await.ends(0).json()["entries"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn acts_are_listed_the_newest_first() {
    let world = World::new().await;
    assert_eq!(world.run(&["audit", "list"]).await.ends(0).out, "no administrative act is recorded\n");
    world.run_as("operator-ada", &["freeze", "app", "--reason", "storm"]).await.ends(0);
    world.run_as("operator-ada", &["unfreeze"]).await.ends(0);
    let start = ["switch", "start", "app", "--to", "us-east-1", "--reason", "upgrade", "--override", "cooldown"];
    world.run_as("operator-ada", &start).await.ends(3);
    world.run(&["switch", "abort", "app"]).await.ends(3);
    world.run(&["switch", "abort", "shop"]).await.ends(4);
    world.run(&["service", "remove", "shop"]).await.ends(4);
    // Denied: this one leaves nothing.
    world.run_as("viewer-ada", &["freeze", "app", "--reason", "x"]).await.ends(7);
    let all = entries(&world, &[]).await;
    let seen: Vec<_> = all.iter().map(|of| (&of["act"], &of["service"], &of["role"], &of["outcome"])).collect();
    let row = |act: &str, service: Value, role: &str, outcome: &str| (json!(act), service, json!(role), json!(outcome));
    let expected = [
        row("remove-service", json!("shop"), "admin", "refused"),
        row("abort", json!("shop"), "admin", "refused"),
        row("abort", json!("app"), "admin", "refused"),
        row("switch", json!("app"), "operator", "refused"),
        row("unfreeze", json!(null), "operator", "unchanged"),
        row("freeze", json!("app"), "operator", "done"),
    ];
    assert_eq!(seen, expected.iter().map(|(a, b, c, d)| (a, b, c, d)).collect::<Vec<_>>());
    let switch = &all[3];
    assert_eq!((&switch["by"], &switch["reason"]), (&json!("ada"), &json!("upgrade")), "{switch}");
    assert_eq!(
        (&switch["epoch"], &switch["to"], &switch["overrides"]),
        (&json!(2), &json!("us-east-1"), &json!(["cooldown"]))
    );
    assert!(switch["why"].as_str().unwrap().contains("rule `gate:dynamodb-replica` holds it"), "{switch}");
    assert_eq!(entries(&world, &["--service", "app", "--limit", "2"]).await, all[2..4]);
    assert!(entries(&world, &["--since", "2100-01-01"]).await.is_empty());
    let said = world.run(&["audit", "list", "--service", "app", "--limit", "3"]).await.ends(0);
    let line = said.out.lines().last().unwrap();
    assert!(line.contains("ada (operator)") && line.contains("storm") && line.contains("freeze"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_no_act_and_what_consensus_does_is_one() {
    let world = World::new().await;
    let file = world.pki.file("shop.toml");
    let text = std::fs::read_to_string("tests/fixtures/services/design.toml").unwrap();
    std::fs::write(&file, text.replace("name = \"app\"", "name = \"shop\"")).unwrap();
    let file = file.display().to_string();
    world.run(&["service", "apply", "--dry-run", &file]).await.ends(0);
    assert!(entries(&world, &[]).await.is_empty());
    world.run(&["service", "apply", &file]).await.ends(0);
    world.run(&["member", "add", "4=berlin@192.0.2.4:7700"]).await.ends(0);
    world.run(&["member", "promote", "9"]).await.ends(4);
    world.run(&["leader", "transfer", "--to", "2"]).await.ends(0);
    let all = entries(&world, &[]).await;
    let seen: Vec<_> = all.iter().map(|of| format!("{} {} {}", of["act"], of["detail"], of["outcome"])).collect();
    assert_eq!(
        seen,
        [
            "\"transfer-leadership\" \"to 2\" \"done\"",
            "\"promote-member\" \"9\" \"refused\"",
            "\"add-member\" \"4=berlin@192.0.2.4:7700\" \"done\"",
            "\"apply-service\" null \"done\"",
        ]
    );
    assert_eq!((&all[3]["service"], &all[1]["why"]), (&json!("shop"), &json!("there is no member 9")));
    // The cluster is formed before there is a log to say so in.
    world.run(&["cluster", "init", "--member", "1=oslo@192.0.2.1:7700"]).await.ends(0);
    while entries(&world, &[]).await[0]["act"] != "init-cluster" {}
}
