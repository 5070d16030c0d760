//! The fake's IP load balancers: farms and their servers, staged until a refresh's task has deployed them.
//!
//! What makes OVH hard is kept: a refresh publishes everybody's edits, its task takes a while, and a second one is refused
//! meanwhile; `pendingChanges` counts edits and says nothing of whose they are; servers of UDP farms have no weight.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::api::{Answer, Call, error};

/// The farms by kind and number.
pub type Farms = BTreeMap<(String, u64), FakeFarm>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeFarm {
    pub display_name: Option<String>,
    pub zone: String,
    pub servers: BTreeMap<u64, FakeServer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeServer {
    pub display_name: Option<String>,
    pub address: String,
    pub active: bool,
    pub weight: Option<u64>,
}

impl FakeFarm {
    /// What takes traffic, by name, sorted.
    pub fn taking(&self) -> Vec<String> {
        let taking = self.servers.values().filter(|server| server.active && server.weight != Some(0));
        let mut names: Vec<_> =
            taking.map(|server| server.display_name.clone().unwrap_or_else(|| server.address.clone())).collect();
        names.sort();
        names
    }
}

#[derive(Debug)]
struct FakeTask {
    began: Instant,
    status: &'static str,
    farms: Farms,
    edits: u64,
}

#[derive(Debug)]
pub struct Balancer {
    pub staged: Farms,
    pub deployed: Farms,
    /// What was deployed, in order.
    pub deployments: Vec<Farms>,
    /// Edits since the last refresh.
    pub edits: u64,
    tasks: BTreeMap<u64, FakeTask>,
    /// How long a task takes.
    pub takes: Duration,
    /// The next task ends as this.
    pub next_task: &'static str,
    /// How many characters of a farm's name are kept.
    pub name_limit: usize,
    /// An edit of a farm's name is one that has to be published.
    pub names_count: bool,
    /// Somebody publishes after every single edit.
    pub impatient: bool,
}

impl Default for Balancer {
    fn default() -> Self {
        Self {
            staged: Farms::new(),
            deployed: Farms::new(),
            deployments: Vec::new(),
            edits: 0,
            tasks: BTreeMap::new(),
            takes: Duration::from_millis(30),
            next_task: "done",
            name_limit: usize::MAX,
            names_count: true,
            impatient: false,
        }
    }
}

impl Balancer {
    /// Lets time pass: tasks that have run long enough end.
    pub fn advance(&mut self) {
        let takes = self.takes;
        for task in self.tasks.values_mut().filter(|task| task.status == "todo" && task.began.elapsed() >= takes) {
            task.status = self.next_task;
            self.next_task = "done";
            if task.status == "done" {
                self.deployed.clone_from(&task.farms);
                self.deployments.push(task.farms.clone());
            } else {
                self.edits += task.edits;
            }
        }
    }

    /// As it always was.
    pub fn settle(&mut self) {
        self.deployed.clone_from(&self.staged);
        self.edits = 0;
    }

    fn edited(&mut self, counts: bool) {
        self.edits += u64::from(counts);
        if self.impatient {
            self.settle();
            self.deployments.push(self.staged.clone());
        }
    }

    fn refresh(&mut self) -> Answer {
        if self.tasks.values().any(|task| task.status == "todo") {
            return error(409, "", "An operation is already running on this service");
        }
        let id = self.tasks.keys().max().map_or(7031, |id| id + 1);
        let task = FakeTask { began: Instant::now(), status: "todo", farms: self.staged.clone(), edits: self.edits };
        self.edits = 0;
        self.tasks.insert(id, task);
        self.task(id)
    }

    fn task(&self, id: u64) -> Answer {
        let Some(task) = self.tasks.get(&id) else { return error(404, "", "This service does not exist") };
        let progress = if task.status == "todo" { 0 } else { 100 };
        (
            200,
            json!({ "id": id, "action": "refreshIplb", "status": task.status, "progress": progress, "zones": ["gra"],
                    "creationDate": "2026-01-01T00:00:00+01:00", "doneDate": null }),
        )
    }

    pub(super) fn answer(&mut self, call: &Call<'_>, name: &str, rest: &[&str]) -> Answer {
        self.advance();
        match (call.method.as_str(), rest) {
            ("GET", []) => (200, json!({ "serviceName": name, "state": "ok", "zone": ["gra"], "displayName": null })),
            ("GET", ["pendingChanges"]) => {
                let pending = json!([{ "number": self.edits, "zone": "gra" }]);
                (200, if self.edits == 0 { json!([]) } else { pending })
            }
            ("POST", ["refresh"]) => self.refresh(),
            ("GET", ["task"]) => {
                let wanted = |key: &str, value: &str| {
                    call.query.split('&').all(|pair| pair.split_once('=').is_none_or(|(k, v)| k != key || v == value))
                };
                let tasks = self.tasks.iter().filter(|(_, task)| wanted("status", task.status));
                let ids: Vec<u64> = tasks.map(|(id, _)| *id).collect();
                (200, if wanted("action", "refreshIplb") { ids.into() } else { json!([]) })
            }
            ("GET", ["task", id]) => self.task(id.parse().unwrap_or_default()),
            ("GET", [kind @ ("http" | "tcp" | "udp"), "farm"]) => {
                (200, self.staged.keys().filter(|(of, _)| of == kind).map(|(_, id)| *id).collect())
            }
            (_, [kind @ ("http" | "tcp" | "udp"), "farm", id, rest @ ..]) => {
                let key = ((*kind).to_owned(), id.parse().unwrap_or_default());
                if self.staged.contains_key(&key) {
                    self.in_farm(call, &key, rest)
                } else {
                    error(404, "", "This service does not exist")
                }
            }
            _ => error(404, "", "Got an invalid (or empty) URL"),
        }
    }

    fn in_farm(&mut self, call: &Call<'_>, key: &(String, u64), rest: &[&str]) -> Answer {
        let limit = self.name_limit;
        let farm = self.staged.get_mut(key).expect("it was found");
        match (call.method.as_str(), rest) {
            ("GET", []) => (
                200,
                json!({ "farmId": key.1, "displayName": farm.display_name, "zone": farm.zone, "port": 80, "probe": null,
                        "balance": "roundrobin", "stickiness": null, "vrackNetworkId": null }),
            ),
            ("PUT", []) => {
                let Some(body) = object(call.body) else { return wrong_type() };
                for (field, value) in &body {
                    match (field.as_str(), value) {
                        ("displayName", Value::String(name)) => {
                            farm.display_name = Some(name.chars().take(limit).collect());
                        }
                        ("displayName", Value::Null) => farm.display_name = None,
                        _ => return wrong_type(),
                    }
                }
                self.edited(self.names_count);
                (200, Value::Null)
            }
            ("GET", ["server"]) => (200, farm.servers.keys().copied().collect()),
            (method @ ("GET" | "PUT"), ["server", id]) => {
                let id: u64 = id.parse().unwrap_or_default();
                let Some(server) = farm.servers.get_mut(&id) else {
                    return error(404, "", "This service does not exist");
                };
                if method == "GET" {
                    return (200, shown(key, id, server));
                }
                match object(call.body).map(|body| change(server, &key.0, &body)) {
                    Some(true) => {
                        self.edited(true);
                        (200, Value::Null)
                    }
                    Some(false) | None => wrong_type(),
                }
            }
            _ => error(404, "", "Got an invalid (or empty) URL"),
        }
    }
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Some(body),
        _ => None,
    }
}

