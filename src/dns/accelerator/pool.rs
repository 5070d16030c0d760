//! Endpoint groups as Global Accelerator has them, and as Quorate has them: a pool whose members are regions. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::super::{FenceReading, ProviderError, Reading, clip};
use crate::core::record::{Record, RecordType, RecordValue, RrSet};

/// The dial of a group that takes all traffic that comes to it.
pub(super) const OPEN: f32 = 100.0;
/// The dial of one that takes none.
pub(super) const SHUT: f32 = 0.0;

/// Where a record lies at AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The accelerator's ARN: only accelerators have tags.
    pub(super) accelerator: String,
    /// The listener's ARN.
    pub(super) listener: String,
    /// The key of the tag that is the fence. It names the listener, because an accelerator may have several.
    pub(super) tag: String,
}

/// The ids of accelerator and listener that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids<'r> {
    pub(super) accelerator: &'r str,
    pub(super) listener: &'r str,
}

impl<'r> Ids<'r> {
    /// The zone is the accelerator, the name below it the listener.
    pub(super) fn of(record: &'r Record) -> Result<Self, ProviderError> {
        let refuse = |message: String, hint: &str| Err(ProviderError::Permanent { message, hint: hint.to_owned() });
        if record.rtype != RecordType::Pool {
            return refuse(
                format!("{record} is no pool: Global Accelerator holds no DNS record"),
                "give the record type = \"POOL\", or a provider of DNS",
            );
        }
        let is_id = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        let (accelerator, listener) = (record.zone.as_str(), record.name.relative_to(&record.zone).unwrap_or_default());
        if !is_id(accelerator) || !is_id(listener) {
            return refuse(
                format!("{record} names no listener of an accelerator"),
                "the zone is the accelerator's id, as in …:accelerator/ID; the name is its listener's id, as in …/listener/ID",
            );
        }
        Ok(Self { accelerator, listener })
    }

    /// The key of the fence's tag.
    pub(super) fn tag(self) -> String {
        format!("quorate:{}", self.listener)
    }

    /// With the accelerator's ARN, which has the account's number.
    pub(super) fn at(self, accelerator: String) -> Place {
        let listener = format!("{accelerator}/listener/{}", self.listener);
        Place { accelerator, listener, tag: self.tag() }
    }
}

/// The ARN of an accelerator.
pub(super) fn arn(account: &str, accelerator: &str) -> String {
    format!("arn:aws:globalaccelerator::{account}:accelerator/{accelerator}")
}

/// Whether a text is the number of an AWS account.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit())
}

/// The id of an accelerator in its ARN.
pub(super) fn accelerator_id(arn: &str) -> Option<&str> {
    let (before, id) = arn.rsplit_once('/')?;
    (before.ends_with(":accelerator") && !id.is_empty()).then_some(id)
}

/// One endpoint group of a listener.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) arn: String,
    pub(super) region: String,
    /// How much of the traffic that comes to it it takes, in percent.
    pub(super) dial: f32,
}

impl Group {
    /// How a reading shows it: not at all when it takes nothing, by its region when it takes everything. What lies between
    /// is nothing that Quorate writes: `eu-west-3@37` is no region's value, so that it shows as somebody's hand.
    fn member(&self) -> Option<String> {
        match self.dial {
            dial if dial <= SHUT => None,
            dial if dial.total_cmp(&OPEN).is_eq() => Some(self.region.clone()),
            dial => Some(format!("{}@{dial}", self.region)),
        }
    }
}

/// Whether a value is one that this can write: the name of a region, and no more.
pub(super) fn is_region(value: &RecordValue) -> bool {
    let word = |text: &str| text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    matches!(value, RecordValue::Member(member) if word(member.as_str()))
}

/// What stands, as it is compared. A listener of whose groups none takes traffic is as good as no record.
pub(super) fn reading(record: &Record, groups: &[Group], fence: Vec<String>) -> Result<Reading, ProviderError> {
    let members = groups.iter().filter_map(Group::member).map(|member| RecordValue::parse(record.rtype, &member));
    let values: Result<BTreeSet<_>, _> = members.collect();
    let values = values.map_err(|error| ProviderError::Permanent {
        message: format!("{record} has an endpoint group that Quorate cannot name: {error}"),
        hint: "report this as a bug".to_owned(),
    })?;
    let rrset = (!values.is_empty()).then_some(RrSet { ttl: 0, values });
    Ok(Reading { rrset, fence: FenceReading::of(fence) })
}

/// The dials to turn, in this order: up before down, so that some group takes traffic all the while (invariant 5).
#[derive(Debug, PartialEq)]
pub(super) struct Turns<'g> {
    pub(super) up: Vec<&'g Group>,
    pub(super) down: Vec<&'g Group>,
}

