//! What is really so, whatever any node believes: who reaches what, and since when.

use std::collections::{BTreeMap, BTreeSet};

use quorate::core::names::NodeId;

use crate::{cluster::NODES, faults::Wrong};

/// The ground truth at one instant, with what is remembered of the time before.
#[derive(Debug, Default)]
pub struct Truth {
    pub now: u64,
    /// When a site that saw last failed to reach a region.
    failed: BTreeMap<(NodeId, usize), u64>,
    /// Since when a site has been blind, without a break.
    blind: BTreeMap<NodeId, u64>,
    /// Since when a node has been without power, without a break.
    dead: BTreeMap<NodeId, u64>,
}

impl Truth {
    /// Time goes on while all this is wrong.
    pub fn advance(&mut self, now: u64, wrong: &BTreeSet<Wrong>, regions: usize) {
        self.now = now;
        for node in 1..=NODES {
            since(&mut self.blind, node, wrong.contains(&Wrong::Blind(node)), now);
            since(&mut self.dead, node, wrong.contains(&Wrong::Crashed(node)), now);
            for region in 0..regions {
                let cut = |wrong: &Wrong| match wrong {
                    Wrong::RegionDown(of) => *of == region,
                    Wrong::RegionHalf(of, nodes) => *of == region && nodes.contains(&node),
                    _ => false,
                };
                if wrong.iter().any(cut) {
                    self.failed.insert((node, region), now);
                }
            }
        }
    }

    /// Whether the site really failed to reach the region at some instant of the last `within` ms.
    pub fn failed_lately(&self, node: NodeId, region: usize, within: u64) -> bool {
        self.failed.get(&(node, region)).is_some_and(|at| self.now - at <= within)
    }

    /// For how long the site has been blind or its node dead.
    pub fn mute_for(&self, node: NodeId) -> u64 {
        let since = |of: &BTreeMap<NodeId, u64>| of.get(&node).map_or(0, |since| self.now - since);
        since(&self.blind).max(since(&self.dead))
    }
}

/// Remembers since when something has been so, without a break.
fn since(of: &mut BTreeMap<NodeId, u64>, node: NodeId, so: bool, now: u64) {
    if so {
        of.entry(node).or_insert(now);
    } else {
        of.remove(&node);
    }
}
