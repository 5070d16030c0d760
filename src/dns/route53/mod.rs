//! Amazon Route 53. Grade A: one change batch, which Route 53 makes whole or not at all, deletes exactly what was read and
//! creates what shall be.
//!
//! ```text
//! DELETE old record set ─┐
//! CREATE new record set  ├─ one ChangeResourceRecordSets: a DELETE must match name, type, TTL and every value
//! DELETE old fence       │
//! CREATE new fence      ─┘
//! ```
//!
//! * Never UPSERT: it carries no condition, and a late one would win over a newer one (invariant 6).
//! * A record set with a routing policy (weighted, latency, …) is one of several under its name. Ours is the one with the
//!   configured set identifier; its weight, health check and whatever else it has are kept, and the others are not touched.
//! * An alias (`alias:ZONE:NAME`) is a value like another. It has no TTL, and `EvaluateTargetHealth` stays as it is: whether the
//!   target is well is for the quorum to say.
//! * After the batch the change is followed until Route 53 calls it INSYNC on all its nameservers, for a bounded time; the
//!   receipt says when. Not to hear of it is no error of the write.
//!
//! What this never does: send a batch twice (the SDK's own retries are off), or wait for INSYNC before the change counts: a
//! leader that is deposed meanwhile drops the wait, and its successor reads the change where it stands.

mod entry;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod refusal;
mod rights;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_sdk_route53::{
    Client,
    config::Builder as Config,
    types::{
        Change as SetChange, ChangeAction, ChangeBatch, ChangeStatus, HostedZoneConfig, ResourceRecordSet, RrType,
    },
};
use futures::future::try_join;
use tokio::sync::OnceCell;

use super::{Change, FenceReading, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt, http::Effect};
use crate::{
    aws::{Access, Clock, Settings},
    core::record::{DomainName, Record, RecordValue, RrSet},
};
use refusal::meaning;
pub use rights::policy;

/// Route 53 has one endpoint for all the world, which signs for this region.
const REGION: &str = "us-east-1";
/// How many record sets are looked at under one name: the most that one page holds.
const PAGE: i32 = 300;
/// How many hosted zones are asked for at once, which is as many as are listed, and how often: an account has 500 of them unless
/// it asked for more.
const ZONES: i32 = 100;
const ZONE_PAGES: i32 = 5;
/// The pauses between two questions whether a change is INSYNC: an account has five requests a second for everything.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A batch that Route 53 took is in its database; nothing of it goes on at a later time but its way to the nameservers.
const LONGEST_REQUEST: Duration = Duration::from_mins(1);

/// What it takes to reach an account.
#[derive(Debug, Clone)]
pub struct Route53Config {
    /// Endpoint and credentials.
    pub aws: Settings,
    /// The ids of zones, by name; others are looked up, which takes one right more.
    pub hosted_zones: BTreeMap<DomainName, String>,
    /// Which record set is ours where there are several under a name.
    pub set_identifier: Option<String>,
    /// How long each call may take.
    pub timeout: Duration,
    /// How long a change is followed until it is INSYNC.
    pub insync_within: Duration,
}

impl Route53Config {
    /// The time each call may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a change is followed, unless configured: Route 53 needs up to 60 s as a rule.
    pub const INSYNC_WITHIN: Duration = Duration::from_secs(60);
}

/// One AWS account.
#[derive(Debug)]
pub struct Route53 {
    access: Access,
    client: OnceCell<Client>,
    clock: Clock,
    hosted_zones: Mutex<BTreeMap<DomainName, String>>,
    set_identifier: Option<String>,
    timeout: Duration,
    insync_within: Duration,
}

/// The record sets of record and fence, as Route 53 has them.
#[derive(Debug)]
struct Found {
    reading: Reading,
    set: Option<ResourceRecordSet>,
    fence: Option<ResourceRecordSet>,
}

impl Route53 {
    /// Connects to nothing.
    #[must_use]
    pub fn new(config: &Route53Config) -> Self {
        Self {
            access: Access::new(config.aws.clone()),
            client: OnceCell::new(),
            clock: Clock::default(),
            hosted_zones: Mutex::new(config.hosted_zones.clone()),
            set_identifier: config.set_identifier.clone(),
            timeout: config.timeout,
            insync_within: config.insync_within,
        }
    }

