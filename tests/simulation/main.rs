//! The whole cluster in one process, from a seed: real consensus, probing, leading and serving, on a simulated network, clock,
//! disk and provider, with everything going wrong that can.
//!
//! ```text
//!   seed ─▶ faults, orders ─▶ turmoil: 3 to 5 nodes, 2 regions, 2 controls, an operator ─▶ world: providers, nameservers
//!                                        every applied entry, every write, every tick ─▶ invariants
//! ```
//! What is real: `node`, `leader`, `probe`, `raft` with its peers' protocol, and the public API, all over mutual TLS. What is
//! simulated: TCP (turmoil), time, the log's disk (`raft::simulated`), chance, and the provider. A node that stands still is
//! one whose messages wait: turmoil cannot stop a process; real processes are stopped elsewhere.
//!
//! # For whoever runs this program
//! `SIM_FROM` (0) is the first seed and `SIM_SEEDS` (200) how many; `SIM_SEED=7` runs one, in this process, and with
//! `SIM_TRACE=1` it tells what happens. The rule named in `QUORATE_SABOTAGE` is broken. A seed that breaks an invariant ends
//! the program with a line `seed 7 violated: invariant 3 after 61230 ms: …`, the command that replays it, and an exit code
//! that is not zero.

#[cfg(not(tokio_unstable))]
compile_error!(
    "tokio's scheduler takes a seed only with --cfg tokio_unstable, as .cargo/config.toml says: unset RUSTFLAGS"
);

mod chance;
mod clock;
mod cluster;
mod faults;
mod invariants;
mod run;
mod truth;
mod world;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::core::sabotage::Sabotage;

use crate::{
    faults::KINDS,
    run::{Outcome, run},
};

/// Seeds that found something once.
const REGRESSIONS: &str = include_str!("regressions.txt");

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Processor time of the processes that ran seeds.
fn processor() -> Duration {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("the usage");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), u32::try_from(time.tv_usec()).unwrap_or(0) * 1000)
    };
    of(used.user_time()) + of(used.system_time())
}

/// What a process that ran one seed says last.
const OUTCOME: &str = "outcome: ";

/// Runs the seed in this process, which runs no other.
///
/// tokio numbers its tasks by one counter a process, and drops those of a node that crashes in an order that rests on the
/// numbers: a run beside or after another would not be the same run.
fn alone(seed: u64) {
    match run(seed) {
        Ok(outcome) => println!("{OUTCOME}{}", serde_json::to_string(&outcome).expect("it is plain")),
        Err(broken) => {
            let rule = std::env::var("QUORATE_SABOTAGE")
                .map_or_else(|_| String::new(), |rule| format!("QUORATE_SABOTAGE={rule} "));
            println!("seed {seed} {broken}");
            println!("replay: {rule}SIM_SEED={seed} SIM_TRACE=1 tests/run.sh --verbose simulation");
            panic!("seed {seed} {broken}");
        }
    }
}

/// Runs the seed in a process of its own; what that said, if it failed.
fn isolated(seed: u64) -> Result<Outcome, String> {
    let mut program = Command::new(std::env::current_exe().expect("this program"));
    program.args(["--exact", "no_seed_breaks_an_invariant", "--nocapture"]).env("SIM_SEED", seed.to_string());
    let output = program.env_remove("SIM_TRACE").output().expect("it is started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let outcome = said.lines().find_map(|line| line.split_once(OUTCOME)).filter(|_| output.status.success());
    let outcome = outcome.and_then(|(_, json)| serde_json::from_str(json).ok());
    outcome.ok_or_else(|| {
        let told = said.lines().filter(|line| line.contains("violated: ") || line.starts_with("replay: "));
        let told: Vec<_> = told.filter(|line| !line.contains("panicked")).collect();
        if told.is_empty() { format!("seed {seed} ended with {}:\n{said}", output.status) } else { told.join("\n") }
    })
}

/// Runs the seeds, as many at a time as there are processors, until one fails; the lowest that failed is told of.
fn all(seeds: &[u64]) -> (Vec<Outcome>, Option<String>) {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (outcomes, failed) = (Mutex::new(vec![]), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    match isolated(*seed) {
                        Ok(outcome) => outcomes.lock().unwrap().push(outcome),
                        Err(told) => {
                            stop.store(true, Ordering::Relaxed);
                            failed.lock().unwrap().insert(*seed, told);
                        }
                    }
                }
            });
        }
    });
    (outcomes.into_inner().unwrap(), failed.into_inner().unwrap().into_values().next())
}

#[test]
fn a_seed_is_a_run() {
    // Alone, and beside each other: it makes no difference, and each is another run.
    let seeds: Vec<u64> = (0..6).collect();
    let mut alone: Vec<_> = seeds.iter().map(|seed| isolated(*seed).unwrap()).collect();
    let (mut beside, failed) = all(&seeds);
    assert_eq!(failed, None);
    for outcomes in [&mut alone, &mut beside] {
        outcomes.sort_by_key(|outcome| outcome.trace);
    }
    assert_eq!(alone, beside, "the same seed gave another run");
    assert!(alone.windows(2).all(|two| two[0].trace != two[1].trace), "two seeds gave the same run");
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Ok(name) = std::env::var("QUORATE_SABOTAGE") {
        Sabotage::set(Some(name.parse().unwrap_or_else(|error| panic!("QUORATE_SABOTAGE: {error}"))));
    }
    if let Some(seed) = number("SIM_SEED") {
        return alone(seed);
    }
    let from = number("SIM_FROM").unwrap_or(0);
    let regressions = REGRESSIONS.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let some = from..from + number("SIM_SEEDS").unwrap_or(200);
    let seeds: Vec<u64> = regressions.filter(|_| from == 0).chain(some).collect();
    let (began, used) = (Instant::now(), processor());
    let (outcomes, failed) = all(&seeds);
    let met = summary(&outcomes, began.elapsed(), processor().saturating_sub(used));
    if let Some(told) = failed {
        println!("{told}");
        panic!("{told}");
    }
    // Two hundred seeds meet everything that is meant to be met.
    let missed: Vec<_> = KINDS.iter().filter(|kind| met.get(**kind).is_none_or(|count| *count == 0)).collect();
    assert!(seeds.len() < 200 || missed.is_empty(), "no seed met {missed:?}");
}

/// Says what it came to; returns how often the runs met what.
fn summary(outcomes: &[Outcome], took: Duration, used: Duration) -> BTreeMap<&str, u64> {
    let simulated: Duration = outcomes.iter().map(|outcome| outcome.simulated).sum();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in outcomes.iter().flat_map(|outcome| &outcome.faults) {
        *faults.entry(kind).or_default() += count;
    }
    let (switches, writes) = (sum(outcomes, |of| of.switches), sum(outcomes, |of| of.writes));
    let slowest = outcomes.iter().map(|outcome| outcome.detection).max().unwrap_or_default();
    println!(
        "MEASURED {} seeds, {:.1} simulated hours in {:.0} s ({:.0} s of processor time): {:.2} simulated hours a minute of processor time, {:.0} times real time",
        outcomes.len(),
        simulated.as_secs_f64() / 3600.0,
        took.as_secs_f64(),
        used.as_secs_f64(),
        simulated.as_secs_f64() / 60.0 / used.as_secs_f64(),
        simulated.as_secs_f64() / used.as_secs_f64(),
    );
    println!("{switches} switches, {writes} writes, {faults:?}, slowest last switch {} ms", slowest.as_millis());
    faults
}

fn sum(outcomes: &[Outcome], of: impl Fn(&Outcome) -> u64) -> u64 {
    outcomes.iter().map(of).sum()
}
