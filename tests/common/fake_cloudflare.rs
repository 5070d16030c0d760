//! A fake of Cloudflare's API: zones of records with ids, batches that are one transaction, tokens with permissions, load
//! balancer pools.
//!
//! It shares no code with the client under test; cloudflare-python, Cloudflare's own client, passes against it
//! (`cloudflare_client_check.py`).
#![allow(dead_code)]

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::fake_http::{Call, FakeHttp, Reply};

pub const TOKEN: &str = "fake-cloudflare-token-0815";
pub const ZONE_ID: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const ROOT: &str = "/client/v4";

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Zone / Zone / Read
    ZoneRead,
    /// Zone / DNS / Read
    DnsRead,
    /// Zone / DNS / Edit
    DnsEdit,
}

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

struct State {
    zone: String,
    records: Vec<FakeRecord>,
    scopes: Vec<Scope>,
    token_status: &'static str,
    next_id: u64,
    /// How many records of the zone stood after each batch that was taken.
    batches: usize,
}

/// The running fake; it stops when dropped.
pub struct FakeCloudflare {
    pub http: FakeHttp,
    state: Arc<Mutex<State>>,
}

impl FakeCloudflare {
    /// Starts with one zone, all rights, and no records.
    pub async fn start(zone: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            zone: zone.to_owned(),
            records: vec![],
            scopes: vec![Scope::ZoneRead, Scope::DnsRead, Scope::DnsEdit],
            token_status: "active",
            next_id: 0x1000,
            batches: 0,
        }));
        let shared = Arc::clone(&state);
        let http = FakeHttp::start(move |call| {
            let mut state = shared.lock().expect("no panic under the lock");
            match answer(call, &mut state) {
                Ok(mut result) => {
                    // One page holds all that this fake has; clients go on asking until one is empty.
                    if result.is_array() && call.query("page").is_some_and(|page| page != "1") {
                        result = json!([]);
                    }
                    let count = result.as_array().map_or(1, Vec::len);
                    let info = json!({ "page": 1, "per_page": 100, "count": count, "total_count": count, "total_pages": 1 });
                    reply(200, &json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info }))
                }
                Err((status, code, message)) => refusal(status, code, message),
            }
        })
        .await;
        Self { http, state }
    }

    /// The API's base URL.
    pub fn url(&self) -> String {
        format!("http://{}{ROOT}", self.http.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Adds a record as if it had always been there; says its id.
    pub fn seed(&self, name: &str, rtype: &str, content: &str, ttl: u64, more: &Value) -> String {
        let mut state = self.state();
        let mut body = json!({ "name": name, "type": rtype, "content": content, "ttl": ttl });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let record = made(&body, &mut state).expect("a record");
        state.records.push(record.clone());
        record.id
    }

    pub fn records(&self) -> Vec<FakeRecord> {
        self.state().records.clone()
    }

    /// What stands at one name and type, sorted.
    pub fn contents(&self, name: &str, rtype: &str) -> Vec<String> {
        let at = |record: &&FakeRecord| record.name == name && record.rtype == rtype;
        let mut found: Vec<_> = self.state().records.iter().filter(at).map(|record| record.content.clone()).collect();
        found.sort();
        found
    }

    /// Edits a record's content in place, as a person does in the dashboard.
    pub fn edit(&self, id: &str, content: &str) {
        let mut state = self.state();
        let record = state.records.iter_mut().find(|record| record.id == id).expect("the record");
        content.clone_into(&mut record.content);
    }

    /// Deletes what stands at one name and type.
    pub fn remove(&self, name: &str, rtype: &str) {
        self.state().records.retain(|record| record.name != name || record.rtype != rtype);
    }

    /// Deletes a record and makes it again, as other tools do.
    pub fn remake(&self, id: &str) {
        let mut state = self.state();
        state.next_id += 1;
        let fresh = format!("{:032x}", state.next_id);
        let record = state.records.iter_mut().find(|record| record.id == id).expect("the record");
        record.id = fresh;
    }

    pub fn set_scopes(&self, scopes: &[Scope]) {
        self.state().scopes = scopes.to_vec();
    }

    /// `active`, `disabled` or `expired`.
    pub fn set_token_status(&self, status: &'static str) {
        self.state().token_status = status;
    }

    /// How many batches were taken.
    pub fn batches(&self) -> usize {
        self.state().batches
    }
}

/// An error as Cloudflare words it.
pub fn refusal(status: u16, code: i64, message: &str) -> Reply {
    let errors = json!([{ "code": code, "message": message }]);
    reply(status, &json!({ "success": false, "errors": errors, "messages": [], "result": null }))
}

fn reply(status: u16, body: &Value) -> Reply {
    let mut reply = Reply::json(status, body);
    reply.headers.push(("cf-ray", "8f0815fake-CDG".to_owned()));
    reply
}

type Refused = (u16, i64, &'static str);
const UNAUTHORISED: Refused = (403, 10_000, "Authentication error");
const NO_ROUTE: Refused = (404, 7_003, "Could not route to the path, perhaps your object identifier is invalid?");

fn answer(call: &Call, state: &mut State) -> Result<Value, Refused> {
    let Some(token) = call.header("authorization").strip_prefix("Bearer ") else {
        return Err((400, 9_106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"));
    };
    if token != TOKEN || state.token_status != "active" {
        return Err((401, 1_000, "Invalid API Token"));
    }
    let path = call.path.strip_prefix(ROOT).ok_or(NO_ROUTE)?;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let may = |scope: Scope| if state.scopes.contains(&scope) { Ok(()) } else { Err(UNAUTHORISED) };
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["user", "tokens", "verify"]) => {
            Ok(json!({ "id": "ed17574386854bf78a67040be0a770b0", "status": "active" }))
        }
        ("GET", ["zones"]) => {
            may(Scope::ZoneRead)?;
            let wanted = call.query("name").is_none_or(|name| name == state.zone);
            Ok(if wanted { json!([{ "id": ZONE_ID, "name": state.zone, "status": "active" }]) } else { json!([]) })
        }
        (_, ["zones", zone, ..]) if *zone != ZONE_ID => Err(NO_ROUTE),
        ("GET", ["zones", _, "dns_records"]) => {
            may(Scope::DnsRead)?;
            let name = call.query("name.exact").or_else(|| call.query("name"));
            let rtype = call.query("type");
            let fits = |record: &&FakeRecord| {
                name.as_ref().is_none_or(|name| record.name == *name)
                    && rtype.as_ref().is_none_or(|rtype| record.rtype == *rtype)
            };
            Ok(state.records.iter().filter(fits).map(shown).collect())
        }
        ("GET", ["zones", _, "dns_records", id]) => {
            may(Scope::DnsRead)?;
            state.records.iter().find(|record| record.id == *id).map(shown).ok_or(GONE)
        }
        ("POST", ["zones", _, "dns_records", "batch"]) => {
            may(Scope::DnsEdit)?;
            batch(&call.json(), state)
        }
        (method, ["zones", _, "dns_records", rest @ ..]) => {
            may(Scope::DnsEdit)?;
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
        _ => Err(NO_ROUTE),
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
fn made(body: &Value, state: &mut State) -> Result<FakeRecord, Refused> {
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
    state.next_id += 1;
    let id = format!("{:032x}", state.next_id);
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
