//! `rfc2136` against BIND and Knot: every test runs against both.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{
        Change, FenceReading, Grade, Provider, ProviderError, Reading, Receipt,
        rfc2136::{Rfc2136, Rfc2136Config},
    },
    secret::Secret,
};

use crate::{
    dns_server::{DnsServer, KEY_512, KEY_NAME, POWERLESS_KEY, SECRET},
    hold_proxy::HoldProxy,
};

const ZONE: &str = "example.test";
const HOSTS: &[&str] = &["www", "new", "alias", "occupied", "fresh", "racer", "x.wild"];

fn servers() -> Vec<DnsServer> {
    [DnsServer::bind(ZONE, HOSTS), DnsServer::knot(ZONE, HOSTS)].into_iter().flatten().collect()
}

fn config(server: SocketAddr) -> Rfc2136Config {
    Rfc2136Config {
        server: server.into(),
        key_name: KEY_NAME.parse().unwrap(),
        algorithm: "hmac-sha256".parse().unwrap(),
        secret: Secret::new(SECRET),
        timeout: Duration::from_secs(10),
    }
}

fn provider(server: SocketAddr) -> Rfc2136 {
    Rfc2136::new(&config(server)).unwrap()
}

fn record(host: &str, rtype: RecordType) -> Record {
    Record {
        provider: "main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: format!("{host}.{ZONE}").parse().unwrap(),
        rtype,
        ttl: 60,
    }
}

fn rrset(rtype: RecordType, ttl: u32, values: &[&str]) -> RrSet {
    let values: BTreeSet<_> = values.iter().map(|value| RecordValue::parse(rtype, value).unwrap()).collect();
    RrSet { ttl, values }
}

fn fence(cluster: &str, epoch: u64) -> Fence {
    Fence { cluster: cluster.parse().unwrap(), epoch: Epoch(epoch) }
}

fn change(record: &Record, expected: Reading, values: &[&str], epoch: u64) -> Change {
    let rrset = rrset(record.rtype, record.ttl, values);
    Change { record: record.clone(), expected, rrset, fence: fence("prod", epoch) }
}

/// Read, then write what was read to `values`: what the leader does.
async fn switch(provider: &Rfc2136, record: &Record, values: &[&str], epoch: u64) -> Result<Receipt, ProviderError> {
    let expected = provider.read(record).await?;
    provider.write(&change(record, expected, values, epoch)).await
}

fn permanent(result: Result<impl std::fmt::Debug, ProviderError>) -> String {
    match result {
        Err(error @ ProviderError::Permanent { .. }) => error.to_string(),
        other => panic!("Permanent expected: {other:?}"),
    }
}

