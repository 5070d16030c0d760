//! What is written on the command line, in the context file and in a file of outages, and what is shown of what a node answers.

use tonic::{Code, Status};

use super::{cluster::MemberArgument, connect, evidence, failure::Failure, history, replay, sealed};
use crate::fuzz::{Target, joined, split};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "command-line", run: arguments, seeds: some_arguments },
    Target { name: "cli-shown", run: shown, seeds: crate::grpc::fuzz::answers },
    Target { name: "evidence-file", run: evidence_file, seeds: some_evidence },
];

fn arguments(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match kind {
        0 => drop(humantime::parse_duration(text)),
        1 => drop(text.parse::<MemberArgument>()),
        2 => drop(connect::context(text)),
        3 => drop(history::moment(text)),
        _ => drop(replay::outages_of(text)),
    }
}

fn some_arguments() -> Vec<Vec<u8>> {
    let context = "nodes = [\"192.0.2.1:7700\"]\nca = \"ca.crt\"\ncert = \"a.crt\"\nkey = \"a.key\"\ntimeout = \"5s\"\n\
                   consistency = \"stale\"\n";
    vec![
        joined(0, "1h 2m 3s 4ms 5us 6ns"),
        joined(0, "18446744073709551615y"),
        joined(1, "1=paris@192.0.2.1:7700"),
        joined(1, "18446744073709551615=rome@[2001:db8::3]:65535"),
        joined(2, context),
        joined(2, format!("nodes = {}", "[".repeat(10_000))),
        joined(3, "2026-11-23T00:00:00+23:59"),
        joined(3, "-9999-12-31T23:59:59Z"),
        joined(3, "999999999999y"),
        joined(4, "[[outage]]\nregion = 'eu-west-3'\nfrom = 2026-11-23T00:00:00Z\nto = '2026-11-23T01:00'\n"),
        joined(4, "{\"outage\": [{\"region\": \"eu-west-3\", \"service\": \"app\", \"from\": \"1h\"}]}"),
    ]
}

fn harmless(shown: &str) {
    let wrong = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(wrong), "a terminal would obey this: {shown:?}");
}

/// A file of evidence: verified, or refused with the places.
fn evidence_file(input: &[u8]) {
    harmless(&sealed::shown(input));
    let Ok(text) = std::str::from_utf8(input) else { return };
    if crate::evidence::verify(input).is_ok() {
        let document = serde_json::from_str(text).expect("what verifies is JSON");
        assert_eq!(crate::evidence::text(&document), text, "each byte counts");
    }
}

fn some_evidence() -> Vec<Vec<u8>> {
    let (state, name) = crate::fuzz::serving();
    let exported = crate::evidence::Exported {
        cluster: "prod".parse().expect("a name"),
        node: 1,
        applied_index: state.position.index,
        term: state.position.term,
        wall_ms: 7,
        program: "1.0.0".to_owned(),
    };
    let of = |service| crate::evidence::text(&crate::evidence::export(&state, &exported, service, None)).into_bytes();
    let real = include_bytes!("../../tests/fixtures/evidence/v1.json").to_vec();
    vec![of(None), of(Some(&name)), real, b"{\"format\":\"quorate evidence\",\"version\":1}".to_vec()]
}

/// A node's evidence, or its refusal with all that it carries.
fn shown(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    if kind == 3 {
        if let Ok(json) = serde_json::from_slice(bytes) {
            harmless(&evidence::shown(json));
        }
        return;
    }
    let status = Status::with_details(Code::FailedPrecondition, "no", bytes.to_vec().into());
    let failure = Failure::from_status(&status);
    let mut shown = Vec::new();
    failure.print(super::Output::Table, &mut shown).expect("memory takes it");
    harmless(&String::from_utf8_lossy(&shown));
    failure.print(super::Output::Json, &mut shown).expect("memory takes it");
}
