//! The delayed write of an old leader: signed, sent, lost sight of, and arriving after newer ones. The outage that Quorate exists
//! for. The provider refuses it (invariants 2, 6 and 10).

use std::time::Duration;

use crate::{
    cluster::{Cluster, EAST, FENCE, Place, RECORD, SOON, WEST, ZONE, rfc2136, until},
    dns_server::DnsServer,
    hold_proxy::HoldProxy,
    stage::{POLICY, Regions, Watch},
};

/// What becomes of the leader whose write is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stands still, and goes on once all is over.
    Stopped,
    Killed,
}

/// A response code that says "the prerequisites do not hold" (RFC 2136 §2.2).
pub const YXRRSET: u8 = 7;
pub const NXRRSET: u8 = 8;

async fn a_late_write_is_refused(server: DnsServer, fate: Fate) {
    let regions = Regions::start().await;
    let proxy = HoldProxy::start(server.address()).await;
    let direct = rfc2136(server.address(), server.address());
    let slow = Place::local(rfc2136(proxy.address, server.address()));
    let mut cluster = Cluster::start(vec![slow, Place::local(&*direct), Place::local(&*direct)]);
    cluster.apply(&regions.service(POLICY));
    lead(&cluster, 1);

    let watch = Watch::begin(server.address());
    proxy.hold_next_update().await;
    let started = cluster.at(1, &["switch", "start", "app", "--to", "east", "--reason", "held"]).ok();
    assert_eq!(started["epoch"], 2);
    tokio::time::timeout(SOON, proxy.caught()).await.expect("the leader's update is on its way");
    assert_eq!(server.dig(RECORD, "A"), [WEST], "it is held");
    match fate {
        Fate::Stopped => cluster.node(1).stop(),
        Fate::Killed => cluster.node(1).kill(),
    }

    // A successor ends the same epoch; then the service moves back, to the very values that the held update expects.
    let others = |args: &[&str]| cluster.at(2, args);
    until("a successor ends epoch 2", SOON, || {
        let got = others(&["--timeout", "3s", "verdict", "get", "app"]);
        let app = &got.json["verdict"];
        (got.exit == 0 && app["phase"] == "serving" && app["epoch"] == 2 && app["active_region"] == "east")
            .then_some(())
    });
    watch.until(EAST, SOON);
    until("the service moves back under epoch 3", SOON, || {
        let back =
            ["switch", "start", "app", "--to", "west", "--override", "cooldown", "--expected-epoch", "2", "--wait=10s"];
        let back = others(&back);
        assert!([0, 3, 5].contains(&back.exit), "{back:?}");
        (back.exit == 0).then(|| assert_eq!(back.json["epoch"], 3))
    });
    watch.until(WEST, SOON);
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=e2e epoch=3\""]);

    let rcode = proxy.release().await;
    assert!([YXRRSET, NXRRSET].contains(&rcode), "the late update was answered with rcode {rcode}");
    assert_eq!(server.dig(RECORD, "A"), [WEST], "the late update changed the record");
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=e2e epoch=3\""], "the late update changed the fence");

    // The old leader comes back and follows.
    match fate {
        Fate::Stopped => cluster.node(1).resume(),
        Fate::Killed => cluster.node(1).start(),
    }
    cluster.check_hashes();
    cluster.serves("west", 3);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(watch.end(), [WEST, EAST, WEST], "the late write was never seen");
    cluster.check_switches(&["adopt", "manual", "manual"]);
    println!("MEASURED {:?} {fate:?}: the late update was refused with rcode {rcode}", server.kind);
}

/// Has this node lead.
pub fn lead(cluster: &Cluster, id: u64) {
    until(&format!("node {id} leads"), SOON, || {
        if cluster.leader() == id {
            return Some(());
        }
        let moved = cluster.ctl(&["leader", "transfer", "--to", &id.to_string()]);
        assert!([0, 3, 5, 6].contains(&moved.exit), "{moved:?}");
        None
    });
    // An election voids the opinions; a switch by hand wants the candidate up.
    until("both regions are up again", SOON, || {
        let app = cluster.app()?;
        app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_bind_from_a_leader_that_stood_still() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    a_late_write_is_refused(server, Fate::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_knot_from_a_leader_that_was_killed() {
    let Some(server) = DnsServer::knot(ZONE, &["app"]) else { return };
    a_late_write_is_refused(server, Fate::Killed).await;
}
