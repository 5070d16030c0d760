//! Consensus: one replicated log of commands, the state that follows from it, and who may add to it.
//!
//! [`Raft`] is all that the rest of the crate sees. It never shows openraft's types, never decides by a metric, and never
//! lets a leader of one term write in the name of another. What is on disk, and why it can be trusted, is told in `store`.

mod error;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod machine;
mod members;
mod network;
mod peers;
mod server;
#[cfg(feature = "testing")]
pub mod simulated;
pub(crate) mod store;
mod types;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use openraft::{
    Config, Instant as _, LinearizerOption, SnapshotPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, ForwardToLeader, InitializeError, LinearizableReadError, RaftError},
    impls::ProgressResponder,
    storage::RaftLogStorage,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::{
    error::{InitError, MemberError, NotApplied, NotLeader, ProposeError, StartError},
    members::{CHANGE_DEADLINE, MemberChange},
    peers::{Peers, ReportAnswer},
    server::PeerHandler,
    store::{CreateError, OpenError, create_store},
    types::Member,
};
use self::{
    machine::Machine,
    network::Network,
    server::{Inner, PeerServer},
    store::{LogStore, MAX_ENTRY, StoreDir},
    types::{CommittedLeaderId, LogId, Logged, TypeConfig, position},
};
use crate::{
    core::{
        names::{ClusterId, NodeId},
        state::{Command, Position, Response, State},
    },
    history::Recorder,
    proto::raft::peer_service_server::{PeerService, PeerServiceServer},
    tls::{Identity, PeerTls},
};

/// How long a snapshot may take to reach a peer and be installed there.
const SNAPSHOT_PATIENCE: Duration = Duration::from_mins(2);
/// How long the end of openraft's tasks may take after its core ended.
const RELEASE: Duration = Duration::from_secs(10);
/// How many entries that a snapshot holds stay in the log, so that a peer shortly away needs no snapshot.
const KEPT: u64 = 1_000;
/// How many entries are read for a peer at once; the bytes are bounded too.
const BATCH: u64 = 128;

/// The clocks of elections. The defaults suit sites up to 200 ms apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The shortest time without a leader's word before a node stands for election.
    pub election_min: Duration,
    /// The longest; each node draws anew between the two.
    pub election_max: Duration,
    /// How often a leader speaks.
    pub heartbeat: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            election_min: Duration::from_secs(1),
            election_max: Duration::from_secs(2),
            heartbeat: Duration::from_millis(250),
        }
    }
}

/// What a node needs to take part.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its id, as in its store and its certificate.
    pub node: NodeId,
    /// Its store's directory, made by [`create_store`].
    pub data: PathBuf,
    /// The clocks; the same on all nodes.
    pub timing: Timing,
    /// Its certificate, for calls to its peers.
    pub tls: PeerTls,
    /// A snapshot is taken each time that so many entries were applied.
    pub snapshot_every: u64,
    /// Addresses at which this node reaches others, where they are not the ones that the cluster lists (tunnels, NAT).
    pub routes: BTreeMap<NodeId, String>,
    /// Who takes down what is applied, if anybody does.
    pub history: Option<Arc<Recorder>>,
}

/// Proof that this node led at some instant of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// In this term.
    pub term: u64,
    /// Everything up to here was committed when the call was made, and is applied now.
    pub index: u64,
    /// Until then no other node can be elected, provided that clocks run evenly, that no voter restarts and that nobody
    /// transfers the leadership: a deadline to set, not a licence. The fence is what refuses a late write.
    pub lease_until: Instant,
}

/// Who is thought to lead. A hint: it stays true for seconds on a leader that is cut off, and decides nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term that this node is in.
    pub term: u64,
    /// The leader of it, if one is known.
    pub leader: Option<(NodeId, Member)>,
    /// It is this node.
    pub mine: bool,
}

/// One member as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Where it is.
    pub member: Member,
    /// It votes; else it learns.
    pub voter: bool,
    /// The last entry that it is known to hold; only a leader knows.
    pub matched: Option<u64>,
    /// How long ago it last answered, in ms; only a leader knows.
    pub silent_ms: Option<u64>,
}

