//! `ovh` with a farm of an IP load balancer, at the fake that python-ovh passes, too (`tests/dns/ovh.rs`).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quorate::{
    core::record::{Record, RecordType},
    dns::ovh::{Ovh, OvhConfig},
    secret::Secret,
};

use crate::{
    contract::{Handle, Of, Subject, Trouble, Truth},
    fake_ovh::{APPLICATION_KEY, APPLICATION_SECRET, CONSUMER_KEY, FakeOvh, balancer::FakeFarm},
    fault_proxy::{Fault, FaultProxy},
    ovh,
};

const BALANCER: &str = "ip-203.0.113.1";
/// What reads a farm, and what publishes: the call that a write stands or falls with.
const READ: (&str, &str) = ("GET", "/http/farm/7/server");
const PUBLISH: (&str, &str) = ("POST", "/refresh");
/// The first call of a write that changes anything.
const STAGE: (&str, &str) = ("PUT", "/http/farm/7");

struct AtBalancer {
    fake: FakeOvh,
    proxy: FaultProxy,
}

pub async fn subject() -> Option<Box<dyn Subject>> {
    let fake = FakeOvh::start("example.test").await;
    fake.seed_farm(BALANCER, ("http", 7), "web", &[(811, "web-a", true), (812, "web-b", false), (813, "web-c", false)]);
    // A farm that takes no traffic at all.
    fake.seed_farm(BALANCER, ("http", 8), "idle", &[(821, "idle-a", false)]);
    // A deployment is done when it is asked for, so that the truth is never on its way.
    fake.balancer(BALANCER, |balancer| balancer.takes = Duration::ZERO);
    let proxy = FaultProxy::start(fake.http).await;
    Some(Box::new(AtBalancer { fake, proxy }))
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

impl AtBalancer {
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

    fn farm(&self) -> FakeFarm {
        self.fake.deployed(BALANCER)[&("http".to_owned(), 7)].clone()
    }
}

#[async_trait]
impl Subject for AtBalancer {
    fn name(&self) -> &'static str {
        "ovh iplb"
    }

    fn provider(&self) -> Handle {
        self.with(Duration::from_secs(30))
    }

    fn record(&self) -> Record {
        record("http-7")
    }

    fn values(&self) -> [&'static str; 3] {
        ["web-a", "web-b", "web-c"]
    }

    fn absent(&self) -> Result<Record, &'static str> {
        Ok(record("http-8"))
    }

    /// What is deployed: the servers that take traffic, and the fence in the farm's name, of which a write under way says more.
    async fn truth(&self) -> Truth {
        let farm = self.farm();
        let name = farm.display_name.clone().unwrap_or_default();
        let note = name.split_once("_quorate ").map(|(_, note)| note.split(' ').take(3).collect::<Vec<_>>().join(" "));
        Truth { values: farm.taking(), fence: note.into_iter().collect() }
    }

    async fn put_fence(&self, text: Option<&str>) {
        let name = text.map_or_else(|| "web".to_owned(), |text| format!("web _quorate {text}"));
        self.fake.balancer(BALANCER, |balancer| {
            balancer.staged.get_mut(&("http".to_owned(), 7)).expect("the farm").display_name = Some(name);
            balancer.settle();
        });
    }

    fn has_later_step(&self) -> Result<(), &'static str> {
        Ok(())
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
        let fault = ovh::fault(of, trouble);
        if trouble == Trouble::PutOff {
            // What comes after the mark and two servers is the fence, once the values are published.
            (0..3).for_each(|_| self.proxy.fail_next(call, Fault::Pass));
        }
        self.proxy.fail_next(call, fault);
        let hangs = matches!(trouble, Trouble::Hang { .. });
        Ok(if hangs { self.with(Duration::from_secs(3)) } else { self.provider() })
    }

    async fn disarm(&self) -> usize {
        self.proxy.disarm()
    }

    async fn sent(&self) -> usize {
        ovh::sent(&self.proxy)
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
