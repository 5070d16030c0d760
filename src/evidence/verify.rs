//! From the bytes of a file to what it proves, or to everything that is wrong with it. Pure: no cluster, no clock.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FORMAT, VERSION, document::text, judge::judge, sums};
use crate::{
    core::{
        seal::{Hash, digest},
        service::Service,
        switch::Switch,
    },
    service_file,
};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: `app, epoch 7, /evidence/rules/3`, or a line and column.
    pub at: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// What a file that verifies holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The hash over the whole file.
    pub hash: Hash,
    /// The cluster that it is of.
    pub cluster: String,
    /// The node that exported it.
    pub node: u64,
    /// Its services by name.
    pub services: BTreeMap<String, SummaryOfService>,
}

/// What it holds of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SummaryOfService {
    /// The epochs of its bundles, the oldest first.
    pub epochs: Vec<u64>,
    /// The hash of the last one.
    pub head: Option<Hash>,
    /// What the first one is bound to; nothing when it is the first of all.
    pub anchor: Option<Hash>,
    /// The hashes of its bundles, the oldest first.
    pub hashes: Vec<Hash>,
    /// The epoch that was still open, and therefore is not in the file.
    pub open: Option<u64>,
}

#[derive(Deserialize)]
struct Header {
    cluster: String,
    node: u64,
}

#[derive(Deserialize)]
struct Chain {
    bundles: Vec<Map<String, Value>>,
    head: Option<Hash>,
    open: Option<u64>,
}

#[derive(Deserialize)]
struct Link {
    service: String,
    epoch: u64,
    previous: Option<Hash>,
    hash: Hash,
}

fn fault(at: impl Into<String>, what: impl Into<String>) -> Fault {
    Fault { at: at.into(), what: what.into() }
}

/// Verifies a file.
///
/// # Errors
/// Everything that is wrong with it, the most exact places first.
pub fn verify(bytes: &[u8]) -> Result<Summary, Vec<Fault>> {
    let found = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        vec![fault(place(before), "is no UTF-8")]
    })?;
    let document: Value = serde_json::from_str(found).map_err(|error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        vec![fault(at, format!("is no JSON: {error}"))]
    })?;
    let mut faults = vec![];
    let summary = read(&document, &mut faults);
    if let Some(at) = first_difference(found, &text(&document)) {
        faults.push(fault(at, "is not as it was exported: each byte counts, blanks and the order of keys too"));
    }
    match summary {
        Some(summary) if faults.is_empty() => Ok(summary),
        _ if faults.is_empty() => Err(vec![fault("the file", "is not an export of evidence")]),
        _ => Err(faults),
    }
}

fn first_difference(found: &str, wanted: &str) -> Option<String> {
    if found == wanted {
        return None;
    }
    let same = found.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    Some(place(found.as_bytes().get(..same).unwrap_or_default()))
}

/// Where a text ends, as editors count.
fn place(text: &[u8]) -> String {
    let line = text.split(|byte| *byte == b'\n').count();
    let column = text.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("line {line}, column {column}")
}

fn read(document: &Value, faults: &mut Vec<Fault>) -> Option<Summary> {
    let Value::Object(fields) = document else { return None };
    let named = fields.get("format").and_then(Value::as_str) == Some(FORMAT);
    let known = fields.get("version").and_then(Value::as_u64) == Some(VERSION);
    if !named || !known {
        let at = if named { "/version" } else { "/format" };
        faults.push(fault(at, format!("this program reads `{FORMAT}`, version {VERSION}")));
    }
    let files = fields.get("files").map(|files| read_files(files, faults)).unwrap_or_default();
    let mut services = BTreeMap::new();
    for (name, chain) in fields.get("services").and_then(Value::as_object).into_iter().flatten() {
        match Chain::deserialize(chain) {
            Ok(chain) => drop(services.insert(name.clone(), check_chain(name, &chain, &files, faults))),
            Err(error) => faults.push(fault(name, format!("is no chain of bundles: {error}"))),
        }
    }
    // What was found in the bundles themselves is told more exactly there.
    let inside = |at: &str, name: &str| at.starts_with(&format!("{name}, ")) && !at.ends_with(", /head");
    let told: Vec<String> = services
        .keys()
        .filter(|name| faults.iter().any(|of| inside(&of.at, name)))
        .map(|name| format!("/services/{name}/"))
        .collect();
    let wrong = sums::check(fields).into_iter().filter(|(at, _)| !told.iter().any(|inside| at.starts_with(inside)));
    faults.extend(wrong.map(|(at, what)| Fault { at, what }));
    let header = Header::deserialize(fields.get("exported")?).ok()?;
    let hash = fields.get("hash")?.as_str()?.to_owned();
    fields.get("services")?.as_object()?;
    Some(Summary { hash, cluster: header.cluster, node: header.node, services })
}

