//! Replays of made-up worlds: the recorded policy does what it did, others do what they would have done live.

use std::collections::BTreeMap;

use quorate::{
    core::{
        names::{Epoch, RegionName},
        state::{Action, Freeze, Response},
        switch::{Cause, Intent},
    },
    replay::{self, Options, Outage, ReplayError, Report, Source, Tried},
};

use crate::recording::{self, Fault, WALL, World};

const POLICY: &str = "fall = 3\nrise = 2\ncooldown = '60s'\nbudget = 10\n";

fn fault(region: &str, from: u64, to: u64, nodes: &[u64]) -> Fault {
    Fault { service: "app".into(), region: region.into(), from, to, nodes: nodes.to_vec() }
}

/// A service under `policy`; west fails for good at 30 s to 200 s, for 4 s at 300 s, and for one site at 330 s to 340 s.
fn world(policy: &str) -> World {
    let mut world = World::new(&[recording::service("app", 1, "1s", policy)], 1_000);
    world.faults = vec![
        fault("west", 30_000, 200_000, &[1, 2, 3]),
        fault("west", 300_000, 304_000, &[1, 2]),
        fault("west", 330_000, 340_000, &[3]),
    ];
    world.run(210_000);
    by_hand(&mut world, "west");
    world.snapshot();
    world.run(400_000);
    world
}

/// An operator switches, if that is not the active region.
fn by_hand(world: &mut World, to: &str) {
    let to: RegionName = to.parse().unwrap();
    let service = &world.state.services["app"];
    if service.target() == Some(&to) {
        return;
    }
    let overrides = ["cooldown".parse().unwrap()].into();
    let cause = Cause::Manual { by: "ada".into(), reason: "back".into(), overrides };
    let (name, epoch) = (service.service.name.clone(), service.epoch.next());
    world.apply(Action::Authorise(Intent { service: name.clone(), epoch, to, cause }));
    world.apply(Action::Written { service: name.clone(), epoch, receipts: BTreeMap::default() });
    world.apply(Action::Observed { service: name, epoch, answers: vec![] });
}

fn tried(policy: &str) -> Options {
    let file = ("tried.toml".to_owned(), format!("[policy]\n{policy}"));
    Options { tried: Tried::new(vec![file], vec![]), ..Options::default() }
}

fn replay(world: &World, options: &Options) -> Report {
    replay::run(&Source::Bytes(world.bytes.clone()), options).unwrap()
}

/// Cause, target, log time and index of each.
fn told(switches: &[replay::SwitchLine]) -> Vec<(&str, &str, u64, u64)> {
    switches.iter().map(|of| (of.cause, of.to.as_str(), of.log_ms, of.index)).collect()
}

#[test]
fn the_recorded_policy_does_what_it_did() {
    let world = world(POLICY);
    let report = replay(&world, &Options::default());
    assert!(report.faithful && report.recording.diverged.is_empty() && report.recording.holes.is_empty());
    let happened = told(&report.happened);
    let causes: Vec<_> = happened.iter().map(|of| (of.0, of.1)).collect();
    assert_eq!(causes, [("adopt", "west"), ("failover", "east"), ("manual", "west"), ("failover", "east")]);
    assert_eq!(told(&report.recorded.switches), happened);
    assert_eq!(told(&report.tried.switches), happened, "no policy was given: the recorded one is tried");
    let failover = &report.recorded.switches[1];
    // Three failures a second apart; the second site's come a third of a second after the first's.
    let detection = failover.detection_ms.unwrap();
    assert!((2_000..2_700).contains(&detection), "{detection}");
    assert_eq!(failover.false_because, None);
    let second = &report.recorded.switches[3];
    assert!(second.false_because.as_ref().unwrap().contains("pass again"), "{second:?}");
    assert_eq!((report.recorded.automatic, report.recorded.false_switches), (2, 1));
    assert_eq!(
        (report.recorded.detection_p50_ms, report.recorded.detection_max_ms),
        (Some(detection), Some(detection))
    );
    assert_eq!(report.outages.len(), 2, "{:?}", report.outages);
}

