//! How the state changes: one committed command after the other.
//!
//! `apply` is a function of the state and the entry alone: equal logs give equal states (invariant 8). What a leader
//! proposed is checked again here, on every node, so a wrong or late leader is refused by the log itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    names::{EndpointId, Epoch, NodeId, RegionName, ServiceName, Site},
    opinion::Thresholds,
    report::Report,
    safety::Rule,
    service::{Probe, Region, Service},
    state::{Action, Command, ENDPOINTS_LIMIT, Position, Refusal, Response, ServiceState, Standing, State},
    switch::{Cause, Evidence, Intent, NameserverLine, Stamp, Switch},
};

impl State {
    /// Applies one committed command.
    pub fn apply(&mut self, position: Position, command: &Command) -> Response {
        let quiet = self.is_quiet(position, command);
        self.enter_term(position);
        self.log_time = self.log_time.max(command.at);
        self.keep_wall(command.wall);
        let stamp = Stamp { at: self.log_time, wall: command.wall, term: position.term, index: position.index };
        let response = self.act(stamp, &command.action);
        if !(quiet && self.calm_at(self.log_time)) {
            self.refresh_verdicts();
        }
        response
    }

    /// An entry of this term is applied: the opinions of earlier terms count no more.
    pub fn enter_term(&mut self, position: Position) {
        let new_term = position.term > self.position.term;
        self.position = position;
        if new_term {
            self.refresh_verdicts();
        }
    }

    /// The voters are these from now on.
    pub fn set_voters(&mut self, position: Position, voters: BTreeMap<NodeId, Site>) {
        self.enter_term(position);
        self.views.retain(|node, _| voters.contains_key(node));
        self.voters = voters;
        self.refresh_verdicts();
    }

    fn act(&mut self, stamp: Stamp, action: &Action) -> Response {
        let done = match action {
            Action::Tick => Ok(Response::Done),
            Action::Reports(reports) => Ok(self.take_reports(stamp, reports)),
            Action::ApplyService { service, exclusive: true, .. } if let Some(taken) = self.taken(service) => {
                Err(taken)
            }
            Action::ApplyService { service, source, by, .. } => self.apply_service(stamp, service, source, by),
            Action::RemoveService { service } => self.remove_service(stamp, service),
            Action::Authorise(intent) => self.authorise(stamp, intent),
            Action::Written { service, epoch, receipts } => self.written(stamp, service, *epoch, receipts),
            Action::Observed { service, epoch, answers } => self.observed(stamp, service, *epoch, answers),
            Action::Trouble { service, text } => self.service_mut(service).map(|state| {
                state.trouble.clone_from(text);
                Response::Done
            }),
            Action::Drift { service, text } => self.service_mut(service).map(|state| {
                state.drift.clone_from(text);
                Response::Done
            }),
            Action::Freeze { service: Some(service), freeze } => self.service_mut(service).map(|state| {
                state.frozen = Some(freeze.clone());
                Response::Done
            }),
            Action::Freeze { service: None, freeze } => {
                self.freeze = Some(freeze.clone());
                Ok(Response::Done)
            }
            Action::Unfreeze { service: Some(service) } => self.service_mut(service).map(|state| {
                // Whoever ends the hold has seen what spent the budget.
                state.automatic.clear();
                if state.frozen.take().is_some() { Response::Done } else { Response::Unchanged }
            }),
            Action::Unfreeze { service: None } => {
                Ok(if self.freeze.take().is_some() { Response::Done } else { Response::Unchanged })
            }
            Action::Asked { by, what } => {
                let response = self.act(stamp, what);
                self.audit.note(stamp, by, what, &response);
                Ok(response)
            }
            Action::Begin(_) => Ok(Response::Begun(stamp.index)),
            Action::Came { begun, outcome } => {
                Ok(if self.audit.settle(stamp, *begun, outcome) { Response::Done } else { Response::Unchanged })
            }
            Action::Gauges(gauges) => Ok(self.take_gauges(stamp, gauges)),
        };
        done.unwrap_or_else(Response::Refused)
    }

    /// Only maintenance windows ask for wall time; it may go back, as clocks do. A rehearsal has none.
    fn keep_wall(&mut self, wall: u64) {
        if !self.services.values().any(|of| !of.service.policy.windows.is_empty()) {
            self.wall = 0;
        } else if wall > 0 {
            self.wall = wall;
        }
    }

