//! When a switch could come at the earliest: what time alone brings, and what the observations could bring.
//!
//! For the observations it is a lower bound from what the log holds. A run of `n` equal outcomes at a site becomes an opinion
//! with the `fall`th (or `rise`th); the next one cannot be complete before the probe that comes an interval after the last, and
//! that one may have taken a whole timeout before it was told. A report that is on its way is not known here: it may
//! make the instant earlier by as long as it travels.

use std::collections::BTreeSet;

use super::{
    explain::Explained,
    names::{LogTime, NodeId, RegionName, Site},
    opinion::{Held, Opinion, View},
    report::Outcome,
    safety::{Rule, RuleReading},
    service::Probe,
    state::{ServiceState, State},
    switch::Intent,
};

impl State {
    /// The reading with the earliest instant at which its rule could let the switch through.
    pub(super) fn with_earliest(&self, service: &ServiceState, intent: &Intent, reading: RuleReading) -> Explained {
        let rising = || self.quorum_at(service, &intent.to, Opinion::Up);
        let earliest = match reading.rule {
            _ if reading.permits() => None,
            Rule::ActiveDown => service.target().and_then(|active| self.quorum_at(service, active, Opinion::Down)),
            Rule::CandidateUp => rising(),
            Rule::Dwell if reading.clears_at.is_none() => rising().map(|at| at.after(service.service.policy.dwell)),
            _ => reading.clears_at,
        };
        Explained { reading, earliest }
    }

    /// Whether any site has begun to see the region fail.
    pub(super) fn is_failing_somewhere(&self, service: &ServiceState, region: &RegionName) -> bool {
        self.voters.keys().filter(|node| self.current_view(**node).is_some()).any(|node| {
            self.held(*node, service, region).any(|(_, held)| held.is_some_and(|held| held.outcome == Outcome::Fail))
        })
    }

    /// The earliest instant at which a quorum of sites could hold this of a region; `None` while there is no quorum.
    fn quorum_at(&self, service: &ServiceState, region: &RegionName, wanted: Opinion) -> Option<LogTime> {
        let needed = self.tally(service, region).needed;
        let sites: BTreeSet<&Site> = self.voters.values().collect();
        let site_at = |site: &Site| {
            let nodes = self.voters.iter().filter(|(_, of)| *of == site).map(|(node, _)| *node);
            // A site holds what all its nodes hold.
            nodes.map(|node| self.node_at(node, service, region, wanted)).max().unwrap_or(self.log_time)
        };
        let mut instants: Vec<_> = sites.into_iter().map(site_at).collect();
        instants.sort_unstable();
        instants.get(usize::try_from(needed).ok()?.checked_sub(1)?).copied()
    }

    fn node_at(&self, node: NodeId, service: &ServiceState, region: &RegionName, wanted: Opinion) -> LogTime {
        let now = self.log_time;
        // The first report of a term tells whole runs: it may bring the opinion at once.
        let view = self.views.get(&node).filter(|view| view.term == self.position.term);
        let Some(view) = view.filter(|_| self.node_opinion(node, service, region) != wanted) else { return now };
        let probes = self.held(node, service, region);
        let instants = probes.map(|(probe, held)| self.probe_at(service, view, probe, held, wanted));
        // One probe that fails makes a region down, all that pass make it up.
        let at = if wanted == Opinion::Down { instants.min() } else { instants.max() };
        at.unwrap_or(now)
    }

    fn probe_at(
        &self,
        service: &ServiceState,
        view: &View,
        probe: &Probe,
        held: Option<&Held>,
        wanted: Opinion,
    ) -> LogTime {
        let policy = &service.service.policy;
        let (outcome, threshold) =
            if wanted == Opinion::Down { (Outcome::Fail, policy.fall) } else { (Outcome::Pass, policy.rise) };
        let after = |from: LogTime, probes: u32| {
            let span = probe.interval.saturating_mul(probes).saturating_sub(probe.timeout);
            from.after(span).max(self.log_time)
        };
        match held.filter(|_| view.blind.is_none()) {
            Some(held) if held.opinion == wanted => self.log_time,
            Some(held) if held.outcome == outcome => after(held.at, threshold.saturating_sub(held.count)),
            // The first of them may be complete at any moment.
            _ => after(self.log_time, threshold.saturating_sub(1)),
        }
    }
}

/// What holds the switch longest: what no time brings, else what comes last.
pub(super) fn held_by(rules: &[Explained]) -> Option<Rule> {
    let holding: Vec<_> = rules.iter().filter(|of| !of.reading.permits()).collect();
    let never = holding.iter().find(|of| of.earliest.is_none());
    never.or(holding.iter().max_by_key(|of| of.earliest)).map(|of| of.reading.rule)
}

/// When all of them could let it through: now if they do, never (`None`) while one waits for a person or an event.
pub(super) fn earliest_of(rules: &[Explained], now: LogTime) -> Option<LogTime> {
    let instants = rules.iter().map(|of| if of.reading.permits() { Some(now) } else { of.earliest });
    instants.collect::<Option<Vec<_>>>()?.into_iter().max()
}
