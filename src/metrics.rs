//! What Prometheus scrapes: counters that the process keeps, and gauges read from the state at the time of the scrape.
//!
//! The gauges are made anew for each scrape, so that a service that was removed leaves no series behind.

use std::sync::Arc;

use metrics::{describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::{
    core::{
        state::{ServiceState, State},
        verdict::Verdict,
    },
    grpc::{self, Cluster, ReadInfo},
    http::Shown,
};

/// What the HTTP side shows of a node.
pub struct Front {
    cluster: Arc<dyn Cluster>,
    counters: PrometheusHandle,
}

/// Keeps counters from here on; once a process.
///
/// # Errors
/// They are kept already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

impl Front {
    /// Shows `cluster`, and the counters that [`install`] keeps.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>, counters: PrometheusHandle) -> Self {
        Self { cluster, counters }
    }
}

impl Shown for Front {
    fn ready(&self) -> Result<(), String> {
        grpc::ready(&*self.cluster)
    }

    fn verdicts(&self) -> serde_json::Value {
        grpc::verdicts_json(&*self.cluster)
    }

    fn metrics(&self) -> String {
        self.counters.run_upkeep();
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || self.cluster.with_state(&mut |state, read| gauges(state, read)));
        format!("{}{}", self.counters.render(), recorder.handle().render())
    }
}

/// Counts fit a gauge exactly up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "indices and epochs stay far below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

fn gauges(state: &State, read: ReadInfo) {
    describe_gauge!("quorate_applied_index", "The last log entry in this node's state");
    describe_gauge!("quorate_term", "The term of that entry");
    describe_gauge!("quorate_log_time_seconds", "The cluster's clock, which stands still without a leader");
    describe_gauge!("quorate_state_age_seconds", "How long ago this node last heard from a leader");
    describe_gauge!("quorate_region_verdict", "1 up, 0 undecided, -1 down");
    describe_gauge!("quorate_region_sites", "How many sites of the electorate hold the opinion");
    describe_gauge!("quorate_region_active", "1 for the region that the record answers, or shall");
    describe_gauge!("quorate_service_epoch", "The number of the service's last switch");
    describe_gauge!("quorate_service_switch_open", "1 while a switch is neither observed nor superseded");
    describe_gauge!("quorate_service_frozen", "1 while automatic switches are held");
    describe_gauge!("quorate_service_drift", "1 while the provider answers what nobody here wrote");
    describe_gauge!("quorate_service_trouble", "1 while something keeps a switch or the adoption from settling");
    gauge!("quorate_applied_index").set(count(read.position.index));
    gauge!("quorate_term").set(count(read.position.term));
    gauge!("quorate_log_time_seconds").set(count(read.log_time.0) / 1000.0);
    if let Some(age) = read.age {
        gauge!("quorate_state_age_seconds").set(age.as_secs_f64());
    }
    for service in state.services.values() {
        service_gauges(state, service);
    }
}

fn service_gauges(state: &State, service: &ServiceState) {
    let name = service.service.name.to_string();
    gauge!("quorate_service_epoch", "service" => name.clone()).set(count(service.epoch.0));
    let frozen = service.frozen.is_some() || state.freeze.is_some();
    for (metric, set) in [
        ("quorate_service_switch_open", service.open.is_some()),
        ("quorate_service_frozen", frozen),
        ("quorate_service_drift", service.drift.is_some()),
        ("quorate_service_trouble", service.trouble.is_some()),
    ] {
        gauge!(metric, "service" => name.clone()).set(flag(set));
    }
    for region in &service.service.regions {
        let labels = [("service", name.clone()), ("region", region.name.to_string())];
        let verdict = match service.verdict(&region.name) {
            Verdict::Up => 1.0,
            Verdict::Undecided => 0.0,
            Verdict::Down => -1.0,
        };
        gauge!("quorate_region_verdict", &labels).set(verdict);
        gauge!("quorate_region_active", &labels).set(flag(service.target() == Some(&region.name)));
        let tally = state.tally(service, &region.name);
        let unknown = tally.sites.saturating_sub(tally.up).saturating_sub(tally.down);
        for (opinion, sites) in [("up", tally.up), ("down", tally.down), ("unknown", unknown)] {
            let [service, region] = labels.clone();
            gauge!("quorate_region_sites", &[service, region, ("opinion", opinion.into())]).set(f64::from(sites));
        }
    }
}
