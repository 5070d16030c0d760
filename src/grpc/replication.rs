//! What is measured of tables, as the protocol says it.

use super::convert;
use crate::{
    core::{
        service::Region,
        state::{ServiceState, State},
    },
    proto::v1,
};

/// Every region of a service with a table but the active one.
pub fn of(state: &State, service: &ServiceState) -> Vec<v1::Replication> {
    let active = service.target();
    let others = service.service.regions.iter().filter(|region| Some(&region.name) != active);
    others.filter_map(|region| one(state, service, region)).collect()
}

fn one(state: &State, service: &ServiceState, region: &Region) -> Option<v1::Replication> {
    let table = region.dynamodb.as_ref()?;
    let behind = state.behind(service, &region.name);
    let mut gates = state.gates(service, region).into_iter();
    let mut gate = || gates.next().map(|reading| convert::rule(state.log_time, reading));
    let read = state.gauge(service, &region.name).ok();
    Some(v1::Replication {
        service: service.service.name.to_string(),
        region: region.name.to_string(),
        table: table.table.clone(),
        aws_region: table.region.clone(),
        through: service.target().map(ToString::to_string).unwrap_or_default(),
        replica: gate(),
        lag: gate(),
        lag_ms: behind.bound.map(convert::ms),
        lag_text: behind.text,
        limit_ms: service.service.policy.max_replication_lag.map(convert::ms),
        read_ms_ago: read.map(|gauged| convert::ms(state.log_time.since(gauged.stamp.at))),
    })
}
