//! Whether a switch is what the protocol makes of its own evidence: the votes are counted again with the product's core.
//!
//! What is left to the node's word: the figures of rules that rest on what is not in the evidence (budget, breaker, gates), and
//! what a site saw.

use std::collections::BTreeMap;

use super::sums::Wrong;
use crate::core::{
    names::Site,
    opinion::Opinion,
    report::Outcome,
    safety::{Rule, RuleOutcome, RuleReading},
    service::{GateUnknown, Region, Service},
    switch::{Cause, RegionEvidence, Stamp, Switch, Vote},
    verdict::{Tally, Verdict},
};

/// What an automatic switch must have passed.
const AUTOMATIC: [Rule; 8] = [
    Rule::CandidateUp,
    Rule::Frozen,
    Rule::Cooldown,
    Rule::Budget,
    Rule::Breaker,
    Rule::SharedDependency,
    Rule::Drift,
    Rule::Window,
];

struct Judge<'a> {
    service: &'a Service,
    switch: &'a Switch,
    wrong: Vec<Wrong>,
}

/// Everything about a switch that does not fit the rest of it, or the switch before it.
pub(super) fn judge(service: &Service, before: Option<&Switch>, switch: &Switch) -> Vec<Wrong> {
    let mut judge = Judge { service, switch, wrong: vec![] };
    judge.stamps();
    judge.regions();
    judge.rules();
    if let Some(before) = before {
        judge.succession(before);
    }
    judge.wrong
}

