//! One zone in memory and RFC 2136 §3 on it: prerequisites and updates, all or nothing.
//!
//! It is pure: no socket, no clock, no key. It knows no wildcards, no delegations and no DNSSEC, which the demo's zone
//! does not have.

use std::collections::BTreeMap;

use hickory_proto::{
    op::ResponseCode,
    rr::{
        DNSClass, LowerName, Name, RData, Record, RecordData, RecordType, RrKey,
        rdata::{NS, SOA},
    },
};

/// RRsets in one zone; there is always one SOA and one NS at the apex.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: LowerName,
    rrsets: BTreeMap<RrKey, RrSet>,
}

/// The TTL in seconds and the values of one RRset, in the order in which they came. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RrSet {
    ttl: u32,
    values: Vec<RData>,
}

/// What a name answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The RRset asked for, or the CNAME that stands in its place.
    Records(Vec<Record>),
    /// The name exists, but has no such RRset.
    NoData,
    /// The name does not exist.
    NoName,
    /// The name is outside the zone.
    OutOfZone,
}

const APEX_TTL: u32 = 60;

impl Zone {
    /// A zone with nothing but its apex, with serial 1.
    pub fn new(origin: &Name, nameserver: &Name) -> Self {
        let origin_name = LowerName::from(origin);
        // The negative TTL of 1 s keeps a resolver that asked too early from hiding the record for long.
        let soa = SOA::new(nameserver.clone(), nameserver.clone(), 1, 3600, 600, 86_400, 1);
        let set = |value| RrSet { ttl: APEX_TTL, values: vec![value] };
        let rrsets = BTreeMap::from([
            (RrKey::new(origin_name.clone(), RecordType::SOA), set(RData::SOA(soa))),
            (RrKey::new(origin_name.clone(), RecordType::NS), set(RData::NS(NS(nameserver.clone())))),
        ]);
        Self { origin: origin_name, rrsets }
    }

    /// The zone's name.
    pub fn origin(&self) -> &LowerName {
        &self.origin
    }

    /// The SOA's serial.
    pub fn serial(&self) -> u32 {
        self.soa().map_or(0, |soa| soa.serial)
    }

    /// What the zone answers for a name and type; `ANY` asks for every RRset of the name.
    pub fn answer(&self, name: &LowerName, rtype: RecordType) -> Answer {
        if !self.origin.zone_of(name) {
            return Answer::OutOfZone;
        }
        let records: Vec<Record> = self
            .of_name(name)
            .filter(|(key, _)| rtype == RecordType::ANY || [rtype, RecordType::CNAME].contains(&key.record_type))
            .flat_map(|(key, set)| set.records(key))
            .collect();
        if !records.is_empty() {
            Answer::Records(records)
        } else if self.rrsets.keys().any(|key| name.zone_of(&key.name)) {
            // Also an empty non-terminal exists (RFC 8020).
            Answer::NoData
        } else {
            Answer::NoName
        }
    }

    /// The SOA as a record, for negative answers (RFC 2308 §3).
    pub fn soa_record(&self) -> Option<Record> {
        let key = RrKey::new(self.origin.clone(), RecordType::SOA);
        self.rrsets.get(&key).and_then(|set| set.records(&key).next())
    }

    /// Everything but the apex, as text: what an observer wants to compare.
    pub fn contents(&self) -> BTreeMap<(String, RecordType), Vec<String>> {
        self.rrsets
            .iter()
            .filter(|(key, _)| key.name != self.origin)
            .map(|(key, set)| {
                let name = key.name.to_string().trim_end_matches('.').to_owned();
                let mut values: Vec<String> = set.values.iter().map(text).collect();
                values.sort();
                ((name, key.record_type), values)
            })
            .collect()
    }

    /// Checks the prerequisites and applies the update section, both whole or not at all (RFC 2136 §3.2 and §3.4).
    /// The serial rises if anything changed.
    ///
    /// # Errors
    /// The response code that RFC 2136 names for the first thing wrong; the zone is as it was.
    pub fn update(&mut self, prerequisites: &[Record], updates: &[Record]) -> Result<(), ResponseCode> {
        self.check_prerequisites(prerequisites)?;
        updates.iter().try_for_each(|rr| self.prescan(rr))?;
        let mut next = self.clone();
        for rr in updates {
            next.apply(rr);
        }
        if next.rrsets != self.rrsets {
            if next.serial() == self.serial() {
                next.bump_serial();
            }
            *self = next;
        }
        Ok(())
    }

