//! The rules for regions and the values that they give to records.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{MAX_REGIONS, MAX_VALUES, Path, RegionDraft, TableDraft, probe, problem::Findings, record::Records};
use crate::core::{
    names::RegionName,
    record::{RecordType, RecordValue},
    service::{Check, Probe, Region, Table},
};

type Values = BTreeMap<RecordType, BTreeSet<RecordValue>>;

/// A region as far as it could be read, so that what is wrong between regions shows beside what is wrong within one.
struct Parts {
    name: Option<RegionName>,
    values: Option<Values>,
    probes: Option<Vec<Probe>>,
    dynamodb: Option<Table>,
    /// Whether the draft has one, readable or not.
    dynamodb_written: bool,
}

impl Parts {
    fn complete(self) -> Option<Region> {
        if self.dynamodb_written && self.dynamodb.is_none() {
            return None;
        }
        Some(Region { name: self.name?, values: self.values?, probes: self.probes?, dynamodb: self.dynamodb })
    }

    /// The region's name in a message about another one.
    fn called(&self, index: usize) -> String {
        self.name.as_ref().map_or_else(|| format!("number {}", index + 1), |name| format!("`{name}`"))
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.values.iter().flat_map(|values| values.values().flatten()).any(|value| match value {
            RecordValue::A(a) => address == IpAddr::V4(*a),
            RecordValue::Aaaa(a) => address == IpAddr::V6(*a),
            RecordValue::Cname(_) | RecordValue::Alias(_) | RecordValue::Member(_) => false,
        })
    }
}

/// The regions in the order of the draft; `None` where one is refused.
pub(super) fn validate(drafts: &[RegionDraft], records: &Records, found: &mut Findings) -> Vec<Option<Region>> {
    let list = Path::default().key("region");
    if drafts.len() < 2 {
        let message = format!("a service needs at least two regions to fail over between, not {}", drafts.len());
        found.problem(&list, message).hint = Some("add [[region]] in order of preference".to_owned());
    }
    if drafts.len() > MAX_REGIONS {
        found.problem(
            &list,
            format!("{} regions are more than the {MAX_REGIONS} that a service may have", drafts.len()),
        );
    }
    let mut regions = Vec::new();
    for (i, draft) in drafts.iter().enumerate().take(MAX_REGIONS) {
        let path = list.index(i);
        regions.push(Parts {
            name: found.required::<RegionName>(&path.key("name"), draft.name.as_deref()),
            values: values(&path.key("values"), &draft.values, records, found),
            probes: probe::validate(&path.key("probe"), &draft.probes, records, found),
            dynamodb: draft.dynamodb.as_ref().and_then(|table| dynamodb(&path.key("dynamodb"), table, found)),
            dynamodb_written: draft.dynamodb.is_some(),
        });
    }
    for (i, region) in regions.iter().enumerate() {
        probes_of_another_table(&list.index(i), region, found);
        for (j, earlier) in regions[..i].iter().enumerate() {
            compare(&list.index(i), region, &list.index(j), earlier, j, found);
        }
        for (j, other) in regions.iter().enumerate().filter(|(j, _)| *j != i) {
            probes_of_another((&list.index(i), region, i), (&list.index(j), other, j), found);
        }
    }
    ungated(&list, &regions, found);
    regions.into_iter().map(Parts::complete).collect()
}

/// The region's values: at least one for each type in use, none for another.
fn values(
    at: &Path,
    drafts: &BTreeMap<String, Vec<String>>,
    records: &Records,
    found: &mut Findings,
) -> Option<Values> {
    let before = found.count();
    let mut values = Values::new();
    for (key, texts) in drafts {
        let at = at.key(key);
        let Some(rtype) = found.parsed::<RecordType>(&at, key) else { continue };
        if records.surely_unused(rtype) {
            found.problem(&at, format!("no record of this service has the type {rtype}")).hint =
                Some(format!("add a [[record]] with type = \"{rtype}\", or leave these values out"));
            continue;
        }
        values.insert(rtype, values_of(&at, rtype, texts, found));
    }
    for (rtype, needed_by) in records.types() {
        let key = rtype.to_string();
        if !drafts.contains_key(&key) {
            let message = format!("the region has no value for {rtype}: the record would be left empty");
            let problem = found.problem(&at.key(&key), message);
            problem.hint = Some(format!("add values = {{ {rtype} = [\"…\"] }}"));
            problem.because = vec![needed_by.clone()];
        }
    }
    (found.count() == before).then_some(values)
}

fn values_of(at: &Path, rtype: RecordType, texts: &[String], found: &mut Findings) -> BTreeSet<RecordValue> {
    let mut values = BTreeSet::new();
    if texts.is_empty() {
        found.problem(at, format!("the region has no value for {rtype}: the record would be left empty"));
    }
    if texts.len() > MAX_VALUES {
        found.problem(at, format!("{} values are more than the {MAX_VALUES} that a record may have", texts.len()));
    }
    if rtype == RecordType::Cname && texts.len() > 1 {
        found.problem(at, format!("a CNAME has exactly one value, not {} (RFC 2181 §10.1)", texts.len()));
    }
    for (i, text) in texts.iter().enumerate().take(MAX_VALUES) {
        let at = at.index(i);
        match RecordValue::parse(rtype, text) {
            Err(error) => drop(found.problem(&at, error.to_string())),
            Ok(value) if reaches_nobody(&value) => {
                found.problem(&at, format!("{value} is not the address of one host"));
            }
            Ok(value) => {
                if values.contains(&value) {
                    found.problem(&at, format!("{value} is there already"));
                }
                values.insert(value);
            }
        }
    }
    if values.len() > 1 && values.iter().any(|value| matches!(value, RecordValue::Alias(_))) {
        found.problem(at, "an alias stands alone: it has no other values beside it");
    }
    values
}

