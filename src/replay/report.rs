//! What a replay says, for programs and for people. Fields are only ever added.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Options,
    judge::{self, Ground},
    lane::{Lane, Moved},
    past::{Happened, Past, median},
    sight::{Seen, Sight},
    tried::differences,
};
use crate::core::{
    names::{RegionName, ServiceName},
    service::Policy,
    switch::{Cause, Stamp},
};

/// Everything that a replay found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was replayed.
    pub recording: Recording,
    /// In what the policy that was tried differs from the recorded one.
    pub policy: Vec<PolicyLine>,
    /// The switches that happened.
    pub happened: Vec<SwitchLine>,
    /// What the recorded policy does in the replay: the same, if the recording is whole.
    pub recorded: Column,
    /// What the policy that was tried does.
    pub tried: Column,
    /// The replay under the recorded policy made the same automatic switches at the same entries as the cluster did.
    pub faithful: bool,
    /// By what the switches are judged.
    pub outages: Vec<OutageLine>,
    /// A switch whose outage was over within this time after it is false.
    pub false_within_ms: u64,
    /// From authorised to written, and from there to observed, where nothing was recorded.
    pub write_ms: u64,
    /// The second of them.
    pub observe_ms: u64,
    /// For the plot: how each region looked, and which one each service answered.
    pub timeline: Vec<Timeline>,
}

/// The recording.
#[derive(Debug, Clone, Serialize)]
pub struct Recording {
    /// Wall time of its beginning in ms since 1970.
    pub from_wall_ms: u64,
    /// Wall time of its end.
    pub to_wall_ms: u64,
    /// Log time from its beginning to its end.
    pub span_ms: u64,
    /// The first index in it.
    pub first_index: u64,
    /// The last one.
    pub last_index: u64,
    /// How many entries.
    pub entries: u64,
    /// How many reports of nodes in them.
    pub reports: u64,
    /// How many terms: one more than elections.
    pub terms: u64,
    /// Stretches for which entries are missing; nothing is concluded there.
    pub holes: Vec<HoleLine>,
    /// Bytes that could not be read, in words.
    pub damage: Vec<String>,
    /// Indices at which a recorded state was not what its entries lead to: a fault of ours.
    pub diverged: Vec<u64>,
}

/// Entries that are missing.
#[derive(Debug, Clone, Serialize)]
pub struct HoleLine {
    /// The last index before.
    pub after_index: u64,
    /// Its wall time.
    pub after_wall_ms: u64,
    /// Where it goes on; `null`: nowhere.
    pub until_index: Option<u64>,
    /// Its wall time.
    pub until_wall_ms: Option<u64>,
}

/// A key of `[policy]` that is tried.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyLine {
    /// The service.
    pub service: String,
    /// The key.
    pub key: &'static str,
    /// As it was at the recording's end.
    pub recorded: String,
    /// As it was tried.
    pub tried: String,
}

/// A switch.
#[derive(Debug, Clone, Serialize)]
pub struct SwitchLine {
    /// The service.
    pub service: String,
    /// Its number, in this column.
    pub epoch: u64,
    /// `failover`, `failback`, `manual`, `adopt` or `revise`.
    pub cause: &'static str,
    /// From where; `null` for the first.
    pub from: Option<String>,
    /// To where.
    pub to: String,
    /// When it was authorised: log time.
    pub log_ms: u64,
    /// The same as wall time.
    pub wall_ms: u64,
    /// The term.
    pub term: u64,
    /// The entry that authorised it, or made it due.
    pub index: u64,
    /// Failovers: from the first failing observation of a deciding site to the authorisation.
    pub detection_ms: Option<u64>,
    /// Failovers: why an operator would call it false; `null` when he would not.
    pub false_because: Option<String>,
}

/// What one policy did.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// In order.
    pub switches: Vec<SwitchLine>,
    /// How many of them the cluster decided itself.
    pub automatic: usize,
    /// How many of those were false.
    pub false_switches: usize,
    /// Outages through which a service stayed in the region.
    pub missed: Vec<OutageLine>,
    /// Half of the failovers that were not false were faster.
    pub detection_p50_ms: Option<u64>,
    /// The slowest of them.
    pub detection_max_ms: Option<u64>,
    /// Services that were frozen because their budget was spent.
    pub frozen: Vec<FrozenLine>,
    /// What could not be done as it was recorded.
    pub notes: Vec<String>,
}

