//! `type = "webhook"` and `type = "exec"`: a program of one's own, behind HTTP or on this node.

use super::secret::{secret, secret_keys};
use crate::{
    config::absolute,
    dns::{Grade, config::Access, exec::ExecConfig, webhook::WebhookConfig},
    reader::Table,
    secret::Environment,
};

pub(super) fn webhook(table: &Table<'_, '_>, environment: Environment<'_>) -> Option<Access> {
    let url = table.need("url").and_then(|value| value.parse());
    let secret = secret(table, &secret_keys!("secret"), environment);
    let grade = grade(table);
    let timeout = timeout(table, WebhookConfig::TIMEOUT);
    Some(Access::Webhook(WebhookConfig { url: url?, secret: secret?, grade: grade?, timeout: timeout? }))
}

pub(super) fn exec(table: &Table<'_, '_>, _: Environment<'_>) -> Option<Access> {
    let program = table.need("program").and_then(|value| absolute(&value));
    let arguments = table.texts("arguments");
    let grade = grade(table);
    let timeout = timeout(table, ExecConfig::TIMEOUT);
    Some(Access::Exec(ExecConfig { program: program?, arguments, grade: grade?, timeout: timeout? }))
}

/// What whoever wrote the other side asserts of it.
fn grade(table: &Table<'_, '_>) -> Option<Grade> {
    table.get("grade").map_or(Some(Grade::C), |value| {
        value.read(|text| match text {
            "B" => Ok(Grade::B),
            "C" => Ok(Grade::C),
            _ => Err("the grades are B, if it compares `expected` and writes in one transaction, and C".to_owned()),
        })
    })
}

fn timeout(table: &Table<'_, '_>, default: std::time::Duration) -> Option<std::time::Duration> {
    let (low, high) = (std::time::Duration::from_secs(1), std::time::Duration::from_mins(1));
    table.get("timeout").map_or(Some(default), |value| value.duration_within(low, high))
}
