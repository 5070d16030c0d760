//! What the leader measures of a `DynamoDB` table's replicas, and the two gates that rest on it.
//!
//! The leader writes a *heartbeat* through the active region's replica, stamped with its log time, and reads in the other
//! regions which one has arrived there. What it finds is committed, for `apply` checks the gates again on every node. A
//! reading counts only in the term in which it was logged, within [`GAUGE_TTL`], and while the heartbeats still go through the
//! active region; everything else is unknown, and unknown is never zero.
//!
//! ```text
//!           seen             failing           verdict down
//!  ───┬──────┬──────┬──────┬──────╳─ ─ ─ ─ ─ ─ ─ ─ ─│─ ─ ─ ─▶ log time
//!     heartbeats, one an interval   └ the first that the active region did not take: there the outage begins
//!            └──── lag ────┘ what was written after `seen` may not have arrived: the bound of what the switch loses
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    explain::words,
    names::{LogTime, RegionName, ServiceName},
    safety::{Rule, RuleOutcome, RuleReading},
    service::{Region, Table},
    state::{Response, ServiceState, State},
    switch::{Cause, Intent, Stamp},
    verdict::Verdict,
};

/// Log time for which a reading counts.
pub const GAUGE_TTL: Duration = Duration::from_secs(15);
/// A reading that says nothing new is committed again after this long.
const REFRESH: Duration = Duration::from_secs(5);
/// One that does comes no sooner after the last than this, whatever the table does.
const PAUSE: Duration = Duration::from_millis(500);
/// A region may serve for this long, and its detection, without its table. Heartbeats that failed before are no part of the outage.
const OUTAGE_SLACK: Duration = Duration::from_secs(10);
/// How much of a reason is kept, in characters.
const REASON: usize = 200;

/// What was found out about one region's replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// Whose region.
    #[serde(rename = "s")]
    pub service: ServiceName,
    /// The region that was read.
    #[serde(rename = "r")]
    pub region: RegionName,
    /// The region through which the heartbeats are written.
    #[serde(rename = "w")]
    pub through: RegionName,
    /// What the region itself says of its replica.
    #[serde(rename = "p")]
    pub replica: Replica,
    /// Which heartbeat has arrived.
    #[serde(rename = "l")]
    pub lag: Lag,
}

/// Whether a replica can take traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replica {
    /// It can; its status.
    #[serde(rename = "u")]
    Usable(String),
    /// It cannot; its status, and what that means.
    #[serde(rename = "n")]
    Unusable(String),
    /// The region did not say; why.
    #[serde(rename = "?")]
    Unknown(String),
}

/// Which heartbeat has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lag {
    /// None of this leader's, or nobody could look; why.
    #[serde(rename = "?")]
    Unknown(String),
    /// One has.
    #[serde(rename = "s")]
    Seen {
        /// Its stamp.
        #[serde(rename = "h")]
        seen: LogTime,
        /// The stamp of the first one, since one was taken last, that the active region did not take.
        #[serde(rename = "f")]
        failing: Option<LogTime>,
    },
}

/// A reading with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauged {
    /// The reading.
    pub gauge: Gauge,
    /// When it was applied.
    pub stamp: Stamp,
}

/// How far a replica is behind, at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// What was written in the active region within this time may not have arrived; `None` when that is not known.
    pub bound: Option<Duration>,
    /// The same as a sentence, or why it is not known.
    pub text: String,
}

impl State {
    /// Keeps what was measured; what nobody asked for is dropped.
    pub(super) fn take_gauges(&mut self, stamp: Stamp, gauges: &[Gauge]) -> Response {
        for gauge in gauges {
            let Some(service) = self.services.get_mut(&gauge.service) else { continue };
            let of = &service.service;
            if of.region(&gauge.through).is_some() && of.region(&gauge.region).is_some_and(|of| of.dynamodb.is_some()) {
                let mut gauge = gauge.clone();
                gauge.shorten();
                service.gauges.insert(gauge.region.clone(), Gauged { gauge, stamp });
            }
        }
        Response::Done
    }

