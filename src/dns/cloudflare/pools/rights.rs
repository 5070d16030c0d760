//! What a token may do with load balancers, found out without changing anything; and the permissions that it needs.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::rights::{NO_ID, token},
    CallError, CloudflarePools, Effect, Found,
};
use crate::{
    core::{
        names::RegionName,
        record::{Record, RrSet},
    },
    dns::{
        Finding, Grant, ProviderError, clip,
        inspect::{
            self,
            subject::{RIGHTS, VALUES, ZONE},
        },
    },
};

/// Which pools there are.
const POOLS: &str = "pools";
/// Whether the load balancer does what its default pools say.
const STEERING: &str = "steering";

impl CloudflarePools {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(super) async fn look_at_rights(&self, record: &Record) -> Vec<Finding> {
        let mut findings = vec![token(&self.client).await];
        let found = match self.find(record).await {
            Ok(found) => found,
            Err(error) => {
                findings.push(Finding::of_error(ZONE, &error));
                return findings;
            }
        };
        findings
            .push(Finding::pass(ZONE, format!("Cloudflare shows the load balancers of {} to this token", record.zone)));
        findings.push(if self.given.is_some() {
            Finding::unknown(
                POOLS,
                format!("pool_ids names {}", found.pools.in_words()),
                "compare the ids with the dashboard: without the right to list pools nobody can tell whether they are enabled",
            )
        } else {
            Finding::pass(POOLS, format!("the account has {}", found.pools.in_words()))
        });
        findings.push(self.may_edit(record, &found.zone).await);
        findings.extend(steering(&found));
        findings
    }

    /// The findings of [`Provider::values`](crate::dns::Provider::values).
    pub(super) async fn look_at_values(&self, record: &Record, regions: &[(RegionName, RrSet)]) -> Vec<Finding> {
        // What cannot be read is said by the rights.
        let Ok(Found { balancer: Some(balancer), pools, .. }) = self.find(record).await else { return vec![] };
        let (mut there, mut findings) = (vec![], vec![]);
        for (region, rrset) in regions {
            match balancer.select(&pools, record, rrset) {
                Ok(_) => there.push(region.as_str()),
                Err(error) => {
                    let finding = Finding::of_error(VALUES, &error);
                    findings.push(Finding { figure: format!("of region {region}: {}", finding.figure), ..finding });
                }
            }
        }
        if !there.is_empty() {
            findings.push(Finding::pass(VALUES, format!("each pool of {} is known", there.join(", "))));
        }
        findings
    }

    /// Whether the token may change a load balancer: asked with one that cannot be.
    async fn may_edit(&self, record: &Record, zone: &str) -> Finding {
        let path = format!("/zones/{zone}/load_balancers/{NO_ID}");
        let nothing = json!({ "description": "" });
        match self.client.call::<Value>(Method::PATCH, &path, &[], Some(&nothing)).await {
            Err(CallError::Refused(refusal)) if refusal.is_about_the_token() => Finding::fail(
                RIGHTS,
                format!("the token may not edit load balancers of {}: {refusal}", record.zone),
                "give it Zone / Load Balancers / Edit for this zone: `quoratectl provider policy`",
            ),
            Err(error) => match error.into_provider_error(Effect::None) {
                // Whatever else it says of an id that is none, it was let through.
                ProviderError::Permanent { .. } => Finding::pass(
                    RIGHTS,
                    format!("the token may edit load balancers of {}, pools and fence in one call", record.zone),
                ),
                other => Finding::of_error(RIGHTS, &other),
            },
            Ok(_) => Finding::unknown(
                RIGHTS,
                "Cloudflare accepted the change of a load balancer that is not there",
                "report this as a bug",
            ),
        }
    }
}

/// What keeps a switch from moving all traffic.
fn steering(found: &Found) -> Option<Finding> {
    let balancer = found.balancer.as_ref()?;
    if balancer.enabled == Some(false) {
        return Some(Finding::fail(
            STEERING,
            format!("the load balancer {} is disabled: its pools take no traffic", clip(&balancer.id)),
            "enable it in the dashboard",
        ));
    }
    let passed_by = balancer.passed_by();
    if passed_by.is_empty() {
        return Some(Finding::pass(STEERING, "all traffic goes by the default pools"));
    }
    Some(Finding::unknown(
        STEERING,
        format!("{} send traffic of their own, which no switch moves", passed_by.join(", ")),
        "see in the dashboard that they name no region's pool, or remove them",
    ))
}

/// What to choose in the dashboard.
#[must_use]
pub fn policy(records: &[Record]) -> Vec<Grant> {
    let zones = inspect::zones(records);
    let lines = zones.iter().map(|zone| format!("                   Include / Specific zone / {zone}\n"));
    let resources = lines.collect::<Vec<_>>().concat();
    vec![Grant {
        place: "Cloudflare: dashboard, My Profile, API Tokens, Create Custom Token".to_owned(),
        text: format!(
            "Permissions        Zone / Load Balancers / Edit\n\
             \x20                  Account / Load Balancing: Monitors and Pools / Read    (not with pool_ids in node.toml)\n\
             \x20                  Zone / Zone / Read    (not with zone_ids and pool_ids)\n\
             Account Resources\n\
             \x20                  Include / the account of the zones    (not with pool_ids)\n\
             Zone Resources\n{resources}\
             Client IP          Is in / the addresses of the nodes\n"
        ),
    }]
}
