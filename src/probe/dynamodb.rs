//! The `DynamoDB` probe: one item read consistently (`GetItem`), with the credentials of this node.
//!
//! Unlike the other probes it keeps its connection, as the applications do that it speaks for. Rights are this node's
//! affair: a region is never down because a site may not ask it (invariant 4).

use super::check::{Answer, Client, Failure, Progress, Stage};
use crate::{
    core::service::{DynamodbCheck, Scalar},
    dynamodb::KeyValue,
};

/// Passes when the table answers.
pub(super) async fn check(client: &Client, check: &DynamodbCheck, progress: &Progress) -> Result<Answer, Failure> {
    progress.enter(Stage::Waiting);
    let value = |value: &Scalar| match value {
        Scalar::Integer(number) => KeyValue::Number(number.to_string()),
        Scalar::Text(text) => KeyValue::Text(text.clone()),
        Scalar::Bool(flag) => KeyValue::Text(flag.to_string()),
    };
    let key = check.key.iter().map(|(name, of)| (name.clone(), value(of))).collect();
    match client.dynamodb.answers(&check.table, &key).await {
        Ok(()) => Ok(Answer::default()),
        // A key that is not the table's is a slip in the service file, the same on every site.
        Err(fault) if fault.is_about_rights() || fault.is("ValidationException") => {
            Err(Failure::Ours(fault.to_string()))
        }
        Err(fault) => Err(Failure::Dynamodb(fault.to_string())),
    }
}
