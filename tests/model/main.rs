//! Every order of events, up to a size, with the product's own core, planning and conditions in it: nothing is sampled.
//!
//! With `QUORATE_SABOTAGE` set to a rule's name the rule is broken first, and the tests must fail and say what was violated.
#![cfg(feature = "testing")]

mod judge;
mod rules;
mod sight;
mod tables;
mod writes;

use std::{collections::BTreeSet, fmt::Debug, hash::Hash, time::Instant};

use quorate::{core::sabotage::Sabotage, dns::Grade};
use stateright::{Checker, HasDiscoveries, Model};

use sight::Sights;
use writes::{Limits, Writes};

/// Breaks the rule that the environment names.
fn obey_sabotage() {
    if let Ok(name) = std::env::var("QUORATE_SABOTAGE") {
        Sabotage::set(Some(name.parse().expect("QUORATE_SABOTAGE")));
    }
}

/// Goes through everything, says what it was, and fails on the first violation or on what was never reached.
fn exhaust<M>(what: &str, model: M, say: fn(&M, M::Action) -> String)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    obey_sabotage();
    let begin = Instant::now();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "TABLE: {what}: {} states ({} steps), depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begin.elapsed().as_secs_f64()
    );
    let properties = checker.model().properties();
    for (name, path) in checker.discoveries() {
        if properties.iter().any(|property| property.name == name && property.expectation.discovery_is_failure()) {
            let steps: Vec<_> = path.into_actions().into_iter().map(|step| say(checker.model(), step)).collect();
            panic!("violated: {name}, {} steps\n  {}", steps.len(), steps.join("\n  "));
        }
    }
    checker.assert_properties();
}

fn writes(what: &str, limits: Limits) {
    exhaust(what, Writes::new(limits), Writes::say);
}

/// Two leaders, two intents, and time between a quorum's answer and the reading.
const SMALL: Limits =
    Limits { terms: 2, intents: 2, clusters: 1, flight: 2, late_reading: true, grade: Grade::A, as_if_refused: false };

#[test]
fn three_nodes_three_terms_three_intents() {
    writes("grade A, 3 terms, 3 intents", Limits { terms: 3, intents: 3, late_reading: false, ..SMALL });
}

#[test]
fn a_deposed_leader_reads_late() {
    writes("grade A, 2 terms, 2 intents, late readings", SMALL);
}

#[test]
fn grade_b_refuses_by_identity() {
    writes("grade B, 2 terms, 2 intents, late readings", Limits { grade: Grade::B, ..SMALL });
}

#[test]
fn two_clusters_claim_one_record() {
    writes("two clusters, 2 terms each", Limits { clusters: 2, intents: 1, ..SMALL });
}

#[test]
fn grade_c_finds_and_undoes_what_came_late() {
    writes("grade C, 2 terms, 2 intents", Limits { grade: Grade::C, late_reading: false, ..SMALL });
}

#[test]
fn what_a_switch_rests_on() {
    exhaust("observations, 2 terms, 4 reports", Sights::new(4, 2, 2), |_, event| format!("{event:?}"));
}

/// Grade C has no condition. Whoever takes its second look before the write for one is shown the order of events in which a
/// superseded write stands: README, "And what is not".
#[test]
fn grade_c_taken_for_grade_a_loses_to_a_late_write() {
    obey_sabotage();
    let limits = Limits { grade: Grade::C, as_if_refused: true, late_reading: false, ..SMALL };
    let begin = Instant::now();
    let wanted = BTreeSet::from([rules::REFUSED]);
    let checker = Writes::new(limits).checker().finish_when(HasDiscoveries::AllOf(wanted)).spawn_bfs().join();
    let path = checker.discovery(rules::REFUSED).expect("grade C's hazard must be found");
    let steps: Vec<_> = path.into_actions().into_iter().map(|step| checker.model().say(step)).collect();
    println!(
        "TABLE: grade C taken for A: a superseded write is carried out after {} steps ({} states, {:.1} s)\n  {}",
        steps.len(),
        checker.unique_state_count(),
        begin.elapsed().as_secs_f64(),
        steps.join("\n  ")
    );
}
