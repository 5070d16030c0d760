//! What Cloudflare's API answers about load balancers and pools, and the PATCH that comes of it.

use super::balancer::{Balancer, Pool, Pools};
use crate::{
    core::{
        names::Epoch,
        record::{Fence, Record, RecordType, RecordValue, RrSet},
    },
    dns::{Change, FenceReading, Reading, cloudflare::client},
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "cloudflare-pools-answer", run: answer, seeds: answers }];

fn answer(input: &[u8]) {
    let Some((kind, body)) = split(input) else { return };
    let listed = match client::decoded::<Vec<Pool>>(200, POOLS.as_bytes()) {
        Ok(pools) if kind % 2 == 0 => pools,
        _ => client::decoded::<Vec<Pool>>(200, body).unwrap_or_default(),
    };
    let pools = Pools::new(listed);
    match client::decoded::<Vec<Balancer>>(200, body) {
        Ok(balancers) => balancers.iter().for_each(|balancer| change(balancer, &pools)),
        Err(said) => {
            assert!(
                said.len() < 4096 && !said.contains(char::is_control),
                "an answer must not flood the log: {said:?}"
            );
        }
    }
}

/// Whatever stands there: what is written reads back, under the new fence, and what else the description says stays.
fn change(balancer: &Balancer, pools: &Pools) {
    let _ = (balancer.passed_by(), pools.in_words());
    let Ok(values) = balancer.values(pools) else { return };
    let fence = Fence { cluster: "prod".parse().expect("a name"), epoch: Epoch(7) };
    let wanted = |values: &[&str]| {
        let value = |text: &&str| RecordValue::parse(RecordType::Pool, text).expect("a member");
        RrSet { ttl: 0, values: values.iter().map(value).collect() }
    };
    for rrset in [RrSet { ttl: 0, values: values.clone() }, wanted(&["us", "eu"]), wanted(&["eu", "fallback:us"])] {
        let record = Record {
            provider: "main".parse().expect("a name"),
            zone: "example.test".parse().expect("a name"),
            name: "www.example.test".parse().expect("a name"),
            rtype: RecordType::Pool,
            ttl: 0,
        };
        let expected = Reading { rrset: None, fence: balancer.fence() };
        let change = Change { record, expected, rrset: rrset.clone(), fence: fence.clone() };
        if let Ok(patch) = balancer.patch(pools, &change) {
            assert!(!patch.default_pools.is_empty() && !patch.fallback_pool.is_empty(), "a record is never empty");
            let after = balancer.with(&patch);
            assert!(after.holds(&patch));
            assert_eq!(after.values(pools).as_ref(), Ok(&rrset.values));
            if !matches!(balancer.fence(), FenceReading::Unreadable(_)) {
                assert_eq!(after.fence(), FenceReading::Present(fence.clone()));
            }
        }
    }
}

const POOLS: &str = r#"{"success":true,"errors":[],"messages":[],"result":[
    {"id":"17b5962d775c646f3f9725cbc7a53df4","name":"eu","enabled":true,"origins":[]},
    {"id":"9290f38c5d07c2e2f4df57b1f61d4196","name":"us","enabled":true,"minimum_origins":1},
    {"id":"00920f38ce07c2e2f4df50b1f61d4194","name":"sorry","enabled":false}]}"#;

fn answers() -> Vec<Vec<u8>> {
    let balancer = r#"{"id":"699d98642c564d2e855e9661899b7252","name":"www.example.test","enabled":true,"proxied":true,
        "default_pools":["17b5962d775c646f3f9725cbc7a53df4"],"fallback_pool":"00920f38ce07c2e2f4df50b1f61d4194",
        "description":"the shop [quorate v=1 cluster=prod epoch=6]","steering_policy":"geo","region_pools":{"WNAM":["1"]},
        "rules":[{"disabled":true}],"modified_on":"2026-01-01T00:00:00Z"}"#;
    vec![
        joined(0, format!(r#"{{"success":true,"errors":[],"messages":[],"result":[{balancer},{balancer}]}}"#)),
        joined(
            0,
            r#"{"success":true,"result":[{"id":"1","description":"[quorate [quorate v=1]","default_pools":null}]}"#,
        ),
        joined(1, POOLS),
        joined(1, r#"{"success":false,"errors":[{"code":1002,"message":"validation failed"}],"result":null}"#),
        joined(0, "<html>"),
        joined(0, "[".repeat(10_000)),
    ]
}
