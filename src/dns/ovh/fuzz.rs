//! What OVH's API answers: bodies, errors, the clock.

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::{
    Effect, Entries, Entry, Soa, Status, canonical, client,
    client::{CallError, Refusal},
    entry, oauth2,
};
use crate::{
    core::record::{Record, RecordType},
    dns::FenceReading,
    fuzz::{Target, joined, split},
};

pub(crate) use super::iplb::fuzz::TARGETS as BALANCER_TARGETS;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "ovh-answer", run: answer, seeds: answers },
    Target { name: "ovh-refusal", run: refusal, seeds: refusals },
];

fn answer(input: &[u8]) {
    let Some((kind, body)) = split(input) else { return };
    match kind {
        0 => drop(serde_json::from_slice::<Vec<u64>>(body)),
        1..=3 => {
            let rtype = [RecordType::A, RecordType::Aaaa, RecordType::Cname][usize::from(kind - 1)];
            if let Ok(entries) = serde_json::from_slice::<Entries>(body) {
                staged(rtype, entries);
            }
        }
        4 => drop(serde_json::from_slice::<Status>(body)),
        5 => drop(serde_json::from_slice::<Soa>(body)),
        6 => drop(client::skew(body)),
        8 => oauth2::read_answer(body),
        _ => {
            if let Ok(text) = std::str::from_utf8(body) {
                assert_eq!(entry::unquote(&entry::quote(text)), text);
                let _ = entry::unquote(text);
            }
        }
    }
}

fn staged(rtype: RecordType, entries: Vec<Entry>) {
    let record = Record {
        provider: "main".parse().expect("a name"),
        zone: "example.test".parse().expect("a name"),
        name: "www.example.test".parse().expect("a name"),
        rtype,
        ttl: 60,
    };
    let fence = FenceReading::of(entries.iter().map(|entry| entry::unquote(&entry.target)).collect());
    let _ = (fence, entries.iter().filter(|entry| entry.is_at("www", "A")).count());
    let before = entry::rrset(rtype, &record.zone, &entries);
    if let Ok(entries) = canonical(&record, entries) {
        assert_eq!(entry::rrset(rtype, &record.zone, &entries), before, "another spelling is the same RRset");
    }
}

fn answers() -> Vec<Vec<u8>> {
    let entries = |targets: [&str; 2], field_type: &str| {
        let of = |target: &str| {
            serde_json::json!({
                "id": 5_386_578_361_u64, "zone": "example.test", "fieldType": field_type, "subDomain": "www",
                "target": target, "ttl": 60,
            })
        };
        serde_json::Value::from(targets.map(of).to_vec()).to_string()
    };
    vec![
        joined(0, "[5386578361, 1]"),
        joined(1, entries(["192.0.2.1", "192.0.2.2"], "A")),
        joined(2, entries(["2001:db8::1", "2001:DB8::2"], "AAAA")),
        joined(3, entries(["eu", "eu.example.net."], "CNAME")),
        joined(1, entries(["\"v=1 cluster=prod epoch=42\"", "\"a\" \"b\\\"\""], "TXT")),
        joined(4, r#"{"isDeployed": true, "errors": ["a"], "warnings": []}"#),
        joined(5, r#"{"server": "dns1.example.", "serial": 2026112400, "ttl": 3600}"#),
        joined(6, "1795424645"),
        joined(6, "-9223372036854775808"),
        joined(7, r#"a "b" \c"#),
        joined(8, r#"{"access_token": "eyJhbGciOi", "token_type": "Bearer", "expires_in": 3599, "scope": "all"}"#),
        joined(8, r#"{"error": "invalid_client", "error_description": "no"}"#),
        joined(0, "[".repeat(10_000)),
    ]
}

/// Two bytes of status, a `Retry-After`, a line feed, and the body.
fn refusal(input: &[u8]) {
    let Some((status, rest)) = input.split_first_chunk() else { return };
    let status = u16::from_be_bytes(*status);
    let (header, body) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert(RETRY_AFTER, value.clone());
        headers.insert("x-ovh-queryid", value);
    }
    let refusal = Refusal::read(status, &headers, body, "GET /domain/zone/example.test/record".to_owned());
    for effect in [Effect::None, Effect::Change] {
        let said = CallError::Refused(refusal.clone()).into_provider_error(effect).to_string();
        assert!(said.len() < 4096 && !said.contains(char::is_control), "an answer must not flood the log: {said:?}");
    }
}

fn refusals() -> Vec<Vec<u8>> {
    let of = |status: u16, rest: &str| [&status.to_be_bytes()[..], rest.as_bytes()].concat();
    vec![
        of(
            400,
            "\n{\"message\":\"Invalid signature\",\"errorCode\":\"INVALID_SIGNATURE\",\"httpCode\":\"400 Bad Request\"}",
        ),
        of(
            403,
            "EU.ext-1.1.1\n{\"class\":\"Client::Forbidden\",\"message\":\"no\",\"errorCode\":\"NOT_GRANTED_CALL\"}",
        ),
        of(429, "17\n{}"),
        of(503, "18446744073709551615\n<html>"),
    ]
}
