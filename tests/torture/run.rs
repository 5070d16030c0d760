//! The run itself: faults, outages and clients side by side, then a quiet end, then the verdict.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    alone,
    clients::{self, Chronicler},
    clojure,
    fleet::TIMING,
    history::Op,
    linear::{self, Register},
    nemesis::Nemesis,
    outages::Outages,
    reports,
    services::{self, APP, REG, SHOP},
    summary::{self, Facts},
    world::World,
};

/// What a node that was cut off, or silent, may still have had under way.
const SLACK: Duration = Duration::from_secs(3);
/// A run shorter than this shows too little to be held to more than safety.
const WHOLE: Duration = Duration::from_secs(300);

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_every_kind_violate_nothing() {
    let seconds = from_environment("TORTURE_SECONDS").unwrap_or(600);
    let seed = from_environment("TORTURE_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("TORTURE_SEED={seed} TORTURE_SECONDS={seconds}");
    let _alone = alone().await;
    let Some(world) = World::start(SLACK, TIMING, vec![]).await else { return };
    let facts = tokio::task::block_in_place(|| torture(&world, seed, Duration::from_secs(seconds)));
    println!("{}", facts.line());
    assert!(facts.violations.is_empty(), "TORTURE_SEED={seed}: {:#?}", facts.violations);
    assert_eq!((facts.false_switches, facts.unrecovered), (0, 0), "TORTURE_SEED={seed}");
    if Duration::from_secs(seconds) >= WHOLE {
        assert!(facts.outages.iter().all(|of| of.switched.is_some()), "TORTURE_SEED={seed}: {:?}", facts.outages);
        let p99 = facts.p99().expect("an outage without a fault");
        assert!(p99 <= 2.0, "detection takes {p99} times the floor, TORTURE_SEED={seed}");
    }
}

fn torture(world: &Arc<World>, seed: u64, length: Duration) -> Facts<'static> {
    let until = Instant::now() + length;
    let newest = AtomicU64::new(1);
    let mut nemesis = Nemesis::new(world, seed);
    let whole = std::thread::scope(|scope| {
        let world: &World = world;
        let newest = &newest;
        for number in 0..2 {
            scope.spawn(move || clients::register(world, newest, seed.wrapping_add(10 + number)));
        }
        scope.spawn(|| Outages::new(world, &APP, 0, seed.wrapping_add(1)).run());
        scope.spawn(|| Outages::new(world, &SHOP, 1, seed.wrapping_add(2)).run());
        scope.spawn(|| Chronicler::new(world).run());
        scope.spawn(|| watch(world));
        nemesis.run(until);
        world.over.store(true, Ordering::Relaxed);
        nemesis.finish()
    });
    end(world);
    let mut violations = judge(world, seed);
    if !whole {
        violations.push("10: the cluster was not whole again at the end".to_owned());
    }
    facts(world, seed, length, &nemesis, violations)
}

/// What the world sees: every change of an answer, and what OVH publishes.
fn watch(world: &World) {
    let mut seen = std::collections::BTreeMap::new();
    while !world.is_over() {
        world.witness.look_at_ovh();
        for service in services::ALL {
            let Some(values) = world.witness.ask(service.name) else { continue };
            if seen.get(service.name) != Some(&values) {
                world.history.witness("answer", answer(service.name, &values));
                seen.insert(service.name, values);
            }
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

fn answer(service: &str, values: &[String]) -> crate::edn::Edn {
    use crate::edn::{map, vector};
    map([("service", service.into()), ("values", vector(values.iter().map(String::as_str)))])
}

/// Everything is whole and quiet: the last look at all of it.
pub fn end(world: &World) {
    use crate::edn::{Edn, map, vector};
    let mut chronicler = Chronicler::new(world);
    let all_serve = |chronicler: &mut Chronicler| {
        services::ALL.into_iter().all(|service| {
            world.verdict(service.name).is_some_and(|of| of["phase"] == "serving" && of["trouble"].is_null())
        }) && services::ALL.into_iter().all(|service| chronicler.switches(service))
    };
    // Whether they came to serve is the checkers' to say.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !all_serve(&mut chronicler) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
    }
    world.witness.look_at_ovh();
    for service in services::ALL {
        chronicler.status(service);
        let values = world.witness.ask(service.name).unwrap_or_default();
        let epoch: Edn = world.witness.ask_epoch(service.name).into();
        let value = map([
            ("service", service.name.into()),
            ("values", vector(values.iter().map(String::as_str))),
            ("epoch", epoch),
        ]);
        world.history.witness("standing", value);
    }
    chronicler.members();
    for _ in 0..5 {
        chronicler.hashes();
    }
    let acknowledged = reports::acknowledged(world);
    println!("{acknowledged} reports were acknowledged");
    reports::recorded(world);
}

/// Writes the history and has it judged by both; what is violated.
pub fn judge(world: &World, seed: u64) -> Vec<String> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = dir.join(format!("torture-{seed}.edn"));
    let count = world.history.write(&file).expect("the history to be written");
    println!("{count} operations in {}", file.display());
    let ops = world.history.ops();
    let register = linear::violation(&ops, REG.name, Register(1, REG.regions[0].0.to_owned()));
    let mut violations: Vec<String> = register.map(|why| format!("linearizability: {why}")).into_iter().collect();
    if let Some(ran) = clojure::run_checkers(&[file.to_str().expect("UTF-8")]) {
        print!("{}", ran.said);
        let lines = ran.said.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned);
        violations.extend(lines);
        if ran.violations() != Some(0) && violations.is_empty() {
            violations.push(format!("the checkers ended with {}", ran.exit));
        }
    }
    violations
}

fn facts(world: &World, seed: u64, length: Duration, nemesis: &Nemesis<'_>, violations: Vec<String>) -> Facts<'static> {
    let ops: Vec<Op> = world.history.ops();
    let windows = summary::windows(&ops);
    let outages: &'static [_] = world.outages.lock().expect("no panic under the lock").clone().leak();
    let undisturbed = outages.iter().filter_map(|of| {
        let (from, to) = (world.history.time(of.began), world.history.time(of.switched?));
        let free = windows.iter().all(|(a, b)| to < *a || b.saturating_add(2_000_000_000) < from);
        free.then(|| of.switched.expect("checked").saturating_duration_since(of.began))
    });
    let undisturbed = undisturbed.collect();
    let mut faults = nemesis.count.clone();
    for op in ops.iter().filter(|op| op.f == "region-fault") {
        let told = op.value.to_string();
        let known =
            ["region-dies", "region-hangs", "region-mostly-unreachable", "region-half-reachable", "region-flaps"];
        if let Some(kind) = known.into_iter().find(|kind| told.contains(kind)) {
            *faults.entry(kind).or_default() += 1;
        }
    }
    let epochs = services::ALL.into_iter().filter_map(|service| world.verdict(service.name)?["epoch"].as_u64());
    let false_switches = violations.iter().filter(|why| why.contains("a false switch")).count() as u64;
    Facts {
        seed,
        seconds: length.as_secs(),
        operations: ops.len(),
        outcomes: world.history.outcomes(),
        faults,
        outages,
        undisturbed,
        switches: epochs.sum(),
        false_switches,
        unrecovered: nemesis.unrecovered,
        violations,
    }
}
