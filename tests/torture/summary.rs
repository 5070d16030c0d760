//! What a run comes to, as one line of JSON.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    edn::Edn,
    history::{Op, Process},
    services::FLOOR,
    world::Outage,
};

/// What the summary is made of.
pub struct Facts<'a> {
    pub seed: u64,
    pub seconds: u64,
    pub operations: usize,
    pub outcomes: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    pub faults: BTreeMap<&'static str, u64>,
    pub outages: &'a [Outage],
    /// Outages outside every window of a fault, as detection times.
    pub undisturbed: Vec<Duration>,
    pub switches: u64,
    pub false_switches: u64,
    pub unrecovered: u64,
    pub violations: Vec<String>,
}

fn over_floor(span: Duration) -> f64 {
    (span.as_secs_f64() / FLOOR.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The value that a part of a thousand stays below or at.
fn quantile(sorted: &[Duration], thousandths: usize) -> Value {
    let last = sorted.len().saturating_sub(1);
    let place = (sorted.len() * thousandths).div_ceil(1000).saturating_sub(1).min(last);
    sorted.get(place).map_or(Value::Null, |span| over_floor(*span).into())
}

impl Facts<'_> {
    /// The p99 of undisturbed detection times, over the floor.
    pub fn p99(&self) -> Option<f64> {
        let mut sorted = self.undisturbed.clone();
        sorted.sort();
        quantile(&sorted, 990).as_f64()
    }

    /// One line.
    pub fn line(&self) -> Value {
        let mut sorted = self.undisturbed.clone();
        sorted.sort();
        let mut all: Vec<Duration> =
            self.outages.iter().filter_map(|of| Some(of.switched?.saturating_duration_since(of.began))).collect();
        all.sort();
        let of = |sorted: &[Duration]| {
            json!({ "count": sorted.len(), "p50": quantile(sorted, 500), "p99": quantile(sorted, 990),
                    "max": quantile(sorted, 1000) })
        };
        let missed = self.outages.iter().filter(|of| of.switched.is_none()).count();
        json!({
            "event": "summary", "seed": self.seed, "seconds": self.seconds, "operations": self.operations,
            "outcomes": self.outcomes, "faults": self.faults,
            "outages": self.outages.len(), "outages_not_switched": missed,
            "switches": self.switches, "false_switches": self.false_switches, "not_whole_in_time": self.unrecovered,
            "floor_ms": u64::try_from(FLOOR.as_millis()).unwrap_or(u64::MAX),
            "detection_over_floor": of(&sorted), "detection_over_floor_with_faults": of(&all),
            "violations": self.violations,
        })
    }
}

/// The spans during which the nemesis held a fault, as the history tells them, in nanoseconds.
pub fn windows(ops: &[Op]) -> Vec<(u64, u64)> {
    let mut open = BTreeMap::<String, u64>::new();
    let mut windows = vec![];
    for op in ops.iter().filter(|op| op.process == Process::Nemesis && op.f == "fault") {
        let Edn::Map(entries) = &op.value else { continue };
        let of =
            |name: &str| entries.iter().find(|(key, _)| key.to_string() == name).map(|(_, value)| value.to_string());
        let (Some(id), Some(phase)) = (of(":id"), of(":phase")) else { continue };
        if phase == ":start" {
            open.insert(id, op.time);
        } else if let Some(from) = open.remove(&id) {
            windows.push((from, op.time));
        }
    }
    windows.extend(open.into_values().map(|from| (from, u64::MAX)));
    windows
}

#[test]
fn quantiles_are_of_the_sorted() {
    let spans: Vec<Duration> = (1..=100).map(|i| FLOOR * i).collect();
    assert_eq!(
        (quantile(&spans, 500), quantile(&spans, 990), quantile(&spans, 1000)),
        (50.0.into(), 99.0.into(), 100.0.into())
    );
    assert_eq!(quantile(&[], 990), Value::Null);
}
