//! `type = "rfc2136"`: a server that takes dynamic updates (RFC 2136) signed with TSIG (RFC 8945).

use super::secret::{secret, secret_keys};
use crate::{
    core::record::DomainName,
    dns::{config::Access, rfc2136::Rfc2136Config, tsig::Algorithm},
    reader::Table,
    secret::{Environment, Secret},
};

/// A TSIG key.
struct TsigKey {
    name: DomainName,
    algorithm: Algorithm,
    secret: Secret,
}

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let server = table.need("server").and_then(|value| value.parse());
    let key = table.need("key").and_then(|value| value.table(|table| tsig_key(table, environment))).flatten();
    let (server, key) = (server?, key?);
    Some(Access::Rfc2136(Rfc2136Config {
        server,
        key_name: key.name,
        algorithm: key.algorithm,
        secret: key.secret,
        timeout: Rfc2136Config::TIMEOUT,
    }))
}

fn tsig_key(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<TsigKey> {
    let name = table.need("name").and_then(|value| value.parse());
    let algorithm = table.get("algorithm").map_or(Some(Algorithm::HmacSha256), |value| value.parse());
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
