//! `ovh` with POOL records: the farms of an IP load balancer, against the fake that python-ovh passes, too (`ovh.rs`).

use std::time::{Duration, Instant};

use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
        safety::RuleOutcome,
    },
    dns::{
        Change, FenceReading, Finding, Grade, Provider, ProviderError, Reading, Receipt,
        inspect::subject::{RIGHTS, ZONE},
        ovh::{Ovh, OvhConfig, OvhOAuth2Config},
    },
    secret::Secret,
};

use crate::fake_ovh::{
    APPLICATION_KEY, APPLICATION_SECRET, CLIENT_ID, CLIENT_SECRET, CONSUMER_KEY, FakeOvh, Fault, balancer::FakeFarm,
};

const BALANCER: &str = "ip-203.0.113.1";
const FARM: (&str, u64) = ("http", 7);
const SERVERS: [(u64, &str, bool); 3] = [(811, "web-a", true), (812, "web-b", false), (813, "web-c", false)];

fn config(fake: &FakeOvh, timeout: Duration) -> OvhConfig {
    OvhConfig {
        endpoint: fake.url().parse().unwrap(),
        application_key: Secret::new(APPLICATION_KEY),
        application_secret: Secret::new(APPLICATION_SECRET),
        consumer_key: Secret::new(CONSUMER_KEY),
        timeout,
    }
}

fn provider(fake: &FakeOvh) -> Ovh {
    Ovh::new(&config(fake, Duration::from_secs(20))).unwrap()
}

/// A load balancer with one farm, named `web`.
async fn started() -> (FakeOvh, Ovh) {
    let fake = FakeOvh::start("example.test").await;
    fake.seed_farm(BALANCER, FARM, "web", &SERVERS);
    let ovh = provider(&fake);
    (fake, ovh)
}

/// The same, switched once so that the fence stands.
async fn fenced() -> (FakeOvh, Ovh) {
    let (fake, ovh) = started().await;
    switch(&ovh, &["web-a"], 1).await.unwrap();
    deployed_with(&fake, "web _quorate v=1 cluster=prod epoch=1").await;
    fake.take_log();
    (fake, ovh)
}

fn record(name: &str) -> Record {
    Record {
        provider: "ovh-main".parse().unwrap(),
        zone: BALANCER.parse().unwrap(),
        name: format!("{name}.{BALANCER}").parse().unwrap(),
        rtype: RecordType::Pool,
        ttl: 0,
    }
}

fn web() -> Record {
    record("http-7")
}

fn rrset(values: &[&str]) -> RrSet {
    let values = values.iter().map(|value| RecordValue::parse(RecordType::Pool, value).unwrap()).collect();
    RrSet { ttl: 0, values }
}

fn change(record: &Record, expected: Reading, values: &[&str], epoch: u64) -> Change {
    let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(epoch) };
    Change { record: record.clone(), expected, rrset: rrset(values), fence }
}

async fn switch(ovh: &Ovh, values: &[&str], epoch: u64) -> Result<Receipt, ProviderError> {
    let expected = ovh.read(&web()).await?;
    ovh.write(&change(&web(), expected, values, epoch)).await
}

fn farm(fake: &FakeOvh) -> FakeFarm {
    fake.deployed(BALANCER)[&(FARM.0.to_owned(), FARM.1)].clone()
}

fn staged(fake: &FakeOvh) -> FakeFarm {
    fake.balancer(BALANCER, |balancer| balancer.staged[&(FARM.0.to_owned(), FARM.1)].clone())
}

