//! What a switch of a farm may call, found out with calls that only read; and the rules that it needs.

use futures::future::join;

use super::{
    super::{
        Ovh,
        rights::{Credential, Rule, clock, known, quoted, unknown_credential},
    },
    counted,
    farm::Place,
    is_ours,
};
use crate::{
    core::{
        names::RegionName,
        record::{Record, RrSet},
    },
    dns::{
        Finding, ProviderError,
        inspect::subject::{CREDENTIALS, RIGHTS, VALUES, ZONE},
    },
};

/// A subject of its own: what others left staged.
const STAGED: &str = "staged";

/// The calls that a farm's switch makes, and nothing else. Empty for a record that no farm can be.
pub(in super::super) fn calls(record: &Record) -> Vec<(&'static str, String)> {
    let Ok(place) = Place::of(record) else { return vec![] };
    let (farm, of) = (place.path(), |rest: &str| place.at_balancer(rest));
    vec![
        ("GET", farm.clone()),
        ("PUT", farm.clone()),
        ("GET", format!("{farm}/server")),
        ("GET", format!("{farm}/server/*")),
        ("PUT", format!("{farm}/server/*")),
        ("GET", of("pendingChanges")),
        ("POST", of("refresh")),
        ("GET", of("task")),
        ("GET", of("task/*")),
    ]
}

/// The same as the actions of OVH's IAM.
pub(in super::super) fn iam_actions(record: &Record) -> Vec<String> {
    let Ok(Place { kind, .. }) = Place::of(record) else { return vec![] };
    let farm =
        ["farm/get", "farm/edit", "farm/server/get", "farm/server/edit"].map(|action| format!("{kind}/{action}"));
    let all = farm.into_iter().chain(["pendingChanges/get", "refresh", "task/get"].map(str::to_owned));
    all.map(|action| format!("loadbalancer:apiovh:{action}")).collect()
}

impl Ovh {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(in super::super) async fn look_at_farm(&self, record: &Record) -> Vec<Finding> {
        let place = match Place::of(record) {
            Ok(place) => place,
            Err(error) => return vec![Finding::of_error(ZONE, &error)],
        };
        let mut findings = vec![];
        if self.client.is_service_account() {
            let standing = self.look_at_balancer(&place, record, &mut findings).await;
            if standing {
                findings.insert(0, Finding::pass(CREDENTIALS, "OVH gave a token and takes it"));
                findings.push(Finding::unknown(
                    RIGHTS,
                    "only OVH's IAM knows what the service account may change",
                    "compare its policy with `quoratectl provider policy`",
                ));
            }
            return findings;
        }
        let mut of_balancer = vec![];
        let (credential, _) = join(
            self.get::<Credential>("/auth/currentCredential", &[]),
            self.look_at_balancer(&place, record, &mut of_balancer),
        )
        .await;
        match credential {
            Ok(credential) => {
                findings.push(known(&credential));
                findings.extend(self.client.known_skew().map(clock));
                findings.extend(of_balancer);
                findings.push(may(&credential.rules, record));
            }
            Err(error) => {
                findings.push(unknown_credential(error));
                findings.extend(of_balancer);
            }
        }
        findings
    }

    /// Whether the farm has the servers that the regions name. What keeps it from being read, [`Self::look_at_farm`] says.
    pub(in super::super) async fn look_at_servers(
        &self,
        record: &Record,
        regions: &[(RegionName, RrSet)],
    ) -> Vec<Finding> {
        let Ok(place) = Place::of(record) else { return vec![] };
        let Ok(farm) = self.farm(&place).await else { return vec![] };
        let of_region = |(region, rrset): &(RegionName, RrSet)| match farm.servers_of(&place, rrset) {
            Ok(_) => Finding::pass(VALUES, format!("{region}: the {place} has {rrset}")),
            Err(ProviderError::Permanent { message, hint }) => {
                Finding::fail(VALUES, format!("{region}: {message}"), hint)
            }
            Err(other) => Finding::of_error(VALUES, &other),
        };
        regions.iter().map(of_region).collect()
    }

    /// Whether the farm is there and nothing of others is staged; says whether OVH answered at all.
    async fn look_at_balancer(&self, place: &Place, record: &Record, findings: &mut Vec<Finding>) -> bool {
        let found = async {
            let (farm, pending) = join(self.farm(place), self.pending(place)).await;
            let (farm, pending) = (farm?, pending?);
            let latest = if pending.is_empty() { None } else { self.latest(place).await? };
            farm.reading(place)?;
            Ok((farm, pending, latest))
        };
        let (farm, pending, latest) = match found.await {
            Ok(found) => found,
            Err(error) => {
                findings.push(Finding::of_error(ZONE, &error));
                return false;
            }
        };
        let at = self.client.endpoint();
        findings.push(Finding::pass(ZONE, format!("{at} has {record} with {} servers", farm.servers.len())));
        let cluster = farm.caption.standing().map(|standing| &standing.fence.cluster);
        let ours = cluster.is_some_and(|cluster| is_ours(&farm.caption, cluster, &pending, latest.as_ref()));
        findings.push(if pending.is_empty() || ours {
            Finding::pass(STAGED, "nothing of anybody else's is staged at the load balancer")
        } else {
            let hint = "a switch would publish it, and is refused until it is applied or undone at OVH";
            Finding::fail(STAGED, format!("somebody left changes staged: {}", counted(&pending)), hint)
        });
        true
    }
}

/// Every call must be covered.
fn may(rules: &[Rule], record: &Record) -> Finding {
    let covered = |method: &str, path: &str| rules.iter().any(|rule| rule.covers(method, path));
    // Any server will do for a star.
    let missing: Vec<_> = calls(record)
        .into_iter()
        .filter(|(method, path)| !covered(method, &path.replace('*', "0")))
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    if missing.is_empty() {
        return Finding::pass(RIGHTS, format!("{record}: the consumer key may switch its servers and publish them"));
    }
    let hint = format!("make a consumer key with {} as well: `quoratectl provider policy`", quoted(&missing));
    Finding::fail(RIGHTS, format!("{record}: the consumer key lacks {}", quoted(&missing)), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{record::RecordType, safety::RuleOutcome};

    fn record() -> Record {
        Record {
            provider: "main".parse().unwrap(),
            zone: "ip-203.0.113.1".parse().unwrap(),
            name: "http-7.ip-203.0.113.1".parse().unwrap(),
            rtype: RecordType::Pool,
            ttl: 0,
        }
    }

    #[test]
    fn what_is_asked_for_is_enough_and_each_missing_rule_is_named() {
        let rules = |without: Option<usize>| -> Vec<Rule> {
            let all = calls(&record()).into_iter().enumerate();
            let some = all.filter(|(i, _)| Some(*i) != without);
            some.map(|(_, (method, path))| Rule { method: method.to_owned(), path }).collect()
        };
        assert_eq!(may(&rules(None), &record()).outcome, RuleOutcome::Pass);
        for (i, (method, path)) in calls(&record()).iter().enumerate() {
            let found = may(&rules(Some(i)), &record());
            assert_eq!(found.outcome, RuleOutcome::Fail);
            assert!(found.figure.ends_with(&format!("lacks `{method} {path}`")), "{found:?}");
        }
    }
}
