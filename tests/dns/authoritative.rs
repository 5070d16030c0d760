//! `authoritative` against BIND, Knot and the fake's nameserver.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use quorate::{
    core::record::{Record, RecordType, RecordValue, RrSet},
    dns::{
        Change, FenceReading, Provider, Reading,
        authoritative::{Answer, Authoritative},
        rfc2136::{Rfc2136, Rfc2136Config},
        wire::ServerAddress,
    },
    secret::Secret,
};
use tokio::time::Instant;

use crate::{
    dns_server::{DnsServer, KEY_NAME, SECRET, free_port},
    fake_ovh::FakeOvh,
};

const ZONE: &str = "example.test";

fn www() -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: "www.example.test".parse().unwrap(),
        rtype: RecordType::A,
        ttl: 60,
    }
}

fn rrset(value: &str) -> RrSet {
    RrSet { ttl: 60, values: BTreeSet::from([RecordValue::parse(RecordType::A, value).unwrap()]) }
}

fn asking(servers: &[SocketAddr]) -> Authoritative {
    let servers: Vec<ServerAddress> = servers.iter().map(|&server| server.into()).collect();
    Authoritative::new(BTreeMap::from([("main".parse().unwrap(), servers)]), vec![])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(15)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_nameserver_is_asked_and_all_must_agree() {
    let Some(bind) = DnsServer::bind(ZONE, &["www"]) else { return };
    let Some(knot) = DnsServer::knot(ZONE, &["www"]) else { return };
    let authoritative = asking(&[bind.address(), knot.address()]);
    let old = rrset("192.0.2.10");
    let settled = authoritative.settle(&www(), &old, soon()).await;
    assert!(settled.agreed, "{settled:?}");
    let shown: Vec<_> = settled.answers.iter().map(|answer| answer.server.clone()).collect();
    assert_eq!(shown, [bind.address().to_string(), knot.address().to_string()]);

    // One server changes, the other lags: not agreed, and it is said which.
    let provider = Rfc2136::new(&Rfc2136Config {
        server: bind.address().into(),
        key_name: KEY_NAME.parse().unwrap(),
        algorithm: "hmac-sha256".parse().unwrap(),
        secret: Secret::new(SECRET),
        timeout: Duration::from_secs(5),
    })
    .unwrap();
    let change = Change {
        record: www(),
        expected: Reading { rrset: Some(old.clone()), fence: FenceReading::Absent },
        rrset: rrset("198.51.100.20"),
        fence: "v=1 cluster=prod epoch=1".parse().unwrap(),
    };
    provider.write(&change).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(600);
    let settled = authoritative.settle(&www(), &change.rrset, deadline).await;
    assert!(!settled.agreed && Instant::now() < deadline + Duration::from_millis(400));
    let agrees: Vec<_> = settled.answers.iter().map(|answer| answer.answer.agrees_with(&change.rrset)).collect();
    assert_eq!(agrees, [true, false], "{settled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_waits_for_the_laggard() {
    let fake = FakeOvh::start(ZONE).await;
    let id = fake.seed(ZONE, "www", "A", "203.0.113.10", 60);
    let authoritative = asking(&[fake.dns]);
    let (www, wanted) = (www(), rrset("198.51.100.20"));
    let (settled, ()) = tokio::join!(authoritative.settle(&www, &wanted, soon()), async {
        fake.restage(ZONE, id, "198.51.100.20");
        tokio::time::sleep(Duration::from_millis(300)).await;
        fake.publish(ZONE);
    });
    assert!(settled.agreed, "{settled:?}");
    assert!(matches!(settled.answers[0].answer, Answer::Values { ttl: 60, authoritative: true, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_no_record_and_another_zone_are_three_things() {
    let fake = FakeOvh::start(ZONE).await;
    let silent: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let authoritative = asking(&[fake.dns, silent]);
    let answers = authoritative.ask_all(&www()).await;
    assert_eq!(answers[0].answer, Answer::NoData);
    assert!(matches!(&answers[1].answer, Answer::Error(_)), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.elapsed < Duration::from_secs(4)));

    let elsewhere = Record { zone: "example.org".parse().unwrap(), name: "www.example.org".parse().unwrap(), ..www() };
    let answers = asking(&[fake.dns]).ask_all(&elsewhere).await;
    assert_eq!(answers[0].answer, Answer::Error("answered Refused".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nameservers_are_looked_up_where_none_are_configured() {
    // BIND serves the zone's NS records and so stands in for a resolver; what it names has no address anywhere.
    let Some(bind) = DnsServer::bind(ZONE, &["www"]) else { return };
    let authoritative = Authoritative::new(BTreeMap::new(), vec![bind.address().into()]);
    let answers = authoritative.ask_all(&www()).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].server, "ns1.example.test:53", "{answers:?}");
    assert!(matches!(&answers[0].answer, Answer::Error(_)), "{answers:?}");

    let nowhere: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let answers = Authoritative::new(BTreeMap::new(), vec![nowhere.into()]).ask_all(&www()).await;
    assert!(
        matches!(&answers[0].answer, Answer::Error(why) if why.contains("name them as `nameservers`")),
        "{answers:?}"
    );
}
