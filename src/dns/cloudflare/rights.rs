//! What a token may do, found out without changing anything; and the permissions that it needs.
//!
//! Cloudflare shows nobody what a token may do, but checks that before anything else: a batch that deletes a record of an id
//! that cannot be is refused either way, for the missing permission or for the missing record.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallError, Client, Cloudflare, Effect};
use crate::{
    core::record::Record,
    dns::{
        Finding, Grant, clip,
        inspect::{
            self,
            subject::{CREDENTIALS, RIGHTS, ZONE},
        },
    },
};

/// Nothing has it: ids are random.
pub(super) const NO_ID: &str = "00000000000000000000000000000000";

/// `GET /user/tokens/verify`
#[derive(Debug, Deserialize)]
struct Token {
    status: String,
    #[serde(default)]
    expires_on: Option<String>,
}

impl Cloudflare {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(super) async fn look_at_rights(&self, record: &Record) -> Vec<Finding> {
        let mut findings = vec![token(&self.client).await];
        let found = match self.find(record).await {
            Ok(found) => {
                findings.push(Finding::pass(ZONE, format!("Cloudflare serves {} to this token", record.zone)));
                found
            }
            Err(error) => {
                findings.push(Finding::of_error(ZONE, &error));
                return findings;
            }
        };
        let path = format!("/zones/{}/dns_records/batch", found.zone);
        let impossible = json!({ "deletes": [{ "id": NO_ID }] });
        findings.push(match self.client.call::<Value>(Method::POST, &path, &[], Some(&impossible)).await {
            Err(CallError::Refused(refusal)) if refusal.is_gone() || refusal.is_missing() => Finding::pass(
                RIGHTS,
                format!("the token may edit {}, the record and its fence as anything else there", record.zone),
            ),
            Err(CallError::Refused(refusal)) if refusal.is_about_the_token() => Finding::fail(
                RIGHTS,
                format!("the token may not edit {}: {refusal}", record.zone),
                "give it Zone / DNS / Edit for this zone: `quoratectl provider policy`",
            ),
            Err(error) => Finding::of_error(RIGHTS, &error.into_provider_error(Effect::None)),
            Ok(_) => Finding::unknown(
                RIGHTS,
                "Cloudflare accepted the deletion of a record that is not there",
                "report this as a bug",
            ),
        });
        findings
    }
}

/// Whether Cloudflare knows the token.
pub(super) async fn token(client: &Client) -> Finding {
    match client.get::<Token>("/user/tokens/verify", &[]).await {
        Ok(token) => known(&token),
        // A token that belongs to an account and not to a person is verified elsewhere.
        Err(CallError::Refused(refusal)) if refusal.is_about_the_token() => Finding::unknown(
            CREDENTIALS,
            "Cloudflare knows no token of a user by this",
            "this is as it should be for a token that an account owns; its rights are tried below",
        ),
        Err(error) => Finding::of_error(CREDENTIALS, &error.into_provider_error(Effect::None)),
    }
}

fn known(token: &Token) -> Finding {
    let until = token.expires_on.as_deref().map_or("without an end".to_owned(), |at| format!("until {}", clip(at)));
    if token.status == "active" {
        return Finding::pass(CREDENTIALS, format!("the token is active, {until}"));
    }
    Finding::fail(
        CREDENTIALS,
        format!("the token is {}", clip(&token.status)),
        "roll it in the dashboard, or make another",
    )
}

/// What to choose in the dashboard.
#[must_use]
pub fn policy(records: &[Record]) -> Vec<Grant> {
    let zones = inspect::zones(records);
    let lines = zones.iter().map(|zone| format!("                Include / Specific zone / {zone}\n"));
    let resources = lines.collect::<Vec<_>>().concat();
    vec![Grant {
        place: "Cloudflare: dashboard, My Profile, API Tokens, Create Custom Token".to_owned(),
        text: format!(
            "Permissions     Zone / DNS / Edit\n                Zone / Zone / Read      (not with zone_ids in node.toml)\n\
             Zone Resources\n{resources}\
             Client IP       Is in / the addresses of the nodes\n"
        ),
    }]
}
