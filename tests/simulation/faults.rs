//! What goes wrong, when, and for how long: drawn from the seed before the run begins.

use std::collections::BTreeSet;

use quorate::core::names::NodeId;

use crate::{
    chance::Chance,
    cluster::{NODES, Order, REGIONS},
    world::Mood,
};

/// One thing that is wrong for a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// These nodes and the others do not hear each other.
    Halves(BTreeSet<NodeId>),
    /// The second does not hear the first.
    OneWay(NodeId, NodeId),
    /// Each node hears its neighbours only.
    Ring,
    /// Whoever leads when it begins hears nobody and is heard by nobody.
    LeaderAlone,
    /// Messages from and to this node wait.
    StandsStill(NodeId),
    /// Links between nodes break and mend.
    Loss,
    /// Messages between nodes take long.
    Delay,
    /// The node lost its power; what it had not synced is gone.
    Crashed(NodeId),
    /// Whoever leads when it begins lost its power.
    LeaderCrashed,
    /// Every sync of the node's disk takes this many ms.
    SlowDisk(NodeId, u64),
    /// The node's wall clock is off by so many ms.
    Clock(NodeId, i64),
    /// The site reaches neither its controls nor any region.
    Blind(NodeId),
    /// Nobody reaches the region.
    RegionDown(usize),
    /// These sites do not reach the region.
    RegionHalf(usize, BTreeSet<NodeId>),
    /// The provider has a bad day.
    Provider(ProviderMood),
}

/// Everything that a run may meet and count.
pub const KINDS: [&str; 24] = [
    "node alone",
    "halves",
    "one way",
    "ring",
    "leader alone",
    "stands still",
    "loss",
    "delay",
    "power loss",
    "power loss of the leader",
    "slow disk",
    "clock",
    "blind",
    "region down",
    "region half reachable",
    "provider slow",
    "provider late",
    "provider mute",
    "provider answers 429",
    "provider answers 500",
    "member added",
    "member promoted",
    "member removed",
    "snapshot installed",
];

impl Wrong {
    /// What kind of fault it is, for the count of them.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Halves(side) if side.len() == 1 => "node alone",
            Self::Halves(_) => "halves",
            Self::OneWay(..) => "one way",
            Self::Ring => "ring",
            Self::LeaderAlone => "leader alone",
            Self::StandsStill(_) => "stands still",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Crashed(_) => "power loss",
            Self::LeaderCrashed => "power loss of the leader",
            Self::SlowDisk(..) => "slow disk",
            Self::Clock(..) => "clock",
            Self::Blind(_) => "blind",
            Self::RegionDown(_) => "region down",
            Self::RegionHalf(..) => "region half reachable",
            Self::Provider(ProviderMood::Slow) => "provider slow",
            Self::Provider(ProviderMood::Late) => "provider late",
            Self::Provider(ProviderMood::Mute) => "provider mute",
            Self::Provider(ProviderMood::TooMany) => "provider answers 429",
            Self::Provider(ProviderMood::Failing) => "provider answers 500",
        }
    }
}

/// [`Mood`], in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderMood {
    Slow,
    Late,
    Mute,
    TooMany,
    Failing,
}

impl From<ProviderMood> for Mood {
    fn from(mood: ProviderMood) -> Self {
        match mood {
            ProviderMood::Slow => Self::Slow,
            ProviderMood::Late => Self::Late,
            ProviderMood::Mute => Self::Mute,
            ProviderMood::TooMany => Self::TooMany,
            ProviderMood::Failing => Self::Failing,
        }
    }
}

/// What happens at one instant.
#[derive(Debug, Clone)]
pub enum Event {
    Begin(usize, Wrong),
    End(usize),
    Ask(NodeId, Order),
}

/// Faults, each with its number.
#[derive(Default)]
struct Schedule {
    events: Vec<(u64, Event)>,
    faults: usize,
}

impl Schedule {
    fn wrong(&mut self, at: u64, until: u64, wrong: Wrong) {
        self.events.push((at, Event::Begin(self.faults, wrong)));
        self.events.push((until, Event::End(self.faults)));
        self.faults += 1;
    }

    fn ask(&mut self, at: u64, node: NodeId, order: Order) {
        self.events.push((at, Event::Ask(node, order)));
    }
}

/// The events of a run in order of time, in ms from the beginning of the trouble.
pub fn schedule(chance: &mut Chance, span: u64) -> Vec<(u64, Event)> {
    let mut all = Schedule::default();
    let mut at = 0;
    while at < span {
        at += chance.between(500, 5_000);
        if chance.one_in(4) {
            let first = order(chance);
            if let Order::Switch { service, .. } = &first
                && chance.one_in(2)
            {
                let again = second_thought(chance, service);
                all.ask(at + chance.between(300, 5_000), chance.between(1, 4), again);
            }
            all.ask(at, chance.between(1, 4), first);
            continue;
        }
        let (wrong, lasts) = wrong(chance);
        all.wrong(at, (at + lasts).min(span), wrong);
    }
    if chance.one_in(2) {
        silent_witness(chance, span, &mut all);
    }
    if chance.one_in(3) {
        // A node is away for so long that the others no longer have the entries that it lacks.
        let gone = Wrong::Crashed(node(chance));
        let begin = chance.between(0, span / 2);
        all.wrong(begin, begin + chance.between(25_000, span / 2), gone);
    }
    if chance.one_in(3) {
        // A member comes, and may go again.
        let node = chance.between(4, NODES + 1);
        let begin = chance.between(0, span / 2);
        all.ask(begin, 1, Order::Add(node));
        all.ask(begin + 6_000, 2, Order::Promote(node));
        if chance.one_in(2) {
            all.ask(begin + 20_000, 3, Order::Remove(chance.between(1, 4)));
        }
    }
    all.events.sort_by_key(|(at, _)| *at);
    all.events
}

