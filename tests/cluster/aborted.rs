//! An operator ends a switch while the provider's answer is still out: the write that is on its way is refused by the fence of
//! the abort (invariants 2 and 6).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::net::UdpSocket;

use crate::{
    cluster::{Cluster, EAST, FENCE, Place, RECORD, SOON, WEST, ZONE, rfc2136, until},
    delayed::{NXRRSET, YXRRSET, lead},
    dns_server::DnsServer,
    hold_proxy::HoldProxy,
    stage::{POLICY, Regions, Watch},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_its_way_is_refused_once_its_switch_is_aborted() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let proxy = HoldProxy::start(server.address()).await;
    let slow = Place::local(rfc2136(proxy.address, server.address()));
    let direct = Place::local(rfc2136(server.address(), server.address()));
    let cluster = Cluster::start(vec![slow, direct.clone(), direct]);
    cluster.apply(&regions.service(POLICY));
    lead(&cluster, 1);
    let watch = Watch::begin(server.address());

    let nothing = cluster.ctl(&["switch", "abort", "app"]).refused(3);
    assert!(nothing.to_string().contains("NOTHING_TO_ABORT") && nothing.to_string().contains("epoch 1"), "{nothing}");

    // All of them: a busy machine may have the leader give one up and write again.
    proxy.hold_updates("epoch=2").await;
    assert_eq!(cluster.ctl(&["switch", "start", "app", "--to", "east"]).ok()["epoch"], 2);
    tokio::time::timeout(SOON, proxy.caught()).await.expect("the leader's update is on its way");
    let other = cluster.ctl(&["switch", "abort", "app", "--expected-epoch", "1"]).refused(3);
    assert!(other.to_string().contains("EPOCH_CHANGED"), "{other}");
    // Through a follower, so that the name travels.
    let why = "the wrong service";
    let aborted =
        cluster.at(2, &["switch", "abort", "app", "--expected-epoch", "2", "--reason", why, "--wait=10s"]).ok();
    assert_eq!(
        (&aborted["epoch"], &aborted["to"], &aborted["status"]),
        (&3.into(), &"west".into(), &"observed".into())
    );
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=e2e epoch=3\""]);
    cluster.serves("west", 3);

    // The record answers what the held update expects of it: only the fence tells the two apart.
    let rcode = proxy.release().await;
    assert!([YXRRSET, NXRRSET].contains(&rcode), "the late update was answered with rcode {rcode}");
    assert_eq!(server.dig(RECORD, "A"), [WEST], "the late update changed the record");
    assert_eq!(server.dig(FENCE, "TXT"), ["\"v=1 cluster=e2e epoch=3\""], "the late update changed the fence");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(watch.end(), [WEST], "the aborted switch was never seen");

    cluster.check_switches(&["adopt", "manual", "abort"]);
    let switches = cluster.switches();
    assert_eq!((&switches[1]["status"], &switches[2]["by"]), (&"superseded".into(), &"e2e".into()));
    assert_eq!(cluster.ctl(&["evidence", "get", "app"]).ok()["evidence"]["reason"], why);
    println!("MEASURED {:?}: the update of an aborted switch was refused with rcode {rcode}", server.kind);
}

/// Aborted when the provider had accepted: back it goes, and the world sees it go and come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_is_written_is_aborted_before_it_is_observed() {
    let Some(server) = DnsServer::bind(ZONE, &["app"]) else { return };
    let regions = Regions::start().await;
    let answers = Arc::new(AtomicBool::new(true));
    let nameserver = nameserver(server.address(), answers.clone()).await;
    let cluster = Cluster::start(vec![Place::local(rfc2136(server.address(), nameserver)); 3]);
    cluster.apply(&regions.service(POLICY));
    let watch = Watch::begin(server.address());
    // A nameserver that does not answer keeps the switch from being observed for a while.
    answers.store(false, Ordering::Relaxed);
    cluster.ctl(&["switch", "start", "app", "--to", "east"]).ok();
    watch.until(EAST, SOON);
    until("the switch is written", SOON, || (cluster.app()?["phase"] == "written").then_some(()));
    cluster.ctl(&["switch", "abort", "app", "--expected-epoch", "2"]).ok();
    answers.store(true, Ordering::Relaxed);
    watch.until(WEST, SOON);
    cluster.serves("west", 3);
    assert_eq!(watch.end(), [WEST, EAST, WEST]);
    cluster.check_switches(&["adopt", "manual", "abort"]);
}

/// A way to the server over UDP that can be closed; its task ends with the runtime.
async fn nameserver(server: SocketAddr, open: Arc<AtomicBool>) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = front.local_addr().expect("its address");
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok((length, client)) = front.recv_from(&mut bytes).await {
            if !open.load(Ordering::Relaxed) {
                continue;
            }
            let back = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            back.send_to(&bytes[..length], server).await.expect("to send");
            if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_secs(1), back.recv(&mut bytes)).await {
                let _ = front.send_to(&bytes[..length], client).await;
            }
        }
    });
    address
}