    fn service_mut(&mut self, name: &ServiceName) -> Result<&mut ServiceState, Refusal> {
        self.services.get_mut(name).ok_or_else(|| Refusal::NoService(name.clone()))
    }

    fn take_reports(&mut self, stamp: Stamp, reports: &[Report]) -> Response {
        let mut needs_full = vec![];
        for report in reports.iter().filter(|report| self.voters.contains_key(&report.node)) {
            let (services, endpoints) = (&self.services, &self.endpoints);
            let thresholds = |id| {
                let policy = &services.get(&endpoints.get(&id)?.0)?.service.policy;
                Some(Thresholds { fall: policy.fall, rise: policy.rise })
            };
            let view = self.views.entry(report.node).or_default();
            if !view.take(report, stamp.term, stamp.index, stamp.at, thresholds) {
                needs_full.push((report.node, view.seq));
            }
        }
        Response::Reports { needs_full }
    }

    /// What of the service is another's already. A service that stands as it is takes nothing.
    fn taken(&self, service: &Service) -> Option<Refusal> {
        let mut others = self.services.values().map(|of| &of.service).filter(|of| of.name != service.name);
        let unchanged = self.services.get(&service.name).is_some_and(|of| of.service == *service);
        let clash = |other: &Service| {
            let (_, record, theirs) = service.clashes(other).next()?;
            let (record, theirs) = (record.to_string(), theirs.to_string());
            Some(Refusal::RecordTaken { service: service.name.clone(), record, by: other.name.clone(), theirs })
        };
        if unchanged { None } else { others.find_map(clash) }
    }

    fn apply_service(&mut self, stamp: Stamp, service: &Service, source: &str, by: &str) -> Result<Response, Refusal> {
        let probes = |service: &Service| service.regions.iter().map(|region| region.probes.len()).sum::<usize>();
        let before = self.services.get(&service.name);
        let total = self.endpoints.len() + probes(service) - before.map_or(0, |before| probes(&before.service));
        if total > ENDPOINTS_LIMIT {
            return Err(Refusal::TooManyEndpoints(total));
        }
        let mut state = match before {
            None => ServiceState {
                service: service.clone(),
                source: source.to_owned(),
                revision: stamp.index,
                endpoints: vec![],
                epoch: self.retired.get(&service.name).copied().unwrap_or_default(),
                active: None,
                open: None,
                frozen: None,
                cooldown_until: stamp.at,
                automatic: vec![],
                verdicts: BTreeMap::new(),
                written: vec![],
                trouble: None,
                drift: None,
                history: VecDeque::new(),
                anchor: self.anchors.get(&service.name).cloned(),
                files: BTreeMap::new(),
                gauges: BTreeMap::new(),
            },
            Some(before) if before.service == *service => return Ok(Response::Unchanged),
            Some(before) => revise(before, service, source, stamp, by)?,
        };
        state.endpoints = self.number_endpoints(before, service);
        let evidence = self.evidence(&state, vec![]);
        if let Some(open) = &mut state.open {
            // Only a revision of what the active region answers opens a switch here.
            let file = evidence.file.clone();
            open.evidence = evidence;
            state.keep_file(&file);
        }
        self.forget_endpoints(&service.name, &state.endpoints);
        for (region, ids) in state.endpoints.iter().enumerate() {
            for (probe, id) in ids.iter().enumerate() {
                self.endpoints.insert(*id, (service.name.clone(), region, probe));
                self.next_endpoint = self.next_endpoint.max(id.0 + 1);
            }
        }
        self.services.insert(service.name.clone(), state);
        self.keep_wall(stamp.wall);
        self.catalogue_at = stamp.index;
        Ok(Response::Done)
    }

