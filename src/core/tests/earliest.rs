//! What `explain` says of the time to come, and the maintenance windows.

use std::time::Duration;

use proptest::prelude::*;

use super::{Cluster, service};
use crate::core::{
    explain::{Explained, Explanation},
    names::LogTime,
    report::Outcome::{Fail, Pass},
    safety::{Rule, RuleOutcome},
    service::Failback,
    state::{Action, Command, Freeze, Position, Refusal, Response},
};

fn explain(cluster: &Cluster) -> Explanation {
    cluster.state.explain(&"app".parse().unwrap(), None).unwrap()
}

fn rule(explained: &Explanation, rule: Rule) -> &Explained {
    explained.rules.iter().find(|of| of.reading.rule == rule).unwrap()
}

fn app(cooldown: u64) -> Cluster {
    let mut app = service("app", &["west", "east"]);
    app.policy.cooldown = Duration::from_secs(cooldown);
    Cluster::serving(&[app])
}

/// Every rule that is promised, each with an answer and a figure.
#[test]
fn every_rule_answers() {
    let mut back = service("app", &["west", "east"]);
    back.policy.failback = Failback::Automatic;
    back.regions[0].dynamodb = Some(crate::core::service::Table { table: "t".into(), region: "eu-west-3".into() });
    back.policy.max_replication_lag = Some(Duration::from_secs(2));
    let mut cluster = Cluster::serving(&[back]);
    cluster.apply(cluster.manual("app", "east", &["cooldown"]));
    cluster.settle("app");
    let explained = explain(&cluster);
    for name in [
        "frozen",
        "cooldown",
        "budget",
        "breaker",
        "candidate-up",
        "gate:dynamodb-replica",
        "gate:dynamodb-lag",
        "shared-dependency",
        "dwell",
        "window",
    ] {
        let found = rule(&explained, name.parse().unwrap());
        assert!(!found.reading.figure.is_empty(), "{found:?}");
    }
    assert_eq!(rule(&explained, Rule::GateLag).reading.outcome, RuleOutcome::Unknown);
    assert_eq!((explained.earliest, explained.held_by), (None, Some(Rule::GateReplica)), "no time brings a reading");
}

/// Interval 2 s, timeout 1 s, fall 3: the third failure of a site that failed twice comes an interval after the second, which may
/// itself have taken a second.
#[test]
fn a_verdict_that_forms_has_an_earliest_instant() {
    let mut cluster = app(0);
    let quiet = explain(&cluster);
    assert!(quiet.conclusion.ends_with("no switch, west stays"), "{}", quiet.conclusion);
    assert_eq!(
        quiet.earliest,
        Some(cluster.state.log_time.after(Duration::from_secs(3))),
        "3 failures: 2 intervals less a timeout"
    );

    cluster.sees(1, 0, Fail, 2);
    cluster.sees(2, 0, Fail, 1);
    let explained = explain(&cluster);
    assert_eq!(explained.due_at, None, "time alone brings no verdict");
    assert_eq!(
        rule(&explained, Rule::ActiveDown).earliest,
        Some(LogTime(3000)),
        "two sites are needed, the second has two to go"
    );
    assert_eq!(explained.held_by, Some(Rule::ActiveDown));
    let end = "no switch, west stays; one to east could come in 3 s at the earliest";
    assert!(explained.conclusion.ends_with(end), "{}", explained.conclusion);

    cluster.pass_time(Duration::from_secs(2));
    cluster.sees(2, 0, Fail, 2);
    assert_eq!(explain(&cluster).earliest, Some(LogTime(3000)), "site 2 from 2 s, site 1 since 1 s");
    cluster.sees(1, 0, Fail, 3);
    cluster.sees(2, 0, Fail, 3);
    let due = explain(&cluster);
    assert_eq!((due.due, due.earliest, due.held_by), (true, Some(cluster.state.log_time), None));
}

#[test]
fn what_clears_last_is_named_and_a_person_comes_before_any_time() {
    let mut cluster = app(0);
    cluster.state.services.get_mut("app").unwrap().cooldown_until = LogTime(600_000);
    cluster.sees(1, 0, Fail, 2);
    let explained = explain(&cluster);
    assert_eq!((explained.earliest, explained.held_by), (Some(LogTime(600_000)), Some(Rule::Cooldown)));
    let freeze = Freeze { by: "ann".into(), reason: "migration".into() };
    cluster.apply(Action::Freeze { service: None, freeze });
    let explained = explain(&cluster);
    assert_eq!((explained.earliest, explained.held_by), (None, Some(Rule::Frozen)));
    assert_eq!(rule(&explained, Rule::Cooldown).earliest, Some(LogTime(600_000)), "each rule keeps its own");
}

/// 26 December 2026, 02:30 UTC, a Saturday.
const SATURDAY: u64 = 1_798_252_200_000;

