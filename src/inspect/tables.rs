//! The `DynamoDB` tables of a service's regions, as this node reaches them: any node may come to lead, and one that may not ask
//! or write there leaves both gates unknown. Nothing is written: the write that is tried has a condition that cannot hold.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use serde_json::json;

use super::{RecordSeen, Subject};
use crate::{
    aws::{Fault, SET_THE_CLOCK},
    core::{
        names::ClusterId,
        service::{Check, Scalar, Table},
    },
    dns::{Finding, Grant, inspect::subject},
    dynamodb::{DynamoDb, HeartbeatKey, Tables, status::meaning},
};

/// What the findings about a table itself are called.
const TABLE: &str = "table";
const CREDENTIALS_HINT: &str = "give this node credentials for DynamoDB: `[dynamodb]` of its configuration, or AWS's own chain (environment, ~/.aws, role)";
const RIGHTS_HINT: &str = "`quoratectl provider check --policy` prints the policy to paste";
const AWAY_HINT: &str = "if other nodes reach it, look at this node's network; if none does, the region is in trouble";

/// Every table of these services, asked at once.
pub(super) async fn look(dynamodb: &DynamoDb, cluster: &ClusterId, of: &Subject) -> Vec<RecordSeen> {
    let tables = of.tables();
    let looked = tables.iter().map(|table| async move {
        let record = format!("{} in {}", table.table, table.region);
        RecordSeen { service: None, record, findings: one(dynamodb, cluster, table).await }
    });
    join_all(looked).await
}

async fn one(dynamodb: &DynamoDb, cluster: &ClusterId, table: &Table) -> Vec<Finding> {
    let seen = match dynamodb.describe(table).await {
        Ok(seen) => seen,
        Err(fault) => return [vec![of_fault(table, "DescribeTable", &fault)], clock(dynamodb)].concat(),
    };
    let mut findings = vec![Finding::pass(subject::CREDENTIALS, "AWS knows the access key")];
    findings.extend(clock(dynamodb));
    let status = seen.replicas.get(&table.region).map_or(&seen.status, |line| &line.status);
    let of = meaning(status);
    let figure = format!("is {status}: {}", of.means);
    findings.push(if of.usable { Finding::pass(TABLE, figure) } else { Finding::fail(TABLE, figure, of.advice) });
    let key = HeartbeatKey::new(&seen.keys, cluster, &table.region);
    let (read, written) = futures::join!(dynamodb.last_beat(table, &key), dynamodb.may_write(table, &key));
    for (call, tried) in [("GetItem", read.map(drop)), ("PutItem", written)] {
        findings.push(match tried {
            Ok(()) => Finding::pass(subject::RIGHTS, format!("{call} of the heartbeat is allowed")),
            Err(fault) => of_fault(table, call, &fault),
        });
    }
    findings
}

fn clock(dynamodb: &DynamoDb) -> Vec<Finding> {
    let reading = dynamodb.clock().reading().map(|reading| match reading {
        Ok(figure) => Finding::pass(subject::CLOCK, figure),
        Err(figure) => Finding::fail(subject::CLOCK, figure, SET_THE_CLOCK),
    });
    reading.into_iter().collect()
}

fn of_fault(table: &Table, call: &str, fault: &Fault) -> Finding {
    let figure = format!("{call}: {fault}");
    match fault {
        Fault::Down(_) => Finding::unknown(TABLE, figure, AWAY_HINT),
        Fault::Ours(_) => Finding::fail(subject::CREDENTIALS, figure, CREDENTIALS_HINT),
        _ if fault.is("AccessDeniedException") => Finding::fail(subject::RIGHTS, figure, RIGHTS_HINT),
        _ if fault.is_about_rights() => Finding::fail(subject::CREDENTIALS, figure, CREDENTIALS_HINT),
        _ if fault.is("ResourceNotFoundException") => Finding::fail(
            TABLE,
            "there is no such table",
            format!(
                "`quoratectl dynamodb replicate {} --to {}` makes a replica, or correct the service file",
                table.table, table.region
            ),
        ),
        Fault::Refused { .. } => Finding::unknown(TABLE, figure, "look at the table in AWS's console"),
    }
}

impl Subject {
    fn tables(&self) -> BTreeSet<Table> {
        let regions = self.services.iter().flat_map(|of| &of.service.regions);
        regions.filter_map(|region| region.dynamodb.clone()).collect()
    }
}

/// An IAM policy for these tables' heartbeats, and for the items that probes read.
pub(super) fn policy(cluster: &ClusterId, of: &Subject) -> Vec<Grant> {
    let heartbeats = HeartbeatKey::all(cluster);
    let mut keys: BTreeMap<Table, BTreeSet<String>> =
        of.tables().into_iter().map(|table| (table, BTreeSet::from([heartbeats.clone()]))).collect();
    let regions = of.services.iter().flat_map(|of| &of.service.regions);
    for probe in regions.flat_map(|region| &region.probes) {
        let Check::Dynamodb(check) = &probe.check else { continue };
        let texts = check.key.values().filter_map(|value| match value {
            Scalar::Text(text) => Some(text.clone()),
            Scalar::Integer(_) | Scalar::Bool(_) => None,
        });
        keys.entry(check.table.clone()).or_default().extend(texts);
    }
    if keys.is_empty() {
        return vec![];
    }
    let arn = |table: &Table| format!("arn:aws:dynamodb:{}:ACCOUNT:table/{}", table.region, table.table);
    let all: Vec<_> = keys.keys().map(arn).collect();
    let mut statements = vec![json!({ "Effect": "Allow", "Action": "dynamodb:DescribeTable", "Resource": all })];
    statements.extend(keys.iter().map(|(table, keys)| {
        json!({
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem"],
            "Resource": arn(table),
            "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": keys } },
        })
    }));
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let place = "AWS IAM: a policy of the user or role; put in the account's number, and leave out the Condition of a table \
                 whose partition key is no text";
    vec![Grant { place: place.to_owned(), text: format!("{policy:#}\n") }]
}
