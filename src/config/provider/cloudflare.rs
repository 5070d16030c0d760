//! `type = "cloudflare"`: Cloudflare's DNS; `type = "cloudflare-pools"`: its load balancers.

use std::str::FromStr;

use super::{
    base_url,
    secret::{secret, secret_keys},
};
use crate::{
    dns::{
        cloudflare::{CloudflareConfig, pools::CloudflarePoolsConfig},
        config::Access,
    },
    reader::{Table, Value},
    secret::Environment,
};

pub(super) fn dns(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    read(table, environment).map(Access::Cloudflare)
}

pub(super) fn pools(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let access = read(table, environment);
    let pool_ids = table.get("pool_ids").map_or(Some(vec![]), |value| ids(value, "pool"))?;
    Some(Access::CloudflarePools(CloudflarePoolsConfig { access: access?, pool_ids: pool_ids.into_iter().collect() }))
}

/// What both have.
fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<CloudflareConfig> {
    let token = secret(table, &secret_keys!("token"), environment);
    let base_url = base_url(table, CloudflareConfig::BASE_URL);
    let zone_ids = table.get("zone_ids").map_or(Some(vec![]), |value| ids(value, "zone"));
    Some(CloudflareConfig {
        base_url: base_url?,
        token: token?,
        zone_ids: zone_ids?.into_iter().collect(),
        timeout: CloudflareConfig::TIMEOUT,
    })
}

/// Names and the ids of what they name: `"example.com" = "023e105f4ecef8ad9ca31a8372d0c353"`
fn ids<N: FromStr<Err: ToString>>(value: Value<'_, '_>, of: &str) -> Option<Vec<(N, String)>> {
    let one = |(key, value): (String, Value<'_, '_>)| {
        let name = key.parse::<N>().map_err(|error| value.refuse(error.to_string(), None)).ok();
        let id = value.read(|text| {
            let fits = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
            if fits { Ok(text.to_owned()) } else { Err(format!("a {of}'s id is 32 digits of 0-9 and a-f")) }
        });
        Some((name?, id?))
    };
    let table = |table: &Table<'_, '_>| -> Option<Vec<(N, String)>> {
        let read: Vec<_> = table.entries().into_iter().map(one).collect();
        read.into_iter().collect()
    };
    value.table(table).flatten()
}
