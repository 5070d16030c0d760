//! One run: a cluster forms, things go wrong, all is mended, and then a region dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    time::Duration,
};

use quorate::{
    core::{names::NodeId, verdict::Verdict},
    raft::simulated::{Disk, Replica},
};
use serde::{Deserialize, Serialize};

use crate::{
    chance::Chance,
    clock,
    cluster::{Cluster, FALL, INTERVAL, NODES, Order, REGIONS, SYNC, TIMEOUT, control_ip, node_ip, region_ip, service},
    faults::{Event, Wrong, schedule},
    invariants::{self, Invariant, View},
    truth::Truth,
    world::Mood,
};

/// How long things go wrong, in ms.
const TROUBLE: u64 = 90_000;
/// How long a cluster may take to form and to adopt its records.
const FORMING: u64 = 40_000;
/// How long it may take to be at rest once all is mended: the longest request, pauses of a leader that saw trouble, a
/// cooldown, and the reconciliation.
const MENDING: u64 = 120_000;
/// What a switch may take over the policy's floor: the phase of the probe, one election's worth of reports, the write.
const SLACK: u64 = 5_000;

/// What a run came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Equal for equal runs.
    pub trace: u64,
    /// Simulated time.
    pub simulated: Duration,
    pub switches: u64,
    pub writes: u64,
    /// What went wrong how often, with what else a run is meant to meet.
    pub faults: BTreeMap<String, u64>,
    /// From the region's death at the end to the record's new answer.
    pub detection: Duration,
}

/// What a run broke.
#[derive(Debug, Clone)]
pub struct Broken {
    pub invariant: u8,
    pub at: u64,
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violated: invariant {} after {} ms: {}", self.invariant, self.at, self.why)
    }
}

struct Run<'a> {
    cluster: Cluster<'a>,
    now: u64,
    replica: Replica,
    truth: Truth,
    invariants: Vec<Box<dyn Invariant>>,
    /// When the entry of a term and index was first in some log, which is when its leader stamped it.
    stamped: BTreeMap<(u64, u64), u64>,
    /// What is wrong now, by the number of the fault.
    wrong: BTreeMap<usize, Wrong>,
    /// How the network stands.
    cut: BTreeSet<(IpAddr, IpAddr)>,
    held: BTreeSet<(IpAddr, IpAddr)>,
    dead: BTreeSet<NodeId>,
    /// Whom a client asks next, and when.
    reader: Chance,
    reads_at: u64,
    trace: DefaultHasher,
    switches: u64,
    writes: u64,
    faults: BTreeMap<String, u64>,
}

/// Runs one seed to its end.
pub fn run(seed: u64) -> Result<Outcome, Broken> {
    clock::set(Duration::ZERO);
    let mut chance = Chance::new(seed);
    let snapshot_every = *chance.pick(&[12, 60, 10_000]);
    let mut run = Run {
        cluster: Cluster::start(seed, snapshot_every),
        now: 0,
        replica: Replica::default(),
        truth: Truth::default(),
        invariants: invariants::all(),
        stamped: BTreeMap::new(),
        wrong: BTreeMap::new(),
        cut: BTreeSet::new(),
        held: BTreeSet::new(),
        dead: BTreeSet::new(),
        reader: Chance::new(!seed),
        reads_at: 0,
        trace: DefaultHasher::new(),
        switches: 0,
        writes: 0,
        faults: BTreeMap::new(),
    };
    run.form()?;
    run.suffer(schedule(&mut chance, TROUBLE))?;
    run.mend()?;
    let detection = run.lose_a_region()?;
    let installed = run.cluster.disks.values().map(Disk::installed).sum::<u64>();
    run.faults.insert("snapshot installed".to_owned(), installed);
    Ok(Outcome {
        trace: run.trace.finish(),
        simulated: Duration::from_millis(run.now),
        switches: run.switches,
        writes: run.writes,
        faults: run.faults,
        detection,
    })
}

