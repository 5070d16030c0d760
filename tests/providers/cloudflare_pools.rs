//! `cloudflare-pools` at the fake that cloudflare-python passes, too (`tests/cloudflare_client_check.py`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use quorate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
        safety::RuleOutcome,
    },
    dns::{
        Change, Finding, Grade, Provider, ProviderError, Receipt,
        cloudflare::{
            CloudflareConfig,
            pools::{CloudflarePools, CloudflarePoolsConfig},
        },
        inspect::subject::{CREDENTIALS, RIGHTS, ZONE as ZONE_FINDING},
    },
    secret::Secret,
};
use serde_json::{Value, json};

use crate::{
    contract::{Handle, Of, Subject, Trouble, Truth, epoch_of},
    fake_cloudflare::{ALL, FakeCloudflare, Scope, TOKEN, ZONE_ID},
    fault_proxy::{Fault, FaultProxy, Reply},
    over_http::{self, Refusals},
};

const ZONE: &str = "example.test";
const SHOP: &str = "shop.example.test";
const READ: (&str, &str) = ("GET", "/load_balancers");
const WRITE: (&str, &str) = ("PATCH", "/load_balancers/");

struct AtCloudflare {
    fake: FakeCloudflare,
    proxy: FaultProxy,
}

impl AtCloudflare {
    /// A load balancer that sends everything to `eu`; `us`, `asia` and `sorry` are there, too.
    async fn start(more: &Value) -> Self {
        let fake = FakeCloudflare::start(ZONE).await;
        for name in ["eu", "us", "asia", "sorry"] {
            fake.seed_pool(name, true);
        }
        fake.seed_balancer(SHOP, &["eu"], more);
        let proxy = FaultProxy::start(fake.http.address).await;
        Self { fake, proxy }
    }

    fn config(&self, timeout: Duration) -> CloudflarePoolsConfig {
        let access = CloudflareConfig {
            base_url: format!("http://{}/client/v4", self.proxy.address).parse().unwrap(),
            token: Secret::new(TOKEN),
            zone_ids: BTreeMap::new(),
            timeout,
        };
        CloudflarePoolsConfig { access, pool_ids: BTreeMap::new() }
    }

    fn pools(&self) -> CloudflarePools {
        CloudflarePools::new(&self.config(Duration::from_secs(30))).unwrap()
    }

    /// How many changes were sent since the last time.
    fn patches(&self) -> usize {
        self.proxy.take_log().iter().filter(|call| call.starts_with("PATCH")).count()
    }
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    Some(Box::new(AtCloudflare::start(&json!({ "description": "the shop" })).await))
}

fn record(name: &str) -> Record {
    Record {
        provider: "cloudflare-lb".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: name.parse().unwrap(),
        rtype: RecordType::Pool,
        ttl: 0,
    }
}

fn members(values: &[&str]) -> BTreeSet<RecordValue> {
    values.iter().map(|value| RecordValue::parse(RecordType::Pool, value).unwrap()).collect()
}

async fn switch(pools: &CloudflarePools, values: &[&str], epoch: u64) -> Result<Receipt, ProviderError> {
    let expected = pools.read(&record(SHOP)).await?;
    let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(epoch) };
    let rrset = RrSet { ttl: 0, values: members(values) };
    pools.write(&Change { record: record(SHOP), expected, rrset, fence }).await
}

/// An error as Cloudflare words it.
fn refusal(status: u16, code: i64) -> Reply {
    let body = json!({ "success": false, "errors": [{ "code": code, "message": "no" }], "result": null }).to_string();
    over_http::refusal(status, "application/json", &body)
}

