//! The gates of `DynamoDB`: what counts as a reading, and what a reading means.

use std::time::Duration;

use super::{Cluster, service};
use crate::core::{
    gauge::{GAUGE_TTL, Gauge, Lag, Replica},
    names::LogTime,
    report::Outcome::Fail,
    safety::{Rule, RuleOutcome, RuleReading},
    service::{GateUnknown, Service, Table},
    state::{Action, Response},
    switch::Evidence,
};

fn tabled(limit: Option<u64>) -> Service {
    let mut app = service("app", &["west", "east"]);
    for (region, name) in app.regions.iter_mut().zip(["eu-west-3", "us-east-1"]) {
        region.dynamodb = Some(Table { table: "sessions".into(), region: name.into() });
    }
    app.policy.max_replication_lag = limit.map(Duration::from_millis);
    app.policy.cooldown = Duration::ZERO;
    app
}

fn gauge(replica: Replica, lag: Lag) -> Gauge {
    let (through, region) = ("west".parse().unwrap(), "east".parse().unwrap());
    Gauge { service: "app".parse().unwrap(), region, through, replica, lag }
}

fn measured(cluster: &mut Cluster, replica: Replica, lag: Lag) {
    assert_eq!(cluster.apply(Action::Gauges(vec![gauge(replica, lag)])), Response::Done);
}

fn usable() -> Replica {
    Replica::Usable("ACTIVE".into())
}

fn seen(seen: u64, failing: Option<u64>) -> Lag {
    Lag::Seen { seen: LogTime(seen), failing: failing.map(LogTime) }
}

fn reading(cluster: &Cluster, rule: Rule) -> RuleReading {
    let explained = cluster.state.explain(&"app".parse().unwrap(), None).unwrap();
    explained.rules.into_iter().map(|of| of.reading).find(|of| of.rule == rule).unwrap()
}

fn west_dies(cluster: &mut Cluster) {
    for node in 1..=3 {
        cluster.sees(node, 0, Fail, 3);
    }
}

fn evidence(cluster: &Cluster) -> Evidence {
    let open = cluster.of("app").open.clone();
    open.expect("a switch is open").evidence
}

/// What the leader would propose is proposed; whether that opened a switch.
fn decides(cluster: &mut Cluster) -> bool {
    cluster.step().iter().any(|response| matches!(response, Response::Authorised(_)))
}

#[test]
fn missing_is_unknown_and_unknown_holds() {
    let mut cluster = Cluster::serving(&[tabled(Some(5000))]);
    west_dies(&mut cluster);
    for rule in [Rule::GateReplica, Rule::GateLag] {
        assert_eq!(reading(&cluster, rule).outcome, RuleOutcome::Unknown);
    }
    assert_eq!(reading(&cluster, Rule::GateLag).figure, "not known, 5 s allowed (not read yet)");
    assert!(!decides(&mut cluster), "nothing is known of the table");

    let mut lenient = tabled(Some(5000));
    lenient.policy.gate_unknown = GateUnknown::Pass;
    let mut cluster = Cluster::serving(&[lenient]);
    west_dies(&mut cluster);
    assert!(decides(&mut cluster), "the policy lets unknown pass");
    let lost = evidence(&cluster).lost_writes.unwrap();
    assert_eq!((lost.bound, lost.text.as_str()), (None, "not read yet"));
}

#[test]
fn the_outage_bounds_what_is_lost() {
    let mut cluster = Cluster::serving(&[tabled(Some(5000))]);
    cluster.pass_time(Duration::from_secs(60));
    measured(&mut cluster, usable(), seen(59_200, None));
    assert_eq!(
        reading(&cluster, Rule::GateLag).figure,
        "800 ms ≤ 5 s (last heartbeat seen in us-east-1 is 800 ms old)"
    );
    cluster.pass_time(Duration::from_secs(7));
    west_dies(&mut cluster);
    measured(&mut cluster, usable(), seen(59_700, Some(61_500)));
    let explained = cluster.state.explain(&"app".parse().unwrap(), None).unwrap();
    let wanted =
        "gate:dynamodb-lag 1.8 s ≤ 5 s (last heartbeat seen in us-east-1 is 1.8 s older than the outage) passes";
    assert!(explained.conclusion.contains(wanted), "{}", explained.conclusion);
    assert!(decides(&mut cluster));
    let lost = evidence(&cluster).lost_writes.unwrap();
    assert_eq!(lost.bound, Some(Duration::from_millis(1800)));
    assert_eq!(lost.text, "last heartbeat seen in us-east-1 is 1.8 s older than the outage");
}

