//! From the opinions of sites to the cluster's verdict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{names::Site, opinion::Opinion, service::Quorum};

/// What a quorum of sites says. Missing is not "no": short of a quorum either way it is undecided.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// A quorum of sites holds it up.
    Up,
    /// A quorum of sites holds it down.
    Down,
    /// Neither.
    #[default]
    Undecided,
}

/// The count behind a verdict. The electorate is every site of a voting member, heard from or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Sites that hold it up.
    pub up: u32,
    /// Sites that hold it down.
    pub down: u32,
    /// Sites in the electorate.
    pub sites: u32,
    /// How many make a verdict.
    pub needed: u32,
}

impl Quorum {
    /// How many of `sites` must agree: more than half, never more than all.
    #[must_use]
    pub fn of(self, sites: u32) -> u32 {
        let majority = sites / 2 + 1;
        match self {
            Self::Majority => majority,
            Self::AtLeast(n) => n.clamp(majority, sites.max(majority)),
            Self::All => sites.max(majority),
        }
    }
}

impl Tally {
    /// Counts one opinion a site.
    #[must_use]
    pub fn of(opinions: &BTreeMap<&Site, Opinion>, quorum: Quorum) -> Self {
        let count =
            |wanted| u32::try_from(opinions.values().filter(|held| **held == wanted).count()).unwrap_or(u32::MAX);
        let sites = u32::try_from(opinions.len()).unwrap_or(u32::MAX);
        Self { up: count(Opinion::Up), down: count(Opinion::Down), sites, needed: quorum.of(sites) }
    }

    /// The verdict: an empty electorate needs one site of none, and so decides nothing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.down >= self.needed {
            Verdict::Down
        } else if self.up >= self.needed {
            Verdict::Up
        } else {
            Verdict::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(opinions: &[Opinion], quorum: Quorum) -> Tally {
        let sites: Vec<Site> = (0..opinions.len()).map(|i| format!("s{i}").parse().unwrap()).collect();
        Tally::of(&sites.iter().zip(opinions.iter().copied()).collect(), quorum)
    }

    #[test]
    fn verdicts() {
        use Opinion::{Down as D, Unknown as N, Up as U};
        for (opinions, quorum, verdict) in [
            (&[][..], Quorum::Majority, Verdict::Undecided),
            (&[][..], Quorum::All, Verdict::Undecided),
            (&[D], Quorum::Majority, Verdict::Down),
            (&[D, U, U], Quorum::Majority, Verdict::Up),
            (&[D, D, U], Quorum::Majority, Verdict::Down),
            (&[D, N, N], Quorum::Majority, Verdict::Undecided),
            (&[D, D, N], Quorum::Majority, Verdict::Down),
            (&[D, D, N], Quorum::All, Verdict::Undecided),
            (&[D, D, D], Quorum::All, Verdict::Down),
            (&[D, D, U, U], Quorum::Majority, Verdict::Undecided),
            (&[D, D, D, U, U], Quorum::AtLeast(4), Verdict::Undecided),
            (&[D, D, D, U, U], Quorum::AtLeast(1), Verdict::Down),
            (&[D, U, U, U, U], Quorum::AtLeast(1), Verdict::Up),
            (&[D, D, D], Quorum::AtLeast(9), Verdict::Down),
        ] {
            assert_eq!(tally(opinions, quorum).verdict(), verdict, "{opinions:?} {quorum:?}");
        }
    }

    /// Deliberately dumb: goes through every subset of the sites, as the definition of a quorum reads.
    fn oracle(opinions: &[Opinion], quorum: Quorum) -> Verdict {
        let n = opinions.len();
        let is_quorum = |members: usize| match quorum {
            Quorum::Majority => members * 2 > n,
            Quorum::AtLeast(k) => members * 2 > n && (members >= k as usize || members == n),
            Quorum::All => members == n && n > 0,
        };
        let some_quorum_all = |wanted: Opinion| {
            (0_u32..1 << n).any(|subset| {
                let members: Vec<_> = (0..n).filter(|i| subset >> i & 1 == 1).collect();
                is_quorum(members.len()) && members.iter().all(|i| opinions[*i] == wanted)
            })
        };
        match (some_quorum_all(Opinion::Down), some_quorum_all(Opinion::Up)) {
            (true, false) => Verdict::Down,
            (false, true) => Verdict::Up,
            (false, false) => Verdict::Undecided,
            (true, true) => unreachable!("two quorums that do not meet"),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle(
            opinions in prop::collection::vec(prop_oneof![Just(Opinion::Up), Just(Opinion::Down), Just(Opinion::Unknown)], 0..8),
            quorum in prop_oneof![Just(Quorum::Majority), Just(Quorum::All), (0_u32..9).prop_map(Quorum::AtLeast)],
        ) {
            prop_assert_eq!(tally(&opinions, quorum).verdict(), oracle(&opinions, quorum));
        }
    }
}
