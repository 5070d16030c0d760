//! One node: wires consensus, probing, leading and serving together. The one place that starts tasks.
//!
//! ```text
//! probes ─▶ ledger ─▶ reporter ─▶ (leader's) office ─▶ log ─▶ state ─▶ catalogue ─▶ probes
//!                                     │                         └─▶ public API, metrics
//!                                     └─▶ providers (the leader only)
//! ```
//! Nothing here decides: who leads is a hint that starts and ends offices, and an office's every step is checked by the log.

mod cluster;
mod inspection;
mod log;
mod peers;
mod reporter;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    aws,
    config::Config,
    core::{
        names::NodeId,
        record::{Record, RrSet},
        report::Catalogue,
        service::Check,
        state::State,
        switch::NameserverLine,
    },
    dns::{
        Providers,
        authoritative::{Answer, Authoritative},
        config::{BuildError, build},
        inspect::read_only,
    },
    dynamodb::DynamoDb,
    grpc,
    history::Recorder,
    http, inspect,
    leader::{Nameservers, Office, Tools},
    metrics::{self, Front},
    probe::{self, Phase, Prober, controls::Control},
    raft::{Options, Raft, StartError, Timing},
    surroundings::{Listener, WallClock},
    tls::{Identity, IdentityError, PeerTls},
};

/// A snapshot is taken every so many entries: at three reports a second about every hour.
const SNAPSHOT_EVERY: u64 = 10_000;
/// How long the nameservers may take to answer a switch before the laggards are reported.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// How many inspections a node makes at a time; more wait.
const INSPECTIONS: usize = 2;

/// Why a node does not run, or ran no further.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A certificate file.
    #[error("cannot read the certificates of [tls]: {0}")]
    Tls(io::Error),
    /// The certificate's identity.
    #[error("{}: {error}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        error: IdentityError,
    },
    /// The certificate is somebody else's.
    #[error("{}: the certificate is of {found}, the configuration of {wanted}", path.display())]
    OtherCertificate {
        /// Its file.
        path: PathBuf,
        /// Whose it is.
        found: Box<Identity>,
        /// Who the configuration says this is.
        wanted: Box<Identity>,
    },
    /// Providers that cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Providers(Vec<BuildError>),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The store or consensus.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Consensus stopped: the disk is full or damaged.
    #[error("consensus stopped, and so does the node: {0}")]
    Consensus(String),
    /// The server ended.
    #[error("serving failed: {0}")]
    Serve(String),
}

/// A running node, as its tasks and servers share it.
pub struct Node {
    raft: Raft,
    prober: Prober,
    providers: Providers,
    desk: watch::Receiver<Option<Arc<Office<Raft>>>>,
    heard: watch::Sender<Option<Instant>>,
    /// Which peers take a connection.
    peers_seen: watch::Receiver<BTreeMap<NodeId, bool>>,
    /// How long an answer from the leader is waited for.
    patience: Duration,
    history: Option<Arc<Recorder>>,
    eyes: inspect::Tools,
    /// Inspections ask providers, who limit how often they are asked: a few at a time.
    inspections: Semaphore,
}

/// Runs a node until `shutdown` resolves or something fails that it cannot go on without.
///
/// # Errors
/// What hindered it from starting, or ended it; says what to do.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let dns = build(&config.providers, vec![]).map_err(RunError::Providers)?;
    let outside = Outside {
        providers: dns.providers,
        nameservers: Arc::new(Witness(dns.authoritative)),
        wall: WallClock::default(),
        snapshot_every: SNAPSHOT_EVERY,
        settle_within: SETTLE_WITHIN,
    };
    run_with(config, outside, shutdown).await
}

/// What a node deals with besides its peers and its disk.
pub struct Outside {
    /// Where records are written.
    pub providers: Providers,
    /// Who is asked whether the world sees it.
    pub nameservers: Arc<dyn Nameservers>,
    /// What it takes for the time of day.
    pub wall: WallClock,
    /// A snapshot is taken every so many entries.
    pub snapshot_every: u64,
    /// How long the nameservers may take before the laggards are reported.
    pub settle_within: Duration,
}

