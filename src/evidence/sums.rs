//! Whether what a document holds is what its sums say, and its sums what its hash says.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::core::seal::{Hash, hash, sums};

/// A part that is wrong, by JSON pointer, and what is wrong with it.
pub(super) type Wrong = (String, String);

/// The fields of a document without its sums and its hash.
pub(super) fn content(document: &Map<String, Value>) -> Value {
    let fields = document.iter().filter(|(name, _)| !["sums", "hash"].contains(&name.as_str()));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Everything in a summed document that is not what it was when it was summed.
pub(super) fn check(document: &Map<String, Value>) -> Vec<Wrong> {
    let Ok(stored) = BTreeMap::<String, Hash>::deserialize(document.get("sums").unwrap_or(&Value::Null)) else {
        return vec![("/sums".into(), "is no table of sums".into())];
    };
    let computed = sums(&content(document));
    let stored_hash = document.get("hash").and_then(Value::as_str);
    let (sums_hold, content_holds) = (stored_hash == Some(&hash(&stored)), stored_hash == Some(&hash(&computed)));
    let pointers: BTreeSet<&String> = stored.keys().chain(computed.keys()).collect();
    let mut wrong = vec![];
    for pointer in pointers {
        let what = match (stored.get(pointer), computed.get(pointer)) {
            (Some(stored), Some(computed)) if stored == computed => continue,
            (Some(_), Some(_)) if content_holds => "its sum was changed",
            (Some(_), Some(_)) => "is not what was sealed",
            (Some(_), None) if content_holds => "a sum was added for what is not there",
            (Some(_), None) => "was sealed and is missing",
            (None, _) if content_holds => "its sum is missing",
            (None, _) => "was not there when this was sealed",
        };
        wrong.push((pointer.clone(), what.to_owned()));
    }
    if wrong.is_empty() && !sums_hold {
        wrong.push(("/hash".into(), "is not the hash of the sums".into()));
    }
    wrong
}
