//! Nodes in one process, each with a store, a listener and a link to each of the others.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use quorate::{
    core::{
        names::{LogTime, NodeId},
        report::Report,
        state::{Action, Command, Position, Response},
    },
    raft::{Member, MemberChange, MemberError, Options, PeerHandler, Raft, ReportAnswer, Timing, create_store},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Status, transport::Server};

use crate::common::{eventually, link::Link, pki::Pki};

pub const LIMIT: Duration = Duration::from_secs(20);

pub const TIMING: Timing = Timing {
    election_min: Duration::from_millis(400),
    election_max: Duration::from_millis(800),
    heartbeat: Duration::from_millis(80),
};

pub fn tick(at: u64) -> Command {
    Command { at: LogTime(at), wall: 0, action: Action::Tick }
}

/// Answers calls as a leader would, and keeps the reports.
pub struct Handler {
    raft: Raft,
    pub reports: Mutex<Vec<Report>>,
}

#[async_trait]
impl PeerHandler for Handler {
    async fn report(&self, from: NodeId, report: Report) -> Result<ReportAnswer, Status> {
        assert_eq!(from, report.node);
        let answer = ReportAnswer { needs_full: report.base.is_some(), last_seq: report.seq };
        self.reports.lock().unwrap().push(report);
        Ok(answer)
    }

    async fn propose(&self, _: NodeId, action: Action) -> Result<(Position, Response), Status> {
        let term = self.raft.leadership().borrow().term;
        let command = Command { at: LogTime(0), wall: 0, action };
        self.raft.propose(term, command).await.map_err(|e| Status::failed_precondition(e.to_string()))
    }

    async fn change_members(&self, _: NodeId, change: MemberChange) -> Result<(), MemberError> {
        self.raft.change(change).await
    }

    async fn read_index(&self, _: NodeId) -> Result<Position, Status> {
        let confirmed = self.raft.confirm().await.map_err(|e| Status::failed_precondition(e.to_string()))?;
        Ok(Position { term: confirmed.term, index: confirmed.index })
    }
}

pub struct Node {
    pub raft: Raft,
    pub handler: Arc<Handler>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

pub struct Cluster {
    pub pki: Pki,
    dir: tempfile::TempDir,
    pub nodes: BTreeMap<NodeId, Node>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    /// From, to.
    links: BTreeMap<(NodeId, NodeId), Link>,
    snapshot_every: u64,
}

impl Cluster {
    /// Three nodes, founded.
    pub async fn new(snapshot_every: u64) -> Self {
        let mut cluster = Self {
            pki: Pki::new("test"),
            dir: tempfile::tempdir().unwrap(),
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            links: BTreeMap::new(),
            snapshot_every,
        };
        for id in 1..=3 {
            cluster.prepare(id).await;
        }
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let members = (1..=3).map(|id| (id, cluster.member(id))).collect();
        cluster.nodes[&1].raft.init_cluster(members).await.unwrap();
        cluster
    }

    pub fn member(&self, id: NodeId) -> Member {
        Member { site: format!("site-{id}").parse().unwrap(), address: self.addresses[&id].to_string() }
    }

    /// A store, an address, and links to and from everyone.
    pub async fn prepare(&mut self, id: NodeId) {
        create_store(&self.dir.path().join(id.to_string()), &self.pki.cluster, id).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for (other, to) in &self.addresses {
            self.links.insert((*other, id), Link::to(address).await);
            self.links.insert((id, *other), Link::to(*to).await);
        }
        self.addresses.insert(id, address);
    }

    pub fn options(&self, id: NodeId) -> Options {
        let routes = self.links.iter().filter(|((from, _), _)| *from == id);
        Options {
            node: id,
            data: self.dir.path().join(id.to_string()),
            timing: TIMING,
            tls: self.pki.node(id),
            snapshot_every: self.snapshot_every,
            history: None,
            routes: routes.map(|((_, to), link)| (*to, link.address.to_string())).collect(),
        }
    }

    pub async fn start(&mut self, id: NodeId) {
        let options = self.options(id);
        let tls = options.tls.server();
        let raft = Raft::start(options).await.unwrap();
        let handler = Arc::new(Handler { raft: raft.clone(), reports: Mutex::default() });
        let service = raft.peer_service(handler.clone());
        let address = self.addresses[&id];
        let listener = TcpListener::bind(address).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let server = Server::builder().tls_config(tls).unwrap().add_service(service);
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown).await.unwrap();
        });
        self.nodes.insert(id, Node { raft, handler, address, stop: Some(stop), server });
    }

    /// Ends a node and gives its store free.
    pub async fn stop(&mut self, id: NodeId) {
        let mut node = self.nodes.remove(&id).unwrap();
        node.raft.shutdown().await;
        drop(node.stop.take());
        node.server.abort();
        let _ = node.server.await;
    }

    /// Cuts or mends all links to and from a node.
    pub fn isolate(&self, id: NodeId, cut: bool) {
        for ((from, to), link) in &self.links {
            if *from == id || *to == id {
                link.set(!cut);
            }
        }
    }

    /// The node that can show that it leads, among those given.
    pub async fn leader(&self, among: &[NodeId]) -> (NodeId, u64) {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            for id in among {
                let raft = &self.nodes[id].raft;
                let mine = raft.leadership().borrow().mine;
                if mine && let Ok(confirmed) = raft.confirm().await {
                    return (*id, confirmed.term);
                }
            }
            assert!(tokio::time::Instant::now() < end, "no leader among {among:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All nodes have applied `index`, and hold the same state.
    pub async fn agree(&self, index: u64) {
        for node in self.nodes.values() {
            node.raft.wait_applied(index, LIMIT).await.unwrap();
        }
        let equal = || {
            let hashes: Vec<_> = self.nodes.values().map(|n| n.raft.status().state_hash).collect();
            hashes.windows(2).all(|pair| pair[0] == pair[1])
        };
        eventually("equal states", LIMIT, equal).await;
    }
}
