//! The simulated cluster: real nodes on simulated disks, clocks and network, two regions, two controls, and an operator.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use quorate::{
    config::Config,
    core::{
        names::{Epoch, NodeId},
        service::{Check, Probe, Target, TcpCheck},
    },
    dns::Grade,
    node::{self, Outside},
    proto::v1::{self as pb, admin_service_client::AdminServiceClient, verdict_service_client::VerdictServiceClient},
    raft::simulated::Disk,
    surroundings::{self, WallClock, simulated::Shift},
    tls::{ANY_NODE, Identity, PeerTls, Role},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use crate::world::{Names, World};

pub const CLUSTER: &str = "sim";
/// The nodes that exist; the first three form the cluster, the others may be added.
pub const NODES: u64 = 5;
pub const SITES: [&str; 5] = ["paris", "oslo", "rome", "bern", "cork"];
pub const REGIONS: [&str; 2] = ["west", "east"];
/// How often a region is asked, and how long it may take.
pub const INTERVAL: Duration = Duration::from_secs(1);
pub const TIMEOUT: Duration = Duration::from_millis(500);
pub const FALL: u32 = 3;
/// How long an opinion counts.
pub const OPINION_TTL: Duration = Duration::from_secs(4);
pub const COOLDOWN: Duration = Duration::from_secs(12);
pub const RECONCILE: Duration = Duration::from_secs(5);
/// How long a sync of a disk that is well takes.
pub const SYNC: Duration = Duration::from_millis(3);
pub const ELECTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// What an operator's call may take.
const CALL: Duration = Duration::from_secs(6);

pub fn node_ip(id: NodeId) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(id).unwrap()).into()
}

pub fn region_ip(region: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, u8::try_from(region).unwrap() + 1).into()
}

pub fn control_ip(control: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 2, u8::try_from(control).unwrap() + 1).into()
}

pub fn operator_ip() -> IpAddr {
    Ipv4Addr::new(10, 0, 3, 1).into()
}

/// Certificates of the nodes, on disk as nodes have them, and the operator's.
fn certificates() -> (TempDir, PeerTls) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let cluster = CLUSTER.parse().unwrap();
    quorate::pki::init(dir.path(), &cluster, 2).unwrap();
    let issue = |identity: Identity| quorate::pki::issue(dir.path(), &identity, &[], 1).unwrap();
    for id in 1..=NODES {
        issue(Identity::Node { cluster: cluster.clone(), id });
    }
    let person = issue(Identity::Person { cluster: cluster.clone(), role: Role::Admin, name: "op".into() });
    let operator = PeerTls::load(&dir.path().join("ca.crt"), &person.certificate, &person.key).unwrap();
    (dir, operator)
}

fn config(id: NodeId, dir: &Path) -> Config {
    let address = node_ip(id);
    let control = |control| Probe {
        interval: Duration::from_millis(700),
        timeout: Duration::from_millis(400),
        check: Check::Tcp(TcpCheck { target: target(control_ip(control), 53), send: None, expect: None }),
    };
    Config {
        node: quorate::config::NodeSection {
            cluster: CLUSTER.parse().unwrap(),
            id,
            site: SITES[usize::try_from(id).unwrap() - 1].parse().unwrap(),
            data: data(id),
            listen: ([0, 0, 0, 0], 7700).into(),
            advertise: target(address, 7700),
            http: None,
        },
        tls: quorate::config::TlsSection {
            ca: dir.join("ca.crt"),
            certificate: dir.join(format!("node-{id}.crt")),
            key: dir.join(format!("node-{id}.key")),
        },
        timing: quorate::config::Timing {
            heartbeat: Duration::from_millis(250),
            election_min: ELECTION.0,
            election_max: ELECTION.1,
            report: Duration::from_secs(1),
        },
        controls: vec![control(0), control(1)],
        providers: BTreeMap::new(),
        log: quorate::config::LogSection::default(),
        dynamodb: quorate::config::DynamodbSection::default(),
        history: None,
    }
}

fn data(id: NodeId) -> PathBuf {
    Path::new("/simulated").join(id.to_string())
}

fn target(ip: IpAddr, port: u16) -> Target {
    Target { host: ip.to_string(), port }
}

