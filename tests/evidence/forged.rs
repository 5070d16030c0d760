//! Forgeries whose hashes are right: the content was changed and everything sealed anew. What is left is what the protocol
//! itself would never have done.

use quorate::{
    core::seal::{hash, sums},
    evidence::{Fault, text, verify},
};
use serde_json::{Value, json};

use crate::real;

pub fn seal(document: &mut Value) {
    let fields = document.as_object_mut().unwrap();
    fields.remove("sums");
    fields.remove("hash");
    let content = Value::Object(fields.clone());
    let sums = sums(&content);
    document["hash"] = json!(hash(&sums));
    document["sums"] = json!(sums);
}

/// Changes bundles and binds, seals and closes everything anew.
fn forged(change: impl Fn(&mut [Value])) -> Result<(), Vec<Fault>> {
    verify(text(&resealed(|bundles| change(bundles))).as_bytes()).map(drop)
}

/// The same switches, of which the second was written on another day.
pub fn another_history() -> Value {
    resealed(|bundles| bundles[1]["authorised"]["wall"] = json!(1))
}

fn resealed(change: impl Fn(&mut Vec<Value>)) -> Value {
    let mut document = real();
    let app = &mut document["services"]["app"];
    let bundles = app["bundles"].as_array_mut().unwrap();
    change(bundles);
    let mut previous = Value::Null;
    for bundle in bundles.iter_mut() {
        bundle["previous"] = previous;
        seal(bundle);
        previous = bundle["hash"].clone();
    }
    app["head"] = previous;
    seal(&mut document);
    document
}

#[test]
fn sealing_anew_what_was_not_changed_changes_nothing() {
    assert_eq!(forged(|_| {}), Ok(()));
}

#[test]
fn what_the_protocol_would_not_have_done_is_named() {
    // The failover is the second bundle.
    type Change = fn(&mut [Value]);
    let table: &[(&str, Change, &str)] = &[
        (
            "a vote turned",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][0]["opinion"] = json!("Up"),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "a tally raised",
            |b| b[1]["evidence"]["regions"]["west"]["tally"]["down"] = json!(9),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "a quorum lowered",
            |b| b[1]["evidence"]["regions"]["west"]["tally"]["needed"] = json!(1),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "a run of another term",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][0]["runs"][0]["term"] = json!(0),
            "epoch 2, /evidence/regions/west",
        ),
        ("a site renamed", |b| b[1]["evidence"]["electorate"]["1"] = json!("rome"), "epoch 2, /evidence/regions/west"),
        (
            "a blind node that votes",
            |b| b[1]["evidence"]["sight"]["1"]["blind"] = json!("controls fail"),
            "epoch 2, /evidence/regions/east",
        ),
        ("a rule that held", |b| b[1]["evidence"]["rules"][0]["outcome"] = json!("Fail"), "epoch 2, /evidence/rules/0"),
        (
            "overridden by nobody",
            |b| b[1]["evidence"]["rules"][1]["overridden"] = json!(true),
            "epoch 2, /evidence/rules/1",
        ),
        (
            "a rule left out",
            |b| drop(b[1]["evidence"]["rules"].as_array_mut().unwrap().remove(0)),
            "epoch 2, /evidence/rules",
        ),
        ("an epoch left out", |b| b[2]["epoch"] = json!(4), "epoch 4, /epoch"),
        ("from nowhere", |b| b[2]["from"] = json!("west"), "epoch 3, /from"),
        ("to a region of no file", |b| b[2]["to"] = json!("north"), "epoch 3, /to"),
        ("written before it was authorised", |b| b[1]["written"]["index"] = json!(1), "epoch 2, /written"),
        ("observed and superseded", |b| b[1]["superseded"] = b[1]["observed"].clone(), "epoch 2, /observed"),
        ("observed, never written", |b| b[1]["written"] = Value::Null, "epoch 2, /written"),
        ("before the last was over", |b| b[2]["authorised"]["index"] = json!(1), "epoch 3, /authorised"),
        ("another service's", |b| b[2]["service"] = json!("shop"), "epoch 3, /service"),
        ("another file", |b| b[1]["evidence"]["file"] = json!("00"), "epoch 2, /evidence/file"),
        ("no receipt", |b| b[1]["evidence"]["receipts"] = json!({}), "epoch 2, /evidence/receipts"),
        ("no switch", |b| b[1]["cause"] = json!("Whim"), "epoch 2, /"),
        (
            "a run of after the switch",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][0]["runs"][0]["index"] = json!(9_000),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "down without a run",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][0]["runs"] = json!([]),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "up without a run",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][1]["runs"] = json!([]),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "up with failures enough to be down",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][1]["runs"][0]["count"] = json!(2),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "down with successes enough to be up",
            |b| b[1]["evidence"]["regions"]["west"]["votes"][0]["runs"][0]["outcome"] = json!("p"),
            "epoch 2, /evidence/regions/west",
        ),
        (
            "a verdict that the votes do not come to",
            |b| {
                let west = &mut b[1]["evidence"]["regions"]["west"];
                west["votes"][0]["opinion"] = json!("Up");
                west["votes"][0]["runs"][0]["count"] = json!(1);
                west["tally"]["up"] = json!(2);
                west["tally"]["down"] = json!(1);
            },
            "epoch 2, /evidence/rules/0",
        ),
        (
            "a region left out",
            |b| drop(b[1]["evidence"]["regions"].as_object_mut().unwrap().remove("east")),
            "epoch 2, /evidence/regions",
        ),
        ("written in an earlier term", |b| b[1]["written"]["term"] = json!(0), "epoch 2, /written"),
        ("adopted from a region", |b| b[2]["cause"] = json!("Adopt"), "epoch 3, /from"),
        ("the first of all, from somewhere", |b| b[0]["from"] = json!("east"), "epoch 1, /previous"),
    ];
    for (what, change, at) in table {
        let faults = forged(change).expect_err(what);
        let at = format!("app, {at}");
        assert!(faults.iter().any(|of| of.at == at), "{what}: {at} is not among {faults:#?}");
    }
}