/// Waits until the farm is deployed under a name that begins so: the fence's own deployment is not waited for by a write.
async fn deployed_with(fake: &FakeOvh, name: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let found = farm(fake).display_name.unwrap_or_default();
        if found.starts_with(name) {
            return;
        }
        assert!(Instant::now() < end, "the farm is deployed as `{found}`, not as `{name}`");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn values(reading: &Reading) -> Vec<String> {
    reading.rrset.iter().flat_map(|rrset| &rrset.values).map(ToString::to_string).collect()
}

fn epoch_of(reading: &Reading) -> u64 {
    match &reading.fence {
        FenceReading::Present(fence) => fence.epoch.0,
        other => panic!("a fence expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_staged_checked_and_deployed() {
    let (fake, ovh) = started().await;
    assert_eq!(ovh.grade(), Grade::C);
    let first = ovh.read(&web()).await.unwrap();
    assert_eq!(first, Reading { rrset: Some(rrset(&["web-a"])), fence: FenceReading::Absent });
    fake.take_log();

    let receipt = ovh.write(&change(&web(), first, &["web-b", "web-c"], 1)).await.unwrap();
    assert!(receipt.0.contains("task 7031 is done, task 7032 publishes the fence"), "{receipt:?}");
    deployed_with(&fake, "web _quorate v=1 cluster=prod epoch=1 task=7031").await;
    assert_eq!(farm(&fake).taking(), ["web-b", "web-c"]);
    let second = ovh.read(&web()).await.unwrap();
    assert_eq!((values(&second), epoch_of(&second)), (vec!["web-b".to_owned(), "web-c".to_owned()], 1));

    // The servers go out under the mark, the fence after them; new servers are on before the old one is off.
    let edits: Vec<_> = fake.take_log().into_iter().filter(|call| !call.starts_with("GET")).collect();
    let of = |rest: &str| format!("/ipLoadbalancing/{BALANCER}/{rest}");
    let wanted = [
        ("PUT", "http/farm/7"),
        ("PUT", "http/farm/7/server/812"),
        ("PUT", "http/farm/7/server/813"),
        ("PUT", "http/farm/7/server/811"),
        ("POST", "refresh"),
        ("PUT", "http/farm/7"),
        ("POST", "refresh"),
    ];
    assert_eq!(edits, wanted.map(|(method, rest)| format!("{method} {}", of(rest))));
    let names: Vec<_> = fake.balancer(BALANCER, |balancer| {
        let farms = balancer.deployments.iter().map(|farms| farms[&(FARM.0.to_owned(), FARM.1)].clone());
        farms.map(|farm| (farm.display_name.clone().unwrap(), farm.taking())).collect()
    });
    let taking = || vec!["web-b".to_owned(), "web-c".to_owned()];
    assert_eq!(
        names,
        [
            ("web _quorate v=1 cluster=prod epoch=0 next=1 +812,813 -811".to_owned(), taking()),
            ("web _quorate v=1 cluster=prod epoch=1 task=7031".to_owned(), taking())
        ]
    );
}

/// OVH may not count names among what has to be published: then one refresh is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_needs_no_publication_gets_none() {
    let (fake, ovh) = started().await;
    fake.balancer(BALANCER, |balancer| balancer.names_count = false);
    let receipt = switch(&ovh, &["web-b"], 1).await.unwrap();
    assert!(receipt.0.contains("the fence needs no publication"), "{receipt:?}");
    assert_eq!(fake.take_log().iter().filter(|call| call.ends_with("/refresh")).count(), 1);
    let receipt = switch(&ovh, &["web-b"], 2).await.unwrap();
    assert!(receipt.0.contains("no server changed"), "{receipt:?}");
    assert_eq!(epoch_of(&ovh.read(&web()).await.unwrap()), 2);
}

/// Whoever publishes after every single edit never publishes a farm without servers, nor one with a stranger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farm_is_never_empty_whoever_publishes() {
    let (fake, ovh) = started().await;
    fake.balancer(BALANCER, |balancer| balancer.impatient = true);
    for (epoch, to) in [(1, &["web-b"][..]), (2, &["web-a", "web-c"]), (3, &["web-b", "web-c"]), (4, &["web-a"])] {
        switch(&ovh, to, epoch).await.unwrap();
        assert_eq!(farm(&fake).taking(), to);
    }
    let deployments = fake.balancer(BALANCER, |balancer| balancer.deployments.clone());
    assert!(deployments.len() > 12, "{} deployments", deployments.len());
    for farms in deployments {
        assert!(!farms[&(FARM.0.to_owned(), FARM.1)].taking().is_empty(), "a farm without servers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_staged_is_not_published() {
    let (fake, ovh) = fenced().await;
    fake.seed_farm(BALANCER, ("tcp", 8), "mail", &[(821, "mail-a", true)]);
    for edits in [1, 3] {
        fake.balancer(BALANCER, |balancer| balancer.edits = edits);
        fake.take_log();
        let error = switch(&ovh, &["web-b"], 2).await.unwrap_err();
        let ProviderError::Permanent { message, hint } = &error else { panic!("{error:?}") };
        assert!(message.contains(&format!("nobody published ({edits} in gra)")), "{message}");
        assert!(hint.contains("undo them"), "{hint}");
        let edited: Vec<_> = fake.take_log().into_iter().filter(|call| !call.starts_with("GET")).collect();
        assert_eq!(edited, [""; 0], "nothing is edited");
        // And a check says so before a switch is needed.
        let staged = ovh.rights(&web()).await.into_iter().find(|found| found.subject == "staged").expect("a finding");
        assert_eq!(staged.outcome, RuleOutcome::Fail, "{staged:?}");
    }
    fake.balancer(BALANCER, |balancer| balancer.edits = 0);
    switch(&ovh, &["web-b"], 2).await.unwrap();
    assert_eq!(farm(&fake).taking(), ["web-b"]);
}

/// A writer may die before or after any call that changes anything. Whoever comes next ends what it began, and nobody sees a
/// farm that is empty or a fence whose servers were not deployed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_dies_at_any_step_costs_time_only() {
    let farm_path = "/http/farm/7";
    let steps: [(&str, &str, usize); 6] = [
        ("PUT", farm_path, 0),
        ("PUT", "/server/812", 0),
        ("PUT", "/server/811", 0),
        ("POST", "/refresh", 0),
        // The fence: its edit is the second of the name, and the fourth of anything below the farm.
        ("PUT", farm_path, 3),
        ("POST", "/refresh", 1),
    ];
    for (method, path, after) in steps {
        for applied in [false, true] {
            let (fake, ovh) = fenced().await;
            let reading = ovh.read(&web()).await.unwrap();
            let what = format!("{method} {path} after {after}, applied: {applied}");
            for _ in 0..after {
                fake.fail_next(method, path, Fault::Pass);
            }
            fake.fail_next(method, path, Fault::Drop { applied });
            let error = ovh.write(&change(&web(), reading, &["web-b"], 2)).await.expect_err(&what);
            assert!(matches!(error, ProviderError::Indeterminate(_)), "{what}: {error:?}");
            fake.clear_faults();
            drop(ovh);

            // The successor reads, and writes again under the same epoch unless it stands.
            let next = provider(&fake);
            let found = next.read(&web()).await.unwrap();
            let known = [vec!["web-a".to_owned()], vec!["web-b".to_owned()]];
            assert!(known.contains(&values(&found)), "{what}: not a region's: {found}");
            if epoch_of(&found) == 2 {
                assert_eq!((values(&found), farm(&fake).taking()), (vec!["web-b".into()], vec!["web-b".to_owned()]));
            } else {
                let done = next.write(&change(&web(), found, &["web-b"], 2)).await;
                done.unwrap_or_else(|error| panic!("{what}: the write cannot be ended: {error:?}"));
            }
            assert_eq!(farm(&fake).taking(), ["web-b"], "{what}");
            assert_eq!(epoch_of(&next.read(&web()).await.unwrap()), 2, "{what}");

            // And the next switch is not kept back by what was left staged.
            switch(&next, &["web-c"], 3).await.unwrap_or_else(|error| panic!("{what}: the next switch: {error:?}"));
            assert_eq!(farm(&fake).taking(), ["web-c"], "{what}");
            for farms in fake.balancer(BALANCER, |balancer| balancer.deployments.clone()) {
                assert!(!farms[&(FARM.0.to_owned(), FARM.1)].taking().is_empty(), "{what}: deployed empty");
            }
        }
    }
}

/// Another epoch may take over a write that died half-way, back to where it came from or on to a third region.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_epoch_takes_over_what_was_begun() {
    for to in ["web-a", "web-b", "web-c"] {
        let (fake, ovh) = fenced().await;
        fake.fail_next("PUT", "/server/811", Fault::Drop { applied: false });
        switch(&ovh, &["web-b"], 2).await.unwrap_err();
        assert_eq!(staged(&fake).taking(), ["web-a", "web-b"], "both were on when it died");
        let found = ovh.read(&web()).await.unwrap();
        assert_eq!((values(&found), epoch_of(&found)), (vec!["web-b".to_owned()], 1));
        switch(&ovh, &[to], 3).await.unwrap();
        assert_eq!(farm(&fake).taking(), [to]);
        // The older epoch comes too late, whatever it read.
        let reading = ovh.read(&web()).await.unwrap();
        let error = ovh.write(&change(&web(), reading, &["web-b"], 2)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_is_being_written_keeps_older_ones_out() {
    let (fake, ovh) = fenced().await;
    fake.fail_next("POST", "/refresh", Fault::Drop { applied: false });
    switch(&ovh, &["web-b"], 3).await.unwrap_err();
    let error = switch(&ovh, &["web-c"], 2).await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Stale(_)) && error.to_string().contains("epoch 3 is being written"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_that_meddles_in_between_is_seen_before_anything_is_published() {
    // Just before the servers are switched, and just before they are read back.
    for (method, path, after) in [("PUT", "/http/farm/7", 0), ("PUT", "/server/811", 0), ("GET", "/server/813", 2)] {
        let (fake, ovh) = fenced().await;
        let reading = ovh.read(&web()).await.unwrap();
        for _ in 0..after {
            fake.fail_next(method, path, Fault::Pass);
        }
        fake.fail_next(method, path, Fault::Switch { server: 813, active: true });
        let error = ovh.write(&change(&web(), reading, &["web-b"], 2)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Indeterminate(_)), "{path}: {error:?}");
        assert!(error.to_string().contains("edited by somebody else"), "{error}");
        assert_eq!(farm(&fake).taking(), ["web-a"], "{path}: nothing was published");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_followed_and_one_that_fails_is_no_switch() {
    // A task that OVH gives up: the fence does not come, and the next attempt publishes anew.
    for ends in ["error", "blocked", "cancelled"] {
        let (fake, ovh) = fenced().await;
        fake.balancer(BALANCER, |balancer| balancer.next_task = ends);
        let error = switch(&ovh, &["web-b"], 2).await.unwrap_err();
        assert!(error.to_string().contains(&format!("is {ends}")), "{error}");
        let found = ovh.read(&web()).await.unwrap();
        assert_eq!(epoch_of(&found), 1, "{ends}");
        // Even if OVH forgot the edits of the task that failed.
        fake.balancer(BALANCER, |balancer| balancer.edits = 0);
        switch(&ovh, &["web-b"], 2).await.unwrap();
        assert_eq!(farm(&fake).taking(), ["web-b"], "{ends}");
    }
    // One that takes longer than anybody waits is in doubt; the next attempt waits for it.
    let (fake, ovh) = fenced().await;
    fake.balancer(BALANCER, |balancer| balancer.takes = Duration::from_secs(3600));
    let hasty = provider(&fake).with_deployment_within(Duration::from_millis(700));
    let error = switch(&hasty, &["web-b"], 2).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Indeterminate(said) if said.contains("todo")), "{error:?}");
    let error = switch(&hasty, &["web-b"], 2).await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::Transient { message, .. } if message.contains("being deployed")),
        "{error:?}"
    );
    fake.balancer(BALANCER, |balancer| balancer.takes = Duration::from_millis(30));
    fake.take_log();
    switch(&ovh, &["web-b"], 2).await.unwrap();
    assert_eq!(farm(&fake).taking(), ["web-b"]);
    let refreshes = fake.take_log().iter().filter(|call| call.ends_with("/refresh")).count();
    assert_eq!(refreshes, 1, "the servers were deployed by then: the fence alone is published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_ovh_cuts_is_put_back() {
    let (fake, ovh) = started().await;
    fake.balancer(BALANCER, |balancer| balancer.name_limit = 40);
    let error = switch(&ovh, &["web-b"], 1).await.unwrap_err();
    let ProviderError::Permanent { message, hint } = &error else { panic!("{error:?}") };
    assert!(message.contains("OVH keeps 40 of 54 characters") && hint.contains("shorter name"), "{error}");
    assert_eq!(
        (staged(&fake).display_name.as_deref(), staged(&fake).taking()),
        (Some("web"), vec!["web-a".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_and_udp_farms_and_two_at_once() {
    let (fake, ovh) = started().await;
    fake.seed_farm(BALANCER, ("tcp", 8), "", &[(821, "mail-a", true), (822, "mail-b", false)]);
    fake.seed_farm(BALANCER, ("udp", 9), "dns", &[(911, "dns-a", true), (912, "dns-b", false)]);
    // Two farms of one load balancer, at the same time: one's staged edits are not taken for somebody's.
    let one = async |name: &str, to: &str| {
        let expected = ovh.read(&record(name)).await.unwrap();
        ovh.write(&change(&record(name), expected, &[to], 1)).await
    };
    let (tcp, udp, http) = tokio::join!(one("tcp-8", "mail-b"), one("udp-9", "dns-b"), one("http-7", "web-b"));
    for done in [tcp, udp, http] {
        done.unwrap();
    }
    let deployed = fake.deployed(BALANCER);
    let taking = |kind: &str, id| deployed[&(kind.to_owned(), id)].taking();
    assert_eq!(
        (taking("tcp", 8), taking("udp", 9), taking("http", 7)),
        (vec!["mail-b".to_owned()], vec!["dns-b".to_owned()], vec!["web-b".to_owned()])
    );
    assert_eq!(
        deployed[&("tcp".to_owned(), 8)].display_name.as_deref().map(|name| name.starts_with("_quorate v=1")),
        Some(true)
    );
}

/// A server of weight 0 takes nothing: switched on, it gets the default; other weights stay as people set them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_of_nothing_is_no_traffic() {
    let (fake, ovh) = started().await;
    fake.balancer(BALANCER, |balancer| {
        let servers = &mut balancer.staged.get_mut(&(FARM.0.to_owned(), FARM.1)).unwrap().servers;
        for (id, weight) in [(811, 7), (812, 0), (813, 9)] {
            let server = servers.get_mut(&id).unwrap();
            (server.active, server.weight) = (id != 813, Some(weight));
        }
        balancer.settle();
    });
    assert_eq!(values(&ovh.read(&web()).await.unwrap()), ["web-a"]);
    switch(&ovh, &["web-b", "web-c"], 1).await.unwrap();
    let weights: Vec<_> = farm(&fake).servers.values().map(|server| server.weight).collect();
    assert_eq!(
        (farm(&fake).taking(), weights),
        (vec!["web-b".into(), "web-c".into()], vec![Some(7), Some(1), Some(9)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_switched_says_why() {
    let (fake, ovh) = started().await;
    let error = switch(&ovh, &["web-x"], 1).await.unwrap_err().to_string();
    assert!(error.contains("has no server `web-x`; it has web-a, web-b, web-c"), "{error}");
    for (name, wanted) in
        [("http-8", "there is no http farm 8"), ("web", "names no farm"), ("tcp-7", "there is no tcp farm 7")]
    {
        let error = ovh.read(&record(name)).await.unwrap_err();
        assert!(
            matches!(&error, ProviderError::Permanent { message, .. } if message.contains(wanted)),
            "{name}: {error:?}"
        );
    }
    // A region whose servers are not there is found before a switch needs them.
    let regions = ["web-b", "web-x"].map(|name| ("east".parse().unwrap(), rrset(&[name])));
    let outcomes: Vec<_> = ovh.values(&web(), &regions).await.into_iter().map(|found| found.outcome).collect();
    assert_eq!(outcomes, [RuleOutcome::Pass, RuleOutcome::Fail]);
    let edited: Vec<_> = fake.take_log().into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(edited, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_the_credentials_lack() {
    let (fake, ovh) = fenced().await;
    let find = |findings: &[Finding], subject: &str| {
        findings.iter().find(|found| found.subject == subject).unwrap_or_else(|| panic!("{findings:?}")).clone()
    };
    let grants = ovh.policy(&[web()]);
    let rules: Vec<(String, String)> = grants[0]
        .text
        .lines()
        .map(|line| line.split_once(' ').map(|(method, path)| (method.to_owned(), path.trim().to_owned())).unwrap())
        .collect();
    let borrowed: Vec<_> = rules.iter().map(|(method, path)| (method.as_str(), path.as_str())).collect();
    fake.set_grants(&borrowed);
    // With exactly the rules that are printed, a check passes and a switch goes through.
    let findings = ovh.rights(&web()).await;
    assert!(findings.iter().all(|found| found.outcome == RuleOutcome::Pass), "{findings:#?}");
    assert!(find(&findings, ZONE).figure.contains("with 3 servers"), "{findings:?}");
    switch(&ovh, &["web-b"], 2).await.unwrap();
    // Without any one of them the check fails and names it, or cannot read.
    for (i, (method, path)) in rules.iter().enumerate() {
        let some: Vec<_> = borrowed.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, rule)| *rule).collect();
        fake.set_grants(&some);
        let lacks = find(&ovh.rights(&web()).await, RIGHTS);
        assert_eq!(lacks.outcome, RuleOutcome::Fail, "{method} {path}: {lacks:?}");
        assert!(lacks.figure.contains(&format!("`{method} {path}`")), "{lacks:?}");
    }
    assert!(fake.take_log().iter().any(|call| call == "GET /auth/currentCredential"));
    fake.set_grants(&[("GET", "/*"), ("PUT", "/*"), ("POST", "/*")]);

    // A service account: IAM alone knows.
    let account = Ovh::with_oauth2(&OvhOAuth2Config {
        endpoint: fake.url().parse().unwrap(),
        token_url: Some(fake.token_url().parse().unwrap()),
        client_id: Secret::new(CLIENT_ID),
        client_secret: Secret::new(CLIENT_SECRET),
        timeout: Duration::from_secs(20),
    })
    .unwrap();
    let findings = account.rights(&web()).await;
    assert_eq!(find(&findings, RIGHTS).outcome, RuleOutcome::Unknown);
    assert!(account.policy(&[web()])[0].text.contains("loadbalancer:apiovh:http/farm/server/edit\n"));
    switch(&account, &["web-c"], 3).await.unwrap();
}
