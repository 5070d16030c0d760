//! `[dynamodb]`: how this node reaches `DynamoDB`, and how often it measures replication while it leads.

use std::{collections::BTreeMap, time::Duration};

use super::provider::secret::{secret, secret_keys};
use crate::{
    aws::{Keys, Settings},
    core::draft::url,
    reader::{Table, Value},
    secret::Environment,
};

/// From one heartbeat to the next when nothing is written.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// `DynamoDB` as this node reaches it.
#[derive(Debug)]
pub struct DynamodbSection {
    /// Endpoints and credentials.
    pub aws: Settings,
    /// From one heartbeat in a table to the next, while this node leads.
    pub heartbeat: Duration,
}

impl Default for DynamodbSection {
    fn default() -> Self {
        Self { aws: Settings::default(), heartbeat: HEARTBEAT }
    }
}

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<DynamodbSection> {
    let (low, high) = (Duration::from_millis(100), Duration::from_mins(1));
    let heartbeat = table.get("heartbeat").map_or(Some(HEARTBEAT), |value| value.duration_within(low, high));
    Some(DynamodbSection { aws: aws(table, environment)?, heartbeat: heartbeat? })
}

/// What says how AWS is reached, in whichever table it stands.
pub(super) fn aws(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Settings> {
    let endpoint_url = table.get("endpoint_url").map(|value| endpoint(&value).ok_or(Refused));
    let endpoints = table.table("endpoints", |regions| {
        let entry = |(region, value): (String, Value<'_, '_>)| Some((region, endpoint(&value)?));
        regions.entries().into_iter().map(entry).collect::<Option<BTreeMap<_, _>>>().ok_or(Refused)
    });
    let profile = table.get("profile").map(|value| value.text().ok_or(Refused));
    let keys = keys(table, environment);
    if keys.is_some() && profile.is_some() {
        table.refuse("give either access keys or a `profile`", None);
        return None;
    }
    Some(Settings {
        endpoint_url: endpoint_url.transpose().ok()?,
        endpoints: endpoints.transpose().ok()?.unwrap_or_default(),
        keys: keys.transpose().ok()?,
        profile: profile.transpose().ok()?,
    })
}

/// It was written, and not as it must be: that is not as if nothing had been written.
struct Refused;

fn keys(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Result<Keys, Refused>> {
    // Every name is asked for, so that each is known.
    let written = |names: [&'static str; 4]| names.iter().filter(|name| table.get(name).is_some()).count() > 0;
    let id = written(["access_key_id", "access_key_id_file", "access_key_id_env", "access_key_id_credential"]);
    let key = written([
        "secret_access_key",
        "secret_access_key_file",
        "secret_access_key_env",
        "secret_access_key_credential",
    ]);
    let token = written(["session_token", "session_token_file", "session_token_env", "session_token_credential"]);
    if !(id || key || token) {
        return None;
    }
    let id = secret(table, &secret_keys!("access_key_id"), environment);
    let key = secret(table, &secret_keys!("secret_access_key"), environment);
    let token = token.then(|| secret(table, &secret_keys!("session_token"), environment).ok_or(Refused));
    let all = id.zip(key).zip(token.transpose().ok());
    Some(all.map(|((id, secret), token)| Keys { id, secret, token }).ok_or(Refused))
}

fn endpoint(value: &Value<'_, '_>) -> Option<String> {
    value.read(|text| {
        let url = url::parse(text)?;
        if url.path != "/" {
            return Err("an endpoint has no path".to_owned());
        }
        Ok(text.trim_end_matches('/').to_owned())
    })
}
