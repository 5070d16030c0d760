//! The recording as it was: every command applied, every switch that happened, and how long each step of it took.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Step;
use crate::{
    core::{
        names::{EndpointId, Epoch, LogTime, NodeId, RegionName, ServiceName},
        report::Report,
        service::Service,
        state::{Action, Command, Position, Response, State},
        switch::{Cause, Intent, Stamp},
    },
    history::{Damage, Record},
};

/// A switch, from authorised to observed.
#[derive(Debug, Clone)]
pub(super) struct Happened {
    pub service: ServiceName,
    pub epoch: Epoch,
    pub from: Option<RegionName>,
    pub to: RegionName,
    pub cause: Cause,
    pub authorised: Stamp,
    pub written: Option<Stamp>,
    pub observed: Option<Stamp>,
}

/// A stretch for which entries are missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub after: Position,
    pub wall: u64,
    pub until: Option<(Position, u64)>,
}

/// The entry that told of a run's end, the run, and its final count.
type End = (u64, u32, u32);

/// What is known of the recording once it was read.
#[derive(Debug, Default)]
pub(super) struct Past {
    state: Option<State>,
    pub first: Option<Stamp>,
    last: Option<Stamp>,
    pub entries: u64,
    pub reports: u64,
    pub terms: BTreeSet<u64>,
    pub holes: Vec<Hole>,
    pub damage: Vec<Damage>,
    /// A state in it is not what its entries lead to.
    pub diverged: Vec<Position>,
    pub switches: Vec<Happened>,
    /// Which region each record was to answer, since when.
    pub targets: BTreeMap<ServiceName, Vec<(Stamp, Option<RegionName>)>>,
    services: BTreeMap<ServiceName, Service>,
    /// Of each endpoint at each node, in order: the entry that told of a run's end, the run, its final count.
    finals: BTreeMap<(NodeId, EndpointId), Vec<End>>,
}

impl Past {
    pub(super) fn begun(&self) -> bool {
        self.state.is_some()
    }

    /// The services as they were last applied.
    pub(super) fn services(&self) -> &BTreeMap<ServiceName, Service> {
        &self.services
    }

