//! Who catches what: each rule of the protocol is broken on purpose, and model and simulation must notice.
//!
//! A rule is broken for a whole process, so each try is one. The contract with whatever is tried: it is a test of this
//! package, it obeys `QUORATE_SABOTAGE`, and it fails with a line that says `violated: ` and what. The model says the
//! property and the number of steps, the simulation `invariant 3 after 61230 ms: …`.
//!
//! `seeds.txt` names for each rule a seed of the simulation that shows it, so that the table costs seconds: under the broken
//! rule the seed must violate an invariant that the rule is about, and without, none. A change of the product may change what
//! a seed means; then the seeds from 1 to 500 are searched, as `CONTROLS_SEARCH=1` has it done for all rules.
#![cfg(feature = "testing")]

mod programs;

use std::{collections::BTreeMap, fmt::Write as _, ops::RangeInclusive, path::Path};

use quorate::core::sabotage::Sabotage;

use programs::{Found, Programs};

/// The seeds within which the simulation must notice.
const SEEDS: u64 = 500;
/// For each rule a seed that shows it.
const LIST: &str = "tests/controls/seeds.txt";
const HEAD: &str = "# For each rule a seed of the simulation that shows it broken. CONTROLS_SEARCH=1 tests/run.sh controls writes this.\n";

/// The properties of the model that a rule is about, by invariant; none where the model has nothing that could break.
fn in_model(rule: Sabotage) -> &'static [u8] {
    match rule {
        Sabotage::NoFence => &[5, 6],
        Sabotage::NoReadIndex => &[2],
        Sabotage::QuorumOfReachable | Sabotage::KeepOpinions | Sabotage::ExpiredOpinions => &[3],
        // A clock that leaps back keeps old observations fresh; one that leaps ahead ends the cooldown.
        Sabotage::WallClock => &[3, 11],
        Sabotage::NoCooldown => &[11],
        // It has no readers.
        Sabotage::StaleReads => &[],
    }
}

/// The same for the simulation, which tells invariants 3 and 4 apart, has readers, and waits for what must happen.
fn in_simulation(rule: Sabotage) -> &'static [u8] {
    match rule {
        // A clock that leaps back has every timer stand still for hours.
        Sabotage::WallClock => &[3, 4, 9, 11],
        Sabotage::KeepOpinions | Sabotage::ExpiredOpinions => &[3, 4],
        Sabotage::StaleReads => &[7],
        rule => in_model(rule),
    }
}

/// The list: rule, seed.
fn listed() -> BTreeMap<&'static str, u64> {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let row = |line: &'static str| {
        let (rule, seed) = line.split_once(' ')?;
        Some((rule, seed.trim().parse().ok()?))
    };
    lines.map(|line| row(line).unwrap_or_else(|| panic!("{LIST}: `{line}` is no rule and seed"))).collect()
}

/// The first of these seeds that shows that the rule is broken, by an invariant that the rule is about.
fn show(programs: &Programs, rule: Sabotage, seeds: RangeInclusive<u64>) -> Option<Found> {
    let (mut from, last) = seeds.into_inner();
    while from <= last {
        let found = programs.simulate(Some(rule), from, last - from + 1)?;
        println!("{}: {}", rule.as_str(), found.line);
        if in_simulation(rule).contains(&found.invariant) {
            return Some(found);
        }
        // A broken rule may break more than what it is about; that is not what is looked for.
        from = found.seed + 1;
    }
    None
}

/// The simulation's column, and the seed to list.
fn simulation(programs: &Programs, rule: Sabotage, listed: Option<u64>) -> Result<(String, u64), String> {
    let known = listed.and_then(|seed| show(programs, rule, seed..=seed));
    let moved = known.is_none() && listed.is_some();
    let Found { seed, invariant, after_ms, .. } =
        known.or_else(|| show(programs, rule, 1..=SEEDS)).ok_or_else(|| format!("missed in {SEEDS} seeds"))?;
    if let Some(found) = programs.simulate(None, seed, 1) {
        return Err(format!("unbroken, {}", found.line));
    }
    let moved = if moved { " (listed is another)" } else { "" };
    Ok((format!("{invariant}: seed {seed}, {} s{moved}", after_ms / 1000), seed))
}

#[test]
fn each_broken_rule_is_caught() {
    let (programs, search, listed) = (Programs::build(), std::env::var_os("CONTROLS_SEARCH").is_some(), listed());
    let (mut missed, mut list) = (vec![], String::from(HEAD));
    println!("TABLE: {:<20}  {:<24}  model", "broken rule", "simulation");
    for rule in Sabotage::ALL.iter().copied() {
        let name = rule.as_str();
        let simulated = simulation(&programs, rule, listed.get(name).copied().filter(|_| !search));
        let modelled = match in_model(rule) {
            [] => Ok("has no readers".to_owned()),
            about => programs.model(rule, about).ok_or_else(|| "missed".to_owned()),
        };
        let column = simulated.as_ref().map_or_else(String::as_str, |(column, _)| column);
        println!("TABLE: {name:<20}  {column:<24}  {}", modelled.as_ref().unwrap_or_else(|missed| missed));
        match (simulated, modelled) {
            (Ok((_, seed)), Ok(_)) => writeln!(list, "{name} {seed}").expect("it is text"),
            _ => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "the table says what it was that does not notice: {}", missed.join(", "));
    if search {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
        std::fs::write(&path, list).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{LIST} is written anew");
    }
}
