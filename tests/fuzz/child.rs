//! Runs one decoder on one input after the other; never returns from an input that makes it fail.

use std::{
    env, fs,
    os::unix::fs::FileExt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use quorate::fuzz::{Target, targets};
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{bounds, controls, mutate, number, parent};

/// What tokio gives its workers. The frames of a debug build are the largest there are.
const STACK: usize = 2 * 1024 * 1024;
/// What one input may take of a processor in a debug build.
const MOST_TIME: Duration = Duration::from_secs(2);
/// What one input may take of memory: so much, and so many times its own length.
const MOST_MEMORY: (usize, usize) = (16 * 1024 * 1024, 128);

pub fn run(name: &str) {
    let target = targets().into_iter().chain(controls::TARGETS).find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    let directory = env::var_os(parent::DIRECTORY).map(PathBuf::from);
    let work = move || match env::var_os(parent::INPUT) {
        Some(file) => Runner::new(target, directory).run(&fs::read(file).unwrap()),
        None => drive(target, directory.expect("the parent names a directory")),
    };
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}

/// The inputs of earlier failures and finds.
fn committed(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(name);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn drive(target: Target, directory: PathBuf) {
    let until = Instant::now() + Duration::from_millis(number(parent::MILLISECONDS).unwrap());
    let mut rng = StdRng::seed_from_u64(number(parent::SEED).unwrap());
    let mut runner = Runner::new(target, Some(directory.clone()));
    let mut corpus = (target.seeds)();
    corpus.extend(committed(target.name));
    for input in &corpus {
        runner.run(input);
    }
    // The long ones have shown what there was to see: mutated, they would leave no time for the others.
    corpus.retain(|input| input.len() <= 32 * 1024);
    while Instant::now() < until {
        let (base, other) = (corpus.choose(&mut rng).unwrap(), corpus.choose(&mut rng).unwrap());
        runner.run(&mutate::mutated(base, other, &mut rng));
    }
    let slowest = runner.slowest.as_micros();
    let (whole, part) = (slowest / 1000, slowest % 1000);
    let figures = format!("{:>10} {:>12} {whole:>8}.{part:03}", runner.count, runner.most / 1024);
    fs::write(directory.join("figures"), figures).unwrap();
}

struct Runner {
    target: Target,
    directory: Option<PathBuf>,
    /// What is being run: a counter, a length, the bytes. Whoever finds this process dead looks here.
    current: Option<fs::File>,
    count: u64,
    most: usize,
    slowest: Duration,
}

impl Runner {
    fn new(target: Target, directory: Option<PathBuf>) -> Self {
        let current = directory.as_ref().map(|directory| fs::File::create(directory.join("current")).unwrap());
        // One-time costs, such as tables that are filled at first use, are no input's.
        for seed in (target.seeds)().iter().take(1) {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(seed)));
        }
        Self { target, directory, current, count: 0, most: 0, slowest: Duration::ZERO }
    }

    fn run(&mut self, input: &[u8]) {
        self.count += 1;
        if let Some(current) = &self.current {
            let parts = [&self.count.to_le_bytes()[..], &(input.len() as u64).to_le_bytes(), input];
            current.write_all_at(&parts.concat(), 0).unwrap();
        }
        let run = AssertUnwindSafe(|| (self.target.run)(input));
        let (result, memory, time) = bounds::measured(|| panic::catch_unwind(run));
        self.most = self.most.max(memory);
        self.slowest = self.slowest.max(time);
        if let Err(payload) = result {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?");
            self.fail(&format!("panicked: {text}"));
        }
        if memory > MOST_MEMORY.0 + MOST_MEMORY.1 * input.len() {
            self.fail(&format!("took {} MiB of memory for {} bytes", memory >> 20, input.len()));
        }
        if time > MOST_TIME {
            self.fail(&format!("took {time:?} of a processor for {} bytes", input.len()));
        }
    }

    fn fail(&self, why: &str) -> ! {
        eprintln!("{why}");
        if let Some(directory) = &self.directory {
            fs::write(directory.join("failure"), why).unwrap();
        }
        process::exit(1);
    }
}