/// The service files by their hash; one that is not what its hash says is a fault.
fn read_files(files: &Value, faults: &mut Vec<Fault>) -> BTreeMap<Hash, Service> {
    let mut read = BTreeMap::new();
    for (hash, text) in files.as_object().into_iter().flatten() {
        let at = format!("/files/{hash}");
        let Some(text) = text.as_str() else {
            faults.push(fault(at, "is no text"));
            continue;
        };
        if digest(text.as_bytes()) != *hash {
            faults.push(fault(at.clone(), "the service file is not the one of this hash"));
        }
        match service_file::parse(text) {
            Ok((service, _)) => drop(read.insert(hash.clone(), service)),
            Err(problems) => faults.push(fault(at, format!("is no service file: {problems}"))),
        }
    }
    read
}

fn check_chain(
    name: &str,
    chain: &Chain,
    files: &BTreeMap<Hash, Service>,
    faults: &mut Vec<Fault>,
) -> SummaryOfService {
    let mut summary = SummaryOfService { epochs: vec![], head: None, anchor: None, hashes: vec![], open: chain.open };
    let mut before: Option<Switch> = None;
    for (i, bundle) in chain.bundles.iter().enumerate() {
        let epoch = bundle.get("epoch").map_or_else(|| "of no number".into(), ToString::to_string);
        let at = |pointer: &str| format!("{name}, epoch {epoch}, {pointer}");
        for (pointer, what) in sums::check(bundle) {
            faults.push(fault(at(&pointer), what));
        }
        let link = match Link::deserialize(Value::Object(bundle.clone())) {
            Ok(link) => link,
            Err(error) => {
                faults.push(fault(format!("{name}, bundle {i}"), format!("is no bundle: {error}")));
                before = None;
                continue;
            }
        };
        if link.service != name {
            faults.push(fault(at("/service"), format!("is a bundle of `{}`", link.service)));
        }
        match summary.hashes.last() {
            Some(last) if link.previous.as_ref() != Some(last) => {
                faults.push(fault(at("/previous"), "is not the hash of the bundle before it"));
            }
            Some(_) => {}
            None => summary.anchor = link.previous,
        }
        summary.epochs.push(link.epoch);
        summary.hashes.push(link.hash);
        before = check_switch(bundle, files, before.as_ref(), &at, faults);
        let first_of_all = i == 0 && summary.anchor.is_none();
        if let Some(from) = before.as_ref().and_then(|of| of.from.as_ref()).filter(|_| first_of_all) {
            faults.push(fault(at("/previous"), format!("names no bundle before it, and the switch left {from}")));
        }
    }
    summary.head = summary.hashes.last().cloned();
    if chain.head != summary.head && !(chain.bundles.is_empty() && chain.head.is_some()) {
        faults.push(fault(format!("{name}, /head"), "is not the hash of the last bundle"));
    }
    summary
}

/// Through the same core as the cluster's own.
fn check_switch(
    bundle: &Map<String, Value>,
    files: &BTreeMap<Hash, Service>,
    before: Option<&Switch>,
    at: &dyn Fn(&str) -> String,
    faults: &mut Vec<Fault>,
) -> Option<Switch> {
    let switch = match Switch::deserialize(sums::content(bundle)) {
        Ok(switch) => switch,
        Err(error) => {
            faults.push(fault(at("/"), format!("is no switch: {error}")));
            return None;
        }
    };
    match files.get(&switch.evidence.file) {
        Some(service) => {
            let wrong = judge(service, before, &switch);
            faults.extend(wrong.into_iter().map(|(pointer, what)| fault(at(&pointer), what)));
        }
        None => faults.push(fault(at("/evidence/file"), "the service file of this hash is not in the export")),
    }
    Some(switch)
}

/// Whether a chain ends in this hash.
///
/// # Errors
/// Where it ends instead.
pub fn has_head(summary: &Summary, service: Option<&str>, wanted: &str) -> Result<(), Fault> {
    let of: Vec<_> = summary.services.iter().filter(|(name, _)| service.is_none_or(|wanted| *name == wanted)).collect();
    match of.as_slice() {
        [(name, of)] if of.head.as_deref() != Some(wanted) => {
            let head = of.head.as_deref().unwrap_or("nothing");
            Err(fault(format!("{name}, /head"), format!("the chain ends in {head}, not in {wanted}")))
        }
        [_] => Ok(()),
        [] => Err(fault("/services", "there is no such service in the export")),
        _ => Err(fault("/services", "there are several: say SERVICE=HASH")),
    }
}

/// Whether a chain goes on from where an earlier export ended.
///
/// # Errors
/// The services whose chains do not.
pub fn continues(summary: &Summary, earlier: &Summary) -> Result<(), Vec<Fault>> {
    let mut faults = vec![];
    if summary.cluster != earlier.cluster {
        faults.push(fault("/exported/cluster", format!("the earlier export is of `{}`", earlier.cluster)));
    }
    for (name, old) in &earlier.services {
        let Some(head) = &old.head else { continue };
        let goes_on = |of: &SummaryOfService| of.hashes.contains(head) || of.anchor.as_ref() == Some(head);
        match summary.services.get(name) {
            Some(new) if goes_on(new) => {}
            Some(_) => faults.push(fault(
                format!("{name}, /head"),
                format!("the earlier head {head} is not in this chain: it was rewritten, or so many switches lie between that the cluster forgot it"),
            )),
            None => faults.push(fault("/services", format!("`{name}` is not in this export"))),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
