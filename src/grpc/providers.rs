//! `ListProviders` and `CheckProviders`: what each node is configured for, and what its credentials may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    cluster::Cluster,
    convert::{self, ms},
    drill::{Messages, finding, hear, told},
    errors::invalid_field,
};
use crate::{
    core::{
        names::{ProviderName, ServiceName},
        safety::RuleOutcome,
    },
    dns::Finding,
    inspect::{Inspected, Inspection, NodeAnswer, ProviderSeen, RecordSeen, drill::Check, lone_record},
    proto::v1,
};

/// How the tables of regions stand among the providers: as their section in a node's configuration.
const TABLES: &str = "[dynamodb]";
/// How many messages may wait for whoever listens.
const WAITING: usize = 16;

/// Which providers there are, on which nodes. Asks no provider.
pub async fn list(cluster: Arc<dyn Cluster>) -> v1::ListProvidersResponse {
    let answers = all(hear(cluster, Inspection::default())).await;
    let mut providers: BTreeMap<ProviderName, v1::ProviderStatus> = BTreeMap::new();
    for (of, found) in found(&answers) {
        for seen in &found.providers {
            let status = providers
                .entry(seen.name.clone())
                .or_insert_with(|| v1::ProviderStatus { provider: seen.name.to_string(), ..Default::default() });
            let services: BTreeSet<String> =
                status.services.drain(..).chain(seen.services.iter().map(ToString::to_string)).collect();
            status.services = services.into_iter().collect();
            if let Some(access) = &seen.access {
                status.nodes.push(of.node);
                status.kind.clone_from(&access.kind);
                status.grade = access.grade.to_string();
                status.longest_request_ms = ms(access.longest_request);
                status.least_ttl = access.least_ttl;
            }
        }
    }
    let answered: Vec<u64> = found(&answers).map(|(of, _)| of.node).collect();
    for status in providers.values_mut() {
        status.nodes.sort_unstable();
        // A provider that no service uses is not listed by a node without it.
        status.missing_on = answered.iter().copied().filter(|node| !status.nodes.contains(node)).collect();
        status.missing_on.sort_unstable();
    }
    v1::ListProvidersResponse { providers: providers.into_values().collect(), silent: silent(&answers) }
}

/// Has every node ask the providers with its own credentials.
pub fn check(
    cluster: Arc<dyn Cluster>,
    request: v1::CheckProvidersRequest,
) -> Result<Messages<v1::CheckProvidersResponse>, Status> {
    let inspection = inspection(request)?;
    let (messages, listening) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut heard = hear(cluster, inspection);
        let mut answers = vec![];
        while let Some(answer) = heard.recv().await {
            let progress = v1::check_providers_response::Message::Progress(told(&answer));
            if messages.send(Ok(v1::CheckProvidersResponse { message: Some(progress) })).await.is_err() {
                return;
            }
            answers.push(answer);
        }
        answers.sort_by_key(|of| of.node);
        let report = v1::check_providers_response::Message::Report(report(&answers));
        let _ = messages.send(Ok(v1::CheckProvidersResponse { message: Some(report) })).await;
    });
    Ok(Box::pin(ReceiverStream::new(listening)))
}

fn inspection(request: v1::CheckProvidersRequest) -> Result<Inspection, Status> {
    let v1::CheckProvidersRequest { provider, service, zone, name, r#type } = request;
    let provider: Option<ProviderName> =
        if provider.is_empty() { None } else { Some(convert::name("provider", &provider)?) };
    let service: Option<ServiceName> =
        if service.is_empty() { None } else { Some(convert::name("service", &service)?) };
    let record = if zone.is_empty() && name.is_empty() && r#type.is_empty() {
        None
    } else {
        let provider = provider.clone().ok_or_else(|| invalid_field("provider", "is needed with a record"))?;
        let record = lone_record(
            provider,
            convert::name("zone", &zone)?,
            convert::name("name", &name)?,
            convert::name("type", &r#type)?,
        );
        if !record.name.is_in(&record.zone) {
            return Err(invalid_field("name", format!("`{}` does not lie in zone {}", record.name, record.zone)));
        }
        Some(record)
    };
    Ok(Inspection { provider, service, record, ask: true, ..Inspection::default() })
}

fn report(answers: &[NodeAnswer]) -> v1::ProvidersReport {
    let mut providers: BTreeMap<ProviderName, v1::ProviderFindings> = BTreeMap::new();
    for (of, found) in found(answers) {
        for seen in &found.providers {
            let into = providers
                .entry(seen.name.clone())
                .or_insert_with(|| v1::ProviderFindings { provider: seen.name.to_string(), ..Default::default() });
            if let Some(access) = &seen.access {
                into.kind.clone_from(&access.kind);
                into.grade = access.grade.to_string();
                into.policy = seen.policy.iter().map(grant).collect();
            }
            into.findings.extend(findings(of, seen));
        }
    }
    let providers = providers.into_values().chain(tables(answers)).collect();
    v1::ProvidersReport { providers, silent: silent(answers) }
}

/// The tables of the regions under a name that no provider can have; nothing where there are none.
fn tables(answers: &[NodeAnswer]) -> Option<v1::ProviderFindings> {
    let findings: Vec<_> = found(answers).flat_map(|(of, found)| of_records(of, &found.tables)).collect();
    let policy = found(answers).next().map(|(_, found)| found.table_policy.iter().map(grant).collect());
    (!findings.is_empty()).then(|| v1::ProviderFindings {
        provider: TABLES.to_owned(),
        kind: "tables".to_owned(),
        findings,
        policy: policy.unwrap_or_default(),
        grade: String::new(),
    })
}

fn findings(of: &NodeAnswer, seen: &ProviderSeen) -> Vec<v1::Finding> {
    if seen.records.is_empty() {
        let hint = "give --zone and --record to check it before a service uses it";
        return vec![one(of, "", &Finding::unknown("record", "no service has a record here", hint))];
    }
    of_records(of, &seen.records)
}

fn of_records(of: &NodeAnswer, records: &[RecordSeen]) -> Vec<v1::Finding> {
    records.iter().flat_map(|record| record.findings.iter().map(|found| one(of, &record.record, found))).collect()
}

fn one(of: &NodeAnswer, record: &str, found: &Finding) -> v1::Finding {
    let stops = found.outcome == RuleOutcome::Fail;
    let seen_from = Some((of.node, of.site.clone()));
    finding(Check { finding: found.clone(), seen_from, record: record.to_owned(), stops })
}

fn grant(of: &crate::dns::Grant) -> v1::Grant {
    v1::Grant { place: of.place.clone(), text: of.text.clone() }
}

async fn all(mut heard: mpsc::Receiver<NodeAnswer>) -> Vec<NodeAnswer> {
    let mut answers = vec![];
    while let Some(answer) = heard.recv().await {
        answers.push(answer);
    }
    answers.sort_by_key(|of| of.node);
    answers
}

fn found(answers: &[NodeAnswer]) -> impl Iterator<Item = (&NodeAnswer, &Inspected)> {
    answers.iter().filter_map(|of| Some((of, of.found.as_ref().ok()?)))
}

fn silent(answers: &[NodeAnswer]) -> Vec<v1::SilentNode> {
    let silent = |of: &NodeAnswer| {
        let why = of.found.as_ref().err()?.clone();
        Some(v1::SilentNode { node: of.node, site: of.site.to_string(), why })
    };
    answers.iter().filter_map(silent).collect()
}
