//! The Clojure checkers of `jepsen/`, run on histories whose verdict is known: each bad one names the invariant that it breaks.

#[path = "../common/clojure.rs"]
mod clojure;
#[path = "../common/recording.rs"]
mod recording;

use std::{collections::BTreeSet, fs};

use quorate::{
    core::state::Action,
    history::{Decoder, Item, Record},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/jepsen/test/fixtures");

#[test]
fn each_fixture_gets_its_verdict_and_each_invariant_has_a_bad_one() {
    let Some(ran) = clojure::run_checkers(&["--fixtures", FIXTURES]) else { return };
    print!("{}", ran.said);
    assert_eq!(ran.exit, 0, "{}", ran.said);
    assert!(ran.said.contains(", 0 wrong"), "{}", ran.said);
}

#[test]
fn a_fixture_in_the_wrong_place_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    for kind in ["good", "bad"] {
        fs::create_dir(dir.path().join(kind)).expect("a directory");
    }
    let copy = |from: &str, to: &str| {
        fs::copy(format!("{FIXTURES}/{from}"), dir.path().join(to)).expect("a copy");
    };
    copy("good/a-run.edn", "bad/06-nothing-is-wrong-here.edn");
    copy("bad/09-never.edn", "good/all-is-well.edn");
    let Some(ran) = clojure::run_checkers(&["--fixtures", dir.path().to_str().expect("UTF-8")]) else { return };
    assert_eq!(ran.exit, 1, "{}", ran.said);
    assert!(ran.said.contains("1 good and 1 bad fixtures, 2 wrong"), "{}", ran.said);
}

#[test]
fn the_exit_code_is_the_verdict() {
    let (good, bad) = (format!("{FIXTURES}/good/a-run.edn"), format!("{FIXTURES}/bad/06-a-late-write-landed.edn"));
    let Some(ran) = clojure::run_checkers(&[&good]) else { return };
    assert_eq!((ran.exit, ran.violations()), (0, Some(0)), "{}", ran.said);
    let ran = clojure::run_checkers(&[&bad]).expect("it ran a moment ago");
    assert_eq!((ran.exit, ran.violations()), (1, Some(1)), "{}", ran.said);
    assert!(ran.said.contains("6: app: a write of epoch 2 landed over epoch 3"), "{}", ran.said);
    assert_eq!(clojure::run_checkers(&["/nonexistent.edn"]).expect("it ran a moment ago").exit, 2);
    assert_eq!(clojure::run_checkers(&[]).expect("it ran a moment ago").exit, 2);
}

/// A history that says nothing is not a good one.
#[test]
fn an_empty_history_cannot_be_judged() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("empty.edn");
    fs::write(&file, "").expect("the file");
    let Some(ran) = clojure::run_checkers(&[file.to_str().expect("UTF-8")]) else { return };
    assert_eq!(ran.exit, 1, "{}", ran.said);
    assert!(ran.said.contains("cannot be judged: no witness"), "{}", ran.said);
}

/// The wire format, the witness and the regions of the Jepsen project, which need no Jepsen.
#[test]
fn what_needs_no_jepsen_works() {
    let Some(ran) = clojure::run_main("quorate.selftest", &[]) else { return };
    print!("{}", ran.said);
    assert_eq!(ran.exit, 0, "{}", ran.said);
    assert!(ran.said.lines().filter(|line| line.starts_with("ok ")).count() >= 15, "{}", ran.said);
}

/// What can be checked of the rest without Jepsen: it reads, its names exist, its calls have as many arguments as they need.
#[test]
fn the_jepsen_project_reads_and_its_names_exist() {
    let jepsen = concat!(env!("CARGO_MANIFEST_DIR"), "/jepsen");
    let names = format!("{jepsen}/test/jepsen-0.3.11.edn");
    let Some(ran) = clojure::run_main("quorate.lint", &[&format!("{jepsen}/src"), &names]) else { return };
    assert_eq!(ran.exit, 0, "{}", ran.said);

    let dir = tempfile::tempdir().expect("a directory");
    let wrong = "(ns jepsen.quorate.wrong (:require [jepsen.checker :as checker] [jepsen.db :as db]))\n\
                 (defn f [a] (checker/compoze a))\n(defn g [] (checker/compose 1 2))\n(defn h [] (f 1 2))\n";
    fs::write(dir.path().join("wrong.clj"), wrong).expect("the file");
    let ran = clojure::run_main("quorate.lint", &[dir.path().to_str().expect("UTF-8"), &names]).expect("it ran");
    assert_eq!(ran.exit, 1, "{}", ran.said);
    for problem in ["has no compoze", "checker/compose takes", "f takes", "jepsen.db is required and not used"] {
        assert!(ran.said.contains(problem), "{problem}: {}", ran.said);
    }
}

/// The Clojure decoder of recordings finds in one what ours finds.
#[test]
fn two_decoders_read_the_same_recording() {
    let service = recording::service("app", 1, "1s", "");
    let mut world = recording::World::new(&[service], 1000);
    world.run(8_000);
    world.elect();
    world.run(20_000);
    let mut bytes = world.bytes.clone();
    // Noise between two records, as after a power cut.
    bytes.extend([0xff, 0x51, 3, 0, 0]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recording");
    fs::write(&file, &bytes).expect("the file");
    let Some(ran) = clojure::run_main("quorate.recording", &[file.to_str().expect("UTF-8")]) else { return };

    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    decoder.end();
    let mut wanted = BTreeSet::new();
    while let Some(item) = decoder.next_item() {
        let Item::Record(record) = item else { continue };
        if let Record::Entry { position, command } = *record
            && let Action::Reports(reports) = command.action
        {
            wanted.extend(reports.iter().map(|report| format!("[{} {} {}]", report.node, report.seq, position.index)));
        }
    }
    let (_, elements) = ran.said.split_once(":elements [").expect("elements");
    let (elements, covered) = elements.split_once("], :covered").expect("covered");
    let found: BTreeSet<String> = elements.split_inclusive(']').map(|text| text.trim().to_owned()).collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    assert_eq!(found, wanted);
    assert_eq!(covered.matches('[').count(), 2, "one stretch without a gap: {covered}");
}
