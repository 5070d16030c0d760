//! What the sites saw of each region, undamped: whether a majority's last observations pass or fail. No policy is in it, so that all
//! policies are judged by the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Step;
use crate::{
    core::{
        names::{EndpointId, LogTime, NodeId, RegionName, ServiceName, Site},
        opinion::Opinion,
        report::{Outcome, Report},
        state::{Action, State},
        switch::Stamp,
    },
    history::Record,
};

/// What most sites' last observations of a region say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Passing,
    Failing,
    /// No majority either way.
    Unclear,
}

/// The run that an endpoint is in, as one node sees it.
#[derive(Debug, Clone, Copy)]
struct Current {
    number: u32,
    outcome: Outcome,
    /// When its first observation was made, as far as that was told.
    since: LogTime,
}

type Key = (ServiceName, RegionName);

/// All sites' views, and how the majority turned.
#[derive(Debug, Default)]
pub(super) struct Sight {
    current: BTreeMap<NodeId, BTreeMap<EndpointId, Current>>,
    /// Whose each endpoint is, and its interval.
    owners: BTreeMap<EndpointId, (Key, Duration)>,
    catalogue_at: Option<u64>,
    /// How each region turned, in order.
    pub turns: BTreeMap<Key, Vec<(Stamp, Seen)>>,
}

impl Sight {
    /// Takes what the recording says next; `state` is the state after it.
    pub(super) fn take(&mut self, step: &Step, state: &State) {
        let stamp = |wall| {
            let position = state.position;
            Stamp { at: state.log_time, wall, term: position.term, index: position.index }
        };
        match step {
            Step::State(Record::State { wall, .. }) => {
                self.begin(state);
                self.count(stamp(*wall), state, None);
            }
            Step::Next(Record::Entry { command, .. }) => {
                let follow = self.catalogue_at != Some(state.catalogue_at);
                if follow {
                    self.follow(state);
                }
                let mut touched = BTreeSet::new();
                if let Action::Reports(reports) = &command.action {
                    for report in reports.iter().filter(|report| taken(state, report)) {
                        self.hear(report, state.log_time, &mut touched);
                    }
                }
                if follow {
                    self.count(stamp(command.wall), state, None);
                } else if !touched.is_empty() {
                    self.count(stamp(command.wall), state, Some(&touched));
                }
            }
            _ => {}
        }
    }

    /// The recording ends here.
    pub(super) fn end(&mut self, last: Stamp) {
        for turns in self.turns.values_mut() {
            if let Some((_, seen)) = turns.last().copied() {
                turns.push((last, seen));
            }
        }
    }

    /// When the first failing observation was made that is under the opinions of those who now say that the region is down.
    pub(super) fn failing_since(&self, state: &State, service: &ServiceName, region: &RegionName) -> Option<LogTime> {
        let of = state.services.get(service)?;
        let endpoints = &of.endpoints[of.service.regions.iter().position(|r| r.name == *region)?];
        let deciding = state.voters.keys().filter(|node| state.node_opinion(**node, of, region) == Opinion::Down);
        let runs = deciding.filter_map(|node| self.current.get(node));
        let failing = runs.flat_map(|runs| endpoints.iter().filter_map(|id| runs.get(id)));
        failing.filter(|run| run.outcome == Outcome::Fail).map(|run| run.since).min()
    }

    /// What the state holds, with the runs as long as it knows.
    fn begin(&mut self, state: &State) {
        self.follow(state);
        self.current.clear();
        for (node, view) in &state.views {
            let of = |(id, held): (&EndpointId, &crate::core::opinion::Held)| {
                let interval = self.owners.get(id).map(|(_, interval)| *interval).unwrap_or_default();
                let since = began(held.at, held.count, interval);
                (*id, Current { number: held.number, outcome: held.outcome, since })
            };
            self.current.insert(*node, view.runs.iter().map(of).collect());
        }
    }

    fn follow(&mut self, state: &State) {
        self.catalogue_at = Some(state.catalogue_at);
        let of = |endpoint: crate::core::report::Endpoint| {
            (endpoint.id, ((endpoint.service, endpoint.region), endpoint.probe.interval))
        };
        self.owners = state.catalogue().endpoints.into_iter().map(of).collect();
    }

    fn hear(&mut self, report: &Report, now: LogTime, touched: &mut BTreeSet<Key>) {
        let runs = self.current.entry(report.node).or_default();
        let mut touch = |id: &EndpointId| touched.extend(self.owners.get(id).map(|(key, _)| key.clone()));
        if report.blind.is_some() {
            runs.keys().for_each(&mut touch);
            runs.clear();
            return;
        }
        if report.base.is_none() {
            let named: BTreeSet<_> = report.runs.iter().map(|run| run.endpoint).collect();
            runs.keys().filter(|id| !named.contains(id)).for_each(&mut touch);
            runs.retain(|id, _| named.contains(id));
        }
        for lost in &report.lost {
            touch(lost);
            runs.remove(lost);
        }
        for run in &report.runs {
            touch(&run.endpoint);
            let before = runs.get(&run.endpoint);
            let same = before.filter(|before| before.number == run.number && before.outcome == run.outcome);
            let interval = self.owners.get(&run.endpoint).map(|(_, interval)| *interval).unwrap_or_default();
            let since = same.map_or_else(|| began(now, run.count, interval), |same| same.since);
            runs.insert(run.endpoint, Current { number: run.number, outcome: run.outcome, since });
        }
    }

    fn count(&mut self, stamp: Stamp, state: &State, only: Option<&BTreeSet<Key>>) {
        for (name, service) in &state.services {
            for (region, endpoints) in service.service.regions.iter().zip(&service.endpoints) {
                let key = (name.clone(), region.name.clone());
                if only.is_some_and(|only| !only.contains(&key)) {
                    continue;
                }
                let seen = self.seen(state, endpoints);
                let turns = self.turns.entry(key).or_default();
                if turns.last().is_none_or(|(_, last)| *last != seen) {
                    turns.push((stamp, seen));
                }
            }
        }
    }

    fn seen(&self, state: &State, endpoints: &[EndpointId]) -> Seen {
        let mut sites: BTreeMap<&Site, Vec<Seen>> = BTreeMap::new();
        for (node, site) in &state.voters {
            let runs = self.current.get(node);
            let outcomes: Vec<_> =
                endpoints.iter().map(|id| runs.and_then(|runs| runs.get(id)).map(|run| run.outcome)).collect();
            let seen = if outcomes.contains(&Some(Outcome::Fail)) {
                Seen::Failing
            } else if outcomes.iter().all(Option::is_some) {
                Seen::Passing
            } else {
                Seen::Unclear
            };
            sites.entry(site).or_default().push(seen);
        }
        let all = |wanted: Seen| sites.values().filter(|of| of.iter().all(|seen| *seen == wanted)).count();
        if all(Seen::Failing) * 2 > sites.len() {
            Seen::Failing
        } else if all(Seen::Passing) * 2 > sites.len() {
            Seen::Passing
        } else {
            Seen::Unclear
        }
    }
}

/// Whether the state took the report.
fn taken(state: &State, report: &Report) -> bool {
    state.views.get(&report.node).is_some_and(|view| view.seq >= report.seq && view.term == state.position.term)
}

/// When the first of `count` observations was made of which the last was told at `told`.
fn began(told: LogTime, count: u32, interval: Duration) -> LogTime {
    let before = interval.saturating_mul(count.saturating_sub(1)).as_millis();
    LogTime(told.0.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX)))
}
