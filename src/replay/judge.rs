//! Which switches were false, which outages were missed, and how fast the others were.

use std::{collections::BTreeMap, time::Duration};

use super::{
    lane::Moved,
    sight::{Seen, Sight},
};
use crate::core::{
    names::{LogTime, RegionName, ServiceName},
    switch::Stamp,
};

/// An outage of a region, as somebody knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which service; every one when `None`.
    pub service: Option<ServiceName>,
    /// Which region.
    pub region: RegionName,
    /// Wall time in ms since 1970.
    pub from: u64,
    /// Wall time in ms since 1970; it goes on when `None`.
    pub to: Option<u64>,
}

/// An outage as it is judged by.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub service: ServiceName,
    pub region: RegionName,
    pub from: u64,
    pub to: Option<u64>,
    /// By log time, where the sites saw it.
    span: Option<(LogTime, Option<LogTime>)>,
    pub given: bool,
}

impl Ground {
    fn covers(&self, stamp: Stamp) -> bool {
        match self.span {
            Some((from, to)) => from <= stamp.at && to.is_none_or(|to| stamp.at <= to),
            None => self.from <= stamp.wall && self.to.is_none_or(|to| stamp.wall <= to),
        }
    }

    /// Whether it was going on at some time between the two.
    fn overlaps(&self, from: Stamp, to: Stamp) -> bool {
        match self.span {
            Some((began, over)) => began <= to.at && over.is_none_or(|over| from.at <= over),
            None => self.from <= to.wall && self.to.is_none_or(|over| from.wall <= over),
        }
    }

    fn is_of(&self, service: &ServiceName, region: &RegionName) -> bool {
        self.service == *service && self.region == *region
    }

    /// How long it lasted, or lasts at `last`.
    fn lasted(&self, last: Stamp) -> Duration {
        match self.span {
            Some((from, to)) => to.unwrap_or(last.at).since(from),
            None => Duration::from_millis(self.to.unwrap_or(last.wall).saturating_sub(self.from)),
        }
    }
}

/// The outages: those given, else the stretches from a majority of sites failing to a majority passing again.
pub(super) fn ground(sight: &Sight, last: Stamp, given: Option<&[Outage]>) -> Vec<Ground> {
    let mut all = vec![];
    if let Some(given) = given {
        for (service, region) in sight.turns.keys() {
            let of = |outage: &&Outage| {
                outage.region == *region && outage.service.as_ref().is_none_or(|name| name == service)
            };
            all.extend(given.iter().filter(of).map(|outage| Ground {
                service: service.clone(),
                region: region.clone(),
                from: outage.from,
                to: outage.to,
                span: None,
                given: true,
            }));
        }
        return all;
    }
    for ((service, region), turns) in &sight.turns {
        let mut began: Option<Stamp> = None;
        for (stamp, seen) in turns {
            match (seen, began) {
                (Seen::Failing, None) => began = Some(*stamp),
                (Seen::Passing, Some(from)) => {
                    all.push(seen_outage(service, region, from, Some(*stamp)));
                    began = None;
                }
                _ => {}
            }
        }
        all.extend(began.filter(|from| from.at < last.at).map(|from| seen_outage(service, region, from, None)));
    }
    all
}

fn seen_outage(service: &ServiceName, region: &RegionName, from: Stamp, to: Option<Stamp>) -> Ground {
    Ground {
        service: service.clone(),
        region: region.clone(),
        from: from.wall,
        to: to.map(|to| to.wall),
        span: Some((from.at, to.map(|to| to.at))),
        given: false,
    }
}

/// Why an operator would call the failover false; `None` when he would not.
pub(super) fn why_false(moved: &Moved, grounds: &[Ground], within: Duration) -> Option<String> {
    let from = moved.from.as_ref()?;
    let mut of = grounds.iter().filter(|ground| ground.is_of(&moved.service, from));
    let Some(ground) = of.find(|ground| ground.covers(moved.authorised)) else {
        let given = grounds.iter().any(|ground| ground.given);
        let why = if given { "no outage that was given" } else { "no majority of sites saw it fail then" };
        return Some(why.to_owned());
    };
    let (_, to) = ground.span?;
    let after = to?.since(moved.authorised.at);
    (after <= within).then(|| format!("a majority saw it pass again {} later", crate::core::explain::words(after)))
}

/// The outages through which the service stayed where it was. Short ones, which a switch would have been false for, do not count.
pub(super) fn missed<'g>(
    grounds: &'g [Ground],
    targets: &BTreeMap<ServiceName, Vec<(Stamp, Option<RegionName>)>>,
    within: Duration,
    last: Stamp,
) -> Vec<&'g Ground> {
    let stayed = |ground: &&Ground| {
        let Some(turns) = targets.get(&ground.service) else { return false };
        let ends = turns.iter().skip(1).map(|(stamp, _)| *stamp).chain([last]);
        let mut there = turns.iter().zip(ends).filter(|((_, target), _)| target.as_ref() == Some(&ground.region));
        // It was to answer this region during the outage, and nothing moved it before the end.
        there.any(|((since, _), until)| {
            let moved_in_time = until.index < last.index && ground.covers(until);
            ground.overlaps(*since, until) && !moved_in_time
        })
    };
    grounds.iter().filter(|ground| ground.given || ground.lasted(last) > within).filter(stayed).collect()
}
