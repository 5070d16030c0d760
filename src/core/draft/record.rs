//! The rules for records.

use std::collections::BTreeMap;

use super::{MAX_RECORDS, Path, RecordDraft, problem::Findings};
use crate::core::{
    names::ProviderName,
    record::{DomainName, FENCE_LABEL, Record, RecordType},
};

/// A record as far as it could be read, so that what is wrong between records shows beside what is wrong within one.
struct Parts {
    provider: Option<ProviderName>,
    zone: Option<DomainName>,
    name: Option<DomainName>,
    rtype: Option<RecordType>,
    ttl: Option<u32>,
}

impl Parts {
    fn complete(self) -> Option<Record> {
        let Self { provider, zone, name, rtype, ttl } = self;
        Some(Record { provider: provider?, zone: zone?, name: name?, rtype: rtype?, ttl: ttl? })
    }
}

/// The records, as far as they could be read.
pub(super) struct Records {
    /// In the order of the draft.
    items: Vec<Parts>,
    /// The types that were read, and the first record of each; also of records that are refused for something else.
    types: BTreeMap<RecordType, Path>,
    /// Whether some record's type is not known, so that nobody can tell which values the regions need.
    type_unknown: bool,
}

impl Records {
    /// The types in use, each with the record that needs it.
    pub(super) fn types(&self) -> impl Iterator<Item = (RecordType, &Path)> {
        self.types.iter().map(|(rtype, path)| (*rtype, path))
    }

    /// Whether values of this type would never be used.
    pub(super) fn surely_unused(&self, rtype: RecordType) -> bool {
        !self.type_unknown && !self.types.contains_key(&rtype)
    }

    /// The names that fail over.
    pub(super) fn names(&self) -> impl Iterator<Item = &DomainName> {
        self.items.iter().filter_map(|record| record.name.as_ref())
    }

    pub(super) fn into_valid(self) -> Option<Vec<Record>> {
        self.items.into_iter().map(Parts::complete).collect()
    }
}

pub(super) fn validate(drafts: &[RecordDraft], found: &mut Findings) -> Records {
    let list = Path::default().key("record");
    if drafts.is_empty() {
        found.problem(&list, "a service needs at least one record").hint =
            Some("add [[record]] with provider, zone, name, type and ttl".to_owned());
    }
    if drafts.len() > MAX_RECORDS {
        found.problem(
            &list,
            format!("{} records are more than the {MAX_RECORDS} that a service may have", drafts.len()),
        );
    }
    let mut records = Records { items: Vec::new(), types: BTreeMap::new(), type_unknown: drafts.is_empty() };
    for (i, draft) in drafts.iter().enumerate().take(MAX_RECORDS) {
        let path = list.index(i);
        let rtype = found.required::<RecordType>(&path.key("type"), draft.rtype.as_deref());
        match rtype {
            Some(rtype) => drop(records.types.entry(rtype).or_insert_with(|| path.key("type"))),
            None => records.type_unknown = true,
        }
        records.items.push(one(&path, draft, rtype, found));
    }
    check_coexistence(&list, &records.items, found);
    records
}

fn one(path: &Path, draft: &RecordDraft, rtype: Option<RecordType>, found: &mut Findings) -> Parts {
    let provider = found.required::<ProviderName>(&path.key("provider"), draft.provider.as_deref());
    let zone = found.required::<DomainName>(&path.key("zone"), draft.zone.as_deref());
    let written = found.written(&path.key("name"), draft.name.as_deref());
    let name = written.zip(zone.as_ref()).and_then(|(text, zone)| record_name(path, text, zone, found));
    if let (Some(RecordType::Cname), Some(zone)) = (rtype, &zone)
        && name.as_ref() == Some(zone)
    {
        let message = format!("a CNAME cannot stand at the apex of a zone ({zone}), beside its SOA and NS records");
        let problem = found.problem(&path.key("type"), message);
        problem.hint = Some("use A and AAAA there (RFC 1034 §3.6.2)".to_owned());
        problem.because = vec![path.key("name"), path.key("zone")];
    }
    let at = path.key("ttl");
    let ttl = if rtype == Some(RecordType::Pool) { no_ttl(&at, draft.ttl, found) } else { ttl(&at, draft.ttl, found) };
    Parts { provider, zone, name, rtype, ttl }
}