    async fn client(&self) -> &Client {
        let make = || async {
            let config = Config::from(&self.access.config(REGION, self.timeout).await);
            Client::from_conf(config.interceptor(self.clock.clone()).build())
        };
        Box::pin(self.client.get_or_init(make)).await
    }

    fn known_zone(&self, zone: &DomainName) -> Option<String> {
        self.hosted_zones.lock().expect("nobody panics with the lock").get(zone).cloned()
    }

    /// The id of the one public hosted zone of this name.
    async fn zone_id(&self, zone: &DomainName) -> Result<String, ProviderError> {
        if let Some(id) = self.known_zone(zone) {
            return Ok(id);
        }
        let ids = self.public_zones(zone).await?;
        let (Some(id), 1) = (ids.first(), ids.len()) else {
            return Err(ProviderError::Permanent {
                message: format!("Route 53 has {} public hosted zones named {zone}", ids.len()),
                hint: format!("name the right one: hosted_zones = {{ \"{zone}\" = \"Z…\" }}"),
            });
        };
        self.hosted_zones.lock().expect("nobody panics with the lock").insert(zone.clone(), id.clone());
        Ok(id.clone())
    }

    /// The ids of all public hosted zones of this name. Route 53 lists zones by name from this one on, [`ZONES`] at a time, with
    /// private ones of the same name between them.
    async fn public_zones(&self, zone: &DomainName) -> Result<BTreeSet<String>, ProviderError> {
        let (mut ids, mut next) = (BTreeSet::new(), None);
        for _ in 0..ZONE_PAGES {
            let call = self.client().await.list_hosted_zones_by_name().dns_name(zone.as_str()).max_items(ZONES);
            let answer = Box::pin(call.set_hosted_zone_id(next).send())
                .await
                .map_err(|error| meaning(&error, "ListHostedZonesByName", Effect::None))?;
            let of_name = answer.hosted_zones().iter().filter(|found| entry::is_name(found.name(), zone));
            let public = of_name.filter(|found| !found.config().is_some_and(HostedZoneConfig::private_zone));
            ids.extend(public.map(|found| entry::bare_id(found.id()).to_owned()));
            next = answer.next_hosted_zone_id().map(str::to_owned);
            let goes_on = answer.next_dns_name().is_some_and(|name| entry::is_name(name, zone)) && next.is_some();
            if !(answer.is_truncated() && goes_on) {
                return Ok(ids);
            }
        }
        Err(ProviderError::Permanent {
            message: format!("Route 53 has more than {} hosted zones named {zone}", ZONE_PAGES * ZONES),
            hint: format!("name the right one: hosted_zones = {{ \"{zone}\" = \"Z…\" }}"),
        })
    }

    /// Every record set of one name and type.
    async fn sets(
        &self,
        zone: &str,
        name: &DomainName,
        rtype: RrType,
    ) -> Result<Vec<ResourceRecordSet>, ProviderError> {
        let call = self.client().await.list_resource_record_sets().hosted_zone_id(zone).max_items(PAGE);
        let call = call.start_record_name(name.as_str()).start_record_type(rtype.clone());
        let answer =
            Box::pin(call.send()).await.map_err(|error| meaning(&error, "ListResourceRecordSets", Effect::None))?;
        let all = answer.resource_record_sets().len();
        let of_name = |set: &ResourceRecordSet| entry::is_name(set.name(), name) && *set.r#type() == rtype;
        let sets: Vec<_> = answer.resource_record_sets().iter().filter(|set| of_name(set)).cloned().collect();
        if answer.is_truncated() && sets.len() == all {
            return Err(ProviderError::Permanent {
                message: format!("Route 53 has more than {all} record sets for {name}"),
                hint: "remove some; no more are looked at".to_owned(),
            });
        }
        Ok(sets)
    }

    /// What stands at record and fence.
    async fn look(&self, record: &Record) -> Result<Found, ProviderError> {
        let rtype = entry::rr_type(record)?;
        let zone = self.zone_id(&record.zone).await?;
        let fence_name = record.fence_name();
        let (sets, fences) =
            try_join(self.sets(&zone, &record.name, rtype), self.sets(&zone, &fence_name, RrType::Txt)).await?;
        let set = entry::ours(record, sets, self.set_identifier.as_deref())?;
        let rrset = set.as_ref().map(|set| entry::rrset(record, set)).transpose()?;
        // A fence with a routing policy is none that this wrote.
        let texts: Vec<String> = fences.iter().flat_map(entry::texts).collect();
        let fence = match &fences[..] {
            [fence] if fence.set_identifier().is_none() => FenceReading::of(texts),
            [] => FenceReading::Absent,
            _ => FenceReading::Unreadable(texts),
        };
        Ok(Found { reading: Reading { rrset, fence }, set, fence: fences.into_iter().next() })
    }