/// A reading of before the verdict does not know what was written after it: it is read again, and until then the bound is wide.
#[test]
fn a_reading_of_before_the_outage_bounds_it_by_the_verdict_until_it_is_read_anew() {
    let mut cluster = Cluster::serving(&[tabled(Some(5000))]);
    cluster.pass_time(Duration::from_secs(60));
    measured(&mut cluster, usable(), seen(59_200, None));
    let again = gauge(usable(), seen(59_300, None));
    let soon = |cluster: &Cluster| cluster.state.log_time.after(Duration::from_secs(1));
    assert!(!cluster.state.wants(&again, soon(&cluster)), "nothing new is known");
    cluster.pass_time(Duration::from_millis(700));
    west_dies(&mut cluster);
    assert!(cluster.state.wants(&again, soon(&cluster)), "the outage asks for a reading after it");
    let app = cluster.of("app");
    let down = app.verdicts["west"].since;
    let behind = cluster.state.behind(app, &"east".parse().unwrap());
    assert_eq!(behind.bound, Some(down.since(LogTime(59_200))), "{behind:?}");
    assert!(behind.text.ends_with(" older than the verdict on west, and was read before it"), "{behind:?}");
    measured(&mut cluster, usable(), seen(60_600, None));
    let figure = reading(&cluster, Rule::GateLag).figure;
    assert!(figure.ends_with(" old)"), "{figure}");
}

#[test]
fn too_far_behind_holds_until_it_has_caught_up() {
    let mut cluster = Cluster::serving(&[tabled(Some(2000))]);
    cluster.pass_time(Duration::from_secs(60));
    west_dies(&mut cluster);
    measured(&mut cluster, usable(), seen(57_000, None));
    assert_eq!(reading(&cluster, Rule::GateLag).outcome, RuleOutcome::Fail);
    assert!(reading(&cluster, Rule::GateLag).figure.starts_with("3 s > 2 s"), "{:?}", reading(&cluster, Rule::GateLag));
    assert!(!decides(&mut cluster));
    measured(&mut cluster, usable(), seen(59_000, None));
    assert!(decides(&mut cluster));
}

/// The leader could not write for an hour while the region served: what the region wrote in that hour counts.
#[test]
fn heartbeats_that_failed_long_before_the_outage_bound_nothing() {
    let mut cluster = Cluster::serving(&[tabled(Some(5000))]);
    cluster.pass_time(Duration::from_secs(3600));
    measured(&mut cluster, usable(), seen(1000, Some(2000)));
    let figure = reading(&cluster, Rule::GateLag).figure;
    assert!(figure.contains("59 m 59 s old, and west has taken none for 59 m 58 s"), "{figure}");
    west_dies(&mut cluster);
    measured(&mut cluster, usable(), seen(1000, Some(2000)));
    let held = reading(&cluster, Rule::GateLag);
    assert_eq!(held.outcome, RuleOutcome::Fail, "{held:?}");
    assert!(!decides(&mut cluster));
}

#[test]
fn a_reading_counts_in_its_term_and_time_and_through_the_active_region_only() {
    let fresh = |cluster: &mut Cluster| {
        cluster.pass_time(Duration::from_secs(60));
        let now = cluster.state.log_time.0;
        measured(cluster, usable(), seen(now - 500, None));
        assert_eq!(reading(cluster, Rule::GateLag).outcome, RuleOutcome::Pass);
    };
    let mut cluster = Cluster::serving(&[tabled(Some(2000))]);
    fresh(&mut cluster);
    cluster.pass_time(GAUGE_TTL);
    assert_eq!(reading(&cluster, Rule::GateReplica).outcome, RuleOutcome::Pass, "to the last millisecond");
    cluster.pass_time(Duration::from_millis(1));
    assert_eq!(reading(&cluster, Rule::GateReplica).outcome, RuleOutcome::Unknown);

    fresh(&mut cluster);
    cluster.elect();
    for rule in [Rule::GateReplica, Rule::GateLag] {
        let voided = reading(&cluster, rule);
        assert!(voided.figure.contains("not read since the election"), "{voided:?}");
        assert_eq!(voided.outcome, RuleOutcome::Unknown);
    }

    // After a switch the other region is the source: what was read of it as a candidate says nothing.
    let mut cluster = Cluster::serving(&[tabled(None)]);
    fresh(&mut cluster);
    cluster.apply(cluster.manual("app", "east", &[]));
    cluster.settle("app");
    measured(&mut cluster, usable(), seen(1, None));
    let (state, app) = (&cluster.state, cluster.of("app"));
    assert_eq!(state.behind(app, &"east".parse().unwrap()).text, "not read since east is active");
    assert_eq!(state.behind(app, &"west".parse().unwrap()).text, "not read yet");
}

