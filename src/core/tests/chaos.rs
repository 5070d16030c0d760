//! Invariants 1, 3, 8 and 11 under random commands, sensible or not.

use proptest::prelude::*;

use super::{super::opinion::Opinion, *};

#[derive(Debug, Clone)]
enum Move {
    Sees(NodeId, u32, Outcome, u32),
    Blind(NodeId),
    Elect,
    Time(u64),
    /// Time passes, and all but one say that all goes on; nobody does when there is no such node.
    Hush(NodeId, u64),
    Step,
    Settle,
    Manual(usize, bool),
    Propose(u64, usize),
    Freeze(bool),
    Abort(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    let outcome = prop_oneof![Just(Outcome::Pass), Just(Outcome::Fail)];
    prop_oneof![
        8 => (1_u64..4, 0_u32..3, outcome, 1_u32..5).prop_map(|(n, e, o, c)| Move::Sees(n, e, o, c)),
        1 => (1_u64..4).prop_map(Move::Blind),
        1 => Just(Move::Elect),
        3 => prop_oneof![Just(500_u64), Just(8_000), Just(601_000)].prop_map(Move::Time),
        3 => (0_u64..4, prop_oneof![Just(500_u64), Just(8_000), Just(20_000)]).prop_map(|(n, ms)| Move::Hush(n, ms)),
        6 => Just(Move::Step),
        4 => Just(Move::Settle),
        1 => (0_usize..3, any::<bool>()).prop_map(|(r, o)| Move::Manual(r, o)),
        2 => (0_u64..6, 0_usize..3).prop_map(|(e, r)| Move::Propose(e, r)),
        1 => any::<bool>().prop_map(Move::Freeze),
        2 => (0_usize..3).prop_map(Move::Abort),
    ]
}

const REGIONS: [&str; 3] = ["eu", "us", "ap"];

fn play(cluster: &mut Cluster, step: &Move) {
    let app = || "app".parse::<ServiceName>().unwrap();
    match step {
        Move::Sees(node, endpoint, outcome, count) => drop(cluster.sees(*node, *endpoint, *outcome, *count)),
        Move::Blind(node) => drop(cluster.report(*node, vec![], Some("blind".into()))),
        Move::Elect => cluster.elect(),
        Move::Time(ms) => cluster.pass_time(Duration::from_millis(*ms)),
        Move::Hush(silent, ms) => cluster.hush(*silent, Duration::from_millis(*ms)),
        Move::Step => drop(cluster.step()),
        Move::Settle => {
            let epoch = cluster.of("app").epoch;
            cluster.apply(Action::Written { service: app(), epoch, receipts: BTreeMap::new() });
            cluster.apply(Action::Observed { service: app(), epoch, answers: vec![] });
        }
        Move::Manual(region, force) => {
            let overrides: &[&str] = if *force { &["cooldown", "candidate-up"] } else { &[] };
            cluster.apply(cluster.manual("app", REGIONS[*region], overrides));
        }
        Move::Propose(epoch, region) => {
            let to = REGIONS[*region].parse().unwrap();
            let intent = Intent { service: app(), epoch: Epoch(*epoch), to, cause: Cause::Failover };
            cluster.apply(Action::Authorise(intent));
        }
        Move::Freeze(true) => {
            let freeze = Freeze { by: "ann".into(), reason: String::new() };
            cluster.apply(Action::Freeze { service: Some(app()), freeze });
        }
        Move::Abort(region) => drop(cluster.apply(cluster.abort("app", REGIONS[*region]))),
        Move::Freeze(false) => drop(cluster.apply(Action::Unfreeze { service: None })),
    }
}

/// Invariant 3, counted by hand from the state before the entry: no helper of the product but the opinions of nodes.
fn quorum_down(state: &State, region: &str) -> bool {
    let (service, region) = (&state.services["app"], region.parse().unwrap());
    let down = (1..=3).filter(|node| state.node_opinion(*node, service, &region) == Opinion::Down);
    down.count() >= 2
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn invariants_hold(script in prop::collection::vec(moves(), 1..120)) {
        // Regions whose observations grow old at different times.
        let mut app = service("app", &REGIONS);
        app.regions[1].probes[0].interval = Duration::from_secs(5);
        let mut cluster = Cluster::serving(std::slice::from_ref(&app));
        let mut twin = Cluster::serving(&[app]);
        let mut observed_at = None;
        for step in &script {
            let before = cluster.state.clone();
            let was = before.services["app"].clone();
            play(&mut cluster, step);
            let is = cluster.of("app");

            prop_assert!(is.epoch == was.epoch || is.epoch == was.epoch.next(), "invariant 1: {} after {}", is.epoch, was.epoch);
            prop_assert!(cluster.state.log_time >= before.log_time);
            for region in &is.service.regions {
                let counted = cluster.state.tally(is, &region.name).verdict();
                prop_assert_eq!(is.verdict(&region.name), counted, "the verdict on {} is not what is counted", &region.name);
            }
            if is.epoch != was.epoch {
                let switch = is.switches().find(|switch| switch.epoch == is.epoch).unwrap();
                if matches!(switch.cause, Cause::Abort { .. }) {
                    prop_assert!(was.open.is_some() && was.active.as_ref() == Some(&switch.to), "an abort of nothing");
                }
                if switch.cause == Cause::Failover {
                    let from = switch.from.as_ref().unwrap().as_str();
                    prop_assert!(quorum_down(&before, from), "invariant 3: {from} was not down for a quorum");
                    prop_assert!(was.frozen.is_none(), "frozen");
                    if let Some(last) = observed_at {
                        let since = cluster.state.log_time.since(last);
                        prop_assert!(since >= was.service.policy.cooldown, "invariant 11: {since:?} after the last");
                    }
                }
            }
            if is.active != was.active {
                observed_at = Some(cluster.state.log_time);
            }
            play(&mut twin, step);
            prop_assert_eq!(&cluster.state, &twin.state, "invariant 8");
        }
    }
}
