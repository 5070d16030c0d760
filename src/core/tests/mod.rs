//! The protocol as tables and scenarios, and its invariants under random commands.

mod audit;
mod chaos;
mod earliest;
mod gauge;
mod scenarios;
mod seal;

use std::{collections::BTreeMap, time::Duration};

use super::{
    names::{EndpointId, Epoch, LogTime, NodeId, ServiceName},
    record::{Record, RecordType, RecordValue},
    report::{Outcome, Report, Run},
    service::*,
    state::*,
    switch::{Cause, Intent},
};

pub fn probe() -> Probe {
    let target = Target { host: "192.0.2.1".into(), port: 80 };
    let check = Check::Tcp(TcpCheck { target, send: None, expect: None });
    Probe { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), check }
}

pub fn service(name: &str, regions: &[&str]) -> Service {
    let region = |(i, name): (usize, &&str)| Region {
        name: name.parse().unwrap(),
        values: [(RecordType::A, [RecordValue::A([192, 0, 2, u8::try_from(i).unwrap()].into())].into())].into(),
        probes: vec![probe()],
        dynamodb: None,
    };
    let record = Record {
        provider: "main".parse().unwrap(),
        zone: "example.com".parse().unwrap(),
        name: format!("{name}.example.com").parse().unwrap(),
        rtype: RecordType::A,
        ttl: 60,
    };
    Service {
        name: name.parse().unwrap(),
        records: vec![record],
        regions: regions.iter().enumerate().map(region).collect(),
        policy: Policy {
            fall: 3,
            rise: 2,
            quorum: Quorum::Majority,
            cooldown: Duration::from_secs(600),
            budget: 2,
            budget_window: Duration::from_secs(3600),
            failback: Failback::Manual,
            dwell: Duration::from_secs(600),
            opinion_ttl: None,
            max_replication_lag: None,
            gate_unknown: GateUnknown::Hold,
            drift: DriftPolicy::Alarm,
            reconcile: Duration::from_secs(30),
            windows: vec![],
        },
    }
}

/// A log with one writer: three nodes on three sites, and what each of them last reported.
pub struct Cluster {
    pub state: State,
    pub term: u64,
    pub index: u64,
    pub now: u64,
    seqs: BTreeMap<NodeId, u64>,
    terms: BTreeMap<NodeId, u64>,
}

impl Cluster {
    pub fn new(sites: &[(NodeId, &str)]) -> Self {
        let mut state = State::default();
        let voters = sites.iter().map(|(node, site)| (*node, site.parse().unwrap())).collect();
        state.set_voters(Position { term: 1, index: 1 }, voters);
        Self { state, term: 1, index: 1, now: 0, seqs: BTreeMap::new(), terms: BTreeMap::new() }
    }

    pub fn three() -> Self {
        Self::new(&[(1, "a"), (2, "b"), (3, "c")])
    }

    /// Three sites, services adopted in their first region, every region up.
    pub fn serving(services: &[Service]) -> Self {
        let mut cluster = Self::three();
        for service in services {
            cluster.apply(Action::ApplyService {
                service: Box::new(service.clone()),
                source: String::new(),
                by: "ann".into(),
                exclusive: true,
            });
            let to = service.regions[0].name.clone();
            let epoch = Epoch(1);
            cluster.apply(Action::Authorise(Intent { service: service.name.clone(), epoch, to, cause: Cause::Adopt }));
            cluster.settle(service.name.as_str());
        }
        for node in 1..=3 {
            for endpoint in cluster.state.catalogue().endpoints {
                cluster.sees(node, endpoint.id.0, Outcome::Pass, 2);
            }
        }
        cluster
    }

    pub fn apply(&mut self, action: Action) -> Response {
        self.index += 1;
        let command = Command { at: LogTime(self.now), wall: 0, action };
        self.state.apply(Position { term: self.term, index: self.index }, &command)
    }

