//! Zones: their ids, and the accounts that they belong to. Each is asked for once, for a zone keeps both.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

use super::{super::ProviderError, super::http::Effect, client::Client};
use crate::core::record::DomainName;

/// What is known of them.
#[derive(Debug)]
pub(super) struct Zones(Mutex<BTreeMap<DomainName, Known>>);

#[derive(Debug, Clone)]
struct Known {
    id: String,
    account: Option<String>,
}

/// `GET /zones` and `GET /zones/{id}`
#[derive(Deserialize)]
struct Zone {
    id: String,
    name: String,
    #[serde(default)]
    account: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    id: String,
}

impl Zones {
    /// With the ids that somebody wrote down.
    pub(super) fn new(ids: &BTreeMap<DomainName, String>) -> Self {
        let known = |(name, id): (&DomainName, &String)| (name.clone(), Known { id: id.clone(), account: None });
        Self(Mutex::new(ids.iter().map(known).collect()))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<DomainName, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, name: &DomainName, zone: Zone) -> Known {
        let known = Known { id: zone.id, account: zone.account.map(|account| account.id) };
        self.known().insert(name.clone(), known.clone());
        known
    }

    /// Cloudflare's id of the zone.
    pub(super) async fn id(&self, client: &Client, zone: &DomainName) -> Result<String, ProviderError> {
        if let Some(known) = self.known().get(zone).cloned() {
            return Ok(known.id);
        }
        let zones: Vec<Zone> = client
            .get("/zones", &[("name", zone.as_str())])
            .await
            .map_err(|error| error.into_provider_error(Effect::None))?;
        let Some(found) = zones.into_iter().find(|found| found.name.eq_ignore_ascii_case(zone.as_str())) else {
            return Err(ProviderError::Permanent {
                message: format!("Cloudflare shows this token no zone {zone}"),
                hint: "let the token cover the zone with Zone / Zone / Read, or write its id into zone_ids".to_owned(),
            });
        };
        Ok(self.learn(zone, found).id)
    }

    /// The id of the account that the zone belongs to.
    pub(super) async fn account(&self, client: &Client, zone: &DomainName) -> Result<String, ProviderError> {
        let id = self.id(client, zone).await?;
        let known = self.known().get(zone).and_then(|known| known.account.clone());
        if let Some(account) = known {
            return Ok(account);
        }
        let found: Zone =
            client.get(&format!("/zones/{id}"), &[]).await.map_err(|error| error.into_provider_error(Effect::None))?;
        self.learn(zone, found).account.ok_or_else(|| ProviderError::Permanent {
            message: format!("Cloudflare does not say which account {zone} belongs to"),
            hint: "write the ids of the pools into pool_ids".to_owned(),
        })
    }
}
