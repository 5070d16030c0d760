//! One record at its provider: what stands there against what the state says, and what a switch would write.

use super::{ServiceState, subject};
use crate::{
    core::{
        explain::words,
        names::{ClusterId, RegionName},
        record::{Fence, Record, RrSet},
        service::DriftPolicy,
    },
    dns::{FenceReading, Finding, Grade, Reading, inspect::Inspector},
    leader::plan::{Step, Wanted, may_replace, step},
};

/// What to do about a fence that is not this cluster's.
const NOT_OURS: &str = "see `fence`: no switch writes over it, not even one by hand";
/// The subject of what a switch would write.
const WRITE: &str = "write";

/// Every finding about one record. `candidate`: where a switch is rehearsed to.
pub(super) async fn look(
    inspector: &Inspector,
    cluster: &ClusterId,
    service: Option<&ServiceState>,
    record: &Record,
    candidate: Option<&RegionName>,
) -> Vec<Finding> {
    let standing = Standing { inspector, cluster, service, record };
    let regions = standing.regions(candidate);
    let (mut findings, values, reading) =
        futures::join!(inspector.rights(record), inspector.values(record, &regions), inspector.read(record));
    findings.extend(values);
    match reading {
        Err(error) => {
            findings.push(Finding::of_error(subject::RECORD, &error));
            findings.extend(candidate.filter(|_| error.retryable()).map(|_| unread(&error)));
        }
        Ok(reading) => {
            findings.extend([standing.record(&reading), standing.ttl(&reading), standing.fence(&reading)]);
            findings.extend(candidate.and_then(|to| standing.rehearse(reading, to)));
        }
    }
    findings.extend(standing.cooldown());
    findings
}

/// What would become of a switch while the record cannot be read: whether the rest is in order is unknown, but this is not.
pub(super) fn unread(why: &impl std::fmt::Display) -> Finding {
    Finding::fail(
        WRITE,
        format!("a switch reads the record before it writes, and could not now: {why}"),
        "the leader would try again until the provider answers; the record stays as it is until then",
    )
}

struct Standing<'a> {
    inspector: &'a Inspector,
    cluster: &'a ClusterId,
    service: Option<&'a ServiceState>,
    record: &'a Record,
}