/// Addresses that no client can connect to.
fn reaches_nobody(value: &RecordValue) -> bool {
    match value {
        RecordValue::A(address) => address.is_unspecified() || address.is_multicast() || address.is_broadcast(),
        RecordValue::Aaaa(address) => address.is_unspecified() || address.is_multicast(),
        RecordValue::Cname(_) | RecordValue::Alias(_) | RecordValue::Member(_) => false,
    }
}

/// Names and character sets as in Amazon DynamoDB's "Supported data types and naming rules".
pub(super) fn dynamodb(at: &Path, draft: &TableDraft, found: &mut Findings) -> Option<Table> {
    let table = found.written(&at.key("table"), draft.table.as_deref()).map(str::to_owned);
    let region = found.written(&at.key("region"), draft.region.as_deref()).map(str::to_owned);
    let word = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    let table_ok = table.as_ref().is_none_or(|t| (3..=255).contains(&t.len()) && t.bytes().all(word));
    if !table_ok {
        found.problem(&at.key("table"), "a table's name has 3 to 255 letters, digits, '_', '-' or '.'");
    }
    let place = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let region_ok = region.as_ref().is_none_or(|r| (1..=63).contains(&r.len()) && r.bytes().all(place));
    if !region_ok {
        found.problem(&at.key("region"), "this is not the name of an AWS region such as eu-west-3");
    }
    let table = Table { table: table?, region: region? };
    (table_ok && region_ok).then_some(table)
}

/// What must differ between two regions, and what must not.
fn compare(path: &Path, region: &Parts, other: &Path, earlier: &Parts, index: usize, found: &mut Findings) {
    if let Some(name) = &region.name
        && region.name == earlier.name
    {
        found.problem(&path.key("name"), format!("there is a region `{name}` already")).because =
            vec![other.key("name")];
    }
    if region.values.as_ref().is_some_and(|values| !values.is_empty()) && region.values == earlier.values {
        let message = format!("the same values as region {}: a switch would change nothing", earlier.called(index));
        found.problem(&path.key("values"), message).because = vec![other.key("values")];
    }
    if let (Some(table), Some(first)) = (&region.dynamodb, &earlier.dynamodb)
        && table.table != first.table
    {
        let message = format!("the table is `{}` in region {}", first.table, earlier.called(index));
        let problem = found.problem(&path.key("dynamodb").key("table"), message);
        problem.hint = Some("a global table has the same name in all its regions".to_owned());
        problem.because = vec![other.key("dynamodb").key("table")];
    }
}

/// A probe that asks another region's address tells nothing of its own: a slip of copy and paste that would show on the
/// day it matters.
fn probes_of_another(this: (&Path, &Parts, usize), other: (&Path, &Parts, usize), found: &mut Findings) {
    let (path, region, index) = this;
    let (other_path, other, other_index) = other;
    for (i, probe) in region.probes.iter().flatten().enumerate() {
        let at = path.key("probe").index(i);
        let target = probe::target(&probe.check);
        if let Some(Ok(address)) = target.map(|target| target.host.parse::<IpAddr>())
            && other.has_address(address)
            && !region.has_address(address)
        {
            let (name, owner) = (region.called(index), other.called(other_index));
            let message = format!("region {name} is probed at {address}, an address of region {owner}");
            found.problem(&at, message).because = vec![path.key("values"), other_path.key("values")];
        }
        if index > other_index && other.probes.iter().flatten().any(|theirs| theirs.check == probe.check) {
            let message =
                format!("region {} has the same probe: it cannot tell the two apart", other.called(other_index));
            found.warn(&at, message);
        }
    }
}

/// A probe of the table in another AWS region than the one of the gates is a slip of the same kind.
fn probes_of_another_table(path: &Path, region: &Parts, found: &mut Findings) {
    let Some(table) = &region.dynamodb else { return };
    for (i, probe) in region.probes.iter().flatten().enumerate() {
        if let Check::Dynamodb(check) = &probe.check
            && check.table.table == table.table
            && check.table.region != table.region
        {
            let message =
                format!("the table is probed in {}, and this region has it in {}", check.table.region, table.region);
            found.problem(&path.key("probe").index(i), message).because = vec![path.key("dynamodb").key("region")];
        }
    }
}

/// Gates pass where there is no table: that may be meant, and may be forgotten.
fn ungated(list: &Path, regions: &[Parts], found: &mut Findings) {
    let some_have = regions.iter().any(|region| region.dynamodb_written);
    for (i, _) in regions.iter().enumerate().filter(|(_, region)| some_have && !region.dynamodb_written) {
        found.warn(&list.index(i), "this region has no dynamodb table while others have: its gates always pass");
    }
}
