//! What `PowerDNS` answers: zones, and refusals.

use reqwest::header::HeaderMap;

use super::{Answer, Effect, found, reading, refused};
use crate::{
    core::record::{Record, RecordType},
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "powerdns-answer", run: answer, seeds: answers }];

const TYPES: [RecordType; 3] = [RecordType::A, RecordType::Aaaa, RecordType::Cname];

/// The type of the record that was asked for, and a zone; or something that is no success.
fn answer(input: &[u8]) {
    let Some((kind, body)) = split(input) else { return };
    let Some(rtype) = TYPES.get(usize::from(kind)) else { return refusal(kind, body) };
    let record = Record {
        provider: "main".parse().expect("a name"),
        zone: "example.test".parse().expect("a name"),
        name: "www.example.test".parse().expect("a name"),
        rtype: *rtype,
        ttl: 60,
    };
    let Ok(values) = found(body, &record.name, &rtype.to_string()) else { return };
    let Ok(fence) = found(body, &record.fence_name(), "TXT") else { return };
    let Ok(reading) = reading(&record, &values, &fence) else { return };
    assert!(reading.rrset.is_none_or(|rrset| !rrset.values.is_empty()), "no value is no RRset");
}

fn refusal(kind: u8, body: &[u8]) {
    let status = [300, 401, 403, 404, 409, 422, 429, 500][usize::from(kind) % 8];
    let answer = Answer { status, headers: HeaderMap::new(), body: body.to_vec() };
    for effect in [Effect::None, Effect::Change] {
        let said = refused(&answer, "GET /zone", effect).to_string();
        assert!(said.len() < 4096 && !said.contains(char::is_control), "an answer must not flood the log: {said:?}");
    }
}

fn answers() -> Vec<Vec<u8>> {
    let zone = |rtype: &str, values: [&str; 2]| {
        let records = values.map(|content| serde_json::json!({ "content": content, "disabled": false }));
        let fence = serde_json::json!({ "content": "\"v=1 cluster=prod epoch=42\"", "disabled": false });
        serde_json::json!({ "kind": "Native", "name": "example.test.", "rrsets": [
            { "name": "www.example.test.", "type": rtype, "ttl": 60, "comments": [], "records": records },
            { "name": "_quorate.www.example.test.", "type": "TXT", "ttl": 60, "records": [fence] },
        ] })
        .to_string()
    };
    vec![
        joined(0, zone("A", ["192.0.2.1", "192.0.2.2"])),
        joined(1, zone("AAAA", ["2001:db8::1", "2001:DB8::2"])),
        joined(2, zone("CNAME", ["eu.example.net.", "us.example.net."])),
        joined(0, "{\"rrsets\":[]}"),
        joined(9, "{\"error\": \"RRset www.example.test. IN A: conflicts with pre-existing RRset\"}"),
        joined(15, "<html>\u{1b}[31m"),
    ]
}
