//! The nemesis: one fault of the cluster after the other, drawn from a bag that a seed shuffles, some with a fault of the
//! providers at the same time. A fault's window ends when the cluster was seen whole again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{
    Rng, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};

use crate::{
    edn::{key, map, vector},
    members::Members,
    netns::Cut,
    partition::{self, Partition},
    witness::Fault,
    world::World,
};
use nix::sys::signal::Signal;

/// How long the cluster may take to be whole again before the nemesis goes on all the same.
const RECOVERY: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Halves,
    LeaderAlone,
    OneWay,
    Ring,
    Kill,
    KillLeader,
    KillAll,
    Pause,
    Clock,
    PowerOne,
    PowerAll,
    DiskFull,
    Blind,
    MemberAdd,
    MemberRemove,
    MemberReplace,
}

impl Kind {
    pub const ALL: [Self; 16] = [
        Self::Halves,
        Self::LeaderAlone,
        Self::OneWay,
        Self::Ring,
        Self::Kill,
        Self::KillLeader,
        Self::KillAll,
        Self::Pause,
        Self::Clock,
        Self::PowerOne,
        Self::PowerAll,
        Self::DiskFull,
        Self::Blind,
        Self::MemberAdd,
        Self::MemberRemove,
        Self::MemberReplace,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Halves => "partition-halves",
            Self::LeaderAlone => "partition-leader-alone",
            Self::OneWay => "partition-one-way",
            Self::Ring => "partition-ring",
            Self::Kill => "kill",
            Self::KillLeader => "kill-leader",
            Self::KillAll => "kill-all",
            Self::Pause => "pause",
            Self::Clock => "clock",
            Self::PowerOne => "power-one",
            Self::PowerAll => "power-all",
            Self::DiskFull => "disk-full",
            Self::Blind => "blind",
            Self::MemberAdd => "member-add",
            Self::MemberRemove => "member-remove",
            Self::MemberReplace => "member-replace",
        }
    }

    fn changes_members(self) -> bool {
        matches!(self, Self::MemberAdd | Self::MemberRemove | Self::MemberReplace)
    }
}

/// Faults of the providers, by name.
const PROVIDER: [&str; 4] = ["provider-delay", "provider-drop-answer", "provider-429", "provider-500"];

pub struct Nemesis<'w> {
    world: &'w World,
    members: Members<'w>,
    random: StdRng,
    bag: Vec<Kind>,
    provider_bag: Vec<&'static str>,
    faults: u64,
    /// By kind.
    pub count: BTreeMap<&'static str, u64>,
    /// How often the cluster was not whole again in time.
    pub unrecovered: u64,
}

impl<'w> Nemesis<'w> {
    pub fn new(world: &'w World, seed: u64) -> Self {
        Self {
            world,
            members: Members::new(world),
            random: StdRng::seed_from_u64(seed),
            bag: vec![],
            provider_bag: vec![],
            faults: 0,
            count: BTreeMap::new(),
            unrecovered: 0,
        }
    }

    fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.random_range(from..to))
    }

    /// Until then. On the thread that outlives the nodes.
    pub fn run(&mut self, until: Instant) {
        while Instant::now() < until {
            // Peace, in which an outage is the only trouble.
            let peace = self.between(7000, 12_000);
            self.world.rest(peace.min(until.saturating_duration_since(Instant::now())));
            if Instant::now() >= until {
                return;
            }
            if self.bag.is_empty() {
                self.bag = Kind::ALL.into();
                self.bag.shuffle(&mut self.random);
            }
            if self.provider_bag.is_empty() {
                self.provider_bag = PROVIDER.into();
                self.provider_bag.shuffle(&mut self.random);
            }
            let kind = self.bag.pop().expect("it was just filled");
            let also = if self.random.random_bool(0.5) { self.provider_bag.pop() } else { None };
            self.round(kind, also);
        }
    }

    fn tell(&mut self, id: u64, kind: &'static str, start: bool) {
        let phase = if start { "start" } else { "stop" };
        if start {
            *self.count.entry(kind).or_default() += 1;
        }
        let value = map([("id", id.into()), ("kind", key(kind)), ("phase", key(phase))]);
        self.world.history.nemesis("fault", value);
        println!("{:>9.3} s  {kind} {phase}s", Duration::from_nanos(self.world.history.now()).as_secs_f64());
    }

    fn round(&mut self, kind: Kind, also: Option<&'static str>) {
        // Before the providers fail: the outage that is waited for here could not end while they do.
        let members = kind.changes_members().then(|| self.world.membership.write().expect("no panic under the lock"));
        self.faults += 2;
        let (id, provider_id) = (self.faults, self.faults + 1);
        if let Some(word) = also {
            self.tell(provider_id, word, true);
            let delay = self.between(500, 3000);
            self.world.witness.set(match word {
                "provider-delay" => Fault::Delay(delay),
                "provider-drop-answer" => Fault::DropAnswer,
                "provider-429" => Fault::Busy,
                _ => Fault::Error,
            });
        }
        self.tell(id, kind.word(), true);
        self.inflict(kind);
        drop(members);
        self.world.witness.set(Fault::None);
        let whole = self.recovered();
        if !whole {
            self.unrecovered += 1;
            println!("NOT WHOLE within {RECOVERY:?} after {}", kind.word());
        }
        self.tell(id, kind.word(), false);
        if let Some(word) = also {
            self.tell(provider_id, word, false);
        }
    }

    fn inflict(&mut self, kind: Kind) {
        let world = self.world;
        let voters = world.voters();
        let one = *voters.choose(&mut self.random).expect("voters");
        let leader = world.leader().unwrap_or(one);
        let hold = self.between(3000, 6500);
        match kind {
            Kind::Halves | Kind::LeaderAlone | Kind::OneWay | Kind::Ring => {
                let partition = match kind {
                    Kind::Halves => partition::halves(&voters, &mut self.random),
                    Kind::LeaderAlone => partition::alone(&voters, leader),
                    Kind::OneWay => partition::one_way(&voters, leader, &mut self.random),
                    _ => partition::ring(&voters, &mut self.random),
                };
                self.partition(&partition, hold);
            }
            Kind::Kill => self.kill(&[one], hold),
            Kind::KillLeader => self.kill(&[leader], hold),
            Kind::KillAll => self.kill(&voters, Duration::ZERO),
            Kind::Pause => {
                let victim = if self.random.random_bool(0.5) { leader } else { one };
                world.history.node(victim, "paused", true);
                world.fleet.signal(victim, Signal::SIGSTOP);
                std::thread::sleep(hold);
                world.fleet.signal(victim, Signal::SIGCONT);
                world.history.node(victim, "paused", false);
            }
            Kind::Clock => self.clocks(leader, hold),
            Kind::PowerOne => self.power(&[one], hold),
            Kind::PowerAll => self.power(&voters, Duration::ZERO),
            Kind::DiskFull => self.fill_disk(one, hold),
            Kind::Blind => {
                let slot = world.fleet.slot(one);
                world.history.node(one, "blind", true);
                for control in &world.controls {
                    world.fleet.net.cut_to_as(Cut::Controls, slot, control.address());
                }
                std::thread::sleep(hold);
                world.fleet.net.heal(slot, Cut::Controls);
                world.history.node(one, "blind", false);
            }
            Kind::MemberAdd => self.members.add(),
            Kind::MemberRemove => self.members.remove(one),
            Kind::MemberReplace => self.members.replace(one),
        }
    }

    fn partition(&self, partition: &Partition, hold: Duration) {
        let (world, fleet) = (self.world, &self.world.fleet);
        let isolated = partition.isolated(&world.voters());
        partition.cut(fleet);
        for node in &isolated {
            world.history.node(*node, "isolated", true);
        }
        std::thread::sleep(hold);
        for node in isolated {
            world.history.node(node, "isolated", false);
        }
        partition.heal(fleet);
    }

    fn kill(&self, nodes: &[u64], hold: Duration) {
        for node in nodes {
            self.world.fleet.kill_node(*node);
            self.world.history.node(*node, "dead", true);
        }
        std::thread::sleep(hold);
        for node in nodes {
            self.world.history.node(*node, "dead", false);
            self.world.fleet.start_node(*node);
        }
    }

    fn power(&self, nodes: &[u64], hold: Duration) {
        // All disks first: a node that still ran could tell others what its own disk will never hold.
        for node in nodes {
            self.world.fleet.with_disk(*node, crate::disk::Disk::cut_power);
        }
        for node in nodes {
            self.world.fleet.kill_node(*node);
            self.world.history.node(*node, "dead", true);
            self.world.fleet.with_disk(*node, crate::disk::Disk::restore_power);
        }
        std::thread::sleep(hold);
        for node in nodes {
            self.world.history.node(*node, "dead", false);
            self.world.fleet.start_node(*node);
        }
    }

    /// A node whose disk is full stops rather than pretend. The log has room for a while in the blocks that it has, so a node
    /// that runs on is killed and started with its disk still full: it runs, or refuses to. With room it is started again, as
    /// an operator would.
    fn fill_disk(&self, node: u64, hold: Duration) {
        let fleet = &self.world.fleet;
        fleet.with_disk(node, crate::disk::Disk::fill);
        std::thread::sleep(hold);
        let stopped = fleet.ended(node);
        if !stopped {
            self.kill(&[node], Duration::ZERO);
            std::thread::sleep(hold);
        }
        let refused = fleet.ended(node);
        fleet.with_disk(node, crate::disk::Disk::empty);
        let did = if stopped { "stopped" } else { "ran on" };
        let then = if refused { "is not there" } else { "runs" };
        println!("    node {node} {did} with its disk full, and {then} after it");
        if refused {
            fleet.kill_node(node);
            fleet.start_node(node);
        }
    }

    /// Steps some wall clocks by up to four minutes: more, and TSIG would rightly refuse what they sign.
    fn clocks(&mut self, leader: u64, hold: Duration) {
        let mut stepped = self.world.voters();
        stepped.shuffle(&mut self.random);
        stepped.truncate(self.random.random_range(1..=stepped.len()));
        if !stepped.contains(&leader) {
            stepped[0] = leader;
        }
        for node in &stepped {
            let by = self.random.random_range(20..240) * if self.random.random_bool(0.5) { 1 } else { -1 };
            self.world.fleet.step_clock(*node, by);
        }
        std::thread::sleep(hold);
        for node in stepped {
            self.world.fleet.step_clock(node, 0);
        }
    }

    /// Waits until every voter answers a linearizable read, opinions have formed anew, and no switch is in trouble.
    fn recovered(&self) -> bool {
        let world = self.world;
        let deadline = Instant::now() + RECOVERY;
        while Instant::now() < deadline {
            let all = world.voters().iter().all(|node| {
                if world.fleet.ended(*node) {
                    println!("    node {node} had ended by itself");
                    world.fleet.kill_node(*node);
                    world.fleet.start_node(*node);
                }
                world.fleet.at(*node, &["--timeout", "2s", "verdict", "get", "reg"]).exit == 0
            });
            let settled = |name| {
                let Some(of) = world.verdict(name) else { return false };
                let formed =
                    of["regions"].as_array().is_some_and(|regions| regions.iter().all(|of| of["verdict"] == "up"));
                of["trouble"].is_null() && (name != "reg" || formed)
            };
            if all && ["app", "shop", "reg"].into_iter().all(settled) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        false
    }

    /// Undoes what may be left, and waits until the cluster is whole.
    pub fn finish(&mut self) -> bool {
        self.world.witness.set(Fault::None);
        let whole = self.recovered();
        self.world.history.nemesis("over", vector([whole]));
        whole
    }
}
