//! `quoratectl dynamodb replicas` and `replicate`, which need no cluster.

use std::{
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ProvisionedThroughput, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    PARIS, SESSIONS, VIRGINIA, World,
    cluster::{SOON, until},
    ministack::KEY,
    proxy::{Health, Proxy},
};

fn quoratectl(endpoint: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    command
        .args(["dynamodb"])
        .args(args)
        .args(["--endpoint-url", endpoint])
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", KEY), ("HOME", "/nonexistent")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn run(proxy: &Proxy, args: &[&str]) -> (i32, String, String) {
    ended(&quoratectl(&proxy.url(), args).output().expect("quoratectl to run"))
}

const REPLICATE: [&str; 8] = ["replicate", SESSIONS, "--region", PARIS, "--to", VIRGINIA, "--every", "100ms"];

async fn stream(world: &World, view: StreamViewType) {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap();
    let update = world.server.dynamodb(PARIS).update_table().table_name(SESSIONS).stream_specification(stream);
    update.send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_made_and_watched_and_ctrl_c_stops_the_watching_alone() {
    let Some(world) = World::alone().await else { return };
    let proxy = &world.paris;
    let (exit, _, said) = run(proxy, &REPLICATE);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("has no stream") && said.contains("--stream-specification"), "{said}");
    stream(&world, StreamViewType::NewAndOldImages).await;

    proxy.set_replica_status(Some(("CREATING", Some("40"))));
    let child = quoratectl(&proxy.url(), &REPLICATE).spawn().expect("quoratectl to start");
    let polls = proxy.asked("DescribeTable");
    until("it waits", SOON, || (proxy.asked("DescribeTable") > polls + 5).then_some(()));
    interrupt(&child);
    let (exit, _, said) = ended(&child.wait_with_output().expect("its end"));
    assert_eq!(exit, 6, "{said}");
    assert!(said.contains("us-east-1: CREATING 40 %") && said.contains("run the same command again"), "{said}");
    assert_eq!(proxy.asked("UpdateTable"), 1);

    // Stopped before it asked, it says that nothing was changed.
    proxy.set_health(Health::Hangs);
    let child =
        quoratectl(&proxy.url(), &["replicate", SESSIONS, "--region", PARIS, "--to", "eu-west-1"]).spawn().unwrap();
    let polls = proxy.asked("DescribeTable");
    until("it asks", SOON, || (proxy.asked("DescribeTable") > polls).then_some(()));
    interrupt(&child);
    let (exit, _, said) = ended(&child.wait_with_output().expect("its end"));
    assert!(exit == 1 && said.contains("nothing was changed"), "{exit} {said}");
    assert_eq!(proxy.asked("UpdateTable"), 1);
    proxy.set_health(Health::Well);

    // The same command finds it under way and asks for nothing twice.
    let mut again = quoratectl(&proxy.url(), &REPLICATE);
    again.args(["-o", "json"]);
    let child = again.spawn().expect("quoratectl to start");
    let polls = proxy.asked("DescribeTable");
    until("it waits", SOON, || (proxy.asked("DescribeTable") > polls + 3).then_some(()));
    proxy.set_replica_status(Some(("CREATING", Some("90"))));
    let polls = proxy.asked("DescribeTable");
    until("it looks", SOON, || (proxy.asked("DescribeTable") > polls + 3).then_some(()));
    proxy.set_replica_status(None);
    let (exit, out, said) = ended(&child.wait_with_output().expect("its end"));
    assert_eq!((exit, proxy.asked("UpdateTable")), (0, 1), "{said}");
    let steps: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("one JSON document a line")).collect();
    let seen: Vec<_> = steps.iter().map(|step| (step["status"].as_str().unwrap(), step["percent"].as_str())).collect();
    assert_eq!(seen, [("CREATING", Some("40")), ("CREATING", Some("90")), ("ACTIVE", None)], "{out}");

    let (exit, _, said) = run(proxy, &REPLICATE);
    assert_eq!((exit, proxy.asked("UpdateTable")), (0, 1), "what is there is there: {said}");
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
    kill(pid, Signal::SIGINT).expect("to signal our own child");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_of_a_replica_is_said_with_the_way_on() {
    let Some(world) = World::alone().await else { return };
    let proxy = &world.paris;
    let refused = |args: &[&str], exit: i32, words: &[&str]| {
        let (ended, out, said) = run(proxy, args);
        assert_eq!(ended, exit, "{out}{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        assert_eq!(proxy.asked("UpdateTable"), 0, "nothing is asked for");
    };
    stream(&world, StreamViewType::KeysOnly).await;
    refused(&REPLICATE, 3, &["shows KEYS_ONLY", "NEW_AND_OLD_IMAGES"]);
    stream(&world, StreamViewType::NewAndOldImages).await;
    let same = ["replicate", SESSIONS, "--region", PARIS, "--to", PARIS];
    refused(&same, 2, &["give another region with --to"]);
    refused(&["replicate", "nowhere", "--region", PARIS, "--to", VIRGINIA], 4, &["no table `nowhere` in eu-west-3"]);
    refused(&["replicate", SESSIONS, "--to", VIRGINIA], 2, &["--region"]);
    proxy.set_own_status(Some("DELETING"));
    refused(&REPLICATE, 3, &["is DELETING: somebody is removing it"]);
    proxy.set_own_status(None);
    world.server.create_table(VIRGINIA, SESSIONS, "pk").await;
    refused(&REPLICATE, 3, &["us-east-1 has a table `sessions` already"]);
    for (health, exit, words) in [
        (Health::Denies, 7, ["no right", "the README lists the rights"]),
        (Health::Fails, 5, ["status 500", "try again"]),
        (Health::Expired, 7, ["ExpiredTokenException", "renew them"]),
    ] {
        proxy.set_health(health);
        refused(&REPLICATE, exit, &words);
    }
    proxy.set_clock(-400);
    refused(
        &REPLICATE,
        7,
        &["ExpiredTokenException", "AWS's clock is 400 s behind", "set this machine's clock by NTP"],
    );
    proxy.set_clock(0);
    proxy.set_health(Health::Well);
    let (attribute, element) = (AttributeDefinition::builder(), KeySchemaElement::builder());
    let capacity = ProvisionedThroughput::builder().read_capacity_units(1).write_capacity_units(1);
    let images = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let create = world.server.dynamodb(PARIS).create_table().table_name("paid").billing_mode(BillingMode::Provisioned);
    let create = create
        .attribute_definitions(attribute.attribute_name("pk").attribute_type(ScalarAttributeType::S).build().unwrap())
        .key_schema(element.attribute_name("pk").key_type(KeyType::Hash).build().unwrap())
        .provisioned_throughput(capacity.build().unwrap())
        .stream_specification(images.build().unwrap());
    create.send().await.unwrap();
    let paid = ["replicate", "paid", "--region", PARIS, "--to", VIRGINIA, "--every", "100ms"];
    refused(&paid, 3, &["has provisioned capacity", "--auto-scaled"]);
    let (exit, _, said) = run(proxy, &[&paid[..], &["--auto-scaled"]].concat());
    assert_eq!((exit, proxy.asked("UpdateTable")), (0, 1), "{said}");
}

/// Whoever names a profile means its account, whatever the environment has; without any credentials nothing is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_is_the_one_that_is_used() {
    let Some(world) = World::alone().await else { return };
    let proxy = &world.paris;
    let home = tempfile::tempdir().expect("a home");
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let keys = "[ops]\naws_access_key_id = of-ops\naws_secret_access_key = of-ops\n";
    std::fs::write(home.path().join(".aws/credentials"), keys).unwrap();
    let replicas = |profile: &[&str], keys: bool| {
        let mut command = quoratectl(&proxy.url(), &[&["replicas", SESSIONS, "--region", PARIS], profile].concat());
        command.env("HOME", home.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        if !keys {
            command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        }
        ended(&command.output().expect("quoratectl to run"))
    };
    let (exit, _, said) = replicas(&["--profile", "ops"], true);
    assert_eq!((exit, proxy.keys()), (0, ["of-ops".to_owned()].into()), "{said}");
    for (profile, words) in [
        (&["--profile", "nobody"][..], "no credentials for AWS: "),
        (&[], "no credentials for AWS: none in the environment, in ~/.aws, "),
    ] {
        let (exit, _, said) = replicas(profile, !profile.is_empty());
        assert_eq!((exit, proxy.keys()), (7, ["of-ops".to_owned()].into()), "{said}");
        assert!(said.contains(words) && said.contains("set AWS_PROFILE") && !said.contains('\u{fffd}'), "{said}");
        println!("{said}");
    }
    for wrong in ["nowhere", "http://127.0.0.1/path", "ftp://127.0.0.1"] {
        let asked = quoratectl(wrong, &["replicas", SESSIONS, "--region", PARIS]).output().expect("quoratectl to run");
        let (exit, _, said) = ended(&asked);
        assert!(exit == 2 && said.contains("--endpoint-url"), "{exit} {said}");
    }
}

/// Every status, as a region would say it, is explained, and what is not usable says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_status_is_explained() {
    let Some(world) = World::replicated().await else { return };
    let proxy = &world.paris;
    let replicas = ["replicas", SESSIONS, "--region", PARIS];
    let (exit, out, _) = run(proxy, &replicas);
    assert!(exit == 0 && out.contains("us-east-1") && out.contains("eu-west-3"), "{out}");
    println!("{out}");
    for (status, words) in [
        ("CREATING", "being made and filled"),
        ("CREATION_FAILED", "could not be made"),
        ("UPDATING", "settings are being changed"),
        ("DELETING", "somebody is removing it"),
        ("REGION_DISABLED", "within 20 hours"),
        ("INACCESSIBLE_ENCRYPTION_CREDENTIALS", "KMS key"),
        ("ARCHIVING", "archiving it"),
        ("ARCHIVED", "restore the table"),
        ("NEVER_HEARD_OF", "does not know"),
    ] {
        proxy.set_replica_status(Some((status, None)));
        let (exit, out, said) = run(proxy, &replicas);
        assert!(exit == 0 && out.contains(status) && out.contains(words), "{status}: {out}{said}");
        let (_, json, _) = run(proxy, &[&replicas[..], &["-o", "json"]].concat());
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let virginia = json["replicas"].as_array().unwrap().iter().find(|of| of["region"] == VIRGINIA).unwrap();
        assert_eq!(virginia["usable"], status == "UPDATING", "{virginia}");
        assert_eq!(virginia["advice"].is_null(), status == "UPDATING", "{virginia}");
    }
    proxy.set_replica_status(Some(("CREATION_FAILED", None)));
    let (exit, _, said) = run(proxy, &REPLICATE);
    assert!(exit == 3 && said.contains("CREATION_FAILED: it could not be made"), "{said}");
    tokio::time::sleep(Duration::ZERO).await;
}