    /// Whether this reading is worth an entry at `now`: it says something else than the one that counts, or that one grows old.
    #[must_use]
    pub fn wants(&self, gauge: &Gauge, now: LogTime) -> bool {
        let Some(service) = self.services.get(&gauge.service) else { return false };
        let Ok(last) = self.gauge(service, &gauge.region) else { return true };
        let age = now.since(last.stamp.at);
        let limit = service.service.policy.max_replication_lag;
        let other = !last.gauge.replica.says_as_much_as(&gauge.replica)
            || last.gauge.lag.class(limit, last.stamp.at) != gauge.lag.class(limit, now)
            || down_since(service, &gauge.through).is_some_and(|down| last.stamp.at < down);
        age >= REFRESH || (other && age >= PAUSE)
    }

    /// The reading of a region that counts now.
    ///
    /// # Errors
    /// Why none does.
    pub fn gauge<'a>(&self, service: &'a ServiceState, region: &RegionName) -> Result<&'a Gauged, String> {
        let gauged = service.gauges.get(region).ok_or("not read yet")?;
        let age = self.log_time.since(gauged.stamp.at);
        match service.target() {
            _ if gauged.stamp.term != self.position.term => Err("not read since the election".to_owned()),
            Some(active) if *active != gauged.gauge.through => Err(format!("not read since {active} is active")),
            _ if age > GAUGE_TTL => Err(format!("last read {} ago", words(age))),
            _ => Ok(gauged),
        }
    }

    /// How far a region's replica is behind the active region.
    #[must_use]
    pub fn behind(&self, service: &ServiceState, region: &RegionName) -> Behind {
        let unknown = |text: String| Behind { bound: None, text };
        let Some(table) = service.service.region(region).and_then(|region| region.dynamodb.as_ref()) else {
            return unknown(format!("{region} has no table"));
        };
        let gauged = match self.gauge(service, region) {
            Ok(gauged) => gauged,
            Err(why) => return unknown(why),
        };
        let (seen, failing) = match &gauged.gauge.lag {
            Lag::Unknown(why) => return unknown(why.clone()),
            Lag::Seen { seen, failing } => (*seen, *failing),
        };
        let last = format!("last heartbeat seen in {} is", table.region);
        let known = |bound: Duration, text: String| Behind { bound: Some(bound), text: format!("{last} {text}") };
        let active = &gauged.gauge.through;
        match (failing, down_since(service, active)) {
            // What the region wrote between the reading and its death counts, too.
            (None, Some(down)) if gauged.stamp.at < down => {
                let bound = down.since(seen);
                known(bound, format!("{} older than the verdict on {active}, and was read before it", words(bound)))
            }
            (None, _) => {
                let age = gauged.stamp.at.since(seen);
                known(age, format!("{} old", words(age)))
            }
            (Some(failing), Some(down)) if failing.after(detection(service, active)) >= down => {
                let bound = failing.since(seen);
                known(bound, format!("{} older than the outage", words(bound)))
            }
            // The region served on without its table's heartbeats: what it wrote meanwhile counts.
            (Some(_), Some(down)) => {
                let bound = down.since(seen);
                known(bound, format!("{} older than the outage, for none was taken long before it", words(bound)))
            }
            (Some(failing), None) => {
                let bound = self.log_time.since(seen);
                let silent = words(self.log_time.since(failing));
                known(bound, format!("{} old, and {active} has taken none for {silent}", words(bound)))
            }
        }
    }

    /// What a switch away from the active region may lose.
    pub(super) fn lost_writes(&self, service: &ServiceState, intent: &Intent) -> Option<Behind> {
        let moves = !matches!(intent.cause, Cause::Adopt | Cause::Revise { .. });
        let table = service.service.region(&intent.to)?.dynamodb.as_ref();
        table.filter(|_| moves).map(|_| self.behind(service, &intent.to))
    }

    /// The gates of a region that has a table.
    #[must_use]
    pub fn gates(&self, service: &ServiceState, to: &Region) -> Vec<RuleReading> {
        let Some(table) = &to.dynamodb else { return vec![] };
        vec![self.replica_gate(service, to, table), self.lag_gate(service, to)]
    }

    fn replica_gate(&self, service: &ServiceState, to: &Region, table: &Table) -> RuleReading {
        let place = format!("{} in {}", table.table, table.region);
        let (outcome, text) = match self.gauge(service, &to.name).map(|gauged| &gauged.gauge.replica) {
            Ok(Replica::Usable(status)) => (RuleOutcome::Pass, format!("is {status}")),
            Ok(Replica::Unusable(status)) => (RuleOutcome::Fail, format!("is {status}")),
            Ok(Replica::Unknown(why)) => (RuleOutcome::Unknown, format!("is not known: {why}")),
            Err(why) => (RuleOutcome::Unknown, format!("is not known: {why}")),
        };
        let reading = RuleReading::new(Rule::GateReplica, outcome == RuleOutcome::Pass, format!("{place} {text}"));
        RuleReading { outcome, ..reading }
    }

    fn lag_gate(&self, service: &ServiceState, to: &Region) -> RuleReading {
        let Behind { bound, text } = self.behind(service, &to.name);
        let limit = service.service.policy.max_replication_lag;
        let reading = |pass, figure| RuleReading::new(Rule::GateLag, pass, figure);
        match (bound, limit) {
            (Some(bound), Some(limit)) if bound <= limit => {
                reading(true, format!("{} ≤ {} ({text})", words(bound), words(limit)))
            }
            (Some(bound), Some(limit)) => reading(false, format!("{} > {} ({text})", words(bound), words(limit))),
            (None, Some(limit)) => RuleReading {
                outcome: RuleOutcome::Unknown,
                ..reading(false, format!("not known, {} allowed ({text})", words(limit)))
            },
            // Without a limit nothing holds; the figure is for the evidence.
            (Some(bound), None) => reading(true, format!("{}, no limit ({text})", words(bound))),
            (None, None) => reading(true, format!("not known, no limit ({text})")),
        }
    }
}

