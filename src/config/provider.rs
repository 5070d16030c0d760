//! `[provider.NAME]`: how this node reaches the DNS providers that services name.

use std::collections::BTreeMap;

use crate::{
    core::{draft::url, names::ProviderName, record::DomainName, service::Target},
    reader::{Table, Value},
    secret::{Environment, Secret, Source},
};

/// One provider.
#[derive(Debug)]
pub enum ProviderSection {
    /// `type = "rfc2136"`
    Rfc2136(Rfc2136Section),
    /// `type = "ovh"`
    Ovh(OvhSection),
}

/// A server that takes dynamic updates (RFC 2136) signed with TSIG (RFC 8945).
#[derive(Debug)]
pub struct Rfc2136Section {
    /// The primary that is updated.
    pub server: Target,
    /// What updates are signed with.
    pub key: TsigKey,
    /// The servers to ask after a write; those of the zone when empty.
    pub nameservers: Vec<Target>,
}

/// A TSIG key.
#[derive(Debug)]
pub struct TsigKey {
    /// The name under which the server knows it.
    pub name: DomainName,
    /// The algorithm.
    pub algorithm: TsigAlgorithm,
    /// The shared secret in base64, as `tsig-keygen` and `keymgr` print it.
    pub secret: Secret,
}

/// The algorithms of RFC 8945 that are still recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha384`
    HmacSha384,
    /// `hmac-sha512`
    HmacSha512,
}

/// OVH's API.
#[derive(Debug)]
pub struct OvhSection {
    /// The API's root with version, without a slash at the end: `https://eu.api.ovh.com/1.0`.
    pub base_url: String,
    /// The application key.
    pub application_key: Secret,
    /// The application secret.
    pub application_secret: Secret,
    /// The consumer key.
    pub consumer_key: Secret,
    /// The servers to ask after a write; those of the zone when empty.
    pub nameservers: Vec<Target>,
}

/// The keys under which the place of one secret is written.
struct SecretKeys {
    inline: &'static str,
    variable: &'static str,
    file: &'static str,
    credential: &'static str,
}

macro_rules! secret_keys {
    ($name:literal) => {
        SecretKeys {
            inline: $name,
            variable: concat!($name, "_env"),
            file: concat!($name, "_file"),
            credential: concat!($name, "_credential"),
        }
    };
}

/// Every provider; those that are refused are left out.
pub(super) fn all(table: &Table<'_, '_>, environment: Environment<'_>) -> BTreeMap<ProviderName, ProviderSection> {
    let mut providers = BTreeMap::new();
    for (key, value) in table.entries() {
        let name = key.parse::<ProviderName>().map_err(|error| value.refuse(error.to_string(), None)).ok();
        let section = value.table(|table| one(table, environment)).flatten();
        if let (Some(name), Some(section)) = (name, section) {
            providers.insert(name, section);
        }
    }
    providers
}

