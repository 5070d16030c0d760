//! `type = "cloudflare"`: Cloudflare's DNS.

use super::{
    base_url,
    secret::{secret, secret_keys},
};
use crate::{
    core::record::DomainName,
    dns::{cloudflare::CloudflareConfig, config::Access},
    reader::{Table, Value},
    secret::Environment,
};

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let token = secret(table, &secret_keys!("token"), environment);
    let base_url = base_url(table, CloudflareConfig::BASE_URL);
    let zone_ids = table.get("zone_ids").map_or(Some(vec![]), |value| value.table(zone_ids).flatten());
    Some(Access::Cloudflare(CloudflareConfig {
        base_url: base_url?,
        token: token?,
        zone_ids: zone_ids?.into_iter().collect(),
        timeout: CloudflareConfig::TIMEOUT,
    }))
}

/// `"example.com" = "023e105f4ecef8ad9ca31a8372d0c353"`
fn zone_ids(table: &Table<'_, '_>) -> Option<Vec<(DomainName, String)>> {
    let one = |(key, value): (String, Value<'_, '_>)| {
        let zone = key.parse::<DomainName>().map_err(|error| value.refuse(error.to_string(), None)).ok();
        let id = value.read(|text| {
            let fits = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
            if fits { Ok(text.to_owned()) } else { Err("a zone's id is 32 digits of 0-9 and a-f".to_owned()) }
        });
        Some((zone?, id?))
    };
    let read: Vec<_> = table.entries().into_iter().map(one).collect();
    read.into_iter().collect()
}