#[test]
fn a_window_holds_what_is_automatic_and_nothing_else() {
    let mut app = service("app", &["west", "east"]);
    app.policy.cooldown = Duration::ZERO;
    app.policy.windows = vec!["Sat 02:00-04:00".parse().unwrap()];
    let mut cluster = Cluster::serving(&[app]);
    let at = |cluster: &mut Cluster, wall, action| {
        cluster.index += 1;
        let command = Command { at: LogTime(cluster.now), wall, action };
        cluster.state.apply(Position { term: 1, index: cluster.index }, &command)
    };
    assert_eq!(rule(&explain(&cluster), Rule::Window).reading.outcome, RuleOutcome::Unknown, "no stamp was seen");
    for node in 1..=3 {
        cluster.sees(node, 0, Fail, 3);
    }
    at(&mut cluster, SATURDAY, Action::Tick);
    let explained = explain(&cluster);
    let window = rule(&explained, Rule::Window);
    assert_eq!(window.reading.figure, "`Sat 02:00-04:00` is open until Sat 2026-12-26 04:00 UTC, 1 h 30 m left");
    assert_eq!((explained.due_at, explained.held_by), (Some(LogTime(90 * 60_000)), Some(Rule::Window)));
    assert_eq!(cluster.state.due(), []);

    // Whoever proposes all the same, with a stamp in the window, is refused by the log.
    let failover = {
        let mut free = cluster.state.clone();
        free.services.get_mut("app").unwrap().service.policy.windows.clear();
        free.due().remove(0)
    };
    let refused = at(&mut cluster, SATURDAY, failover.clone());
    assert!(matches!(&refused, Response::Refused(Refusal::Rule { rule: Rule::Window, .. })), "{refused:?}");

    // A clock that jumps out of the window lets it through; the verdict had to hold all the same.
    at(&mut cluster, SATURDAY + 90 * 60_000, Action::Tick);
    assert_eq!(cluster.state.due(), [failover]);
    // One that jumps back holds it again.
    at(&mut cluster, SATURDAY, Action::Tick);
    assert_eq!(cluster.state.due(), []);
    let manual = cluster.manual("app", "east", &[]);
    assert_eq!(at(&mut cluster, SATURDAY, manual), Response::Authorised(crate::core::names::Epoch(2)));
}

#[test]
fn no_jump_of_the_wall_clock_causes_a_switch() {
    let mut app = service("app", &["west", "east"]);
    app.policy.windows = vec!["daily 03:00-04:00".parse().unwrap()];
    let mut cluster = Cluster::serving(&[app]);
    for wall in [0, 1, SATURDAY, SATURDAY + 3_600_000, 1, u64::MAX] {
        cluster.index += 1;
        let command = Command { at: LogTime(cluster.now), wall, action: Action::Tick };
        cluster.state.apply(Position { term: 1, index: cluster.index }, &command);
        assert_eq!(cluster.state.due(), [], "{wall}");
    }
}

#[test]
fn wall_time_is_kept_only_for_windows() {
    let mut cluster = app(0);
    cluster.apply(Action::Tick);
    let command = Command { at: LogTime(1), wall: SATURDAY, action: Action::Tick };
    cluster.state.apply(Position { term: 1, index: 99 }, &command);
    assert_eq!(cluster.state.wall, 0, "states of clusters without windows stay what they were");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sites that probe on any phase, answers that take any time, a region that dies at any moment: the switch is never due before
    /// the instant that was called the earliest.
    #[test]
    fn the_earliest_instant_is_a_lower_bound(
        phases in prop::array::uniform3(0_u64..20), dies in prop::array::uniform3(0_u64..120),
        late in prop::collection::vec(0_u64..10, 256), cooldown in prop::sample::select(vec![0_u64, 5, 9]),
    ) {
        let mut cluster = app(cooldown);
        let mut counts = [[2_u32, 0]; 3];
        let (mut pending, mut late): (Vec<(u64, usize, bool)>, _) = (vec![], late.into_iter().cycle());
        let mut bound = LogTime(0);
        for tick in 0..400_u64 {
            cluster.now = tick * 100;
            cluster.hum();
            for (site, phase) in phases.iter().enumerate() {
                if tick % 20 == *phase {
                    pending.push((tick + late.next().unwrap_or_default(), site, tick >= dies[site]));
                }
            }
            let told = |of: &(u64, usize, bool)| of.0 == tick;
            for (_, site, failed) in pending.extract_if(.., |of| told(of)) {
                let [passes, fails] = &mut counts[site];
                (*passes, *fails) = if failed { (0, *fails + 1) } else { (*passes + 1, 0) };
                let (outcome, count) = if failed { (Fail, *fails) } else { (Pass, *passes) };
                cluster.sees(site as u64 + 1, 0, outcome, count);
            }
            let explained = explain(&cluster);
            if explained.due {
                prop_assert!(cluster.state.log_time >= bound, "due at {:?}, never before {bound:?}", cluster.state.log_time);
                return Ok(());
            }
            bound = bound.max(explained.earliest.unwrap_or_default());
        }
        prop_assert!(false, "the region died and nothing was due");
    }
}
