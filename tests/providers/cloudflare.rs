//! `cloudflare` against the fake of Cloudflare's API, after the fake was held against Cloudflare's own client; and what only
//! Cloudflare has: ids, the proxy, comments, tags, TTLs of its own.

use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};

use async_trait::async_trait;
use quorate::{
    core::{
        record::{Record, RecordType},
        safety::RuleOutcome,
    },
    dns::{
        Finding, Grade, Provider, ProviderError,
        cloudflare::{Cloudflare, CloudflareConfig},
        inspect::subject,
    },
    secret::Secret,
};
use serde_json::json;

use crate::{
    changes::{ADDRESSES, EU, FENCE, US, ZONE, change, epoch_of, nothing, record, rrset, switch, unquoted, www},
    contract::{Handle, Of, Subject, Trouble, Truth},
    fake_cloudflare::{FakeCloudflare, Scope, TOKEN, ZONE_ID},
    fault_proxy::FaultProxy,
    over_http::{OverHttp, Refusals, refusal},
    python,
};

const WWW: &str = "www.example.test";

struct AtCloudflare {
    fake: FakeCloudflare,
    http: OverHttp,
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    let fake = FakeCloudflare::start(ZONE).await;
    fake.seed(WWW, "A", EU, 60, &json!({}));
    let refused = |status, code, message: &str| {
        let errors = json!([{ "code": code, "message": message }]);
        let body = json!({ "success": false, "errors": errors, "messages": [], "result": null });
        refusal(status, "application/json", &body.to_string())
    };
    let http = OverHttp {
        proxy: FaultProxy::start(fake.http.address).await,
        read: ("GET", "/dns_records"),
        write: ("POST", "/dns_records/batch"),
        refusals: Refusals {
            too_many: refused(429, 971, "Please wait and consider throttling your request speed"),
            expired: refused(401, 1_000, "Invalid API Token"),
            forbidden: refused(403, 10_000, "Authentication error"),
        },
    };
    Some(Box::new(AtCloudflare { fake, http }))
}

impl AtCloudflare {
    fn with(&self, timeout: Duration) -> Handle {
        let base_url = format!("http://{}/client/v4", self.http.proxy.address).parse().unwrap();
        Arc::new(Cloudflare::new(&CloudflareConfig { base_url, timeout, ..config(&self.fake) }).unwrap())
    }
}

#[async_trait]
impl Subject for AtCloudflare {
    fn name(&self) -> &'static str {
        "cloudflare"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        www()
    }

    fn values(&self) -> [&'static str; 3] {
        ADDRESSES
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(nothing())
    }

    async fn truth(&self) -> Truth {
        Truth { values: self.fake.contents(WWW, "A"), fence: unquoted(&self.fake.contents(FENCE, "TXT")) }
    }

    async fn put_fence(&self, text: Option<&str>) {
        self.fake.remove(FENCE, "TXT");
        if let Some(text) = text {
            self.fake.seed(FENCE, "TXT", &format!("\"{text}\""), 60, &json!({}));
        }
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        self.http.fail_next(of, trouble);
        Ok(if matches!(trouble, Trouble::Hang { .. }) { self.with(Duration::from_secs(3)) } else { self.provider() })
    }

    async fn disarm(&self) -> usize {
        self.http.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        self.http.sent()
    }

    async fn caught(&self) {
        self.http.proxy.caught().await;
    }

    async fn release(&self) {
        self.http.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}

fn config(fake: &FakeCloudflare) -> CloudflareConfig {
    CloudflareConfig {
        base_url: fake.url().parse().unwrap(),
        token: Secret::new(TOKEN),
        zone_ids: BTreeMap::new(),
        timeout: Duration::from_secs(5),
    }
}

/// A fake with `www` in the EU, switched once so that the fence stands.
async fn fenced() -> (FakeCloudflare, Cloudflare) {
    let fake = FakeCloudflare::start(ZONE).await;
    fake.seed(WWW, "A", EU, 60, &json!({}));
    let cloudflare = Cloudflare::new(&config(&fake)).unwrap();
    switch(&cloudflare, &www(), &[EU], 1).await.unwrap();
    (fake, cloudflare)
}

/// Without this the other tests would only show that the client agrees with a fake by the same hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_passes_cloudflares_own_client() {
    let Some(bin) = python::environment(&["cloudflare==5.9.0"]) else { return };
    let fake = FakeCloudflare::start(ZONE).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloudflare_client_check.py");
    let mut check = Command::new(bin.join("python"));
    check.arg(script).args([&fake.url(), ZONE, TOKEN]);
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("every check passed"), "{text}");
    text.lines().filter(|line| line.starts_with("cloudflare")).for_each(|line| println!("TABLE: {line}"));
}

