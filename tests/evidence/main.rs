//! A file of evidence that real nodes exported: it verifies, and nothing that is done to it stays unseen.
//!
//! `tests/cluster/evidence.rs` writes the fixture. What this version wrote must verify for ever.

mod forged;

use std::collections::BTreeSet;

use quorate::evidence::{Fault, Summary, continues, has_head, text, verify};
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

/// Every byte, one bit of it drawn at random; `QUORATE_SEED` draws others, `QUORATE_EVERY_BIT=1` flips all. What is still JSON, and another one, is named by bundle
/// and field; what is none, or the same in another form, by line and column.
#[test]
fn each_flipped_byte_is_named() {
    let seed = std::env::var("QUORATE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_251_019);
    let all = std::env::var("QUORATE_EVERY_BIT").as_deref() == Ok("1");
    let whole = failover();
    assert_eq!(verify(whole.as_bytes()).unwrap().services["app"].epochs, [2]);
    let (bytes, document) = (whole.as_bytes(), serde_json::from_str::<Value>(&whole).unwrap());
    let share = bytes.len().div_ceil(std::thread::available_parallelism().map_or(2, usize::from));
    let flip = |from: usize| {
        let mut random = StdRng::seed_from_u64(seed + from as u64);
        let mut flipped = bytes.to_vec();
        let mut exact = 0;
        let mut bits = || if all { (0..8).collect() } else { vec![random.random_range(0..8)] };
        let places =
            (from..(from + share).min(bytes.len())).flat_map(|at| bits().into_iter().map(move |bit| (at, bit)));
        for (at, bit) in places {
            let bit = 1 << bit;
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
    let each = if all { "every bit of " } else { "" };
    println!(
        "MEASURED {each}{} bytes flipped, {exact} named by bundle and field, the rest by line and column",
        bytes.len()
    );
}

/// Every value in the file is given another one, of the same kind where it has a kind; the form stays right.
#[test]
fn each_changed_field_is_named() {
    let mut document = real();
    let mut pointers = vec![];
    leaves(&document, String::new(), &mut pointers);
    for pointer in &pointers {
        let before = document.pointer(pointer).unwrap().clone();
        *document.pointer_mut(pointer).unwrap() = other(&before);
        let faults = verify(text(&document).as_bytes()).expect_err(pointer);
        let wanted = place(pointer);
        assert!(faults.iter().any(|of| of.at.ends_with(&wanted)), "{pointer}: {wanted} is not in {faults:#?}");
        *document.pointer_mut(pointer).unwrap() = before;
    }
    assert_eq!(document, real());
    println!("MEASURED {} fields changed, each named", pointers.len());
}

/// Where the values lie that hold no others.
fn leaves(value: &Value, pointer: String, found: &mut Vec<String>) {
    let below = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, field)| leaves(field, below(key), found));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, item)| leaves(item, below(&i.to_string()), found));
        }
        _ => found.push(pointer),
    }
}

fn other(value: &Value) -> Value {
    match value {
        Value::Null => Value::from(7),
        Value::Bool(flag) => Value::from(!flag),
        Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
        Value::String(text) => Value::from(format!("{text}x")),
        Value::Array(_) => Value::from(vec![7]),
        Value::Object(_) => serde_json::json!({ "x": 7 }),
    }
}

/// How the place of a leaf ends in a fault: sums are told by what they are the sum of, the rest as deep as sums go.
fn place(pointer: &str) -> String {
    let parts: Vec<&str> = pointer.split('/').skip(1).collect();
    let parts = match parts.as_slice() {
        ["services", _, "bundles", _, rest @ ..] => rest,
        ["services", _, "head"] => &["head"],
        whole => whole,
    };
    match parts {
        ["sums", of] => of.replace("~1", "/").replace("~0", "~"),
        parts => format!("/{}", parts[..parts.len().min(3)].join("/")),
    }
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
    let twice = change(&|bundles| bundles.insert(1, bundles[1].clone()));
    assert!(named(&twice, "app, epoch 2, /previous") && named(&twice, "app, epoch 2, /epoch"), "{twice:?}");
    let beheaded = change(&|bundles| drop(bundles.remove(0)));
    assert!(named(&beheaded, "/services/app/bundles"), "{beheaded:?}");
    let none = change(&Vec::clear);
    assert!(named(&none, "/services/app/bundles"), "{none:?}");
    // The beginning of one file and the end of another, each sealed as it should be.
    let elsewhere = forged::another_history();
    let spliced = change(&|bundles| bundles[2] = elsewhere["services"]["app"]["bundles"][2].clone());
    assert!(named(&spliced, "app, epoch 3, /previous") && named(&spliced, "app, /head"), "{spliced:?}");
    let mut document = real();
    document["services"]["app"]["bundles"] = elsewhere["services"]["app"]["bundles"].clone();
    let swapped = verify(text(&document).as_bytes()).expect_err("it was changed");
    assert!(named(&swapped, "app, /head") && named(&swapped, "/services/app/bundles"), "{swapped:?}");
    let mut document = real();
    document["services"] = serde_json::json!({});
    let gone = verify(text(&document).as_bytes()).expect_err("it was changed");
    assert!(named(&gone, "/services/app/head") && named(&gone, "/services/app/bundles"), "{gone:?}");
}

#[test]
fn heads_and_earlier_exports_bind_a_history_that_is_right_in_itself() {
    let verified = |document: &Value| verify(text(document).as_bytes()).expect("it is right in itself");
    let (whole, elsewhere) = (verified(&real()), verified(&forged::another_history()));
    let head = whole.services["app"].head.clone().unwrap();
    assert_eq!((has_head(&whole, None, &head), has_head(&whole, Some("app"), &head)), (Ok(()), Ok(())));
    let at = |told: Result<(), Fault>| told.unwrap_err().at;
    assert_eq!(at(has_head(&elsewhere, None, &head)), "app, /head");
    assert_eq!(at(has_head(&whole, None, &whole.services["app"].hashes[1])), "app, /head", "an older one is no head");
    assert_eq!(at(has_head(&whole, Some("shop"), &head)), "/services");
    let mut two = whole.clone();
    two.services.insert("shop".into(), elsewhere.services["app"].clone());
    assert_eq!(at(has_head(&two, None, &head)), "/services", "of which service it is must be said");

    let mut earlier = real();
    let app = &mut earlier["services"]["app"];
    app["head"] = app["bundles"][1]["hash"].clone();
    app["bundles"].as_array_mut().unwrap().pop();
    forged::seal(&mut earlier);
    let earlier = verified(&earlier);
    let places = |told: Result<(), Vec<Fault>>| told.unwrap_err().into_iter().map(|of| of.at).collect::<Vec<_>>();
    assert_eq!((continues(&whole, &earlier), continues(&whole, &whole)), (Ok(()), Ok(())));
    // The bundle that the earlier one ended in is forgotten, and the first that is left is bound to it.
    let mut later = whole.clone();
    let app = later.services.get_mut("app").unwrap();
    (app.anchor, app.hashes) = (earlier.services["app"].head.clone(), vec![head.clone()]);
    assert_eq!(continues(&later, &earlier), Ok(()));
    assert_eq!(places(continues(&earlier, &whole)), ["app, /head"], "switches were cut off at the end");
    assert_eq!(places(continues(&elsewhere, &whole)), ["app, /head"]);
    assert_eq!(places(continues(&whole, &two)), ["/services"], "a service is gone");
    let other = Summary { cluster: "test".into(), ..whole.clone() };
    assert_eq!(places(continues(&other, &whole)), ["/exported/cluster"]);
}
