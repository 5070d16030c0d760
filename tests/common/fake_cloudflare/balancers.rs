//! Load balancers of the zone, and the pools of the account that they send traffic to.

use serde_json::{Value, json};

use super::{ACCOUNT_ID, FakeCloudflare, NO_ROUTE, Refused, Scope, State};
use crate::fake_http::Call;

/// Load balancers and pools as the API shows them.
#[derive(Debug, Default)]
pub(super) struct Balancing {
    balancers: Vec<Value>,
    pools: Vec<Value>,
    /// What each load balancer was after each change that was taken, in order.
    history: Vec<Value>,
}

/// An object that is named by its id and is not there.
const NOT_FOUND: Refused = (404, 1_001, "object not found");
const UNKNOWN_POOL: Refused = (400, 1_002, "default_pools: pool not found: validation failed");
const NO_POOLS: Refused = (400, 1_002, "default_pools: must have at least one pool: validation failed");
const NO_FALLBACK: Refused = (400, 1_002, "fallback_pool: pool not found: validation failed");
const BAD_NAME: Refused = (400, 1_002, "name: must be a hostname of the zone: validation failed");
const BAD_POOL: Refused = (400, 1_002, "name: only letters, digits, hyphens and underscores: validation failed");
const TAKEN: Refused = (400, 1_003, "name: value not unique");
const IN_USE: Refused = (412, 1_005, "pool is referenced by a load balancer");

/// What stands of a load balancer that was made with only what it must have.
fn defaults() -> Value {
    json!({
        "description": "", "enabled": true, "proxied": false, "steering_policy": "", "session_affinity": "none",
        "session_affinity_attributes": {}, "session_affinity_ttl": 0, "ttl": 30, "region_pools": {}, "country_pools": {},
        "pop_pools": {}, "rules": [], "networks": ["cloudflare"], "created_on": "2026-01-01T00:00:00Z",
        "modified_on": "2026-01-01T00:00:00Z",
    })
}

impl FakeCloudflare {
    /// Adds a pool; says its id.
    pub fn seed_pool(&self, name: &str, enabled: bool) -> String {
        let mut state = self.state();
        let origin = json!({ "name": "one", "address": "192.0.2.1", "enabled": true });
        let pool = made_pool(&json!({ "name": name, "enabled": enabled, "origins": [origin] }), &mut state);
        id_of(&pool.expect("a pool"))
    }

    /// Adds a load balancer with these default pools, by name, and the last of them as the fallback; says its id.
    pub fn seed_balancer(&self, name: &str, pools: &[&str], more: &Value) -> String {
        let mut state = self.state();
        let ids: Vec<_> = pools.iter().map(|pool| state.balancing.pool_id(pool)).collect();
        let mut body = json!({ "name": name, "default_pools": ids, "fallback_pool": ids.last() });
        merge(&mut body, more);
        let balancer = made_balancer(&body, &mut state).expect("a load balancer");
        state.balancing.history.clear();
        id_of(&balancer)
    }

    /// The id of a pool.
    pub fn pool_id(&self, name: &str) -> String {
        self.state().balancing.pool_id(name)
    }

    /// A load balancer as the API shows it.
    pub fn balancer(&self, name: &str) -> Value {
        let state = self.state();
        state.balancing.balancers.iter().find(|of| of["name"] == name).expect("the load balancer").clone()
    }

    /// The names of its pools in their order, and of its fallback.
    pub fn pools_of(&self, balancer: &Value) -> (Vec<String>, String) {
        let state = self.state();
        let name = |id: &Value| {
            let pool = state.balancing.pools.iter().find(|pool| pool["id"] == *id).expect("the pool");
            pool["name"].as_str().expect("a name").to_owned()
        };
        let pools = balancer["default_pools"].as_array().expect("a list");
        (pools.iter().map(name).collect(), name(&balancer["fallback_pool"]))
    }

    /// Edits a load balancer, as a person does in the dashboard.
    pub fn edit_balancer(&self, name: &str, fields: &Value) {
        let mut state = self.state();
        let balancer = state.balancing.balancers.iter_mut().find(|of| of["name"] == name).expect("the load balancer");
        merge(balancer, fields);
        let now = balancer.clone();
        state.balancing.history.push(now);
    }

    /// Edits a pool in the same way.
    pub fn edit_pool(&self, name: &str, fields: &Value) {
        let mut state = self.state();
        let pool = state.balancing.pools.iter_mut().find(|of| of["name"] == name).expect("the pool");
        merge(pool, fields);
    }

    /// Removes a load balancer.
    pub fn remove_balancer(&self, name: &str) {
        self.state().balancing.balancers.retain(|of| of["name"] != name);
    }

    /// What the load balancers were after each change, since the seed.
    pub fn changes(&self) -> Vec<Value> {
        self.state().balancing.history.clone()
    }
}

impl Balancing {
    fn pool_id(&self, name: &str) -> String {
        id_of(self.pools.iter().find(|pool| pool["name"] == name).expect("the pool"))
    }

