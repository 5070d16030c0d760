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

/// [`Mood`], in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderMood {
    Slow,
    Mute,
    TooMany,
    Failing,
}

impl From<ProviderMood> for Mood {
    fn from(mood: ProviderMood) -> Self {
        match mood {
            ProviderMood::Slow => Self::Slow,
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

/// The events of a run in order of time, in ms from the beginning of the trouble.
pub fn schedule(chance: &mut Chance, span: u64) -> Vec<(u64, Event)> {
    let mut events = vec![];
    let mut id = 0;
    let mut at = 0;
    while at < span {
        at += chance.between(500, 5_000);
        if chance.one_in(4) {
            events.push((at, Event::Ask(chance.between(1, 4), order(chance))));
            continue;
        }
        let (wrong, lasts) = wrong(chance);
        events.push((at, Event::Begin(id, wrong)));
        events.push(((at + lasts).min(span), Event::End(id)));
        id += 1;
    }
    if chance.one_in(3) {
        // A member comes, and may go again.
        let node = chance.between(4, NODES + 1);
        let begin = chance.between(0, span / 2);
        events.push((begin, Event::Ask(1, Order::Add(node))));
        events.push((begin + 6_000, Event::Ask(2, Order::Promote(node))));
        if chance.one_in(2) {
            events.push((begin + 20_000, Event::Ask(3, Order::Remove(chance.between(1, 4)))));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    events
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
    match chance.between(0, 20) {
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
        18 => (Wrong::Provider(ProviderMood::Mute), chance.between(2_000, 10_000)),
        _ => {
            let mood = *chance.pick(&[ProviderMood::TooMany, ProviderMood::Failing, ProviderMood::Failing]);
            (Wrong::Provider(mood), chance.between(2_000, 10_000))
        }
    }
}

fn order(chance: &mut Chance) -> Order {
    let service = (*chance.pick(&["strict", "loose"])).to_owned();
    match chance.between(0, 8) {
        0..=3 => {
            let to = (*chance.pick(&REGIONS)).to_owned();
            Order::Switch { service, to, overrides: vec!["cooldown".into(), "drift".into()], expected: None }
        }
        4 => Order::Abort(service),
        5 => Order::Freeze(service),
        _ => Order::Unfreeze(service),
    }
}
