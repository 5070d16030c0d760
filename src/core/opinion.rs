//! From runs to opinions: the one place where flapping is damped (probes report plain results).
//!
//! ```text
//!              rise passes                    fall failures
//!  Unknown ───────────────▶ Up      Unknown ───────────────▶ Down
//!              fall failures                  rise passes
//!       Up ───────────────▶ Down      Down ───────────────▶ Up
//! ```
//! Anything short of a threshold leaves the opinion as it was. A node starts from unknown, and so does every node when a
//! term begins: an election delays a failover, it never causes one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    names::{EndpointId, LogTime},
    report::{Outcome, Report, Run, Sight},
    sabotage::Sabotage,
};

/// What a site holds of a region, or a node of an endpoint.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Opinion {
    /// Enough successes in a row.
    Up,
    /// Enough failures in a row.
    Down,
    /// Neither, or nothing heard, or heard too long ago, or blind. Never counted as down (invariant 4).
    #[default]
    Unknown,
}

/// How many equal observations in a row settle an opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures that make it down.
    pub fall: u32,
    /// Successes that make it up.
    pub rise: u32,
}

impl Opinion {
    /// The opinion after a run of `count` equal outcomes, having been `self` before.
    #[must_use]
    pub fn after(self, outcome: Outcome, count: u32, thresholds: Thresholds) -> Self {
        match outcome {
            Outcome::Fail if count >= thresholds.fall => Self::Down,
            Outcome::Pass if count >= thresholds.rise => Self::Up,
            _ => self,
        }
    }

    /// What several that all must pass come to: down if one is, up if all are.
    pub fn all_must_pass(opinions: impl IntoIterator<Item = Self>) -> Self {
        let mut all = None;
        for opinion in opinions {
            match opinion {
                Self::Down => return Self::Down,
                Self::Unknown => all = Some(Self::Unknown),
                Self::Up => all = all.or(Some(Self::Up)),
            }
        }
        all.unwrap_or_default()
    }

    /// What the nodes of one site come to: what all of them say, else unknown.
    pub fn agreed(opinions: impl IntoIterator<Item = Self>) -> Self {
        let mut opinions = opinions.into_iter();
        let first = opinions.next().unwrap_or_default();
        if opinions.all(|opinion| opinion == first) { first } else { Self::Unknown }
    }
}

/// A run as the cluster holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which run of the endpoint it is, as the node counts.
    pub number: u32,
    /// What the run consists of.
    pub outcome: Outcome,
    /// How long it was when it was last news.
    pub count: u32,
    /// The opinion that it settled.
    pub opinion: Opinion,
    /// Where it was last news in the log.
    pub index: u64,
    /// When it was.
    pub at: LogTime,
    /// Why the last observation failed.
    pub reason: String,
    /// The dependencies that the endpoint calls failing.
    pub dependencies: Vec<String>,
}

/// What the cluster holds of one node's observations.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The number of its last report.
    pub seq: u64,
    /// The term in which that was logged.
    pub term: u64,
    /// When the leader was given it: every run below was still going on then.
    pub logged: LogTime,
    /// Why it calls itself blind.
    pub blind: Option<String>,
    /// Its runs.
    pub runs: BTreeMap<EndpointId, Held>,
    /// What its controls said when that was last news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sight: Option<Sight>,
}

impl View {
    /// Takes a report, or refuses it as no continuation of what is held: the node must send a full one then.
    pub fn take(
        &mut self,
        report: &Report,
        term: u64,
        index: u64,
        now: LogTime,
        thresholds: impl Fn(EndpointId) -> Option<Thresholds>,
    ) -> bool {
        let continues = match report.base {
            None => report.seq > self.seq,
            Some(base) => self.term == term && base == self.seq && report.seq > base && self.vouched_for(report),
        };
        if !continues {
            return false;
        }
        let mut held = std::mem::take(&mut self.runs);
        let new_term = self.term != term && !Sabotage::KeepOpinions.active();
        if new_term || self.blind.is_some() || report.blind.is_some() {
            held.clear();
        }
        let full = report.base.is_none();
        let mut runs = if full { BTreeMap::new() } else { std::mem::take(&mut held) };
        for run in &report.runs {
            let Some(thresholds) = thresholds(run.endpoint) else { continue };
            // A full report continues a run only if it can be the same one: a node that restarted begins from unknown.
            let before =
                runs.remove(&run.endpoint).or_else(|| held.remove(&run.endpoint).filter(|held| same_run(held, run)));
            let opinion = before.map_or_else(Opinion::default, |held| held.opinion);
            let opinion = opinion.after(run.outcome, run.count, thresholds);
            runs.insert(run.endpoint, hold(run, opinion, index, now));
        }
        for lost in &report.lost {
            runs.remove(lost);
        }
        let sight = report.sight.clone().or_else(|| self.sight.take().filter(|_| !full));
        // What waited is as old as it is: a leader that was cut off takes nothing for fresh that came in before.
        let logged = LogTime(now.0.saturating_sub(report.waited));
        *self = Self { seq: report.seq, term, logged, blind: report.blind.clone(), runs, sight };
        true
    }

    /// The state must not hold a run that the node does not vouch for: silence about it would be taken for its going on.
    fn vouched_for(&self, report: &Report) -> bool {
        let named = |endpoint: &EndpointId| {
            report.lost.contains(endpoint) || report.runs.iter().any(|run| run.endpoint == *endpoint)
        };
        let named = if report.runs.is_empty() && report.lost.is_empty() {
            0
        } else {
            self.runs.keys().filter(|endpoint| named(endpoint)).count()
        };
        self.blind.is_some() || report.blind.is_some() || self.runs.len() - named <= report.unchanged as usize
    }
}

