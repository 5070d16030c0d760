//! What a consumer key may call, found out with calls that only read; and the access rules that it needs.
//!
//! `GET /auth/currentCredential` lists the rules of the key that asks, whatever they are. A rule is a method and a path in which a
//! final `*` stands for anything, also for more than one segment, and never for nothing: `X/*` does not cover `X`.

use serde::Deserialize;

use super::{CallError, Effect, Endpoint, Names, Ovh, iplb};
use crate::{
    core::record::{DomainName, Record},
    dns::{
        Finding, Grant, ProviderError,
        inspect::{
            self,
            subject::{CLOCK, CREDENTIALS, RIGHTS, ZONE},
        },
    },
};

/// `GET /auth/currentCredential`, of which these alone matter.
#[derive(Debug, Deserialize)]
pub(super) struct Credential {
    status: String,
    #[serde(default)]
    expiration: Option<String>,
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
}

/// An access rule.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) method: String,
    pub(super) path: String,
}

impl Rule {
    pub(super) fn covers(&self, method: &str, path: &str) -> bool {
        let fits = match self.path.strip_suffix('*') {
            Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
            None => self.path == path,
        };
        fits && self.method.eq_ignore_ascii_case(method)
    }
}

impl Ovh {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(super) async fn look_at_rights(&self, record: &Record) -> Vec<Finding> {
        if self.client.is_service_account() {
            return self.look_at_service_account(record).await;
        }
        let (credential, zone) =
            futures::future::join(self.get::<Credential>("/auth/currentCredential", &[]), self.ids(record)).await;
        let mut findings = vec![];
        let rules = match credential {
            Ok(credential) => {
                findings.push(known(&credential));
                findings.extend(self.client.known_skew().map(clock));
                Some(credential.rules)
            }
            Err(error) => {
                findings.push(unknown_credential(error));
                None
            }
        };
        findings.push(match &zone {
            Ok(_) => Finding::pass(ZONE, format!("{} serves {}", self.client.endpoint(), record.zone)),
            Err(error) => Finding::of_error(ZONE, error),
        });
        match (rules, zone) {
            (Some(rules), Ok((of_record, of_fence))) => {
                findings.push(may_change(&rules, record, &of_record, &record.to_string()));
                findings.push(may_change(&rules, record, &of_fence, &format!("{} TXT", record.fence_name())));
                findings.push(may_publish(&rules, &record.zone));
            }
            (Some(rules), Err(_)) => findings.push(may_publish(&rules, &record.zone)),
            (None, _) => {}
        }
        findings
    }

    /// What a service account may do is written in IAM policies, which it cannot read itself.
    async fn look_at_service_account(&self, record: &Record) -> Vec<Finding> {
        if let Err(error) = self.ids(record).await {
            return vec![Finding::of_error(CREDENTIALS, &error)];
        }
        vec![
            Finding::pass(CREDENTIALS, "OVH gave a token and takes it"),
            Finding::pass(ZONE, format!("{} serves {}", self.client.endpoint(), record.zone)),
            Finding::unknown(
                RIGHTS,
                "only OVH's IAM knows what the service account may change",
                "compare its policy with `quoratectl provider policy`",
            ),
        ]
    }

    /// OVH's numbers for the record and its fence.
    async fn ids(&self, record: &Record) -> Result<(Vec<u64>, Vec<u64>), ProviderError> {
        let names = Names::of(record)?;
        let staged = self.staged(record, names.places(record)).await?;
        let ids = |entries: Vec<super::Entry>| entries.into_iter().map(|entry| entry.id).collect();
        Ok((ids(staged.entries), ids(staged.fence_entries)))
    }
}

pub(super) fn known(credential: &Credential) -> Finding {
    let expires = credential
        .expiration
        .as_deref()
        .map_or_else(|| "without an end".to_owned(), |at| format!("until {}", crate::dns::clip(at)));
    if credential.status == "validated" {
        return Finding::pass(CREDENTIALS, format!("the consumer key is validated, {expires}"));
    }
    let hint = "ask for a new one with POST /auth/credential and open its validationUrl";
    Finding::fail(CREDENTIALS, format!("the consumer key is {}", crate::dns::clip(&credential.status)), hint)
}

pub(super) fn unknown_credential(error: CallError) -> Finding {
    match error {
        // The key is known, or OVH would have said so; what it may do remains to be seen.
        CallError::Refused(refusal) if refusal.code == "NOT_GRANTED_CALL" => Finding::unknown(
            RIGHTS,
            "the consumer key may not read its own access rules",
            "grant it `GET /auth/currentCredential`, or compare by hand with `quoratectl provider policy`",
        ),
        other => Finding::of_error(CREDENTIALS, &other.into_provider_error(Effect::None)),
    }
}

