//! Every decoder under inputs that were made wrong on purpose: no panic, no overflowed stack, no flood of memory, no hang.
//!
//! Each decoder runs in a process of its own, because a stack that overflows takes the process with it, on a thread with
//! the stack that tokio gives its workers. Inputs are what the real encoders make, and the committed ones in
//! `tests/fixtures/fuzz/<decoder>`, mutated. An input that fails is kept in a file, and the command that runs it again is
//! printed. `FUZZ_SECONDS` is how long all of it may take, `FUZZ_SEED` another course, `FUZZ_TARGET` one decoder alone.
//! `coverage.sh` beside this file lets libFuzzer find its way instead.

mod bounds;
mod child;
mod controls;
mod mutate;
mod parent;

use std::{env, sync::Mutex, time::Duration};

use parent::{Outcome, Plan};

/// In all, unless `FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn every_decoder_survives() {
    let only = env::var("FUZZ_TARGET").ok();
    let chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let names: Vec<_> = quorate::fuzz::targets().iter().map(|target| target.name).filter(|name| chosen(name)).collect();
    assert!(!names.is_empty(), "there is no such target");
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(names.len());
    let all = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(SECONDS));
    let each = all * u32::try_from(workers).unwrap() / u32::try_from(names.len()).unwrap();
    let plan = Plan { each, seed: number("FUZZ_SEED").unwrap_or(1), patience: parent::PATIENCE };
    let (queue, rows) = (Mutex::new(names.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(name) = queue.lock().unwrap().next() else { return };
                    let outcome = parent::run(name, &plan);
                    rows.lock().unwrap().push((name, outcome));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(name, _)| *name);
    println!("{:<16} {:>10} {:>12} {:>12}", "decoder", "inputs", "most KiB", "slowest ms");
    let mut failures = Vec::new();
    for (name, outcome) in rows {
        match outcome {
            Outcome::Survived(figures) => println!("{name:<16} {figures}"),
            Outcome::Failed(why) => failures.push(format!("{name}: {why}")),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Were the driver blind to one of these, the test above would mean nothing.
#[test]
fn what_goes_wrong_is_noticed() {
    let plan = Plan { each: Duration::from_secs(1), seed: 1, patience: Duration::from_secs(3) };
    for (name, said) in controls::WANTED {
        match parent::run(name, &plan) {
            Outcome::Failed(why) => assert!(why.contains(said), "{name} is reported as: {why}"),
            Outcome::Survived(figures) => panic!("{name} went unnoticed: {figures}"),
        }
    }
}

/// Where the decoders run; only another process of this program calls it.
#[test]
#[ignore = "run by the other tests"]
fn child_process() {
    if let Ok(name) = env::var(parent::TARGET) {
        child::run(&name);
    }
}
