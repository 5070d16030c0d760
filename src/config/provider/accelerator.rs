//! `type = "global-accelerator"`: AWS Global Accelerator.

use crate::{
    config::dynamodb::aws,
    dns::{accelerator::AcceleratorConfig, config::Access},
    reader::Table,
    secret::Environment,
};

pub(super) fn read(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let account = table.get("account_id").map(|value| value.read(account_id));
    let aws = aws(table, environment);
    Some(Access::GlobalAccelerator(AcceleratorConfig {
        aws: aws?,
        account_id: account.map_or(Some(None), |read| read.map(Some))?,
        timeout: AcceleratorConfig::TIMEOUT,
        deployed_within: AcceleratorConfig::DEPLOYED_WITHIN,
    }))
}

/// A text, as the number may begin with zeros.
fn account_id(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("this is not the number of an AWS account: 12 digits, in quotes".to_owned())
    }
}
