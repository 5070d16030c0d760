//! OVH's DNS zones, and its load balancers (module `iplb`). Grade C: the API knows no condition, so a stale write is detected, not
//! refused.
//!
//! Edits are staged in the zone and published by `refresh`. A write goes
//!
//! ```text
//! read ── as expected? ──▶ stage values ─▶ read back ─▶ refresh ─▶ status ─▶ stage fence ─▶ read back ─▶ refresh
//!            │ no                              │ other                                         │ other
//!            ▼                                 ▼                                               ▼
//!          Stale                         Indeterminate                                   Indeterminate
//! ```
//!
//! * The fence comes last and by a refresh of its own, because a reading shows what is staged, and the API has no way to
//!   tell whether that was published. So a fence of epoch *e* proves that the values of *e* were published before it; a
//!   write that died between staging and refresh still shows the old fence, and is done again.
//! * A value is changed in place (`PUT`) where it can be, and added before an old one goes where not. Whoever publishes
//!   the zone in the middle of it publishes a record that is not empty and holds values of regions only (invariant 5).
//! * `refresh` publishes everything that is staged in the zone, also what other people left there unpublished, in other
//!   records too; the API has no partial refresh and shows no difference. What is checked just before is our record and
//!   its fence. Keep half-done edits out of a zone that fails over: give it a zone of its own if people work in it.
//! * OVH raises a TTL below 60 to 60 and takes 0 for its own default, both in silence; [`Provider::published`] says so first.
//!
//! What this never does: retry a call that OVH may have taken (see `client`), or report a write whose refresh failed as done.

mod client;
mod entry;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod iplb;
mod oauth2;
mod rights;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{join, try_join_all};
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::{Change, FenceReading, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt, http::BaseUrl};
use crate::{
    core::{
        names::RegionName,
        record::{DomainName, Fence, Record, RecordValue, RrSet},
        sabotage::Sabotage,
    },
    secret::Secret,
};
use client::{CallError, Client, Credentials, Effect, Keys};
pub use client::{Endpoint, EndpointError};
use entry::{Creation, Entry, Soa, Status, Update};
pub use rights::{check as check_records, policy};

/// The least TTL that OVH publishes, in seconds.
const TTL_FLOOR: u32 = 60;
/// How many records of one name and type are looked at: more than any RRset that fails over has.
const ENTRIES_LIMIT: usize = 100;
/// For how long OVH may still carry out a request after the connection to it was lost. OVH promises no such bound:
/// two minutes are an assumption, on the safe side of every gateway timeout known to us, and not a measurement.
const LONGEST_REQUEST: Duration = Duration::from_mins(2);

/// What it takes to reach an account.
#[derive(Debug, Clone)]
pub struct OvhConfig {
    /// Where the API is.
    pub endpoint: Endpoint,
    /// The application key.
    pub application_key: Secret,
    /// The application secret, which signs.
    pub application_secret: Secret,
    /// The consumer key, which carries the rights.
    pub consumer_key: Secret,
    /// How long each request may take.
    pub timeout: Duration,
}

impl OvhConfig {
    /// The time each request may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// What it takes to reach an account as a service account.
#[derive(Debug, Clone)]
pub struct OvhOAuth2Config {
    /// Where the API is.
    pub endpoint: Endpoint,
    /// Where tokens come from; known for OVH's own endpoints.
    pub token_url: Option<BaseUrl>,
    /// The client's id.
    pub client_id: Secret,
    /// The client's secret.
    pub client_secret: Secret,
    /// How long each request may take.
    pub timeout: Duration,
}

/// Why an account cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OvhError {
    /// A credential is empty.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Only OVH's own endpoints say where their tokens come from.
    #[error("`token_url` is missing: it is known for ovh-eu, ovh-ca and ovh-us only")]
    TokenUrl,
    /// No HTTP client could be made.
    #[error("{0}")]
    Client(String),
}

/// One OVH account.
#[derive(Debug)]
pub struct Ovh {
    client: Client,
    /// Who writes to a load balancer holds its lock.
    balancers: Mutex<BTreeMap<DomainName, Arc<tokio::sync::Mutex<()>>>>,
    /// How long a load balancer's deployment is followed.
    deploy_within: Duration,
}

/// The staged records of one name and type.
type Entries = Vec<Entry>;

/// One RRset as OVH addresses it.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    record: &'a Record,
    sub_domain: &'a str,
    field_type: &'a str,
}

