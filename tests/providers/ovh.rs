//! `ovh` at the fake that python-ovh passes, too (`tests/dns/ovh.rs`).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quorate::{
    core::record::{Record, RecordType},
    dns::ovh::{Ovh, OvhConfig},
    secret::Secret,
};

use crate::{
    contract::{Handle, Of, Subject, Trouble, Truth},
    dns_server::dig,
    fake_ovh::{APPLICATION_KEY, APPLICATION_SECRET, CONSUMER_KEY, FakeOvh},
    fault_proxy::{Fault, FaultProxy, Reply},
    over_http::{self, Refusals},
};

const ZONE: &str = "example.test";
/// What reads a record, and what publishes: the call that a write stands or falls with.
const READ: (&str, &str) = ("GET", "/record");
const PUBLISH: (&str, &str) = ("POST", "/refresh");
/// The first call of a write that changes anything.
const STAGE: (&str, &str) = ("PUT", "/record/");

struct AtOvh {
    fake: FakeOvh,
    proxy: FaultProxy,
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    let fake = FakeOvh::start(ZONE).await;
    fake.seed(ZONE, "www", "A", "203.0.113.10", 60);
    let proxy = FaultProxy::start(fake.http).await;
    Some(Box::new(AtOvh { fake, proxy }))
}

fn record(name: &str) -> Record {
    Record {
        provider: "ovh-main".parse().unwrap(),
        zone: ZONE.parse().unwrap(),
        name: format!("{name}.{ZONE}").parse().unwrap(),
        rtype: RecordType::A,
        ttl: 60,
    }
}

/// An error as OVH words it.
fn refusal(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"message":"refused","errorCode":"{code}","httpCode":"{status}","class":"Client"}}"#);
    over_http::refusal(status, "application/json", &body)
}

/// What goes wrong at OVH.
pub fn fault(of: Of, trouble: Trouble) -> Fault {
    match trouble {
        Trouble::EmptyAnswer => Fault::empty(of == Of::Writing),
        other => {
            let refusals = Refusals {
                too_many: refusal(429, ""),
                expired: refusal(403, "INVALID_CREDENTIAL"),
                forbidden: refusal(403, "NOT_GRANTED_CALL"),
            };
            over_http::fault(other, refusals)
        }
    }
}

/// A write publishes twice, values and then fence: it is the first publication that must not be repeated.
pub fn sent(proxy: &FaultProxy) -> usize {
    let log = proxy.take_log();
    let publications = log.iter().filter(|call| call.starts_with("POST") && call.ends_with("/refresh")).count();
    publications.div_ceil(2)
}

impl AtOvh {
    fn with(&self, timeout: Duration) -> Handle {
        let config = OvhConfig {
            endpoint: format!("http://{}/1.0", self.proxy.address).parse().unwrap(),
            application_key: Secret::new(APPLICATION_KEY),
            application_secret: Secret::new(APPLICATION_SECRET),
            consumer_key: Secret::new(CONSUMER_KEY),
            timeout,
        };
        Arc::new(Ovh::new(&config).unwrap())
    }
}

#[async_trait]
impl Subject for AtOvh {
    fn name(&self) -> &'static str {
        "ovh"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        record("www")
    }

    fn values(&self) -> [&'static str; 3] {
        ["203.0.113.10", "198.51.100.20", "198.51.100.21"]
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record("nothing"))
    }

    fn has_later_step(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// What is published, as the fake's nameserver answers it.
    async fn truth(&self) -> Truth {
        tokio::task::block_in_place(|| {
            let texts = dig(self.fake.dns, &format!("_quorate.www.{ZONE}"), "TXT");
            let fence = texts.iter().map(|text| text.trim_matches('"').to_owned()).collect();
            Truth { values: dig(self.fake.dns, &format!("www.{ZONE}"), "A"), fence }
        })
    }

    async fn put_fence(&self, text: Option<&str>) {
        let staged = self.fake.staged(ZONE);
        let fence = staged.iter().find(|record| record.field_type == "TXT").expect("a fence");
        // Nothing is removed: the fence is as good as gone when it is an older one of ours.
        let text = text.unwrap_or("v=1 cluster=prod epoch=0");
        self.fake.restage(ZONE, fence.id, &format!("\"{text}\""));
        self.fake.publish(ZONE);
    }

    async fn arm(&self, of: Of, trouble: Trouble) -> Result<Handle, &'static str> {
        let call = match (of, trouble) {
            (Of::Reading, _) => READ,
            // Refused, or late, at the first step; everything else at the one that counts.
            (
                Of::Writing,
                Trouble::TooMany | Trouble::PutOff | Trouble::Expired | Trouble::Forbidden | Trouble::Held,
            ) => STAGE,
            (Of::Writing, _) => PUBLISH,
        };
        if trouble == Trouble::Garbage && of == Of::Writing {
            return Err("a refresh of OVH answers 200 without content, and whatever it holds is not read");
        }
        let fault = fault(of, trouble);
        if trouble == Trouble::PutOff {
            // What comes after the value is the fence, once the values are published.
            (0..1).for_each(|_| self.proxy.fail_next(call, Fault::Pass));
        }
        self.proxy.fail_next(call, fault);
        let hangs = matches!(trouble, Trouble::Hang { .. });
        Ok(if hangs { self.with(Duration::from_secs(3)) } else { self.provider() })
    }

    async fn disarm(&self) -> usize {
        self.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        sent(&self.proxy)
    }

    async fn caught(&self) {
        self.proxy.caught().await;
    }

    async fn release(&self) {
        self.proxy.release();
    }

    fn secrets(&self) -> Vec<String> {
        [APPLICATION_KEY, APPLICATION_SECRET, CONSUMER_KEY].map(str::to_owned).into()
    }
}
