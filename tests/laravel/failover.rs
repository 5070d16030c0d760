//! DynamoDB fails in one region; the application there says so, every site hears it, and the record moves.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use crate::{
    app::{self, App},
    cluster::{Cluster, EAST, PROVIDER, RECORD, WEST, ZONE, until},
    dns_server::DnsServer,
    ministack::Ministack,
    php_is_there,
    relay::{Relay, Way},
    stage::{POLICY, Watch},
};

const TABLE: &str = "sessions";
const REGIONS: [(&str, &str); 2] = [("eu-west-3", WEST), ("us-east-1", EAST)];
/// Two failed probes of a second's timeout or more, on a machine that has other things to do as well.
const OUTAGE: Duration = Duration::from_secs(60);

fn service(apps: &[App; 2]) -> String {
    let mut text = format!(
        "name = 'app'\n[[record]]\nprovider = '{PROVIDER}'\nzone = '{ZONE}'\nname = 'app'\ntype = 'A'\nttl = 30\n"
    );
    for ((name, value), app) in REGIONS.iter().zip(apps) {
        let _ = write!(
            text,
            "[[region]]\nname = '{name}'\nvalues = {{ A = ['{value}'] }}\nprobe = {{ http = 'http://{}/health', \
             interval = '3s', timeout = '2500ms', json = {{ '/status' = 'UP' }} }}\n",
            app.address
        );
    }
    // Probes are further apart here than the policy of the other tests takes for granted.
    let policy = POLICY.replace("opinion_ttl = '4s'\n", "");
    format!("{text}[policy]\n{policy}")
}

/// What the sites said of `region` when the last switch was authorised.
fn reasons(cluster: &Cluster, region: &str, epoch: u64) -> String {
    let got = cluster.ctl(&["evidence", "get", "app", &epoch.to_string()]).ok();
    let regions = got["evidence"]["regions"].as_array().expect("regions").clone();
    regions.into_iter().find(|of| of["region"] == region).expect("the region").to_string()
}

fn is_up(cluster: &Cluster, region: usize) {
    until(&format!("{} is up", REGIONS[region].0), OUTAGE, || {
        (cluster.app()?["regions"][region]["verdict"] == "up").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_leaves_a_region_whose_dynamodb_fails() {
    if !php_is_there() {
        return;
    }
    let (Some(server), Some(dynamodb)) = (DnsServer::bind(ZONE, &["app"]), Ministack::start()) else { return };
    for (region, _) in REGIONS {
        dynamodb.create_table(region, TABLE, "key").await;
    }
    let directory = tempfile::Builder::new().prefix("quorate-laravel-").tempdir().expect("a directory");
    app::make(directory.path());
    let relays = [Relay::to(dynamodb.address()).await, Relay::to(dynamodb.address()).await];
    let apps = [0, 1].map(|i| App::start(directory.path(), REGIONS[i].0, TABLE, relays[i].address));

    let cluster = Cluster::on(&server);
    cluster.apply(&service(&apps));
    is_up(&cluster, 0);
    is_up(&cluster, 1);
    let watch = Watch::begin(server.address());
    watch.until(WEST, OUTAGE);

    // Slow within the limit is no outage: the probes go on passing.
    relays[1].set(Way::Slow(Duration::from_millis(200)));

    let outages = [(0, 1, Way::Hung), (1, 0, Way::Cut), (0, 1, Way::Slow(Duration::from_secs(2)))];
    for ((from, to, way), epoch) in outages.into_iter().zip(2..) {
        is_up(&cluster, to);
        relays[from].set(way);
        watch.until(REGIONS[to].1, OUTAGE);
        cluster.serves(REGIONS[to].0, epoch);
        let why = reasons(&cluster, REGIONS[from].0, epoch);
        assert!(why.contains("status 503"), "{way:?}: the application said so itself: {why}");
        let votes: Value = serde_json::from_str(&why).expect("JSON");
        assert!(votes["sites_down"].as_u64() >= Some(2), "{way:?}: {why}");
        println!("MEASURED DynamoDB {way:?} in {}: the record moved to {}", REGIONS[from].0, REGIONS[to].0);
        relays[from].set(Way::Open);
    }
    assert_eq!(watch.end(), [WEST, EAST, WEST, EAST], "one outage, one switch: {RECORD}");
    cluster.check_switches(&["adopt", "failover", "failover", "failover"]);
}
