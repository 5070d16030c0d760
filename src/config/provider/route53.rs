//! `type = "route53"`: Amazon Route 53.

use std::collections::BTreeMap;

use crate::{
    config::dynamodb::aws,
    core::record::DomainName,
    dns::{config::Access, route53::Route53Config},
    reader::{Table, Value},
    secret::Environment,
};

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let zones = table.table("hosted_zones", |zones| {
        let zone = |(name, id): (String, Value<'_, '_>)| {
            let name = name.parse::<DomainName>().map_err(|error| id.refuse(error.to_string(), None)).ok();
            Some((name?, id.read(zone_id)?))
        };
        zones.entries().into_iter().map(zone).collect::<Option<BTreeMap<_, _>>>()
    });
    let set_identifier = table.get("set_identifier").map(|value| value.read(identifier));
    let aws = aws(table, environment);
    Some(Access::Route53(Route53Config {
        aws: aws?,
        hosted_zones: zones.unwrap_or_else(|| Some(BTreeMap::new()))?,
        set_identifier: set_identifier.map_or(Some(None), |read| read.map(Some))?,
        timeout: Route53Config::TIMEOUT,
        insync_within: Route53Config::INSYNC_WITHIN,
    }))
}

/// `Z123`, or as the API spells it: `/hostedzone/Z123`.
fn zone_id(text: &str) -> Result<String, String> {
    let id = text.trim_start_matches("/hostedzone/");
    if (1..=32).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric()) {
        Ok(id.to_owned())
    } else {
        Err("this is not the id of a hosted zone, such as Z0123456789ABCDEFGHIJ".to_owned())
    }
}

/// Route 53's `SetIdentifier`: 1 to 128 characters.
fn identifier(text: &str) -> Result<String, String> {
    if (1..=128).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err("a set identifier has 1 to 128 characters".to_owned())
    }
}