/// Only said: each call is signed with OVH's own time, which is asked for first.
pub(super) fn clock(skew: i64) -> Finding {
    let by = skew.unsigned_abs();
    let figure = match skew {
        0 => "OVH's clock and this node's agree to the second".to_owned(),
        1.. => format!("OVH's clock is {by} s ahead; calls are signed with OVH's time"),
        _ => format!("OVH's clock is {by} s behind; calls are signed with OVH's time"),
    };
    Finding::pass(CLOCK, figure)
}

/// Each value that stands must be changeable in place, or records as such creatable and removable.
fn may_change(rules: &[Rule], record: &Record, ids: &[u64], what: &str) -> Finding {
    let base = format!("/domain/zone/{}/record", record.zone);
    let covered = |method: &str, path: &str| rules.iter().any(|rule| rule.covers(method, path));
    let mut missing: Vec<String> = vec![];
    for id in ids.iter().filter(|id| !covered("PUT", &format!("{base}/{id}"))) {
        missing.push(format!("PUT {base}/{id}"));
    }
    if ids.is_empty() && !covered("POST", &base) {
        missing.push(format!("POST {base}"));
    }
    if !missing.is_empty() {
        let hint = format!("make a consumer key with {} as well: `quoratectl provider policy`", quoted(&missing));
        return Finding::fail(RIGHTS, format!("{what}: the consumer key lacks {}", quoted(&missing)), hint);
    }
    // Numbers of values that differ between regions need more than changing in place.
    let (creates, removes) = (covered("POST", &base), covered("DELETE", &format!("{base}/0")));
    let reach = if creates && removes {
        "change, create and remove its values"
    } else {
        "change its values in place, which is enough while every region has equally many"
    };
    Finding::pass(RIGHTS, format!("{what}: the consumer key may {reach}"))
}

fn may_publish(rules: &[Rule], zone: &DomainName) -> Finding {
    let refresh = format!("/domain/zone/{zone}/refresh");
    if rules.iter().any(|rule| rule.covers("POST", &refresh)) {
        return Finding::pass(RIGHTS, format!("the consumer key may publish zone {zone}"));
    }
    let hint = "without it nothing that is changed is ever published: `quoratectl provider policy`";
    Finding::fail(RIGHTS, format!("the consumer key lacks `POST {refresh}`"), hint)
}

pub(super) fn quoted(calls: &[String]) -> String {
    calls.iter().map(|call| format!("`{call}`")).collect::<Vec<_>>().join(", ")
}

/// The access rules for the zones of the records, and for the farms among them.
fn rules(records: &[Record]) -> Vec<(&'static str, String)> {
    let zones = inspect::zones(in_dns(records));
    let of_zone = |zone: &DomainName| {
        [
            ("GET", "record"),
            ("GET", "record/*"),
            ("POST", "record"),
            ("PUT", "record/*"),
            ("DELETE", "record/*"),
            ("POST", "refresh"),
            ("GET", "soa"),
            ("GET", "status"),
        ]
        .map(|(method, path)| (method, format!("/domain/zone/{zone}/{path}")))
    };
    // Farms of one load balancer share some.
    let mut rules: Vec<_> = zones.into_iter().flat_map(of_zone).collect();
    for rule in farms(records).flat_map(iplb::calls) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn in_dns(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| record.rtype.is_in_dns())
}

fn farms(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| !record.rtype.is_in_dns())
}

/// Refuses records that nothing can be granted for.
///
/// # Errors
/// What is wrong with the first of them.
pub fn check(records: &[Record]) -> Result<(), String> {
    farms(records).try_for_each(iplb::check)
}

/// What the IAM policy of a service account must allow.
pub(super) fn iam(records: &[Record]) -> Vec<Grant> {
    let zones: Vec<Record> = in_dns(records).cloned().collect();
    let lines: Vec<_> = rules(&zones).iter().map(|(method, path)| format!("{method:<6} {path}\n")).collect();
    let mut actions: Vec<_> = farms(records).flat_map(iplb::iam_actions).map(|action| action + "\n").collect();
    actions.sort();
    actions.dedup();
    let on_zone = "OVH: the IAM policy of the service account, on the zone; the actions that stand for these calls";
    let on_balancer = "OVH: the IAM policy of the service account, on the load balancer; these actions";
    let grants = [(on_zone, lines.concat()), (on_balancer, actions.concat())];
    let grants = grants.into_iter().filter(|(_, text)| !text.is_empty());
    grants.map(|(place, text)| Grant { place: place.to_owned(), text }).collect()
}

