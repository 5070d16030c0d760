//! Partitions: who does not reach whom.

use std::collections::BTreeSet;

use rand::{
    Rng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};

use crate::{fleet::Fleet, netns::Cut};

/// What is cut: pairs both ways, and single ways.
#[derive(Debug, Default)]
pub struct Partition {
    pairs: Vec<(u64, u64)>,
    ways: Vec<(u64, u64)>,
}

/// A minority and the rest.
pub fn halves(voters: &[u64], random: &mut StdRng) -> Partition {
    let mut shuffled = voters.to_vec();
    shuffled.shuffle(random);
    let minority = random.random_range(1..=shuffled.len() / 2);
    let (few, rest) = shuffled.split_at(minority);
    let pairs = few.iter().flat_map(|a| rest.iter().map(|b| (*a, *b))).collect();
    Partition { pairs, ways: vec![] }
}

/// One node and the rest.
pub fn alone(voters: &[u64], one: u64) -> Partition {
    let pairs = voters.iter().filter(|other| **other != one).map(|other| (one, *other)).collect();
    Partition { pairs, ways: vec![] }
}

/// What one node sends to another is lost, or what it is sent.
pub fn one_way(voters: &[u64], one: u64, random: &mut StdRng) -> Partition {
    let others: Vec<u64> = voters.iter().copied().filter(|other| *other != one).collect();
    let other = *others.choose(random).expect("another node");
    let ways = vec![if random.random_bool(0.5) { (one, other) } else { (other, one) }];
    Partition { pairs: vec![], ways }
}

/// Each node reaches two neighbours only; of three, one pair is cut and the third stands between them.
pub fn ring(voters: &[u64], random: &mut StdRng) -> Partition {
    let mut order = voters.to_vec();
    order.shuffle(random);
    let n = order.len();
    if n == 3 {
        return Partition { pairs: vec![(order[0], order[1])], ways: vec![] };
    }
    let apart = |i: usize, j: usize| i + 1 < j && !(i == 0 && j == n - 1);
    let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|(i, j)| apart(*i, *j));
    Partition { pairs: pairs.map(|(i, j)| (order[i], order[j])).collect(), ways: vec![] }
}

impl Partition {
    /// Who reaches no majority, itself included. A single way lost is a connection lost.
    pub fn isolated(&self, voters: &[u64]) -> Vec<u64> {
        let apart =
            |a: u64, b: u64| self.pairs.iter().chain(&self.ways).any(|(x, y)| (*x, *y) == (a, b) || (*x, *y) == (b, a));
        let reached = |a: u64| voters.iter().filter(|b| !apart(a, **b)).count();
        voters.iter().copied().filter(|a| reached(*a) <= voters.len() / 2).collect()
    }

    pub fn cut(&self, fleet: &Fleet) {
        for (a, b) in &self.pairs {
            fleet.net.cut_between(fleet.slot(*a), fleet.slot(*b));
        }
        for (a, b) in &self.ways {
            fleet.net.cut_one_way(fleet.slot(*a), fleet.slot(*b));
        }
    }

    pub fn heal(&self, fleet: &Fleet) {
        let cut: BTreeSet<u8> = self
            .pairs
            .iter()
            .map(|(a, _)| *a)
            .chain(self.ways.iter().map(|(a, _)| *a))
            .map(|node| fleet.slot(node))
            .collect();
        for slot in cut {
            fleet.net.heal(slot, Cut::Sites);
        }
    }
}

#[test]
fn isolation_is_the_loss_of_a_majority() {
    let voters = [1, 2, 3, 4];
    assert_eq!(alone(&voters, 2).isolated(&voters), [2]);
    let cut = Partition { pairs: vec![(1, 3), (1, 4), (2, 3), (2, 4)], ways: vec![] };
    assert_eq!(cut.isolated(&voters), voters, "two of four are no majority");
    let one = Partition { pairs: vec![], ways: vec![(1, 2)] };
    assert_eq!(one.isolated(&[1, 2, 3]), [0; 0], "there is a way round");
}