/// The absolute name of a record: the text is relative to the zone unless it ends with a dot.
fn record_name(path: &Path, text: &str, zone: &DomainName, found: &mut Findings) -> Option<DomainName> {
    let at = path.key("name");
    let because = vec![path.key("zone")];
    let name = if text.is_empty() || text == "@" {
        zone.clone()
    } else if text.ends_with('.') {
        let name = found.parsed::<DomainName>(&at, text)?;
        if !name.is_in(zone) {
            let problem = found.problem(&at, format!("`{name}` lies outside of the zone `{zone}`"));
            problem.hint =
                Some("a name that ends with a dot is absolute; leave the dot out for one in the zone".to_owned());
            problem.because = because;
            return None;
        }
        name
    } else {
        // The part on its own first, so that the error names what was written.
        found.parsed::<DomainName>(&at, text)?;
        match format!("{text}.{zone}").parse::<DomainName>() {
            Ok(name) => name,
            Err(error) => {
                found.problem(&at, error.to_string()).because = because;
                return None;
            }
        }
    };
    if !text.ends_with('.') && doubled(text, zone) {
        found.problem(&at, format!("`{text}` already ends with the zone: this would be `{name}`")).hint =
            Some(format!("names are relative to the zone: write `{}`, or end it with a dot", shortened(text, zone)));
        return None;
    }
    fence_fits(&at, &name, found).then_some(name)
}

/// Whether a relative name repeats its zone: `app.example.com` in `example.com`.
fn doubled(text: &str, zone: &DomainName) -> bool {
    text.parse::<DomainName>().is_ok_and(|name| name.is_in(zone))
}

fn shortened(text: &str, zone: &DomainName) -> String {
    let name = text.parse::<DomainName>().ok();
    match name.as_ref().and_then(|name| name.relative_to(zone)) {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => "@".to_owned(),
    }
}

/// The fence stands at `_quorate.<name>`, which must be a name and nobody's record.
fn fence_fits(at: &Path, name: &DomainName, found: &mut Findings) -> bool {
    if name.as_str().split('.').any(|label| label == FENCE_LABEL) {
        found.problem(at, format!("names with the label `{FENCE_LABEL}` belong to the fences"));
        return false;
    }
    if name.as_str().starts_with("*.") {
        found.problem(
            at,
            format!("a wildcard cannot fail over: its fence `{FENCE_LABEL}.{name}` would be none of its names"),
        );
        return false;
    }
    if name.child(FENCE_LABEL).is_err() {
        let message =
            format!("the fence `{FENCE_LABEL}.{name}` would be longer than the 253 characters of a domain name");
        found.problem(at, message).hint = Some("use a shorter name".to_owned());
        return false;
    }
    true
}

/// Seconds, 1 to a day. A long TTL is a slow failover; a very short one is load, and raised by some providers.
fn ttl(at: &Path, written: Option<i64>, found: &mut Findings) -> Option<u32> {
    let Some(seconds) = written else {
        found.problem(at, "`ttl` is missing").hint = Some("ttl = 60 is a good start".to_owned());
        return None;
    };
    let ttl = u32::try_from(seconds).ok().filter(|ttl| (1..=86_400).contains(ttl));
    match ttl {
        None => drop(found.problem(at, format!("a TTL of {seconds} s is not between 1 and 86400"))),
        Some(301..) => {
            found.warn(
                at,
                format!("resolvers may answer the old region for {seconds} s after a switch: use 60 or less"),
            );
        }
        Some(..30) => {
            found.warn(
                at,
                format!("a TTL of {seconds} s is often raised by providers and resolvers, and costs queries"),
            );
        }
        Some(_) => {}
    }
    ttl
}

/// A pool is no DNS record: nobody keeps it for a while.
fn no_ttl(at: &Path, written: Option<i64>, found: &mut Findings) -> Option<u32> {
    if written.is_some() {
        found.problem(at, "a POOL has no TTL").hint = Some("leave `ttl` out".to_owned());
        return None;
    }
    Some(0)
}

/// No RRset twice, and no CNAME beside anything (RFC 1034 §3.6.2), whichever provider serves it.
fn check_coexistence(list: &Path, records: &[Parts], found: &mut Findings) {
    for (i, record) in records.iter().enumerate() {
        for (j, earlier) in records[..i].iter().enumerate() {
            let (Some(name), Some(rtype), Some(theirs)) = (&record.name, record.rtype, earlier.rtype) else { continue };
            if Some(name) != earlier.name.as_ref() {
                continue;
            }
            let (path, because) = (list.index(i), vec![list.index(j)]);
            if rtype == theirs {
                if record.provider.is_some() && record.provider == earlier.provider {
                    found.problem(&path, format!("{name} {rtype} is there already")).because = because;
                }
            } else if [rtype, theirs].contains(&RecordType::Cname) && rtype.is_in_dns() && theirs.is_in_dns() {
                let message = format!("a CNAME cannot stand beside another record of the same name, {name}");
                found.problem(&path, message).because = because;
            }
        }
    }
}
