//! Cloudflare's DNS. Grade B: a stale write is refused by the ids of what it replaces.
//!
//! One call of `POST dns_records/batch` carries the change; Cloudflare executes it in a single database transaction, all or
//! nothing. An id that it names and that is no more fails the whole batch. So
//!
//! * the fence is never edited but deleted by its id and made anew: each epoch's fence has an id of its own, and whoever
//!   comes late names one that is gone;
//! * the values are changed in place (patches). Cloudflare says that the *propagation* of a batch is not atomic, record by
//!   record, so deleting the only value and making another could show a nameserver's clients an empty record for a moment
//!   (invariant 5). And the ids that other tools keep, proxy status, comment, tags and settings stay;
//! * only where there is no fence yet, when a record is adopted, the values are deleted and made anew, with all that they had:
//!   then their ids are the condition. Where there is no record either, nothing is, and two clusters that create the same
//!   record in the same moment leave two fences, which both then refuse to write over.
//!
//! What is not refused: a hand that edits a value in place between the reading and the batch, because its id stays.
//!
//! A record behind Cloudflare's proxy answers Cloudflare's addresses with Cloudflare's TTL, whatever it holds: its nameservers
//! cannot be asked whether they know the new values.
//!
//! What this never does: send a batch twice, or change whether a record is proxied.

mod client;
mod entry;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
pub mod pools;
mod rights;
mod zones;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::future::join;
use reqwest::Method;
use serde::Deserialize;

use super::{
    Change, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt,
    http::{BaseUrl, Effect},
};
use crate::{
    core::record::{DomainName, Record, RrSet},
    secret::Secret,
};
use client::{CallError, Client};
use entry::{Batch, Entry};
pub use rights::policy;
use zones::Zones;

/// How many records of one name and type are looked at: more than any RRset that fails over has.
const ENTRIES_LIMIT: usize = 100;
/// For how long Cloudflare may still carry out a request after the connection to it was lost. Cloudflare promises no bound; this
/// is above the timeout of its own gateway.
const LONGEST_REQUEST: Duration = Duration::from_mins(2);

/// What it takes to reach an account.
#[derive(Debug, Clone)]
pub struct CloudflareConfig {
    /// Where the API is.
    pub base_url: BaseUrl,
    /// The API token.
    pub token: Secret,
    /// The ids of zones, by name; others are looked up, which takes one right more.
    pub zone_ids: BTreeMap<DomainName, String>,
    /// How long each request may take.
    pub timeout: Duration,
}

impl CloudflareConfig {
    /// Where the API is, unless configured.
    pub const BASE_URL: &str = "https://api.cloudflare.com/client/v4";
    /// The time each request may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// One Cloudflare token.
#[derive(Debug)]
pub struct Cloudflare {
    client: Client,
    zones: Zones,
}

/// What was found, with Cloudflare's ids.
struct Found {
    zone: String,
    reading: Reading,
    entries: Vec<Entry>,
    fence_entries: Vec<Entry>,
}

/// What a batch answers: the records that were made.
#[derive(Deserialize)]
struct Done {
    #[serde(default)]
    posts: Option<Vec<Entry>>,
}

impl Cloudflare {
    /// Checks the token's form. Does not connect.
    ///
    /// # Errors
    /// The token is empty, or no HTTP client could be made.
    pub fn new(config: &CloudflareConfig) -> Result<Self, String> {
        let client = Client::new(config.base_url.clone(), config.token.clone(), config.timeout)?;
        Ok(Self { client, zones: Zones::new(&config.zone_ids) })
    }

    /// What stands at one name and type.
    async fn entries(&self, zone: &str, name: &DomainName, rtype: &str) -> Result<Vec<Entry>, ProviderError> {
        let limit = ENTRIES_LIMIT.to_string();
        let query = [("type", rtype), ("name.exact", name.as_str()), ("per_page", limit.as_str())];
        let found: Vec<Entry> = self
            .client
            .get(&format!("/zones/{zone}/dns_records"), &query)
            .await
            .map_err(|error| error.into_provider_error(Effect::None))?;
        if found.len() >= ENTRIES_LIMIT {
            return Err(ProviderError::Permanent {
                message: format!("{name} has {} records of type {rtype} at Cloudflare", found.len()),
                hint: format!("remove all but a few; {ENTRIES_LIMIT} and more are not looked at"),
            });
        }
        Ok(found.into_iter().filter(|entry| entry.is_at(name.as_str(), rtype)).collect())
    }

    async fn find(&self, record: &Record) -> Result<Found, ProviderError> {
        super::only_dns(record)?;
        let zone = self.zones.id(&self.client, &record.zone).await?;
        let (rtype, fence) = (record.rtype.to_string(), record.fence_name());
        let both = join(self.entries(&zone, &record.name, &rtype), self.entries(&zone, &fence, "TXT"));
        let (entries, fence_entries) = both.await;
        let (entries, fence_entries) = (entries?, fence_entries?);
        let rrset = entry::rrset(record, &entries).map_err(|error| ProviderError::Permanent {
            message: format!("{record} holds a value that Quorate cannot write: {error}"),
            hint: "replace it by hand".to_owned(),
        })?;
        let reading = Reading { rrset, fence: entry::fence(&fence_entries) };
        Ok(Found { zone, reading, entries, fence_entries })
    }
}

#[async_trait]
impl Provider for Cloudflare {
    fn kind(&self) -> &'static str {
        "cloudflare"
    }

    fn grade(&self) -> Grade {
        Grade::B
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    fn published(&self, wanted: &RrSet) -> RrSet {
        RrSet { ttl: entry::published(wanted.ttl), values: wanted.values.clone() }
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        Ok(self.find(record).await?.reading)
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check()?;
        let record = &change.record;
        let wanted = self.published(&change.rrset);
        let before = self.find(record).await?;
        if !change.holds_at(&before.reading) {
            return Err(ProviderError::Stale(format!("{record} is not what was read: {}", before.reading)));
        }
        let batch = Batch::new(record, &before.entries, &before.fence_entries, &wanted, &change.fence);
        let body = serde_json::json!(batch);
        let path = format!("/zones/{}/dns_records/batch", before.zone);
        let done = self.client.call::<Done>(Method::POST, &path, &[], Some(&body)).await;
        let (done, ray) = done.map_err(|error| match error {
            CallError::Refused(refusal) if refusal.is_gone() || refusal.is_duplicate() => {
                ProviderError::Stale(format!("{record} was written since it was read: {refusal}"))
            }
            other => other.into_provider_error(Effect::Change),
        })?;
        let fence = done.posts.unwrap_or_default().into_iter().find(|entry| entry.rtype == "TXT");
        let id = fence.map_or("unknown".to_owned(), |fence| super::clip(&fence.id));
        let behind = if before.entries.iter().any(Entry::proxied) { ", proxied" } else { "" };
        let ttl = if wanted.ttl == change.rrset.ttl {
            String::new()
        } else {
            format!(", TTL {} made {}", change.rrset.ttl, wanted.ttl)
        };
        Ok(Receipt(format!("Cloudflare took one batch: fence {id}, CF-RAY {ray}{behind}{ttl}")))
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        self.look_at_rights(record).await
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        policy(records)
    }
}
