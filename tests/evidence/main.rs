//! A file of evidence that real nodes exported: it verifies, and nothing that is done to it stays unseen.
//!
//! `tests/cluster/evidence.rs` writes the fixture. What this version wrote must verify for ever.

mod forged;

use std::collections::BTreeSet;

use quorate::evidence::{Fault, text, verify};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

const REAL: &str = include_str!("../fixtures/evidence/v1.json");

fn real() -> Value {
    serde_json::from_str(REAL).unwrap()
}

#[test]
fn what_version_1_wrote_verifies() {
    let summary = verify(REAL.as_bytes()).unwrap();
    assert_eq!(summary.cluster, "e2e");
    let app = &summary.services["app"];
    assert_eq!((&app.epochs, &app.anchor, app.open), (&vec![1, 2, 3], &None, None));
    assert_eq!(app.head, app.hashes.last().cloned());
}

/// An export of the failover alone.
fn failover() -> String {
    let mut document = real();
    let app = &mut document["services"]["app"];
    let bundle = app["bundles"][1].clone();
    app["head"] = bundle["hash"].clone();
    app["bundles"] = serde_json::json!([bundle]);
    forged::seal(&mut document);
    text(&document)
}

/// Every byte, one bit of it drawn at random; `QUORATE_SEED` draws others. What is still JSON, and another one, is named by bundle
/// and field; what is none, or the same in another form, by line and column.
#[test]
fn each_flipped_byte_is_named() {
    let seed = std::env::var("QUORATE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_251_019);
    let whole = failover();
    assert_eq!(verify(whole.as_bytes()).unwrap().services["app"].epochs, [2]);
    let (bytes, document) = (whole.as_bytes(), serde_json::from_str::<Value>(&whole).unwrap());
    let share = bytes.len().div_ceil(std::thread::available_parallelism().map_or(2, usize::from));
    let flip = |from: usize| {
        let mut random = StdRng::seed_from_u64(seed + from as u64);
        let mut flipped = bytes.to_vec();
        let mut exact = 0;
        for at in from..(from + share).min(bytes.len()) {
            let bit = 1 << random.random_range(0..8);
            flipped[at] ^= bit;
            let faults = verify(&flipped).expect_err(&format!("byte {at}, bit {bit} (seed {seed})"));
            let by_field = faults.iter().any(|of| of.at.starts_with("app, ") || of.at.starts_with('/'));
            let by_line = faults.iter().any(|of| of.at.starts_with("line "));
            let another = serde_json::from_slice::<Value>(&flipped).is_ok_and(|read| read != document);
            assert!(if another { by_field } else { by_line }, "byte {at}, bit {bit} (seed {seed}): {faults:?}");
            exact += usize::from(by_field);
            flipped[at] ^= bit;
        }
        exact
    };
    let exact: usize = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..bytes.len()).step_by(share).map(|from| scope.spawn(move || flip(from))).collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    });
    println!("MEASURED {} bytes flipped, {exact} named by bundle and field, the rest by line and column", bytes.len());
}

#[test]
fn blanks_lost_bytes_and_double_keys_are_named_by_line() {
    let at = |text: &str| -> BTreeSet<String> {
        verify(text.as_bytes()).expect_err("it was changed").into_iter().map(|of| of.at).collect()
    };
    let only = |line: &str| BTreeSet::from([line.to_owned()]);
    assert_eq!(at(&format!("{REAL}\n")), only(&format!("line {}, column 1", REAL.lines().count() + 1)));
    assert_eq!(at(&REAL.replacen("  \"exported\"", "   \"exported\"", 1)), only("line 2, column 3"));
    assert_eq!(at(&REAL.replacen("  \"exported\"", "  \"version\": 1,\n  \"exported\"", 1)), only("line 2, column 4"));
    for cut in [0, 1, REAL.len() / 2, REAL.len() - 1] {
        assert!(verify(&REAL.as_bytes()[..cut]).is_err(), "the first {cut} bytes");
    }
}

#[test]
fn a_lost_bundle_and_a_changed_order_are_named() {
    let change = |change: &dyn Fn(&mut Vec<Value>)| -> Vec<Fault> {
        let mut document = real();
        change(document["services"]["app"]["bundles"].as_array_mut().unwrap());
        verify(text(&document).as_bytes()).expect_err("it was changed")
    };
    let named = |faults: &[Fault], at: &str| faults.iter().any(|of| of.at == at);
    let lost = change(&|bundles| drop(bundles.remove(1)));
    assert!(named(&lost, "app, epoch 3, /previous") && named(&lost, "app, epoch 3, /epoch"), "{lost:?}");
    let cut = change(&|bundles| drop(bundles.pop()));
    assert!(named(&cut, "app, /head"), "{cut:?}");
    let turned = change(&|bundles| bundles.swap(0, 1));
    assert!(named(&turned, "app, epoch 1, /previous") && named(&turned, "app, epoch 1, /epoch"), "{turned:?}");
}
