//! Wrong input against a live cluster: refused with every reason, and nothing changes.

use serde_json::Value;

use crate::{
    cluster::{Answer, Cluster, EAST, RECORD, SOON, WEST, ZONE, until},
    dns_server::DnsServer,
    stage::{POLICY, Regions},
};

/// What must not change: the services, their switches, and what DNS answers.
#[derive(Debug, PartialEq)]
struct Standing(Value, Vec<Value>, Vec<String>);

fn standing(cluster: &Cluster, server: &DnsServer) -> Standing {
    let services = cluster.ctl(&["service", "list"]).ok()["services"].clone();
    Standing(services, cluster.switches(), server.dig(RECORD, "A"))
}

fn apply(cluster: &Cluster, toml: &str, more: &[&str]) -> Answer {
    let file = cluster.file("input.toml", toml);
    cluster.ctl(&[&["service", "apply", file.to_str().unwrap()], more].concat())
}

fn violations(error: &Value) -> Vec<String> {
    let of = |v: &Value| format!("{}: {}", v["field"].as_str().unwrap(), v["description"].as_str().unwrap());
    error["violations"].as_array().expect("violations").iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_input_is_refused_whole_and_changes_nothing() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let cluster = Cluster::on(&server);
    let good = regions.service(POLICY);
    cluster.apply(&good);
    let before = standing(&cluster, &server);

    ten_errors(&cluster);
    let edited = |from: &str, to: &str| {
        assert!(good.contains(from), "`{from}` is not in the file");
        good.replacen(from, to, 1)
    };
    // What is edited, into what, and what the one violation says of it.
    let cases = [
        ("rise = 2", "rose = 2", "unknown key `rose`"),
        ("timeout = '300ms'", "timeout = '500ms'", "the timeout of 500ms is not less than the interval"),
        ("name = 'app'\ntype", "name = 'app.example.org.'\ntype", "lies outside of the zone"),
        (&*format!("values = {{ A = ['{EAST}'] }}"), "values = {}", "the region has no value for A"),
    ];
    for (from, to, why) in cases {
        let error = apply(&cluster, &edited(from, to), &[]).refused(8);
        let violations = violations(&error);
        assert!(violations.len() == 1 && violations[0].contains(why), "{why}: {violations:?}");
    }
    // What is right as a text and cannot be done here: refused by the state, with the reason.
    let cases = [
        ("provider = 'main'", "provider = 'other'", "has no provider `other` (it has: main)"),
        ("zone = 'example.test'", "zone = 'example.net'", "example.net"),
    ];
    for (from, to, why) in cases {
        for more in [&[][..], &["--dry-run"]] {
            let error = apply(&cluster, &edited(from, to), more).refused(3);
            assert!(violations(&error).iter().any(|violation| violation.contains(why)), "{why}: {error}");
        }
    }
    assert_eq!(standing(&cluster, &server), before);

    dry_runs(&cluster, &good);
    assert_eq!(standing(&cluster, &server), before);
    requests(&cluster);
    assert_eq!(standing(&cluster, &server), before);
    // And what is right is still taken.
    let changed = apply(&cluster, &edited("rise = 2", "rise = 3"), &[]).ok();
    assert_eq!(changed["result"], "changed");
    until("both regions are up", SOON, || {
        let app = cluster.app()?;
        app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up").then_some(())
    });
    cluster.check_switches(&["adopt"]);
    cluster.check_hashes();
    assert_eq!(server.dig(RECORD, "A"), [WEST]);
}

/// The file of ten errors: all of them, each with its line, and exit code 8.
fn ten_errors(cluster: &Cluster) {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/services/");
    let toml = std::fs::read_to_string(format!("{fixtures}ten-errors.toml")).expect("the fixture");
    let told = std::fs::read_to_string(format!("{fixtures}ten-errors.txt")).expect("what is to be told");
    let error = apply(cluster, &toml, &[]).refused(8);
    let violations = violations(&error);
    assert_eq!(violations.len(), 10, "{violations:#?}");
    for line in told.lines().filter_map(|line| line.strip_prefix("ten-errors.toml:")) {
        let Some((place, message)) = line.split_once(": error: ") else { continue };
        let number = place.split(':').next().unwrap();
        let found = violations.iter().find(|violation| violation.contains(message));
        let found = found.unwrap_or_else(|| panic!("`{message}` was not told: {violations:#?}"));
        assert!(found.contains(&format!("line {number}")) || found.contains(&format!("{number}:")), "no line: {found}");
    }
}

fn dry_runs(cluster: &Cluster, good: &str) {
    assert_eq!(apply(cluster, good, &[]).ok()["result"], "unchanged");
    let dry = |toml: &str| apply(cluster, toml, &["--dry-run"]).ok();
    let told = dry(&good.replacen("rise = 2", "rise = 3", 1));
    assert_eq!((&told["result"], &told["dry_run"]), (&"changed".into(), &true.into()));
    assert_eq!(dry(good)["result"], "unchanged");
    // Another service may not have the record, and may have another one.
    let taken = apply(cluster, &good.replacen("name = 'app'", "name = 'shop'", 1), &["--dry-run"]).refused(3);
    assert!(taken.to_string().contains("RECORD_TAKEN"), "{taken}");
    let shop = good.replace("name = 'app'", "name = 'shop'");
    let told = apply(cluster, &shop, &["--dry-run", "--skip-provider-check"]).ok();
    assert_eq!((&told["result"], &told["service"]), (&"created".into(), &"shop".into()));
}

/// Requests that make no sense as things are.
fn requests(cluster: &Cluster) {
    let start = ["switch", "start", "app", "--to"];
    let refused = |args: &[&str], exit: i32, why: &str| {
        let error = cluster.ctl(args).refused(exit);
        assert!(error.to_string().contains(why), "{why}: {error}");
    };
    refused(&[&start[..], &["north"]].concat(), 4, "north");
    refused(&[&start[..], &["west"]].concat(), 3, "ALREADY_ACTIVE");
    refused(&[&start[..], &["east", "--expected-epoch", "7"]].concat(), 3, "EPOCH_CHANGED");
    refused(&[&start[..], &["east", "--override", "gravity"]].concat(), 8, "gravity");
    refused(&["switch", "start", "shop", "--to", "east"], 4, "shop");
    refused(&["verdict", "get", "shop"], 4, "shop");
    refused(&["evidence", "get", "app", "99"], 4, "99");
    refused(&["service", "remove", "shop"], 4, "shop");
    refused(&["cluster", "init", "--member", "1=paris@127.0.0.1:7400"], 3, "ALREADY_INITIALISED");
}