#[test]
fn a_replica_that_is_not_usable_holds() {
    let mut cluster = Cluster::serving(&[tabled(None)]);
    cluster.pass_time(Duration::from_secs(60));
    west_dies(&mut cluster);
    measured(&mut cluster, Replica::Unusable("CREATING: not yet".into()), seen(60_000, None));
    let held = reading(&cluster, Rule::GateReplica);
    assert_eq!((held.outcome, held.figure.as_str()), (RuleOutcome::Fail, "sessions in us-east-1 is CREATING: not yet"));
    assert!(!decides(&mut cluster));
    measured(&mut cluster, Replica::Unknown("timed out".into()), seen(60_000, None));
    assert_eq!(reading(&cluster, Rule::GateReplica).outcome, RuleOutcome::Unknown);
    assert!(!decides(&mut cluster));
}

#[test]
fn another_table_is_read_anew() {
    let mut cluster = Cluster::serving(&[tabled(Some(2000))]);
    cluster.pass_time(Duration::from_secs(60));
    measured(&mut cluster, usable(), seen(59_500, None));
    let mut moved = tabled(Some(2000));
    moved.regions[1].dynamodb = Some(Table { table: "sessions".into(), region: "us-west-2".into() });
    let action =
        Action::ApplyService { service: Box::new(moved), source: String::new(), by: "ann".into(), exclusive: true };
    assert_eq!(cluster.apply(action), Response::Done);
    assert!(reading(&cluster, Rule::GateLag).figure.contains("not read yet"));
}

/// What steady measuring costs the log: one entry in five seconds, and two a second at the very most.
#[test]
fn a_reading_is_committed_when_it_says_something_new() {
    let mut cluster = Cluster::serving(&[tabled(Some(2000))]);
    cluster.pass_time(Duration::from_secs(60));
    let gauge = |replica, lag| {
        let (through, region) = ("west".parse().unwrap(), "east".parse().unwrap());
        Gauge { service: "app".parse().unwrap(), region, through, replica, lag }
    };
    let at = |ms: u64| LogTime(60_000 + ms);
    assert!(cluster.state.wants(&gauge(usable(), seen(60_000, None)), at(0)), "the first");
    measured(&mut cluster, usable(), seen(59_500, None));
    let wants = |gauge: &Gauge, ms| cluster.state.wants(gauge, at(ms));
    assert!(!wants(&gauge(usable(), seen(60_000, None)), 1000), "newer, and as good");
    assert!(wants(&gauge(usable(), seen(64_900, None)), 5000), "the last grows old");
    assert!(wants(&gauge(usable(), seen(59_500, None)), 1600), "it crosses the limit");
    assert!(wants(&gauge(usable(), seen(59_500, Some(60_000))), 600), "an outage begins");
    assert!(wants(&gauge(usable(), Lag::Unknown("gone".into())), 600));
    assert!(wants(&gauge(Replica::Unusable("DELETING".into()), seen(60_000, None)), 600));
    assert!(!wants(&gauge(Replica::Unusable("DELETING".into()), seen(60_000, None)), 499), "not too fast");
}

/// A region's text is somebody else's, and the state keeps little of it.
#[test]
fn reasons_are_bounded() {
    let mut cluster = Cluster::serving(&[tabled(None)]);
    measured(&mut cluster, Replica::Unknown("é".repeat(5000)), Lag::Unknown("x".repeat(5000)));
    let gauged = cluster.of("app").gauges.values().next().unwrap();
    assert_eq!(gauged.gauge.replica, Replica::Unknown("é".repeat(200)));
    assert_eq!(gauged.gauge.lag, Lag::Unknown("x".repeat(200)));
}
