//! The whole cluster in one thread, from a seed: real consensus, probing, leading and serving, on a simulated network, clock,
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
//! `SIM_FROM` (0) is the first seed and `SIM_SEEDS` (200) how many; `SIM_SEED=7` runs one and tells what happens. The rule
//! named in `QUORATE_SABOTAGE` is broken. A seed that breaks an invariant ends the program with a line
//! `seed 7 violated: invariant 3 after 61230 ms: …`, the command that replays it, and an exit code that is not zero.

#[cfg(not(tokio_unstable))]
compile_error!(
    "tokio's scheduler takes a seed only with --cfg tokio_unstable, as .cargo/config.toml says: unset RUSTFLAGS"
);

mod chance;
mod cluster;
mod faults;
mod invariants;
mod run;
mod truth;
mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::core::sabotage::Sabotage;

use crate::run::{Broken, Outcome, run};

/// Seeds that found something once.
const REGRESSIONS: &str = include_str!("regressions.txt");

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn sabotage() {
    if let Ok(name) = std::env::var("QUORATE_SABOTAGE") {
        Sabotage::set(Some(name.parse().unwrap_or_else(|error| panic!("QUORATE_SABOTAGE: {error}"))));
    }
}

/// Processor time of this process.
fn processor() -> Duration {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("the usage");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), u32::try_from(time.tv_usec()).unwrap_or(0) * 1000)
    };
    of(used.user_time()) + of(used.system_time())
}

/// A thread of its own for each run, so that nothing of one reaches the next.
fn isolated(seed: u64) -> Result<Outcome, Broken> {
    let done = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(16 << 20).spawn(move || run(seed));
    done.expect("a thread").join().unwrap_or_else(|panic| {
        let why =
            panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(Broken { invariant: 0, at: 0, why: format!("panicked: {}", why.unwrap_or_default()) })
    })
}

#[test]
fn a_seed_is_a_run() {
    sabotage();
    let traces: Vec<_> = [0, 0, 1].map(|seed| isolated(seed).map(|outcome| outcome.trace)).into_iter().collect();
    match &traces[..] {
        [Ok(first), Ok(again), Ok(other)] => {
            assert_eq!(first, again, "the same seed gave another run");
            assert_ne!(first, other, "another seed gave the same run");
        }
        broken => assert!(Sabotage::ALL.iter().any(|rule| rule.active()), "{broken:?}"),
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    sabotage();
    let seeds: Vec<u64> = match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let from = number("SIM_FROM").unwrap_or(0);
            let regressions = REGRESSIONS.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
            let all = from..from + number("SIM_SEEDS").unwrap_or(200);
            regressions.filter(|_| from == 0).chain(all).collect()
        }
    };
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (outcomes, broken) = (Mutex::new(vec![]), Mutex::new(None));
    let (began, used) = (Instant::now(), processor());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(seed) = seeds.get(index) else { return };
                    match isolated(*seed) {
                        Ok(outcome) => outcomes.lock().unwrap().push(outcome),
                        Err(found) => {
                            stop.store(true, Ordering::Relaxed);
                            // The first by seed, not by thread.
                            let mut broken = broken.lock().unwrap();
                            if broken.as_ref().is_none_or(|(before, _)| seed < before) {
                                *broken = Some((*seed, found));
                            }
                        }
                    }
                }
            });
        }
    });
    summary(&outcomes.into_inner().unwrap(), began.elapsed(), processor().saturating_sub(used));
    if let Some((seed, broken)) = broken.into_inner().unwrap() {
        let rule = std::env::var("QUORATE_SABOTAGE")
            .map_or_else(|_| String::new(), |rule| format!("QUORATE_SABOTAGE={rule} "));
        println!("seed {seed} {broken}");
        println!("replay: {rule}SIM_SEED={seed} SIM_TRACE=1 tests/run.sh --verbose simulation");
        panic!("seed {seed} {broken}");
    }
}

fn summary(outcomes: &[Outcome], took: Duration, used: Duration) {
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
}

fn sum(outcomes: &[Outcome], of: impl Fn(&Outcome) -> u64) -> u64 {
    outcomes.iter().map(of).sum()
}