impl Ovh {
    /// Checks the credentials' form. Does not connect.
    pub fn new(config: &OvhConfig) -> Result<Self, OvhError> {
        for (what, secret) in [
            ("application key", &config.application_key),
            ("application secret", &config.application_secret),
            ("consumer key", &config.consumer_key),
        ] {
            if secret.expose().is_empty() {
                return Err(OvhError::Empty(what));
            }
        }
        let credentials = Credentials::Keys(Keys {
            application_key: config.application_key.clone(),
            application_secret: config.application_secret.clone(),
            consumer_key: config.consumer_key.clone(),
        });
        let client = Client::new(config.endpoint.clone(), credentials, config.timeout).map_err(OvhError::Client)?;
        Ok(Self::with_client(client))
    }

    fn with_client(client: Client) -> Self {
        Self { client, balancers: Mutex::default(), deploy_within: iplb::DEPLOY_WITHIN }
    }

    /// The same, but a load balancer's deployment is followed for this long.
    #[must_use]
    pub fn with_deployment_within(self, deploy_within: Duration) -> Self {
        Self { deploy_within, ..self }
    }

    /// As [`Self::new`], for a service account (`OAuth2` client credentials).
    ///
    /// # Errors
    /// A credential is empty, or nobody knows where tokens come from.
    pub fn with_oauth2(config: &OvhOAuth2Config) -> Result<Self, OvhError> {
        for (what, secret) in [("client id", &config.client_id), ("client secret", &config.client_secret)] {
            if secret.expose().is_empty() {
                return Err(OvhError::Empty(what));
            }
        }
        let known = || oauth2::token_url(&config.endpoint).and_then(|url| url.parse().ok());
        let token_url = config.token_url.clone().or_else(known).ok_or(OvhError::TokenUrl)?;
        let oauth2 = oauth2::OAuth2::new(token_url, config.client_id.clone(), config.client_secret.clone());
        let client = Client::new(config.endpoint.clone(), Credentials::OAuth2(oauth2), config.timeout);
        Ok(Self::with_client(client.map_err(OvhError::Client)?))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, CallError> {
        let body = self.client.call(Method::GET, path, query, None).await?;
        serde_json::from_slice(&body).map_err(|error| {
            CallError::Unanswered(format!("GET {path}: the answer is not what OVH documents: {error}"))
        })
    }

    /// What is staged at one name and type.
    async fn entries(&self, place: Place<'_>) -> Result<Entries, ProviderError> {
        let Place { record, sub_domain, field_type } = place;
        let path = format!("/domain/zone/{}/record", record.zone);
        let failed = |error: CallError| error.into_provider_error(Effect::None);
        let ids: Vec<u64> =
            self.get(&path, &[("fieldType", field_type), ("subDomain", sub_domain)]).await.map_err(failed)?;
        if ids.len() > ENTRIES_LIMIT {
            return Err(ProviderError::Permanent {
                message: format!("{record} has {} records of type {field_type} at OVH", ids.len()),
                hint: format!("remove all but a few; more than {ENTRIES_LIMIT} are not looked at"),
            });
        }
        let paths: Vec<_> = ids.iter().map(|id| format!("{path}/{id}")).collect();
        let entries =
            try_join_all(paths.iter().map(|path| self.get::<Entry>(path, &[]))).await.map_err(|error| match error {
                CallError::Refused(refusal) if refusal.status == 404 => ProviderError::Transient {
                    message: format!("a record went away while it was being read: {refusal}"),
                    retry_after: None,
                },
                other => failed(other),
            })?;
        Ok(entries.into_iter().filter(|entry| entry.is_at(sub_domain, field_type)).collect())
    }

    /// What is staged at record and fence.
    async fn staged(&self, record: &Record, places: (Place<'_>, Place<'_>)) -> Result<Staged, ProviderError> {
        let (rrset, fence) = join(self.entries(places.0), self.entries(places.1)).await;
        let (entries, fence_entries) = (rrset?, fence?);
        let rrset = entry::rrset(record.rtype, &record.zone, &entries).map_err(|error| ProviderError::Permanent {
            message: format!("{record} holds a value that Quorate cannot write: {error}"),
            hint: "replace it by hand".to_owned(),
        })?;
        let fence = FenceReading::of(fence_entries.iter().map(|entry| entry::unquote(&entry.target)).collect());
        Ok(Staged { reading: Reading { rrset, fence }, entries, fence_entries })
    }

    /// Makes the staged records of one name and type hold exactly `targets`: those that stay are left alone, a new one takes
    /// the place of an old one or is added, and what is left of the old goes last.
    async fn stage(&self, place: Place<'_>, old: &[Entry], targets: &[String], ttl: u32) -> Result<(), ProviderError> {
        let path = format!("/domain/zone/{}/record", place.record.zone);
        let mut spare: Vec<&Entry> = Vec::new();
        let mut kept: Vec<&Entry> = Vec::new();
        for entry in old {
            let wanted = targets.contains(&entry.target) && !kept.iter().any(|kept| kept.target == entry.target);
            if wanted { kept.push(entry) } else { spare.push(entry) }
        }
        for entry in kept.iter().filter(|entry| entry.ttl() != ttl) {
            self.put(&path, entry.id, &Update { target: &entry.target, ttl }).await?;
        }
        let mut spare = spare.into_iter();
        for target in targets.iter().filter(|target| !kept.iter().any(|kept| kept.target == **target)) {
            if let Some(entry) = spare.next() {
                self.put(&path, entry.id, &Update { target, ttl }).await?;
            } else {
                let Place { sub_domain, field_type, .. } = place;
                let body = json(&Creation { field_type, sub_domain, target, ttl })?;
                self.change(Method::POST, &path, Some(&body)).await?;
            }
        }
        for entry in spare {
            self.change(Method::DELETE, &format!("{path}/{}", entry.id), None).await?;
        }
        Ok(())
    }

    async fn put(&self, path: &str, id: u64, update: &Update<'_>) -> Result<(), ProviderError> {
        self.change(Method::PUT, &format!("{path}/{id}"), Some(&json(update)?)).await
    }

    /// A call that stages or publishes. A record that is gone was removed by somebody since it was read.
    async fn change(&self, method: Method, path: &str, body: Option<&str>) -> Result<(), ProviderError> {
        match self.client.call(method, path, &[], body).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(refusal)) if refusal.status == 404 && path.contains("/record/") => {
                Err(ProviderError::Stale(format!("a record went away since it was read: {refusal}")))
            }
            Err(error) => Err(error.into_provider_error(Effect::Change)),
        }
    }

    /// Publishes the zone. An error here is an error of the write: nothing is published until this succeeds.
    async fn refresh(&self, record: &Record) -> Result<(), ProviderError> {
        self.change(Method::POST, &format!("/domain/zone/{}/refresh", record.zone), None).await
    }

    /// Whether OVH found something wrong with the zone that it was just told to publish. Not to know is no error: the
    /// nameservers are asked next in any case.
    async fn check_deployed(&self, record: &Record) -> Result<&'static str, ProviderError> {
        let path = format!("/domain/zone/{}/status", record.zone);
        match self.get::<Status>(&path, &[]).await {
            Ok(status) if !status.errors.is_empty() => Err(ProviderError::Permanent {
                message: format!(
                    "OVH does not publish zone {}: {}",
                    record.zone,
                    super::clip(&status.errors.join("; "))
                ),
                hint: "mend the zone at OVH".to_owned(),
            }),
            Ok(Status { is_deployed: true, .. }) => Ok("deployed"),
            Ok(_) => Ok("deployment under way"),
            Err(_) => Ok("deployment unknown"),
        }
    }
}