/// What this node knows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The members, by id.
    pub members: Vec<MemberStatus>,
    /// This node's term.
    pub term: u64,
    /// The leader, as a hint.
    pub leader: Option<NodeId>,
    /// Its last entry.
    pub last_log: Option<u64>,
    /// The last applied entry.
    pub applied: Position,
    /// The last entry that a snapshot holds.
    pub snapshot: Option<u64>,
    /// SHA-256 of the state, in hex, and the entry after which it was taken: equal on all nodes at equal entries.
    pub state_hash: (Option<Position>, String),
    /// Why consensus stopped, if it did.
    pub fatal: Option<String>,
}

/// A node's part in the consensus; clones are the same node.
#[derive(Clone)]
pub struct Raft(Arc<Node>);

struct Node {
    id: NodeId,
    cluster: ClusterId,
    timing: Timing,
    inner: Inner,
    machine: Machine,
    peers: Peers,
    leadership: watch::Receiver<Leadership>,
    released: CancellationToken,
}

impl Raft {
    /// Opens the store, checks all of it, and takes part.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        #[cfg(feature = "testing")]
        if let Some(disk) = simulated::Disk::at(&options.data) {
            let (cluster, node) = disk.owner();
            return Self::take_part(options, cluster, node, disk.log(), disk.machine(), CancellationToken::new()).await;
        }
        let (data, history) = (options.data.clone(), options.history.clone());
        let opened = tokio::task::spawn_blocking(move || -> Result<_, OpenError> {
            let dir = StoreDir::open(&data)?;
            let (cluster, node) = (dir.cluster.clone(), dir.node);
            let log = LogStore::open(dir)?;
            let machine = Machine::open(&data, log.purged())?;
            if let Some(history) = history {
                machine.record_to(history);
            }
            Ok((cluster, node, log, machine))
        });
        let opened = opened.await.map_err(|e| StartError::Consensus(e.to_string()))?;
        let (cluster, node, log, machine) = opened?;
        let released = log.released();
        Self::take_part(options, cluster, node, log, machine, released).await
    }

    /// Takes part with a log and a state that were opened.
    async fn take_part<L: RaftLogStorage<TypeConfig>>(
        options: Options,
        cluster: ClusterId,
        node: NodeId,
        log: L,
        machine: Machine,
        released: CancellationToken,
    ) -> Result<Self, StartError> {
        let config = config(&options)?;
        let certificate = options.tls.identity()?;
        if node != options.node {
            return Err(StartError::OtherNode { dir: options.data, have: node, want: options.node });
        }
        let want = Identity::Node { cluster: cluster.clone(), id: node };
        if certificate != want {
            return Err(StartError::OtherIdentity { have: certificate, want });
        }
        let peers = Peers::new(options.tls, options.timing, options.routes);
        let inner = Inner::new(node, Arc::new(config), Network(peers.clone()), log, machine.clone()).await;
        let inner = inner.map_err(|e| StartError::Consensus(e.to_string()))?;
        let leadership = watch_leadership(node, &inner);
        Ok(Self(Arc::new(Node {
            id: node,
            cluster,
            timing: options.timing,
            inner,
            machine,
            peers,
            leadership,
            released,
        })))
    }

    /// This node's cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.0.cluster
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Founds the cluster, once, on one of its first members.
    pub async fn init_cluster(&self, members: BTreeMap<NodeId, Member>) -> Result<(), InitError> {
        self.0.inner.initialize(members).await.map_err(|e| match e {
            RaftError::APIError(InitializeError::NotAllowed(_)) => InitError::AlreadyDone,
            RaftError::APIError(InitializeError::NotInMembers(_)) => InitError::NotAMember(self.0.id),
            RaftError::Fatal(e) => InitError::Fatal(e.to_string()),
        })
    }

    /// Adds a command to the log as the leader of exactly `term`, and returns what became of it once it is applied here.
    ///
    /// An answer is due within two election timeouts; after that the outcome is unknown.
    pub async fn propose(&self, term: u64, command: Command) -> Result<(Position, Response), ProposeError> {
        let length = wire::to_cbor(&command).len();
        if length > MAX_ENTRY {
            return Err(ProposeError::TooLong { length, max: MAX_ENTRY });
        }
        let (responder, answer) = ProgressResponder::complete_only();
        let write = self.0.inner.write(Logged(command)).with_leader(CommittedLeaderId::new(term));
        write.responder(responder).await.map_err(|e| ProposeError::Fatal(e.to_string()))?;
        match tokio::time::timeout(self.0.timing.election_max * 2, answer).await {
            Ok(Ok(Ok(written))) => Ok((position(written.log_id), written.data)),
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(to)))) => Err(ProposeError::NotLeader { leader: leader(to) }),
            Ok(Ok(Err(other))) => Err(ProposeError::Unknown(other.to_string())),
            Ok(Err(_)) => Err(ProposeError::Fatal("it ended while the command was under way".to_owned())),
            Err(_) => Err(ProposeError::Unknown("no quorum answered in time".to_owned())),
        }
    }

    /// Makes sure by a round to a quorum that this node leads now (ReadIndex), and that what was committed is applied.
    pub async fn confirm(&self) -> Result<Confirmed, NotLeader> {
        let timing = self.0.timing;
        let began = Instant::now();
        let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(timing.election_max);
        let limit = timing.election_max * 2;
        let round = tokio::time::timeout(limit, self.0.inner.get_read_linearizer(option)).await;
        let state = match round {
            Ok(Ok(linearizer)) => linearizer,
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                return Err(NotLeader { leader: leader(to) });
            }
            // No quorum, no core, or no answer: in each case nothing is known of who leads.
            Ok(Err(_)) | Err(_) => return Err(NotLeader { leader: None }),
        };
        let at = position(*state.read_log_id().log_id());
        self.wait_applied(at.index, limit).await.map_err(|_| NotLeader { leader: None })?;
        // A tenth for clocks that do not run evenly.
        let lease_until = began + timing.election_min - timing.election_min / 10;
        Ok(Confirmed { term: at.term, index: at.index, lease_until })
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn wait_applied(&self, index: u64, timeout: Duration) -> Result<(), NotApplied> {
        let mut applied = self.applied();
        // `index` 0 is an entry too, and the position before the first one has index 0 as well: its term tells them apart.
        let reached = applied.wait_for(|at| at.term > 0 && at.index >= index);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotApplied { wanted: index, applied: self.0.machine.position().borrow().index }),
        }
    }

    /// Reads the applied state. Nothing is applied while `f` runs: it must be quick, and must not wait.
    pub fn with_state<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        self.0.machine.with_state(f)
    }

    /// The position of the last applied entry; changes after each batch.
    pub fn applied(&self) -> watch::Receiver<Position> {
        self.0.machine.position()
    }

    /// Who is thought to lead; see [`Leadership`].
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// What this node knows of the cluster.
    pub fn status(&self) -> Status {
        let metrics = self.0.inner.metrics().borrow_watched().clone();
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let matched = |id: &NodeId| metrics.replication.as_ref()?.get(id)?.map(|at| at.index());
        let silent = |id: &NodeId| {
            let answered = (*metrics.heartbeat.as_ref()?.get(id)?)?;
            u64::try_from(answered.elapsed().as_millis()).ok()
        };
        let members = metrics.membership_config.nodes().map(|(id, member)| MemberStatus {
            id: *id,
            member: member.clone(),
            voter: voters.contains(id),
            matched: matched(id),
            silent_ms: silent(id),
        });
        // One that was removed while it led still takes itself for the leader.
        let leader = metrics.current_leader.filter(|id| metrics.membership_config.get_node(id).is_some());
        let (hashed_at, hash) = self.0.machine.hash();
        Status {
            members: members.collect(),
            term: metrics.current_term,
            leader,
            last_log: metrics.last_log_index,
            applied: *self.0.machine.position().borrow(),
            snapshot: metrics.snapshot.map(|id| id.index()),
            state_hash: (hashed_at.map(position), hash),
            fatal: metrics.running_state.err().map(|e| e.to_string()),
        }
    }

    /// Returns when consensus stops by itself, with the reason (a full disk, say): the node must stop then. After
    /// [`Raft::shutdown`] it returns too.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.0.inner.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "consensus ended".to_owned();
            }
        }
    }

    /// The member with this id, as far as this node knows.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.0.inner.metrics().borrow_watched().membership_config.get_node(&id).cloned()
    }

    /// Stops taking part, and returns when the store may be opened by another process.
    pub async fn shutdown(&self) {
        if let Err(e) = self.0.inner.shutdown().await {
            tracing::warn!(why = %e, "consensus did not end cleanly");
        }
        if tokio::time::timeout(RELEASE, self.0.released.cancelled()).await.is_err() {
            tracing::warn!("the store is still in use");
        }
    }

    /// The `PeerService`, to be added to this node's peer listener, which must ask for client certificates.
    pub fn peer_service<H: PeerHandler>(&self, handler: Arc<H>) -> PeerServiceServer<impl PeerService + use<H>> {
        PeerServer::service(self.clone(), handler)
    }

    /// Calls to the other nodes.
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0.inner
    }

    /// The last committed entry that this node knows of.
    pub(crate) fn committed(&self) -> Option<LogId> {
        let metrics = self.0.inner.metrics().borrow_watched().clone();
        metrics.local_committed
    }
}