impl Run<'_> {
    fn broken(&self, invariant: u8, why: impl Into<String>) -> Broken {
        Broken { invariant, at: self.now, why: why.into() }
    }

    /// One tick of everything, and every invariant after it.
    fn tick(&mut self) -> Result<(), Broken> {
        self.now += 5;
        clock::set(Duration::from_millis(self.now));
        self.cluster.world.advance(self.now);
        self.read();
        if let Err(error) = self.cluster.sim.step() {
            return Err(self.broken(10, format!("a node ended: {error}")));
        }
        let wrong: BTreeSet<Wrong> = self.wrong.values().cloned().collect();
        self.truth.advance(self.now, &wrong, REGIONS.len());
        let disks: Vec<_> = self.cluster.disks.values().cloned().collect();
        for position in disks.iter().flat_map(|disk| disk.entries_from(self.replica.next())) {
            self.stamped.entry((position.term, position.index)).or_insert(self.now);
        }
        for disk in &disks {
            while let Some(step) = self.replica.step(disk).map_err(|why| self.broken(8, why))? {
                (step.position.term, step.position.index, format!("{:?}", step.response)).hash(&mut self.trace);
                if let Some((intent, epoch)) = invariants::authorised(&step) {
                    self.switches += 1;
                    self.tell(&format!(
                        "epoch {epoch} of {} to {}: {:?}",
                        intent.service,
                        intent.to,
                        intent.cause.word()
                    ));
                }
                self.judge(|invariant, view| invariant.applied(view, &step))?;
            }
        }
        let arrived = std::mem::take(&mut self.cluster.world.lock().arrived);
        for write in &arrived {
            self.writes += 1;
            (write.at, write.sender, write.change.fence.epoch, write.applied).hash(&mut self.trace);
            self.tell(&format!(
                "node {}'s write of epoch {} at {}, sent at {}: {}",
                write.sender,
                write.change.fence.epoch,
                write.change.record,
                write.sent,
                if write.applied { "applied" } else { "refused" }
            ));
            self.judge(|invariant, view| invariant.written(view, write))?;
        }
        for done in self.cluster.take_done() {
            if let Some(change) = done.changed_members() {
                *self.faults.entry(change.to_owned()).or_default() += 1;
            }
            self.tell(&format!("{:?}: {:?}", done.order, done.outcome.as_ref().map_err(tonic::Status::message)));
            self.judge(|invariant, view| invariant.answered(view, &done))?;
        }
        self.judge(|invariant, view| invariant.ticked(view))
    }

    /// A client reads every second or so, from whatever node, and wants what was decided before it asked.
    fn read(&mut self) {
        let services = &self.replica.state().services;
        if self.now < self.reads_at || services.is_empty() {
            return;
        }
        self.reads_at = self.now + self.reader.between(200, 2_000);
        let (node, i) = (self.reader.between(1, 4), self.reader.between(0, services.len() as u64));
        let (name, of) = services.iter().nth(usize::try_from(i).unwrap()).expect("one of them");
        self.cluster.order(node, Order::Read { service: name.to_string(), since: of.epoch });
    }

    /// With `SIM_TRACE` set, a run tells what happens.
    fn tell(&self, what: &str) {
        if std::env::var_os("SIM_TRACE").is_some() {
            println!("{:>8} ms  {what}", self.now);
        }
    }

    fn judge(&mut self, ask: impl Fn(&mut Box<dyn Invariant>, &View<'_>) -> invariants::Verdict) -> Result<(), Broken> {
        let view = View {
            now: self.now,
            replica: &self.replica,
            disks: &self.cluster.disks,
            truth: &self.truth,
            stamped: &self.stamped,
            world: &self.cluster.world,
        };
        for invariant in &mut self.invariants {
            if let Err(why) = ask(invariant, &view) {
                return Err(Broken { invariant: invariant.number(), at: self.now, why });
            }
        }
        Ok(())
    }

    /// Goes on until `done`, for so long at most.
    fn until(&mut self, limit: u64, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        let end = self.now + limit;
        while !done(self) {
            if self.now >= end {
                let state = self.replica.state();
                let services: Vec<_> =
                    state.services.values().map(|of| (of.epoch, &of.active, &of.trouble, &of.drift)).collect();
                return Err(self.broken(9, format!("not within {limit} ms: {what}; {services:?}")));
            }
            self.tick()?;
        }
        Ok(())
    }

    fn form(&mut self) -> Result<(), Broken> {
        self.cluster.order(1, Order::Init);
        self.until(FORMING, "the cluster forms", |run| run.replica.voters().len() == 3)?;
        for (name, provider) in [("strict", "a"), ("loose", "c")] {
            let known = |run: &Self| run.replica.state().services.keys().any(|service| service.as_str() == name);
            while !known(self) {
                self.cluster.order(1, Order::Apply(service(name, provider)));
                let patience = self.now + 3_000;
                while !known(self) && self.now < patience {
                    self.tick()?;
                }
                if self.now > FORMING {
                    return Err(self.broken(9, "no service could be applied"));
                }
            }
        }
        self.until(FORMING, "both records are adopted and every region is up", Self::is_calm)
    }

    /// Nothing is under way, and everything is up.
    fn is_calm(&self) -> bool {
        let state = self.replica.state();
        state.services.len() == 2
            && state.services.values().all(|service| {
                service.active.is_some()
                    && service.open.is_none()
                    && service.drift.is_none()
                    && service.verdicts.values().all(|standing| standing.verdict == Verdict::Up)
                    && service.verdicts.len() == REGIONS.len()
                    && service.cooldown_until <= state.log_time
                    && service.frozen.is_none()
            })
    }

    fn suffer(&mut self, events: Vec<(u64, Event)>) -> Result<(), Broken> {
        let begin = self.now;
        for (at, event) in events {
            while self.now < begin + at {
                self.tick()?;
            }
            match event {
                Event::Begin(id, wrong) => {
                    *self.faults.entry(wrong.kind().to_owned()).or_default() += 1;
                    let wrong = self.resolve(wrong);
                    self.tell(&format!("begins: {wrong:?}"));
                    self.wrong.insert(id, wrong);
                    self.arrange();
                }
                Event::End(id) => {
                    if let Some(wrong) = self.wrong.remove(&id) {
                        self.tell(&format!("ends: {wrong:?}"));
                    }
                    self.arrange();
                }
                Event::Ask(node, order) => {
                    self.tell(&format!("asks node {node}: {order:?}"));
                    self.cluster.order(node, order);
                }
            }
        }
        Ok(())
    }

    /// Who leads is known when the fault begins.
    fn resolve(&self, wrong: Wrong) -> Wrong {
        let leader = self.cluster.disks.values().filter_map(Disk::leader).max();
        let leader = leader.map_or(1, |(_, leader)| leader);
        match wrong {
            Wrong::LeaderAlone => Wrong::Halves(BTreeSet::from([leader])),
            Wrong::LeaderCrashed => Wrong::Crashed(leader),
            wrong => wrong,
        }
    }

    /// Makes the world what the faults that are under way say.
    fn arrange(&mut self) {
        let wrong: Vec<Wrong> = self.wrong.values().cloned().collect();
        let nodes = 1..=NODES;
        let (mut cut, mut held, mut dead) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut mood = Mood::Well;
        let (mut loss, mut delay) = (0.0, Duration::from_millis(40));
        for shift in self.cluster.shifts.values() {
            shift.set(0);
        }
        for disk in self.cluster.disks.values() {
            disk.set_sync(SYNC);
        }
        for wrong in &wrong {
            match wrong {
                Wrong::Halves(side) => {
                    for a in nodes.clone().filter(|a| side.contains(a)) {
                        for b in nodes.clone().filter(|b| !side.contains(b)) {
                            cut.extend([(node_ip(a), node_ip(b)), (node_ip(b), node_ip(a))]);
                        }
                    }
                }
                Wrong::OneWay(a, b) => drop(cut.insert((node_ip(*a), node_ip(*b)))),
                Wrong::Ring => cut.extend([(node_ip(1), node_ip(3)), (node_ip(3), node_ip(1))]),
                Wrong::StandsStill(a) => {
                    for b in nodes.clone().filter(|b| b != a) {
                        held.extend([(node_ip(*a), node_ip(b)), (node_ip(b), node_ip(*a))]);
                    }
                }
                Wrong::Loss => loss = 0.01,
                Wrong::Delay => delay = Duration::from_millis(400),
                Wrong::Crashed(node) => drop(dead.insert(*node)),
                Wrong::SlowDisk(node, ms) => self.cluster.disks[node].set_sync(Duration::from_millis(*ms)),
                Wrong::Clock(node, ms) => self.cluster.shifts[node].set(*ms),
                Wrong::Blind(node) => {
                    let far = (0..REGIONS.len()).map(region_ip).chain((0..2).map(control_ip));
                    cut.extend(far.flat_map(|far| [(node_ip(*node), far), (far, node_ip(*node))]));
                }
                Wrong::RegionDown(region) => {
                    let far = region_ip(*region);
                    cut.extend(nodes.clone().flat_map(|node| [(node_ip(node), far), (far, node_ip(node))]));
                }
                Wrong::RegionHalf(region, some) => {
                    let far = region_ip(*region);
                    cut.extend(some.iter().flat_map(|node| [(node_ip(*node), far), (far, node_ip(*node))]));
                }
                Wrong::Provider(of) => mood = (*of).into(),
                Wrong::LeaderAlone | Wrong::LeaderCrashed => unreachable!("resolved when they begin"),
            }
        }
        self.cluster.world.set_mood(mood);
        self.network(cut, held);
        for a in 1..=NODES {
            for b in a + 1..=NODES {
                self.cluster.sim.set_link_fail_rate(node_ip(a), node_ip(b), loss);
                self.cluster.sim.set_link_max_message_latency(node_ip(a), node_ip(b), delay);
            }
        }
        for node in dead.difference(&self.dead.clone()) {
            self.cluster.sim.crash(node_ip(*node));
            self.cluster.disks[node].lose_power();
        }
        for node in self.dead.clone().difference(&dead) {
            self.cluster.sim.bounce(node_ip(*node));
        }
        self.dead = dead;
    }

    fn network(&mut self, cut: BTreeSet<(IpAddr, IpAddr)>, held: BTreeSet<(IpAddr, IpAddr)>) {
        for (from, to) in self.cut.difference(&cut) {
            self.cluster.sim.repair_oneway(*from, *to);
        }
        for (from, to) in self.held.difference(&held).filter(|(from, to)| from < to) {
            self.cluster.sim.release(*from, *to);
        }
        for (from, to) in held.iter().filter(|(from, to)| from < to) {
            self.cluster.sim.hold(*from, *to);
        }
        for (from, to) in &cut {
            self.cluster.sim.partition_oneway(*from, *to);
        }
        (self.cut, self.held) = (cut, held);
    }

    /// Everything is well again; before long the cluster must be at rest.
    fn mend(&mut self) -> Result<(), Broken> {
        self.wrong.clear();
        self.arrange();
        self.tell("everything is well again");
        // What the operator asked for last may still be on its way.
        let orders = self.now + 7_000;
        while self.now < orders {
            self.tick()?;
        }
        let end = self.now + MENDING;
        while !self.is_calm() && self.now < end {
            for name in ["strict", "loose"] {
                let held = self.replica.state().services.iter();
                if held.into_iter().any(|(service, of)| service.as_str() == name && of.frozen.is_some()) {
                    for node in 1..=3 {
                        self.cluster.order(node, Order::Unfreeze(name.to_owned()));
                    }
                }
            }
            let pause = self.now + 2_000;
            while self.now < pause && !self.is_calm() {
                self.tick()?;
            }
        }
        self.judge(|invariant, view| invariant.at_rest(view))?;
        self.until(0, "the cluster comes to rest", Self::is_calm)
    }

    /// The active region of the strict service dies for every site: the record must leave it in time (invariant 9).
    fn lose_a_region(&mut self) -> Result<Duration, Broken> {
        let active = |run: &Self| {
            let state = run.replica.state();
            state.services.values().find(|of| of.service.name.as_str() == "strict").and_then(|of| of.active.clone())
        };
        let from = active(self).expect("it was calm");
        let region = REGIONS.iter().position(|name| *name == from.as_str()).expect("a region of ours");
        self.wrong.insert(usize::MAX, Wrong::RegionDown(region));
        self.arrange();
        let died = self.now;
        let floor = u64::try_from((INTERVAL * (FALL - 1) + TIMEOUT).as_millis()).unwrap();
        let left = |run: &Self| active(run).is_some_and(|active| active != from);
        self.until(floor + SLACK, "the record leaves a region that is dead for every site", left)?;
        let detection = Duration::from_millis(self.now - died);
        self.judge(|invariant, view| invariant.at_rest(view)).or_else(|broken| {
            // The other service may still be on its way.
            if broken.invariant == 9 { Err(broken) } else { Ok(()) }
        })?;
        Ok(detection)
    }
}
