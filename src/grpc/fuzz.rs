//! What callers send to the public API, and what `quoratectl` reads of its answers.

use prost::Message;
use tonic::{Code, Status};

use super::{admin, audit, convert, errors};
use crate::{
    core::{
        names::{Epoch, RegionName, ServiceName},
        safety::Rule,
        state::{ServiceState, State},
    },
    fuzz::{Target, joined, split},
    proto::v1,
    view,
};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "api-request", run: request, seeds: requests },
    Target { name: "api-answer", run: answer, seeds: answers },
];

/// A refusal names a field and fits into the headers that carry it.
fn refused<T>(result: Result<T, Status>) -> Option<T> {
    result
        .map_err(|status| assert!(!errors::violations(&status).is_empty() && status.details().len() < 256 * 1024))
        .ok()
}

fn request(input: &[u8]) {
    let Some((kind, bytes)) = split(input) else { return };
    match kind {
        0 => {
            if let Ok(v1::AddMemberRequest { member }) = Message::decode(bytes)
                && let Some(member) = refused(convert::member(member))
            {
                assert!(member.id > 0 && !member.address.contains(char::is_control));
            }
        }
        1 => {
            let Ok(v1::SwitchRequest { service, to, r#override, reason, .. }) = Message::decode(bytes) else { return };
            let _ = refused(convert::name::<ServiceName>("service", &service));
            let _ = refused(convert::name::<RegionName>("to", &to));
            let _: Vec<_> = r#override.iter().map(|rule| refused(convert::name::<Rule>("override", rule))).collect();
            let _ = refused(admin::bounded(reason));
        }
        2 => {
            let Ok(v1::ApplyServiceRequest { toml, .. }) = Message::decode(bytes) else { return };
            let _ = refused(admin::parse(&toml));
        }
        3 => {
            let Ok(request) = v1::ListAuditLogRequest::decode(bytes) else { return };
            let (state, _) = crate::fuzz::serving();
            let _ = refused(audit::page(&state, &request));
        }
        _ => {
            let Ok(v1::ListServicesRequest { consistency }) = Message::decode(bytes) else { return };
            let _ = convert::consistency(consistency);
        }
    }
}

fn requests() -> Vec<Vec<u8>> {
    let toml = include_str!("../../tests/fixtures/services/ten-errors.toml").to_owned();
    let member = v1::Member { id: 3, site: "rome".to_owned(), address: "[2001:db8::3]:7700".to_owned() };
    let switch = v1::SwitchRequest {
        service: "app".to_owned(),
        to: "us-east-1".to_owned(),
        r#override: vec!["cooldown".to_owned(), "gate:dynamodb-lag".to_owned()],
        expected_epoch: Some(u64::MAX),
        reason: "works".to_owned(),
    };
    vec![
        joined(0, v1::AddMemberRequest { member: Some(member) }.encode_to_vec()),
        joined(1, switch.encode_to_vec()),
        joined(2, v1::ApplyServiceRequest { toml, dry_run: true, ..Default::default() }.encode_to_vec()),
        joined(
            3,
            v1::ListAuditLogRequest { service: "app".to_owned(), limit: 7, ..Default::default() }.encode_to_vec(),
        ),
        joined(4, v1::ListServicesRequest { consistency: 2 }.encode_to_vec()),
    ]
}

/// Everything that the API says of a service.
pub(crate) fn service_answers(state: &State, service: &ServiceState) -> Vec<Vec<u8>> {
    let name = &service.service.name;
    let explained = state.explain(name, None).map(|of| convert::explanation(state, service, of));
    let mut answers = vec![joined(0, convert::service_verdict(state, service).encode_to_vec())];
    answers.extend(explained.map(|of| joined(1, of.encode_to_vec())));
    for switch in service.switches() {
        answers.push(joined(2, convert::switch(name, switch).encode_to_vec()));
        let evidence = serde_json::to_vec(&convert::evidence(switch)).expect("evidence serialises");
        answers.push(joined(3, evidence));
    }
    let _ = convert::find_switch(service, Epoch(1));
    answers
}

fn answer(input: &[u8]) {
    fn shown<M: Message + Default, V: From<M> + serde::Serialize>(bytes: &[u8]) {
        if let Ok(message) = M::decode(bytes) {
            serde_json::to_vec(&V::from(message)).expect("what is shown is JSON");
        }
    }
    let Some((kind, bytes)) = split(input) else { return };
    match kind {
        0 => shown::<v1::ServiceVerdict, view::Service>(bytes),
        1 => shown::<v1::ExplainResponse, view::Explanation>(bytes),
        2 => shown::<v1::Switch, view::Switch>(bytes),
        _ => {}
    }
}

/// What a node answers: kind 3 is evidence in JSON, kind 4 the details of a refusal, which `quoratectl` shows.
pub(crate) fn answers() -> Vec<Vec<u8>> {
    let (state, name) = crate::fuzz::serving();
    let details = [
        errors::status(Code::Unavailable, "NO_LEADER", "no", [(errors::LEADER, "2".to_owned())]),
        errors::invalid_field("to", "is no name"),
    ];
    let details = details.iter().map(|status| joined(4, status.details()));
    let answers = state.services.get(&name).map(|service| service_answers(&state, service)).unwrap_or_default();
    answers.into_iter().chain(details).collect()
}
