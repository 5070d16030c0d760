//! How long the verdicts stand by themselves: what spares a steady state the count of every region at every entry.
//!
//! A verdict moves when an opinion does, and opinions move with news, with the term, with the electorate, with a service's
//! file, or by growing too old. An entry that brings none of the first four is *quiet*; the fifth has a known earliest
//! instant. Until then a quiet entry leaves every verdict as it is, and nothing is counted anew.

use std::time::Duration;

use super::{
    names::LogTime,
    report::Report,
    state::{Action, Command, Position, State},
};

/// Remembered, not replicated: it follows from the state, so that a node that starts without it decides alike.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Calm {
    /// The last instant at which every opinion that counted at the last count still counts.
    until: LogTime,
    /// The shortest time for which an observation counts.
    ttl: Duration,
}

impl PartialEq for Calm {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Calm {}

impl State {
    /// Whether the verdicts stand at `now` if all that happens until then is quiet.
    pub(super) fn calm_at(&self, now: LogTime) -> bool {
        now <= self.calm.until
    }

    /// Whether the command brings nothing that could move a verdict but the passing of time. Asked before it is applied.
    pub(super) fn is_quiet(&self, position: Position, command: &Command) -> bool {
        let nothing = match &command.action {
            Action::Tick | Action::Gauges(_) => true,
            Action::Reports(reports) => reports.iter().all(|report| self.says_nothing(report)),
            _ => false,
        };
        nothing && position.term == self.position.term
    }

    /// A change on a view that counts already, without a change.
    fn says_nothing(&self, report: &Report) -> bool {
        let empty = report.runs.is_empty() && report.lost.is_empty() && report.blind.is_none();
        let view = self.views.get(&report.node).filter(|view| view.blind.is_none());
        // What had grown too old would count again.
        let counts = view.is_some_and(|view| self.log_time <= view.logged.after(self.calm.ttl));
        report.base.is_some() && empty && counts
    }

    /// What is to be remembered of a count made now.
    pub(super) fn take_calm(&self) -> Calm {
        let probes = self.services.values().flat_map(|service| {
            service.service.regions.iter().flat_map(|region| &region.probes).map(|probe| service.ttl(probe))
        });
        let (ttl, longest) =
            probes.fold((Duration::MAX, Duration::ZERO), |(low, high), ttl| (low.min(ttl), high.max(ttl)));
        let mut until = LogTime(u64::MAX);
        for view in self.voters.keys().filter_map(|node| self.current_view(*node)) {
            if self.log_time <= view.logged.after(ttl) {
                until = until.min(view.logged.after(ttl));
            } else if self.log_time <= view.logged.after(longest) {
                // Part of it is too old and part is not: count at every entry while that lasts.
                return Calm { until: LogTime(0), ttl };
            }
        }
        Calm { until, ttl }
    }
}