    fn has_pool(&self, id: &Value) -> bool {
        self.pools.iter().any(|pool| pool["id"] == *id)
    }

    fn uses(&self, pool: &str) -> bool {
        self.balancers.iter().any(|of| of.to_string().contains(pool))
    }
}

fn id_of(object: &Value) -> String {
    object["id"].as_str().expect("an id").to_owned()
}

fn merge(object: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
}

/// `/accounts/{account}/load_balancers/pools…`
pub(super) fn of_account(call: &Call, rest: &[&str], state: &mut State) -> Result<Value, Refused> {
    let [ACCOUNT_ID, "load_balancers", "pools", rest @ ..] = rest else { return Err(NO_ROUTE) };
    let scope = if call.method == "GET" { Scope::PoolsRead } else { Scope::PoolsEdit };
    state.may(scope)?;
    let at = |state: &State, id: &str| state.balancing.pools.iter().position(|pool| pool["id"] == id).ok_or(NOT_FOUND);
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(json!(state.balancing.pools)),
        ("GET", [id]) => Ok(state.balancing.pools[at(state, id)?].clone()),
        ("POST", []) => made_pool(&call.json(), state),
        ("PATCH", [id]) => {
            let at = at(state, id)?;
            merge(&mut state.balancing.pools[at], &call.json());
            Ok(state.balancing.pools[at].clone())
        }
        ("DELETE", [id]) => {
            let at = at(state, id)?;
            if state.balancing.uses(id) {
                return Err(IN_USE);
            }
            state.balancing.pools.remove(at);
            Ok(json!({ "id": id }))
        }
        _ => Err(NO_ROUTE),
    }
}

/// `/zones/{zone}/load_balancers…`
pub(super) fn of_zone(call: &Call, rest: &[&str], state: &mut State) -> Result<Value, Refused> {
    let scope = if call.method == "GET" { Scope::BalancersRead } else { Scope::BalancersEdit };
    state.may(scope)?;
    let at = |state: &State, id: &str| state.balancing.balancers.iter().position(|of| of["id"] == id).ok_or(NOT_FOUND);
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(json!(state.balancing.balancers)),
        ("GET", [id]) => Ok(state.balancing.balancers[at(state, id)?].clone()),
        ("POST", []) => made_balancer(&call.json(), state),
        // PATCH changes what it names, PUT all.
        (method @ ("PATCH" | "PUT"), [id]) => {
            let at = at(state, id)?;
            let mut next = if method == "PATCH" { state.balancing.balancers[at].clone() } else { defaults() };
            merge(&mut next, &call.json());
            next["id"] = json!(id);
            check_balancer(&next, state)?;
            state.changes += 1;
            next["modified_on"] =
                json!(format!("2026-01-01T00:{:02}:{:02}Z", state.changes / 60 % 60, state.changes % 60));
            state.balancing.balancers[at] = next.clone();
            state.balancing.history.push(next.clone());
            Ok(next)
        }
        ("DELETE", [id]) => {
            let at = at(state, id)?;
            state.balancing.balancers.remove(at);
            Ok(json!({ "id": id }))
        }
        _ => Err(NO_ROUTE),
    }
}

fn made_pool(body: &Value, state: &mut State) -> Result<Value, Refused> {
    let name = body["name"].as_str().unwrap_or_default();
    let word = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
    if name.is_empty() || !name.bytes().all(word) {
        return Err(BAD_POOL);
    }
    let mut pool = json!({
        "id": state.fresh_id(), "enabled": true, "description": "", "minimum_origins": 1, "monitor": "", "origins": [],
        "notification_email": "", "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z",
    });
    merge(&mut pool, body);
    state.balancing.pools.push(pool.clone());
    Ok(pool)
}

fn made_balancer(body: &Value, state: &mut State) -> Result<Value, Refused> {
    let mut balancer = defaults();
    merge(&mut balancer, body);
    balancer["id"] = json!(state.fresh_id());
    check_balancer(&balancer, state)?;
    state.balancing.balancers.push(balancer.clone());
    state.balancing.history.push(balancer.clone());
    Ok(balancer)
}

fn check_balancer(balancer: &Value, state: &State) -> Result<(), Refused> {
    let name = balancer["name"].as_str().unwrap_or_default();
    if name != state.zone && !name.ends_with(&format!(".{}", state.zone)) {
        return Err(BAD_NAME);
    }
    if state.balancing.balancers.iter().any(|of| of["name"] == name && of["id"] != balancer["id"]) {
        return Err(TAKEN);
    }
    let pools = balancer["default_pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    if pools.is_empty() {
        return Err(NO_POOLS);
    }
    if !pools.iter().all(|id| state.balancing.has_pool(id)) {
        return Err(UNKNOWN_POOL);
    }
    if state.balancing.has_pool(&balancer["fallback_pool"]) { Ok(()) } else { Err(NO_FALLBACK) }
}
