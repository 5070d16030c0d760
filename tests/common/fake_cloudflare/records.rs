//! DNS records of the zone.

use serde_json::{Value, json};

use super::{NO_ROUTE, Refused, Scope, State};
use crate::fake_http::Call;

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeRecord {
    pub id: String,
    pub rtype: String,
    pub name: String,
    pub content: String,
    pub ttl: u64,
    pub proxied: bool,
    pub comment: Value,
    pub tags: Value,
}

/// `/zones/{zone}/dns_records…`
pub(super) fn of_zone(call: &Call, rest: &[&str], state: &mut State) -> Result<Value, Refused> {
    let scope = if call.method == "GET" { Scope::DnsRead } else { Scope::DnsEdit };
    state.may(scope)?;
    match (call.method.as_str(), rest) {
        ("GET", []) => {
            let name = call.query("name.exact").or_else(|| call.query("name"));
            let rtype = call.query("type");
            let fits = |record: &&FakeRecord| {
                name.as_ref().is_none_or(|name| record.name == *name)
                    && rtype.as_ref().is_none_or(|rtype| record.rtype == *rtype)
            };
            Ok(state.records.iter().filter(fits).map(shown).collect())
        }
        ("GET", [id]) => state.records.iter().find(|record| record.id == *id).map(shown).ok_or(GONE),
        ("POST", ["batch"]) => batch(&call.json(), state),
        (method, rest) => {
            let mut body = call.json();
            let key = match (method, rest) {
                ("POST", []) => "posts",
                ("PATCH", [_]) => "patches",
                ("PUT", [_]) => "puts",
                ("DELETE", [_]) => "deletes",
                _ => return Err(NO_ROUTE),
            };
            if let [id] = rest {
                if !body.is_object() {
                    body = json!({});
                }
                body["id"] = json!(id);
            }
            let done = batch(&json!({ key: [body] }), state)?;
            Ok(done[key][0].clone())
        }
    }
}

const GONE: Refused = (404, 81_044, "Record does not exist.");

/// One transaction: deletes, patches, puts, posts; whatever fails, nothing is done.
fn batch(body: &Value, state: &mut State) -> Result<Value, Refused> {
    let before = state.records.clone();
    let done = carry_out(body, state);
    if done.is_err() {
        state.records = before;
    } else {
        state.batches += 1;
    }
    done
}

fn carry_out(body: &Value, state: &mut State) -> Result<Value, Refused> {
    let items = |key: &str| body[key].as_array().cloned().unwrap_or_default();
    let position = |state: &State, item: &Value| {
        state.records.iter().position(|record| item["id"] == json!(record.id)).ok_or(GONE)
    };
    let mut done = json!({ "deletes": [], "patches": [], "puts": [], "posts": [] });
    let mut say = |key: &str, record: &FakeRecord| done[key].as_array_mut().expect("a list").push(shown(record));
    for item in items("deletes") {
        let at = position(state, &item)?;
        say("deletes", &state.records.remove(at));
    }
    for item in items("patches") {
        let at = position(state, &item)?;
        let old = state.records.remove(at);
        let mut merged = shown(&old);
        for (key, value) in item.as_object().into_iter().flatten() {
            merged[key] = value.clone();
        }
        let record = FakeRecord { id: old.id, ..made(&merged, state)? };
        say("patches", &record);
        state.records.insert(at, record);
    }
    for item in items("puts") {
        let at = position(state, &item)?;
        let old = state.records.remove(at);
        let record = FakeRecord { id: old.id, ..made(&item, state)? };
        say("puts", &record);
        state.records.insert(at, record);
    }
    for item in items("posts") {
        let record = made(&item, state)?;
        say("posts", &record);
        state.records.push(record);
    }
    Ok(done)
}

/// Checks a record and gives it an id; what stands already must not be in its way.
pub(super) fn made(body: &Value, state: &mut State) -> Result<FakeRecord, Refused> {
    let text = |key: &str| body[key].as_str().unwrap_or_default().trim_end_matches('.').to_owned();
    let (name, rtype, content) = (text("name"), text("type"), text("content"));
    let sound = match rtype.as_str() {
        "A" => content.parse::<std::net::Ipv4Addr>().is_ok(),
        "AAAA" => content.parse::<std::net::Ipv6Addr>().is_ok(),
        "TXT" | "CNAME" => !content.is_empty(),
        _ => false,
    };
    if !sound {
        return Err((400, 9_005, "Content for the record is invalid."));
    }
    if name != state.zone && !name.ends_with(&format!(".{}", state.zone)) {
        return Err((400, 9_000, "DNS name is invalid."));
    }
    let proxied = body["proxied"] == json!(true);
    let ttl = if proxied { 1 } else { body["ttl"].as_u64().unwrap_or(1) };
    if ttl != 1 && !(60..=86_400).contains(&ttl) {
        return Err((400, 9_021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic."));
    }
    for other in state.records.iter().filter(|other| other.name == name) {
        if other.rtype == rtype && other.content == content {
            return Err((400, 81_058, "An identical record already exists."));
        }
        let alias = |rtype: &str| rtype == "CNAME";
        let address = |rtype: &str| matches!(rtype, "A" | "AAAA" | "CNAME");
        if (alias(&rtype) && address(&other.rtype)) || (alias(&other.rtype) && address(&rtype)) {
            return Err((400, 81_053, "An A, AAAA, or CNAME record with that host already exists."));
        }
    }
    let id = state.fresh_id();
    let tags = if body["tags"].is_array() { body["tags"].clone() } else { json!([]) };
    Ok(FakeRecord { id, rtype, name, content, ttl, proxied, comment: body["comment"].clone(), tags })
}

fn shown(record: &FakeRecord) -> Value {
    json!({
        "id": record.id, "type": record.rtype, "name": record.name, "content": record.content, "ttl": record.ttl,
        "proxied": record.proxied, "proxiable": record.rtype != "TXT", "comment": record.comment, "tags": record.tags,
        "settings": {}, "meta": {}, "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z",
    })
}
