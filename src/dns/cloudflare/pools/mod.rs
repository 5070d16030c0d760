//! Cloudflare's load balancers: which of an account's pools take the traffic of a host name. Grade C: a stale write is not
//! refused.
//!
//! A load balancer lies in a zone and is named by the host name that it answers for, as the record of type POOL is. What a
//! switch changes is `default_pools` and `fallback_pool`, so that the service file has the names that people see in the
//! dashboard. The other way, `enabled` on the pools or their endpoints, was not taken and is not written here: a pool may
//! serve many load balancers, it would take one call a pool, so that a switch could be half done, and its two states leave
//! nowhere to keep a fence that changes with them.
//!
//! * The *values* are names of pools; a name that two pools share is no name, and they go by their ids. The pools that are not
//!   named take nothing, not even as the fallback: Cloudflare sends traffic there by its own checks when all others fail, and
//!   it would find the region that a quorum left. So the fallback is one of the values, too. Another, such as a pool of error
//!   pages, is a value of its own: `fallback:NAME`.
//! * Pools that stay keep their order, which is their priority; those that come are put behind them, by name.
//! * The *fence* is a part of the description, `[quorate v=1 cluster=… epoch=…]`: in brackets and not a line, because the
//!   dashboard's field has one line. What else the description says stays.
//! * One PATCH changes values and fence together, and names nothing else: regions, countries, rules, session affinity and
//!   steering stay as they are. What they send past the default pools no switch moves; `quoratectl provider check` says so.
//!
//! Cloudflare's API knows no condition here: its schema of `PATCH /zones/{zone}/load_balancers/{id}` has neither `If-Match`
//! nor a version, and `modified_on` is only ever answered. (Read in the API reference and in cloudflare-python 5.9.0, which is
//! generated from that schema.)
//!
//! What this never does: send a PATCH twice, make a load balancer or a pool, or switch to pools that are all disabled, where
//! Cloudflare would answer nothing at all (invariant 5).

mod balancer;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod rights;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::future::join;
use reqwest::Method;

use super::{CloudflareConfig, LONGEST_REQUEST, client::CallError, client::Client, zones::Zones};
use crate::{
    core::{
        names::RegionName,
        record::{DomainName, Member, Record, RecordType, RecordValue, RrSet},
    },
    dns::{Change, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt, clip, http::Effect},
};
use balancer::{Balancer, Pool, Pools};
pub use rights::policy;

/// What it takes to reach an account's load balancers.
#[derive(Debug, Clone)]
pub struct CloudflarePoolsConfig {
    /// As for its DNS; the token needs other rights.
    pub access: CloudflareConfig,
    /// The ids of pools, by name. Where there are any, no others are looked up, which takes one right less.
    pub pool_ids: BTreeMap<Member, String>,
}

/// One Cloudflare token.
#[derive(Debug)]
pub struct CloudflarePools {
    client: Client,
    zones: Zones,
    /// Those that the configuration names.
    given: Option<Pools>,
}

/// What was found, with Cloudflare's ids.
struct Found {
    zone: String,
    balancer: Option<Balancer>,
    pools: Pools,
    reading: Reading,
}

impl CloudflarePools {
    /// Checks the token's form. Does not connect.
    ///
    /// # Errors
    /// The token is empty, or no HTTP client could be made.
    pub fn new(config: &CloudflarePoolsConfig) -> Result<Self, String> {
        let CloudflarePoolsConfig { access, pool_ids } = config;
        let client = Client::new(access.base_url.clone(), access.token.clone(), access.timeout)?;
        let pool = |(name, id): (&Member, &String)| Pool { id: id.clone(), name: name.to_string(), enabled: None };
        let given = (!pool_ids.is_empty()).then(|| Pools::new(pool_ids.iter().map(pool).collect()));
        Ok(Self { client, zones: Zones::new(&access.zone_ids), given })
    }

    /// The load balancer of that host name.
    async fn balancer(&self, zone: &str, name: &DomainName) -> Result<Option<Balancer>, ProviderError> {
        let all: Vec<Balancer> = self
            .client
            .get(&format!("/zones/{zone}/load_balancers"), &[])
            .await
            .map_err(|error| error.into_provider_error(Effect::None))?;
        let mut named = all.into_iter().filter(|balancer| balancer.is_named(name));
        let found = named.next();
        match (&found, named.next()) {
            (Some(first), Some(second)) => Err(ProviderError::Permanent {
                message: format!("{name} has two load balancers: {} and {}", clip(&first.id), clip(&second.id)),
                hint: "remove one of them".to_owned(),
            }),
            _ => Ok(found),
        }
    }

