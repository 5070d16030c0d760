//! What to do about one record, given what was read: pure, so that every case is a line in a table.

use super::Lease;
use crate::{
    core::{
        names::ClusterId,
        record::{Fence, Record, RrSet},
        sabotage::Sabotage,
        state::ServiceState,
    },
    dns::{Change, FenceReading, Reading},
};

/// Whether the leader of `term` may begin to act: only after a quorum confirmed exactly this leadership. Belief is not asked.
#[must_use]
pub fn may_act(term: u64, confirmed: Option<Lease>) -> bool {
    Sabotage::NoReadIndex.active() || confirmed.is_some_and(|lease| lease.term == term)
}

/// The next step for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The record answers what it shall, under this epoch: an earlier attempt was applied.
    Stands,
    /// Write, from exactly what was read.
    Write(Box<Change>),
    /// A later epoch of this cluster stands there: whoever reads this is behind.
    Behind(u64),
    /// Somebody else's: writing needs a person.
    Hold(String),
}

/// What the record shall be, and what may be written over.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Which record.
    pub record: &'a Record,
    /// What it shall answer.
    pub rrset: &'a RrSet,
    /// What its fence shall say.
    pub fence: &'a Fence,
    /// Where the provider keeps its fence, in words.
    pub place: &'a str,
    /// The values found are a region's, were written by this cluster, or may be overwritten by policy or by name.
    pub may_replace: bool,
}

/// Whether what was found may be written over unasked: nothing, a region's values, or the ones that the cluster wrote last; and
/// where a write goes in steps, what one of this cluster's left between two of them.
#[must_use]
pub fn may_replace(
    service: &ServiceState,
    record: &Record,
    cluster: &ClusterId,
    goes_in_steps: bool,
    found: &Reading,
) -> bool {
    let Some(rrset) = &found.rrset else { return true };
    let fenced = matches!(&found.fence, FenceReading::Present(fence) if fence.cluster == *cluster);
    service.is_ours(record, rrset) || goes_in_steps && fenced && service.is_between(record, rrset)
}

/// Decides the next step.
#[must_use]
pub fn step(wanted: Wanted<'_>, found: Reading) -> Step {
    let Wanted { record, rrset, fence, place, may_replace } = wanted;
    match &found.fence {
        FenceReading::Present(ours) if ours == fence && found.rrset.as_ref() == Some(rrset) => return Step::Stands,
        _ if Sabotage::NoFence.active() => {}
        FenceReading::Present(theirs) if theirs.cluster != fence.cluster => {
            return Step::Hold(format!(
                "{record} belongs to cluster `{}` (its fence says epoch {}): remove {place} if that cluster is gone",
                theirs.cluster, theirs.epoch,
            ));
        }
        FenceReading::Unreadable(texts) => {
            return Step::Hold(format!(
                "{place} is no fence: `{}`; remove it if nobody needs it",
                texts.join("`, `").chars().take(120).collect::<String>()
            ));
        }
        FenceReading::Present(ours) if ours.epoch > fence.epoch => return Step::Behind(ours.epoch.0),
        FenceReading::Present(_) | FenceReading::Absent => {}
    }
    match &found.rrset {
        Some(other) if !may_replace && other.values != rrset.values => {
            Step::Hold(format!("{record} answers {other}, which is no region's value: somebody changed it by hand"))
        }
        _ => Step::Write(Box::new(Change {
            record: record.clone(),
            expected: found,
            rrset: rrset.clone(),
            fence: fence.clone(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{names::Epoch, record::RecordValue};

    fn rrset(last: u8) -> RrSet {
        RrSet { ttl: 60, values: [RecordValue::A([192, 0, 2, last].into())].into() }
    }

    fn fence(cluster: &str, epoch: u64) -> Fence {
        Fence { cluster: cluster.parse().unwrap(), epoch: Epoch(epoch) }
    }

    #[test]
    fn every_reading_has_its_step() {
        let record = Record {
            provider: "main".parse().unwrap(),
            zone: "example.com".parse().unwrap(),
            name: "app.example.com".parse().unwrap(),
            rtype: crate::core::record::RecordType::A,
            ttl: 60,
        };
        let (mine, old, new) = (|epoch| FenceReading::Present(fence("prod", epoch)), rrset(1), rrset(2));
        let cases = [
            ("the usual", Some(&old), mine(6), true, "write"),
            ("nothing there yet", None, FenceReading::Absent, false, "write"),
            ("never fenced", Some(&old), FenceReading::Absent, true, "write"),
            ("applied, unanswered", Some(&new), mine(7), true, "stands"),
            ("half written", Some(&old), mine(7), true, "write"),
            ("values there, fence behind", Some(&new), mine(6), true, "write"),
            ("deleted by hand", None, mine(6), true, "write"),
            ("a successor was faster", Some(&new), mine(8), true, "behind"),
            ("by hand", Some(&old), mine(6), false, "hold"),
            ("another cluster's", Some(&old), FenceReading::Present(fence("test", 6)), true, "hold"),
            ("another cluster's, same epoch", Some(&new), FenceReading::Present(fence("test", 7)), true, "hold"),
            ("no fence at all", Some(&old), FenceReading::Unreadable(vec!["hello".into()]), true, "hold"),
        ];
        for (name, found, found_fence, may_replace, step_word) in cases {
            let (fence, place) = (fence("prod", 7), "the tag `quorate`");
            let wanted = Wanted { record: &record, rrset: &new, fence: &fence, place, may_replace };
            let found = Reading { rrset: found.cloned(), fence: found_fence };
            let step = step(wanted, found.clone());
            let word = match &step {
                Step::Stands => "stands",
                Step::Behind(_) => "behind",
                Step::Hold(why) => {
                    assert!(name == "by hand" || why.contains(place), "{name}: {why}");
                    "hold"
                }
                Step::Write(change) => {
                    assert_eq!(change.expected, found, "{name}: from what was read");
                    assert_eq!((&change.rrset, &change.fence), (&new, &fence), "{name}");
                    "write"
                }
            };
            assert_eq!(word, step_word, "{name}");
        }
    }
}
