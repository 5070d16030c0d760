//! What nodes ask of each other and answer: whatever comes, it is judged without a panic.

use std::time::Duration;

use super::{
    AccessSeen, Inspected, Inspection, NodeAnswer, ProbeSeen, ProviderSeen, RecordSeen,
    drill::{Rehearsal, conclusion},
};
use crate::{
    core::state::State,
    dns::{Finding, Grade, Grant},
    fuzz::{Target, joined, split},
};

pub(crate) const TARGETS: &[Target] = &[Target { name: "inspection", run: read, seeds }];

fn read(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    if kind == 0 {
        let _ = ciborium::from_reader::<Inspection, _>(bytes);
        return;
    }
    let Ok(found) = ciborium::from_reader::<Inspected, _>(bytes) else { return };
    let site = "oslo".parse().expect("a name");
    let answers = [NodeAnswer { node: 2, site, voter: true, found: Ok(found), took: Duration::MAX }];
    let state = State::default();
    let intent = crate::core::switch::Intent {
        service: "app".parse().expect("a name"),
        epoch: crate::core::names::Epoch(2),
        to: "us-east-1".parse().expect("a name"),
        cause: crate::core::switch::Cause::Failover,
    };
    for leader in [None, Some(2)] {
        let confirmed = Err("no quorum".to_owned());
        let rehearsal = Rehearsal { state: &state, intent: &intent, leader, confirmed, answers: &answers };
        let _ = conclusion(&intent, &rehearsal.judge());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let encode = |first, value: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = vec![];
        value(&mut bytes);
        joined(first, bytes)
    };
    let inspection = Inspection {
        service: Some("app".parse().expect("a name")),
        ask: true,
        candidate: Some("us-east-1".parse().expect("a name")),
        ..Inspection::default()
    };
    let record = RecordSeen {
        service: inspection.service.clone(),
        record: "app.example.com A at main".into(),
        findings: vec![Finding::pass("zone", "serial 7"), Finding::fail("rights", "REFUSED", "grant it")],
    };
    let access =
        AccessSeen { kind: "ovh".into(), grade: Grade::C, longest_request: Duration::from_secs(120), least_ttl: 60 };
    let provider = ProviderSeen {
        name: "main".parse().expect("a name"),
        access: Some(access),
        services: inspection.service.clone().into_iter().collect(),
        records: vec![record],
        policy: vec![Grant { place: "OVH".into(), text: "GET /x".into() }],
    };
    let probes = vec![ProbeSeen { probe: 0, failure: Some("timeout".into()), took: Duration::from_millis(9) }];
    let inspected =
        Inspected { providers: vec![provider], probes, nameservers: vec![], tables: vec![], table_policy: vec![] };
    vec![
        encode(0, &|bytes| ciborium::into_writer(&inspection, bytes).expect("it encodes")),
        encode(1, &|bytes| ciborium::into_writer(&inspected, bytes).expect("it encodes")),
    ]
}