    /// The pools that a load balancer of the zone can have.
    async fn pools(&self, zone: &DomainName) -> Result<Pools, ProviderError> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let account = self.zones.account(&self.client, zone).await?;
        let listed = self.client.get(&format!("/accounts/{account}/load_balancers/pools"), &[]).await;
        listed.map(Pools::new).map_err(|error| match error {
            CallError::Refused(refusal) if refusal.lacks_a_right() => ProviderError::Permanent {
                message: format!("the token may not list the account's pools: {refusal}"),
                hint: "give it Account / Load Balancing: Monitors and Pools / Read (`quoratectl provider policy`), or \
                       write the pools' ids into pool_ids in node.toml"
                    .to_owned(),
            },
            other => other.into_provider_error(Effect::None),
        })
    }

    async fn find(&self, record: &Record) -> Result<Found, ProviderError> {
        only_pools(record)?;
        let zone = self.zones.id(&self.client, &record.zone).await?;
        let (balancer, pools) = join(self.balancer(&zone, &record.name), self.pools(&record.zone)).await;
        let (balancer, pools) = (balancer?, pools?);
        let reading = Reading {
            rrset: balancer
                .as_ref()
                .map(|balancer| balancer.values(&pools))
                .transpose()
                .map_err(|error| ProviderError::Permanent {
                    message: format!("{record} has a pool that Quorate cannot name: {error}"),
                    hint: "take that pool out of the load balancer by hand".to_owned(),
                })?
                .filter(|values| !values.is_empty())
                .map(|values| RrSet { ttl: record.ttl, values }),
            fence: balancer.as_ref().map_or(crate::dns::FenceReading::Absent, Balancer::fence),
        };
        Ok(Found { zone, balancer, pools, reading })
    }
}

/// Refuses what no load balancer is.
fn only_pools(record: &Record) -> Result<(), ProviderError> {
    if record.rtype == RecordType::Pool {
        return Ok(());
    }
    Err(ProviderError::Permanent {
        message: format!("{record} is a DNS record, and `{}` switches load balancers", record.provider),
        hint: "give it the type POOL, or a provider of type cloudflare".to_owned(),
    })
}

#[async_trait]
impl Provider for CloudflarePools {
    fn kind(&self) -> &'static str {
        "cloudflare-pools"
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    fn fence_place(&self, record: &Record) -> String {
        format!("the text `[quorate …]` in the description of the load balancer {}", record.name)
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        Ok(self.find(record).await?.reading)
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        let record = &change.record;
        only_pools(record)?;
        change.check_values(|value| matches!(value, RecordValue::Member(_)))?;
        let before = self.find(record).await?;
        if !change.holds_at(&before.reading) {
            return Err(ProviderError::Stale(format!("{record} is not what was read: {}", before.reading)));
        }
        let balancer = before.balancer.ok_or_else(|| ProviderError::Permanent {
            message: format!("Cloudflare has no load balancer {} in {}", record.name, record.zone),
            hint: "make it in the dashboard (Traffic, Load Balancing), with the pools of one region".to_owned(),
        })?;
        let wanted = balancer.patch(&before.pools, change)?;
        let path = format!("/zones/{}/load_balancers/{}", before.zone, balancer.id);
        let body = serde_json::json!(wanted);
        let done = self.client.call::<Balancer>(Method::PATCH, &path, &[], Some(&body)).await;
        let (after, ray) = done.map_err(|error| match error {
            CallError::Refused(refusal) if refusal.is_missing() => {
                ProviderError::Stale(format!("{record} was removed since it was read: {refusal}"))
            }
            other => other.into_provider_error(Effect::Change),
        })?;
        // Without a condition the answer is all that there is: it must be what was asked for.
        if !after.holds(&wanted) {
            let said = format!("Cloudflare took a change of {record} and answers with another one (CF-RAY {ray})");
            return Err(ProviderError::Indeterminate(said));
        }
        let at = after.modified_on.as_deref().map(|at| format!(", modified on {}", clip(at))).unwrap_or_default();
        Ok(Receipt(format!("Cloudflare changed load balancer {}{at}, CF-RAY {ray}", clip(&balancer.id))))
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        self.look_at_rights(record).await
    }

    async fn values(&self, record: &Record, regions: &[(RegionName, RrSet)]) -> Vec<Finding> {
        self.look_at_values(record, regions).await
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        policy(records)
    }
}
