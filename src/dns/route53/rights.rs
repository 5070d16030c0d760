//! What the credentials may do at Route 53, found out without changing anything, and the least that they need.

use aws_sdk_route53::types::{Change as SetChange, ChangeAction, ChangeBatch, ResourceRecordSet};
use serde_json::json;

use super::{
    super::{
        Finding, Grant, ProviderError,
        amazon::first_call,
        http::Effect,
        inspect::{
            self,
            subject::{RIGHTS, ZONE},
        },
    },
    Route53, entry,
    refusal::meaning,
};
use crate::core::record::{DomainName, Fence, Record};

impl Route53 {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(super) async fn look_at_rights(&self, record: &Record) -> Vec<Finding> {
        let zone = match self.zone_id(&record.zone).await {
            Ok(zone) => zone,
            Err(error) => return first_call(&self.clock, Some(&error)),
        };
        let found = match self.look(record).await {
            Ok(found) => found,
            Err(error) => return first_call(&self.clock, Some(&error)),
        };
        let mut findings = first_call(&self.clock, None);
        findings.push(Finding::pass(ZONE, format!("hosted zone {zone} serves {}", record.zone)));
        let what = format!("{} {} and {} TXT in one batch", record.name, record.rtype, record.fence_name());
        findings.push(match self.impossible(record, found.set.as_ref(), &zone).await {
            Err(ProviderError::Stale(_)) => Finding::pass(RIGHTS, format!("the access key may change {what}")),
            Err(error) => Finding::of_error(RIGHTS, &error),
            Ok(()) => Finding::unknown(RIGHTS, "Route 53 took a batch that it must refuse", "report this as a bug"),
        });
        findings
    }

    /// A batch on record and fence that Route 53 must turn down whatever the rights are, as it deletes a text that nobody can have
    /// written: rights are checked first.
    async fn impossible(
        &self,
        record: &Record,
        set: Option<&ResourceRecordSet>,
        zone: &str,
    ) -> Result<(), ProviderError> {
        let nobody = Fence {
            cluster: format!("check-{:016x}", rand::random::<u64>()).parse().map_err(|error| {
                ProviderError::Permanent { message: format!("{error}"), hint: "report this as a bug".to_owned() }
            })?,
            epoch: crate::core::names::Epoch(0),
        };
        let mut batch = ChangeBatch::builder().comment("quorate: a check of rights that changes nothing");
        let fence = entry::fence(record, &nobody, 1)?;
        for (action, set) in [(ChangeAction::Delete, Some(&fence)), (ChangeAction::Create, Some(&fence))]
            .into_iter()
            .chain([(ChangeAction::Delete, set), (ChangeAction::Create, set)])
        {
            let Some(set) = set else { continue };
            let change = SetChange::builder().action(action).resource_record_set(set.clone()).build();
            batch = batch.changes(change.map_err(|error| entry::unbuildable(&error))?);
        }
        let batch = batch.build().map_err(|error| entry::unbuildable(&error))?;
        let call = self.client().await.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch);
        Box::pin(call.send())
            .await
            .map(drop)
            .map_err(|error| meaning(&error, "ChangeResourceRecordSets", Effect::Change))
    }
}

/// An IAM policy for these records: `zone_id` tells the ids that are known.
///
/// The conditions are Route 53's own keys. Names there are normalised: lower case, without the trailing dot.
pub fn policy(zone_id: &dyn Fn(&DomainName) -> Option<String>, records: &[Record]) -> Vec<Grant> {
    let zones = inspect::zones(records);
    if zones.is_empty() {
        return vec![];
    }
    let mut statements = vec![
        json!({ "Effect": "Allow", "Action": "route53:ListHostedZonesByName", "Resource": "*" }),
        json!({ "Effect": "Allow", "Action": "route53:GetChange", "Resource": "arn:aws:route53:::change/*" }),
    ];
    let mut unknown = vec![];
    for zone in zones {
        let id = zone_id(zone).unwrap_or_else(|| {
            unknown.push(zone.to_string());
            format!("ID-OF-{zone}")
        });
        let resource = format!("arn:aws:route53:::hostedzone/{id}");
        let of_zone = records.iter().filter(|record| record.zone == *zone && record.rtype.is_in_dns());
        let (mut names, mut types) = (vec![], vec!["TXT".to_owned()]);
        for record in of_zone {
            names.extend([record.name.to_string(), record.fence_name().to_string()]);
            types.push(record.rtype.to_string());
        }
        for list in [&mut names, &mut types] {
            list.sort();
            list.dedup();
        }
        statements.push(json!({
            "Effect": "Allow", "Action": "route53:ListResourceRecordSets", "Resource": resource,
        }));
        statements.push(json!({
            "Effect": "Allow",
            "Action": "route53:ChangeResourceRecordSets",
            "Resource": resource,
            "Condition": { "ForAllValues:StringEquals": {
                "route53:ChangeResourceRecordSetsNormalizedRecordNames": names,
                "route53:ChangeResourceRecordSetsRecordTypes": types,
                "route53:ChangeResourceRecordSetsActions": ["CREATE", "DELETE"],
            } },
        }));
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let place = if unknown.is_empty() {
        "AWS IAM: a policy of the user or role".to_owned()
    } else {
        format!("AWS IAM: a policy of the user or role; put in the hosted zone's id of {}", unknown.join(", "))
    };
    vec![Grant { place, text: format!("{policy:#}\n") }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::RecordType;

    #[test]
    fn the_policy_names_record_and_fence_and_nothing_else() {
        let record = |zone: &str, rtype| Record {
            provider: "aws".parse().unwrap(),
            zone: zone.parse().unwrap(),
            name: format!("app.{zone}").parse().unwrap(),
            rtype,
            ttl: 60,
        };
        let records = [record("example.com", RecordType::A), record("example.com", RecordType::Aaaa)];
        let grants = policy(&|_| Some("Z123".to_owned()), &records);
        let policy: serde_json::Value = serde_json::from_str(&grants[0].text).unwrap();
        let change = &policy["Statement"][3];
        assert_eq!(change["Resource"], "arn:aws:route53:::hostedzone/Z123");
        let condition = &change["Condition"]["ForAllValues:StringEquals"];
        assert_eq!(
            condition["route53:ChangeResourceRecordSetsNormalizedRecordNames"],
            json!(["_quorate.app.example.com", "app.example.com"])
        );
        assert_eq!(condition["route53:ChangeResourceRecordSetsRecordTypes"], json!(["A", "AAAA", "TXT"]));
        assert_eq!(condition["route53:ChangeResourceRecordSetsActions"], json!(["CREATE", "DELETE"]));
        let unknown = super::policy(&|_| None, &records);
        assert!(unknown[0].place.contains("example.com") && unknown[0].text.contains("ID-OF-example.com"));
    }
}
