//! A recording of a cluster that never was: three sites report each second what made-up endpoints do, and a leader switches as
//! the product's own core says. Everything but time, network and provider is the product's.
#![allow(dead_code)]

use std::{collections::BTreeMap, fmt::Write as _};

use quorate::{
    core::{
        names::{EndpointId, Epoch, LogTime, NodeId},
        report::{Outcome, Report, Run},
        state::{Action, Command, Position, Response, State},
        switch::{Cause, Intent},
    },
    history::{Begin, Record, encode},
};

/// 2026-11-23 00:00:00 UTC.
pub const WALL: u64 = 1_795_392_000_000;

/// From `from` to `to` (ms) the endpoints of this region fail, as far as these nodes see.
#[derive(Debug, Clone)]
pub struct Fault {
    pub service: String,
    pub region: String,
    pub from: u64,
    pub to: u64,
    pub nodes: Vec<NodeId>,
}

/// A service file with regions `west` and `east`.
pub fn service(name: &str, probes: usize, interval: &str, policy: &str) -> String {
    let mut text = format!(
        "name = '{name}'\n[[record]]\nprovider = 'main'\nzone = 'example.com'\nname = '{name}'\ntype = 'A'\nttl = 60\n"
    );
    for (region, value) in [("west", "192.0.2.1"), ("east", "192.0.2.2")] {
        let _ = writeln!(text, "[[region]]\nname = '{region}'\nvalues = {{ A = ['{value}'] }}");
        for i in 0..probes {
            let probe = format!("http = 'http://{value}/{i}'\ninterval = '{interval}'\ntimeout = '300ms'");
            let _ = writeln!(text, "[[region.probe]]\n{probe}");
        }
    }
    text + "[policy]\n" + policy
}

/// One node's endpoint.
#[derive(Debug, Clone)]
struct Track {
    outcome: Outcome,
    number: u32,
    count: u32,
    /// The final count of the run before.
    before: Option<u32>,
    told: (u32, u32),
}

/// The cluster that is recorded.
pub struct World {
    pub state: State,
    pub bytes: Vec<u8>,
    pub now: u64,
    pub term: u64,
    index: u64,
    tracks: BTreeMap<(NodeId, EndpointId), Track>,
    seqs: BTreeMap<NodeId, (u64, u64)>,
    /// When each open switch is written, and when it is observed.
    settling: Vec<(u64, Action)>,
    /// From due to authorised, to written, to observed, in ms.
    pub pace: [u64; 3],
    waiting: Vec<(u64, Action)>,
    pub faults: Vec<Fault>,
    pub interval: u64,
    pub silent: Vec<NodeId>,
}

impl World {
    /// Three sites; services adopted in `west`, everything up a few seconds later.
    pub fn new(services: &[String], interval: u64) -> Self {
        let mut world = Self {
            state: State::default(),
            bytes: encode(&Record::Begin(Begin::new("test".parse().unwrap(), 1, WALL))),
            now: 0,
            term: 1,
            index: 0,
            tracks: BTreeMap::new(),
            seqs: BTreeMap::new(),
            settling: vec![],
            pace: [7, 180, 420],
            waiting: vec![],
            faults: vec![],
            interval,
            silent: vec![],
        };
        world.snapshot();
        let voters: BTreeMap<_, _> = (1..=3).zip(["a", "b", "c"].map(|site| site.parse().unwrap())).collect();
        world.index += 1;
        let position = Position { term: 1, index: world.index };
        world.state.set_voters(position, voters.clone());
        world.bytes.extend(encode(&Record::Voters { position, voters }));
        for source in services {
            let (service, _) = quorate::service_file::parse(source).unwrap();
            let name = service.name.clone();
            world.apply(Action::ApplyService {
                service: Box::new(service),
                source: source.clone(),
                by: "ada".into(),
                exclusive: true,
            });
            let intent =
                Intent { service: name.clone(), epoch: Epoch(1), to: "west".parse().unwrap(), cause: Cause::Adopt };
            world.apply(Action::Authorise(intent));
            world.settle(&name, Epoch(1));
        }
        world
    }

    fn settle(&mut self, service: &quorate::core::names::ServiceName, epoch: Epoch) {
        let (written, observed) = (self.now + self.pace[1], self.now + self.pace[1] + self.pace[2]);
        let service = service.clone();
        self.settling.push((written, Action::Written { service: service.clone(), epoch, receipts: BTreeMap::new() }));
        self.settling.push((observed, Action::Observed { service, epoch, answers: vec![] }));
    }

