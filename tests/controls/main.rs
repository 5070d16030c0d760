//! Who catches what: each rule of the protocol is broken on purpose, and the model or the simulation must fail.
//!
//! A rule is broken for a whole process, so each try is one. The contract with whatever is tried: it is a test of this
//! package, it obeys `QUORATE_SABOTAGE`, and it fails with a line that begins with `violated:` and names the invariant. The
//! simulation goes through the seeds from `SIM_FROM` on, `SIM_SEEDS` of them, and ends at the first that fails.
//!
//! `tests/run.sh --verbose controls` prints the table.
#![cfg(feature = "testing")]

use std::{fmt::Write as _, process::Command};

use quorate::core::sabotage::Sabotage;

/// The seeds within which the simulation must notice what the model does not.
const SEEDS: &str = "500";

/// What is asked of the model or the simulation, which break no promise about what clients read.
fn rules() -> impl Iterator<Item = Sabotage> {
    Sabotage::ALL.iter().copied().filter(|rule| *rule != Sabotage::StaleReads)
}

/// Runs a test of this package with a rule broken; what it says was violated, if it noticed.
fn try_out(test: &str, broken: Sabotage, arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--profile", "simulation", "--features", "testing", "--test", test])
        .args(["--", "--nocapture"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("QUORATE_SABOTAGE", broken.as_str())
        .envs([("SIM_FROM", "1"), ("SIM_SEEDS", SEEDS), ("RUST_BACKTRACE", "0")])
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let violated = said.lines().find_map(|line| line.trim().strip_prefix("violated: "));
    assert!(
        output.status.success() == violated.is_none(),
        "{test} with {broken:?} failed without a violation, or the other way round:\n{said}",
        broken = broken.as_str()
    );
    violated.map(str::to_owned)
}

#[test]
fn each_broken_rule_is_caught() {
    let manifest = include_str!("../../Cargo.toml");
    let simulated = manifest.contains("name = \"simulation\"");
    // The largest worlds are left out: the smaller ones hold each of these mistakes already.
    let small = ["--skip", "three_nodes", "--skip", "grade_c"];
    let (mut table, mut missed) = (format!("{:<20}  {:<9}  violated\n", "broken rule", "caught by"), vec![]);
    for rule in rules() {
        let by_model = try_out("model", rule, &small).map(|violated| ("model", violated));
        let caught = by_model.or_else(|| {
            let by_simulation = simulated.then(|| try_out("simulation", rule, &[])).flatten();
            by_simulation.map(|violated| ("simulation", violated))
        });
        let (by, violated) = caught.unwrap_or_else(|| {
            missed.push(rule.as_str());
            ("nobody", String::new())
        });
        let _ = writeln!(table, "{:<20}  {by:<9}  {violated}", rule.as_str());
    }
    println!("{table}");
    assert!(missed.is_empty(), "nobody catches {}:\n{table}", missed.join(", "));
}
