//! What the commands do: to the cluster, and to files.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::json;

use crate::{World, run};

const TEN_ERRORS: &str = "tests/fixtures/services/ten-errors.toml";
const GOOD: &str = "tests/fixtures/services/design.toml";

#[tokio::test(flavor = "multi_thread")]
async fn services_are_applied_shown_and_removed() {
    let world = World::new().await;
    assert_eq!(world.run(&["service", "apply", GOOD]).await.ends(0).out, "app: unchanged\n");
    let shop = world.pki.file("shop.toml");
    fs::write(&shop, fs::read_to_string(GOOD).unwrap().replace("name = \"app\"", "name = \"shop\"")).unwrap();
    let shop = shop.display().to_string();
    let dry = world.run(&["service", "apply", "--dry-run", &shop]).await.ends(0);
    assert!(dry.out.starts_with("shop: created (dry run: nothing was changed)\n"), "{}", dry.out);
    world.run(&["service", "show", "shop"]).await.ends(4);
    world.run(&["service", "apply", &shop]).await.ends(0);
    assert_eq!(world.run(&["service", "show", "shop"]).await.ends(0).out, fs::read_to_string(&shop).unwrap());
    let listed = world.run(&["service", "list", "-o", "json"]).await.ends(0).json();
    assert_eq!(listed["services"].as_array().unwrap().len(), 2);
    world.run(&["service", "remove", "shop"]).await.ends(0);
    world.run(&["service", "remove", "shop"]).await.ends(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_wrong_in_ten_places_gives_ten_errors_and_changes_nothing() {
    let world = World::new().await;
    let before = world.run(&["service", "list", "-o", "json"]).await.json()["services"].clone();
    let said = world.run(&["service", "apply", GOOD, TEN_ERRORS]).await.ends(8);
    let lines = said.err.lines().filter(|line| line.starts_with("  line ")).count();
    assert!(lines >= 10, "{lines} errors:\n{}", said.err);
    said.complains("ten-errors.toml: ");
    assert_eq!(world.run(&["service", "list", "-o", "json"]).await.json()["services"], before);
    // The same without a cluster.
    let said = run(&["service", "check", GOOD, TEN_ERRORS]).await.ends(8);
    assert!(said.out.ends_with("service `app` is valid\n"), "{}", said.out);
    assert!(said.err.matches(": error: ").count() >= 10, "{}", said.err);
    let json = run(&["service", "check", TEN_ERRORS, "-o", "json"]).await.ends(8).json();
    assert!(json["errors"].as_array().unwrap().len() >= 10 && json["errors"][0]["line"].is_u64());
    run(&["service", "check", "/nonexistent"]).await.ends(2).complains("cannot read /nonexistent");
}

/// Two services with one record would fight over its fence: told where files are checked together, and by the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_service_is_refused_and_both_are_named() {
    let world = World::new().await;
    let write = |name: &str, text: String| {
        let file = world.pki.file(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let app = fs::read_to_string(GOOD).unwrap();
    let twin = app.replacen("name = \"app\"", "name = \"twin\"", 1);
    let twin = write(
        "twin.toml",
        twin.replace("type = \"A\"", "type = \"AAAA\"")
            .replace("{ A = [", "{ AAAA = [")
            .replace("\"203.0.113.10\"]", "\"2001:db8::10\"]")
            .replace("\"198.51.100.20\"]", "\"2001:db8::20\"]"),
    );
    let shop = write("shop.toml", app.replace("name = \"app\"", "name = \"shop\""));

    let said = run(&["service", "check", GOOD, &shop, &twin]).await.ends(8);
    assert!(
        said.out.contains("service `shop` is valid") && !said.out.contains("service `twin` is valid"),
        "{}",
        said.out
    );
    said.complains("twin.toml:2:");
    said.complains("service `app` (tests/fixtures/services/design.toml) has app.example.com A at ovh-main already");
    said.complains("app.example.com AAAA at ovh-main would share its fence");
    let json = run(&["service", "check", GOOD, &twin, "-o", "json"]).await.ends(8).out;
    assert!(json.contains("\"field\":\"record[0]\""), "{json}");
    run(&["service", "check", GOOD, &shop]).await.ends(0);

    // The cluster has `app`: a file by itself is its to refuse, several together are not even sent.
    let said = world.run(&["service", "apply", &twin]).await.ends(3);
    said.complains("(RECORD_TAKEN)");
    said.complains("service `twin` cannot have app.example.com AAAA at ovh-main: service `app` has app.example.com A");
    world.run(&["service", "apply", "--dry-run", &twin]).await.ends(3).complains("service `app` has");
    let said = world.run(&["service", "apply", &shop, GOOD, &twin]).await.ends(8);
    said.complains("twin.toml: line 2: service `app`");
    world.run(&["service", "show", "shop"]).await.ends(4);
    world.run(&["service", "show", "twin"]).await.ends(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_read_are_not_applied_unless_asked() {
    let world = World::new().await;
    *world.fake.providers.lock().unwrap() = vec!["app.example.com A at ovh-main: no such zone".into()];
    let said = world.run(&["service", "apply", GOOD]).await.ends(3);
    said.complains("(PROVIDER_CHECK)");
    said.complains("  provider: app.example.com A at ovh-main: no such zone");
    world.run(&["service", "apply", "--skip-provider-check", GOOD]).await.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn freezing_needs_a_reason_and_is_seen() {
    let world = World::new().await;
    world.run(&["freeze", "app"]).await.ends(2);
    world.run(&["freeze", "app", "--reason", " "]).await.ends(8).complains("error: reason: say why");
    assert_eq!(
        world.run(&["freeze", "--reason", "storm"]).await.ends(0).out,
        "the cluster: frozen: automatic switches are held\n"
    );
    let json = world.run(&["verdict", "get", "app", "-o", "json"]).await.json();
    assert_eq!(json["verdict"]["frozen"], "cluster frozen by ada: storm");
    let json = world.run(&["unfreeze", "-o", "json"]).await.ends(0).json();
    assert_eq!(json, json!({ "service": null, "frozen": false }));
}

const START: [&str; 9] = [
    "switch",
    "start",
    "app",
    "--to",
    "us-east-1",
    "--override",
    "gate:dynamodb-lag",
    "--override",
    "gate:dynamodb-replica",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_refused_under_another_epoch() {
    let world = World::new().await;
    world.fake.pass(Duration::from_secs(3_600));
    world.fake.report(|_, _| true);
    let with = |more: &[&'static str]| START.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let said = world.run(&with(&["--expected-epoch", "7"])).await.ends(3);
    said.complains("the service's epoch is 1, not 7");
    world.run(&with(&["--override", "gravity"])).await.ends(8).complains("`gravity` is no rule; the rules are ");
    world.run(&with(&["--expected-epoch", "1"])).await.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_waited_for() {
    let world = World::new().await;
    world.fake.pass(Duration::from_secs(3_600));
    world.fake.report(|_, _| true);
    let args: Vec<_> = START.iter().copied().chain(["--wait=20s"]).collect();
    let settle = async {
        while !world.run(&["verdict", "get", "app"]).await.out.contains("authorised") {}
        world.fake.settle("app");
    };
    let (said, ()) = tokio::join!(world.run(&args), settle);
    let said = said.ends(0);
    assert_eq!(said.out, "app: switch to us-east-1, epoch 2: observed\n");
    said.complains("app: switch to us-east-1 authorised under epoch 2\n");
    said.complains("app: observed after ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_takes_too_long_is_not_called_failed() {
    let world = World::new().await;
    world.fake.pass(Duration::from_secs(3_600));
    world.fake.report(|_, _| true);
    let args: Vec<_> = START.iter().copied().chain(["--wait=1s"]).collect();
    let said = world.run(&args).await.ends(6);
    said.complains("epoch 2 is not observed after 1 s: it is authorised");
    said.complains("hint: the cluster goes on with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_under_way_is_aborted() {
    let world = World::new().await;
    world.fake.pass(Duration::from_secs(3_600));
    world.fake.report(|_, _| true);
    world.run(&["switch", "abort", "app"]).await.ends(3).complains("no switch is under way, epoch 1 is over");
    world.run(&["switch", "abort", "shop"]).await.ends(4);
    world.run(&START).await.ends(0);
    let said = world.run(&["verdict", "get", "app"]).await.ends(0).out;
    assert!(said.starts_with("app: us-east-1 shall be active, epoch 2, authorised\n"), "{said}");
    let again = world.run(&START).await.ends(3);
    again.complains("epoch 2 is under way to `us-east-1` already (UNDER_WAY)");
    again.complains("hint: follow it with `quoratectl switch list SERVICE`");
    let other = ["switch", "abort", "app", "--expected-epoch", "1"];
    world.run(&other).await.ends(3).complains("the service's epoch is 2, not 1");
    let said = world.run(&["switch", "abort", "app", "--reason", "a false alarm"]).await.ends(0);
    assert_eq!(said.out, "app: abort, back to eu-west-3, epoch 3: authorised\n");
    world.run(&["switch", "abort", "app"]).await.ends(3).complains("nothing is there to go back to");
    assert!(world.run(&["evidence", "get", "app"]).await.ends(0).out.contains("reason: a false alarm\n"));
    let listed = world.run(&["switch", "list", "app", "-o", "json"]).await.ends(0).json();
    assert_eq!((&listed["switches"][0]["cause"], &listed["switches"][0]["by"]), (&json!("abort"), &json!("ada")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_formed() {
    let world = World::new().await;
    let init = ["cluster", "init", "--member", "1=oslo@192.0.2.1:7700", "--member", "2=rome@192.0.2.2:7700"];
    assert_eq!(world.run(&init).await.ends(0).out, "the cluster is formed, 2 voters\n");
    let twice = ["cluster", "init", "--member", "1=oslo@192.0.2.1:7700", "--member", "1=rome@192.0.2.2:7700"];
    world.run(&twice).await.ends(8).complains("given twice");
    world.run(&["cluster", "init", "--member", "1=oslo"]).await.ends(2).complains("use ID=SITE@HOST:PORT");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_issued_once() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().display().to_string();
    run(&["pki", "issue", &pki, "--node-id", "1"]).await.ends(2).complains("hint: make a CA first");
    run(&["pki", "init", &pki, "--cluster", "prod"]).await.ends(0);
    run(&["pki", "init", &pki, "--cluster", "prod"]).await.ends(3).complains("nothing is ever overwritten");
    run(&["pki", "issue", &pki, "--node-id", "1", "--name", "n1.example.com"]).await.ends(0);
    let json = run(&["pki", "issue", &pki, "--person", "bob", "--role", "operator", "-o", "json"]).await.ends(0).json();
    let key = json["key"].as_str().unwrap();
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    run(&["pki", "issue", &pki]).await.ends(2);
    run(&["pki", "issue", &pki, "--person", "eve"]).await.ends(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_before_anything_is_asked() {
    run(&["verdict", "list"]).await.ends(2).complains("no node to ask");
    run(&["--node", "nowhere", "verdict", "list"]).await.ends(2).complains("`nowhere` is no HOST:PORT");
    run(&["--node", "127.0.0.1:1", "verdict", "list"]).await.ends(2).complains("no --ca");
    run(&["frobnicate"]).await.ends(2);
    assert!(run(&["--help"]).await.ends(0).out.contains("Exit codes:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).await.ends(0).out.contains("quoratectl"), "{shell}");
    }
}