/// Runs a node as [`run`] does, with these surroundings instead of the ones that the configuration names.
///
/// # Errors
/// As there.
pub async fn run_with(config: Config, outside: Outside, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let tls = load_tls(&config)?;
    let listener = listen(config.node.listen).await?;
    let plain = match config.node.http {
        Some(address) => Some(listen_plain(address).await?),
        None => None,
    };
    let timing = Timing {
        election_min: config.timing.election_min,
        election_max: config.timing.election_max,
        heartbeat: config.timing.heartbeat,
    };
    let history = record(&config);
    let raft = Raft::start(Options {
        node: config.node.id,
        data: config.node.data.clone(),
        timing,
        tls: tls.clone(),
        snapshot_every: outside.snapshot_every,
        routes: std::collections::BTreeMap::new(),
        history: history.clone(),
    })
    .await?;

    let mut tasks = JoinSet::new();
    let (peers_work, peers_control) = watch::channel(true);
    let (peers, peers_seen) = watch::channel(BTreeMap::new());
    tasks.spawn(Node::watch_peers(raft.clone(), peers_work, peers));
    let (catalogue, catalogue_seen) = watch::channel(Arc::new(Catalogue::default()));
    let (phase, phase_seen) = watch::channel(Phase { rank: 0, sites: 1 });
    let dynamodb = DynamoDb::new(aws::Access::new(config.dynamodb.aws.clone()));
    let options = probe::Options {
        node: config.node.id,
        controls: controls(&config, peers_control),
        roots: probe::public_roots(),
        dynamodb: dynamodb.clone(),
    };
    let (desk, desk_seen) = watch::channel(None);
    let node = Arc::new(Node {
        prober: probe::start(options, catalogue_seen, phase_seen),
        providers: outside.providers.clone(),
        desk: desk_seen,
        heard: watch::channel(None).0,
        peers_seen,
        patience: timing.election_max,
        history: history.clone(),
        eyes: inspect::Tools {
            node: config.node.id,
            cluster: config.node.cluster.clone(),
            providers: read_only(&outside.providers),
            nameservers: outside.nameservers.clone(),
            prober: probe::check::Client::with(probe::public_roots(), dynamodb.clone()),
            tables: dynamodb.clone(),
        },
        inspections: Semaphore::new(INSPECTIONS),
        raft: raft.clone(),
    });
    let tools = Tools {
        cluster: config.node.cluster.clone(),
        providers: outside.providers,
        nameservers: outside.nameservers,
        settle_within: outside.settle_within,
        wall: outside.wall,
        tables: Arc::new(dynamodb),
        heartbeat: config.dynamodb.heartbeat,
    };
    tasks.spawn(follow(node.clone(), config.node.id, catalogue, phase));
    tasks.spawn(govern(raft.clone(), tools, desk));
    tasks.spawn(node.clone().report(config.timing.report));

    let stop = CancellationToken::new();
    let api = grpc::api(node.clone(), stop.clone()).await.map_err(|error| RunError::Serve(error.to_string()))?;
    let routes = api.routes.add_service(raft.peer_service(node.clone()));
    tasks.spawn(tell_health(node.clone(), api.health));
    if let Some(plain) = plain {
        let counters = metrics::install().map_err(|error| RunError::Serve(error.to_string()))?;
        tasks.spawn(http_side(plain, Arc::new(Front::new(node.clone(), counters)), stop.clone()));
    }
    let serving = grpc::serve(listener.incoming(), tls.server(), config.node.cluster.clone(), routes, stop.cancelled());
    info!(node = config.node.id, site = %config.node.site, cluster = %config.node.cluster, listen = %config.node.listen, "running");
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        why = raft.stopped() => Err(RunError::Consensus(why)),
        served = serving => served.map_err(|error| RunError::Serve(error.to_string())),
        Some(task) = tasks.join_next() => Err(RunError::Consensus(format!("a task ended: {task:?}"))),
    };
    stop.cancel();
    // Offices end before consensus does, so that no write outlives the leadership that began it.
    tasks.shutdown().await;
    raft.shutdown().await;
    if let Some(history) = history {
        // Openraft's tasks may hold it a while longer.
        let _ = tokio::task::spawn_blocking(move || history.flush()).await;
    }
    match &ended {
        Ok(()) => info!("stopped"),
        Err(why) => error!(%why, "stopped"),
    }
    ended
}

/// A node without a history is a node all the same.
fn record(config: &Config) -> Option<Arc<Recorder>> {
    let settings = config.history?;
    let dir = config.node.data.join("history");
    match Recorder::start(&dir, settings, config.node.cluster.clone(), config.node.id) {
        Ok(recorder) => Some(Arc::new(recorder)),
        Err(error) => {
            warn!(dir = %dir.display(), %error, "no history is recorded until the next start");
            None
        }
    }
}

fn load_tls(config: &Config) -> Result<PeerTls, RunError> {
    let files = &config.tls;
    let tls = PeerTls::load(&files.ca, &files.certificate, &files.key).map_err(RunError::Tls)?;
    let path = || files.certificate.clone();
    let found = tls.identity().map_err(|error| RunError::Certificate { path: path(), error })?;
    let wanted = Identity::Node { cluster: config.node.cluster.clone(), id: config.node.id };
    if found == wanted {
        return Ok(tls);
    }
    Err(RunError::OtherCertificate { path: path(), found: Box::new(found), wanted: Box::new(wanted) })
}

async fn listen(address: SocketAddr) -> Result<Listener, RunError> {
    Listener::bind(address).await.map_err(|error| RunError::Listen { address, error })
}

async fn listen_plain(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|error| RunError::Listen { address, error })
}

