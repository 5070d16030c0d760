//! What is written on the command line and in the context file, and what is shown of what a node answers.

use tonic::{Code, Status};

use super::{cluster::MemberArgument, connect, evidence, failure::Failure};
use crate::fuzz::{Target, joined, split};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "command-line", run: arguments, seeds: some_arguments },
    Target { name: "cli-shown", run: shown, seeds: crate::grpc::fuzz::answers },
];

fn arguments(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match kind {
        0 => drop(humantime::parse_duration(text)),
        1 => drop(text.parse::<MemberArgument>()),
        _ => drop(connect::context(text)),
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
    ]
}

fn harmless(shown: &str) {
    let wrong = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(wrong), "a terminal would obey this: {shown:?}");
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