impl Replica {
    /// Whether the other answer is the same, but for the reason why nothing is known.
    fn says_as_much_as(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Unknown(_), Self::Unknown(_)))
    }
}

impl Lag {
    /// What a rule or a person would tell apart: known or not, within the limit or not, and after an outage the very bound.
    fn class(&self, limit: Option<Duration>, now: LogTime) -> (bool, bool, Option<(LogTime, LogTime)>) {
        match self {
            Self::Unknown(_) => (false, false, None),
            Self::Seen { seen, failing: None } => (true, limit.is_none_or(|limit| now.since(*seen) <= limit), None),
            Self::Seen { seen, failing: Some(failing) } => (true, true, Some((*seen, *failing))),
        }
    }
}

/// Since when the region is down, if that is its verdict.
fn down_since(service: &ServiceState, region: &RegionName) -> Option<LogTime> {
    let standing = service.verdicts.get(region)?;
    (standing.verdict == Verdict::Down).then_some(standing.since)
}

/// How long after the first failure of a region its verdict may come, and some more.
fn detection(service: &ServiceState, region: &RegionName) -> Duration {
    let probes = service.service.region(region).into_iter().flat_map(|region| &region.probes);
    let slowest = probes.map(|probe| probe.interval.saturating_mul(service.service.policy.fall) + probe.timeout).max();
    slowest.unwrap_or_default() + OUTAGE_SLACK
}

impl Gauge {
    /// Reasons are somebody else's text: what is replicated of them is bounded.
    fn shorten(&mut self) {
        let replica = match &mut self.replica {
            Replica::Usable(text) | Replica::Unusable(text) | Replica::Unknown(text) => Some(text),
        };
        let lag = match &mut self.lag {
            Lag::Unknown(text) => Some(text),
            Lag::Seen { .. } => None,
        };
        for text in [replica, lag].into_iter().flatten() {
            if let Some((end, _)) = text.char_indices().nth(REASON) {
                text.truncate(end);
            }
        }
    }
}
