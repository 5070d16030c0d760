//! `type = "powerdns"`: the HTTP API of a `PowerDNS` server.

use super::secret::{secret, secret_keys};
use crate::{
    dns::{config::Access, powerdns::PowerDnsConfig},
    reader::Table,
    secret::Environment,
};

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let base_url = table.need("base_url").and_then(|value| value.parse());
    let server = table.get("server").map_or(Some(PowerDnsConfig::SERVER.to_owned()), |value| {
        value.read(|text| {
            let word = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
            let fits = !text.is_empty() && text.bytes().all(word);
            if fits { Ok(text.to_owned()) } else { Err("a server's name in the API is usually `localhost`".to_owned()) }
        })
    });
    let api_key = secret(table, &secret_keys!("api_key"), environment);
    Some(Access::PowerDns(PowerDnsConfig {
        base_url: base_url?,
        server: server?,
        api_key: api_key?,
        timeout: PowerDnsConfig::TIMEOUT,
    }))
}