    /// RFC 2136 §3.2.5.
    fn check_prerequisites(&self, prerequisites: &[Record]) -> Result<(), ResponseCode> {
        let mut exact: BTreeMap<RrKey, Vec<&RData>> = BTreeMap::new();
        for rr in prerequisites {
            let key = key_of(rr);
            let empty = rr.data.is_update();
            if rr.ttl != 0 {
                return Err(ResponseCode::FormErr);
            }
            if !self.origin.zone_of(&key.name) {
                return Err(ResponseCode::NotZone);
            }
            let name_used = || self.of_name(&key.name).next().is_some();
            let wrong = match (rr.dns_class, key.record_type) {
                (DNSClass::ANY | DNSClass::NONE, _) if !empty => Some(ResponseCode::FormErr),
                (DNSClass::ANY, RecordType::ANY) => (!name_used()).then_some(ResponseCode::NXDomain),
                (DNSClass::ANY, _) => (!self.rrsets.contains_key(&key)).then_some(ResponseCode::NXRRSet),
                (DNSClass::NONE, RecordType::ANY) => name_used().then_some(ResponseCode::YXDomain),
                (DNSClass::NONE, _) => self.rrsets.contains_key(&key).then_some(ResponseCode::YXRRSet),
                (DNSClass::IN, _) if !empty => {
                    exact.entry(key).or_default().push(&rr.data);
                    None
                }
                _ => Some(ResponseCode::FormErr),
            };
            if let Some(code) = wrong {
                return Err(code);
            }
        }
        let matches = |(key, wanted): (&RrKey, &Vec<&RData>)| {
            self.rrsets.get(key).is_some_and(|set| {
                set.values.iter().all(|value| wanted.contains(&value))
                    && wanted.iter().all(|value| set.values.contains(value))
            })
        };
        if exact.iter().all(matches) { Ok(()) } else { Err(ResponseCode::NXRRSet) }
    }

    /// RFC 2136 §3.4.1.3.
    fn prescan(&self, rr: &Record) -> Result<(), ResponseCode> {
        if !self.origin.zone_of(&LowerName::from(&rr.name)) {
            return Err(ResponseCode::NotZone);
        }
        let rtype = rr.record_type();
        let empty = rr.data.is_update();
        let meta = matches!(rtype, RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::TSIG);
        let any = rtype == RecordType::ANY;
        let well_formed = match rr.dns_class {
            DNSClass::IN => !meta && !any && !empty,
            DNSClass::ANY => rr.ttl == 0 && empty && !meta,
            DNSClass::NONE => rr.ttl == 0 && !meta && !any && !empty,
            _ => false,
        };
        if well_formed { Ok(()) } else { Err(ResponseCode::FormErr) }
    }

