//! Why a switch is or is not due, in words that an operator can act on.

use std::{collections::BTreeMap, time::Duration};

use super::{
    earliest::{earliest_of, held_by},
    names::{LogTime, NodeId, RegionName, ServiceName, Site},
    opinion::{Held, Opinion},
    refusal::Refusal,
    report::{Outcome, Sight},
    safety::{Rule, RuleReading},
    seal::digest,
    service::Probe,
    state::{ServiceState, State},
    switch::{Evidence, Intent, RegionEvidence, RunEvidence, SightEvidence, Vote},
};

/// The answer to "why does it not switch?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The switch in question; `None` while the record is not adopted, and when the region asked for is the active one.
    pub intent: Option<Intent>,
    /// Every rule for it.
    pub rules: Vec<Explained>,
    /// It would be authorised now.
    pub due: bool,
    /// When it could be at the earliest, as things stand; `None` when time alone does not bring it.
    pub due_at: Option<LogTime>,
    /// When it could be if the sites observe what it takes from now on; `None` while it waits for a person or an event.
    pub earliest: Option<LogTime>,
    /// The rule that holds it longest: what waits for a person or an event, else what clears last.
    pub held_by: Option<Rule>,
    /// One sentence.
    pub conclusion: String,
}

/// A rule's reading, and when it could pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What it says now.
    pub reading: RuleReading,
    /// When it could pass at the earliest; `None` when it passes already, or waits for a person or an event.
    pub earliest: Option<LogTime>,
}

/// A site's opinion of a region, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteVote {
    /// The site.
    pub site: Site,
    /// What it holds.
    pub opinion: Opinion,
    /// Why.
    pub reason: String,
}