    /// A new segment.
    pub fn snapshot(&mut self) {
        let wall = WALL + self.now;
        self.bytes.extend(encode(&Record::Begin(Begin::new("test".parse().unwrap(), 1, wall))));
        self.bytes.extend(encode(&Record::State { wall, state: Box::new(self.state.clone()) }));
    }

    pub fn elect(&mut self) {
        self.term += 1;
        self.index += 1;
        let position = Position { term: self.term, index: self.index };
        self.state.enter_term(position);
        self.bytes.extend(encode(&Record::Term { position }));
    }

    pub fn apply(&mut self, action: Action) -> Response {
        self.index += 1;
        let position = Position { term: self.term, index: self.index };
        let command = Command { at: LogTime(self.now), wall: WALL + self.now, action };
        let response = self.state.apply(position, &command);
        self.bytes.extend(encode(&Record::Entry { position, command }));
        response
    }

    /// Lets the world go on until `until`, a report of each node a second.
    pub fn run(&mut self, until: u64) {
        while self.now < until {
            self.now += 100;
            let (now, interval) = (self.now, self.interval);
            let due: Vec<_> = self.settling.extract_if(.., |(at, _)| *at <= now).map(|(_, action)| action).collect();
            for action in due {
                self.apply(action);
            }
            let mut urgent = vec![];
            for endpoint in &self.state.catalogue().endpoints {
                for node in 1..=3 {
                    // Sites interleave; all ends of a probe lie on a tick.
                    if (now + node * interval / 3 / 100 * 100) % interval != 0 {
                        continue;
                    }
                    let fails = self.faults.iter().any(|fault| {
                        fault.service == endpoint.service.as_str()
                            && fault.region == endpoint.region.as_str()
                            && fault.nodes.contains(&node)
                            && (fault.from..fault.to).contains(&now)
                    });
                    let outcome = if fails { Outcome::Fail } else { Outcome::Pass };
                    let fresh = || Track { outcome, number: 1, count: 0, before: None, told: (0, 0) };
                    let track = self.tracks.entry((node, endpoint.id)).or_insert_with(fresh);
                    if track.outcome != outcome {
                        let before = Some(track.count);
                        *track = Track { outcome, number: track.number + 1, count: 0, before, told: track.told };
                        urgent.push(node);
                    }
                    track.count += 1;
                    if outcome == Outcome::Fail && track.count <= endpoint.settle {
                        urgent.push(node);
                    }
                }
            }
            let nodes: Vec<NodeId> = (1..=3).filter(|node| !self.silent.contains(node)).collect();
            for node in nodes {
                if urgent.contains(&node) || (now + node * 300) % 1000 == 0 {
                    self.report(node);
                }
            }
            self.lead();
        }
    }

    fn report(&mut self, node: NodeId) {
        let settles: BTreeMap<_, _> = self.state.catalogue().endpoints.iter().map(|of| (of.id, of.settle)).collect();
        let (seq, term) = self.seqs.get(&node).copied().unwrap_or((0, 0));
        let full = term != self.term;
        let (mut runs, mut unchanged) = (vec![], 0);
        for ((_, id), track) in self.tracks.range_mut((node, EndpointId(0))..=(node, EndpointId(u32::MAX))) {
            let news = track.told.0 != track.number || track.told.1 < track.count.min(settles[id]);
            if !(full || news) {
                unchanged += 1;
                continue;
            }
            track.told = (track.number, track.count);
            let reason = if track.outcome == Outcome::Fail { "no whole answer within 300ms" } else { "" };
            runs.push(Run {
                endpoint: *id,
                outcome: track.outcome,
                number: track.number,
                count: track.count,
                before: track.before,
                reason: reason.into(),
                dependencies: vec![],
            });
        }
        let base = (!full).then_some(seq);
        self.seqs.insert(node, (seq + 1, self.term));
        let report = Report { node, seq: seq + 1, base, runs, unchanged, ..Report::default() };
        let taken = self.apply(Action::Reports(vec![report]));
        assert_eq!(taken, Response::Reports { needs_full: vec![] });
    }

    /// Proposes what is due, a little later, as a leader does.
    fn lead(&mut self) {
        let now = self.now;
        for action in self.state.due() {
            if !self.waiting.iter().any(|(_, of)| *of == action) {
                self.waiting.push((now + self.pace[0], action));
            }
        }
        let ready: Vec<_> = self.waiting.extract_if(.., |_| true).collect();
        for (at, action) in ready {
            self.now = at;
            let response = self.apply(action.clone());
            if let (Response::Authorised(epoch), Action::Authorise(intent)) = (response, action) {
                self.settle(&intent.service, epoch);
            }
        }
        self.now = now;
    }
}
