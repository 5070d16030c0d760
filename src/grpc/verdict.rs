//! `VerdictService`: reads only.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{Stream, StreamExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::{
    cluster::{Cluster, ReadInfo},
    convert,
    errors::status,
    replication,
};
use crate::{
    core::{
        names::{Epoch, RegionName, ServiceName},
        state::{Position, Refusal, ServiceState, State},
    },
    evidence::{self, Exported},
    proto::v1::{self, verdict_service_server::VerdictService},
};

/// How many may watch at once on one node.
const WATCHERS: usize = 64;
/// How many messages may wait for a watcher.
const WAITING: usize = 16;
/// How long a watcher may leave the next message waiting before it is cut off.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many switches are listed unless said otherwise.
const SWITCHES: usize = 50;

type Watching = Pin<Box<dyn Stream<Item = Result<v1::WatchVerdictsResponse, Status>> + Send>>;

/// The server.
#[derive(Clone)]
pub struct Verdicts {
    cluster: Arc<dyn Cluster>,
    shutdown: CancellationToken,
    watchers: Arc<Semaphore>,
}

impl Verdicts {
    /// Reads from `cluster`; streams end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>, shutdown: CancellationToken) -> Self {
        Self { cluster, shutdown, watchers: Arc::new(Semaphore::new(WATCHERS)) }
    }

    /// Reads of one service that must be there.
    async fn of_service<T>(
        &self,
        consistency: i32,
        name: &str,
        look: impl FnOnce(&State, &ServiceState) -> Result<T, Box<Status>> + Send,
    ) -> Result<(T, v1::ReadInfo), Status> {
        let name: ServiceName = convert::name("service", name)?;
        let look = |state: &State| match state.services.get(&name) {
            Some(service) => look(state, service),
            None => Err(Box::new(Refusal::NoService(name.clone()).into())),
        };
        let (seen, read) = self.cluster.read(convert::consistency(consistency), look).await?;
        Ok((seen.map_err(|status| *status)?, convert::read_info(read)))
    }
}

#[tonic::async_trait]
impl VerdictService for Verdicts {
    async fn get_verdict(
        &self,
        request: Request<v1::GetVerdictRequest>,
    ) -> Result<Response<v1::GetVerdictResponse>, Status> {
        let v1::GetVerdictRequest { service, consistency } = request.into_inner();
        let look = |state: &State, service: &ServiceState| Ok(convert::service_verdict(state, service));
        let (verdict, read) = self.of_service(consistency, &service, look).await?;
        Ok(Response::new(v1::GetVerdictResponse { verdict: Some(verdict), read: Some(read) }))
    }

    async fn list_verdicts(
        &self,
        request: Request<v1::ListVerdictsRequest>,
    ) -> Result<Response<v1::ListVerdictsResponse>, Status> {
        let consistency = convert::consistency(request.into_inner().consistency);
        let look = |state: &State| state.services.values().map(|of| convert::service_verdict(state, of)).collect();
        let (verdicts, read) = self.cluster.read(consistency, look).await?;
        Ok(Response::new(v1::ListVerdictsResponse { verdicts, read: Some(convert::read_info(read)) }))
    }

    type WatchVerdictsStream = Watching;

