//! What `webhook` and `exec` share: one question in JSON, one answer in JSON. Its version is 1; keys may be added to it.
//!
//! ```json
//! {"version": 1, "call": "read", "service": "app",
//!  "record": {"zone": "example.com", "name": "app.example.com", "type": "A", "ttl": 60},
//!  "fence_name": "_quorate.app.example.com"}
//! ```
//! where `service` is the one that the record belongs to, and `null` where a person asks for a record that no service has
//! (`quoratectl provider check --record`). It is answered with `{"values": ["203.0.113.10"], "ttl": 60, "fence": "v=1 cluster=prod epoch=6"}`: no values where the record is
//! not there, `null` where there is no fence. A write has these as well
//!
//! ```json
//! {"call": "write", "cluster": "prod", "epoch": 7,
//!  "expected": {"values": ["203.0.113.10"], "ttl": 60, "fence": "v=1 cluster=prod epoch=6"},
//!  "values": ["198.51.100.20"], "ttl": 60, "fence": "v=1 cluster=prod epoch=7"}
//! ```
//! and is answered with `{"receipt": "…"}`. Whoever takes it must write values and fence together or not at all, and refuse it
//! unless what stands is what was expected; whether it does is what its grade says.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Change, FenceReading, Reading, Receipt, clip, http::RETRY_AFTER_LIMIT};
use crate::core::{
    names::ServiceName,
    record::{Record, RecordValue, RrSet},
};

/// The longest answer that is read, in bytes.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;

/// Where whoever is asked keeps the fence, in words.
pub(super) fn fence_place(keeper: &str, record: &Record) -> String {
    format!("the fence that {keeper} keeps for {record}")
}

/// The question of a reading.
pub(super) fn read(service: Option<&ServiceName>, record: &Record) -> Value {
    json!({
        "version": 1,
        "call": "read",
        "service": service.map(ServiceName::as_str),
        "record": {
            "zone": record.zone.as_str(),
            "name": record.name.as_str(),
            "type": record.rtype.to_string(),
            "ttl": record.ttl,
        },
        "fence_name": record.fence_name().as_str(),
    })
}

/// The question of a write.
pub(super) fn write(service: Option<&ServiceName>, change: &Change) -> Value {
    let values = |rrset: &RrSet| rrset.values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = &change.expected;
    let fence = match &expected.fence {
        FenceReading::Present(fence) => json!(fence.to_string()),
        FenceReading::Absent | FenceReading::Unreadable(_) => Value::Null,
    };
    let mut question = read(service, &change.record);
    let more = [
        ("call", json!("write")),
        ("cluster", json!(change.fence.cluster.as_str())),
        ("epoch", json!(change.fence.epoch.0)),
        ("values", json!(values(&change.rrset))),
        ("ttl", json!(change.rrset.ttl)),
        ("fence", json!(change.fence.to_string())),
        (
            "expected",
            json!({
                "values": expected.rrset.as_ref().map(values).unwrap_or_default(),
                "ttl": expected.rrset.as_ref().map(|rrset| rrset.ttl),
                "fence": fence,
            }),
        ),
    ];
    for (key, value) in more {
        question[key] = value;
    }
    question
}

/// What stands there.
#[derive(Debug, Deserialize)]
struct Standing {
    values: Vec<String>,
    #[serde(default)]
    ttl: Option<u32>,
    #[serde(default)]
    fence: Option<String>,
}

/// The answer of a reading.
pub(super) fn reading(record: &Record, body: &[u8]) -> Result<Reading, String> {
    let standing: Standing =
        serde_json::from_slice(body).map_err(|error| format!("no answer to a reading: {error}"))?;
    let values: Result<BTreeSet<_>, _> =
        standing.values.iter().map(|value| RecordValue::parse(record.rtype, value)).collect();
    let values = values.map_err(|error| format!("no answer to a reading: {error}"))?;
    let ttl = standing.ttl.unwrap_or(record.ttl);
    let rrset = (!values.is_empty()).then_some(RrSet { ttl, values });
    Ok(Reading { rrset, fence: FenceReading::of(standing.fence.into_iter().collect()) })
}

/// Not now.
#[derive(Debug, Deserialize)]
struct Busy {
    retry_after: u32,
}

/// When a program that ended without doing anything asked to be tried again.
pub(super) fn retry_after(body: &[u8]) -> Option<Duration> {
    let Busy { retry_after } = serde_json::from_slice(body).ok()?;
    Some(Duration::from_secs(retry_after.into()).min(RETRY_AFTER_LIMIT))
}

/// The answer of a write.
#[derive(Debug, Deserialize)]
struct Done {
    receipt: String,
}

/// The receipt of a write.
pub(super) fn receipt(body: &[u8]) -> Result<Receipt, String> {
    let done: Done = serde_json::from_slice(body).map_err(|error| format!("no answer to a write: {error}"))?;
    Ok(Receipt(clip(&done.receipt)))
}