    /// One run from one node: full in a new term, else a delta.
    pub fn sees(&mut self, node: NodeId, endpoint: u32, outcome: Outcome, count: u32) -> Response {
        let endpoint = EndpointId(endpoint);
        let run =
            Run { endpoint, number: 1, outcome, count, before: None, reason: "timeout".into(), dependencies: vec![] };
        self.report(node, vec![run], None)
    }

    pub fn report(&mut self, node: NodeId, runs: Vec<Run>, blind: Option<String>) -> Response {
        let report = self.draft(node, runs, blind);
        self.apply(Action::Reports(vec![report]))
    }

    fn draft(&mut self, node: NodeId, runs: Vec<Run>, blind: Option<String>) -> Report {
        let held = self.state.views.get(&node).filter(|view| view.term == self.term);
        let base = self.seqs.get(&node).copied().filter(|_| self.terms.get(&node) == Some(&self.term));
        let rest = held.map_or(0, |v| v.runs.keys().filter(|id| runs.iter().all(|run| run.endpoint != **id)).count());
        let unchanged = u32::try_from(if base.is_some() { rest } else { 0 }).unwrap();
        let seq = self.seqs.get(&node).map_or(1, |seq| seq + 1);
        self.seqs.insert(node, seq);
        self.terms.insert(node, self.term);
        Report { node, seq, base, blind, runs, unchanged, ..Report::default() }
    }

    /// Everybody who reported in this term says in one entry that all goes on.
    pub fn hum(&mut self) {
        let nodes: Vec<_> = self.terms.iter().filter(|(_, term)| **term == self.term).map(|(node, _)| *node).collect();
        let reports = nodes.into_iter().map(|node| self.draft(node, vec![], None)).collect();
        self.apply(Action::Reports(reports));
    }

    pub fn pass_time(&mut self, span: Duration) {
        self.now += u64::try_from(span.as_millis()).unwrap();
        self.hum();
    }

    /// Time passes while one node is silent; with 0, nobody is heard.
    pub fn hush(&mut self, silent: NodeId, span: Duration) {
        self.now += u64::try_from(span.as_millis()).unwrap();
        let heard = self.terms.iter().filter(|(node, term)| silent > 0 && **node != silent && **term == self.term);
        let heard: Vec<_> = heard.map(|(node, _)| *node).collect();
        let reports = heard.into_iter().map(|node| self.draft(node, vec![], None)).collect();
        self.apply(Action::Reports(reports));
    }

    pub fn elect(&mut self) {
        self.term += 1;
        self.apply(Action::Tick);
    }

    /// Proposes what is due and says what came of it.
    pub fn step(&mut self) -> Vec<Response> {
        let due = self.state.due();
        due.into_iter().map(|action| self.apply(action)).collect()
    }

    pub fn settle(&mut self, name: &str) {
        let (service, epoch) = (name.parse::<ServiceName>().unwrap(), self.of(name).epoch);
        let receipts = BTreeMap::new();
        assert_eq!(self.apply(Action::Written { service: service.clone(), epoch, receipts }), Response::Done);
        assert_eq!(self.apply(Action::Observed { service, epoch, answers: vec![] }), Response::Done);
    }

    pub fn of(&self, name: &str) -> &ServiceState {
        &self.state.services[name]
    }

    pub fn manual(&self, name: &str, to: &str, overrides: &[&str]) -> Action {
        let cause = Cause::Manual {
            by: "ann".into(),
            reason: String::new(),
            overrides: overrides.iter().map(|rule| rule.parse().unwrap()).collect(),
        };
        let epoch = self.of(name).epoch.next();
        Action::Authorise(Intent { service: name.parse().unwrap(), epoch, to: to.parse().unwrap(), cause })
    }

    pub fn abort(&self, name: &str, to: &str) -> Action {
        let cause = Cause::Abort { by: "ann".into(), reason: "a false alarm".into() };
        let epoch = self.of(name).epoch.next();
        Action::Authorise(Intent { service: name.parse().unwrap(), epoch, to: to.parse().unwrap(), cause })
    }
}