    /// A probe that did not change keeps its number and with it its runs; a changed one starts from unknown.
    fn number_endpoints(&self, before: Option<&ServiceState>, service: &Service) -> Vec<Vec<EndpointId>> {
        let mut next = self.next_endpoint;
        let known = |region: &Region, probe: &Probe| {
            let before = before?;
            let i = before.service.regions.iter().position(|old| old.name == region.name)?;
            let j = before.service.regions[i].probes.iter().position(|old| old == probe)?;
            Some(before.endpoints[i][j])
        };
        let mut taken = BTreeSet::new();
        let mut number = |region: &Region, probe: &Probe| {
            known(region, probe).filter(|id| taken.insert(*id)).unwrap_or_else(|| {
                next += 1;
                EndpointId(next - 1)
            })
        };
        let mut of_region = |region: &Region| region.probes.iter().map(|probe| number(region, probe)).collect();
        service.regions.iter().map(&mut of_region).collect()
    }

    fn forget_endpoints(&mut self, service: &ServiceName, keep: &[Vec<EndpointId>]) {
        let keep: BTreeSet<_> = keep.iter().flatten().collect();
        let gone: Vec<_> = self
            .endpoints
            .iter()
            .filter(|(id, (owner, ..))| owner == service && !keep.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.endpoints.remove(&id);
            for view in self.views.values_mut() {
                view.runs.remove(&id);
            }
        }
    }

    fn remove_service(&mut self, stamp: Stamp, name: &ServiceName) -> Result<Response, Refusal> {
        let state = self.service_mut(name)?;
        if let Some(open) = &state.open {
            return Err(Refusal::SwitchOpen(open.epoch));
        }
        let (epoch, head) = (state.epoch, state.head());
        self.services.remove(name);
        self.retired.insert(name.clone(), epoch);
        self.anchors.extend(head.map(|head| (name.clone(), head)));
        self.forget_endpoints(name, &[]);
        self.catalogue_at = stamp.index;
        Ok(Response::Done)
    }

    fn authorise(&mut self, stamp: Stamp, intent: &Intent) -> Result<Response, Refusal> {
        let state = self.services.get(&intent.service).ok_or_else(|| Refusal::NoService(intent.service.clone()))?;
        check_intent(state, intent)?;
        let rules = self.assess(intent);
        if let Some(reading) = rules.iter().find(|reading| !reading.permits()) {
            return Err(Refusal::Rule { rule: reading.rule, figure: reading.figure.clone() });
        }
        let switch = Switch {
            epoch: intent.epoch,
            from: state.target().cloned(),
            to: intent.to.clone(),
            cause: intent.cause.clone(),
            authorised: stamp,
            written: None,
            observed: None,
            superseded: None,
            evidence: Evidence { lost_writes: self.lost_writes(state, intent), ..self.evidence(state, rules) },
        };
        let state = self.service_mut(&intent.service)?;
        state.supersede(stamp);
        state.keep_file(&switch.evidence.file);
        if intent.cause.is_automatic() {
            let window = state.service.policy.budget_window;
            state.automatic.retain(|at| stamp.at < at.after(window));
            state.automatic.push(stamp.at);
        }
        state.epoch = intent.epoch;
        state.trouble = None;
        state.open = Some(switch);
        Ok(Response::Authorised(intent.epoch))
    }

    fn written(
        &mut self,
        stamp: Stamp,
        name: &ServiceName,
        epoch: Epoch,
        receipts: &BTreeMap<String, String>,
    ) -> Result<Response, Refusal> {
        let state = self.service_mut(name)?;
        let open = state.open.as_mut().filter(|open| open.epoch == epoch).ok_or(Refusal::NotOpen(epoch))?;
        if open.written.is_some() {
            return Ok(Response::Unchanged);
        }
        open.written = Some(stamp);
        open.evidence.receipts.clone_from(receipts);
        state.trouble = None;
        Ok(Response::Done)
    }

    fn observed(
        &mut self,
        stamp: Stamp,
        name: &ServiceName,
        epoch: Epoch,
        answers: &[NameserverLine],
    ) -> Result<Response, Refusal> {
        let state = self.service_mut(name)?;
        let written = |open: &Switch| open.epoch == epoch && open.written.is_some();
        let mut open = state.open.take_if(|open| written(open)).ok_or(Refusal::NotOpen(epoch))?;
        open.observed = Some(stamp);
        open.evidence.answers = answers.to_vec();
        state.written = state.answers(&open.to);
        state.active = Some(open.to.clone());
        if open.cause.is_automatic() || matches!(open.cause, Cause::Manual { .. } | Cause::Abort { .. }) {
            state.cooldown_until = stamp.at.after(state.service.policy.cooldown);
        }
        let laggards: Vec<_> = answers.iter().filter(|line| !line.agrees).map(|line| line.server.as_str()).collect();
        state.trouble =
            (!laggards.is_empty()).then(|| format!("did not answer the new values: {}", laggards.join(", ")));
        state.drift = None;
        state.keep(open);
        Ok(Response::Done)
    }