impl Standing<'_> {
    /// What the provider shall answer now; nothing while no region is active.
    fn wanted(&self) -> Option<RrSet> {
        let service = self.service?;
        let region = service.service.region(service.target()?)?;
        Some(self.inspector.published(&service.service.rrset(self.record, region)?))
    }

    /// What the regions want it to be: the candidate, or all of them.
    fn regions(&self, candidate: Option<&RegionName>) -> Vec<(RegionName, RrSet)> {
        let Some(ServiceState { service, .. }) = self.service else { return vec![] };
        let meant = service.regions.iter().filter(|region| candidate.is_none_or(|name| *name == region.name));
        meant.filter_map(|region| Some((region.name.clone(), service.rrset(self.record, region)?))).collect()
    }

    fn record(&self, reading: &Reading) -> Finding {
        match (&reading.rrset, self.wanted()) {
            (Some(found), Some(wanted)) if *found == wanted => {
                Finding::pass(subject::RECORD, format!("answers {found}, as the cluster wrote it"))
            }
            (Some(found), Some(wanted)) => Finding::fail(
                subject::RECORD,
                format!("answers {found}, the cluster's state says {wanted}"),
                "find out who changed it; `quoratectl verdict get` says what is done about it",
            ),
            (None, Some(_)) => {
                Finding::fail(subject::RECORD, "is gone from the provider", "`quoratectl switch start` writes it anew")
            }
            (Some(found), None) => Finding::pass(subject::RECORD, format!("answers {found}, and is not adopted yet")),
            (None, None) => Finding::pass(subject::RECORD, "does not stand there yet: adopting the service makes it"),
        }
    }

    fn ttl(&self, reading: &Reading) -> Finding {
        let asked = self.record.ttl;
        if !self.record.rtype.is_in_dns() {
            return Finding::pass(subject::TTL, "none: no resolver keeps what a pool answered");
        }
        let made = self.inspector.published(&RrSet { ttl: asked, values: [].into() }).ttl;
        let kept = |ttl: u32| format!("resolvers keep an old answer for up to {ttl} s");
        match &reading.rrset {
            Some(found) if found.ttl != made && self.wanted().is_some() => Finding::fail(
                subject::TTL,
                format!("{} s at the provider, {made} s wanted: {}", found.ttl, kept(found.ttl)),
                "the next switch sets it; `quoratectl service apply` does at once when the file changes",
            ),
            Some(found) if found.ttl != made => {
                Finding::pass(subject::TTL, format!("{} s now, adopting makes it {made} s: {}", found.ttl, kept(made)))
            }
            _ if made != asked => Finding::pass(
                subject::TTL,
                format!("{asked} s asked for, the provider makes it {made} s: {}", kept(made)),
            ),
            _ => Finding::pass(subject::TTL, format!("{made} s: {}", kept(made))),
        }
    }

    fn fence(&self, reading: &Reading) -> Finding {
        let place = self.inspector.fence_place(self.record);
        let adopted = self.service.filter(|of| of.active.is_some());
        match &reading.fence {
            FenceReading::Present(fence) if fence.cluster != *self.cluster => Finding::fail(
                subject::FENCE,
                format!("cluster `{}` owns the record, at epoch {}", fence.cluster, fence.epoch),
                format!("if that cluster is no more, delete {place} by hand"),
            ),
            FenceReading::Present(fence) => match adopted {
                Some(of) if of.open.is_none() && of.epoch != fence.epoch => Finding::fail(
                    subject::FENCE,
                    format!("ours, but it says epoch {}, the cluster's state {}", fence.epoch, of.epoch),
                    "wait for the next reconciliation; if it stays, somebody restored an old zone",
                ),
                _ => Finding::pass(subject::FENCE, format!("ours, epoch {}", fence.epoch)),
            },
            FenceReading::Absent if adopted.is_some_and(|of| of.open.is_none()) => Finding::fail(
                subject::FENCE,
                format!("{place} is gone"),
                "find out who removed it; `quoratectl switch start` writes it anew",
            ),
            FenceReading::Absent => Finding::pass(subject::FENCE, "none yet: nobody owns the record"),
            FenceReading::Unreadable(texts) => Finding::fail(
                subject::FENCE,
                format!("{place} is no fence: {}", texts.join(" | ").chars().take(100).collect::<String>()),
                "delete it by hand, if nobody needs it",
            ),
        }
    }

    /// What the leader would do with this reading, decided by the very function that decides it there.
    fn rehearse(&self, reading: Reading, to: &RegionName) -> Option<Finding> {
        let service = self.service?;
        let region = service.service.region(to)?;
        let rrset = self.inspector.published(&service.service.rrset(self.record, region)?);
        let fence = Fence { cluster: self.cluster.clone(), epoch: service.epoch.next() };
        let found = reading.rrset.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let steps = self.inspector.goes_in_steps(self.record);
        let may_replace = service.service.policy.drift == DriftPolicy::Correct
            || may_replace(service, self.record, self.cluster, steps, &reading);
        let place = &self.inspector.fence_place(self.record);
        let hint = match &reading.fence {
            FenceReading::Present(fence) if fence.cluster != *self.cluster => NOT_OURS,
            FenceReading::Unreadable(_) => NOT_OURS,
            FenceReading::Present(_) | FenceReading::Absent => "by hand: `quoratectl switch start … --override drift`",
        };
        Some(match step(Wanted { record: self.record, rrset: &rrset, fence: &fence, place, may_replace }, reading) {
            Step::Write(_) => {
                let strength = match self.inspector.grade() {
                    Grade::A => "refused by the provider if anything differs by then (grade A)",
                    Grade::B => "refused by the provider if the old record is another by then (grade B)",
                    Grade::C => "checked before and after, not refused (grade C)",
                };
                Finding::pass(WRITE, format!("from {found} to {rrset} under epoch {}, {strength}", fence.epoch))
            }
            Step::Stands => Finding::pass(WRITE, "it stands already"),
            Step::Behind(epoch) => Finding::fail(
                WRITE,
                format!("the provider stands at epoch {epoch}, a switch would be {}", fence.epoch),
                "another cluster with this id writes the record, or the store is an old one",
            ),
            Step::Hold(why) => Finding::fail(WRITE, why, hint),
        })
    }

    /// Where a late write is not refused, the cooldown must outlast it.
    fn cooldown(&self) -> Option<Finding> {
        const LATE: &str = "late-write";
        let service = self.service.filter(|_| self.inspector.grade() == Grade::C)?;
        let (cooldown, longest) = (service.service.policy.cooldown, self.inspector.longest_request());
        let figure = format!("a write may live for {}, the cooldown is {}", words(longest), words(cooldown));
        Some(if cooldown >= longest {
            Finding::pass(LATE, figure)
        } else {
            Finding::fail(
                LATE,
                figure,
                "set `cooldown` to that or more: this provider cannot refuse a late write (grade C)",
            )
        })
    }
}
