//! The rules for policies.

use std::time::Duration;

use super::{
    MAX_WINDOWS, Path, PolicyDraft, QuorumDraft,
    problem::{Findings, Human},
};
use crate::core::{
    service::{DriftPolicy, Failback, GateUnknown, Policy, Quorum, Region},
    window::{self, Window},
};

/// The most sites that a quorum may ask for; no cluster has more.
const MAX_SITES: i64 = 15;
const DAY: Duration = Duration::from_hours(24);

/// Applies the defaults. `None` only together with a problem.
pub(super) fn validate(draft: &PolicyDraft, regions: &[Option<Region>], found: &mut Findings) -> Option<Policy> {
    let at = Path::default().key("policy");
    let before = found.count();
    let minutes = Duration::from_mins;
    let policy = Policy {
        fall: found.number(&at.key("fall"), draft.fall, 3, 1, 100),
        rise: found.number(&at.key("rise"), draft.rise, 3, 1, 100),
        quorum: quorum(&at.key("quorum"), draft.quorum.as_ref(), found),
        cooldown: found.span(&at.key("cooldown"), draft.cooldown, minutes(10), Duration::ZERO, DAY),
        budget: budget(&at.key("budget"), draft.budget, found),
        budget_window: found.span(&at.key("budget_window"), draft.budget_window, minutes(60), minutes(1), 7 * DAY),
        failback: word(
            &at.key("failback"),
            draft.failback.as_deref(),
            &[("manual", Failback::Manual), ("automatic", Failback::Automatic)],
            found,
        ),
        dwell: found.span(&at.key("dwell"), draft.dwell, minutes(10), Duration::ZERO, DAY),
        opinion_ttl: opinion_ttl(&at.key("opinion_ttl"), draft.opinion_ttl, regions, found),
        max_replication_lag: max_replication_lag(&at.key("max_replication_lag"), draft, regions, found),
        gate_unknown: word(
            &at.key("gate_unknown"),
            draft.gate_unknown.as_deref(),
            &[("hold", GateUnknown::Hold), ("pass", GateUnknown::Pass)],
            found,
        ),
        drift: word(
            &at.key("drift"),
            draft.drift.as_deref(),
            &[("alarm", DriftPolicy::Alarm), ("correct", DriftPolicy::Correct)],
            found,
        ),
        reconcile: found.span(
            &at.key("reconcile"),
            draft.reconcile,
            Duration::from_secs(30),
            Duration::from_secs(5),
            minutes(10),
        ),
        windows: windows(&at.key("windows"), &draft.windows, found),
    };
    warn(&at, draft, &policy, found);
    (found.count() == before).then_some(policy)
}

fn warn(at: &Path, draft: &PolicyDraft, policy: &Policy, found: &mut Findings) {
    if policy.fall == 1 {
        found.warn(&at.key("fall"), "one lost probe makes a site's opinion down");
    }
    if policy.cooldown < Duration::from_mins(1) {
        let message = format!("a cooldown of {} lets the record follow every flap", Human(policy.cooldown));
        found.warn(&at.key("cooldown"), message);
    }
    if draft.dwell.is_some() && policy.failback == Failback::Manual {
        found.warn(&at.key("dwell"), "without effect while failback is manual");
    }
    if policy.failback == Failback::Automatic && policy.dwell < Duration::from_mins(1) {
        let message = format!("traffic returns after only {} of a region being up", Human(policy.dwell));
        found.warn(&at.key("dwell"), message);
    }
    if policy.quorum == Quorum::AtLeast(1) {
        found.warn(&at.key("quorum"), "less than a majority is never enough: the quorum is a majority");
    }
    if policy.quorum == Quorum::All {
        found.warn(&at.key("quorum"), "while one site is blind or silent, no region is down and nothing fails over");
    }
}

