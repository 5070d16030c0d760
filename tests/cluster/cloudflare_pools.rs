//! The same failover without DNS: the pools of a load balancer at Cloudflare, which refuses no late write.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::{Value, json};

use crate::{
    cluster::{CLUSTER, Cluster, EAST, PROVIDER, Place, RECORD, SOON, WEST, ZONE, until},
    fake_cloudflare::{ALL, FakeCloudflare, Scope, TOKEN},
    fault_proxy::{Fault, FaultProxy},
    stage::{Health, Regions},
};

/// The cooldown must outlive the longest request.
const POLICY: &str = "fall = 2\nrise = 2\ncooldown = '2m'\nbudget = 100\nreconcile = '5s'\nopinion_ttl = '4s'\n";
/// Above the time that a request may take before it is given up and its fate is read.
const IN_DOUBT: Duration = Duration::from_secs(60);

/// The service file of a record of DNS, made one of pools that are called as the regions are.
fn of_pools(file: &str) -> String {
    file.replace("type = 'A'\nttl = 30", "type = 'POOL'")
        .replace(&format!("A = ['{WEST}']"), "POOL = ['west']")
        .replace(&format!("A = ['{EAST}']"), "POOL = ['east']")
}

/// The pool that takes all traffic, and the epoch that the description has.
fn state_of(fake: &FakeCloudflare, balancer: &Value) -> (String, u64) {
    let (pools, fallback) = fake.pools_of(balancer);
    assert_eq!(pools, [fallback.as_str()], "one region's pool alone, and no other as the fallback (5)");
    let description = balancer["description"].as_str().unwrap();
    let epoch = description.strip_prefix(&format!("the shop [quorate v=1 cluster={CLUSTER} epoch="));
    let epoch = epoch.and_then(|rest| rest.strip_suffix("] of Anna")).unwrap_or_else(|| panic!("{description}"));
    (fallback, epoch.parse().unwrap())
}