fn one(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<ProviderSection> {
    let kind = table.need("type");
    let text = kind.as_ref().and_then(Value::text);
    match text.as_deref() {
        Some("rfc2136") => rfc2136(table, environment).map(ProviderSection::Rfc2136),
        Some("ovh") => ovh(table, environment).map(ProviderSection::Ovh),
        unknown => {
            // Without a type nobody knows which keys belong here.
            table.ignore_rest();
            if let (Some(kind), Some(_)) = (kind, unknown) {
                kind.refuse("there is no provider of this type", Some("the types are \"rfc2136\" and \"ovh\""));
            }
            None
        }
    }
}

fn nameservers(table: &Table<'_, '_>) -> Option<Vec<Target>> {
    let Some(list) = table.get("nameservers") else { return Some(Vec::new()) };
    let items = list.items("a list of nameservers");
    let servers: Vec<_> = items.iter().map(|item| item.read(|text| url::target(text, Some(53)))).collect();
    servers.into_iter().collect()
}

fn rfc2136(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Rfc2136Section> {
    let server = table.need("server").and_then(|value| value.read(|text| url::target(text, Some(53))));
    let key = table.need("key").and_then(|value| value.table(|table| tsig_key(table, environment))).flatten();
    let nameservers = nameservers(table);
    Some(Rfc2136Section { server: server?, key: key?, nameservers: nameservers? })
}

fn tsig_key(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<TsigKey> {
    let name = table.need("name").and_then(|value| value.parse());
    let algorithm = table.get("algorithm").map_or(Some(TsigAlgorithm::HmacSha256), |value| {
        value.read(|text| match text.to_ascii_lowercase().as_str() {
            "hmac-sha256" => Ok(TsigAlgorithm::HmacSha256),
            "hmac-sha384" => Ok(TsigAlgorithm::HmacSha384),
            "hmac-sha512" => Ok(TsigAlgorithm::HmacSha512),
            _ => Err("the algorithms are hmac-sha256, hmac-sha384 and hmac-sha512".to_owned()),
        })
    });
    let secret = secret(table, &secret_keys!("secret"), environment);
    if secret.as_ref().is_some_and(|secret| !is_base64(secret.expose())) {
        table.refuse("the secret of this key is not base64", Some("copy what stands behind `secret` in the key file"));
        return None;
    }
    Some(TsigKey { name: name?, algorithm: algorithm?, secret: secret? })
}

/// RFC 4648 §4, with padding.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let digit = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    !digits.is_empty() && padding <= 2 && text.len().is_multiple_of(4) && digits.bytes().all(digit)
}

fn ovh(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<OvhSection> {
    let base_url = match (table.get("endpoint"), table.get("base_url")) {
        (Some(endpoint), None) => endpoint.read(endpoint_url),
        (None, Some(base)) => base.read(|text| {
            let url = url::parse(text)?;
            if url.path.contains('?') {
                return Err("a base URL has no query".to_owned());
            }
            Ok(text.trim_end_matches('/').to_owned())
        }),
        (Some(_), Some(base)) => {
            base.refuse("give either `endpoint` or `base_url`", None);
            None
        }
        (None, None) => {
            let hint = "the endpoints are \"ovh-eu\", \"ovh-ca\" and \"ovh-us\"";
            table.need_one_of(&["endpoint", "base_url"], "`endpoint` is missing", Some(hint));
            None
        }
    };
    let application_key = secret(table, &secret_keys!("application_key"), environment);
    let application_secret = secret(table, &secret_keys!("application_secret"), environment);
    let consumer_key = secret(table, &secret_keys!("consumer_key"), environment);
    let nameservers = nameservers(table);
    Some(OvhSection {
        base_url: base_url?,
        application_key: application_key?,
        application_secret: application_secret?,
        consumer_key: consumer_key?,
        nameservers: nameservers?,
    })
}

/// The endpoints that OVH's own clients know.
fn endpoint_url(name: &str) -> Result<String, String> {
    let host = match name {
        "ovh-eu" => "eu.api.ovh.com",
        "ovh-ca" => "ca.api.ovh.com",
        "ovh-us" => "api.us.ovhcloud.com",
        _ => return Err("the endpoints are ovh-eu, ovh-ca and ovh-us".to_owned()),
    };
    Ok(format!("https://{host}/1.0"))
}

/// Loads a secret from the one place that is written.
fn secret(table: &Table<'_, '_>, keys: &SecretKeys, environment: Environment<'_>) -> Option<Secret> {
    let SecretKeys { inline, variable, file, credential } = keys;
    let hint = format!("write {file} = \"/path\" of a file that others cannot read, or {variable} or {credential}");
    if let Some(value) = table.get(inline) {
        value.refuse(format!("`{inline}` itself does not belong into a configuration"), Some(&hint));
        return None;
    }
    let places = [
        table.get(file).map(|value| (super::absolute(&value).map(Source::File), value)),
        table.get(variable).map(|value| (value.text().map(Source::Variable), value)),
        table.get(credential).map(|value| (value.text().map(Source::Credential), value)),
    ];
    let mut written: Vec<_> = places.into_iter().flatten().collect();
    if written.len() > 1 {
        table.refuse(
            format!("`{inline}` has more than one place: give one of {file}, {variable} and {credential}"),
            None,
        );
        return None;
    }
    let Some((source, value)) = written.pop() else {
        table.need_one_of(&[inline, file, variable, credential], format!("`{inline}` is missing"), Some(&hint));
        return None;
    };
    source?.load(environment).map_err(|error| value.refuse(error.to_string(), None)).ok()
}