/// A freeze for a spent budget.
#[derive(Debug, Clone, Serialize)]
pub struct FrozenLine {
    /// The service.
    pub service: String,
    /// Log time.
    pub log_ms: u64,
    /// Wall time.
    pub wall_ms: u64,
    /// Why.
    pub reason: String,
}

/// An outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutageLine {
    /// The service.
    pub service: String,
    /// The region.
    pub region: String,
    /// Wall time in ms since 1970.
    pub from_wall_ms: u64,
    /// Wall time; `null`: it went on at the end.
    pub to_wall_ms: Option<u64>,
    /// `seen` by a majority of sites, or `given` with `--outages`.
    pub source: &'static str,
}

/// One service's course.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// The service.
    pub service: String,
    /// How each region looked to most sites, by region in order of preference: `[wall ms, "passing" | "failing" | "unclear"]`.
    pub regions: Vec<(String, Vec<(u64, &'static str)>)>,
    /// The region that was to be answered, as it happened.
    pub happened: Vec<(u64, Option<String>)>,
    /// The same under the recorded policy.
    pub recorded: Vec<(u64, Option<String>)>,
    /// The same under the one that was tried.
    pub tried: Vec<(u64, Option<String>)>,
}

type Targets = BTreeMap<ServiceName, Vec<(Stamp, Option<RegionName>)>>;

pub(super) fn make(
    past: &Past,
    sight: &Sight,
    recorded: &Lane,
    tried: &Lane,
    policies: &BTreeMap<ServiceName, Policy>,
    options: &Options,
) -> Report {
    let last = past.last();
    let grounds = judge::ground(sight, last, options.outages.as_deref());
    let within = |service: &ServiceName| {
        let recorded = past.services().get(service).map(|of| of.policy.cooldown);
        options.false_within.or(recorded).unwrap_or_default()
    };
    let longest = options.false_within.or(past.services().values().map(|of| of.policy.cooldown).max());
    let (write, observe) = past.pace(options.write_time, super::WRITE);
    let lines = policies.iter().flat_map(|(name, policy)| {
        let before = past.services().get(name).map(|service| differences(&service.policy, policy)).unwrap_or_default();
        before.into_iter().map(|(key, recorded, tried)| PolicyLine { service: name.to_string(), key, recorded, tried })
    });
    let column = |lane: &Lane| column(lane, &grounds, &within, last);
    let (recorded_column, tried_column) = (column(recorded), column(tried));
    Report {
        recording: recording(past),
        policy: lines.collect(),
        faithful: same(past, recorded),
        happened: past.switches.iter().map(happened).collect(),
        recorded: recorded_column,
        tried: tried_column,
        outages: grounds.iter().map(outage).collect(),
        false_within_ms: ms(longest.unwrap_or_default()),
        write_ms: ms(write),
        observe_ms: ms(observe),
        timeline: timeline(past, sight, recorded, tried),
    }
}

/// Whether the recorded policy does in the replay what it did.
fn same(past: &Past, recorded: &Lane) -> bool {
    let automatic = past.switches.iter().filter(|of| of.cause.is_automatic());
    let happened = automatic.map(|of| (&of.service, of.epoch, &of.to, of.authorised.index, of.authorised.at));
    let automatic = recorded.moved.iter().filter(|of| of.cause.is_automatic());
    happened.eq(automatic.map(|of| (&of.service, of.epoch, &of.to, of.authorised.index, of.authorised.at)))
}

fn recording(past: &Past) -> Recording {
    let last = past.last();
    let first = past.first.unwrap_or(last);
    let hole = |hole: &super::past::Hole| HoleLine {
        after_index: hole.after.index,
        after_wall_ms: hole.wall,
        until_index: hole.until.map(|(at, _)| at.index),
        until_wall_ms: hole.until.map(|(_, wall)| wall),
    };
    Recording {
        from_wall_ms: first.wall,
        to_wall_ms: last.wall,
        span_ms: ms(last.at.since(first.at)),
        first_index: first.index,
        last_index: last.index,
        entries: past.entries,
        reports: past.reports,
        terms: past.terms.len() as u64,
        holes: past.holes.iter().map(hole).collect(),
        damage: past.damage.iter().map(ToString::to_string).collect(),
        diverged: past.diverged.iter().map(|at| at.index).collect(),
    }
}

fn happened(of: &Happened) -> SwitchLine {
    line(&of.service, of.epoch.0, &of.cause, of.from.as_ref(), &of.to, of.authorised)
}

fn line(
    service: &ServiceName,
    epoch: u64,
    cause: &Cause,
    from: Option<&RegionName>,
    to: &RegionName,
    at: Stamp,
) -> SwitchLine {
    SwitchLine {
        service: service.to_string(),
        epoch,
        cause: cause.word(),
        from: from.map(ToString::to_string),
        to: to.to_string(),
        log_ms: at.at.0,
        wall_ms: at.wall,
        term: at.term,
        index: at.index,
        detection_ms: None,
        false_because: None,
    }
}

fn column(lane: &Lane, grounds: &[Ground], within: &impl Fn(&ServiceName) -> Duration, last: Stamp) -> Column {
    let mut switches = vec![];
    let mut delays = vec![];
    for moved in &lane.moved {
        let Moved { service, epoch, from, to, cause, authorised, failing_since } = moved;
        let mut switch = line(service, epoch.0, cause, from.as_ref(), to, *authorised);
        if *cause == Cause::Failover {
            let delay = failing_since.map(|since| authorised.at.since(since));
            switch.detection_ms = delay.map(ms);
            switch.false_because = judge::why_false(moved, grounds, within(service));
            delays.extend(delay.filter(|_| switch.false_because.is_none()));
        }
        switches.push(switch);
    }
    let frozen = lane.frozen.iter().map(|(stamp, service, reason)| FrozenLine {
        service: service.to_string(),
        log_ms: stamp.at.0,
        wall_ms: stamp.wall,
        reason: reason.clone(),
    });
    let missed = |(service, targets): (&ServiceName, &Vec<_>)| -> Vec<OutageLine> {
        let of: Targets = [(service.clone(), targets.clone())].into();
        judge::missed(grounds, &of, within(service), last).into_iter().map(outage).collect()
    };
    Column {
        automatic: switches.iter().filter(|of| matches!(of.cause, "failover" | "failback")).count(),
        false_switches: switches.iter().filter(|of| of.false_because.is_some()).count(),
        switches,
        missed: lane.targets.iter().flat_map(missed).collect(),
        detection_max_ms: delays.iter().max().copied().map(ms),
        detection_p50_ms: median(delays).map(ms),
        frozen: frozen.collect(),
        notes: lane.notes.clone(),
    }
}

fn outage(ground: &Ground) -> OutageLine {
    OutageLine {
        service: ground.service.to_string(),
        region: ground.region.to_string(),
        from_wall_ms: ground.from,
        to_wall_ms: ground.to,
        source: if ground.given { "given" } else { "seen" },
    }
}

fn timeline(past: &Past, sight: &Sight, recorded: &Lane, tried: &Lane) -> Vec<Timeline> {
    let seen = |seen: Seen| match seen {
        Seen::Passing => "passing",
        Seen::Failing => "failing",
        Seen::Unclear => "unclear",
    };
    let course = |targets: &Targets, name: &ServiceName| -> Vec<(u64, Option<String>)> {
        let turns = targets.get(name).map(Vec::as_slice).unwrap_or_default();
        turns.iter().map(|(stamp, target)| (stamp.wall, target.as_ref().map(ToString::to_string))).collect()
    };
    let of = |(name, service): (&ServiceName, &crate::core::service::Service)| {
        let region = |region: &crate::core::service::Region| {
            let turns = sight.turns.get(&(name.clone(), region.name.clone())).map(Vec::as_slice).unwrap_or_default();
            (region.name.to_string(), turns.iter().map(|(stamp, of)| (stamp.wall, seen(*of))).collect())
        };
        Timeline {
            service: name.to_string(),
            regions: service.regions.iter().map(region).collect(),
            happened: course(&past.targets, name),
            recorded: course(&recorded.targets, name),
            tried: course(&tried.targets, name),
        }
    };
    past.services().iter().map(of).collect()
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