    /// The batch of a change, from exactly what was found.
    fn batch(&self, change: &Change, found: &Found) -> Result<ChangeBatch, ProviderError> {
        let set = entry::set(&change.record, &change.rrset, found.set.as_ref(), self.set_identifier.as_deref())?;
        let fence = entry::fence(&change.record, &change.fence, change.record.ttl.max(1))?;
        let mut batch = ChangeBatch::builder().comment(format!("quorate {}", change.fence));
        let mut add = |action: ChangeAction, set: &ResourceRecordSet| -> Result<(), ProviderError> {
            let made = SetChange::builder().action(action).resource_record_set(set.clone()).build();
            batch = std::mem::take(&mut batch).changes(made.map_err(|error| entry::unbuildable(&error))?);
            Ok(())
        };
        for (old, new) in [(&found.set, &set), (&found.fence, &fence)] {
            if change.condition().is_none() {
                add(ChangeAction::Upsert, new)?;
                continue;
            }
            if let Some(old) = old {
                add(ChangeAction::Delete, old)?;
            }
            add(ChangeAction::Create, new)?;
        }
        batch.build().map_err(|error| entry::unbuildable(&error))
    }

    /// Follows a change until it is INSYNC or the time is over, and says which.
    async fn follow(&self, id: &str) -> String {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let heard = match Box::pin(self.client().await.get_change().id(id).send()).await {
                Ok(answer) if answer.change_info().is_some_and(|info| *info.status() == ChangeStatus::Insync) => {
                    let took = began.elapsed();
                    tracing::info!(change = id, ?took, "Route 53: INSYNC");
                    return format!("INSYNC after {:.1} s", took.as_secs_f64());
                }
                Ok(_) => {
                    tracing::info!(change = id, waited = ?began.elapsed(), "Route 53: PENDING");
                    "PENDING"
                }
                Err(error) => {
                    let why = meaning(&error, "GetChange", Effect::None);
                    tracing::warn!(change = id, %why, "Route 53 does not say how far the change is");
                    if !why.retryable() {
                        return format!("unknown whether INSYNC: {why}");
                    }
                    "unknown whether INSYNC"
                }
            };
            if began.elapsed() + pause >= self.insync_within {
                return format!("{heard} after {:.1} s", began.elapsed().as_secs_f64());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

#[async_trait]
impl Provider for Route53 {
    fn kind(&self) -> &'static str {
        "route53"
    }

    fn grade(&self) -> Grade {
        Grade::A
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    /// An alias has no TTL.
    fn published(&self, wanted: &RrSet) -> RrSet {
        let alias = wanted.values.iter().any(|value| matches!(value, RecordValue::Alias(_)));
        RrSet { ttl: if alias { 0 } else { wanted.ttl }, values: wanted.values.clone() }
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        Ok(self.look(record).await?.reading)
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        self.look_at_rights(record).await
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        policy(&|zone| self.known_zone(zone), records)
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check_values(|value| !matches!(value, RecordValue::Member(_)))?;
        let record = &change.record;
        // The batch must name TTLs and routing policies, which a reading does not carry. What it finds is compared with what
        // was read; what comes in between the provider itself refuses.
        let found = self.look(record).await?;
        if change.condition().is_some_and(|expected| found.reading != *expected) {
            return Err(ProviderError::Stale(format!("{record} is not what was read")));
        }
        let batch = self.batch(change, &found)?;
        let zone = self.zone_id(&record.zone).await?;
        let call = self.client().await.change_resource_record_sets().hosted_zone_id(&zone).change_batch(batch);
        let answer =
            Box::pin(call.send()).await.map_err(|error| meaning(&error, "ChangeResourceRecordSets", Effect::Change))?;
        // Route 53 answers with the change it took; an answer without one is none of Route 53.
        let Some(info) = answer.change_info().filter(|info| !info.id().is_empty()) else {
            return Err(ProviderError::Indeterminate("Route 53 answered without naming a change".to_owned()));
        };
        let id = entry::bare_id(info.id());
        let followed = self.follow(id).await;
        Ok(Receipt(format!("Route 53 took change {id} of hosted zone {zone}: {followed}")))
    }
}
