//! Sealed evidence: each switch that is over, bound to the one before it by a hash.
//!
//! A switch is sealed when it is over, that is observed or superseded: nothing of its evidence changes after that. The bundle
//! is the switch as JSON with its service's name and the hash of the bundle before it (`previous`; `null` for the first).
//!
//! ```text
//! sum(leaf)  = SHA-256(the leaf as JSON, without blanks, keys sorted)     a leaf: what lies three levels deep, or ends above
//! hash       = SHA-256(the sums by JSON pointer, as JSON in the same form)
//! ```
//! So whoever has a bundle can find which part of it was changed, and whoever has the last hash holds all that came before.
//! The hashes follow from the state alone and are the same on every node; only that of the last bundle which was forgotten is
//! kept in it (`anchor`), so that the chain goes on over the bounded history, and over the removal of the service.
//!
//! The form is for ever: a field that is added to a switch or its evidence must be left out while it has nothing to say, or
//! every older bundle gets another hash. It is JSON so that a few lines of any language can check it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{names::ServiceName, state::ServiceState, switch::Switch};

/// SHA-256 in lower-case hex.
pub type Hash = String;

/// How deep the leaves lie.
const DEPTH: usize = 3;

/// A switch that is over, as it is sealed.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The switch as JSON, with `service` and `previous`.
    pub bundle: Value,
    /// The sum of each leaf, by JSON pointer (RFC 6901).
    pub sums: BTreeMap<String, Hash>,
    /// What the next bundle names as its `previous`.
    pub hash: Hash,
}

/// The SHA-256 of a text.
#[must_use]
pub fn digest(text: &[u8]) -> Hash {
    hex::encode(Sha256::digest(text))
}

/// The sum of each leaf of a document.
#[must_use]
pub fn sums(document: &Value) -> BTreeMap<String, Hash> {
    let mut sums = BTreeMap::new();
    take_sums(document, String::new(), 0, &mut sums);
    sums
}

fn take_sums(value: &Value, pointer: String, depth: usize, sums: &mut BTreeMap<String, Hash>) {
    let escaped = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(fields) if depth < DEPTH && !fields.is_empty() => {
            for (key, field) in fields {
                take_sums(field, escaped(key), depth + 1, sums);
            }
        }
        Value::Array(items) if depth < DEPTH && !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                take_sums(item, format!("{pointer}/{i}"), depth + 1, sums);
            }
        }
        leaf => drop(sums.insert(pointer, digest(&canonical(leaf)))),
    }
}

/// The hash over the sums.
#[must_use]
pub fn hash(sums: &BTreeMap<String, Hash>) -> Hash {
    digest(&canonical(sums))
}

/// JSON without blanks, keys sorted. What is sealed has text and number keys only and cannot fail.
fn canonical(of: &impl Serialize) -> Vec<u8> {
    serde_json::to_value(of).and_then(|sorted| serde_json::to_vec(&sorted)).unwrap_or_default()
}

/// Seals a switch.
#[must_use]
pub fn seal(service: &ServiceName, previous: Option<&Hash>, switch: &Switch) -> Sealed {
    let mut bundle = serde_json::to_value(switch).unwrap_or_default();
    if let Value::Object(fields) = &mut bundle {
        fields.insert("service".to_owned(), Value::from(service.as_str()));
        fields.insert("previous".to_owned(), previous.map_or(Value::Null, |hash| Value::from(hash.as_str())));
    }
    let sums = sums(&bundle);
    let hash = hash(&sums);
    Sealed { bundle, sums, hash }
}

impl ServiceState {
    /// The switches that are over and still known, sealed, the oldest first.
    #[must_use]
    pub fn chain(&self) -> Vec<Sealed> {
        let mut previous = self.anchor.clone();
        let seal = |switch: &Switch| {
            let sealed = seal(&self.service.name, previous.as_ref(), switch);
            previous = Some(sealed.hash.clone());
            sealed
        };
        self.history.iter().map(seal).collect()
    }

    /// The hash of the last switch that is over; `None` while there was none.
    #[must_use]
    pub fn head(&self) -> Option<Hash> {
        self.chain().pop().map(|last| last.hash).or_else(|| self.anchor.clone())
    }

    /// Forgets the oldest switch, and keeps what the next one is bound to.
    pub(super) fn forget_oldest(&mut self) {
        if let Some(oldest) = self.history.pop_front() {
            self.anchor = Some(seal(&self.service.name, self.anchor.as_ref(), &oldest).hash);
        }
    }

    /// Keeps the file that an open switch rests on, and those of the switches that are remembered.
    pub(super) fn keep_file(&mut self, file: &Hash) {
        self.files.insert(file.clone(), self.source.clone());
        let of = |switch: &Switch| switch.evidence.file.clone();
        let wanted: Vec<Hash> = self.switches().map(of).chain([file.clone()]).collect();
        self.files.retain(|file, _| wanted.contains(file));
    }
}
