//! What a node would have told had more counts been news: runs grow by one an interval while nothing else is said of them.
//!
//! A node tells each count up to the greater of rise and fall, then only the end. Where the policy that is tried needs more, the
//! reports are told anew with the counts in between: never more than an interval each allows since the last that was told, and
//! never more than the run came to in the end.

use std::{collections::BTreeMap, time::Duration};

use super::past::Past;
use crate::core::{
    names::{EndpointId, LogTime, NodeId},
    report::{Report, Run},
    state::State,
};

/// A run that goes on, of which more counts are to be told.
#[derive(Debug)]
struct Growing {
    run: Run,
    told: u32,
    at: LogTime,
}

/// How far an endpoint's counts were told, and how far they are needed.
#[derive(Debug, Clone, Copy)]
struct Reach {
    recorded: u32,
    wanted: u32,
    interval: Duration,
}

/// The runs of all nodes that are told anew.
#[derive(Debug, Default)]
pub(super) struct Retell {
    reaches: BTreeMap<EndpointId, Reach>,
    growing: BTreeMap<(NodeId, EndpointId), Growing>,
}

impl Retell {
    /// The endpoints of `state`; `recorded` says how far the nodes told, by service.
    pub(super) fn follow(&mut self, state: &State, recorded: impl Fn(&str) -> Option<u32>) {
        self.reaches.clear();
        for endpoint in state.catalogue().endpoints {
            let (recorded, wanted) = (recorded(endpoint.service.as_str()), endpoint.settle);
            if let Some(recorded) = recorded.filter(|recorded| *recorded < wanted) {
                let interval = endpoint.probe.interval.max(Duration::from_millis(1));
                self.reaches.insert(endpoint.id, Reach { recorded, wanted, interval });
            }
        }
        self.growing.retain(|(_, endpoint), _| self.reaches.contains_key(endpoint));
    }

    /// Whether reports are taken as they are.
    pub(super) fn is_idle(&self) -> bool {
        self.reaches.is_empty()
    }

    /// Nothing is known of any run.
    pub(super) fn forget(&mut self) {
        self.growing.clear();
    }

    /// A report as it would have been.
    pub(super) fn retold(&mut self, report: &Report, now: LogTime, index: u64, past: &Past) -> Report {
        let mut report = report.clone();
        let node = report.node;
        if report.base.is_none() || report.blind.is_some() {
            self.growing.retain(|(of, _), _| *of != node);
        }
        for lost in &report.lost {
            self.growing.remove(&(node, *lost));
        }
        for run in &report.runs {
            let key = (node, run.endpoint);
            match self.reaches.get(&run.endpoint) {
                Some(reach) if (reach.recorded..reach.wanted).contains(&run.count) => {
                    let run = Run { before: None, ..run.clone() };
                    self.growing.insert(key, Growing { told: run.count, run, at: now });
                }
                _ => drop(self.growing.remove(&key)),
            }
        }
        let named: Vec<EndpointId> = report.runs.iter().map(|run| run.endpoint).collect();
        let mut done = vec![];
        for ((_, endpoint), growing) in self.growing.range_mut((node, EndpointId(0))..=(node, EndpointId(u32::MAX))) {
            let Some(reach) = self.reaches.get(endpoint).filter(|_| !named.contains(endpoint)) else { continue };
            let grown = now.since(growing.at).as_millis() / reach.interval.as_millis();
            let count = growing.run.count.saturating_add(u32::try_from(grown).unwrap_or(u32::MAX));
            let most = past.final_count(node, *endpoint, growing.run.number, index);
            let count = count.min(reach.wanted).min(most.unwrap_or(u32::MAX));
            if count > growing.told {
                growing.told = count;
                report.runs.push(Run { count, ..growing.run.clone() });
                report.unchanged = report.unchanged.saturating_sub(1);
            }
            if count >= reach.wanted {
                done.push(*endpoint);
            }
        }
        for endpoint in done {
            self.growing.remove(&(node, endpoint));
        }
        report
    }
}