fn controls(config: &Config, peers: watch::Receiver<bool>) -> Vec<Control> {
    let name = |check: &Check| match check {
        Check::Http(check) => format!("http {}:{}", check.target.host, check.target.port),
        Check::Tcp(check) => format!("tcp {}:{}", check.target.host, check.target.port),
        Check::Dns(check) => format!("dns {}:{}", check.target.host, check.target.port),
        Check::Grpc(check) => format!("grpc {}:{}", check.target.host, check.target.port),
        Check::Dynamodb(check) => format!("dynamodb {} in {}", check.table.table, check.table.region),
    };
    let configured =
        config.controls.iter().map(|probe| Control::Probe { name: name(&probe.check), probe: probe.clone() });
    configured.chain([Control::External { name: "peers".into(), works: peers }]).collect()
}

/// Hands on what was applied: the catalogue to the probes, the sites' order to the schedule, the index to watchers.
async fn follow(node: Arc<Node>, id: NodeId, catalogue: watch::Sender<Arc<Catalogue>>, phase: watch::Sender<Phase>) {
    let mut applied = node.raft.applied();
    let mut catalogue_at = None;
    let mut member = false;
    loop {
        let position = *applied.borrow_and_update();
        let changed = node.raft.with_state(|state| {
            phase.send_if_modified(|phase| {
                let now = phase_of(state, id);
                std::mem::replace(phase, now) != now
            });
            (catalogue_at != Some(state.catalogue_at)).then(|| (state.catalogue_at, state.catalogue()))
        });
        if std::mem::replace(&mut member, node.raft.member(id).is_some()) && node.raft.member(id).is_none() {
            warn!(node = id, "this node was removed from the cluster: stop it, and remove its data");
        }
        if let Some((at, changed)) = changed {
            catalogue_at = Some(at);
            catalogue.send_replace(Arc::new(changed));
        }
        if position.term > 0 {
            node.heard.send_replace(Some(Instant::now()));
        }
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// This site's place among the sites, so that their probes of one endpoint interleave.
fn phase_of(state: &State, id: NodeId) -> Phase {
    let sites: BTreeSet<_> = state.voters.values().collect();
    let rank = state.voters.get(&id).and_then(|mine| sites.iter().position(|site| *site == mine)).unwrap_or_default();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Phase { rank: number(rank), sites: number(sites.len()) }
}

/// Holds an office for each term in which this node seems to lead.
async fn govern(raft: Raft, tools: Tools, desk: watch::Sender<Option<Arc<Office<Raft>>>>) {
    let mut leadership = raft.leadership();
    let mut clock = None;
    loop {
        let now = leadership.borrow_and_update().clone();
        if now.mine {
            let cancel = CancellationToken::new();
            let (log, tools) = (Arc::new(raft.clone()), tools.clone());
            let office = Office::hold(log, tools, now.term, &mut clock, desk.clone(), cancel.clone());
            tokio::pin!(office);
            let over = async {
                let still = |seen: &crate::raft::Leadership| seen.mine && seen.term == now.term;
                let _ = leadership.wait_for(|seen| !still(seen)).await;
            };
            tokio::select! {
                () = &mut office => {
                    // It could not be confirmed, or failed; while the leadership seems to last it is tried again.
                    warn!(term = now.term, "the office ended before the leadership did");
                    sleep(Duration::from_millis(200)).await;
                }
                () = over => {
                    cancel.cancel();
                    office.await;
                }
            }
        } else if leadership.changed().await.is_err() {
            return;
        }
    }
}

async fn http_side(listener: TcpListener, front: Arc<Front>, stop: CancellationToken) {
    if let Err(error) = http::serve(listener, front, stop).await {
        error!(%error, "the HTTP side ended");
    }
}

/// Says over `grpc.health.v1` whether this node knows a leader and has a state.
async fn tell_health(node: Arc<Node>, health: tonic_health::server::HealthReporter) {
    let mut leadership = node.raft.leadership();
    loop {
        let serving = leadership.borrow_and_update().leader.is_some();
        grpc::set_health(&health, serving).await;
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

struct Witness(Authoritative);

#[async_trait]
impl Nameservers for Witness {
    async fn settle(&self, record: &Record, wanted: &RrSet, within: Duration) -> Vec<NameserverLine> {
        let settled = self.0.settle(record, wanted, Instant::now() + within).await;
        let line = |answer: crate::dns::authoritative::NameserverAnswer| NameserverLine {
            record: record.to_string(),
            agrees: answer.answer.agrees_with(wanted),
            answer: said(&answer.answer),
            server: answer.server,
        };
        settled.answers.into_iter().map(line).collect()
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Values { ttl, values, authoritative } => {
            let rrset = RrSet { ttl: *ttl, values: values.clone() };
            format!("{rrset}{}", if *authoritative { "" } else { ", not authoritative" })
        }
        Answer::NoData => "no such record".into(),
        Answer::Error(why) => format!("{}{why}", NameserverLine::SILENT),
    }
}
