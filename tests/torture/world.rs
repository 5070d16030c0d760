//! Everything that a run consists of, and how it is set up and looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quorate::demo::region::Region;
use serde_json::Value;

use crate::{
    dns_server::KEY_NAME,
    fleet::Fleet,
    history::History,
    netns::Net,
    services::{self, Service},
    witness::Witness,
};

/// Where each site finds OVH's API: the client speaks plain HTTP to loopback only.
const OVH_PORT: u16 = 8089;

/// What became of one outage.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "shown when an outage was not switched")]
pub struct Outage {
    pub service: &'static str,
    pub kind: &'static str,
    pub began: Instant,
    pub switched: Option<Instant>,
}

pub struct World {
    // The nodes go first, the network last.
    pub fleet: Arc<Fleet>,
    pub witness: Arc<Witness>,
    pub regions: BTreeMap<&'static str, [Region; 2]>,
    pub controls: [Region; 3],
    pub history: Arc<History>,
    pub over: AtomicBool,
    pub voters: Mutex<Vec<u64>>,
    /// Held for reading while a region is cut from some sites, for writing while members change.
    pub membership: RwLock<()>,
    pub outages: Mutex<Vec<Outage>>,
}

impl World {
    /// Three nodes, two providers, three services, each adopted in its first region; `None` where it cannot be and skipping
    /// is allowed.
    pub async fn start(slack: Duration, timing: &str, environment: Vec<(String, String)>) -> Option<Arc<Self>> {
        let net = Net::build(5)?;
        let gateway = net.gateway();
        let history = Arc::new(History::begin());
        let witness = Witness::start(gateway, Arc::clone(&history)).await?;
        let region = async |name| Region::start(name, gateway).await.expect("a region");
        let mut regions = BTreeMap::new();
        for service in services::ALL {
            let [(first, _), (second, _)] = service.regions;
            regions.insert(service.name, [region(first).await, region(second).await]);
        }
        let controls = [region("one").await, region("two").await, region("three").await];
        for site in 1..=5 {
            net.lead_loopback(site, OVH_PORT, witness.ovh.http);
        }
        let common = timing.to_owned() + &configuration(&witness, &controls);
        let (runtime, starting) = (tokio::runtime::Handle::current(), Arc::clone(&history));
        // Nodes die with the thread that starts them: this one waits for the run's end in `block_in_place`.
        let fleet = tokio::task::block_in_place(|| Fleet::start(net, starting, runtime, common, environment))?;
        witness.knows(Arc::clone(&fleet));
        let world = Arc::new(Self {
            fleet,
            witness,
            regions,
            controls,
            history,
            over: AtomicBool::new(false),
            voters: Mutex::new(vec![1, 2, 3]),
            membership: RwLock::new(()),
            outages: Mutex::default(),
        });
        tokio::task::block_in_place(|| world.apply(slack));
        Some(world)
    }

    fn apply(&self, slack: Duration) {
        for service in services::ALL {
            let file = self.fleet.dir().join(format!("{}.toml", service.name));
            std::fs::write(&file, service.file(&self.regions[service.name])).expect("the service file");
            let file = file.to_str().expect("UTF-8").to_owned();
            crate::until("the service is applied", crate::LONG, || {
                let answer = self.fleet.any(&["service", "apply", &file]);
                // A node may not have heard yet that there is a cluster.
                let early = answer.stderr.contains("NOT_INITIALISED");
                assert!([0, 5, 6].contains(&answer.exit) || early, "{answer:?}");
                (answer.exit == 0).then_some(())
            });
        }
        let adopted = |service: &Service| {
            self.witness.look_at_ovh();
            let app = self.verdict(service.name)?;
            let all_up = app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up");
            (app["phase"] == "serving" && all_up).then(|| app["epoch"].as_u64())?
        };
        for service in services::ALL {
            let epoch = crate::until("the service is adopted and its regions are up", crate::LONG, || adopted(service));
            assert_eq!(epoch, 1, "{}", service.name);
        }
        let setup = services::setup(slack, (1, services::REG.regions[0].0));
        self.history.add(0, crate::history::Process::Nemesis, crate::history::Type::Info, "setup", setup);
    }

    /// The run is over for everybody.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sleeps, unless the run is over.
    pub fn rest(&self, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until && !self.is_over() {
            std::thread::sleep(Duration::from_millis(50).min(span));
        }
    }

    /// The verdict on a service, linearizable; `None` while nobody can answer.
    pub fn verdict(&self, service: &str) -> Option<Value> {
        let answer = self.fleet.any(&["--timeout", "3s", "verdict", "get", service]);
        (answer.exit == 0).then(|| answer.json["verdict"].clone())
    }

    /// The nodes that vote, as the nemesis knows.
    pub fn voters(&self) -> Vec<u64> {
        self.voters.lock().expect("no panic under the lock").clone()
    }

    /// Says who votes from here on.
    pub fn set_voters(&self, voters: Vec<u64>) {
        self.history.electorate(&voters);
        *self.voters.lock().expect("no panic under the lock") = voters;
    }

    /// Whom the nodes follow, if they agree and can confirm it.
    pub fn leader(&self) -> Option<u64> {
        let nodes = self.fleet.ids();
        // One that was removed answers, too, and knows nothing of what came after it.
        let named = nodes
            .iter()
            .filter_map(|node| self.fleet.at(*node, &["--timeout", "2s", "member", "list"]).json["leader"].as_u64());
        let named: BTreeSet<u64> = named.filter(|leader| nodes.contains(leader)).collect();
        named.into_iter().find(|leader| self.fleet.at(*leader, &["--timeout", "2s", "verdict", "list"]).exit == 0)
    }
}

fn configuration(witness: &Witness, controls: &[Region; 3]) -> String {
    let (proxy, bind) = (witness.proxy, witness.bind.address());
    let mut text = format!(
        "[provider.main]\ntype = 'rfc2136'\nserver = '{proxy}'\nnameservers = ['{bind}']\n\
         key = {{ name = '{KEY_NAME}', algorithm = 'hmac-sha256', secret_env = 'TORTURE_TSIG' }}\n\
         [provider.ovh]\ntype = 'ovh'\nbase_url = 'http://127.0.0.1:{OVH_PORT}/1.0'\nnameservers = ['{}']\napplication_key_env = 'TORTURE_AK'\n\
         application_secret_env = 'TORTURE_AS'\nconsumer_key_env = 'TORTURE_CK'\n",
        witness.ovh.dns
    );
    for control in controls {
        let _ = write!(
            text,
            "[[control]]\nhttp = 'http://{}/health'\ninterval = '500ms'\ntimeout = '400ms'\n",
            control.address()
        );
    }
    text
}