/// One site alone sees a region die, and then is heard no more; before long another one sees the same. What the first one
/// said last must not make a quorum with it, whether it led or not.
fn silent_witness(chance: &mut Chance, span: u64, all: &mut Schedule) {
    let region = usize::try_from(chance.between(0, REGIONS.len() as u64)).unwrap();
    let first = node(chance);
    let other = first % 3 + 1;
    let dies = chance.between(0, span - 30_000);
    let silent = dies + chance.between(3_200, 6_000);
    let seen = silent + chance.between(0, 7_000) - 1_500;
    all.wrong(dies, silent + 14_000, Wrong::RegionHalf(region, BTreeSet::from([first])));
    let silence = if chance.one_in(2) { Wrong::Crashed(first) } else { Wrong::Halves(BTreeSet::from([first])) };
    all.wrong(silent, silent + 14_000, silence);
    all.wrong(seen, seen + 6_000, Wrong::RegionHalf(region, BTreeSet::from([other])));
}

/// What an operator asks for who has just asked for a switch.
fn second_thought(chance: &mut Chance, service: &str) -> Order {
    if chance.one_in(3) { Order::Abort(service.to_owned()) } else { switch(chance, service) }
}

fn switch(chance: &mut Chance, service: &str) -> Order {
    let to = (*chance.pick(&REGIONS)).to_owned();
    let overrides = vec!["cooldown".into(), "drift".into()];
    Order::Switch { service: service.to_owned(), to, overrides, expected: None }
}

fn node(chance: &mut Chance) -> NodeId {
    chance.between(1, 4)
}

fn some(chance: &mut Chance) -> BTreeSet<NodeId> {
    let first = node(chance);
    let mut nodes = BTreeSet::from([first]);
    if chance.one_in(2) {
        nodes.insert(node(chance));
    }
    nodes
}

fn wrong(chance: &mut Chance) -> (Wrong, u64) {
    let region = |chance: &mut Chance| usize::try_from(chance.between(0, REGIONS.len() as u64)).unwrap();
    match chance.between(0, 22) {
        0 => (Wrong::Halves(some(chance)), chance.between(1_000, 12_000)),
        1 => {
            let from = node(chance);
            (Wrong::OneWay(from, from % 3 + 1), chance.between(1_000, 12_000))
        }
        2 => (Wrong::Ring, chance.between(1_000, 10_000)),
        3 => (Wrong::LeaderAlone, chance.between(1_000, 12_000)),
        4 => (Wrong::StandsStill(node(chance)), chance.between(500, 8_000)),
        5 => (Wrong::Loss, chance.between(2_000, 10_000)),
        6 => (Wrong::Delay, chance.between(2_000, 10_000)),
        7 => (Wrong::Crashed(node(chance)), chance.between(200, 10_000)),
        8 | 9 => (Wrong::LeaderCrashed, chance.between(200, 10_000)),
        10 => {
            let hours = i64::try_from(chance.between(0, 5)).unwrap() - 2;
            (Wrong::Clock(node(chance), hours * 3_600_000), chance.between(3_000, 30_000))
        }
        11 => (Wrong::Blind(node(chance)), chance.between(3_000, 15_000)),
        12..=14 => (Wrong::RegionDown(region(chance)), chance.between(300, 15_000)),
        // Short enough that opinions hardly form, long enough that they sometimes do: a flapping region.
        15 => (Wrong::RegionDown(region(chance)), chance.between(1_500, 4_500)),
        16 => (Wrong::RegionHalf(region(chance), some(chance)), chance.between(2_000, 15_000)),
        17 => (Wrong::Provider(ProviderMood::Slow), chance.between(3_000, 15_000)),
        18 => (Wrong::Provider(ProviderMood::Late), chance.between(4_000, 20_000)),
        19 => (Wrong::Provider(ProviderMood::Mute), chance.between(2_000, 10_000)),
        20 => (Wrong::SlowDisk(node(chance), chance.between(20, 1_500)), chance.between(2_000, 15_000)),
        _ => {
            let mood = *chance.pick(&[ProviderMood::TooMany, ProviderMood::Failing, ProviderMood::Failing]);
            (Wrong::Provider(mood), chance.between(2_000, 10_000))
        }
    }
}

fn order(chance: &mut Chance) -> Order {
    let service = *chance.pick(&["strict", "loose"]);
    match chance.between(0, 8) {
        0..=3 => switch(chance, service),
        4 => Order::Abort(service.to_owned()),
        5 => Order::Freeze(service.to_owned()),
        _ => Order::Unfreeze(service.to_owned()),
    }
}