fn leader(to: ForwardToLeader<TypeConfig>) -> Option<(NodeId, Member)> {
    to.leader_id.zip(to.leader_node)
}

fn config(options: &Options) -> Result<Config, StartError> {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let Timing { election_min, election_max, heartbeat } = options.timing;
    if heartbeat * 2 >= election_min || heartbeat.is_zero() {
        return Err(StartError::Timing("the shortest election timeout must be over two heartbeats".to_owned()));
    }
    let config = Config {
        cluster_name: "quorate".to_owned(),
        election_timeout_min: ms(election_min),
        election_timeout_max: ms(election_max),
        heartbeat_interval: ms(heartbeat),
        install_snapshot_timeout: ms(SNAPSHOT_PATIENCE),
        max_payload_entries: BATCH,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every.max(1)),
        max_in_snapshot_log_to_keep: KEPT.min(options.snapshot_every),
        // A peer within the kept entries is served from the log; one behind them by a snapshot.
        replication_lag_threshold: options.snapshot_every.saturating_add(KEPT),
        purge_batch_size: 64.min(options.snapshot_every.max(1)),
        quorum_loss_probe_interval: Some(ms(election_max).saturating_mul(2)),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        // The queues are bounded by what one node can usefully have under way.
        api_channel_size: Some(4_096),
        notification_channel_size: Some(4_096),
        ..Config::default()
    };
    config.validate().map_err(|e| StartError::Timing(e.to_string()))
}

/// Follows openraft's metrics until it ends.
fn watch_leadership(me: NodeId, inner: &Inner) -> watch::Receiver<Leadership> {
    let mut metrics = inner.server_metrics();
    let read = move |metrics: &openraft::metrics::RaftServerMetrics<TypeConfig>| {
        let leader = metrics.current_leader;
        let member = leader.and_then(|id| metrics.membership_config.get_node(&id).cloned());
        Leadership {
            term: metrics.vote.leader_id.term,
            leader: leader.zip(member),
            mine: leader == Some(me) && metrics.state.is_leader(),
        }
    };
    let (sender, receiver) = watch::channel(read(&metrics.borrow_watched()));
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() {
            let now = read(&metrics.borrow_watched());
            sender.send_if_modified(|last| {
                let changed = *last != now;
                *last = now;
                changed
            });
        }
        sender.send_modify(|last| (last.mine, last.leader) = (false, None));
    });
    receiver
}