    /// RFC 2136 §3.4.2.7, for a record that the prescan let through.
    fn apply(&mut self, rr: &Record) {
        let key = key_of(rr);
        let at_apex = key.name == self.origin;
        let kept = |rtype| at_apex && matches!(rtype, RecordType::SOA | RecordType::NS);
        match rr.dns_class {
            DNSClass::IN => self.add(key, rr),
            DNSClass::ANY if key.record_type == RecordType::ANY => {
                self.rrsets.retain(|other, _| other.name != key.name || kept(other.record_type));
            }
            DNSClass::ANY if !kept(key.record_type) => {
                self.rrsets.remove(&key);
            }
            DNSClass::NONE if key.record_type != RecordType::SOA => {
                let Some(set) = self.rrsets.get_mut(&key) else { return };
                if !kept(key.record_type) || set.values.len() > 1 {
                    set.values.retain(|value| *value != rr.data);
                }
                if set.values.is_empty() {
                    self.rrsets.remove(&key);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, key: RrKey, rr: &Record) {
        match &rr.data {
            RData::SOA(soa) => {
                // Serial arithmetic (RFC 1982): an SOA that is not newer is ignored.
                let newer = soa.serial.wrapping_sub(self.serial()).cast_signed() > 0;
                if key.name != self.origin || !newer {
                    return;
                }
                self.rrsets.remove(&key);
            }
            RData::CNAME(_) => {
                if self.of_name(&key.name).any(|(other, _)| other.record_type != RecordType::CNAME) {
                    return;
                }
                self.rrsets.remove(&key);
            }
            _ if self.rrsets.contains_key(&RrKey::new(key.name.clone(), RecordType::CNAME)) => return,
            _ => {}
        }
        let set = self.rrsets.entry(key).or_insert_with(|| RrSet { ttl: rr.ttl, values: Vec::new() });
        // One TTL for the whole RRset (RFC 2181 §5.2): that of the last addition, as BIND has it.
        set.ttl = rr.ttl;
        if !set.values.contains(&rr.data) {
            set.values.push(rr.data.clone());
        }
    }

    fn of_name<'a>(&'a self, name: &'a LowerName) -> impl Iterator<Item = (&'a RrKey, &'a RrSet)> {
        self.rrsets.iter().filter(move |(key, _)| key.name == *name)
    }

    fn soa(&self) -> Option<&SOA> {
        match self.rrsets.get(&RrKey::new(self.origin.clone(), RecordType::SOA))?.values.first()? {
            RData::SOA(soa) => Some(soa),
            _ => None,
        }
    }

    fn bump_serial(&mut self) {
        let key = RrKey::new(self.origin.clone(), RecordType::SOA);
        if let Some(RData::SOA(soa)) = self.rrsets.get_mut(&key).and_then(|set| set.values.first_mut()) {
            soa.increment_serial();
        }
    }
}

impl RrSet {
    fn records(&self, key: &RrKey) -> impl Iterator<Item = Record> {
        self.values.iter().map(|value| Record::from_rdata(Name::from(&key.name), self.ttl, value.clone()))
    }
}

fn key_of(rr: &Record) -> RrKey {
    RrKey::new(LowerName::from(&rr.name), rr.record_type())
}

/// A value as the fence and the record are written in Quorate: TXT without quotes, names without the trailing dot.
fn text(value: &RData) -> String {
    match value {
        RData::TXT(txt) => {
            let bytes: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        other => other.to_string().trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::rdata::{A, CNAME, TXT};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    fn rr(class: DNSClass, ttl: u32, owner: &str, data: RData) -> Record {
        let mut record = Record::from_rdata(name(owner), ttl, data);
        record.dns_class = class;
        record
    }

    fn a(last: u8) -> RData {
        RData::A(A::new(192, 0, 2, last))
    }

    fn none(rtype: RecordType) -> RData {
        RData::Update0(rtype)
    }

    fn zone_with(values: &[u8]) -> Zone {
        let mut zone = Zone::new(&name("example.test."), &name("ns.example.test."));
        let add: Vec<_> = values.iter().map(|v| rr(DNSClass::IN, 60, "app.example.test.", a(*v))).collect();
        zone.update(&[], &add).unwrap();
        zone
    }

    #[test]
    fn every_prerequisite_of_rfc_2136_holds_or_is_refused_with_its_code() {
        use DNSClass as C;
        use RecordType as T;
        let app = "APP.example.test.";
        let gone = "gone.example.test.";
        let table: &[(&str, Vec<Record>, Result<(), ResponseCode>)] = &[
            ("name in use", vec![rr(C::ANY, 0, app, none(T::ANY))], Ok(())),
            ("name in use", vec![rr(C::ANY, 0, gone, none(T::ANY))], Err(ResponseCode::NXDomain)),
            ("RRset exists", vec![rr(C::ANY, 0, app, none(T::A))], Ok(())),
            ("RRset exists", vec![rr(C::ANY, 0, app, none(T::TXT))], Err(ResponseCode::NXRRSet)),
            ("name not in use", vec![rr(C::NONE, 0, gone, none(T::ANY))], Ok(())),
            ("name not in use", vec![rr(C::NONE, 0, app, none(T::ANY))], Err(ResponseCode::YXDomain)),
            ("RRset not there", vec![rr(C::NONE, 0, app, none(T::TXT))], Ok(())),
            ("RRset not there", vec![rr(C::NONE, 0, app, none(T::A))], Err(ResponseCode::YXRRSet)),
            ("whole RRset", vec![rr(C::IN, 0, app, a(2)), rr(C::IN, 0, app, a(1))], Ok(())),
            ("a part of it", vec![rr(C::IN, 0, app, a(1))], Err(ResponseCode::NXRRSet)),
            (
                "more than it",
                vec![rr(C::IN, 0, app, a(1)), rr(C::IN, 0, app, a(2)), rr(C::IN, 0, app, a(3))],
                Err(ResponseCode::NXRRSet),
            ),
            ("other value", vec![rr(C::IN, 0, app, a(9))], Err(ResponseCode::NXRRSet)),
            ("with a TTL", vec![rr(C::ANY, 1, app, none(T::A))], Err(ResponseCode::FormErr)),
            ("with data", vec![rr(C::NONE, 0, app, a(1))], Err(ResponseCode::FormErr)),
            ("other class", vec![rr(C::CH, 0, app, a(1))], Err(ResponseCode::FormErr)),
            ("other zone", vec![rr(C::ANY, 0, "app.example.org.", none(T::A))], Err(ResponseCode::NotZone)),
        ];
        for (what, prerequisites, expected) in table {
            let mut zone = zone_with(&[1, 2]);
            let before = zone.contents();
            let change = [rr(DNSClass::ANY, 0, app, none(T::A)), rr(DNSClass::IN, 60, app, a(7))];
            assert_eq!(zone.update(prerequisites, &change), *expected, "{what}: {prerequisites:?}");
            assert_eq!(zone.contents() == before, expected.is_err(), "{what}");
        }
    }

    #[test]
    fn an_update_that_is_wrong_in_its_last_record_changes_nothing() {
        let mut zone = zone_with(&[1]);
        let (before, serial) = (zone.contents(), zone.serial());
        let updates = [
            rr(DNSClass::ANY, 0, "app.example.test.", none(RecordType::A)),
            rr(DNSClass::IN, 60, "app.example.org.", a(2)),
        ];
        assert_eq!(zone.update(&[], &updates), Err(ResponseCode::NotZone));
        assert_eq!((zone.contents(), zone.serial()), (before, serial));
    }

    #[test]
    fn the_serial_rises_with_a_change_and_only_then() {
        let mut zone = zone_with(&[1]);
        assert_eq!(zone.serial(), 2);
        zone.update(&[], &[rr(DNSClass::IN, 60, "app.example.test.", a(1))]).unwrap();
        assert_eq!(zone.serial(), 2, "what stands there already is no change");
        zone.update(&[], &[rr(DNSClass::NONE, 0, "app.example.test.", a(1))]).unwrap();
        assert_eq!(zone.serial(), 3);
        assert!(zone.contents().is_empty());
    }

    #[test]
    fn the_apex_keeps_its_soa_and_a_nameserver() {
        let mut zone = zone_with(&[]);
        let apex = "example.test.";
        let ns = RData::NS(NS(name("ns.example.test.")));
        let updates = [rr(DNSClass::ANY, 0, apex, none(RecordType::ANY)), rr(DNSClass::NONE, 0, apex, ns)];
        zone.update(&[], &updates).unwrap();
        for rtype in [RecordType::SOA, RecordType::NS] {
            assert!(matches!(zone.answer(&LowerName::from(name(apex)), rtype), Answer::Records(_)), "{rtype}");
        }
    }

    #[test]
    fn answers_tell_no_data_from_no_name() {
        let mut zone = zone_with(&[1]);
        let fence = RData::TXT(TXT::new(vec!["v=1 cluster=demo epoch=1".into()]));
        let alias = RData::CNAME(CNAME(name("app.example.test.")));
        let updates = [
            rr(DNSClass::IN, 60, "_quorate.deep.example.test.", fence),
            rr(DNSClass::IN, 60, "www.example.test.", alias),
            rr(DNSClass::IN, 60, "www.example.test.", a(1)),
        ];
        zone.update(&[], &updates).unwrap();
        let ask = |owner: &str, rtype| zone.answer(&LowerName::from(name(owner)), rtype);
        assert!(matches!(ask("app.example.test.", RecordType::A), Answer::Records(records) if records.len() == 1));
        assert!(matches!(ask("www.example.test.", RecordType::A), Answer::Records(records)
            if records[0].record_type() == RecordType::CNAME));
        assert_eq!(ask("app.example.test.", RecordType::TXT), Answer::NoData);
        assert_eq!(ask("deep.example.test.", RecordType::A), Answer::NoData);
        assert_eq!(ask("gone.example.test.", RecordType::A), Answer::NoName);
        assert_eq!(ask("example.org.", RecordType::A), Answer::OutOfZone);
        let key = ("_quorate.deep.example.test".to_owned(), RecordType::TXT);
        assert_eq!(zone.contents()[&key], ["v=1 cluster=demo epoch=1"]);
    }
}