fn quorum(at: &Path, draft: Option<&QuorumDraft>, found: &mut Findings) -> Quorum {
    let refuse = |found: &mut Findings, written: &str| {
        let problem = found.problem(at, format!("`{written}` is not a quorum"));
        problem.hint = Some(format!("use \"majority\", \"all\" or a number of sites from 1 to {MAX_SITES}"));
        Quorum::Majority
    };
    match draft {
        None => Quorum::Majority,
        Some(QuorumDraft::Word(word)) if word == "majority" => Quorum::Majority,
        Some(QuorumDraft::Word(word)) if word == "all" => Quorum::All,
        Some(QuorumDraft::Word(word)) => refuse(found, &word.chars().take(40).collect::<String>()),
        Some(QuorumDraft::Sites(sites)) => match u32::try_from(*sites) {
            Ok(count) if (1..=MAX_SITES).contains(sites) => Quorum::AtLeast(count),
            _ => refuse(found, &sites.to_string()),
        },
    }
}

fn budget(at: &Path, draft: Option<i64>, found: &mut Findings) -> u32 {
    if draft == Some(0) {
        found.problem(at, "with a budget of 0 nothing ever fails over").hint =
            Some("freeze the service to have it switch by hand only".to_owned());
        return 0;
    }
    found.number(at, draft, 2, 1, 100)
}

/// The word's meaning; the first of `words` when nothing is written.
fn word<T: Copy>(at: &Path, written: Option<&str>, words: &[(&str, T); 2], found: &mut Findings) -> T {
    let [(first, default), (second, _)] = words;
    let Some(written) = written else { return *default };
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == written) {
        return *meaning;
    }
    let written: String = written.chars().take(40).collect();
    found.problem(at, format!("`{written}` is neither \"{first}\" nor \"{second}\""));
    *default
}

/// An opinion that expires before the next observation can arrive would never count.
fn opinion_ttl(
    at: &Path,
    written: Option<Duration>,
    regions: &[Option<Region>],
    found: &mut Findings,
) -> Option<Duration> {
    let ttl = written?;
    let mut slowest = Duration::ZERO;
    for probe in regions.iter().flatten().flat_map(|region| &region.probes) {
        slowest = slowest.max(probe.interval + probe.timeout);
    }
    if ttl < slowest {
        let message = format!(
            "{} is less than interval and timeout of a probe ({}): its opinions would expire between two observations",
            Human(ttl),
            Human(slowest),
        );
        found.problem(at, message).because = vec![Path::default().key("region")];
    } else if ttl > DAY {
        found.problem(at, format!("{} is more than {}", Human(ttl), Human(DAY)));
    }
    Some(ttl)
}

/// Windows that never end would be a freeze that nobody sees.
fn windows(at: &Path, written: &[String], found: &mut Findings) -> Vec<Window> {
    let mut windows = vec![];
    for (i, text) in written.iter().enumerate().take(MAX_WINDOWS) {
        match text.parse::<Window>() {
            Ok(window) => windows.push(window),
            Err(error) => found.problem(&at.index(i), error.to_string()).hint = Some(window::NOTATIONS.to_owned()),
        }
    }
    if written.len() > MAX_WINDOWS {
        found.problem(at, format!("{} maintenance windows, {MAX_WINDOWS} are the most", written.len()));
    }
    if !window::leave_time(&windows) {
        let problem = found.problem(at, "these maintenance windows leave no time in which anything could fail over");
        problem.hint = Some("freeze the service to have it switch by hand only".to_owned());
    }
    windows
}

/// A gate that no region can be held to would be ignored in silence.
fn max_replication_lag(
    at: &Path,
    draft: &PolicyDraft,
    regions: &[Option<Region>],
    found: &mut Findings,
) -> Option<Duration> {
    let lag = draft.max_replication_lag?;
    let (low, high) = (Duration::from_millis(1), Duration::from_hours(1));
    let lag = found.span(at, Some(lag), low, low, high);
    let no_table = regions.iter().all(|region| region.as_ref().is_some_and(|region| region.dynamodb.is_none()));
    if no_table && !regions.is_empty() {
        let problem = found.problem(at, "no region has a dynamodb table whose lag could be measured");
        problem.hint = Some("add dynamodb = { table = \"…\", region = \"…\" } to the regions".to_owned());
        problem.because = vec![Path::default().key("region")];
    }
    Some(lag)
}
