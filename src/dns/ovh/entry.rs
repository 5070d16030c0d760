//! A record as OVH's API has it: one value each, relative names, quoted texts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub(super) use super::super::text::{quote, unquote};
use crate::core::record::{DomainName, RecordType, RecordValue, RrSet};

/// One value of an RRset: `GET /domain/zone/{zone}/record/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    /// OVH's number for it.
    pub(super) id: u64,
    /// `A`, `TXT`, …
    #[serde(rename = "fieldType")]
    pub(super) field_type: String,
    /// The name without the zone; empty or null at the apex.
    #[serde(rename = "subDomain", default)]
    pub(super) sub_domain: Option<String>,
    /// The value.
    pub(super) target: String,
    /// Seconds; 0 is the provider's default.
    #[serde(default)]
    pub(super) ttl: Option<u32>,
}

impl Entry {
    /// Whether this is a record of that type at that name: OVH's own filter is a pattern in which `_` matches anything.
    pub(super) fn is_at(&self, sub_domain: &str, field_type: &str) -> bool {
        self.sub_domain.as_deref().unwrap_or_default().eq_ignore_ascii_case(sub_domain) && self.field_type == field_type
    }

    pub(super) fn ttl(&self) -> u32 {
        self.ttl.unwrap_or(0)
    }
}

/// The body that creates a record.
#[derive(Debug, Serialize)]
pub(super) struct Creation<'a> {
    #[serde(rename = "fieldType")]
    pub(super) field_type: &'a str,
    #[serde(rename = "subDomain")]
    pub(super) sub_domain: &'a str,
    pub(super) target: &'a str,
    pub(super) ttl: u32,
}

/// The body that changes a record.
#[derive(Debug, Serialize)]
pub(super) struct Update<'a> {
    pub(super) target: &'a str,
    pub(super) ttl: u32,
}

/// `GET /domain/zone/{zone}/status`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(rename = "isDeployed")]
    pub(super) is_deployed: bool,
    #[serde(default)]
    pub(super) errors: Vec<String>,
}

/// `GET /domain/zone/{zone}/soa`, of which the serial alone matters.
#[derive(Debug, Deserialize)]
pub(super) struct Soa {
    pub(super) serial: u64,
}

/// The value as OVH takes it: a name without a final dot would be one in the zone.
pub(super) fn target(value: &RecordValue) -> String {
    match value {
        RecordValue::A(address) => address.to_string(),
        RecordValue::Aaaa(address) => address.to_string(),
        RecordValue::Cname(name) => format!("{name}."),
        // Refused before anything is staged (`Change::check`).
        RecordValue::Alias(_) | RecordValue::Member(_) => value.to_string(),
    }
}

/// The value that a target stands for.
pub(super) fn value(rtype: RecordType, zone: &DomainName, target: &str) -> Result<RecordValue, String> {
    let absolute = match rtype {
        RecordType::Cname if !target.ends_with('.') => format!("{target}.{zone}"),
        _ => target.to_owned(),
    };
    RecordValue::parse(rtype, &absolute).map_err(|error| error.to_string())
}

/// The RRset that the entries make up; `None` without any. Their TTLs should be one (RFC 2181 §5.2); the least is taken.
pub(super) fn rrset(rtype: RecordType, zone: &DomainName, entries: &[Entry]) -> Result<Option<RrSet>, String> {
    let Some(ttl) = entries.iter().map(Entry::ttl).min() else { return Ok(None) };
    let values: BTreeSet<_> =
        entries.iter().map(|entry| value(rtype, zone, &entry.target)).collect::<Result<_, _>>()?;
    Ok(Some(RrSet { ttl, values }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_a_dot_lies_in_the_zone() {
        let zone: DomainName = "example.test".parse().unwrap();
        let read = |text| value(RecordType::Cname, &zone, text).unwrap().to_string();
        assert_eq!(read("eu.example.net."), "eu.example.net");
        assert_eq!(read("eu"), "eu.example.test");
        let written = target(&RecordValue::Cname("eu.example.net".parse().unwrap()));
        assert_eq!(written, "eu.example.net.");
    }

    #[test]
    fn names_match_exactly_where_the_filter_is_a_pattern() {
        let entry: Entry = serde_json::from_str(
            r#"{"id":1,"zone":"example.test","fieldType":"TXT","subDomain":"xquorate.www","target":"x","ttl":0}"#,
        )
        .unwrap();
        assert!(!entry.is_at("_quorate.www", "TXT"));
        assert!(entry.is_at("XQUORATE.www", "TXT"));
        let apex: Entry = serde_json::from_str(r#"{"id":1,"fieldType":"A","subDomain":null,"target":"x"}"#).unwrap();
        assert!(apex.is_at("", "A"));
    }
}