    async fn watch_verdicts(&self, request: Request<v1::WatchVerdictsRequest>) -> Result<Response<Watching>, Status> {
        let services = request.into_inner().services;
        let services: Vec<ServiceName> =
            services.iter().map(|name| convert::name("services", name)).collect::<Result<_, _>>()?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS} clients watch this node already");
            status(Code::ResourceExhausted, "TOO_MANY_WATCHERS", message, [])
        })?;
        // A service that is asked for by name must be there; `()` is all that is wanted of it.
        for name in &services {
            let found = |_: &State, _: &ServiceState| Ok(());
            self.of_service(v1::Consistency::Stale.into(), name.as_str(), found).await?;
        }
        let (to, messages) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        let watch = Watch { cluster: self.cluster.clone(), services, known: BTreeMap::new(), to };
        tokio::spawn(watch.run(end, self.shutdown.clone(), permit));
        // The reason for the end follows the last message, so that a full channel cannot swallow it.
        let last =
            futures::stream::once(ended).filter_map(|end| async { end.ok().map(|status: Box<Status>| Err(*status)) });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages).map(Ok).chain(last))))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let v1::ExplainRequest { service, to, consistency } = request.into_inner();
        let to: Option<RegionName> = if to.is_empty() { None } else { Some(convert::name("to", &to)?) };
        let look = |state: &State, service: &ServiceState| {
            let name = &service.service.name;
            if let Some(region) = to.as_ref().filter(|to| service.service.region(to).is_none()) {
                let refusal = Refusal::NoRegion { service: name.clone(), region: region.clone() };
                return Err(Box::new(refusal.into()));
            }
            let explanation = state.explain(name, to.as_ref()).ok_or_else(|| {
                let message = format!("service `{name}` has no region to switch to");
                Box::new(status(Code::NotFound, "NO_CANDIDATE", message, []))
            })?;
            Ok(convert::explanation(state, service, explanation))
        };
        let (answer, read) = self.of_service(consistency, &service, look).await?;
        Ok(Response::new(v1::ExplainResponse { read: Some(read), ..answer }))
    }

    async fn list_replication(
        &self,
        request: Request<v1::ListReplicationRequest>,
    ) -> Result<Response<v1::ListReplicationResponse>, Status> {
        let v1::ListReplicationRequest { service, consistency } = request.into_inner();
        let (replications, read) = if service.is_empty() {
            let look = |state: &State| {
                state.services.values().flat_map(|service| replication::of(state, service)).collect::<Vec<_>>()
            };
            let (found, read) = self.cluster.read(convert::consistency(consistency), look).await?;
            (found, convert::read_info(read))
        } else {
            self.of_service(consistency, &service, |state, service| Ok(replication::of(state, service))).await?
        };
        Ok(Response::new(v1::ListReplicationResponse { replications, read: Some(read) }))
    }

    async fn list_switches(
        &self,
        request: Request<v1::ListSwitchesRequest>,
    ) -> Result<Response<v1::ListSwitchesResponse>, Status> {
        let v1::ListSwitchesRequest { service, limit, consistency } = request.into_inner();
        let limit = if limit == 0 { SWITCHES } else { limit as usize };
        let of = |service: &ServiceState| -> Vec<v1::Switch> {
            service.switches().map(|switch| convert::switch(&service.service.name, switch)).collect()
        };
        let (mut switches, read) = if service.is_empty() {
            let look = |state: &State| state.services.values().flat_map(of).collect::<Vec<_>>();
            let (switches, read) = self.cluster.read(convert::consistency(consistency), look).await?;
            (switches, convert::read_info(read))
        } else {
            self.of_service(consistency, &service, |_, service| Ok(of(service))).await?
        };
        switches.sort_by_key(|switch| std::cmp::Reverse(switch.index));
        switches.truncate(limit);
        Ok(Response::new(v1::ListSwitchesResponse { switches, read: Some(read) }))
    }

    async fn get_evidence(
        &self,
        request: Request<v1::GetEvidenceRequest>,
    ) -> Result<Response<v1::GetEvidenceResponse>, Status> {
        let v1::GetEvidenceRequest { service, epoch, consistency } = request.into_inner();
        let look = |_: &State, service: &ServiceState| {
            let name = &service.service.name;
            let switch = convert::find_switch(service, Epoch(epoch)).ok_or_else(|| {
                let which = if epoch == 0 { "no switch yet".into() } else { format!("no switch of epoch {epoch}") };
                let message = format!("service `{name}` has {which}; the oldest are forgotten");
                Box::new(status(Code::NotFound, "NO_SWITCH", message, []))
            })?;
            let over = service.history.iter().position(|of| of.epoch == switch.epoch);
            let sealed = over.and_then(|i| service.chain().into_iter().nth(i));
            Ok((convert::switch(name, switch), convert::evidence(switch), sealed))
        };
        let ((switch, evidence, sealed), read) = self.of_service(consistency, &service, look).await?;
        let evidence_json =
            serde_json::to_string(&evidence).map_err(|error| Status::internal(format!("evidence: {error}")))?;
        let previous = sealed.as_ref().and_then(|of| of.bundle["previous"].as_str()).unwrap_or_default().to_owned();
        Ok(Response::new(v1::GetEvidenceResponse {
            switch: Some(switch),
            evidence_json,
            read: Some(read),
            hash: sealed.map(|of| of.hash).unwrap_or_default(),
            previous_hash: previous,
        }))
    }

    async fn export_evidence(
        &self,
        request: Request<v1::ExportEvidenceRequest>,
    ) -> Result<Response<v1::ExportEvidenceResponse>, Status> {
        let v1::ExportEvidenceRequest { service, epoch, consistency } = request.into_inner();
        let wanted: Option<ServiceName> =
            if service.is_empty() { None } else { Some(convert::name("service", &service)?) };
        let epoch = Some(Epoch(epoch)).filter(|epoch| *epoch != Epoch(0));
        if let Some(name) = &wanted {
            let there = |_: &State, service: &ServiceState| match epoch {
                Some(epoch) if !service.history.iter().any(|switch| switch.epoch == epoch) => {
                    let message = format!(
                        "service `{name}` has no switch of epoch {epoch} that is over; the oldest are forgotten"
                    );
                    Err(Box::new(status(Code::NotFound, "NO_SWITCH", message, [])))
                }
                _ => Ok(()),
            };
            self.of_service(consistency, name.as_str(), there).await?;
        }
        let cluster = self.cluster.membership().cluster;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // The document is built outside of the state's lock: hashing takes a while.
        let (state, read) = self.cluster.read(convert::consistency(consistency), State::clone).await?;
        let exported = Exported {
            cluster,
            node: read.answered_by,
            applied_index: state.position.index,
            term: state.position.term,
            wall_ms: u64::try_from(wall).unwrap_or(u64::MAX),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let document = evidence::export(&state, &exported, wanted.as_ref(), epoch);
        let document_json = evidence::text(&document);
        Ok(Response::new(v1::ExportEvidenceResponse { document_json, read: Some(convert::read_info(read)) }))
    }
}