#[track_caller]
fn stands(fake: &FakeCloudflare, pool: &str, epoch: u64, within: Duration) {
    until(&format!("{pool} takes the traffic under epoch {epoch}"), within, || {
        (state_of(fake, &fake.balancer(RECORD)) == (pool.to_owned(), epoch)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_cloudflares_load_balancers_where_a_late_write_is_undone() {
    let fake = FakeCloudflare::start(ZONE).await;
    fake.seed_pool("west", true);
    fake.seed_pool("east", true);
    let kept = json!({
        "description": format!("the shop [quorate v=1 cluster={CLUSTER} epoch=0] of Anna"), "proxied": true,
        "session_affinity": "cookie", "steering_policy": "off", "region_pools": { "WNAM": [fake.pool_id("east")] },
    });
    fake.seed_balancer(RECORD, &["west"], &kept);
    let before = fake.balancer(RECORD);
    let proxy = FaultProxy::start(fake.http.address).await;
    let regions = Regions::start().await;
    let secret = tempfile::tempdir().unwrap();
    let token = secret.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let provider = format!(
        "[provider.{PROVIDER}]\ntype = 'cloudflare-pools'\nbase_url = 'http://{}/client/v4'\ntoken_file = '{}'\n",
        proxy.address,
        token.display()
    );
    let cluster = Cluster::start(vec![Place::local(provider); 3]);

    // A cooldown shorter than a late write can live is refused; nothing is written.
    let short = cluster.file("short.toml", &of_pools(&regions.service("cooldown = '30s'\n")));
    let refused = cluster.ctl(&["service", "apply", short.to_str().unwrap()]).refused(3);
    assert!(refused.to_string().contains("grade C"), "{refused}");
    assert_eq!(fake.balancer(RECORD), before);

    // A pool that is none is found before it is needed.
    cluster.apply(&of_pools(&regions.service(POLICY)).replace("['east']", "['mars']"));
    for (command, exit) in [(&["provider", "check", PROVIDER][..], 3), (&["drill", "app"], 3)] {
        let checked = cluster.ctl(command);
        let says = "of region east: Cloudflare has no pool `mars` in this account";
        assert!(checked.exit == exit && checked.json.to_string().contains(says), "{checked:?}");
    }
    cluster.apply(&of_pools(&regions.service(POLICY)));
    stands(&fake, "west", 1, SOON);
    check(&cluster, &fake);

    // The write of the failover is held on its way until everything is over.
    proxy.fail_next(("PATCH", "/load_balancers/"), Fault::Hold);
    let died = regions.west.set(Health::BlackHole);
    proxy.caught().await;
    stands(&fake, "east", 2, IN_DOUBT);
    println!("MEASURED Cloudflare pools, first write held: outage to pool {} ms", died.elapsed().as_millis());
    cluster.serves("east", 2);
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));
    let back = ["switch", "start", "app", "--to", "west", "--override", "cooldown", "--wait=20s"];
    assert_eq!(cluster.ctl(&back).ok()["status"], "observed");
    assert_eq!(state_of(&fake, &fake.balancer(RECORD)), ("west".into(), 3));

    // Now it arrives, is taken, and is undone.
    let changes = fake.changes().len();
    proxy.release();
    until("the late write is taken", SOON, || (fake.changes().len() > changes).then_some(()));
    let late = std::time::Instant::now();
    assert_eq!(state_of(&fake, &fake.changes()[changes]), ("east".into(), 2));
    stands(&fake, "west", 3, SOON);
    println!("MEASURED Cloudflare pools: a late write is undone after {} ms", late.elapsed().as_millis());
    until("nothing is left to say", SOON, || {
        let app = cluster.app()?;
        (app["drift"].is_null() && app["trouble"].is_null()).then_some(())
    });
    cluster.serves("west", 3);
    cluster.check_switches(&["adopt", "failover", "manual"]);

    // Every state that ever stood was one region's, and everything else is as it was.
    let region = |epoch| if epoch == 2 { "east" } else { "west" };
    for change in fake.changes() {
        let (pool, epoch) = state_of(&fake, &change);
        assert_eq!(pool, region(epoch), "pool and fence change together: {change}");
        for field in before.as_object().unwrap().keys() {
            let ours = ["default_pools", "fallback_pool", "description", "modified_on"].contains(&&**field);
            assert!(ours || change[field] == before[field], "{field} is the owner's: {change}");
        }
    }
}

/// What `provider list`, `provider check` and `drill` say of it; none of them changes anything.
fn check(cluster: &Cluster, fake: &FakeCloudflare) {
    let before = (fake.balancer(RECORD), fake.changes().len());
    let listed = cluster.ctl(&["provider", "list"]).ok();
    let of = &listed["providers"][0];
    assert_eq!((&of["kind"], &of["grade"]), (&"cloudflare-pools".into(), &"C".into()), "{listed:#}");
    let checked = cluster.ctl(&["provider", "check", PROVIDER, "--policy"]).ok();
    assert!(checked.to_string().contains("Zone / Load Balancers / Edit"), "{checked:#}");
    let drill = cluster.ctl(&["drill", "app"]);
    assert_eq!(drill.exit, 0, "{:#}", drill.json);
    let findings = drill.json["findings"].as_array().unwrap();
    for subject in ["credentials", "zone", "pools", "rights", "steering", "values", "record", "fence", "write"] {
        let found: Vec<_> = findings.iter().filter(|of| of["subject"] == subject).collect();
        assert!(!found.is_empty() && found.iter().all(|of| of["outcome"] == "pass"), "{subject}: {:#}", drill.json);
    }
    let without: Vec<_> = ALL.iter().copied().filter(|scope| *scope != Scope::BalancersEdit).collect();
    fake.set_scopes(&without);
    let drill = cluster.ctl(&["drill", "app"]);
    assert_eq!(drill.exit, 3, "{:#}", drill.json);
    assert!(drill.json.to_string().contains("may not edit load balancers"), "{:#}", drill.json);
    fake.set_scopes(ALL);
    assert_eq!((fake.balancer(RECORD), fake.changes().len()), before);
}
