//! Clients: the register's readers and switchers, and those who write down what the cluster tells of itself.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;

use crate::{
    ctl::Answer,
    edn::{Edn, key, map, vector},
    history::{History, Type},
    services::{self, REG, Service},
    world::World,
};

/// A client of the history: one process until an outcome is unknown, then another.
pub struct Client {
    history: Arc<History>,
    process: u64,
}

impl Client {
    pub fn new(history: &Arc<History>) -> Self {
        Self { history: Arc::clone(history), process: history.new_client() }
    }

    /// Does something, and writes down when it began and how it ended. `tell` turns the answer into the value of an `:ok`.
    pub fn does(
        &mut self,
        f: &'static str,
        asked: Edn,
        act: impl FnOnce() -> Answer,
        tell: impl FnOnce(&Value) -> Option<Edn>,
    ) -> Answer {
        self.history.client(self.process, Type::Invoke, f, asked.clone());
        let answer = act();
        let told = if answer.exit == 0 { tell(&answer.json) } else { None };
        let kind = match (&told, answer.outcome()) {
            (None, Type::Ok) => Type::Info,
            (_, kind) => kind,
        };
        self.history.client(self.process, kind, f, told.unwrap_or(asked));
        if kind == Type::Info {
            self.process = self.history.new_client();
        }
        answer
    }

    /// A linearizable read of the register, at this node.
    pub fn read(&mut self, world: &World, node: u64) -> Option<(u64, String)> {
        let asked = map([("service", REG.name.into()), ("node", node.into())]);
        let mut seen = None;
        self.does(
            "read",
            asked,
            || world.fleet.at(node, &["--timeout", "3s", "verdict", "get", REG.name]),
            |json| {
                let (epoch, region) = (json["verdict"]["epoch"].as_u64()?, json["verdict"]["active_region"].as_str()?);
                seen = Some((epoch, region.to_owned()));
                Some(map([
                    ("service", REG.name.into()),
                    ("node", node.into()),
                    ("epoch", epoch.into()),
                    ("region", region.into()),
                ]))
            },
        );
        seen
    }

    /// A compare-and-set of the register, at this node; the new epoch.
    pub fn switch(&mut self, world: &World, node: u64, expected: u64, to: &str) -> Option<u64> {
        let of = |epoch: Option<u64>| {
            map([
                ("service", REG.name.into()),
                ("node", node.into()),
                ("expected", expected.into()),
                ("to", to.into()),
                ("epoch", epoch.into()),
            ])
        };
        let wanted = expected.to_string();
        let mut args = vec!["--timeout", "4s", "switch", "start", REG.name, "--to", to, "--expected-epoch", &wanted];
        args.extend(["--override", "cooldown", "--override", "candidate-up"]);
        let mut got = None;
        self.does(
            "switch",
            of(None),
            || world.fleet.at(node, &args),
            |json| {
                got = json["epoch"].as_u64();
                got.map(|epoch| of(Some(epoch)))
            },
        );
        got
    }
}

/// Reads and switches the register until the run is over. `newest` is the newest epoch that any client has seen.
pub fn register(world: &World, newest: &AtomicU64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = Client::new(&world.history);
    let mut active = REG.regions[0].0.to_owned();
    while !world.is_over() {
        let nodes = world.fleet.ids();
        let Some(node) = nodes.choose(&mut random).copied() else { continue };
        if random.random_bool(0.6) {
            if let Some((epoch, region)) = client.read(world, node) {
                active = region;
                newest.fetch_max(epoch, Ordering::Relaxed);
            }
        } else {
            let to = if active == REG.regions[0].0 { REG.regions[1].0 } else { REG.regions[0].0 };
            // Now and then an epoch that is over, which must be refused.
            let stale = u64::from(random.random_bool(0.1));
            let expected = newest.load(Ordering::Relaxed).saturating_sub(stale);
            if let Some(epoch) = client.switch(world, node, expected, to) {
                to.clone_into(&mut active);
                newest.fetch_max(epoch, Ordering::Relaxed);
            }
        }
        world.rest(Duration::from_millis(random.random_range(200..700)));
    }
}

/// Writes down what the cluster tells of itself.
pub struct Chronicler<'w> {
    world: &'w World,
    client: Client,
    /// Evidence that was read already.
    told: BTreeSet<(&'static str, u64)>,
}