/// What was found, with OVH's numbers.
struct Staged {
    reading: Reading,
    entries: Entries,
    fence_entries: Entries,
}

#[async_trait]
impl Provider for Ovh {
    fn kind(&self) -> &'static str {
        "ovh"
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    fn published(&self, wanted: &RrSet) -> RrSet {
        // A farm's servers have no TTL.
        let pool = wanted.values.iter().any(|value| matches!(value, RecordValue::Member(_)));
        RrSet { ttl: if pool { 0 } else { wanted.ttl.max(TTL_FLOOR) }, values: wanted.values.clone() }
    }

    fn goes_in_steps(&self) -> bool {
        true
    }

    fn fence_place(&self, record: &Record) -> String {
        iplb::fence_place(record).unwrap_or_else(|| record.fence_place())
    }

    /// Reads what is staged; a fence proves that its epoch's values were published (see the module).
    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        if !record.rtype.is_in_dns() {
            return self.read_farm(record).await;
        }
        let names = Names::of(record)?;
        Ok(self.staged(record, names.places(record)).await?.reading)
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        if !record.rtype.is_in_dns() {
            return self.look_at_farm(record).await;
        }
        self.look_at_rights(record).await
    }

    async fn values(&self, record: &Record, regions: &[(RegionName, RrSet)]) -> Vec<Finding> {
        if record.rtype.is_in_dns() { vec![] } else { self.look_at_servers(record, regions).await }
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        if self.client.is_service_account() { rights::iam(records) } else { policy(self.client.endpoint(), records) }
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        if !change.record.rtype.is_in_dns() {
            return self.write_farm(change).await;
        }
        change.check()?;
        let record = &change.record;
        let names = Names::of(record)?;
        let places = names.places(record);
        let wanted = self.published(&change.rrset);

        // An edit that fails below has been staged at most: the record that the world sees is still the old one.
        let before = self.staged(record, places).await?;
        if !change.holds_at(&before.reading) {
            return Err(ProviderError::Stale(format!("{record} is not what was read: {}", before.reading)));
        }
        let targets: Vec<_> = wanted.values.iter().map(entry::target).collect();
        let old = canonical(record, before.entries)?;
        self.stage(places.0, &old, &targets, wanted.ttl).await?;
        self.confirm(record, places, &wanted, &change.expected.fence).await?;
        self.refresh(record).await?;

        let fenced = async {
            let deployed = self.check_deployed(record).await?;
            let fence = entry::quote(&change.fence.to_string());
            self.stage(places.1, &before.fence_entries, &[fence], wanted.ttl).await?;
            self.confirm(record, places, &wanted, &FenceReading::Present(change.fence.clone())).await?;
            self.refresh(record).await?;
            Ok(deployed)
        };
        let deployed = fenced.await.map_err(|error| after_publication(&change.fence, error))?;
        Ok(self.receipt(record, change, &wanted, deployed).await)
    }
}

