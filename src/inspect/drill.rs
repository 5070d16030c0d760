//! A rehearsed switch: everything that a real one would need, put together and judged. Pure.
//!
//! The rules are read as they would be if the active region died now: that it is up is no reason against a rehearsal.

use std::time::Duration;

use super::{Inspected, NodeAnswer, RecordSeen};
use crate::{
    core::{
        explain::words,
        names::{NodeId, Site},
        safety::{Rule, RuleOutcome, RuleReading},
        state::State,
        switch::Intent,
        verdict::Tally,
    },
    dns::Finding,
};

/// What is known when a switch is rehearsed.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    /// The state that was read.
    pub state: &'a State,
    /// The switch that would be proposed.
    pub intent: &'a Intent,
    /// The node that would carry it out, as far as the one that was asked knows.
    pub leader: Option<NodeId>,
    /// How long a quorum took to confirm the leadership, or why none did.
    pub confirmed: Result<Duration, String>,
    /// What each node found.
    pub answers: &'a [NodeAnswer],
}

/// A finding of the rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was found.
    pub finding: Finding,
    /// Who found it; `None`: it follows from the state.
    pub seen_from: Option<(NodeId, Site)>,
    /// About which record.
    pub record: String,
    /// It would stop a real switch.
    pub stops: bool,
}

impl Check {
    fn of_cluster(finding: Finding) -> Self {
        let stops = finding.outcome == RuleOutcome::Fail;
        Self { finding, seen_from: None, record: String::new(), stops }
    }

    fn of_node(of: &NodeAnswer, record: &str, finding: Finding) -> Self {
        let stops = finding.outcome == RuleOutcome::Fail;
        Self { finding, seen_from: Some((of.node, of.site.clone())), record: record.to_owned(), stops }
    }

    /// Worth knowing; by itself it stops nothing.
    fn aside(self) -> Self {
        Self { stops: false, ..self }
    }
}

impl Rehearsal<'_> {
    /// Every finding, in the order in which a switch would meet them.
    #[must_use]
    pub fn judge(&self) -> Vec<Check> {
        let mut checks = vec![self.leadership(), self.under_way()];
        let rules = self.state.rehearse(self.intent);
        checks.extend(rules.iter().map(|reading| Check::of_cluster(rule(reading))));
        checks.extend(self.probes());
        checks.extend(self.records());
        checks.extend(self.nameservers());
        checks
    }

    fn leadership(&self) -> Check {
        const LEADERSHIP: &str = "leadership";
        let leader = self.leader.map_or_else(|| "no leader is known".to_owned(), |id| format!("node {id} leads"));
        Check::of_cluster(match &self.confirmed {
            Ok(took) => Finding::pass(LEADERSHIP, format!("{leader}, a quorum confirmed it in {}", words(*took))),
            Err(why) => {
                Finding::fail(LEADERSHIP, format!("{leader}, no quorum confirms it: {why}"), "`quoratectl member list`")
            }
        })
    }

    fn under_way(&self) -> Check {
        const SWITCH: &str = "switch";
        let service = self.state.services.get(&self.intent.service);
        Check::of_cluster(match service.map(|of| (&of.open, &of.active)) {
            Some((Some(open), _)) => Finding::fail(
                SWITCH,
                format!("epoch {} is under way to {}", open.epoch, open.to),
                "wait until it is observed, or abort it: `quoratectl switch abort`",
            ),
            Some((None, Some(active))) => Finding::pass(
                SWITCH,
                format!("none under way, {active} is active, the next is epoch {}", self.intent.epoch),
            ),
            _ => Finding::fail(SWITCH, "the record is not adopted yet", "`quoratectl explain` says what is in the way"),
        })
    }

    /// Fresh probes: each node's own, and whether they are as many as a verdict needs.
    fn probes(&self) -> Vec<Check> {
        const PROBE: &str = "probe";
        let to = &self.intent.to;
        let Some(service) = self.state.services.get(&self.intent.service) else { return vec![] };
        let votes = self.state.site_votes(service, to);
        let mut checks = vec![];
        let mut reach: std::collections::BTreeMap<&Site, bool> = std::collections::BTreeMap::new();
        for (of, found) in self.found() {
            let failed = found.probes.iter().find_map(|probe| Some((probe.probe, probe.failure.as_ref()?)));
            if of.voter {
                let all = reach.entry(&of.site).or_insert(true);
                *all &= failed.is_none() && !found.probes.is_empty();
            }
            let vote = votes.iter().find(|vote| vote.site == of.site);
            let held = vote.map(|vote| {
                let opinion = format!("{:?}", vote.opinion).to_lowercase();
                format!("; holds it {opinion}: {}", vote.reason)
            });
            let held = held.unwrap_or_default();
            let heard = self.state.views.get(&of.node).map(|view| self.state.log_time.since(view.logged));
            let heard = heard.map(|age| format!(", heard {} ago", words(age))).unwrap_or_default();
            let slowest = found.probes.iter().map(|probe| probe.took).max().unwrap_or_default();
            let finding = match failed {
                None if found.probes.is_empty() => Finding::unknown(
                    PROBE,
                    format!("this node knows no probe of {to} yet{heard}"),
                    "try again in a moment",
                ),
                None => {
                    let count = found.probes.len();
                    let figure = format!("{count} of {count} probes of {to} pass now, {}", words(slowest));
                    Finding::pass(PROBE, format!("{figure}{held}{heard}"))
                }
                Some((probe, why)) => {
                    let figure = format!("probe {probe} of {to} fails now: {why}");
                    let hint = "ask it yourself from there; a firewall or a route, if other sites reach it";
                    Finding::fail(PROBE, format!("{figure}{held}{heard}"), hint)
                }
            };
            checks.push(Check::of_node(of, "", finding).aside());
        }
        let Tally { sites, needed, .. } = self.state.tally(service, to);
        let reached = reach.values().filter(|reached| **reached).count();
        let figure = format!("{reached} of {sites} sites reach {to} now, {needed} needed");
        let enough = u32::try_from(reached).is_ok_and(|reached| reached >= needed);
        checks.push(Check::of_cluster(if enough {
            Finding::pass(PROBE, figure)
        } else {
            Finding::fail(
                PROBE,
                figure,
                "a region that too few sites reach is no candidate: mend it, or drill another with --to",
            )
        }));
        checks
    }

    /// The leader's findings in full; of the others what does not pass, because any of them may lead when it counts.
    fn records(&self) -> Vec<Check> {
        let mut checks = vec![];
        let of_service = |found: &'_ Inspected| -> Vec<RecordSeen> {
            found.providers.iter().flat_map(|provider| &provider.records).chain(&found.tables).cloned().collect()
        };
        for of in self.answers {
            let leads = Some(of.node) == self.leader;
            let records = match &of.found {
                Ok(found) => of_service(found),
                Err(why) => {
                    let figure = format!("did not answer: {why}");
                    let hint = "is it running? nobody knows whether it could carry out a switch";
                    let check = Check::of_node(of, "", Finding::unknown("node", figure, hint));
                    checks.push(check);
                    continue;
                }
            };
            let all = records.iter().map(|of| of.findings.len()).sum::<usize>();
            let mut passing = 0;
            for RecordSeen { record, findings, .. } in records {
                for mut finding in findings {
                    if finding.outcome == RuleOutcome::Pass && !leads {
                        passing += 1;
                        continue;
                    }
                    if finding.outcome == RuleOutcome::Fail && !leads {
                        finding.figure = format!("if it led: {}", finding.figure);
                    }
                    let check = Check::of_node(of, &record, finding);
                    checks.push(if leads || of.voter { check } else { check.aside() });
                }
            }
            if !leads && passing > 0 {
                let figure = format!("{passing} of {all} findings on its own credentials pass");
                checks.push(Check::of_node(of, "", Finding::pass("provider", figure)));
            }
        }
        checks
    }

    fn nameservers(&self) -> Vec<Check> {
        const NAMESERVERS: &str = "nameservers";
        let mut checks = vec![];
        for (of, found) in self.found().filter(|(of, _)| Some(of.node) == self.leader) {
            for line in &found.nameservers {
                let figure = format!("{} answers {}", line.server, line.answer);
                let finding = if line.agrees {
                    Finding::pass(NAMESERVERS, figure)
                } else if line.is_silent() {
                    let hint = "mend it: a switch waits for its answer, and ends without it after a while";
                    Finding::unknown(NAMESERVERS, format!("{}: {}", line.server, line.answer), hint)
                } else {
                    let hint = "it does not follow the provider: whoever asks it would not see a switch";
                    Finding::fail(NAMESERVERS, format!("{figure}, not what the cluster wrote"), hint)
                };
                checks.push(Check::of_node(of, &line.record, finding));
            }
        }
        if checks.is_empty() {
            let service = self.state.services.get(&self.intent.service);
            let pools = service.is_some_and(|of| of.service.records.iter().all(|record| !record.rtype.is_in_dns()));
            checks.push(Check::of_cluster(if pools {
                Finding::pass(NAMESERVERS, "none to ask: the service has pools and no DNS record")
            } else {
                Finding::unknown(NAMESERVERS, "none was asked", "the leader did not answer, or nothing is adopted yet")
            }));
        }
        checks
    }

    fn found(&self) -> impl Iterator<Item = (&NodeAnswer, &Inspected)> {
        self.answers.iter().filter_map(|of| Some((of, of.found.as_ref().ok()?)))
    }
}

