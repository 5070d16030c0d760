//! What the credentials may do at Global Accelerator, found out without changing anything, and the least that they need.

use serde_json::json;

use super::{
    super::{
        Finding, Grant, ProviderError,
        amazon::first_call,
        inspect::subject::{RIGHTS, ZONE},
    },
    Accelerator,
    pool::{self, Ids, OPEN},
};
use crate::core::record::Record;

impl Accelerator {
    /// The findings of [`Provider::rights`](crate::dns::Provider::rights).
    pub(super) async fn look_at_rights(&self, record: &Record) -> Vec<Finding> {
        let place = match self.client.place(record).await {
            Ok(place) => place,
            Err(error) => return first_call(&self.client.clock, Some(&error)),
        };
        let found = match self.look(record, &place).await {
            Ok(found) => found,
            Err(error) => return first_call(&self.client.clock, Some(&error)),
        };
        let regions: Vec<_> = found.groups.iter().map(|group| group.region.as_str()).collect();
        let mut findings = first_call(&self.client.clock, None);
        let groups = format!("{} has endpoint groups in {}", place.listener, regions.join(", "));
        findings.push(Finding::pass(ZONE, groups));
        // A group that nobody can have made: AWS looks at rights before it looks for the group.
        let nobody = format!("{}/endpoint-group/quorate{:016x}", place.listener, rand::random::<u64>());
        findings.push(match self.client.turn(&nobody, OPEN).await {
            Err(ProviderError::Permanent { message, .. }) if message.contains("EndpointGroupNotFoundException") => {
                Finding::pass(RIGHTS, format!("the access key may turn the dials of {record}"))
            }
            Err(error) => Finding::of_error(RIGHTS, &error),
            Ok(()) => {
                Finding::unknown(RIGHTS, "AWS turned the dial of a group that is not there", "report this as a bug")
            }
        });
        findings.push(match self.client.is_deployed(&place).await {
            Ok(_) => Finding::pass(RIGHTS, "the access key may see whether a change is deployed"),
            Err(error) => Finding::of_error(RIGHTS, &error),
        });
        findings.push(Finding::unknown(
            RIGHTS,
            format!("whether the access key may write the tag {} cannot be found out without writing it", place.tag),
            "compare what was granted with `quoratectl provider policy global-accelerator`",
        ));
        findings
    }
}

/// An IAM policy for these records: `arn` tells the accelerators' ARNs that are known.
///
/// Resources and condition keys are those of AWS' Service Authorization Reference for Global Accelerator.
pub fn policy(arn: &dyn Fn(&str) -> Option<String>, records: &[Record]) -> Vec<Grant> {
    let mut ids: Vec<Ids<'_>> = records.iter().filter_map(|record| Ids::of(record).ok()).collect();
    ids.sort_by_key(|ids| (ids.accelerator, ids.listener));
    ids.dedup();
    if ids.is_empty() {
        return vec![];
    }
    let (mut statements, mut unknown) = (vec![], false);
    for of in ids.chunk_by(|a, b| a.accelerator == b.accelerator) {
        let accelerator = arn(of[0].accelerator).unwrap_or_else(|| {
            unknown = true;
            pool::arn("ACCOUNT", of[0].accelerator)
        });
        let places: Vec<_> = of.iter().map(|ids| ids.at(accelerator.clone())).collect();
        let listeners: Vec<_> = places.iter().map(|place| &place.listener).collect();
        let groups: Vec<_> = listeners.iter().map(|listener| format!("{listener}/endpoint-group/*")).collect();
        let tags: Vec<_> = places.iter().map(|place| &place.tag).collect();
        statements.extend([
            json!({
                "Effect": "Allow",
                "Action": ["globalaccelerator:DescribeAccelerator", "globalaccelerator:ListTagsForResource"],
                "Resource": accelerator,
            }),
            json!({ "Effect": "Allow", "Action": "globalaccelerator:ListEndpointGroups", "Resource": listeners }),
            json!({ "Effect": "Allow", "Action": "globalaccelerator:UpdateEndpointGroup", "Resource": groups }),
            json!({
                "Effect": "Allow",
                "Action": "globalaccelerator:TagResource",
                "Resource": accelerator,
                "Condition": {
                    "ForAllValues:StringEquals": { "aws:TagKeys": tags },
                    "Null": { "aws:TagKeys": "false" },
                },
            }),
        ]);
    }
    let mut place = "AWS IAM: a policy of the user or role".to_owned();
    if unknown {
        statements.push(json!({ "Effect": "Allow", "Action": "globalaccelerator:ListAccelerators", "Resource": "*" }));
        place += "; put in the account's number for ACCOUNT, and leave ListAccelerators out where `account_id` of the \
                  provider has it";
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    vec![Grant { place, text: format!("{policy:#}\n") }]
}

/// The same for whoever has no cluster yet.
///
/// # Errors
/// `account` is no number of an AWS account.
pub fn policy_of_account(account: Option<&str>, records: &[Record]) -> Result<Vec<Grant>, String> {
    if let Some(account) = account.filter(|account| !pool::is_account(account)) {
        return Err(format!("`{account}` is no number of an AWS account, which has 12 digits"));
    }
    for record in records {
        Ids::of(record).map_err(|error| error.to_string())?;
    }
    Ok(policy(&|accelerator| account.map(|account| pool::arn(account, accelerator)), records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::RecordType;

    fn record(listener: &str, accelerator: &str) -> Record {
        Record {
            provider: "ga".parse().unwrap(),
            zone: accelerator.parse().unwrap(),
            name: format!("{listener}.{accelerator}").parse().unwrap(),
            rtype: RecordType::Pool,
            ttl: 0,
        }
    }

    #[test]
    fn the_policy_names_listeners_groups_and_tags_and_nothing_else() {
        let records = [record("l2", "a1"), record("l1", "a1"), record("l1", "a1")];
        let grants = policy(&|id| Some(pool::arn("123456789012", id)), &records);
        let policy: serde_json::Value = serde_json::from_str(&grants[0].text).unwrap();
        let arn = "arn:aws:globalaccelerator::123456789012:accelerator/a1";
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 4, "{policy:#}");
        assert_eq!(statements[1]["Resource"], json!([format!("{arn}/listener/l1"), format!("{arn}/listener/l2")]));
        let groups = [format!("{arn}/listener/l1/endpoint-group/*"), format!("{arn}/listener/l2/endpoint-group/*")];
        assert_eq!(statements[2]["Resource"], json!(groups));
        assert_eq!(
            (&statements[3]["Action"], &statements[3]["Resource"]),
            (&json!("globalaccelerator:TagResource"), &json!(arn))
        );
        let condition = &statements[3]["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"];
        assert_eq!(*condition, json!(["quorate:l1", "quorate:l2"]));
        assert!(!grants[0].text.contains("ListAccelerators"));
        let unknown = super::policy(&|_| None, &records);
        assert!(unknown[0].text.contains("::ACCOUNT:") && unknown[0].text.contains("ListAccelerators"));
        assert!(super::policy(&|_| None, &[]).is_empty());
    }
}
