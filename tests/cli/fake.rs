//! A cluster of one process behind the real servers, real TLS and the real core: only consensus and providers are left out.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use quorate::{
    core::{
        names::{LogTime, NodeId, ServiceName},
        report::{Outcome, Report, Run, Sight},
        service::Service,
        state::{Action, Command, Position, Response, State},
        switch::{Cause, Intent, NameserverLine},
    },
    grpc::{
        self, Cluster, ClusterError, Consistency, ReadInfo,
        cluster::{Member, MemberStatus, Membership},
    },
    inspect::{Inspection, NodeAnswer},
    pki,
    surroundings::Listener,
    tls::{Identity, PeerTls, Role},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

pub const SITES: [&str; 3] = ["oslo", "paris", "rome"];
/// 2026-11-23 12:00:00 UTC.
const WALL: u64 = 1_795_435_200_000;

/// What the fake cluster does and holds.
pub struct Fake {
    state: Mutex<State>,
    applied: watch::Sender<Position>,
    seqs: Mutex<BTreeMap<NodeId, u64>>,
    members: Mutex<Vec<Member>>,
    /// Every call fails with this while it is set.
    pub fails: Mutex<Option<ClusterError>>,
    /// No proposal is ever answered while this is set.
    pub hangs: AtomicBool,
    pub providers: Mutex<Vec<String>>,
    pub now: Mutex<u64>,
    /// What the nodes find out when they are asked to look.
    pub answers: Mutex<Vec<NodeAnswer>>,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let member = |(i, site): (usize, &str)| Member {
            id: i as u64 + 1,
            site: site.parse().unwrap(),
            address: format!("192.0.2.{}:7700", i + 1),
        };
        let members: Vec<_> = SITES.into_iter().enumerate().map(member).collect();
        let mut state = State::default();
        let voters = members.iter().map(|of| (of.id, of.site.clone())).collect();
        state.set_voters(Position { term: 2, index: 1 }, voters);
        Arc::new(Self {
            state: Mutex::new(state),
            applied: watch::channel(Position { term: 2, index: 1 }).0,
            seqs: Mutex::default(),
            members: Mutex::new(members),
            fails: Mutex::default(),
            hangs: AtomicBool::default(),
            providers: Mutex::default(),
            now: Mutex::new(1_000),
            answers: Mutex::default(),
        })
    }

    pub fn apply(&self, action: Action) -> Response {
        let mut state = self.state.lock().unwrap();
        let position = Position { term: 2, index: state.position.index + 1 };
        let at = LogTime(*self.now.lock().unwrap());
        let response = state.apply(position, &Command { at, wall: WALL + at.0, action });
        drop(state);
        self.applied.send_replace(position);
        response
    }

    pub fn pass(&self, span: Duration) {
        *self.now.lock().unwrap() += u64::try_from(span.as_millis()).unwrap();
    }

    /// Each node says whether each of the service's endpoints passes, by region.
    pub fn report(&self, passes: impl Fn(NodeId, &str) -> bool) {
        let endpoints: Vec<_> =
            self.state.lock().unwrap().catalogue().endpoints.iter().map(|of| (of.id, of.region.to_string())).collect();
        for node in 1..=SITES.len() as u64 {
            let seq = *self.seqs.lock().unwrap().entry(node).and_modify(|seq| *seq += 1).or_insert(1);
            let run = |(endpoint, region): &(_, String)| {
                let pass = passes(node, region);
                let outcome = if pass { Outcome::Pass } else { Outcome::Fail };
                let reason = if pass { String::new() } else { "status 503, 200 wanted".into() };
                let number = u32::try_from(seq).unwrap();
                Run { endpoint: *endpoint, outcome, number, count: 3, before: None, reason, dependencies: vec![] }
            };
            let runs = endpoints.iter().map(run).collect();
            let report = Report { node, seq, runs, sight: Some(sight(node)), ..Report::default() };
            self.apply(Action::Reports(vec![report]));
        }
    }

    /// Carries the open switch of a service through, or adopts `region` first.
    pub fn settle(&self, service: &str) {
        let service: ServiceName = service.parse().unwrap();
        let epoch = self.state.lock().unwrap().services[&service].epoch;
        let receipts = BTreeMap::from([("app.example.com A".to_owned(), "serial 7".to_owned())]);
        assert_eq!(self.apply(Action::Written { service: service.clone(), epoch, receipts }), Response::Done);
        self.pass(Duration::from_millis(1_500));
        let answers = vec![NameserverLine {
            record: "app.example.com A".into(),
            server: "ns1.example.com".into(),
            answer: "198.51.100.20".into(),
            agrees: true,
        }];
        assert_eq!(self.apply(Action::Observed { service, epoch, answers }), Response::Done);
    }

    /// The service `app`, adopted in eu-west-3, everything up.
    pub fn with_app(self: Arc<Self>) -> Arc<Self> {
        let source = include_str!("../fixtures/services/design.toml");
        let (service, _) = quorate::service_file::parse(source).unwrap();
        let name = service.name.clone();
        let apply = Action::ApplyService {
            service: Box::new(service),
            source: source.into(),
            by: "ada".into(),
            exclusive: true,
        };
        assert_eq!(self.apply(apply), Response::Done);
        let to = "eu-west-3".parse().unwrap();
        let adopt = Intent { service: name, epoch: quorate::core::names::Epoch(1), to, cause: Cause::Adopt };
        assert!(matches!(self.apply(Action::Authorise(adopt)), Response::Authorised(_)));
        self.settle("app");
        self.report(|_, _| true);
        self
    }

    fn failing(&self) -> Result<(), ClusterError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Cluster for Fake {
    async fn catch_up(&self, _: Consistency) -> Result<(), ClusterError> {
        self.failing()
    }

    fn with_state(&self, look: &mut dyn FnMut(&State, ReadInfo)) {
        let state = self.state.lock().unwrap();
        let age = Some(Duration::from_millis(250));
        look(&state, ReadInfo { position: state.position, log_time: state.log_time, age, answered_by: 1 });
    }

    fn applied(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    async fn propose(&self, action: Action) -> Result<Response, ClusterError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.failing().map(|()| self.apply(action))
    }

    async fn check_providers(&self, _: &Service, read: bool) -> Result<(), Vec<String>> {
        let problems = self.providers.lock().unwrap().clone();
        if problems.is_empty() || !read { Ok(()) } else { Err(problems) }
    }

    async fn inspect(&self, _: Inspection, to: mpsc::Sender<NodeAnswer>) {
        let answers = self.answers.lock().unwrap().clone();
        for answer in answers {
            to.send(answer).await.unwrap();
        }
    }

    fn membership(&self) -> Membership {
        let members = self.members.lock().unwrap();
        let status = |member: &Member| MemberStatus {
            member: member.clone(),
            voter: member.id <= 3,
            leader: member.id == 1,
            matched_index: Some(7),
            silent: Some(Duration::from_millis(40)),
        };
        Membership {
            cluster: "test".parse().unwrap(),
            members: members.iter().map(status).collect(),
            leader: Some(1),
            term: 2,
            last_log_index: 8,
            applied_index: 7,
            state_hash: "00ff".into(),
        }
    }

    async fn init(&self, members: Vec<Member>) -> Result<(), ClusterError> {
        self.failing()?;
        *self.members.lock().unwrap() = members;
        Ok(())
    }

    async fn add_member(&self, member: Member) -> Result<(), ClusterError> {
        self.failing()?;
        self.members.lock().unwrap().push(member);
        Ok(())
    }

    async fn promote_member(&self, id: NodeId) -> Result<(), ClusterError> {
        self.failing()?;
        let known = self.members.lock().unwrap().iter().any(|of| of.id == id);
        if known { Ok(()) } else { Err(ClusterError::NoMember(id)) }
    }

    async fn remove_member(&self, id: NodeId) -> Result<(), ClusterError> {
        self.failing()?;
        self.members.lock().unwrap().retain(|of| of.id != id);
        Ok(())
    }

    async fn replace_member(&self, old: NodeId, member: Member) -> Result<(), ClusterError> {
        self.remove_member(old).await?;
        self.add_member(member).await
    }

    async fn transfer_leadership(&self, _: NodeId) -> Result<(), ClusterError> {
        self.failing()
    }
}