/// What the operator wants.
#[derive(Debug, Clone)]
pub enum Order {
    Init,
    Apply(String),
    Switch {
        service: String,
        to: String,
        overrides: Vec<String>,
        expected: Option<u64>,
    },
    Abort(String),
    Freeze(String),
    Unfreeze(String),
    Add(NodeId),
    Promote(NodeId),
    Remove(NodeId),
    /// A linearizable read of a service; `since` is the epoch that some node had applied before it was asked.
    Read {
        service: String,
        since: Epoch,
    },
}

/// What came of an order.
#[derive(Debug, Clone)]
pub struct Done {
    pub order: Order,
    /// The epoch, of a switch, an abort or a read.
    pub outcome: Result<Option<u64>, tonic::Status>,
}

impl Done {
    /// How the members were changed, if they were.
    pub fn changed_members(&self) -> Option<&'static str> {
        self.outcome.as_ref().ok()?;
        match self.order {
            Order::Add(_) => Some("member added"),
            Order::Promote(_) => Some("member promoted"),
            Order::Remove(_) => Some("member removed"),
            _ => None,
        }
    }
}

/// The running simulation.
pub struct Cluster<'a> {
    pub sim: turmoil::Sim<'a>,
    pub world: World,
    pub disks: BTreeMap<NodeId, Disk>,
    pub shifts: BTreeMap<NodeId, Shift>,
    orders: mpsc::UnboundedSender<(NodeId, Order)>,
    pub done: Arc<Mutex<Vec<Done>>>,
    /// Where the certificates are.
    _dir: TempDir,
}

impl Cluster<'_> {
    pub fn start(seed: u64, snapshot_every: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000))
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(40))
            .simulation_duration(Duration::from_secs(3600))
            .build();
        quorate::raft::simulated::begin(seed);
        let (dir, operator) = certificates();
        let world = World::new(seed ^ 0x5eed);
        let (mut disks, mut shifts) = (BTreeMap::new(), BTreeMap::new());
        for region in 0..REGIONS.len() {
            sim.host(region_ip(region), move || serve(region));
        }
        for control in 0..2 {
            sim.host(control_ip(control), accept);
        }
        for id in 1..=NODES {
            let disk = Disk::make(&data(id), CLUSTER.parse().unwrap(), id, SYNC);
            disks.insert(id, disk);
            let shift = Shift::default();
            shifts.insert(id, shift.clone());
            let (outside, dir) = (world.clone(), dir.path().to_owned());
            sim.host(node_ip(id), move || run(config(id, &dir), outside.clone(), shift.clone(), snapshot_every));
        }
        let (orders, inbox) = mpsc::unbounded_channel();
        let done = Arc::new(Mutex::new(vec![]));
        let told = done.clone();
        sim.client(operator_ip(), operate(operator, inbox, told));
        Self { sim, world, disks, shifts, orders, done, _dir: dir }
    }

    /// Has the operator ask a node for something; what came of it is in `done` later.
    pub fn order(&self, node: NodeId, order: Order) {
        let _ = self.orders.send((node, order));
    }

    pub fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn run(config: Config, world: World, shift: Shift, snapshot_every: u64) -> turmoil::Result {
    let providers = [("a", Grade::A), ("c", Grade::C)]
        .into_iter()
        .map(|(name, grade)| (name.parse().unwrap(), world.provider(config.node.id, grade)));
    let outside = Outside {
        providers: Arc::new(providers.collect()),
        nameservers: Arc::new(Names(world.clone())),
        wall: WallClock::shifted(shift),
        snapshot_every,
        settle_within: Duration::from_secs(3),
    };
    node::run_with(config, outside, std::future::pending()).await.map_err(Into::into)
}