fn wrong_type() -> Answer {
    error(400, "INVALID_SIGNATURE", "a field has a wrong type")
}

fn shown((kind, farm): &(String, u64), id: u64, server: &FakeServer) -> Value {
    let status = if server.active { "active" } else { "inactive" };
    let mut shown = json!({ "serverId": id, "backendId": farm, "displayName": server.display_name, "port": null,
        "address": server.address, "status": status, "serverState": [] });
    if kind != "udp" {
        let more = json!({ "weight": server.weight, "probe": true, "ssl": false, "backup": false, "chain": null,
            "onMarkedDown": null, "proxyProtocolVersion": null });
        let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) else { unreachable!("objects") };
        shown.extend(more);
    }
    shown
}

/// Whether every field has its type; only then is anything changed.
fn change(server: &mut FakeServer, kind: &str, body: &Map<String, Value>) -> bool {
    let mut changed = server.clone();
    for (field, value) in body {
        match (field.as_str(), value) {
            ("status", Value::String(status)) if status == "active" => changed.active = true,
            ("status", Value::String(status)) if status == "inactive" => changed.active = false,
            ("weight", Value::Number(weight)) if kind != "udp" => changed.weight = weight.as_u64(),
            ("displayName", Value::String(name)) => changed.display_name = Some(name.clone()),
            _ => return false,
        }
    }
    *server = changed;
    true
}
