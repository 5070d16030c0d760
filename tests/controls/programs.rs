//! Model and simulation as programs, each run in a process of its own with a rule broken or none.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use quorate::core::sabotage::Sabotage;
use serde_json::Value;

/// How the names of variables begin by which cargo tells a test of its package.
const TOLD: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];

/// The programs, built as `tests/run.sh` builds them: optimised a little.
pub struct Programs {
    model: PathBuf,
    simulation: PathBuf,
}

/// What a seed violated.
pub struct Found {
    pub seed: u64,
    pub invariant: u8,
    pub after_ms: u64,
    /// In the simulation's words.
    pub line: String,
}

impl Programs {
    pub fn build() -> Self {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--profile", "simulation", "--features", "testing"]);
        cargo.args(["--test", "model", "--test", "simulation", "--no-run", "--message-format", "json"]);
        // What cargo told this test of its own package it would take for a change of what build scripts were told, and build
        // everything anew.
        let told = |name: &str| name == "OUT_DIR" || TOLD.iter().any(|told| name.starts_with(told));
        for (name, _) in std::env::vars_os().filter(|(name, _)| told(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        assert!(output.status.success(), "cargo: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        let executable = |name: &str| {
            let artifacts = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let path = artifacts
                .filter(|it| it["target"]["name"] == name)
                .find_map(|it| Some(it["executable"].as_str()?.into()));
            path.unwrap_or_else(|| panic!("cargo built no program {name}"))
        };
        Self { model: executable("model"), simulation: executable("simulation") }
    }

    /// What the model says is violated when a rule is broken, of the properties about these invariants: that with the
    /// shortest way there.
    pub fn model(&self, rule: Sabotage, about: &[u8]) -> Option<String> {
        // The largest worlds are left out: the smaller ones hold each of these mistakes already.
        let small = ["--skip", "three_nodes", "--skip", "grade_c"];
        let said = run(&self.model, &small, Some(rule), &[]);
        let violated = said.iter().filter_map(|line| line.split_once("violated: ").map(|(_, what)| what));
        let known = violated.filter(|what| numbers(what).iter().any(|number| about.contains(number)));
        let steps = |what: &&str| what.rsplit_once(", ").and_then(|(_, steps)| steps.split(' ').next()?.parse().ok());
        known.min_by_key(|what| steps(what).unwrap_or(u32::MAX)).map(str::to_owned)
    }

    /// The first of so many seeds that violates an invariant.
    pub fn simulate(&self, rule: Option<Sabotage>, from: u64, seeds: u64) -> Option<Found> {
        let (from, seeds) = (from.to_string(), seeds.to_string());
        let only = ["no_seed_breaks_an_invariant", "--exact"];
        let said = run(&self.simulation, &only, rule, &[("SIM_FROM", &from), ("SIM_SEEDS", &seeds)]);
        said.iter().find_map(|line| Found::read(line))
    }
}

impl Found {
    /// `seed 7 violated: invariant 3 after 61230 ms: …`
    fn read(line: &str) -> Option<Self> {
        let (seed, violated) = line.strip_prefix("seed ")?.split_once(" violated: invariant ")?;
        let (invariant, rest) = violated.split_once(" after ")?;
        let (after, _) = rest.split_once(" ms: ")?;
        let (seed, invariant, after_ms) = (seed.parse().ok()?, invariant.parse().ok()?, after.parse().ok()?);
        Some(Self { seed, invariant, after_ms, line: line.to_owned() })
    }
}

/// The invariants that a property of the model names before its colon.
fn numbers(property: &str) -> Vec<u8> {
    let named = property.split(':').next().unwrap_or_default();
    named.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The lines that a test program says. It must fail if, and only if, something is violated.
fn run(program: &Path, arguments: &[&str], broken: Option<Sabotage>, environment: &[(&str, &str)]) -> Vec<String> {
    let mut command = Command::new(program);
    command.args(arguments).arg("--nocapture").current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in ["QUORATE_SABOTAGE", "SIM_SEED", "SIM_TRACE"] {
        command.env_remove(name);
    }
    command.envs(broken.map(|rule| ("QUORATE_SABOTAGE", rule.as_str())));
    command.envs(environment.iter().copied()).env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("test result: "), "{} ran no test:\n{said}", program.display());
    assert!(
        output.status.success() != said.contains("violated: "),
        "{} {arguments:?} with {broken:?} broken failed without a violation, or the other way round:\n{said}",
        program.display()
    );
    said.lines().map(|line| line.trim().to_owned()).collect()
}
