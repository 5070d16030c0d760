//! `[provider.NAME]`: how this node reaches the providers that services name. One file a `type`.

mod cloudflare;
mod ovh;
mod powerdns;
mod rfc2136;
mod route53;
pub(super) mod secret;
mod webhook;

use std::collections::BTreeMap;

use crate::{
    core::names::ProviderName,
    dns::{
        config::{Access, ProviderConfig},
        http::BaseUrl,
        wire::ServerAddress,
    },
    reader::{Table, Value},
    secret::Environment,
};

/// Reads what only one `type` has.
type Read = fn(&Table<'_, '_>, Environment<'_>) -> Option<Access>;

/// The types of provider, and who reads their keys.
const TYPES: &[(&str, Read)] = &[
    ("rfc2136", rfc2136::read),
    ("ovh", ovh::read),
    ("cloudflare", cloudflare::dns),
    ("cloudflare-pools", cloudflare::pools),
    ("powerdns", powerdns::read),
    ("webhook", webhook::webhook),
    ("exec", webhook::exec),
    ("route53", route53::read),
];

/// Every provider; those that are refused are left out.
pub(super) fn all(table: &Table<'_, '_>, environment: Environment<'_>) -> BTreeMap<ProviderName, ProviderConfig> {
    let mut providers = BTreeMap::new();
    for (key, value) in table.entries() {
        let name = key.parse::<ProviderName>().map_err(|error| value.refuse(error.to_string(), None)).ok();
        let config = value.table(|table| one(table, environment)).flatten();
        if let (Some(name), Some(config)) = (name, config) {
            providers.insert(name, config);
        }
    }
    providers
}

fn one(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<ProviderConfig> {
    let kind = table.need("type");
    let text = kind.as_ref().and_then(Value::text);
    let known = text.as_ref().and_then(|text| TYPES.iter().find(|(name, _)| name == text));
    let Some((_, read)) = known else {
        // Without a type nobody knows which keys belong here.
        table.ignore_rest();
        if let (Some(kind), Some(_)) = (kind, text) {
            kind.refuse("there is no provider of this type", Some(&format!("the types are {}", types())));
        }
        return None;
    };
    let access = read(table, environment);
    let nameservers = nameservers(table);
    Some(ProviderConfig { access: access?, nameservers: nameservers? })
}

/// `"a", "b" and "c"`
fn types() -> String {
    let quoted: Vec<_> = TYPES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let (last, first) = quoted.split_last().expect("there are types");
    format!("{} and {last}", first.join(", "))
}

/// Where an API is: `base_url`, or the provider's own.
fn base_url(table: &Table<'_, '_>, default: &str) -> Option<BaseUrl> {
    table.get("base_url").map_or_else(|| default.parse().ok(), |value| value.parse())
}

/// The servers to ask after a write; those of the zone when empty.
fn nameservers(table: &Table<'_, '_>) -> Option<Vec<ServerAddress>> {
    let Some(list) = table.get("nameservers") else { return Some(Vec::new()) };
    let items = list.items("a list of nameservers");
    let servers: Vec<_> = items.iter().map(Value::parse).collect();
    servers.into_iter().collect()
}