#[async_trait]
impl Subject for AtCloudflare {
    fn name(&self) -> &'static str {
        "cloudflare pools"
    }

    fn provider(&self) -> Handle {
        Arc::new(self.pools())
    }

    fn record(&self) -> Record {
        record(SHOP)
    }

    fn values(&self) -> [&'static str; 3] {
        ["eu", "us", "asia"]
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record("nothing.example.test"))
    }

    async fn truth(&self) -> Truth {
        let balancer = self.fake.balancer(SHOP);
        let (mut values, fallback) = self.fake.pools_of(&balancer);
        if !values.contains(&fallback) {
            values.push(format!("fallback:{fallback}"));
        }
        values.sort();
        let description = balancer["description"].as_str().unwrap();
        let marks = description.split("[quorate ").skip(1);
        Truth { values, fence: marks.map(|text| text.split(']').next().unwrap().to_owned()).collect() }
    }

    async fn put_fence(&self, text: Option<&str>) {
        let mark = text.map(|text| format!(" [quorate {text}]")).unwrap_or_default();
        self.fake.edit_balancer(SHOP, &json!({ "description": format!("the shop{mark}") }));
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        let fault = match trouble {
            Trouble::EmptyAnswer => Fault::empty(of == Of::Writing),
            other => {
                let (too_many, expired) = (refusal(429, 971), refusal(401, 1_000));
                over_http::fault(other, Refusals { too_many, expired, forbidden: refusal(403, 10_000) })
            }
        };
        self.proxy.fail_next(if of == Of::Reading { READ } else { WRITE }, fault);
        let hangs = matches!(trouble, Trouble::Hang { .. });
        let timeout = Duration::from_secs(if hangs { 3 } else { 30 });
        Ok(Arc::new(CloudflarePools::new(&self.config(timeout)).unwrap()))
    }

    async fn disarm(&self) -> usize {
        self.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        self.patches()
    }

    async fn caught(&self) {
        self.proxy.caught().await;
    }

    async fn release(&self) {
        self.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_one_call_and_changes_pools_and_fence_alone() {
    let kept = json!({
        "description": "the shop, ask Anna", "steering_policy": "random", "session_affinity": "cookie", "proxied": true,
        "region_pools": { "WNAM": ["1"] }, "rules": [{ "name": "api", "disabled": true }],
        "random_steering": { "default_weight": 1 },
    });
    let at = AtCloudflare::start(&kept).await;
    let pools = at.pools();
    assert_eq!((pools.kind(), pools.grade()), ("cloudflare-pools", Grade::C));
    let mut before = at.fake.balancer(SHOP);
    for (epoch, value) in [(1, "eu"), (2, "us"), (3, "eu")] {
        at.patches();
        let receipt = switch(&pools, &[value], epoch).await.unwrap();
        assert!(receipt.0.contains("CF-RAY 8f0815fake-CDG") && receipt.0.contains("modified on 2026"), "{receipt:?}");
        assert_eq!(at.patches(), 1, "values and fence change in one call");
        let after = at.fake.balancer(SHOP);
        assert_eq!(at.fake.pools_of(&after), (vec![value.to_owned()], value.to_owned()));
        before["default_pools"] = json!([at.fake.pool_id(value)]);
        before["fallback_pool"] = json!(at.fake.pool_id(value));
        before["description"] = json!(format!("the shop, ask Anna [quorate v=1 cluster=prod epoch={epoch}]"));
        before["modified_on"] = after["modified_on"].clone();
        assert_eq!(after, before, "everything else is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_keep_their_order_and_the_fallback_is_one_of_them_or_named() {
    let at = AtCloudflare::start(&json!({})).await;
    let pools = at.pools();
    let us = at.fake.pool_id("us");
    at.fake.edit_balancer(SHOP, &json!({ "default_pools": [us, at.fake.pool_id("eu")], "fallback_pool": us }));
    let read = pools.read(&record(SHOP)).await.unwrap();
    assert_eq!(read.rrset.unwrap().values, members(&["eu", "us"]));
    for (epoch, values, order, fallback) in [
        (1, &["eu", "us", "asia"][..], &["us", "eu", "asia"][..], "us"),
        (2, &["asia", "eu"], &["eu", "asia"], "asia"),
        (3, &["eu", "fallback:sorry"], &["eu"], "sorry"),
        (4, &["fallback:sorry", "us", "asia"], &["asia", "us"], "sorry"),
        (5, &["us"], &["us"], "us"),
    ] {
        switch(&pools, values, epoch).await.unwrap();
        let (found, last) = at.fake.pools_of(&at.fake.balancer(SHOP));
        assert_eq!((found, last.as_str()), (order.iter().map(ToString::to_string).collect(), fallback), "{values:?}");
        let read = pools.read(&record(SHOP)).await.unwrap();
        assert_eq!((read.rrset.clone().unwrap().values, epoch_of(&read)), (members(values), Some(epoch)));
    }
    // Cloudflare's own checks would find the other region there: that is not what was asked for, and is seen.
    at.fake.edit_balancer(SHOP, &json!({ "fallback_pool": at.fake.pool_id("eu") }));
    let read = pools.read(&record(SHOP)).await.unwrap();
    assert_eq!(read.rrset.unwrap().values, members(&["us", "fallback:eu"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_leave_no_traffic_or_is_no_pool_is_refused_by_its_name() {
    let at = AtCloudflare::start(&json!({})).await;
    let pools = at.pools();
    at.fake.edit_pool("asia", &json!({ "enabled": false }));
    at.fake.seed_pool("twin", true);
    at.fake.seed_pool("twin", true);
    let (before, us) = (at.fake.balancer(SHOP), at.fake.pool_id("us"));
    for (values, says) in [
        (&["mars"][..], "no pool `mars`"),
        (&["eu", "fallback:mars"], "no pool `mars`"),
        (&[&*us], "call it by its name, `us`"),
        (&["twin"], "more than one pool has this name"),
        (&["asia"], "are disabled: asia"),
        (&["fallback:eu"], "its fallback alone"),
        (&["eu", "fallback:eu"], "leave the `fallback:` out"),
        (&["eu", "fallback:us", "fallback:sorry"], "one fallback pool"),
    ] {
        let error = switch(&pools, values, 1).await.unwrap_err();
        assert!(matches!(error, ProviderError::Permanent { .. }), "{values:?}: {error:?}");
        assert!(error.to_string().contains(says), "{values:?}: {error}");
    }
    assert_eq!((at.patches(), at.fake.balancer(SHOP)), (0, before));
    // One that is enabled is enough, and Cloudflare passes the other by.
    switch(&pools, &["asia", "us"], 1).await.unwrap();
    // Without its name, a pool goes by its id.
    let twin = at.fake.pool_id("twin");
    switch(&pools, &[&twin], 2).await.unwrap();

    let nothing = record("nothing.example.test");
    let expected = pools.read(&nothing).await.unwrap();
    let fence = Fence { cluster: "prod".parse().unwrap(), epoch: Epoch(1) };
    let rrset = RrSet { ttl: 0, values: members(&["eu"]) };
    let error = pools.write(&Change { record: nothing, expected, rrset, fence }).await.unwrap_err().to_string();
    assert!(error.contains("no load balancer nothing.example.test in example.test; make it"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_must_be_what_was_asked_for_and_a_load_balancer_may_be_gone() {
    let at = AtCloudflare::start(&json!({})).await;
    let pools = at.pools();
    let other = json!({ "success": true, "errors": [], "messages": [], "result": at.fake.balancer(SHOP) });
    let reply = Reply { status: 200, headers: vec![], body: other.to_string() };
    at.proxy.fail_next(WRITE, Fault::Answer { reply, applied: false });
    let error = switch(&pools, &["us"], 1).await.unwrap_err();
    assert!(matches!(error, ProviderError::Indeterminate(_)), "{error:?}");

    at.proxy.fail_next(WRITE, Fault::Hold);
    let (wrote, ()) = tokio::join!(switch(&pools, &["us"], 2), async {
        at.proxy.caught().await;
        at.fake.remove_balancer(SHOP);
        at.proxy.release();
    });
    assert!(matches!(wrote, Err(ProviderError::Stale(_))), "{wrote:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_found_out_without_changing_anything() {
    let at = AtCloudflare::start(&json!({})).await;
    let outcome = |findings: &[Finding], subject: &str| {
        findings.iter().find(|finding| finding.subject == subject).map(|finding| finding.outcome)
    };
    let (pass, fail, unknown) = (Some(RuleOutcome::Pass), Some(RuleOutcome::Fail), Some(RuleOutcome::Unknown));
    let look = async |pools: CloudflarePools| pools.rights(&record(SHOP)).await;
    let without = |lost: Scope| ALL.iter().copied().filter(|scope| *scope != lost).collect::<Vec<_>>();

    at.fake.set_scopes(&without(Scope::PoolsEdit));
    let all = look(at.pools()).await;
    for subject in [CREDENTIALS, ZONE_FINDING, "pools", RIGHTS, "steering"] {
        assert_eq!(outcome(&all, subject), pass, "{subject}: {all:?}");
    }
    at.fake.set_scopes(&without(Scope::BalancersEdit));
    assert_eq!(outcome(&look(at.pools()).await, RIGHTS), fail);
    at.fake.set_scopes(&without(Scope::PoolsRead));
    let blind = look(at.pools()).await;
    assert_eq!(outcome(&blind, ZONE_FINDING), fail);
    assert!(format!("{blind:?}").contains("Monitors and Pools / Read") && !format!("{blind:?}").contains(TOKEN));

    // With ids in the configuration one right is enough.
    at.fake.set_scopes(&[Scope::BalancersRead, Scope::BalancersEdit]);
    let mut told = at.config(Duration::from_secs(30));
    told.access.zone_ids = BTreeMap::from([(ZONE.parse().unwrap(), ZONE_ID.to_owned())]);
    told.pool_ids = ["eu", "us"].map(|name| (name.parse().unwrap(), at.fake.pool_id(name))).into();
    let told = CloudflarePools::new(&told).unwrap();
    let findings = told.rights(&record(SHOP)).await;
    assert_eq!((outcome(&findings, RIGHTS), outcome(&findings, "pools")), (pass, unknown), "{findings:?}");
    switch(&told, &["us"], 1).await.unwrap();
    assert_eq!(told.read(&record(SHOP)).await.unwrap().rrset.unwrap().values, members(&["us"]));

    // What sends traffic elsewhere is named; what does not count is not.
    at.fake.set_scopes(ALL);
    for (fields, wanted) in [
        (json!({ "region_pools": { "WNAM": [at.fake.pool_id("eu")] } }), unknown),
        (json!({ "steering_policy": "off" }), pass),
        (json!({ "rules": [{ "name": "api", "disabled": false }] }), unknown),
        (json!({ "rules": [{ "name": "api", "disabled": true }] }), pass),
        (json!({ "enabled": false }), fail),
    ] {
        at.fake.edit_balancer(SHOP, &fields);
        assert_eq!(outcome(&look(at.pools()).await, "steering"), wanted, "{fields}");
    }
    let (before, changes) = (at.fake.balancer(SHOP), at.fake.changes().len());
    at.fake.set_token_status("expired");
    let expired = look(at.pools()).await;
    assert!(expired.iter().all(|finding| finding.outcome != RuleOutcome::Pass), "{expired:?}");
    assert_eq!((at.fake.balancer(SHOP), at.fake.changes().len()), (before, changes));
    let policy = at.pools().policy(&[record(SHOP)]);
    for text in ["Zone / Load Balancers / Edit", "Account / Load Balancing: Monitors and Pools / Read", ZONE] {
        assert!(policy[0].text.contains(text), "{policy:?}");
    }
}