    pub(super) fn last(&self) -> Stamp {
        self.last.unwrap_or(Stamp { at: LogTime(0), wall: 0, term: 0, index: 0 })
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Damage(damage) => self.damage.push(damage),
            Step::Hole { after } => {
                let wall = self.last().wall;
                self.holes.push(Hole { after, wall, until: None });
            }
            Step::Same(record) => {
                if let (Record::State { state, .. }, Some(mine)) = (record, &mut self.state)
                    && *state != *mine
                {
                    self.diverged.push(state.position);
                    *mine = *state;
                }
            }
            Step::State(record) => self.begin(record),
            Step::Next(record) => self.next(record),
        }
    }

    fn begin(&mut self, record: Record) {
        let Record::State { wall, state } = record else { return };
        let stamp = Stamp { at: state.log_time, wall, term: state.position.term, index: state.position.index };
        if let Some(hole) = self.holes.last_mut().filter(|hole| hole.until.is_none()) {
            hole.until = Some((state.position, wall));
        }
        self.first.get_or_insert(stamp);
        self.last = Some(stamp);
        self.terms.extend(Some(stamp.term).filter(|term| *term > 0));
        for (name, service) in &state.services {
            self.services.insert(name.clone(), service.service.clone());
        }
        self.state = Some(*state);
        self.note_targets(stamp);
    }

    fn next(&mut self, record: Record) {
        let wall = record.wall().unwrap_or(self.last().wall);
        let Some(state) = &mut self.state else { return };
        self.entries += 1;
        match record {
            Record::Entry { position, command } => {
                let response = state.apply(position, &command);
                let stamp = Stamp { at: state.log_time, wall, term: position.term, index: position.index };
                self.last = Some(stamp);
                self.learn(stamp, command, &response);
            }
            Record::Term { position } => state.enter_term(position),
            Record::Voters { position, voters } => state.set_voters(position, voters),
            Record::Begin(_) | Record::State { .. } => {}
        }
        if let Some(state) = &self.state {
            self.terms.insert(state.position.term);
        }
    }

    fn learn(&mut self, stamp: Stamp, command: Command, response: &Response) {
        match (command.action.into_plain(), response) {
            (Action::Reports(reports), _) => {
                self.reports += reports.len() as u64;
                for report in &reports {
                    self.ends(stamp.index, report);
                }
            }
            (Action::Authorise(intent), Response::Authorised(_)) => self.opened(stamp, &intent.service),
            (Action::ApplyService { service, .. }, Response::Done) => {
                self.opened(stamp, &service.name);
                self.services.insert(service.name.clone(), *service);
            }
            (Action::Written { service, epoch, .. }, Response::Done) => {
                if let Some(switch) = self.of(&service, epoch) {
                    switch.written = Some(stamp);
                }
            }
            (Action::Observed { service, epoch, .. }, Response::Done) => {
                if let Some(switch) = self.of(&service, epoch) {
                    switch.observed = Some(stamp);
                }
            }
            _ => {}
        }
    }

    fn of(&mut self, service: &ServiceName, epoch: Epoch) -> Option<&mut Happened> {
        self.switches.iter_mut().rev().find(|of| of.service == *service && of.epoch == epoch)
    }

    /// The entry may have opened a switch.
    fn opened(&mut self, stamp: Stamp, service: &ServiceName) {
        let open = self.state.as_ref().and_then(|state| state.services.get(service)?.open.as_ref());
        if let Some(open) = open.filter(|open| open.authorised.index == stamp.index) {
            self.switches.push(Happened {
                service: service.clone(),
                epoch: open.epoch,
                from: open.from.clone(),
                to: open.to.clone(),
                cause: open.cause.clone(),
                authorised: stamp,
                written: None,
                observed: None,
            });
        }
        self.note_targets(stamp);
    }

    fn note_targets(&mut self, stamp: Stamp) {
        if let Some(state) = &self.state {
            note_targets(&mut self.targets, state, stamp);
        }
    }

    fn ends(&mut self, index: u64, report: &Report) {
        for run in &report.runs {
            if let Some(count) = run.before {
                let number = run.number.saturating_sub(1);
                self.finals.entry((report.node, run.endpoint)).or_default().push((index, number, count));
            }
        }
    }

    /// What a run came to that goes on at the entry `index`, if its end was recorded.
    pub(super) fn final_count(&self, node: NodeId, endpoint: EndpointId, number: u32, index: u64) -> Option<u32> {
        let ends = self.finals.get(&(node, endpoint))?;
        let next = ends.partition_point(|(at, ..)| *at <= index);
        ends.get(next).filter(|(_, of, _)| *of == number).map(|(.., count)| *count)
    }

    /// The switch that an entry opened.
    pub(super) fn at(&self, index: u64) -> Option<&Happened> {
        let found = self.switches.binary_search_by_key(&index, |switch| switch.authorised.index);
        found.ok().map(|i| &self.switches[i])
    }

    /// The switch of the same service that followed.
    pub(super) fn next_after(&self, of: &Happened) -> Option<&Happened> {
        let from = self.switches.partition_point(|switch| switch.authorised.index <= of.authorised.index);
        self.switches[from..].iter().find(|switch| switch.service == of.service)
    }

    /// The recorded switch that an automatic intent became, if it did within `span` from `now` on.
    pub(super) fn matching(&self, intent: &Intent, now: LogTime, index: u64, span: Duration) -> Option<&Happened> {
        let from = self.switches.partition_point(|switch| switch.authorised.index <= index);
        let until = now.after(span);
        self.switches[from..]
            .iter()
            .take_while(|switch| switch.authorised.at <= until)
            .find(|switch| switch.service == intent.service && switch.to == intent.to && switch.cause == intent.cause)
    }

    /// From authorised to written and from there to observed: as given, the medians of what was recorded, or half of `default` each.
    pub(super) fn pace(&self, given: Option<Duration>, default: Duration) -> (Duration, Duration) {
        let of = |span: fn(&Happened) -> Option<Duration>| median(self.switches.iter().filter_map(span).collect());
        let wrote = of(|switch| Some(switch.written?.at.since(switch.authorised.at)));
        let observed = of(|switch| Some(switch.observed?.at.since(switch.written?.at)));
        match (given, wrote, observed) {
            (Some(given), ..) => (given / 2, given.saturating_sub(given / 2)),
            (None, Some(wrote), Some(observed)) => (wrote, observed),
            (None, ..) => (default / 2, default / 2),
        }
    }
}

/// Writes down which region each service is to answer, where that changed.
pub(super) fn note_targets(
    targets: &mut BTreeMap<ServiceName, Vec<(Stamp, Option<RegionName>)>>,
    state: &State,
    stamp: Stamp,
) {
    for (name, service) in &state.services {
        let (target, known) = (service.target().cloned(), targets.entry(name.clone()).or_default());
        if known.last().is_none_or(|(_, last)| *last != target) {
            known.push((stamp, target));
        }
    }
}

/// The middle one, the lower of two.
pub(super) fn median(mut spans: Vec<Duration>) -> Option<Duration> {
    spans.sort_unstable();
    let middle = spans.len().checked_sub(1)? / 2;
    spans.get(middle).copied()
}