/// The rules, and the page at OVH that has them filled in.
#[must_use]
pub fn policy(endpoint: &Endpoint, records: &[Record]) -> Vec<Grant> {
    let rules = rules(records);
    let lines: Vec<_> = rules.iter().map(|(method, path)| format!("{method:<6} {path}\n")).collect();
    let mut grants =
        vec![Grant { place: "OVH: the access rules of the consumer key".to_owned(), text: lines.concat() }];
    // Only OVH's own endpoints have the page, beside the API.
    if let Some(root) = endpoint.to_string().strip_suffix("/1.0").filter(|root| root.starts_with("https://")) {
        let query: Vec<_> = rules.iter().map(|(method, path)| format!("{method}={path}")).collect();
        grants.push(Grant {
            place: "OVH: the page that makes the three keys with these rules; choose unlimited validity".to_owned(),
            text: format!("{root}/createToken/?{}\n", query.join("&")),
        });
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{record::RecordType, safety::RuleOutcome};

    fn record() -> Record {
        Record {
            provider: "main".parse().unwrap(),
            zone: "example.com".parse().unwrap(),
            name: "app.example.com".parse().unwrap(),
            rtype: RecordType::A,
            ttl: 60,
        }
    }

    fn rules_of(lines: &[&str]) -> Vec<Rule> {
        let rule = |line: &&str| {
            let (method, path) = line.split_once(' ').unwrap();
            Rule { method: method.to_owned(), path: path.to_owned() }
        };
        lines.iter().map(rule).collect()
    }

    #[test]
    fn a_rule_covers_its_path_and_a_star_something_below_it() {
        for (rule, path, covers) in [
            ("GET /domain/zone/example.com/record", "/domain/zone/example.com/record", true),
            ("GET /domain/zone/example.com/record", "/domain/zone/example.com/record/7", false),
            ("GET /domain/zone/example.com/record/*", "/domain/zone/example.com/record/7", true),
            ("GET /domain/zone/example.com/record/*", "/domain/zone/example.com/record", false),
            ("GET /*", "/domain/zone/example.com/record/7", true),
            ("PUT /*", "/domain/zone/example.com/record/7", false),
        ] {
            assert_eq!(rules_of(&[rule])[0].covers("GET", path), covers, "{rule} {path}");
        }
    }

    #[test]
    fn what_is_printed_is_what_is_asked_for() {
        let endpoint: Endpoint = "ovh-us".parse().unwrap();
        let grants = policy(&endpoint, &[record()]);
        let printed: Vec<&str> = grants[0].text.lines().collect();
        let granted = rules_of(&printed.iter().map(|line| line.trim()).collect::<Vec<_>>());
        let granted: Vec<_> =
            granted.into_iter().map(|rule| Rule { path: rule.path.trim().to_owned(), ..rule }).collect();
        for found in [
            may_change(&granted, &record(), &[7, 8], "app"),
            may_change(&granted, &record(), &[], "app"),
            may_publish(&granted, &record().zone),
        ] {
            assert_eq!(found.outcome, RuleOutcome::Pass, "{found:?}");
        }
        assert!(
            grants[1]
                .text
                .starts_with("https://api.us.ovhcloud.com/createToken/?GET=/domain/zone/example.com/record&GET=")
        );
        let own: Endpoint = "http://127.0.0.1:9/1.0".parse().unwrap();
        assert_eq!(policy(&own, &[record()]).len(), 1, "a proxy of one's own has no such page");
    }

    #[test]
    fn each_missing_rule_is_named() {
        let base = "/domain/zone/example.com/record";
        let all = ["PUT /domain/zone/example.com/record/*", "POST /domain/zone/example.com/record"];
        let lacks = |rules: &[&str], ids: &[u64]| may_change(&rules_of(rules), &record(), ids, "app.example.com A");
        assert_eq!(lacks(&all, &[7]).outcome, RuleOutcome::Pass);
        assert!(lacks(&all[1..], &[7]).figure.contains(&format!("lacks `PUT {base}/7`")));
        assert!(lacks(&all[..1], &[]).figure.contains(&format!("lacks `POST {base}`")));
        assert_eq!(lacks(&["PUT /domain/zone/example.com/record/7"], &[7]).outcome, RuleOutcome::Pass);
        assert_eq!(may_publish(&rules_of(&all), &record().zone).outcome, RuleOutcome::Fail);
    }

    #[test]
    fn a_key_that_is_not_validated_would_stop_a_switch() {
        let credential = |status: &str| Credential { status: status.to_owned(), expiration: None, rules: vec![] };
        assert_eq!(known(&credential("validated")).outcome, RuleOutcome::Pass);
        assert_eq!(known(&credential("pendingValidation")).outcome, RuleOutcome::Fail);
    }
}
