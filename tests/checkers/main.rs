//! The Clojure checkers of `jepsen/`, run on histories whose verdict is known: each bad one names the invariant that it breaks.

#[path = "../common/clojure.rs"]
mod clojure;

use std::fs;

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
