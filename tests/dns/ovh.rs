//! `ovh` against the fake of OVH's API, after the fake was held against OVH's own client.

use std::{collections::BTreeSet, process::Command, time::Duration};

use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{
        Change, FenceReading, Grade, Provider, ProviderError, Reading, Receipt,
        ovh::{Ovh, OvhConfig, OvhError, OvhOAuth2Config},
    },
    secret::Secret,
};

use crate::{
    dns_server::dig,
    fake_ovh::{APPLICATION_KEY, APPLICATION_SECRET, CLIENT_ID, CLIENT_SECRET, CONSUMER_KEY, FakeOvh, Fault},
    python,
};

const ZONE: &str = "example.test";
const EU: &str = "203.0.113.10";
const US: &str = "198.51.100.20";

fn config(fake: &FakeOvh) -> OvhConfig {
    OvhConfig {
        endpoint: fake.url().parse().unwrap(),
        application_key: Secret::new(APPLICATION_KEY),
        application_secret: Secret::new(APPLICATION_SECRET),
        consumer_key: Secret::new(CONSUMER_KEY),
        timeout: Duration::from_secs(5),
    }
}

fn impatient(fake: &FakeOvh) -> Ovh {
    Ovh::new(&OvhConfig { timeout: Duration::from_millis(400), ..config(fake) }).unwrap()
}

fn record(name: &str, rtype: RecordType) -> Record {
    Record {
        provider: "ovh-main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: name.parse().unwrap(),
        rtype,
        ttl: 60,
    }
}

fn www() -> Record {
    record("www.example.test", RecordType::A)
}

fn rrset(rtype: RecordType, ttl: u32, values: &[&str]) -> RrSet {
    let values: BTreeSet<_> = values.iter().map(|value| RecordValue::parse(rtype, value).unwrap()).collect();
    RrSet { ttl, values }
}

fn change(record: &Record, expected: Reading, values: &[&str], epoch: u64) -> Change {
    let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(epoch) };
    Change { record: record.clone(), expected, rrset: rrset(record.rtype, record.ttl, values), fence }
}

async fn switch(ovh: &Ovh, record: &Record, values: &[&str], epoch: u64) -> Result<Receipt, ProviderError> {
    let expected = ovh.read(record).await?;
    ovh.write(&change(record, expected, values, epoch)).await
}

/// A fake with `www` in the EU, switched once so that the fence stands.
async fn fenced() -> (FakeOvh, Ovh) {
    let fake = FakeOvh::start(ZONE).await;
    fake.seed(ZONE, "www", "A", EU, 60);
    let ovh = Ovh::new(&config(&fake)).unwrap();
    switch(&ovh, &www(), &[EU], 1).await.unwrap();
    fake.take_log();
    (fake, ovh)
}

fn epoch_of(reading: &Reading) -> u64 {
    match &reading.fence {
        FenceReading::Present(fence) => fence.epoch.0,
        other => panic!("a fence expected: {other:?}"),
    }
}

