//! A pool instead of a record: a region's death turns the traffic dials of a Global Accelerator, as the fake plays it. No
//! nameserver is asked.

use crate::{
    cluster::{CLUSTER, Cluster, PROVIDER, Place, SOON, until},
    fake_accelerator::{ACCELERATOR, ACCOUNT, FakeAccelerator, LISTENER, REGIONS},
    fault_proxy::{Fault, FaultProxy},
    stage::{Health, Regions},
};

const TAG: &str = "quorate:0123abcd";
/// A late call may live for a minute, so the cooldown must be as long.
const POLICY: &str = "fall = 2\nrise = 2\ncooldown = '1m'\nbudget = 100\nreconcile = '5s'\nopinion_ttl = '4s'\n";
const TURN: (&str, &str) = ("POST", ".UpdateEndpointGroup");

/// `app` at the listener instead of a zone.
fn service(regions: &Regions) -> String {
    let record = format!("zone = '{ACCELERATOR}'\nname = '{LISTENER}'\ntype = 'POOL'\n");
    let service =
        regions.service(POLICY).replace("zone = 'example.test'\nname = 'app'\ntype = 'A'\nttl = 30\n", &record);
    let [west, east, _] = REGIONS;
    let service = service.replace("A = ['192.0.2.10']", &format!("POOL = ['{west}']"));
    service.replace("A = ['192.0.2.20']", &format!("POOL = ['{east}']"))
}

fn configured(proxy: &FaultProxy) -> Vec<Place> {
    let provider = format!(
        "[provider.{PROVIDER}]\ntype = 'global-accelerator'\naccount_id = '{ACCOUNT}'\nendpoint_url = 'http://{}'\n\
         access_key_id_env = 'E2E_AWS'\nsecret_access_key_env = 'E2E_AWS'\n",
        proxy.address
    );
    vec![Place::local(provider); 3]
}

/// Somebody took traffic after each update, and only the service's regions ever did (invariant 5).
fn check_history(fake: &FakeAccelerator, wanted: &[&[&str]]) {
    let mut history = fake.take_history();
    history.dedup();
    let wanted: Vec<Vec<String>> =
        wanted.iter().map(|open| open.iter().map(|&region| region.to_owned()).collect()).collect();
    assert_eq!(history, wanted, "the dials");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_a_global_accelerator_a_death_turns_the_dials_and_a_lost_leader_leaves_them_to_its_successor() {
    let fake = FakeAccelerator::start().await;
    let proxy = FaultProxy::start(fake.address()).await;
    let regions = Regions::start().await;
    let [west, east, _] = REGIONS;
    let mut cluster = Cluster::start(configured(&proxy));
    let fence = |epoch: u64| Some(format!("v=1 cluster={CLUSTER} epoch={epoch}"));

    // The nodes say what they are and what their key may do, without turning anything.
    let listed = cluster.ctl(&["provider", "list"]).ok()["providers"][0].clone();
    assert_eq!(
        (listed["kind"].as_str(), listed["grade"].as_str()),
        (Some("global-accelerator"), Some("C")),
        "{listed}"
    );
    let (zone, record) = (ACCELERATOR, format!("{LISTENER}:POOL"));
    let checked = cluster.ctl(&["provider", "check", PROVIDER, "--zone", zone, "--record", &record, "--policy"]);
    let text = checked.json.to_string();
    assert!(checked.exit == 0 && text.contains("may turn the dials") && text.contains("aws:TagKeys"), "{checked:?}");
    assert!(fake.take_history().is_empty() && fake.tag(TAG).is_none(), "a check changed something");

    cluster.apply(&service(&regions));
    cluster.serves("west", 1);
    assert_eq!((fake.open(), fake.tag(TAG)), (vec![west.to_owned()], fence(1)));
    check_history(&fake, &[]);

    // A death.
    let died = regions.west.set(Health::BlackHole);
    let moved = until("the dials are turned", SOON, || (fake.open() == [east]).then(std::time::Instant::now));
    cluster.serves("east", 2);
    println!("TABLE: Global Accelerator: outage to dials {} ms", moved.duration_since(died).as_millis());
    assert_eq!(fake.tag(TAG), fence(2));
    check_history(&fake, &[&[west, east], &[east]]);
    let evidence = cluster.ctl(&["evidence", "get", "app", "2"]).ok();
    let receipts = evidence["evidence"]["receipts"].to_string();
    // On a busy machine an answer may come too late, or no quorum confirms the leader in time: then the write is in doubt, found
    // standing, and the evidence says that its receipt is lost.
    let whole = receipts.contains("eu-west-3 100 -> 0") && receipts.contains("DEPLOYED after");
    let lost = receipts.contains("own receipt was lost") || receipts.contains("stood already");
    let resumed = receipts.contains("Global Accelerator turned the dials");
    assert!(whole || lost || resumed, "{receipts}");

    // Back by hand, and the leader dies between its claim and its first dial: the successor finishes the same epoch (10).
    regions.west.set(Health::Up);
    until("west is up again", SOON, || (cluster.app()?["regions"][0]["verdict"] == "up").then_some(()));
    proxy.fail_next(TURN, Fault::Hold);
    cluster.ctl(&["switch", "start", "app", "--to", "west", "--override", "cooldown"]).ok();
    proxy.caught().await;
    assert_eq!((fake.open(), fake.tag(TAG)), (vec![east.to_owned()], fence(3)), "claimed, and no dial turned");
    let leader = cluster.leader();
    cluster.node(leader).kill();
    cluster.serves("west", 3);
    assert_eq!((fake.open(), fake.tag(TAG)), (vec![west.to_owned()], fence(3)));
    // What the dead leader had sent arrives, and does no harm: it is what the epoch wants.
    proxy.release();
    cluster.node(leader).start();
    cluster.check_switches(&["adopt", "failover", "manual"]);
    check_history(&fake, &[&[west, east], &[west]]);

    // A hand that turns a dial half way is told of, and not written over.
    fake.turn(west, 40.0);
    until("the drift is told", SOON, || cluster.app()?["drift"].to_string().contains("eu-west-3@40").then_some(()));
    assert_eq!(fake.open(), ["eu-west-3@40"]);
    // Nor is another cluster's fence.
    fake.turn(west, 100.0);
    fake.set_tag(TAG, Some("v=1 cluster=other epoch=9"));
    until("the other cluster is named", SOON, || {
        cluster.app()?["drift"].to_string().contains("cluster=other").then_some(())
    });
    assert_eq!(fake.tag(TAG).as_deref(), Some("v=1 cluster=other epoch=9"));
}