/// A rule's reading as a finding: what to do about it is to wait, or to name it.
fn rule(reading: &RuleReading) -> Finding {
    let hint = || match (reading.rule, reading.clears_at.is_some()) {
        (_, true) => "it passes by itself".to_owned(),
        (Rule::Frozen, _) => "`quoratectl unfreeze`, once you know why it is held".to_owned(),
        (Rule::CandidateUp, _) => "mend the region, or drill another with --to".to_owned(),
        (Rule::Drift, _) => "`quoratectl verdict get` says what differs; `--override drift` writes over it".to_owned(),
        (Rule::Breaker | Rule::SharedDependency, _) => "find the common cause first".to_owned(),
        (rule, _) => format!("`quoratectl switch start … --override {rule}`, if you know better"),
    };
    let name = reading.rule.as_str();
    match reading.outcome {
        _ if reading.permits() => Finding::pass(name, &reading.figure),
        RuleOutcome::Unknown => {
            // A rule that knows nothing holds a switch like one that fails.
            Finding::fail(name, format!("unknown, and the policy holds: {}", reading.figure), hint())
        }
        _ => Finding::fail(name, &reading.figure, hint()),
    }
}

/// One sentence for all of it.
#[must_use]
pub fn conclusion(intent: &Intent, checks: &[Check]) -> String {
    let stops = checks.iter().filter(|check| check.stops).count();
    let unknown = checks.iter().filter(|check| check.finding.outcome == RuleOutcome::Unknown).count();
    let unsure = if unknown == 0 { String::new() } else { format!("; {unknown} could not be told") };
    let (service, to) = (&intent.service, &intent.to);
    match stops {
        0 => format!("nothing would stop a switch of {service} to {to}{unsure}"),
        1 => format!("1 finding would stop a switch of {service} to {to}{unsure}"),
        _ => format!("{stops} findings would stop a switch of {service} to {to}{unsure}"),
    }
}