/// The id of the fence is the condition: whoever read the older one comes too late, even if nothing else tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_writers_that_read_the_same_one_wins() {
    for round in 0..4 {
        let (fake, cloudflare) = fenced().await;
        let expected = cloudflare.read(&www()).await.unwrap();
        let writes = (0..8_u64).map(|i| change(&www(), expected.clone(), &[&format!("192.0.2.{i}")], 2 + i));
        let writes: Vec<_> = writes.collect();
        let results = futures::future::join_all(writes.iter().map(|write| cloudflare.write(write))).await;
        let won: Vec<_> = (0..8).filter(|i| results[*i].is_ok()).collect();
        assert_eq!(won.len(), 1, "round {round}: {results:?}");
        assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(ProviderError::Stale(_)))), "{results:?}");
        assert_eq!(fake.contents(WWW, "A"), [format!("192.0.2.{}", won[0])]);
        assert_eq!(fake.batches(), 2, "adoption, and the one that won");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_clusters_that_adopt_a_record_one_wins() {
    let fake = FakeCloudflare::start(ZONE).await;
    fake.seed(WWW, "A", EU, 60, &json!({}));
    let cloudflare = Cloudflare::new(&config(&fake)).unwrap();
    let expected = cloudflare.read(&www()).await.unwrap();
    let writes: Vec<_> = (1..9).map(|epoch| change(&www(), expected.clone(), &[US], epoch)).collect();
    let results = futures::future::join_all(writes.iter().map(|write| cloudflare.write(write))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert_eq!(fake.contents(FENCE, "TXT").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_others_made_anew_is_not_written_over() {
    let (fake, cloudflare) = fenced().await;
    let expected = cloudflare.read(&www()).await.unwrap();
    // The same value under another id, between the reading of the ids and the batch: as close as a test can come to it is a
    // batch with ids of before, which the fence's deletion has shown to fail; here the value's id is the one that is gone.
    let id = fake.records().into_iter().find(|record| record.rtype == "A").unwrap().id;
    fake.remake(&id);
    cloudflare.write(&change(&www(), expected.clone(), &[US], 2)).await.unwrap();
    let id = fake.records().into_iter().find(|record| record.rtype == "A").unwrap().id;
    fake.edit(&id, "192.0.2.66");
    let error = cloudflare.write(&change(&www(), expected, &[US], 3)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Stale(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_keeps_ids_proxy_comment_and_tags() {
    let fake = FakeCloudflare::start(ZONE).await;
    let kept = json!({ "proxied": true, "comment": "the shop", "tags": ["team:web"] });
    fake.seed(WWW, "A", EU, 1, &kept);
    let cloudflare = Cloudflare::new(&config(&fake)).unwrap();
    assert_eq!(cloudflare.grade(), Grade::B);
    // Behind the proxy the TTL is Cloudflare's: no drift may come of it.
    assert_eq!(cloudflare.read(&www()).await.unwrap().rrset, Some(rrset(RecordType::A, 60, &[EU])));
    for (epoch, values) in [(1, vec![EU]), (2, vec![US]), (3, vec![US, EU]), (4, vec![EU])] {
        let before = fake.records();
        let receipt = switch(&cloudflare, &www(), &values, epoch).await.unwrap();
        assert!(receipt.0.contains("proxied") && receipt.0.contains("CF-RAY 8f0815fake-CDG"), "{receipt:?}");
        let after = fake.records();
        let records: Vec<_> = after.iter().filter(|record| record.rtype == "A").collect();
        assert_eq!(records.len(), values.len());
        for record in &records {
            assert!(record.proxied && record.ttl == 1, "{record:?}");
            assert_eq!((&record.comment, &record.tags), (&json!("the shop"), &json!(["team:web"])));
        }
        let id = |records: &[crate::fake_cloudflare::FakeRecord], rtype: &str| {
            records.iter().find(|record| record.rtype == rtype).map(|record| record.id.clone())
        };
        if epoch == 2 {
            assert_eq!(id(&before, "A"), id(&after, "A"), "changed in place");
            assert_ne!(id(&before, "TXT"), id(&after, "TXT"), "each epoch's fence has its own id");
        } else if epoch == 1 {
            assert_ne!(id(&before, "A"), id(&after, "A"), "adopted: the old id was the condition");
        } else {
            let mut both = records.iter().filter(|record| before.iter().any(|old| old.id == record.id));
            assert!(both.next().is_some(), "what stays keeps its id");
        }
        let read = cloudflare.read(&www()).await.unwrap();
        assert_eq!((read.rrset, epoch), (Some(rrset(RecordType::A, 60, &values)), epoch));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ttls_are_what_cloudflare_takes_and_it_is_said() {
    let (fake, cloudflare) = fenced().await;
    for (ttl, published) in [(5, 60), (86_400, 86_400), (604_800, 86_400), (1, 60)] {
        let record = quorate::core::record::Record { ttl, ..www() };
        assert_eq!(cloudflare.published(&rrset(RecordType::A, ttl, &[US])).ttl, published);
        let epoch = epoch_of(&cloudflare.read(&record).await.unwrap()) + 1;
        let receipt = switch(&cloudflare, &record, &[US], epoch).await.unwrap();
        assert_eq!(receipt.0.contains(&format!("TTL {ttl} made {published}")), ttl != published, "{receipt:?}");
        assert_eq!(cloudflare.read(&record).await.unwrap().rrset.unwrap().ttl, published);
    }
    // What stands as automatic is published with 300 s.
    let id = fake.seed("auto.example.test", "A", EU, 1, &json!({}));
    let auto = record("auto.example.test", RecordType::A);
    assert_eq!(cloudflare.read(&auto).await.unwrap().rrset.unwrap().ttl, 300, "{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_new_records_and_other_zones() {
    let (fake, cloudflare) = fenced().await;
    fake.seed("cdn.example.test", "CNAME", "eu.example.net", 60, &json!({}));
    let cdn = record("cdn.example.test", RecordType::Cname);
    switch(&cloudflare, &cdn, &["us.example.net"], 1).await.unwrap();
    assert_eq!(fake.contents("cdn.example.test", "CNAME"), ["us.example.net"]);
    let fresh = record("fresh.example.test", RecordType::Aaaa);
    switch(&cloudflare, &fresh, &["2001:db8::20", "2001:db8::21"], 1).await.unwrap();
    assert_eq!(fake.contents("fresh.example.test", "AAAA"), ["2001:db8::20", "2001:db8::21"]);
    // A name that an alias stands at takes no address.
    let blocked = record("cdn.example.test", RecordType::A);
    let error = cloudflare.write(&change(&blocked, cloudflare.read(&nothing()).await.unwrap(), &[EU], 1)).await;
    assert!(matches!(error, Err(ProviderError::Stale(_) | ProviderError::Permanent { .. })), "{error:?}");

    let other = quorate::core::record::Record {
        zone: "example.invalid".parse().unwrap(),
        name: "www.example.invalid".parse().unwrap(),
        ..www()
    };
    let error = cloudflare.read(&other).await.unwrap_err().to_string();
    assert!(error.contains("no zone example.invalid") && error.contains("zone_ids"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_found_out_without_changing_anything() {
    let (fake, cloudflare) = fenced().await;
    let (records, batches) = (fake.records(), fake.batches());
    let outcome = |findings: &[Finding], subject: &str| {
        findings.iter().find(|finding| finding.subject == subject).map(|finding| finding.outcome)
    };
    let all = cloudflare.rights(&www()).await;
    for subject in [subject::CREDENTIALS, subject::ZONE, subject::RIGHTS] {
        assert_eq!(outcome(&all, subject), Some(RuleOutcome::Pass), "{all:?}");
    }
    fake.set_scopes(&[Scope::ZoneRead, Scope::DnsRead]);
    let reads = cloudflare.rights(&www()).await;
    assert_eq!(outcome(&reads, subject::RIGHTS), Some(RuleOutcome::Fail), "{reads:?}");
    fake.set_scopes(&[Scope::DnsRead, Scope::DnsEdit]);
    let fresh = Cloudflare::new(&config(&fake)).unwrap();
    assert_eq!(outcome(&fresh.rights(&www()).await, subject::ZONE), Some(RuleOutcome::Fail));
    // With the zone's id in the configuration, one right less is needed.
    let ids = BTreeMap::from([(ZONE.parse().unwrap(), ZONE_ID.to_owned())]);
    let told = Cloudflare::new(&CloudflareConfig { zone_ids: ids, ..config(&fake) }).unwrap();
    assert_eq!(outcome(&told.rights(&www()).await, subject::RIGHTS), Some(RuleOutcome::Pass));
    fake.set_token_status("expired");
    let expired = cloudflare.rights(&www()).await;
    assert!(expired.iter().all(|finding| finding.outcome != RuleOutcome::Pass), "{expired:?}");
    assert!(!format!("{expired:?}").contains(TOKEN));
    assert_eq!((fake.records(), fake.batches()), (records, batches));
    let policy = cloudflare.policy(&[www()]);
    assert!(policy[0].text.contains("Zone / DNS / Edit") && policy[0].text.contains(ZONE), "{policy:?}");
}