/// Without this the other tests would only show that the client agrees with a fake by the same hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_passes_ovhs_own_client() {
    let Some(bin) = python::environment(&["ovh==1.2.0"]) else { return };
    let fake = FakeOvh::start(ZONE).await;
    let balancer = "ip-203.0.113.1";
    fake.seed_farm(balancer, ("http", 7), "web", &[(811, "web-a", true), (812, "web-b", false)]);
    fake.seed_farm(balancer, ("udp", 9), "dns", &[(911, "dns-a", true)]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ovh_client_check.py");
    let mut check = Command::new(bin.join("python"));
    check.arg(script).args([
        &fake.url(),
        ZONE,
        APPLICATION_KEY,
        APPLICATION_SECRET,
        CONSUMER_KEY,
        CLIENT_ID,
        CLIENT_SECRET,
        balancer,
    ]);
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("every check passed"), "{text}");
    print!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_staged_checked_and_published() {
    let fake = FakeOvh::start(ZONE).await;
    fake.seed(ZONE, "www", "A", EU, 60);
    let ovh = Ovh::new(&config(&fake)).unwrap();
    assert_eq!(ovh.grade(), Grade::C);
    let first = ovh.read(&www()).await.unwrap();
    assert_eq!(first, Reading { rrset: Some(rrset(RecordType::A, 60, &[EU])), fence: FenceReading::Absent });

    let receipt = ovh.write(&change(&www(), first, &[US], 1)).await.unwrap();
    assert!(receipt.0.contains("serial 2026010104, deployed"), "{receipt:?}");
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [US]);
    assert_eq!(dig(fake.dns, "_quorate.www.example.test", "TXT"), ["\"v=1 cluster=prod epoch=1\""]);
    let second = ovh.read(&www()).await.unwrap();
    assert_eq!((second.rrset.clone(), epoch_of(&second)), (Some(rrset(RecordType::A, 60, &[US])), 1));

    // The fence is published after the values, by a refresh of its own.
    let values = |set: &[crate::fake_ovh::FakeRecord]| set.iter().map(|r| r.target.clone()).collect::<Vec<_>>();
    let published: Vec<_> = fake.publications().iter().map(|set| values(set)).collect();
    assert_eq!(published[1..], [vec![US.to_owned()], vec![US.to_owned(), "\"v=1 cluster=prod epoch=1\"".to_owned()]]);
    assert!(!format!("{ovh:?}").contains("fake-"), "{ovh:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice_and_a_missing_one_is_named() {
    let (fake, ovh) = fenced().await;
    let ids: Vec<_> = fake.staged(ZONE).iter().map(|r| format!("/domain/zone/{ZONE}/record/{}", r.id)).collect();
    let zone = format!("/domain/zone/{ZONE}");
    let (list, any, refresh) = (format!("{zone}/record"), format!("{zone}/record/*"), format!("{zone}/refresh"));
    let (soa, status) = (format!("{zone}/soa"), format!("{zone}/status"));
    let mut grants = vec![("GET", list.as_str()), ("GET", &any), ("POST", &refresh), ("GET", &soa), ("GET", &status)];
    grants.extend(ids.iter().map(|id| ("PUT", id.as_str())));
    fake.set_grants(&grants);
    switch(&ovh, &www(), &[US], 2).await.unwrap();
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [US]);

    grants.retain(|(method, _)| *method != "PUT");
    fake.set_grants(&grants);
    let error = switch(&ovh, &www(), &[EU], 3).await.unwrap_err().to_string();
    assert!(error.contains(&format!("lacks the access rule `PUT {}`", ids[0])), "{error}");
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [US]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_publishes_in_the_middle_publishes_no_empty_record() {
    let (fake, ovh) = fenced().await;
    fake.publish_after_each_edit();
    let eu: &[&str] = &["203.0.113.10", "203.0.113.11", "203.0.113.12"];
    let us: &[&str] = &["198.51.100.20"];
    for (epoch, values) in [(2, us), (3, eu), (4, us), (5, eu), (6, &eu[..2]), (7, us)] {
        switch(&ovh, &www(), values, epoch).await.unwrap();
        let wanted: BTreeSet<_> = values.iter().map(ToString::to_string).collect();
        assert_eq!(dig(fake.dns, "www.example.test", "A").into_iter().collect::<BTreeSet<_>>(), wanted);
    }
    for set in fake.publications() {
        let values: Vec<_> = set.iter().filter(|r| r.sub_domain == "www").map(|r| r.target.as_str()).collect();
        assert!(
            !values.is_empty() && values.iter().all(|value| eu.contains(value) || us.contains(value)),
            "{values:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_as_it_was_read_is_left_alone() {
    let (fake, ovh) = fenced().await;
    let www = www();
    let old = ovh.read(&www).await.unwrap();
    switch(&ovh, &www, &[US], 2).await.unwrap();
    let before = fake.staged(ZONE);
    let error = ovh.write(&change(&www, old.clone(), &["192.0.2.66"], 3)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    // The same values under another fence are not what was read either.
    let fence_moved = Reading { fence: old.fence, ..ovh.read(&www).await.unwrap() };
    let error = ovh.write(&change(&www, fence_moved, &["192.0.2.66"], 3)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
    assert_eq!(fake.staged(ZONE), before);

    // Another cluster's fence, and a TXT that is none.
    for (target, said) in
        [("\"v=1 cluster=other epoch=9\"", "belongs to cluster `other`"), ("\"spf\"", "no fence: spf")]
    {
        fake.restage(ZONE, before[1].id, target);
        let error = switch(&ovh, &www, &["192.0.2.66"], 10).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [US]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_edits_during_the_write_is_not_published_by_it() {
    let (fake, ovh) = fenced().await;
    let (value, fence) = (fake.staged(ZONE)[0].id, fake.staged(ZONE)[1].id);
    for (id, target) in [(value, "192.0.2.66"), (fence, "\"v=1 cluster=prod epoch=9\"")] {
        let published = fake.publications().len();
        let expected = ovh.read(&www()).await.unwrap();
        // The write reads record and fence once, changes the value, and then finds another hand's work.
        fake.fail_next("GET", "/record/", Fault::Meddle { id: value, target: EU });
        fake.fail_next("GET", "/record/", Fault::Meddle { id: value, target: EU });
        fake.fail_next("GET", "/record/", Fault::Meddle { id, target });
        let error = ovh.write(&change(&www(), expected, &[US], 2)).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Indeterminate(why) if why.contains("somebody else")), "{error:?}");
        assert_eq!(fake.publications().len(), published);
        fake.restage(ZONE, value, EU);
    }
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [EU]);
}

/// OVH publishes the whole zone; that cannot be avoided, so it is at least known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_publishes_what_others_left_staged() {
    let (fake, ovh) = fenced().await;
    fake.stage(ZONE, "shop", "A", "192.0.2.99", 300);
    assert_eq!(dig(fake.dns, "shop.example.test", "A"), [""; 0]);
    switch(&ovh, &www(), &[US], 2).await.unwrap();
    assert_eq!(dig(fake.dns, "shop.example.test", "A"), ["192.0.2.99"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ttl_that_ovh_raises_is_said_aloud() {
    let (fake, ovh) = fenced().await;
    let quick = Record { ttl: 5, ..www() };
    let wanted = rrset(RecordType::A, 5, &[US]);
    assert_eq!(ovh.published(&wanted), rrset(RecordType::A, 60, &[US]));
    let receipt = switch(&ovh, &quick, &[US], 2).await.unwrap();
    assert!(receipt.0.contains("TTL 5 raised to 60"), "{receipt:?}");
    assert_eq!(ovh.read(&quick).await.unwrap().rrset, Some(ovh.published(&wanted)));
    // A change of the TTL alone is a change.
    switch(&ovh, &Record { ttl: 300, ..www() }, &[US], 3).await.unwrap();
    assert_eq!(fake.published(ZONE)[0].ttl, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_and_the_apex_are_records_like_others() {
    let fake = FakeOvh::start(ZONE).await;
    // The filter's `_` matches any character, and an empty filter matches all: neither may be taken for ours.
    fake.seed(ZONE, "xquorate.cdn", "TXT", "\"decoy\"", 60);
    fake.seed(ZONE, "cdn", "CNAME", "eu", 60);
    fake.seed(ZONE, "", "A", EU, 0);
    fake.seed(ZONE, "other", "A", "192.0.2.9", 0);
    let ovh = Ovh::new(&config(&fake)).unwrap();
    let cdn = record("cdn.example.test", RecordType::Cname);
    let reading = ovh.read(&cdn).await.unwrap();
    assert_eq!(reading.rrset, Some(rrset(RecordType::Cname, 60, &["eu.example.test"])));
    assert_eq!(reading.fence, FenceReading::Absent);
    switch(&ovh, &cdn, &["us.example.net"], 1).await.unwrap();
    assert_eq!(dig(fake.dns, "cdn.example.test", "CNAME"), ["us.example.net."]);

    let apex = record(ZONE, RecordType::A);
    switch(&ovh, &apex, &[US], 1).await.unwrap();
    assert_eq!(dig(fake.dns, ZONE, "A"), [US]);
    assert_eq!(dig(fake.dns, "_quorate.example.test", "TXT"), ["\"v=1 cluster=prod epoch=1\""]);
    assert_eq!(dig(fake.dns, "other.example.test", "A"), ["192.0.2.9"]);

    let fresh = record("fresh.example.test", RecordType::Aaaa);
    assert_eq!(ovh.read(&fresh).await.unwrap().rrset, None);
    switch(&ovh, &fresh, &["2001:db8::20", "2001:db8::21"], 1).await.unwrap();
    assert_eq!(dig(fake.dns, "fresh.example.test", "AAAA"), ["2001:db8::20", "2001:db8::21"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_corrected_and_set_again_when_ovh_says_so() {
    let fake = FakeOvh::start(ZONE).await;
    fake.seed(ZONE, "www", "A", EU, 60);
    fake.set_skew(86_400);
    let ovh = Ovh::new(&config(&fake)).unwrap();
    ovh.read(&www()).await.unwrap();
    let times = |log: &[String]| log.iter().filter(|call| call.ends_with("/auth/time")).count();
    assert!((1..=2).contains(&times(&fake.take_log())));

    fake.set_skew(-86_400);
    switch(&ovh, &www(), &[US], 1).await.unwrap();
    assert!((1..=2).contains(&times(&fake.take_log())));

    // A write that is refused for its time was not applied, so it is signed anew, once.
    fake.fail_next("PUT", "/record/", Fault::Error { status: 400, code: "QUERY_TIME_OUT", retry_after: None });
    switch(&ovh, &www(), &[EU], 2).await.unwrap();
    let log = fake.take_log();
    assert_eq!(log.iter().filter(|call| call.starts_with("PUT")).count(), 3, "value, value again, fence: {log:?}");
    for _ in 0..2 {
        fake.fail_next("PUT", "/record/", Fault::Error { status: 400, code: "QUERY_TIME_OUT", retry_after: None });
    }
    let error = switch(&ovh, &www(), &[US], 3).await.unwrap_err();
    assert!(matches!(error, ProviderError::Transient { .. }), "{error:?}");
    assert_eq!(fake.take_log().iter().filter(|call| call.starts_with("PUT")).count(), 2);
}

/// What a failure is taken for.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Transient(Option<u64>),
    Indeterminate,
    Unfinished(Option<u64>),
    /// The hint contains this.
    Permanent(&'static str),
}

fn assert_taken(error: &ProviderError, taken: &Taken, case: &str) {
    let same = match (error, taken) {
        (ProviderError::Transient { retry_after, .. }, Taken::Transient(seconds)) => {
            *retry_after == seconds.map(Duration::from_secs)
        }
        (ProviderError::Unfinished { retry_after, .. }, Taken::Unfinished(seconds)) => {
            *retry_after == seconds.map(Duration::from_secs)
        }
        (ProviderError::Indeterminate(_), Taken::Indeterminate) => true,
        (ProviderError::Permanent { hint, .. }, Taken::Permanent(part)) => hint.contains(part),
        _ => false,
    };
    assert!(same, "{case}: {taken:?} expected, got {error:?}");
    let text = format!("{error} {error:?}");
    for secret in [APPLICATION_SECRET, CONSUMER_KEY, APPLICATION_KEY] {
        assert!(!text.contains(secret), "{case}: {text}");
    }
}

/// Each fault, what a reader and what a writer must make of it.
fn shapes() -> Vec<(Fault, Taken, Taken)> {
    let error = |status, code| Fault::Error { status, code, retry_after: None };
    let same = |fault, taken: fn() -> Taken| (fault, taken(), taken());
    vec![
        same(error(400, "INVALID_SIGNATURE"), || Taken::Permanent("application secret")),
        same(error(400, ""), || Taken::Permanent("bug")),
        same(error(403, "NOT_CREDENTIAL"), || Taken::Permanent("validationUrl")),
        same(error(403, "INVALID_CREDENTIAL"), || Taken::Permanent("validationUrl")),
        same(error(403, "INVALID_KEY"), || Taken::Permanent("application key")),
        same(error(403, "NOT_GRANTED_CALL"), || Taken::Permanent("access rule")),
        same(error(403, "FORBIDDEN"), || Taken::Permanent("allowedIPs")),
        same(error(409, ""), || Taken::Transient(None)),
        same(error(460, "EXPIRED"), || Taken::Permanent("renew")),
        same(error(302, ""), || Taken::Permanent("base URL")),
        same(Fault::Error { status: 429, code: "", retry_after: Some(7) }, || Taken::Transient(Some(7))),
        (Fault::Html408 { applied: false }, Taken::Transient(None), Taken::Indeterminate),
        (Fault::Html408 { applied: true }, Taken::Transient(None), Taken::Indeterminate),
        (Fault::Html502 { applied: true }, Taken::Transient(None), Taken::Indeterminate),
        (error(500, "INTERNAL"), Taken::Transient(None), Taken::Indeterminate),
        (Fault::Drop { applied: false }, Taken::Transient(None), Taken::Indeterminate),
        (Fault::Drop { applied: true }, Taken::Transient(None), Taken::Indeterminate),
        (Fault::Hang, Taken::Transient(None), Taken::Indeterminate),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_of_a_reading_is_told_apart() {
    let (fake, ovh) = fenced().await;
    let impatient = impatient(&fake);
    ovh.read(&www()).await.unwrap();
    impatient.read(&www()).await.unwrap();
    let mut cases = shapes();
    cases.push((
        Fault::Error { status: 404, code: "", retry_after: None },
        Taken::Permanent("zone exists"),
        Taken::Indeterminate,
    ));
    cases.push((Fault::Garbage, Taken::Transient(None), Taken::Indeterminate));
    cases.push((Fault::Flood, Taken::Transient(None), Taken::Indeterminate));
    for (fault, taken, _) in cases {
        let ovh = if matches!(fault, Fault::Hang) { &impatient } else { &ovh };
        fake.fail_next("GET", "/record", fault.clone());
        let error = ovh.read(&www()).await.unwrap_err();
        assert_taken(&error, &taken, &format!("{fault:?}"));
        if let Fault::Error { .. } = fault {
            assert!(error.to_string().contains("X-Ovh-QueryID EU.ext-1.fake.0815"), "{error}");
        }
        ovh.read(&www()).await.unwrap();
    }
}

/// Whatever goes wrong at whichever call of a write: it is not reported as done, and the same epoch can be finished.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_of_a_write_is_told_apart_and_the_epoch_can_be_finished() {
    let (fake, ovh) = fenced().await;
    let impatient = impatient(&fake);
    impatient.read(&www()).await.unwrap();
    let fence = fake.staged(ZONE)[1].id;
    let fence_path: &'static str = format!("/record/{fence}").leak();
    let mut epoch = 1;
    for (method, path) in [("PUT", "/record/"), ("POST", "/refresh"), ("PUT", fence_path)] {
        for (fault, _, taken) in shapes() {
            epoch += 1;
            let (to, from) = if epoch % 2 == 0 { (US, EU) } else { (EU, US) };
            let case = format!("{method} {path} {fault:?}");
            let ovh = if matches!(fault, Fault::Hang) { &impatient } else { &ovh };
            let expected = ovh.read(&www()).await.unwrap();
            assert_eq!(
                (expected.rrset.as_ref(), epoch_of(&expected)),
                (Some(&rrset(RecordType::A, 60, &[from])), epoch - 1)
            );
            fake.fail_next(method, path, fault);
            let error = ovh.write(&change(&www(), expected, &[to], epoch)).await.unwrap_err();
            // Once the values are published, a refusal that may pass leaves the write half done, and OVH waited for as it asked.
            let taken = match taken {
                Taken::Transient(seconds) if path == fence_path => Taken::Unfinished(seconds),
                other => other,
            };
            assert_taken(&error, &taken, &case);
            // The fence does not vouch for what was not published.
            let reading = ovh.read(&www()).await.unwrap();
            if epoch_of(&reading) == epoch {
                assert_eq!(dig(fake.dns, "www.example.test", "A"), [to], "{case}");
            }
            ovh.write(&change(&www(), reading, &[to], epoch)).await.unwrap();
            assert_eq!(dig(fake.dns, "www.example.test", "A"), [to], "{case}");
            assert_eq!(
                dig(fake.dns, "_quorate.www.example.test", "TXT"),
                [format!("\"v=1 cluster=prod epoch={epoch}\"")],
                "{case}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_publishes_nothing_is_no_success() {
    let (fake, ovh) = fenced().await;
    fake.set_errors(ZONE, &["NS record at the apex is missing"]);
    let error = switch(&ovh, &www(), &[US], 2).await.unwrap_err().to_string();
    assert!(error.contains("NS record at the apex") && error.contains("mend the zone"), "{error}");
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [EU]);
    assert_eq!(epoch_of(&ovh.read(&www()).await.unwrap()), 1);
    fake.set_errors(ZONE, &[]);
    switch(&ovh, &www(), &[US], 2).await.unwrap();
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [US]);
}

/// The leader dies, or loses its lease, in the middle of a write: its future is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_dropped_at_any_call_is_finished_by_the_next_leader() {
    let calls = {
        let (fake, ovh) = fenced().await;
        switch(&ovh, &www(), &[US], 2).await.unwrap();
        fake.take_log().len()
    };
    // The reading before the write makes four of the calls.
    assert!(calls > 12, "{calls}");
    for dead_at in 4..calls {
        let (fake, ovh) = fenced().await;
        let expected = ovh.read(&www()).await.unwrap();
        fake.take_log();
        let write = change(&www(), expected, &[US], 2);
        let watch = async {
            while fake.peek_log() + 4 <= dead_at {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        };
        tokio::select! { _ = ovh.write(&write) => {}, () = watch => {} }
        let successor = Ovh::new(&config(&fake)).unwrap();
        switch(&successor, &www(), &[US], 2).await.unwrap();
        assert_eq!(dig(fake.dns, "www.example.test", "A"), [US], "dead at call {dead_at}");
        assert_eq!(dig(fake.dns, "_quorate.www.example.test", "TXT"), ["\"v=1 cluster=prod epoch=2\""]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listening_means_that_nothing_happened() {
    let fake = FakeOvh::start(ZONE).await;
    let config = OvhConfig { endpoint: "http://127.0.0.1:1/1.0".parse().unwrap(), ..config(&fake) };
    let error = Ovh::new(&config).unwrap().read(&www()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Transient { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_has_one_token_until_it_is_good_no_more() {
    let fake = FakeOvh::start(ZONE).await;
    fake.seed(ZONE, "www", "A", EU, 60);
    let config = OvhOAuth2Config {
        endpoint: fake.url().parse().unwrap(),
        token_url: Some(fake.token_url().parse().unwrap()),
        client_id: Secret::new(CLIENT_ID),
        client_secret: Secret::new(CLIENT_SECRET),
        timeout: Duration::from_secs(5),
    };
    let ovh = Ovh::with_oauth2(&config).unwrap();
    switch(&ovh, &www(), &[US], 1).await.unwrap();
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [US]);
    let asked = |log: Vec<String>| log.iter().filter(|call| call.contains("oauth2")).count();
    assert_eq!(asked(fake.take_log()), 1, "one token for all calls, and no clock");

    // A token that is turned down is replaced, once, and the write goes on: it was refused unread.
    fake.revoke_token();
    switch(&ovh, &www(), &[EU], 2).await.unwrap();
    assert_eq!(asked(fake.take_log()), 1);
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [EU]);
    for _ in 0..2 {
        fake.fail_next("GET", "/record", Fault::Error { status: 401, code: "", retry_after: None });
    }
    fake.fail_next("GET", "/record", Fault::Error { status: 401, code: "", retry_after: None });
    fake.fail_next("GET", "/record", Fault::Error { status: 401, code: "", retry_after: None });
    let token = fake.token().unwrap();
    let error = ovh.read(&www()).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Permanent { hint, .. } if hint.contains("service account")), "{error:?}");
    let shown = format!("{error} {error:?} {ovh:?} {config:?}");
    for secret in [CLIENT_SECRET, token.as_str()] {
        assert!(!shown.contains(secret), "{shown}");
    }

    // Who is no client gets no token, and nothing of its secret is said.
    let wrong = OvhOAuth2Config { client_secret: Secret::new("hunter2"), ..config.clone() };
    let error = Ovh::with_oauth2(&wrong).unwrap().read(&www()).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Permanent { hint, .. } if hint.contains("client id")), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
    // A write for which no token could be had was not made.
    let expected = Ovh::with_oauth2(&config).unwrap().read(&www()).await.unwrap();
    let fresh = Ovh::with_oauth2(&config).unwrap();
    fake.fail_next("POST", "oauth2", Fault::Drop { applied: false });
    let error = fresh.write(&change(&www(), expected, &[US], 3)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Transient { .. }), "{error:?}");
    assert_eq!(dig(fake.dns, "www.example.test", "A"), [EU]);

    let elsewhere = OvhOAuth2Config { token_url: None, ..config };
    assert_eq!(Ovh::with_oauth2(&elsewhere).unwrap_err(), OvhError::TokenUrl);
    let known = OvhOAuth2Config { endpoint: "ovh-ca".parse().unwrap(), ..elsewhere };
    Ovh::with_oauth2(&known).unwrap();
}