fn stale(result: Result<impl std::fmt::Debug, ProviderError>) -> String {
    match result {
        Err(ProviderError::Stale(why)) => why,
        other => panic!("Stale expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_moves_record_and_fence_together() {
    for server in servers() {
        let provider = provider(server.address());
        assert_eq!(provider.grade(), Grade::A);
        let www = record("www", RecordType::A);
        let first = provider.read(&www).await.unwrap();
        assert_eq!(first.rrset, Some(rrset(RecordType::A, 60, &["192.0.2.10"])));
        assert_eq!(first.fence, FenceReading::Absent);

        let receipt = switch(&provider, &www, &["198.51.100.20", "198.51.100.21"], 1).await.unwrap();
        assert!(receipt.0.contains("NOERROR"), "{receipt:?}");
        assert_eq!(server.dig("www.example.test", "A"), ["198.51.100.20", "198.51.100.21"], "{:?}", server.kind);
        assert_eq!(server.dig("_quorate.www.example.test", "TXT"), ["\"v=1 cluster=prod epoch=1\""]);
        let second = provider.read(&www).await.unwrap();
        assert_eq!(second.fence, FenceReading::Present(fence("prod", 1)));

        // The condition is on values alone, so the TTL can change with nothing else.
        let slower = Record { ttl: 120, ..www.clone() };
        switch(&provider, &slower, &["198.51.100.20", "198.51.100.21"], 2).await.unwrap();
        assert_eq!(provider.read(&www).await.unwrap().rrset.unwrap().ttl, 120);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_there_yet_is_created_once() {
    for server in servers() {
        let provider = provider(server.address());
        for (host, rtype, values) in [
            ("new", RecordType::Aaaa, &["2001:db8::10", "2001:db8::11"][..]),
            ("fresh", RecordType::Cname, &["eu.example.net"]),
        ] {
            let record = record(host, rtype);
            let nothing = Reading { rrset: None, fence: FenceReading::Absent };
            assert_eq!(provider.read(&record).await.unwrap(), nothing);
            let write = change(&record, nothing, values, 1);
            provider.write(&write).await.unwrap();
            assert_eq!(provider.read(&record).await.unwrap().rrset, Some(rrset(rtype, 60, values)));
            let again = stale(provider.write(&write).await);
            assert!(again.contains("YXRRSet"), "{:?}: {again}", server.kind);
        }
        // A CNAME moves like any other record.
        let fresh = record("fresh", RecordType::Cname);
        switch(&provider, &fresh, &["us.example.net"], 2).await.unwrap();
        assert_eq!(server.dig("fresh.example.test", "CNAME"), ["us.example.net."]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_write_is_refused_and_changes_nothing() {
    for server in servers() {
        let provider = provider(server.address());
        let www = record("www", RecordType::A);
        let old = provider.read(&www).await.unwrap();
        provider.write(&change(&www, old.clone(), &["198.51.100.20"], 1)).await.unwrap();
        let refused = stale(provider.write(&change(&www, old, &["203.0.113.30"], 2)).await);
        assert!(refused.contains("XRRSet"), "{:?}: {refused}", server.kind);

        // The values are right and the fence is not: refused just the same.
        let now = provider.read(&www).await.unwrap();
        let fence_moved = Reading { fence: FenceReading::Present(fence("prod", 0)), ..now.clone() };
        stale(provider.write(&change(&www, fence_moved, &["203.0.113.30"], 2)).await);
        // A part of the old values is not the old RRset.
        let more = Reading { rrset: Some(rrset(RecordType::A, 60, &["198.51.100.20", "198.51.100.21"])), ..now };
        stale(provider.write(&change(&www, more, &["203.0.113.30"], 2)).await);

        assert_eq!(server.dig("www.example.test", "A"), ["198.51.100.20"]);
        assert_eq!(server.dig("_quorate.www.example.test", "TXT"), ["\"v=1 cluster=prod epoch=1\""]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_must_never_ask_is_refused_before_anything_is_sent() {
    let unreachable = provider(([127, 0, 0, 1], 1).into());
    let www = record("www", RecordType::A);
    let reading = |fence| Reading { rrset: Some(rrset(RecordType::A, 60, &["192.0.2.10"])), fence };

    let foreign = change(&www, reading(FenceReading::Present(fence("other", 7))), &["198.51.100.20"], 8);
    assert!(permanent(unreachable.write(&foreign).await).contains("belongs to cluster `other`"));
    let unreadable = change(&www, reading(FenceReading::Unreadable(vec!["spf".into()])), &["198.51.100.20"], 8);
    assert!(permanent(unreachable.write(&unreadable).await).contains("no fence: spf"));
    let empty = change(&www, reading(FenceReading::Absent), &[], 1);
    assert!(permanent(unreachable.write(&empty).await).contains("no value"));
    let newer = change(&www, reading(FenceReading::Present(fence("prod", 9))), &["198.51.100.20"], 8);
    assert!(stale(unreachable.write(&newer).await).contains("epoch 9"));

    // And one that may be asked finds nobody there: nothing was sent, so nothing is in doubt.
    let fine = change(&www, reading(FenceReading::Absent), &["198.51.100.20"], 1);
    let refused = unreachable.write(&fine).await;
    assert!(matches!(refused, Err(ProviderError::Transient { .. })), "{refused:?}");
    assert!(matches!(unreachable.read(&www).await, Err(ProviderError::Transient { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_hold_something_else_are_named_and_left_alone() {
    for server in servers() {
        let provider = provider(server.address());
        let alias = record("alias", RecordType::A);
        let said = permanent(provider.read(&alias).await);
        assert!(said.contains("is a CNAME to target.example.net."), "{said}");
        // Even a caller that did not read: RFC 2136 lets a server ignore such an addition in silence.
        let nothing = Reading { rrset: None, fence: FenceReading::Absent };
        stale(provider.write(&change(&alias, nothing.clone(), &["198.51.100.20"], 1)).await);
        // A wildcard answers for the name and there is no RRset to compare with.
        let wild = record("x.wild", RecordType::A);
        assert!(stale(switch(&provider, &wild, &["198.51.100.20"], 1).await).contains("wildcard"));
        let occupied = record("occupied", RecordType::Cname);
        let said = permanent(provider.write(&change(&occupied, nothing, &["eu.example.net"], 1)).await);
        assert!(said.contains("YXDOMAIN") && said.contains("no CNAME can stand beside"), "{said}");
        assert_eq!(server.dig("_quorate.alias.example.test", "TXT"), [""; 0]);
        assert_eq!(server.dig("_quorate.occupied.example.test", "TXT"), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_do_not_suffice_say_what_to_do() {
    for server in servers() {
        let www = record("www", RecordType::A);
        let reading = provider(server.address()).read(&www).await.unwrap();
        let write = change(&www, reading, &["198.51.100.20"], 1);
        let with = |config: Rfc2136Config| {
            let write = &write;
            async move { permanent(Rfc2136::new(&config).unwrap().write(write).await) }
        };
        let base = config(server.address());

        let said = with(Rfc2136Config { key_name: "nobody".parse().unwrap(), ..base.clone() }).await;
        assert!(said.contains("BADKEY") && said.contains("`nobody`"), "{:?}: {said}", server.kind);
        let other = Secret::new("b3RoZXIgc2VjcmV0OiBhIHRlc3Qga2V5LCAzMiBieXQ=");
        let said = with(Rfc2136Config { secret: other.clone(), ..base.clone() }).await;
        assert!(said.contains("BADSIG") && said.contains("another secret"), "{:?}: {said}", server.kind);
        assert!(!said.contains(SECRET) && !said.contains(other.expose()));
        let said = with(Rfc2136Config { key_name: POWERLESS_KEY.parse().unwrap(), ..base.clone() }).await;
        assert!(said.contains("update-policy") && said.contains("update-owner-name"), "{:?}: {said}", server.kind);
        let said = with(Rfc2136Config { algorithm: "hmac-sha512".parse().unwrap(), ..base.clone() }).await;
        assert!(said.contains("BAD"), "{:?}: {said}", server.kind);

        // A name outside the grant.
        let ns1 = record("ns1", RecordType::A);
        let provider = Rfc2136::new(&base).unwrap();
        let said = permanent(switch(&provider, &ns1, &["198.51.100.20"], 1).await);
        assert!(said.contains("name ns1.example.test. A"), "{said}");

        assert_eq!(server.dig("www.example.test", "A"), ["192.0.2.10"]);
        assert_eq!(server.dig("ns1.example.test", "A"), ["127.0.0.1"]);

        let sha512 =
            Rfc2136Config { key_name: KEY_512.parse().unwrap(), algorithm: "hmac-sha512".parse().unwrap(), ..base };
        Rfc2136::new(&sha512).unwrap().write(&write).await.unwrap();
        assert_eq!(server.dig("www.example.test", "A"), ["198.51.100.20"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_the_server_does_not_serve_is_no_reading() {
    for server in servers() {
        let provider = provider(server.address());
        let elsewhere = Record {
            zone: "example.org".parse().unwrap(),
            name: "www.example.org".parse().unwrap(),
            ..record("www", RecordType::A)
        };
        permanent(provider.read(&elsewhere).await);
        let nothing = Reading { rrset: None, fence: FenceReading::Absent };
        let said = permanent(provider.write(&change(&elsewhere, nothing, &["198.51.100.20"], 1)).await);
        assert!(said.contains("primary server of zone example.org"), "{:?}: {said}", server.kind);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_racing_writers_exactly_one_wins() {
    for server in servers() {
        let provider = Arc::new(provider(server.address()));
        let racer = record("racer", RecordType::A);
        switch(&provider, &racer, &["192.0.2.1"], 1).await.unwrap();
        for round in 2..7u64 {
            let expected = provider.read(&racer).await.unwrap();
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let (provider, racer, expected) = (Arc::clone(&provider), racer.clone(), expected.clone());
                    tokio::spawn(async move {
                        let value = format!("198.51.{round}.{writer}");
                        (provider.write(&change(&racer, expected, &[&value], round)).await, value)
                    })
                })
                .collect();
            let mut winners = Vec::new();
            for writer in writers {
                match writer.await.unwrap() {
                    (Ok(_), value) => winners.push(value),
                    (Err(ProviderError::Stale(_)), _) => {}
                    (Err(error), _) => panic!("{:?}: {error:?}", server.kind),
                }
            }
            assert_eq!(winners.len(), 1, "{:?}: {winners:?}", server.kind);
            assert_eq!(server.dig("racer.example.test", "A"), winners);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_never_empty_and_never_mixed_while_it_moves() {
    for server in servers() {
        let provider = Arc::new(provider(server.address()));
        let www = record("www", RecordType::A);
        switch(&provider, &www, &["198.51.100.20", "198.51.100.21"], 1).await.unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let watcher = tokio::spawn({
            let (provider, www, over) = (Arc::clone(&provider), www.clone(), Arc::clone(&over));
            async move {
                let regions = [["198.51.100.20", "198.51.100.21"], ["203.0.113.30", "203.0.113.31"]];
                let regions = regions.map(|values| rrset(RecordType::A, 60, &values));
                let mut seen = 0;
                while !over.load(Ordering::Relaxed) {
                    let reading = provider.read(&www).await.unwrap();
                    assert!(regions.iter().any(|region| reading.rrset.as_ref() == Some(region)), "{reading:?}");
                    // Even epochs serve the second region: a reading never pairs a fence with the other's values.
                    let FenceReading::Present(fence) = reading.fence else { panic!("no fence") };
                    assert_eq!(reading.rrset.as_ref(), Some(&regions[usize::from(fence.epoch.0.is_multiple_of(2))]));
                    seen += 1;
                }
                seen
            }
        });
        for epoch in 2..52u64 {
            let values =
                if epoch % 2 == 0 { ["203.0.113.30", "203.0.113.31"] } else { ["198.51.100.20", "198.51.100.21"] };
            switch(&provider, &www, &values, epoch).await.unwrap();
        }
        over.store(true, Ordering::Relaxed);
        let seen: u32 = watcher.await.unwrap();
        println!("{:?}: {seen} readings during 50 switches", server.kind);
        assert!(seen >= 10, "{seen}");
    }
}

/// Invariant 6: the write of a superseded epoch arrives late, and the server itself turns it down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_write_is_refused_by_the_server() {
    for server in servers() {
        let proxy = HoldProxy::start(server.address()).await;
        let old_leader =
            Rfc2136::new(&Rfc2136Config { timeout: Duration::from_millis(1500), ..config(proxy.address) }).unwrap();
        let new_leader = provider(server.address());
        let www = record("www", RecordType::A);
        switch(&old_leader, &www, &["192.0.2.10"], 1).await.unwrap();

        proxy.hold_next_update().await;
        let expected = old_leader.read(&www).await.unwrap();
        let delayed = change(&www, expected, &["203.0.113.66"], 2);
        let (lost, ()) = tokio::join!(old_leader.write(&delayed), proxy.caught());
        assert!(matches!(lost, Err(ProviderError::Indeterminate(_))), "{lost:?}");

        switch(&new_leader, &www, &["198.51.100.20"], 3).await.unwrap();
        let before = new_leader.read(&www).await.unwrap();
        let rcode = proxy.release().await;
        assert!(rcode == 7 || rcode == 8, "{:?}: YXRRSET or NXRRSET expected, rcode {rcode}", server.kind);
        assert_eq!(new_leader.read(&www).await.unwrap(), before);
        assert_eq!(server.dig("www.example.test", "A"), ["198.51.100.20"]);
        assert_eq!(server.dig("_quorate.www.example.test", "TXT"), ["\"v=1 cluster=prod epoch=3\""]);

        // The hardest case: the values came back to what the delayed writer had read. The fence alone tells the two apart.
        proxy.hold_next_update().await;
        let delayed = change(&www, new_leader.read(&www).await.unwrap(), &["203.0.113.66"], 4);
        let (lost, ()) = tokio::join!(old_leader.write(&delayed), proxy.caught());
        assert!(matches!(lost, Err(ProviderError::Indeterminate(_))), "{lost:?}");
        switch(&new_leader, &www, &["192.0.2.10"], 5).await.unwrap();
        switch(&new_leader, &www, &["198.51.100.20"], 6).await.unwrap();
        let rcode = proxy.release().await;
        assert_eq!(rcode, 8, "{:?}: NXRRSET", server.kind);
        assert_eq!(server.dig("www.example.test", "A"), ["198.51.100.20"]);
        assert_eq!(server.dig("_quorate.www.example.test", "TXT"), ["\"v=1 cluster=prod epoch=6\""]);
    }
}

/// A server that says yes to everything without a signature: an answer that proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_signed_with_the_key_is_no_success() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (rcode, strip_key) in [(0u8, true), (8, true), (0, false)] {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let length = client.read_u16().await.unwrap();
            let mut message = vec![0; usize::from(length)];
            client.read_exact(&mut message).await.unwrap();
            // The request's own signature is sent back when it is not stripped: right key, wrong message.
            message[2] |= 0x80;
            message[3] = rcode;
            if strip_key {
                message.truncate(12);
                message[4..12].fill(0);
            }
            client.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
            client.write_all(&message).await.unwrap();
            let _ = client.read_u8().await;
        });
        let reading = Reading { rrset: None, fence: FenceReading::Absent };
        let write = change(&record("www", RecordType::A), reading, &["198.51.100.20"], 1);
        let result = provider(address).write(&write).await;
        assert!(matches!(result, Err(ProviderError::Indeterminate(_))), "rcode {rcode}: {result:?}");
        server.abort();
    }
}
