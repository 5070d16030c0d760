//! The same failover at Route 53, as ministack plays it: the leader's batch races with those of eight others.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use quorate::{
    aws::{Keys, Settings},
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{
        Change, Provider, ProviderError,
        route53::{Route53, Route53Config},
    },
    secret::Secret,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::{CLUSTER, Cluster, EAST, FENCE, PROVIDER, Place, RECORD, SOON, WEST, ZONE, until},
    dns_server,
    fake_ovh::FakeOvh,
    fault_proxy::{Fault, FaultProxy},
    ministack::{KEY, Ministack},
    route53_zone::{Zone, set},
    stage::{Health, POLICY, Regions, Watch},
};

/// How many others write at the same moment.
const RACERS: usize = 8;

/// Plays Route 53's nameservers: another zone server that shows what ministack holds.
async fn nameserver(zone: Zone) -> (FakeOvh, AbortOnDropHandle<()>) {
    let shown = FakeOvh::start(ZONE).await;
    let id = shown.seed(ZONE, "app", "A", WEST, 30);
    let mirror = shown.mirror();
    let showing = tokio::spawn(async move {
        let mut last = WEST.to_owned();
        loop {
            if let [value] = &zone.values(RECORD, "A").await[..]
                && *value != last
            {
                last.clone_from(value);
                mirror.show(ZONE, id, value);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    (shown, AbortOnDropHandle::new(showing))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_route53_with_eight_others_racing_for_the_same_record() {
    if !dns_server::available("dig", "bind9-dnsutils") {
        return;
    }
    let Some(server) = Ministack::start() else { return };
    let zone = Zone::create(server.address(), ZONE).await;
    zone.change(&[("CREATE", set(RECORD, "A", 30, &[WEST], ""))]).await;
    let proxy = FaultProxy::start(server.address()).await;
    let (shown, _showing) = nameserver(zone.clone()).await;
    let regions = Regions::start().await;
    let provider = format!(
        "[provider.{PROVIDER}]\ntype = 'route53'\nendpoint_url = 'http://{}'\nnameservers = ['{}']\n\
         access_key_id_env = 'E2E_AWS'\nsecret_access_key_env = 'E2E_AWS'\n",
        proxy.address, shown.dns
    );
    let cluster = Cluster::start(vec![Place::local(provider); 3]);
    cluster.apply(&regions.service(POLICY));
    cluster.serves("west", 1);
    assert_eq!(zone.values(FENCE, "TXT").await, [format!("v=1 cluster={CLUSTER} epoch=1")]);

    // Eight others have read what stands, and have each a batch ready for the next epoch.
    let keys = Keys { id: Secret::new(KEY), secret: Secret::new(KEY), token: None };
    let racer = Route53::new(&Route53Config {
        aws: Settings { endpoint_url: Some(server.url()), keys: Some(keys), ..Settings::default() },
        hosted_zones: [].into(),
        set_identifier: None,
        timeout: Route53Config::TIMEOUT,
        insync_within: Duration::ZERO,
    });
    let record = Record {
        provider: PROVIDER.parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: RECORD.parse().unwrap(),
        rtype: RecordType::A,
        ttl: 30,
    };
    let expected = racer.read(&record).await.unwrap();
    let rrset = RrSet { ttl: 30, values: [RecordValue::parse(RecordType::A, EAST).unwrap()].into() };
    let fence = Fence { cluster: CLUSTER.parse().unwrap(), epoch: Epoch(2) };
    let change = Arc::new(Change { record, expected, rrset, fence });

    // The leader's own batch is held on its way, so that all nine are under way together.
    let watch = Watch::begin(shown.dns);
    proxy.take_log();
    proxy.fail_next(("POST", "/rrset"), Fault::Hold);
    let died = regions.west.set(Health::BlackHole);
    proxy.caught().await;
    let race = join_all((0..RACERS).map(|_| racer.write(&change)));
    let (results, ()) = tokio::join!(race, async { proxy.release() });
    let won = results.iter().filter(|result| result.is_ok()).count();
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    }
    let moved = watch.until(EAST, SOON);
    cluster.serves("east", 2);
    let evidence = cluster.ctl(&["evidence", "get", "app", "2"]).ok();
    let receipts = evidence["evidence"]["receipts"].to_string();
    let leader = usize::from(receipts.contains("took change"));
    // Whoever lost the race reads what the winner wrote under the same epoch, and is content.
    println!(
        "TABLE: Route 53, eight stale writers and the leader race: {won} of the eight won, the leader {}; \
         outage to dig {} ms",
        if leader == 1 { "won" } else { "found it done" },
        moved.duration_since(died).as_millis()
    );
    assert_eq!(won + leader, 1, "one batch of nine is made: {receipts} {results:?}");
    assert_eq!(zone.values(RECORD, "A").await, [EAST]);
    assert_eq!(zone.values(FENCE, "TXT").await, [format!("v=1 cluster={CLUSTER} epoch=2")]);

    // And eight that come late, with what they read before, change nothing.
    let late = join_all((0..RACERS).map(|_| racer.write(&change))).await;
    assert!(late.iter().all(|result| matches!(result, Err(ProviderError::Stale(_)))), "{late:?}");
    assert_eq!(watch.end(), [WEST, EAST]);
    until("the trouble is over", SOON, || cluster.app()?["trouble"].is_null().then_some(()));
}