impl Judge<'_> {
    fn must(&mut self, holds: bool, at: impl Into<String>, what: impl Into<String>) {
        if !holds {
            self.wrong.push((at.into(), what.into()));
        }
    }

    /// Authorised, then written, then observed or superseded, each at its place in the log.
    fn stamps(&mut self) {
        let Switch { authorised, written, observed, superseded, .. } = self.switch;
        self.must(observed.is_some() != superseded.is_some(), "/observed", "a sealed switch is observed or superseded");
        self.must(observed.is_none() || written.is_some(), "/written", "what was observed was written before");
        let follows =
            |early: &Stamp, late: &Stamp| late.index > early.index && late.term >= early.term && late.at >= early.at;
        let mut last = authorised;
        for (at, stamp) in [("/written", written), ("/observed", observed), ("/superseded", superseded)] {
            let Some(stamp) = stamp else { continue };
            self.must(follows(last, stamp), at, "lies before what it follows");
            last = stamp;
        }
        let told = written.is_none() || !self.switch.evidence.receipts.is_empty();
        self.must(told, "/evidence/receipts", "what was written has no receipt");
    }

    /// Each region's votes, counted again.
    fn regions(&mut self) {
        let Switch { to, evidence, .. } = self.switch;
        self.must(self.service.region(to).is_some(), "/to", "the service file has no such region");
        let named = self.service.regions.iter().map(|region| &region.name);
        let known = named.clone().all(|name| evidence.regions.contains_key(name));
        let same = known && named.count() == evidence.regions.len();
        self.must(same, "/evidence/regions", "are not those of the service file");
        for (name, held) in &evidence.regions {
            let at = format!("/evidence/regions/{name}");
            let Some(region) = self.service.region(name) else { continue };
            let nodes = held.votes.iter().map(|vote| (vote.node, vote.site.clone()));
            self.must(nodes.eq(evidence.electorate.clone()), at.clone(), "the votes are not those of the electorate");
            for vote in &held.votes {
                if let Some(what) = self.doubtful(region, vote) {
                    self.must(false, at.clone(), format!("node {}'s vote: {what}", vote.node));
                }
            }
            let counted = self.count(held);
            let what =
                format!("the votes come to {} up and {} down, {} needed", counted.up, counted.down, counted.needed);
            self.must(counted == held.tally, at, what);
        }
    }

    /// One opinion a site, by the quorum of the policy.
    fn count(&self, held: &RegionEvidence) -> Tally {
        let mut by_site: BTreeMap<&Site, Vec<Opinion>> = BTreeMap::new();
        for vote in &held.votes {
            by_site.entry(&vote.site).or_default().push(vote.opinion);
        }
        let opinions = by_site.into_iter().map(|(site, opinions)| (site, Opinion::agreed(opinions))).collect();
        Tally::of(&opinions, self.service.policy.quorum)
    }

    /// What an opinion cannot rest on (invariants 3 and 4).
    fn doubtful(&self, region: &Region, vote: &Vote) -> Option<&'static str> {
        let Switch { authorised, evidence, .. } = self.switch;
        if vote.runs.iter().any(|run| run.index >= authorised.index || run.probe >= region.probes.len()) {
            return Some("a run is of no probe, or of after the switch");
        }
        if vote.opinion == Opinion::Unknown {
            return None;
        }
        if evidence.sight.get(&vote.node).is_some_and(|sight| sight.blind.is_some()) {
            return Some("a blind node holds no opinion");
        }
        if vote.runs.iter().any(|run| run.term != authorised.term) {
            return Some("a run of another term counts");
        }
        let policy = &self.service.policy;
        let settled =
            |outcome, least| move |run: &crate::core::switch::RunEvidence| run.outcome == outcome && run.count >= least;
        let all_up =
            vote.runs.len() == region.probes.len() && vote.runs.iter().all(settled(Outcome::Pass, policy.rise));
        let some_down = vote.runs.iter().any(settled(Outcome::Fail, policy.fall));
        match vote.opinion {
            Opinion::Up if vote.runs.len() < region.probes.len() => Some("up without a run of each probe"),
            Opinion::Up if some_down => Some("up with failures enough to be down"),
            Opinion::Down if vote.runs.is_empty() => Some("down without a run"),
            Opinion::Down if all_up => Some("down with successes enough to be up"),
            _ => None,
        }
    }

    /// Every rule let it through, and those that rest on the votes say what the votes say.
    fn rules(&mut self) {
        let Switch { from, to, cause, evidence, .. } = self.switch;
        let mut needed = if cause.is_automatic() { AUTOMATIC.to_vec() } else { vec![] };
        match cause {
            Cause::Failover => needed.push(Rule::ActiveDown),
            Cause::Failback => needed.extend([Rule::Failback, Rule::Dwell]),
            Cause::Manual { .. } => needed.extend([Rule::CandidateUp, Rule::Cooldown, Rule::Drift]),
            Cause::Abort { .. } => needed.push(Rule::CandidateUp),
            Cause::Adopt | Cause::Revise { .. } => {}
        }
        let table = self.service.region(to).is_some_and(|region| region.dynamodb.is_some());
        if table && !needed.is_empty() {
            needed.extend([Rule::GateReplica, Rule::GateLag]);
        }
        for rule in needed {
            let read = evidence.rules.iter().any(|reading| reading.rule == rule);
            self.must(read, "/evidence/rules", format!("`{rule}` was not asked"));
        }
        for (i, reading) in evidence.rules.iter().enumerate() {
            let at = format!("/evidence/rules/{i}");
            self.must(reading.permits(), at.clone(), format!("`{}` held it", reading.rule));
            self.must(self.may_override(reading), at.clone(), format!("`{}` was overridden by nobody", reading.rule));
            let (region, wanted) = match reading.rule {
                Rule::ActiveDown => (from.as_ref(), Verdict::Down),
                Rule::CandidateUp => (Some(to), Verdict::Up),
                _ => continue,
            };
            let verdict = region.and_then(|region| evidence.regions.get(region)).map(|held| self.count(held).verdict());
            let agrees = (verdict == Some(wanted)) == (reading.outcome == RuleOutcome::Pass);
            self.must(agrees, at, format!("`{}` is not what the votes come to", reading.rule));
        }
    }

    fn may_override(&self, reading: &RuleReading) -> bool {
        let waived = reading.outcome == RuleOutcome::Unknown && self.service.policy.gate_unknown == GateUnknown::Pass;
        !reading.overridden || waived || self.switch.cause.overrides(reading.rule)
    }

    /// The epoch after the one before, from where that led, no sooner than the cooldown (invariants 1 and 11).
    fn succession(&mut self, before: &Switch) {
        let Switch { epoch, from, cause, authorised, .. } = self.switch;
        let adopts = *cause == Cause::Adopt;
        let next = if adopts { *epoch > before.epoch } else { *epoch == before.epoch.next() };
        self.must(next, "/epoch", format!("does not follow epoch {}", before.epoch));
        let from_there = if adopts { from.is_none() } else { from.as_ref() == Some(&before.to) };
        self.must(from_there, "/from", format!("epoch {} led to {}", before.epoch, before.to));
        let ended = before.superseded.or(before.observed).unwrap_or(before.authorised);
        let after = match before.superseded {
            Some(superseded) => superseded == *authorised,
            None => authorised.index > ended.index && authorised.term >= ended.term && authorised.at >= ended.at,
        };
        self.must(after, "/authorised", format!("lies before the end of epoch {}", before.epoch));
        let passed = |reading: &RuleReading| reading.rule == Rule::Cooldown && reading.outcome == RuleOutcome::Pass;
        let cools = before.cause.is_automatic() || matches!(before.cause, Cause::Manual { .. } | Cause::Abort { .. });
        if cools && self.switch.evidence.rules.iter().any(passed) {
            let since = if before.superseded.is_some() { before.authorised.at } else { ended.at };
            // The policy may have been another when the cooldown began: the shorter one that is known is asked for.
            let cooldown = self.service.policy.cooldown;
            let same = before.evidence.file == self.switch.evidence.file;
            self.must(!same || authorised.at >= since.after(cooldown), "/evidence/rules", "`cooldown` was not over");
        }
    }
}