/// One watcher. Nothing is buffered for it beyond a few messages: while it is slow, changes merge in the state, and after
/// [`PATIENCE`] it is cut off.
struct Watch {
    cluster: Arc<dyn Cluster>,
    /// All when empty.
    services: Vec<ServiceName>,
    /// What the watcher was told last.
    known: BTreeMap<String, v1::ServiceVerdict>,
    to: mpsc::Sender<v1::WatchVerdictsResponse>,
}

impl Watch {
    async fn run(
        mut self,
        end: oneshot::Sender<Box<Status>>,
        shutdown: CancellationToken,
        _permit: OwnedSemaphorePermit,
    ) {
        let stopping = || status(Code::Unavailable, "SHUTTING_DOWN", "the node is shutting down", []);
        let applied = self.cluster.applied();
        let why = tokio::select! {
            why = self.follow(applied) => why,
            () = shutdown.cancelled() => Some(stopping()),
        };
        // Whoever has gone needs no reason.
        let _ = why.map(|why| end.send(Box::new(why)));
    }

    /// Until the watcher goes (`None`), is too slow, or the node stops.
    async fn follow(&mut self, mut applied: watch::Receiver<Position>) -> Option<Status> {
        loop {
            applied.mark_unchanged();
            for message in self.changes() {
                match timeout(PATIENCE, self.to.send(message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => {
                        let message = format!("a change waited for {} s: watch again", PATIENCE.as_secs());
                        return Some(status(Code::ResourceExhausted, "WATCHER_TOO_SLOW", message, []));
                    }
                }
            }
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    return Some(status(Code::Unavailable, "SHUTTING_DOWN", "the node is shutting down", []));
                },
                () = self.to.closed() => return None,
            }
        }
    }

    /// What the watcher does not know yet, read from one state.
    fn changes(&mut self) -> Vec<v1::WatchVerdictsResponse> {
        let mut seen: Option<(Vec<v1::ServiceVerdict>, ReadInfo)> = None;
        let wanted = |name: &ServiceName| self.services.is_empty() || self.services.contains(name);
        self.cluster.with_state(&mut |state, read| {
            let services = state.services.iter().filter(|(name, _)| wanted(name));
            seen = Some((services.map(|(_, of)| convert::service_verdict(state, of)).collect(), read));
        });
        let Some((now, read)) = seen else { return vec![] };
        let read = Some(convert::read_info(read));
        let present: BTreeMap<_, _> = now.into_iter().map(|of| (of.service.clone(), of)).collect();
        let mut messages = vec![];
        for (name, verdict) in &present {
            let fingerprint = fingerprint(verdict);
            if self.known.get(name) != Some(&fingerprint) {
                self.known.insert(name.clone(), fingerprint);
                messages.push(v1::WatchVerdictsResponse { verdict: Some(verdict.clone()), removed: false, read });
            }
        }
        let gone: Vec<_> = self.known.keys().filter(|name| !present.contains_key(*name)).cloned().collect();
        for name in gone {
            self.known.remove(&name);
            let verdict = Some(v1::ServiceVerdict { service: name, ..Default::default() });
            messages.push(v1::WatchVerdictsResponse { verdict, removed: true, read });
        }
        messages
    }
}

/// What makes a change: everything but durations and reasons, which move with every entry.
fn fingerprint(of: &v1::ServiceVerdict) -> v1::ServiceVerdict {
    let mut of = of.clone();
    for region in &mut of.regions {
        region.since_ms = 0;
        for opinion in &mut region.opinions {
            opinion.reason.clear();
        }
    }
    of
}
