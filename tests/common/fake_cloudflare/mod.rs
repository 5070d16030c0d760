//! A fake of Cloudflare's API: zones of records with ids, batches that are one transaction, tokens with permissions, load
//! balancers and their pools.
//!
//! It shares no code with the client under test; cloudflare-python, Cloudflare's own client, passes against it
//! (`cloudflare_client_check.py`).
#![allow(dead_code)]

mod balancers;
mod records;

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::fake_http::{Call, FakeHttp, Reply};
use balancers::Balancing;
pub use records::FakeRecord;
use records::made;

pub const TOKEN: &str = "fake-cloudflare-token-0815";
pub const ZONE_ID: &str = "023e105f4ecef8ad9ca31a8372d0c353";
pub const ACCOUNT_ID: &str = "9a7806061c88ada191ed06f989cc3dac";
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
    /// Zone / Load Balancers / Read
    BalancersRead,
    /// Zone / Load Balancers / Edit
    BalancersEdit,
    /// Account / Load Balancing: Monitors and Pools / Read
    PoolsRead,
    /// Account / Load Balancing: Monitors and Pools / Edit
    PoolsEdit,
}

/// All of them.
pub const ALL: &[Scope] = &[
    Scope::ZoneRead,
    Scope::DnsRead,
    Scope::DnsEdit,
    Scope::BalancersRead,
    Scope::BalancersEdit,
    Scope::PoolsRead,
    Scope::PoolsEdit,
];

struct State {
    zone: String,
    records: Vec<FakeRecord>,
    scopes: Vec<Scope>,
    token_status: &'static str,
    next_id: u64,
    /// How many records of the zone stood after each batch that was taken.
    batches: usize,
    balancing: Balancing,
    /// How many changes of load balancers were taken.
    changes: usize,
}

impl State {
    fn may(&self, scope: Scope) -> Result<(), Refused> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(UNAUTHORISED) }
    }

    fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("{:032x}", self.next_id)
    }
}

/// The running fake; it stops when dropped.
pub struct FakeCloudflare {
    pub http: FakeHttp,
    state: Arc<Mutex<State>>,
}

impl FakeCloudflare {
    /// Starts with one zone, all rights, no records, no load balancers and no pools.
    pub async fn start(zone: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            zone: zone.to_owned(),
            records: vec![],
            scopes: ALL.to_vec(),
            token_status: "active",
            next_id: 0x1000,
            batches: 0,
            balancing: Balancing::default(),
            changes: 0,
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
        let fresh = state.fresh_id();
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
    let call_of_zone = |zone: &str| if zone == ZONE_ID { Ok(()) } else { Err(NO_ROUTE) };
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["user", "tokens", "verify"]) => {
            Ok(json!({ "id": "ed17574386854bf78a67040be0a770b0", "status": "active" }))
        }
        ("GET", ["zones"]) => {
            state.may(Scope::ZoneRead)?;
            let wanted = call.query("name").is_none_or(|name| name == state.zone);
            Ok(if wanted { json!([shown_zone(state)]) } else { json!([]) })
        }
        ("GET", ["zones", zone]) => {
            call_of_zone(zone)?;
            state.may(Scope::ZoneRead)?;
            Ok(shown_zone(state))
        }
        (_, ["zones", zone, "dns_records", rest @ ..]) => {
            call_of_zone(zone)?;
            records::of_zone(call, rest, state)
        }
        (_, ["zones", zone, "load_balancers", rest @ ..]) => {
            call_of_zone(zone)?;
            balancers::of_zone(call, rest, state)
        }
        (_, ["accounts", rest @ ..]) => balancers::of_account(call, rest, state),
        _ => Err(NO_ROUTE),
    }
}

fn shown_zone(state: &State) -> Value {
    let account = json!({ "id": ACCOUNT_ID, "name": "the account" });
    json!({ "id": ZONE_ID, "name": state.zone, "status": "active", "account": account })
}
