//! `Drill`: reads the state, has every node look, judges, and says how far it is meanwhile. Proposes nothing.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    cluster::{Cluster, ClusterError, Consistency},
    convert::{self, ms, rule_outcome},
};
use crate::{
    core::{
        explain::words,
        names::{RegionName, ServiceName},
        state::{Refusal, State},
        switch::Intent,
    },
    inspect::{
        Inspection, NodeAnswer, PATIENCE,
        drill::{Check, Rehearsal, conclusion},
    },
    proto::v1,
};

/// A stream of messages, the last of which is the report.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How many messages may wait for whoever listens.
const WAITING: usize = 16;

/// Rehearses. What is wrong with the request is said at once, not in the stream.
pub async fn drill(
    cluster: Arc<dyn Cluster>,
    request: v1::DrillRequest,
) -> Result<Messages<v1::DrillResponse>, Status> {
    let v1::DrillRequest { service, to } = request;
    let service: ServiceName = convert::name("service", &service)?;
    let to: Option<RegionName> = if to.is_empty() { None } else { Some(convert::name("to", &to)?) };
    let began = Instant::now();
    let confirmed = match cluster.catch_up(Consistency::Linearizable).await {
        Ok(()) => Ok(began.elapsed()),
        Err(wrong @ ClusterError::NotInitialised) => return Err(wrong.into()),
        Err(why) => Err(why.to_string()),
    };
    // The state is judged as it stood when the rehearsal began.
    let mut seen = None;
    cluster.with_state(&mut |state, info| seen = Some((state.clone(), info)));
    let (state, info) = seen.ok_or_else(|| Status::internal("the state was not shown"))?;
    let intent = intent(&state, &service, to.as_ref())?;
    let (messages, listening) = mpsc::channel(WAITING);
    let rehearsal = async move {
        let say = async |text: String| messages.send(Ok(progress(text))).await.is_ok();
        let leader = cluster.membership().leader;
        if !say(format!("rehearsing a switch of {service} to {}; nothing is written", intent.to)).await {
            return;
        }
        let inspection = Inspection {
            service: Some(service.clone()),
            ask: true,
            candidate: Some(intent.to.clone()),
            nameservers: true,
            ..Inspection::default()
        };
        let mut answers: Vec<NodeAnswer> = vec![];
        let mut heard = hear(cluster, inspection);
        while let Some(answer) = heard.recv().await {
            if !say(told(&answer)).await {
                return;
            }
            answers.push(answer);
        }
        answers.sort_by_key(|of| (Some(of.node) != leader, of.node));
        let from = state.services.get(&service).and_then(|of| of.target().map(ToString::to_string));
        let checks = Rehearsal { state: &state, intent: &intent, leader, confirmed, answers: &answers }.judge();
        let report = v1::DrillReport {
            service: service.to_string(),
            from: from.unwrap_or_default(),
            to: intent.to.to_string(),
            epoch: intent.epoch.0,
            stops: u32::try_from(checks.iter().filter(|check| check.stops).count()).unwrap_or(u32::MAX),
            conclusion: conclusion(&intent, &checks),
            findings: checks.into_iter().map(finding).collect(),
            took_ms: ms(began.elapsed()),
            answered_by: info.answered_by,
        };
        let report = v1::DrillResponse { message: Some(v1::drill_response::Message::Report(report)) };
        let _ = messages.send(Ok(report)).await;
    };
    tokio::spawn(rehearsal);
    Ok(Box::pin(ReceiverStream::new(listening)))
}

/// The failover to rehearse.
fn intent(state: &State, service: &ServiceName, to: Option<&RegionName>) -> Result<Intent, Status> {
    let of = state.services.get(service).ok_or_else(|| Refusal::NoService(service.clone()))?;
    if let Some(region) = to.filter(|to| of.service.region(to).is_none()) {
        return Err(Refusal::NoRegion { service: service.clone(), region: region.clone() }.into());
    }
    let intent = state.rehearsed(service, to).ok_or_else(|| Refusal::NoService(service.clone()))?;
    if of.target() == Some(&intent.to) {
        return Err(Refusal::no_move(of, &intent.to).into());
    }
    Ok(intent)
}

/// Has every member look; the answers as they come, until all are in or the time is over.
pub fn hear(cluster: Arc<dyn Cluster>, inspection: Inspection) -> mpsc::Receiver<NodeAnswer> {
    let (to, answers) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        // What takes longer is the way there: the nodes bound themselves.
        let _ = timeout(PATIENCE + PATIENCE / 4, cluster.inspect(inspection, to)).await;
    });
    answers
}

/// What is said while others are still looking.
pub fn told(answer: &NodeAnswer) -> String {
    let NodeAnswer { node, site, took, .. } = answer;
    match &answer.found {
        Ok(_) => format!("node {node} ({site}) has looked, {}", words(*took)),
        Err(why) => format!("node {node} ({site}) did not answer: {why}"),
    }
}

fn progress(text: String) -> v1::DrillResponse {
    v1::DrillResponse { message: Some(v1::drill_response::Message::Progress(text)) }
}

/// A finding as it is published.
pub fn finding(of: Check) -> v1::Finding {
    let (node, site) = of.seen_from.map(|(node, site)| (node, site.to_string())).unwrap_or_default();
    v1::Finding {
        subject: of.finding.subject.into_owned(),
        outcome: rule_outcome(of.finding.outcome).into(),
        figure: of.finding.figure,
        hint: of.finding.hint,
        node,
        site,
        record: of.record,
        stops: of.stops,
    }
}