/// What a replay says of a policy, and what that policy did live in the same world, entry for entry.
#[test]
fn another_policy_does_what_it_would_have_done_live() {
    for (policy, exact) in [
        ("fall = 2\nrise = 2\ncooldown = '60s'\nbudget = 10\n", true),
        ("fall = 1\nrise = 1\ncooldown = '60s'\nbudget = 10\n", true),
        ("fall = 3\nrise = 2\ncooldown = '10s'\nbudget = 10\nfailback = 'automatic'\ndwell = '20s'\n", true),
        ("fall = 3\nrise = 2\nquorum = 'all'\ncooldown = '60s'\nbudget = 10\n", true),
        ("fall = 3\nrise = 2\ncooldown = '60s'\nbudget = 1\n", true),
        ("fall = 6\nrise = 2\ncooldown = '60s'\nbudget = 10\n", false),
        ("fall = 3\nrise = 9\ncooldown = '60s'\nbudget = 10\nfailback = 'automatic'\ndwell = '1s'\n", false),
    ] {
        let (recorded, live) = (world(POLICY), world(policy));
        let replayed = replay(&recorded, &tried(policy));
        let lived = replay(&live, &Options::default());
        let times = |switches: &[replay::SwitchLine]| -> Vec<_> {
            switches.iter().filter(|of| of.cause != "manual").map(|of| (of.cause, of.to.clone(), of.log_ms)).collect()
        };
        let (replayed, lived) = (times(&replayed.tried.switches), times(&lived.happened));
        let words = |of: &[(&'static str, String, u64)]| of.iter().map(|of| (of.0, of.1.clone())).collect::<Vec<_>>();
        assert_eq!(words(&replayed), words(&lived), "{policy}");
        for (replayed, lived) in replayed.iter().zip(&lived) {
            // Live, a leader takes 7 ms to authorise; beyond the recorded thresholds it may be an interval and a report late.
            let (low, high) = if exact { (-7, 0) } else { (-7, 2_000) };
            let late = i64::try_from(replayed.2).unwrap() - i64::try_from(lived.2).unwrap();
            assert!((low..=high).contains(&late), "{policy}: {late} ms late: {replayed:?}, live {lived:?}");
        }
    }
}

#[test]
fn a_stricter_policy_misses_and_a_laxer_one_is_false() {
    let world = world(POLICY);
    let strict = replay(&world, &tried("fall = 5\nrise = 2\ncooldown = '60s'\nbudget = 10\n"));
    assert_eq!((strict.tried.automatic, strict.tried.false_switches), (1, 0), "{:?}", strict.tried.switches);
    let never = replay(&world, &tried("fall = 100\nrise = 2\ncooldown = '1h'\nbudget = 10\n"));
    // 171 s are enough for a hundred failures.
    assert_eq!(never.tried.automatic, 1);
    assert!(never.tried.switches[1].detection_ms.unwrap() >= 99_000, "{:?}", never.tried.switches);
    let short = Options { until: Some(WALL + 100_000), ..tried("fall = 100\ncooldown = '10s'\n") };
    let missed = replay(&world, &short);
    assert_eq!((missed.tried.automatic, missed.tried.missed.len(), missed.recorded.missed.len()), (0, 1, 0));
    assert_eq!(missed.tried.missed[0].to_wall_ms, None, "it goes on where the stretch ends");
    assert!(missed.policy.iter().any(|of| (of.key, of.recorded.as_str(), of.tried.as_str()) == ("fall", "3", "100")));
    // An operator's yardstick of his own.
    let lenient = Options { false_within: Some(std::time::Duration::from_millis(500)), ..Options::default() };
    assert_eq!(replay(&world, &lenient).recorded.false_switches, 0);
}

#[test]
fn the_real_outages_are_the_better_judge() {
    let world = world(POLICY);
    let outage =
        |from, to| Outage { service: None, region: "west".parse().unwrap(), from: WALL + from, to: Some(WALL + to) };
    let judged = |outages| {
        let options = Options { outages: Some(outages), ..Options::default() };
        let of = replay(&world, &options).recorded;
        (of.false_switches, of.missed.len())
    };
    assert_eq!(judged(vec![outage(30_000, 200_000), outage(300_000, 304_000)]), (0, 0));
    assert_eq!(judged(vec![outage(30_000, 200_000)]), (1, 0));
    assert_eq!(judged(vec![]), (2, 0));
    assert_eq!(
        judged(vec![outage(30_000, 200_000), outage(250_000, 260_000)]),
        (1, 1),
        "one that nobody saw is missed"
    );
}

#[test]
fn budget_freezes_are_the_replay_s_own() {
    let mut world = world("fall = 3\nrise = 2\ncooldown = '60s'\nbudget = 1\n");
    assert!(world.state.services["app"].frozen.as_ref().is_some_and(|freeze| freeze.by == "quorate"));
    let name: quorate::core::names::ServiceName = "app".parse().unwrap();
    world.apply(Action::Unfreeze { service: Some(name.clone()) });
    let freeze = Freeze { by: "ada".into(), reason: "tests".into() };
    world.apply(Action::Freeze { service: Some(name), freeze });
    world.faults.push(fault("west", 410_000, 500_000, &[1, 2, 3]));
    world.run(500_000);
    let same = replay(&world, &Options::default());
    assert!(same.faithful);
    assert_eq!((same.recorded.automatic, same.recorded.frozen.len()), (1, 1));
    let rich = replay(&world, &tried("fall = 3\nrise = 2\ncooldown = '60s'\nbudget = 10\n"));
    assert_eq!((rich.tried.automatic, rich.tried.frozen.len()), (2, 0), "a person's freeze holds here too");
}

/// A switch that hangs until a person aborts it hangs in the replay too, so that the abort finds what it aborted.
#[test]
fn what_hung_until_another_took_over_hangs_here_too() {
    for cause in ["manual", "failover"] {
        let mut world = World::new(&[recording::service("app", 1, "1s", POLICY)], 1_000);
        world.run(90_000);
        let name: quorate::core::names::ServiceName = "app".parse().unwrap();
        // Nothing that the provider would have answered comes.
        world.pace = [7, 1_000_000, 1_000_000];
        let by = || "ada".to_owned();
        if cause == "manual" {
            let cause = Cause::Manual { by: by(), reason: String::new(), overrides: [].into() };
            let intent = Intent { service: name.clone(), epoch: Epoch(2), to: "east".parse().unwrap(), cause };
            assert_eq!(world.apply(Action::Authorise(intent)), Response::Authorised(Epoch(2)));
        } else {
            world.faults = vec![fault("west", 90_000, 94_000, &[1, 2, 3])];
        }
        world.run(110_000);
        let cause_of_abort = Cause::Abort { by: by(), reason: "a false alarm".into() };
        let back =
            Intent { service: name.clone(), epoch: Epoch(3), to: "west".parse().unwrap(), cause: cause_of_abort };
        assert_eq!(world.apply(Action::Authorise(back)), Response::Authorised(Epoch(3)), "{cause}");
        world.apply(Action::Written { service: name.clone(), epoch: Epoch(3), receipts: BTreeMap::default() });
        world.apply(Action::Observed { service: name, epoch: Epoch(3), answers: vec![] });
        world.run(300_000);

        let report = replay(&world, &Options::default());
        assert!(report.faithful);
        assert_eq!(told(&report.recorded.switches), told(&report.happened), "{cause}: {:?}", report.recorded.notes);
        assert_eq!(report.recorded.notes, [] as [&str; 0], "{cause}");
        // Where there is nothing to abort, it is said, and the service goes on.
        let strict = replay(&world, &tried("fall = 50\nrise = 2\ncooldown = '60s'\nbudget = 10\n"));
        if cause == "failover" {
            assert_eq!(strict.tried.automatic, 0);
            assert!(strict.tried.notes[0].contains("the abort of the switch of app is refused here"), "{strict:?}");
        }
    }
}

/// Every key in which the two policies differ is named.
#[test]
fn windows_are_among_what_is_compared() {
    let report = replay(&world(POLICY), &tried(&format!("{POLICY}windows = ['Sat 02:00-04:00', 'Mon 01:00-02:00']\n")));
    let lines: Vec<_> = report.policy.iter().map(|of| (of.key, of.recorded.as_str(), of.tried.as_str())).collect();
    assert_eq!(lines, [("windows", "none", "Sat 02:00-04:00; Mon 01:00-02:00")]);
}

#[test]
fn elections_and_segments_in_between_change_nothing() {
    let mut world = world(POLICY);
    by_hand(&mut world, "west");
    for at in [420_000, 450_000] {
        world.elect();
        world.faults.push(fault("west", at + 2_000, at + 22_000, &[1, 2, 3]));
        world.run(at + 25_000);
        world.snapshot();
        by_hand(&mut world, "west");
    }
    let report = replay(&world, &Options::default());
    assert!(report.faithful, "{:?}\n{:?}", told(&report.happened), told(&report.recorded.switches));
    assert_eq!(report.recording.terms, 3);
}

#[test]
fn missing_entries_are_named_and_the_rest_is_replayed() {
    let mut world = world(POLICY);
    by_hand(&mut world, "west");
    // What lies in the middle of the first segment is damaged.
    let whole = replay(&world, &Options::default());
    for byte in &mut world.bytes[20_000..20_100] {
        *byte ^= 0x55;
    }
    let report = replay(&world, &Options::default());
    assert!(!report.recording.damage.is_empty() && report.recording.holes.len() == 1, "{:?}", report.recording);
    let hole = &report.recording.holes[0];
    assert!(hole.until_index.is_some_and(|until| until > hole.after_index));
    assert_eq!(report.recording.last_index, whole.recording.last_index);
    assert_eq!(told(&report.recorded.switches).last(), told(&whole.recorded.switches).last());
}

#[test]
fn equal_input_gives_equal_output() {
    let world = world(POLICY);
    let options = || tried("fall = 5\nrise = 4\nfailback = 'automatic'\ndwell = '5s'\ncooldown = '20s'\nbudget = 9\n");
    let (one, two) = (replay(&world, &options()), replay(&world, &options()));
    assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&two).unwrap());
    assert_eq!(replay::svg(&one), replay::svg(&two));
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let world = world(POLICY);
    let source = Source::Bytes(world.bytes);
    let file =
        |text: String| Options { tried: Tried::new(vec![("f.toml".into(), text)], vec![]), ..Options::default() };
    let refused = |options: &Options| match replay::run(&source, options) {
        Err(error @ ReplayError::Tried(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let good = recording::service("app", 1, "1s", "fall = 5\n");
    assert_eq!(replay::run(&source, &file(good.clone())).unwrap().tried.automatic, 1, "a service file will do");
    for (from, to, why) in [
        ("'1s'", "'2s'", "probe 0 of region west has an interval of 2s, recorded was 1s"),
        ("'300ms'", "'200ms'", "has a timeout of 200ms"),
        ("192.0.2.1/0", "192.0.2.1/x", "asks something else"),
        ("name = 'east'", "name = 'north'", "its regions are west, north, recorded were west, east"),
        ("name = 'app'\n[[", "name = 'shop'\n[[", "has no service `shop`; it has app"),
        ("fall = 5", "fall = 0", "fall"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = refused(&file(good.replace(from, to)));
        assert!(error.contains(why), "{why}: {error}");
    }
    let named = Tried::new(vec![("p".into(), "[policy]\nfall = 5\n".into())], vec!["shop".parse().unwrap()]);
    assert!(refused(&Options { tried: named, ..Options::default() }).contains("shop"));
    assert!(matches!(replay::run(&Source::Bytes(vec![]), &Options::default()), Err(ReplayError::Empty(None))));
    assert!(matches!(replay::run(&Source::Bytes(vec![7; 99]), &Options::default()), Err(ReplayError::Empty(Some(_)))));
}

/// Well-formed by a parser that knows nothing of ours, with a mark for each switch and a bar for each stretch.
#[test]
fn the_plot_is_xml_and_shows_every_switch() {
    let world = world(POLICY);
    let report = replay(&world, &tried("fall = 2\nrise = 2\ncooldown = '60s'\nbudget = 10\n"));
    let svg = replay::svg(&report);
    let switches = |of: &[replay::SwitchLine]| of.iter().filter(|of| of.from.is_some()).count();
    let marks = switches(&report.happened) + switches(&report.recorded.switches) + switches(&report.tried.switches);
    assert_eq!(svg.matches("<g class=\"switch").count(), marks);
    assert_eq!(svg.matches("switch false").count(), report.recorded.false_switches + report.tried.false_switches);
    let bars: usize = report.timeline[0].regions.iter().map(|(_, turns)| turns.len()).sum();
    assert_eq!(svg.matches("class=\"seen\"").count(), bars);
    let parsed = std::process::Command::new("python3")
        .args(["-c", "import sys, xml.dom.minidom as m; d = m.parse(sys.stdin); print(d.documentElement.tagName)"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut parser) = parsed else {
        println!("SKIP: python3 is missing");
        return;
    };
    std::io::Write::write_all(&mut parser.stdin.take().unwrap(), svg.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout == b"svg\n", "{output:?}");
    if let Some(file) = std::env::var_os("QUORATE_PLOT") {
        std::fs::write(file, svg).unwrap();
    }
}