fn sight(node: NodeId) -> Sight {
    let controls = vec![("dns 192.0.2.53:53".to_owned(), None), ("peers".to_owned(), None)];
    Sight { controls, peers: (1..=3).filter(|peer| *peer != node).map(|peer| (peer, true)).collect() }
}

/// Certificates of one cluster, in a directory of their own.
pub struct Pki {
    dir: tempfile::TempDir,
    cluster: &'static str,
}

impl Pki {
    pub fn new(cluster: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        pki::init(dir.path(), &cluster.parse().unwrap(), 1).unwrap();
        let of = Self { dir, cluster };
        for role in [Role::Viewer, Role::Operator, Role::Admin] {
            of.issue(&Identity::Person { cluster: cluster.parse().unwrap(), role, name: "ada".into() });
        }
        of.issue(&Identity::Node { cluster: cluster.parse().unwrap(), id: 1 });
        of
    }

    fn issue(&self, identity: &Identity) {
        pki::issue(self.dir.path(), identity, &[], 1).unwrap();
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `ca`, certificate and key of `viewer-ada`, `node-1` …
    pub fn tls(&self, stem: &str) -> PeerTls {
        let of = |suffix| self.file(&format!("{stem}.{suffix}"));
        PeerTls::load(&self.file("ca.crt"), &of("crt"), &of("key")).unwrap()
    }

    /// Serves `fake` until the server is dropped.
    pub async fn serve(&self, fake: Arc<Fake>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let api = grpc::api(fake, stop.clone()).await.unwrap();
        grpc::set_health(&api.health, true).await;
        let until = stop.clone().cancelled_owned();
        let serving = grpc::serve(
            Listener::System(listener).incoming(),
            self.tls("node-1").server(),
            self.cluster.parse().unwrap(),
            api.routes,
            until,
        );
        tokio::spawn(async move { serving.await.unwrap() });
        Server { address, stop }
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