/// A span as a person says it: `850 ms`, `4.2 s`, `4 m 12 s`, `2 h 5 m`.
#[must_use]
pub fn words(span: Duration) -> String {
    let ms = span.as_millis();
    let (s, m, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match () {
        () if ms < 1000 => format!("{ms} ms"),
        () if s < 60 && ms % 1000 < 50 => format!("{s} s"),
        () if s < 60 => format!("{s}.{} s", ms % 1000 / 100),
        () if m < 60 && s % 60 == 0 => format!("{m} m"),
        () if m < 60 => format!("{m} m {} s", s % 60),
        () if m % 60 == 0 => format!("{h} h"),
        () => format!("{h} h {} m", m % 60),
    }
}

impl Explanation {
    /// There is no switch to speak of.
    fn alone(conclusion: String) -> Self {
        let (due_at, earliest, held_by) = (None, None, None);
        Self { intent: None, rules: vec![], due: false, due_at, earliest, held_by, conclusion }
    }
}

impl State {
    /// Explains a service's next switch, to `to` or to the candidate.
    #[must_use]
    pub fn explain(&self, name: &ServiceName, to: Option<&RegionName>) -> Option<Explanation> {
        let state = self.services.get(name)?;
        let Some(active) = state.target() else {
            let why =
                state.trouble.as_deref().or(state.drift.as_deref()).unwrap_or("its provider has not been read yet");
            return Some(Explanation::alone(format!("the record is not adopted yet, nothing was written: {why}")));
        };
        if let Some(to) = to.filter(|to| *to == active) {
            return Some(Explanation::alone(Refusal::no_move(state, to).to_string()));
        }
        let intent = self.in_question(name, state, to)?;
        let rules = self.assess(&intent);
        let due = rules.iter().all(RuleReading::permits);
        let holding: Vec<_> = rules.iter().filter(|reading| !reading.permits()).collect();
        let due_at = holding.iter().map(|reading| reading.clears_at).collect::<Option<Vec<_>>>();
        let due_at = due_at.and_then(|at| at.into_iter().max()).filter(|_| !due);
        let forming = due_at.is_none()
            && (self.is_failing_somewhere(state, active) || !holding.iter().any(|of| of.rule == Rule::ActiveDown));
        let mut said: Vec<String> = vec![];
        if !rules.iter().any(|reading| reading.rule == Rule::ActiveDown) {
            let tally = self.tally(state, active);
            said.push(format!("{} of {} sites say {active} is down, {} needed", tally.down, tally.sites, tally.needed));
        }
        said.extend(rules.iter().filter(|reading| said_of(reading)).map(|reading| match reading.rule {
            Rule::ActiveDown | Rule::CandidateUp => reading.figure.clone(),
            Rule::GateLag if reading.permits() => format!("{} {} passes", reading.rule, reading.figure),
            rule => format!("{rule} {}", reading.figure),
        }));
        let rules: Vec<_> = rules.into_iter().map(|reading| self.with_earliest(state, &intent, reading)).collect();
        let earliest = earliest_of(&rules, self.log_time);
        let end = match (&state.open, due, due_at) {
            (Some(open), ..) => format!("epoch {} is under way to {}", open.epoch, open.to),
            (None, true, _) => format!("switch to {} is due now", intent.to),
            (None, false, Some(at)) => {
                format!("switch to {} due in {}", intent.to, words(at.since(self.log_time)))
            }
            (None, false, None) => match earliest.filter(|_| forming) {
                Some(at) => {
                    let left = words(at.since(self.log_time));
                    format!("no switch, {active} stays; one to {} could come in {left} at the earliest", intent.to)
                }
                None => format!("no switch, {active} stays"),
            },
        };
        let conclusion = format!("{}: {end}", said.join("; "));
        let held_by = held_by(&rules);
        Some(Explanation { intent: Some(intent), rules, due, due_at, earliest, held_by, conclusion })
    }

    /// Each site's opinion of a region, with its reason.
    #[must_use]
    pub fn site_votes(&self, state: &ServiceState, region: &RegionName) -> Vec<SiteVote> {
        let by_site = self.site_opinions(state, region);
        let vote = |(site, opinion): (&Site, Opinion)| {
            let nodes = self.voters.iter().filter(|(_, of)| *of == site).map(|(node, _)| *node);
            let reasons: Vec<_> = nodes.map(|node| self.reason(node, state, region)).collect();
            SiteVote { site: site.clone(), opinion, reason: reasons.join("; ") }
        };
        by_site.into_iter().map(vote).collect()
    }

    /// What a switch of this service rests on now.
    #[must_use]
    pub fn evidence(&self, state: &ServiceState, rules: Vec<RuleReading>) -> Evidence {
        let of_region = |name: &RegionName| RegionEvidence {
            tally: self.tally(state, name),
            votes: self.voters.iter().map(|(node, site)| self.vote(*node, site, state, name)).collect(),
        };
        let regions = state.service.regions.iter().map(|region| (region.name.clone(), of_region(&region.name)));
        Evidence {
            revision: state.revision,
            electorate: self.voters.clone(),
            regions: regions.collect(),
            rules,
            receipts: BTreeMap::new(),
            answers: vec![],
            file: digest(state.source.as_bytes()),
            sight: self.sights(),
            lost_writes: None,
        }
    }

    /// What each voter that was heard in this term says of its own sight.
    #[must_use]
    pub fn sights(&self) -> BTreeMap<NodeId, SightEvidence> {
        let sight = |(node, site): (&NodeId, &Site)| {
            let view = self.views.get(node).filter(|view| view.term == self.position.term)?;
            let Sight { controls, peers } = view.sight.clone().unwrap_or_default();
            Some((*node, SightEvidence { site: site.clone(), blind: view.blind.clone(), controls, peers }))
        };
        self.voters.iter().filter_map(sight).collect()
    }

    fn vote(&self, node: NodeId, site: &Site, state: &ServiceState, region: &RegionName) -> Vote {
        let view = self.views.get(&node);
        let runs = self.held(node, state, region).enumerate().filter_map(|(probe, (_, held))| {
            let held = held?;
            Some(RunEvidence {
                probe,
                outcome: held.outcome,
                count: held.count,
                term: view.map_or(0, |view| view.term),
                index: held.index,
                reason: held.reason.clone(),
            })
        });
        Vote {
            node,
            site: site.clone(),
            opinion: self.node_opinion(node, state, region),
            reason: self.reason(node, state, region),
            runs: runs.collect(),
        }
    }

    /// The probes of a region, and what is held of a node's runs of each.
    pub(super) fn held<'a>(
        &'a self,
        node: NodeId,
        state: &'a ServiceState,
        region: &RegionName,
    ) -> impl Iterator<Item = (&'a Probe, Option<&'a Held>)> {
        let i = state.service.regions.iter().position(|of| of.name == *region);
        let probes = i.map(|i| state.service.regions[i].probes.iter().zip(&state.endpoints[i])).into_iter().flatten();
        let view = self.views.get(&node);
        probes.map(move |(probe, id)| (probe, view.and_then(|view| view.runs.get(id))))
    }

    /// Why a node holds what it holds, in words.
    fn reason(&self, node: NodeId, state: &ServiceState, region: &RegionName) -> String {
        let Some(view) = self.views.get(&node) else { return "has not reported yet".into() };
        if view.term != self.position.term {
            return "has not reported since the election".into();
        }
        if let Some(blind) = &view.blind {
            return format!("blind: {blind}");
        }
        let silent = self.log_time.since(view.logged);
        let mut passing = 0;
        for (probe, held) in self.held(node, state, region) {
            match held {
                None => return "has not probed it yet".into(),
                Some(_) if silent > state.ttl(probe) => return format!("silent for {}", words(silent)),
                Some(held) if held.outcome == Outcome::Fail => {
                    let fall = state.service.policy.fall;
                    return format!("{} of {fall} failures: {}", held.count.min(fall), held.reason);
                }
                Some(held) if held.opinion != Opinion::Up => {
                    return format!("{} of {} successes", held.count, state.service.policy.rise);
                }
                Some(_) => passing += 1,
            }
        }
        format!("{passing} of {passing} probes pass")
    }
}

/// What the sentence mentions: the counts always, a rule only when it holds or is a figure worth knowing.
fn said_of(reading: &RuleReading) -> bool {
    matches!(reading.rule, Rule::ActiveDown | Rule::GateLag) || !reading.permits()
}
