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
    verify(text(&document).as_bytes()).map(drop)
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
    ];
    for (what, change, at) in table {
        let faults = forged(change).expect_err(what);
        let at = format!("app, {at}");
        assert!(faults.iter().any(|of| of.at == at), "{what}: {at} is not among {faults:#?}");
    }
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
