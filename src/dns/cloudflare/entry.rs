//! A record as Cloudflare's API has it, and the batch that changes one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::text::{quote, unquote};
use crate::{
    core::record::{Fence, Record, RecordType, RecordValue, RrSet},
    dns::FenceReading,
};

/// What Cloudflare calls automatic; it then publishes [`AUTOMATIC_SECONDS`].
pub(super) const AUTOMATIC: u32 = 1;
/// The TTL of automatic records.
const AUTOMATIC_SECONDS: u32 = 300;
/// What stands beside the fence in the dashboard.
const FENCE_COMMENT: &str = "Quorate's fence: whoever edits it by hand takes the record over";

/// `GET /zones/{zone}/dns_records`: one value of an RRset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) rtype: String,
    pub(super) name: String,
    pub(super) content: String,
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) proxied: Option<bool>,
    #[serde(default)]
    pub(super) comment: Option<String>,
    #[serde(default)]
    pub(super) tags: Option<Vec<String>>,
    /// How a proxied name or an alias is answered; handed back as it is.
    #[serde(default)]
    pub(super) settings: Option<Value>,
}

impl Entry {
    /// Whether Cloudflare stands in front of it: then it answers addresses of its own, with a TTL of its own.
    pub(super) fn proxied(&self) -> bool {
        self.proxied == Some(true)
    }

    /// Whether this is of that type at that name, whatever the filter of the list made of it.
    pub(super) fn is_at(&self, name: &str, rtype: &str) -> bool {
        self.name.trim_end_matches('.').eq_ignore_ascii_case(name) && self.rtype == rtype
    }

    fn value(&self, rtype: RecordType) -> Result<RecordValue, String> {
        RecordValue::parse(rtype, &self.content).map_err(|error| error.to_string())
    }
}

/// The TTL that Cloudflare publishes of what was asked for: 60 to 86,400 seconds.
pub(super) fn published(ttl: u32) -> u32 {
    ttl.clamp(60, 86_400)
}

/// The RRset that the entries make up; `None` without any. Behind the proxy the TTL is Cloudflare's own and no choice, so the
/// one that was asked for is taken as given.
pub(super) fn rrset(record: &Record, entries: &[Entry]) -> Result<Option<RrSet>, String> {
    let ttl = |entry: &Entry| match entry.ttl {
        _ if entry.proxied() => published(record.ttl),
        AUTOMATIC => AUTOMATIC_SECONDS,
        ttl => ttl,
    };
    let Some(ttl) = entries.iter().map(ttl).min() else { return Ok(None) };
    let values: BTreeSet<_> = entries.iter().map(|entry| entry.value(record.rtype)).collect::<Result<_, _>>()?;
    Ok(Some(RrSet { ttl, values }))
}

/// The fence that the entries at its name are.
pub(super) fn fence(entries: &[Entry]) -> FenceReading {
    FenceReading::of(entries.iter().map(|entry| unquote(&entry.content)).collect())
}

/// `POST /zones/{zone}/dns_records/batch`: all of it or nothing, deletes first, then patches, then posts.
#[derive(Debug, Default, Serialize)]
pub(super) struct Batch {
    pub(super) deletes: Vec<Value>,
    pub(super) patches: Vec<Value>,
    pub(super) posts: Vec<Value>,
}

impl Batch {
    /// The change from what stands to `wanted` under `fence`.
    ///
    /// With a fence there, its deletion by id is the condition, and values are changed in place. Without one, the deletion of
    /// the old values is, and they are made anew with all that they had.
    pub(super) fn new(record: &Record, old: &[Entry], old_fence: &[Entry], wanted: &RrSet, fence: &Fence) -> Self {
        let mut batch = Self::default();
        batch.deletes.extend(old_fence.iter().map(|entry| json!({ "id": entry.id })));
        let in_place = !old_fence.is_empty();
        let mut spare: Vec<&Entry> = old.iter().collect();
        let mut take = |wanted: &dyn Fn(&Entry) -> bool| {
            spare.iter().position(|entry| wanted(entry)).map(|position| spare.remove(position))
        };
        let kept: Vec<_> = wanted
            .values
            .iter()
            .map(|value| (value, take(&|entry| entry.value(record.rtype).as_ref() == Ok(value))))
            .collect();
        let paired: Vec<_> =
            kept.into_iter().map(|(value, entry)| (value, entry.or_else(|| take(&|_| true)))).collect();
        for (value, entry) in paired {
            match entry {
                Some(entry) if in_place => batch.patches.push(patch(record, entry, value, wanted.ttl)),
                Some(entry) => {
                    batch.deletes.push(json!({ "id": entry.id }));
                    batch.posts.push(post(record, Some(entry), value, wanted.ttl));
                }
                None => batch.posts.push(post(record, old.first(), value, wanted.ttl)),
            }
        }
        batch.deletes.extend(spare.iter().map(|entry| json!({ "id": entry.id })));
        batch.posts.push(json!({
            "type": "TXT",
            "name": record.fence_name().as_str(),
            "content": quote(&fence.to_string()),
            "ttl": wanted.ttl,
            "comment": old_fence.first().and_then(|entry| entry.comment.as_deref()).unwrap_or(FENCE_COMMENT),
        }));
        batch
    }
}

/// A proxied record takes no TTL but the automatic one.
fn ttl_of(entry: Option<&Entry>, ttl: u32) -> u32 {
    if entry.is_some_and(Entry::proxied) { AUTOMATIC } else { ttl }
}

/// Names what changes; proxy, comment, tags and settings stay as they are.
fn patch(record: &Record, entry: &Entry, value: &RecordValue, ttl: u32) -> Value {
    json!({
        "id": entry.id,
        "type": record.rtype.to_string(),
        "name": record.name.as_str(),
        "content": value.to_string(),
        "ttl": ttl_of(Some(entry), ttl),
    })
}

/// A new value, like the one whose place it takes.
fn post(record: &Record, like: Option<&Entry>, value: &RecordValue, ttl: u32) -> Value {
    let mut body = json!({
        "type": record.rtype.to_string(),
        "name": record.name.as_str(),
        "content": value.to_string(),
        "ttl": ttl_of(like, ttl),
        "proxied": like.is_some_and(Entry::proxied),
    });
    if let Some(like) = like {
        for (key, kept) in [
            ("comment", like.comment.as_ref().map(|comment| json!(comment))),
            ("tags", like.tags.as_ref().filter(|tags| !tags.is_empty()).map(|tags| json!(tags))),
            ("settings", like.settings.clone().filter(|settings| *settings != json!({}))),
        ] {
            if let Some(kept) = kept {
                body[key] = kept;
            }
        }
    }
    body
}