/// What must be turned so that exactly the regions of `wanted` take traffic.
pub(super) fn turns<'g>(record: &Record, groups: &'g [Group], wanted: &RrSet) -> Result<Turns<'g>, ProviderError> {
    let mut by_region: BTreeMap<&str, &Group> = groups.iter().map(|group| (group.region.as_str(), group)).collect();
    let mut up = vec![];
    for value in &wanted.values {
        let region = value.to_string();
        let Some(group) = by_region.remove(region.as_str()) else {
            let known: Vec<_> = groups.iter().map(|group| clip(&group.region)).collect();
            return Err(ProviderError::Permanent {
                message: format!("{record} has no endpoint group in {region}, only in: {}", known.join(", ")),
                hint: "add the endpoint group, with a traffic dial of 0, or name another region".to_owned(),
            });
        };
        if group.dial.total_cmp(&OPEN).is_ne() {
            up.push(group);
        }
    }
    let down = by_region.into_values().filter(|group| group.member().is_some()).collect();
    Ok(Turns { up, down })
}

/// A fraction of the dials, for people: `eu-west-3 0 -> 100`.
impl fmt::Display for Turns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turned = self.up.iter().map(|group| (group, OPEN)).chain(self.down.iter().map(|group| (group, SHUT)));
        for (i, (group, dial)) in turned.enumerate() {
            write!(f, "{}{} {} -> {dial}", if i == 0 { "" } else { ", " }, group.region, group.dial)?;
        }
        if self.up.is_empty() && self.down.is_empty() { f.write_str("no dial had to be turned") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, zone: &str, rtype: RecordType) -> Record {
        let (provider, zone) = ("ga".parse().unwrap(), zone.parse().unwrap());
        Record { provider, name: format!("{name}{zone}").parse().unwrap(), zone, rtype, ttl: 0 }
    }

    fn group(region: &str, dial: f32) -> Group {
        Group { arn: format!("arn:{region}"), region: region.to_owned(), dial }
    }

    fn rrset(values: &[&str]) -> RrSet {
        let values = values.iter().map(|value| RecordValue::parse(RecordType::Pool, value).unwrap()).collect();
        RrSet { ttl: 0, values }
    }

    #[test]
    fn zone_and_name_are_accelerator_and_listener() {
        let good = record("0123abcd.", "1234abcd-ab", RecordType::Pool);
        let ids = Ids::of(&good).unwrap();
        assert_eq!((ids.accelerator, ids.listener), ("1234abcd-ab", "0123abcd"));
        let place = ids.at(arn("123456789012", ids.accelerator));
        assert_eq!(
            (place.listener.as_str(), place.tag.as_str()),
            ("arn:aws:globalaccelerator::123456789012:accelerator/1234abcd-ab/listener/0123abcd", "quorate:0123abcd")
        );
        assert_eq!(accelerator_id(&place.accelerator), Some("1234abcd-ab"));
        assert_eq!(accelerator_id(&place.listener), None);
        for bad in [
            record("", "1234abcd", RecordType::Pool),
            record("a.b.", "1234abcd", RecordType::Pool),
            record("a.", "example.com", RecordType::Pool),
            record("0123.", "1234abcd", RecordType::A),
        ] {
            assert!(Ids::of(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_dial_that_is_neither_open_nor_shut_shows_as_no_regions_value() {
        let record = record("l.", "a", RecordType::Pool);
        let of = |groups: &[Group]| reading(&record, groups, vec![]).unwrap().rrset;
        assert_eq!(of(&[group("eu-west-3", 100.0), group("us-east-1", 0.0)]), Some(rrset(&["eu-west-3"])));
        assert_eq!(of(&[group("eu-west-3", 37.5)]), Some(rrset(&["eu-west-3@37.5"])));
        assert_eq!(of(&[group("eu-west-3", 0.0), group("us-east-1", 0.0)]), None);
        let value = |text: &str| RecordValue::parse(RecordType::Pool, text).unwrap();
        assert!(
            is_region(&value("ap-southeast-2")) && !is_region(&value("eu-west-3@37.5")) && !is_region(&value("EU"))
        );
    }

    #[test]
    fn only_what_differs_is_turned_and_a_region_without_a_group_is_named() {
        let record = record("l.", "a", RecordType::Pool);
        let groups = [group("a", 100.0), group("b", 0.0), group("c", 40.0), group("d", 0.0)];
        let of = |wanted: &[&str]| turns(&record, &groups, &rrset(wanted)).unwrap();
        let regions = |groups: &[&Group]| groups.iter().map(|group| group.region.clone()).collect::<Vec<_>>();
        let turned = of(&["b", "c"]);
        assert_eq!((regions(&turned.up), regions(&turned.down)), (vec!["b".into(), "c".into()], vec!["a".into()]));
        assert_eq!(turned.to_string(), "b 0 -> 100, c 40 -> 100, a 100 -> 0");
        assert_eq!(of(&["a"]).to_string(), "c 40 -> 0");
        let error = turns(&record, &groups, &rrset(&["e"])).unwrap_err().to_string();
        assert!(error.contains("no endpoint group in e, only in: a, b, c, d"), "{error}");
    }
}
