//! From the state to the document.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{FORMAT, VERSION};
use crate::core::{
    names::{ClusterId, Epoch, NodeId, ServiceName},
    seal::{Hash, Sealed, hash, sums},
    state::{ServiceState, State},
};

/// Where and when an export was made.
#[derive(Debug, Clone, Serialize)]
pub struct Exported {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that made it.
    pub node: NodeId,
    /// The last entry in the state.
    pub applied_index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Wall time in ms since 1970.
    pub wall_ms: u64,
    /// The version of the program.
    pub program: String,
}

/// The document with the switches of these services that are over; of one epoch alone, if one is given.
#[must_use]
pub fn export(state: &State, exported: &Exported, service: Option<&ServiceName>, epoch: Option<Epoch>) -> Value {
    let mut files: BTreeMap<&Hash, &str> = BTreeMap::new();
    let mut services = Map::new();
    for (name, of) in state.services.iter().filter(|(name, _)| service.is_none_or(|wanted| *name == wanted)) {
        let wanted = |number: Epoch| epoch.is_none_or(|epoch| epoch == number);
        let switches = of.history.iter().zip(of.chain()).filter(|(switch, _)| wanted(switch.epoch));
        let mut bundles = vec![];
        let mut head = of.anchor.clone().filter(|_| epoch.is_none());
        for (switch, sealed) in switches {
            head = Some(sealed.hash.clone());
            files.extend(of.files.get_key_value(&switch.evidence.file).map(|(hash, text)| (hash, text.as_str())));
            bundles.push(bundle(sealed));
        }
        services.insert(name.to_string(), json!({ "bundles": bundles, "head": head, "open": open(of) }));
    }
    let mut document = json!({
        "format": FORMAT,
        "version": VERSION,
        "exported": exported,
        "files": files,
        "services": services,
    });
    let sums = sums(&document);
    if let Value::Object(fields) = &mut document {
        fields.insert("hash".to_owned(), Value::from(hash(&sums)));
        fields.insert("sums".to_owned(), json!(sums));
    }
    document
}

fn open(of: &ServiceState) -> Option<Epoch> {
    of.open.as_ref().map(|open| open.epoch)
}

fn bundle(sealed: Sealed) -> Value {
    let Sealed { mut bundle, sums, hash } = sealed;
    if let Value::Object(fields) = &mut bundle {
        fields.insert("hash".to_owned(), Value::from(hash));
        fields.insert("sums".to_owned(), json!(sums));
    }
    bundle
}

/// The document as it is written: the only form that verifies.
#[must_use]
pub fn text(document: &Value) -> String {
    format!("{document:#}\n")
}