/// A region's endpoint: says that it is up, by its name.
async fn serve(region: usize) -> turmoil::Result {
    let listener = turmoil::net::TcpListener::bind(("0.0.0.0", 80)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let body = format!(r#"{{"status":"UP","region":"{}"}}"#, REGIONS[region]);
            let head = "content-type: application/json\r\nconnection: close";
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

/// A control: takes connections.
async fn accept() -> turmoil::Result {
    let listener = turmoil::net::TcpListener::bind(("0.0.0.0", 53)).await?;
    loop {
        drop(listener.accept().await?);
    }
}

async fn operate(
    tls: PeerTls,
    mut inbox: mpsc::UnboundedReceiver<(NodeId, Order)>,
    done: Arc<Mutex<Vec<Done>>>,
) -> turmoil::Result {
    let mut channels: BTreeMap<NodeId, Channel> = BTreeMap::new();
    while let Some((node, order)) = inbox.recv().await {
        let channel = channels.entry(node).or_insert_with(|| {
            let endpoint = Endpoint::from_shared(format!("https://{}:7700", node_ip(node))).unwrap();
            let endpoint = endpoint.tls_config(tls.client(ANY_NODE)).unwrap();
            surroundings::channel(&endpoint.connect_timeout(Duration::from_secs(2)))
        });
        let (channel, done) = (channel.clone(), done.clone());
        tokio::spawn(async move {
            let asked = timeout(CALL, ask(channel, order.clone())).await;
            let outcome = asked.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")));
            done.lock().unwrap_or_else(PoisonError::into_inner).push(Done { order, outcome });
        });
    }
    Ok(())
}

fn member(id: NodeId) -> pb::Member {
    let site = SITES[usize::try_from(id).unwrap() - 1].to_owned();
    pb::Member { id, site, address: format!("{}:7700", node_ip(id)) }
}

async fn ask(channel: Channel, order: Order) -> Result<Option<u64>, tonic::Status> {
    let mut client = AdminServiceClient::new(channel.clone());
    match order {
        Order::Init => {
            let members = (1..=3).map(member).collect();
            client.init_cluster(pb::InitClusterRequest { members }).await?;
        }
        Order::Apply(toml) => {
            let request = pb::ApplyServiceRequest { toml, dry_run: false, skip_provider_check: true };
            client.apply_service(request).await?;
        }
        Order::Switch { service, to, overrides, expected } => {
            let request = pb::SwitchRequest {
                service,
                to,
                r#override: overrides,
                expected_epoch: expected,
                reason: "the simulation's".to_owned(),
            };
            return Ok(Some(client.switch(request).await?.into_inner().epoch));
        }
        Order::Abort(service) => {
            let request = pb::AbortSwitchRequest { service, expected_epoch: None, reason: "doubts".to_owned() };
            return Ok(Some(client.abort_switch(request).await?.into_inner().epoch));
        }
        Order::Freeze(service) => {
            client.freeze(pb::FreezeRequest { service, reason: "a look".to_owned() }).await?;
        }
        Order::Unfreeze(service) => {
            client.unfreeze(pb::UnfreezeRequest { service }).await?;
        }
        Order::Add(id) => {
            client.add_member(pb::AddMemberRequest { member: Some(member(id)) }).await?;
        }
        Order::Promote(id) => {
            client.promote_member(pb::PromoteMemberRequest { id }).await?;
        }
        Order::Remove(id) => {
            client.remove_member(pb::RemoveMemberRequest { id }).await?;
        }
        Order::Read { service, .. } => {
            let request = pb::GetVerdictRequest { service, consistency: pb::Consistency::Linearizable.into() };
            let answer = VerdictServiceClient::new(channel).get_verdict(request).await?.into_inner();
            return Ok(answer.verdict.map(|verdict| verdict.epoch));
        }
    }
    Ok(None)
}

/// The service file of one service; `provider` is `a` or `c`, by its grade.
pub fn service(name: &str, provider: &str) -> String {
    let mut text = format!(
        "name = '{name}'\n[[record]]\nprovider = '{provider}'\nzone = 'example.test'\nname = '{name}'\ntype = 'A'\nttl = 30\n"
    );
    for (i, region) in REGIONS.iter().enumerate() {
        let _ = write!(
            text,
            "[[region]]\nname = '{region}'\nvalues = {{ A = ['192.0.2.{}'] }}\n\
             probe = {{ http = 'http://{}:80/health', interval = '{}ms', timeout = '{}ms', json = {{ '/status' = 'UP' }} }}\n",
            i + 1,
            region_ip(i),
            INTERVAL.as_millis(),
            TIMEOUT.as_millis(),
        );
    }
    text + &format!(
        "[policy]\nfall = {FALL}\nrise = 2\ncooldown = '{}s'\nbudget = 100\nreconcile = '{}s'\nopinion_ttl = '{}s'\n",
        COOLDOWN.as_secs(),
        RECONCILE.as_secs(),
        OPINION_TTL.as_secs()
    )
}
