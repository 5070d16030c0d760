//! `type = "ovh"`: OVH's API.

use super::secret::{secret, secret_keys};
use crate::{
    dns::{
        config::Access,
        ovh::{Endpoint, OvhConfig, OvhOAuth2Config},
    },
    reader::Table,
    secret::Environment,
};

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let endpoint = endpoint(table);
    let service_account = ["client_id_file", "client_id_env", "client_id_credential"];
    if service_account.iter().any(|key| table.get(key).is_some()) {
        return oauth2(table, environment, endpoint);
    }
    let application_key = secret(table, &secret_keys!("application_key"), environment);
    let application_secret = secret(table, &secret_keys!("application_secret"), environment);
    let consumer_key = secret(table, &secret_keys!("consumer_key"), environment);
    Some(Access::Ovh(OvhConfig {
        endpoint: endpoint?,
        application_key: application_key?,
        application_secret: application_secret?,
        consumer_key: consumer_key?,
        timeout: OvhConfig::TIMEOUT,
    }))
}

/// A service account in place of the three keys.
fn oauth2(table: &Table<'_, '_>, environment: Environment<'_>, endpoint: Option<Endpoint>) -> Option<Access> {
    let client_id = secret(table, &secret_keys!("client_id"), environment);
    let client_secret = secret(table, &secret_keys!("client_secret"), environment);
    let token_url = table.get("token_url").map_or(Some(None), |value| value.parse().map(Some));
    Some(Access::OvhOAuth2(OvhOAuth2Config {
        endpoint: endpoint?,
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        timeout: OvhConfig::TIMEOUT,
    }))
}

/// One of the endpoints that OVH's own clients know, or a base URL.
fn endpoint(table: &Table<'_, '_>) -> Option<Endpoint> {
    match (table.get("endpoint"), table.get("base_url")) {
        (Some(value), None) | (None, Some(value)) => value.parse(),
        (Some(_), Some(base)) => {
            base.refuse("give either `endpoint` or `base_url`", None);
            None
        }
        (None, None) => {
            let hint = "the endpoints are \"ovh-eu\", \"ovh-ca\" and \"ovh-us\"";
            table.need_one_of(&["endpoint", "base_url"], "`endpoint` is missing", Some(hint));
            None
        }
    }
}