#[test]
fn every_rule_that_was_asked_is_missed() {
    for bundle in [1, 2] {
        let asked = real()["services"]["app"]["bundles"][bundle]["evidence"]["rules"].clone();
        for (i, reading) in asked.as_array().unwrap().iter().enumerate() {
            let faults = forged(|b| drop(b[bundle]["evidence"]["rules"].as_array_mut().unwrap().remove(i)));
            let what = format!("`{}` was not asked", reading["rule"].as_str().unwrap());
            assert!(faults.unwrap_err().iter().any(|of| of.what == what), "{what}");
        }
    }
}

#[test]
fn a_chain_without_its_beginning_does_not_begin_anew() {
    // The adoption is cut off and what followed is sealed as if nothing had been before it.
    let document = resealed(|bundles| drop(bundles.remove(0)));
    let faults = verify(text(&document).as_bytes()).unwrap_err();
    assert_eq!(faults.iter().map(|of| of.at.as_str()).collect::<Vec<_>>(), ["app, epoch 2, /previous"]);
}

#[test]
fn a_cooldown_that_was_not_over_is_named() {
    let faults = forged(|bundles| {
        // Both switches in one instant, whose rule says that the cooldown was over.
        let at = bundles[1]["observed"]["at"].clone();
        for stamp in ["authorised", "written", "observed"] {
            bundles[2][stamp]["at"] = at.clone();
        }
    });
    let faults = faults.unwrap_err();
    assert!(faults.iter().any(|of| of.what == "`cooldown` was not over"), "{faults:#?}");
}

#[test]
fn a_policy_that_was_changed_is_not_the_one_of_its_hash() {
    let mut document = real();
    let files = document["files"].as_object_mut().unwrap();
    let (_, file) = files.iter_mut().next().unwrap();
    *file = json!(file.as_str().unwrap().replace("cooldown = '1s'", "cooldown = '0s'"));
    seal(&mut document);
    let faults = verify(text(&document).as_bytes()).unwrap_err();
    assert!(
        faults.iter().any(|of| of.at.starts_with("/files/") && of.what.contains("not the one of this hash")),
        "{faults:#?}"
    );
}