impl Ovh {
    /// Looks at what the next refresh will publish of ours, the last thing before it.
    async fn confirm(
        &self,
        record: &Record,
        places: (Place<'_>, Place<'_>),
        wanted: &RrSet,
        fence: &FenceReading,
    ) -> Result<(), ProviderError> {
        let staged = self.staged(record, places).await?.reading;
        if Sabotage::NoFence.active() || staged.rrset.as_ref() == Some(wanted) && staged.fence == *fence {
            return Ok(());
        }
        Err(ProviderError::Indeterminate(format!(
            "{record} is being edited by somebody else: staged is {staged}; this write did not publish it"
        )))
    }

    /// For people: serial, deployment, and a TTL that OVH would not take.
    async fn receipt(&self, record: &Record, change: &Change, wanted: &RrSet, deployed: &str) -> Receipt {
        let soa = self.get::<Soa>(&format!("/domain/zone/{}/soa", record.zone), &[]).await;
        let serial = soa.map_or("unknown".to_owned(), |soa| soa.serial.to_string());
        let ttl = if wanted.ttl == change.rrset.ttl {
            String::new()
        } else {
            format!(", TTL {} raised to {}", change.rrset.ttl, wanted.ttl)
        };
        Receipt(format!("{} refreshed zone {}: serial {serial}, {deployed}{ttl}", self.client.endpoint(), record.zone))
    }
}

/// The names of record and fence within the zone.
struct Names {
    record: String,
    fence: String,
    field_type: String,
}

impl Names {
    fn of(record: &Record) -> Result<Self, ProviderError> {
        let relative = |name: &DomainName| {
            name.relative_to(&record.zone).map(str::to_owned).ok_or_else(|| ProviderError::Permanent {
                message: format!("{name} does not lie in zone {}", record.zone),
                hint: "report this as a bug".to_owned(),
            })
        };
        Ok(Self {
            record: relative(&record.name)?,
            fence: relative(&record.fence_name())?,
            field_type: record.rtype.to_string(),
        })
    }

    fn places<'a>(&'a self, record: &'a Record) -> (Place<'a>, Place<'a>) {
        (
            Place { record, sub_domain: &self.record, field_type: &self.field_type },
            Place { record, sub_domain: &self.fence, field_type: "TXT" },
        )
    }
}

/// The entries with their targets spelt as this module spells them, so that equal values are equal texts.
fn canonical(record: &Record, entries: Entries) -> Result<Entries, ProviderError> {
    let spelt = entries.into_iter().map(|old| {
        let value = entry::value(record.rtype, &record.zone, &old.target)?;
        Ok(Entry { target: entry::target(&value), ..old })
    });
    spelt
        .collect::<Result<_, String>>()
        .map_err(|error| ProviderError::Permanent { message: error, hint: "replace the value by hand".to_owned() })
}

fn json(body: &impl serde::Serialize) -> Result<String, ProviderError> {
    serde_json::to_string(body).map_err(|error| ProviderError::Permanent {
        message: format!("a request could not be encoded: {error}"),
        hint: "report this as a bug".to_owned(),
    })
}

/// A failure after the values were published must not read as if nothing had changed.
fn after_publication(fence: &Fence, error: ProviderError) -> ProviderError {
    let said = format!("the values of epoch {} were handed over for publication, its fence was not", fence.epoch);
    match error {
        ProviderError::Permanent { message, hint } => {
            ProviderError::Permanent { message: format!("{message} ({said})"), hint }
        }
        ProviderError::Transient { message, retry_after } => {
            ProviderError::Unfinished { message: format!("{said}: {message}"), retry_after }
        }
        other => ProviderError::Indeterminate(format!("{said}: {other}")),
    }
}