fn same_run(held: &Held, run: &Run) -> bool {
    held.number == run.number && held.outcome == run.outcome && run.count >= held.count
}

fn hold(run: &Run, opinion: Opinion, index: u64, at: LogTime) -> Held {
    Held {
        number: run.number,
        outcome: run.outcome,
        count: run.count,
        opinion,
        index,
        at,
        reason: run.reason.clone(),
        dependencies: run.dependencies.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Opinion::*, *};
    use crate::core::report::Outcome::*;

    const THRESHOLDS: Thresholds = Thresholds { fall: 3, rise: 2 };

    #[test]
    fn thresholds_move_opinions_and_nothing_else_does() {
        for (before, outcome, count, after) in [
            (Unknown, Fail, 2, Unknown),
            (Unknown, Fail, 3, Down),
            (Unknown, Pass, 1, Unknown),
            (Unknown, Pass, 2, Up),
            (Up, Fail, 2, Up),
            (Up, Fail, 3, Down),
            (Down, Pass, 1, Down),
            (Down, Pass, 2, Up),
        ] {
            assert_eq!(before.after(outcome, count, THRESHOLDS), after, "{before:?} {outcome:?} {count}");
        }
    }

    #[test]
    fn several_endpoints_and_several_nodes() {
        for (opinions, region, site) in [
            (vec![], Unknown, Unknown),
            (vec![Up], Up, Up),
            (vec![Up, Up], Up, Up),
            (vec![Up, Unknown], Unknown, Unknown),
            (vec![Up, Down], Down, Unknown),
            (vec![Unknown, Down], Down, Unknown),
            (vec![Down, Down], Down, Down),
        ] {
            assert_eq!(Opinion::all_must_pass(opinions.clone()), region, "{opinions:?}");
            assert_eq!(Opinion::agreed(opinions.clone()), site, "{opinions:?}");
        }
    }

    fn run(endpoint: u32, outcome: Outcome, count: u32) -> Run {
        Run {
            endpoint: EndpointId(endpoint),
            number: 1,
            outcome,
            count,
            before: None,
            reason: String::new(),
            dependencies: vec![],
        }
    }

    fn report(seq: u64, base: Option<u64>, runs: Vec<Run>, unchanged: u32) -> Report {
        Report { node: 1, seq, base, runs, unchanged, ..Report::default() }
    }

    fn take(view: &mut View, report: &Report, term: u64) -> bool {
        view.take(report, term, report.seq, LogTime(report.seq * 1000), |_| Some(THRESHOLDS))
    }

    #[test]
    fn a_delta_needs_its_base_and_a_new_term_needs_a_full_report() {
        let mut view = View::default();
        assert!(!take(&mut view, &report(1, Some(0), vec![], 0), 1), "nothing was ever held in this term");
        assert!(take(&mut view, &report(1, None, vec![run(1, Pass, 9), run(2, Pass, 9)], 0), 1));
        assert!(take(&mut view, &report(2, Some(1), vec![run(1, Fail, 3)], 1), 1));
        assert_eq!((view.runs[&EndpointId(1)].opinion, view.runs[&EndpointId(2)].opinion), (Down, Up));
        assert!(!take(&mut view, &report(2, Some(1), vec![], 2), 1), "a duplicate");
        assert!(!take(&mut view, &report(4, Some(3), vec![], 2), 1), "report 3 was lost");
        assert!(!take(&mut view, &report(3, Some(2), vec![], 1), 1), "one run is vouched for by nobody");
        assert!(!take(&mut view, &report(3, Some(2), vec![], 2), 2), "the term is another");
        assert!(take(&mut view, &report(3, None, vec![run(1, Fail, 2)], 0), 2));
        assert_eq!(view.runs[&EndpointId(1)].opinion, Unknown, "opinions do not outlive their term");
        assert!(!view.runs.contains_key(&EndpointId(2)));
    }

    #[test]
    fn what_the_leader_had_in_hand_is_no_fresher_for_it() {
        let mut view = View::default();
        let late = Report { waited: 3_500, ..report(5, None, vec![run(1, Fail, 3)], 0) };
        assert!(take(&mut view, &late, 1));
        assert_eq!(view.logged, LogTime(1_500));
        assert!(take(&mut view, &Report { waited: u64::MAX, ..report(6, Some(5), vec![], 1) }, 1));
        assert_eq!(view.logged, LogTime(0), "however long");
    }

    #[test]
    fn blindness_voids_what_was_seen_before() {
        let mut view = View::default();
        assert!(take(&mut view, &report(1, None, vec![run(1, Fail, 3)], 0), 1));
        let blind = Report { blind: Some("2 of 3 controls fail".into()), ..report(2, Some(1), vec![], 0) };
        assert!(take(&mut view, &blind, 1));
        assert!(view.runs.is_empty());
        assert!(take(&mut view, &report(3, Some(2), vec![run(1, Fail, 1)], 0), 1));
        assert_eq!(view.runs[&EndpointId(1)].opinion, Unknown);
    }

    #[test]
    fn a_node_that_restarted_begins_from_unknown() {
        let mut view = View::default();
        assert!(take(&mut view, &report(1, None, vec![run(1, Pass, 500)], 0), 1));
        assert!(take(&mut view, &report(2, None, vec![run(1, Pass, 1)], 0), 1));
        assert_eq!(view.runs[&EndpointId(1)].opinion, Unknown);
        assert!(take(&mut view, &report(3, Some(2), vec![run(1, Pass, 2)], 0), 1));
        assert!(take(&mut view, &report(4, None, vec![run(1, Pass, 2)], 0), 1));
        assert_eq!(view.runs[&EndpointId(1)].opinion, Up, "the same run, told in full");
    }
}