impl<'w> Chronicler<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, client: Client::new(&world.history), told: BTreeSet::new() }
    }

    /// Until the run is over.
    pub fn run(mut self) {
        while !self.world.is_over() {
            for service in services::ALL {
                self.switches(service);
            }
            self.hashes();
            self.world.rest(Duration::from_millis(1500));
        }
    }

    /// The newest switches of a service, and the evidence of each failover that is new. Whether both could be read.
    pub fn switches(&mut self, service: &'static Service) -> bool {
        let world = self.world;
        let mut failovers = vec![];
        let answer = self.client.does(
            "switches",
            map([("service", service.name.into())]),
            || world.fleet.any(&["--timeout", "3s", "switch", "list", service.name, "--limit", "60"]),
            |json| {
                let switches = json["switches"].as_array()?;
                failovers = switches
                    .iter()
                    .filter(|of| of["cause"] == "failover")
                    .filter_map(|of| of["epoch"].as_u64())
                    .collect();
                let switches: Option<Vec<Edn>> = switches.iter().map(switch).collect();
                Some(map([("service", service.name.into()), ("switches", Edn::Vector(switches?))]))
            },
        );
        let mut all = answer.exit == 0;
        for epoch in failovers {
            if !self.told.contains(&(service.name, epoch)) && !self.evidence(service, epoch) {
                all = false;
            }
        }
        all
    }

    fn evidence(&mut self, service: &'static Service, epoch: u64) -> bool {
        let (world, number) = (self.world, epoch.to_string());
        let asked = map([("service", service.name.into()), ("epoch", epoch.into())]);
        let get = || world.fleet.any(&["--timeout", "3s", "evidence", "get", service.name, &number]);
        let read = self.client.does("evidence", asked, get, |json| evidence(service.name, json)).exit == 0;
        if read {
            self.told.insert((service.name, epoch));
        }
        read
    }

    /// Every node's state hash, all at once, so that they have a chance to be seen at one index.
    pub fn hashes(&mut self) {
        let world = self.world;
        let nodes = world.fleet.ids();
        let answers: Vec<(u64, Answer)> = std::thread::scope(|scope| {
            let ask = |node| (node, scope.spawn(move || world.fleet.at(node, &["--timeout", "2s", "member", "list"])));
            let asked: Vec<_> = nodes.into_iter().map(ask).collect();
            asked.into_iter().map(|(node, thread)| (node, thread.join().expect("no panic"))).collect()
        });
        for (node, answer) in answers {
            self.client.does(
                "hash",
                map([("node", node.into())]),
                || answer,
                |json| {
                    let hash = json["state_hash"].as_str()?;
                    let applied = json["applied_index"].as_u64()?;
                    Some(map([("node", node.into()), ("applied", applied.into()), ("hash", hash.into())]))
                },
            );
        }
    }

    /// How a service is, at the end; whether it serves.
    pub fn status(&mut self, service: &'static Service) -> bool {
        let world = self.world;
        let mut serves = false;
        self.client.does(
            "status",
            map([("service", service.name.into())]),
            || world.fleet.any(&["verdict", "get", service.name]),
            |json| {
                let of = &json["verdict"];
                serves = of["phase"] == "serving";
                Some(map([
                    ("service", service.name.into()),
                    ("phase", key(of["phase"].as_str()?)),
                    ("region", of["active_region"].as_str().into()),
                    ("epoch", of["epoch"].as_u64().into()),
                    ("trouble", of["trouble"].as_str().into()),
                    ("drift", of["drift"].as_str().into()),
                ]))
            },
        );
        serves
    }

    /// Who votes, at the end.
    pub fn members(&mut self) {
        let world = self.world;
        let list = || {
            world.leader().map_or_else(
                || world.fleet.any(&["member", "list"]),
                |leader| world.fleet.at(leader, &["member", "list"]),
            )
        };
        self.client.does("members", map([]), list, |json| {
            let members = json["members"].as_array()?;
            let voters = members.iter().filter(|of| of["role"] == "voter").filter_map(|of| of["id"].as_u64());
            Some(map([("voters", vector(voters))]))
        });
    }
}

fn switch(of: &Value) -> Option<Edn> {
    Some(map([
        ("epoch", of["epoch"].as_u64()?.into()),
        ("from", of["from"].as_str().into()),
        ("to", of["to"].as_str()?.into()),
        ("cause", key(of["cause"].as_str()?)),
        ("status", key(of["status"].as_str()?)),
        ("authorised-ms", of["authorised_log_ms"].as_u64()?.into()),
        ("observed-ms", of["observed_log_ms"].as_u64().into()),
        ("term", of["term"].as_u64()?.into()),
        ("log-index", of["index"].as_u64()?.into()),
    ]))
}

fn evidence(service: &str, json: &Value) -> Option<Edn> {
    let (of, evidence) = (&json["switch"], &json["evidence"]);
    let run = |of: &Value| Some(map([("probe", of["probe"].as_u64()?.into()), ("term", of["term"].as_u64()?.into())]));
    let vote = |of: &Value| {
        let runs: Option<Vec<Edn>> = of["runs"].as_array()?.iter().map(run).collect();
        Some(map([
            ("node", of["node"].as_u64()?.into()),
            ("site", of["site"].as_str()?.into()),
            ("opinion", key(of["opinion"].as_str()?)),
            ("runs", Edn::Vector(runs?)),
        ]))
    };
    let region = |of: &Value| {
        let votes: Option<Vec<Edn>> = of["votes"].as_array()?.iter().map(vote).collect();
        Some(map([("region", of["region"].as_str()?.into()), ("votes", Edn::Vector(votes?))]))
    };
    let regions: Option<Vec<Edn>> = evidence["regions"].as_array()?.iter().map(region).collect();
    let electorate = evidence["electorate"].as_object()?.iter();
    let electorate: Option<Vec<(Edn, Edn)>> =
        electorate.map(|(node, site)| Some((Edn::Int(node.parse().ok()?), site.as_str()?.into()))).collect();
    Some(map([
        ("service", service.into()),
        ("epoch", of["epoch"].as_u64()?.into()),
        ("cause", key(of["cause"].as_str()?)),
        ("term", of["term"].as_u64()?.into()),
        ("from", of["from"].as_str().into()),
        ("to", of["to"].as_str()?.into()),
        ("electorate", Edn::Map(electorate?)),
        ("regions", Edn::Vector(regions?)),
    ]))
}