    fn refresh_verdicts(&mut self) {
        let mut changes = vec![];
        for (name, state) in &self.services {
            for region in &state.service.regions {
                let verdict = self.tally(state, &region.name).verdict();
                if state.verdicts.get(&region.name).is_none_or(|standing| standing.verdict != verdict) {
                    changes.push((name.clone(), region.name.clone(), verdict));
                }
            }
        }
        for (name, region, verdict) in changes {
            if let Some(state) = self.services.get_mut(&name) {
                state.verdicts.insert(region, Standing { verdict, since: self.log_time });
            }
        }
        self.calm = self.take_calm();
    }
}

/// What holds for every switch, before any rule.
fn check_intent(state: &ServiceState, intent: &Intent) -> Result<(), Refusal> {
    let adopting = state.target().is_none();
    let next = state.epoch.next();
    // An adoption goes on from the epoch that this cluster's own fence already carries.
    let follows = if intent.cause == Cause::Adopt {
        (next..=Epoch::LAST_ADOPTED).contains(&intent.epoch)
    } else {
        intent.epoch == next
    };
    if !follows {
        return Err(Refusal::Epoch { expected: Epoch(intent.epoch.0.saturating_sub(1)), current: state.epoch });
    }
    if matches!(intent.cause, Cause::Abort { .. }) {
        let back = state.before_open()?;
        return if *back == intent.to { Ok(()) } else { Err(Refusal::NothingToGoBackTo(state.epoch)) };
    }
    if state.service.region(&intent.to).is_none() {
        return Err(Refusal::NoRegion { service: intent.service.clone(), region: intent.to.clone() });
    }
    if state.target() == Some(&intent.to) {
        return Err(Refusal::no_move(state, &intent.to));
    }
    match intent.cause {
        Cause::Adopt if !adopting => Err(Refusal::Adopted),
        Cause::Failback if state.open.is_some() => Err(Refusal::SwitchOpen(state.epoch)),
        Cause::Failback if !state.prefers(&intent.to) => Err(Refusal::Rule {
            rule: Rule::Failback,
            figure: format!("{} is not preferred to the active region", intent.to),
        }),
        // Revisions are made by `ApplyService` itself.
        Cause::Revise { .. } => Err(Refusal::NotOpen(intent.epoch)),
        _ => Ok(()),
    }
}

/// The state of a service whose file changed.
fn revise(
    before: &ServiceState,
    service: &Service,
    source: &str,
    stamp: Stamp,
    by: &str,
) -> Result<ServiceState, Refusal> {
    if let Some(open) = &before.open {
        return Err(Refusal::SwitchOpen(open.epoch));
    }
    let mut state = before.clone();
    state.service = service.clone();
    source.clone_into(&mut state.source);
    state.revision = stamp.index;
    state.verdicts.retain(|region, _| service.region(region).is_some());
    // What was measured of another table says nothing.
    let table = |of: &Service, region: &RegionName| of.region(region).and_then(|region| region.dynamodb.clone());
    let same = |region: &RegionName| table(service, region) == table(&before.service, region);
    state.gauges.retain(|region, of| same(region) && same(&of.gauge.through));
    let Some(active) = before.active.clone() else { return Ok(state) };
    let answers = |service: &Service| {
        let region = service.region(&active)?;
        Some(service.records.iter().map(|r| (r.clone(), service.rrset(r, region))).collect::<Vec<_>>())
    };
    let wanted = answers(service).ok_or_else(|| Refusal::ActiveRegionRemoved(active.clone()))?;
    if answers(&before.service) != Some(wanted) {
        state.epoch = before.epoch.next();
        state.open = Some(Switch {
            epoch: state.epoch,
            from: Some(active.clone()),
            to: active,
            cause: Cause::Revise { by: by.to_owned() },
            authorised: stamp,
            written: None,
            observed: None,
            superseded: None,
            evidence: Evidence::default(),
        });
    }
    Ok(state)
}
