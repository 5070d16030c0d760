//! Readings of tables: what the meters find is committed when it says something new, and every so often when it does not.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Deposed, Log, Office};
use crate::{
    core::{
        gauge::Gauge,
        names::{RegionName, ServiceName},
        service::Table,
        state::{Action, ServiceState, State},
    },
    dynamodb::meter::{Author, Link, Meters},
};

/// From one look at the meters to the next.
const GLANCE: Duration = Duration::from_millis(200);

/// A region that some service may move to, and the link that tells whether it could.
struct Candidate {
    service: ServiceName,
    region: RegionName,
    through: RegionName,
    link: Link,
}

impl<L: Log> Office<L> {
    /// Measures what the services need for as long as the office is held.
    pub(super) async fn measure(self: Arc<Self>) {
        let clock = self.clock;
        let author =
            Author { cluster: self.tools.cluster.clone(), term: self.term, clock: Arc::new(move || clock.now()) };
        let mut meters = Meters::new(self.tools.tables.clone(), author, self.tools.heartbeat);
        let mut applied = self.log.applied();
        loop {
            let candidates = self.log.with_state(candidates);
            meters.follow(&candidates.iter().map(|of| of.link.clone()).collect::<BTreeSet<_>>());
            let gauge = |of: Candidate| {
                let Candidate { service, region, through, link } = of;
                let (replica, lag) = meters.reading(&link);
                Gauge { service, region, through, replica, lag }
            };
            let none = candidates.is_empty();
            let gauges: Vec<_> = candidates.into_iter().map(gauge).collect();
            let now = clock.now();
            let news = |state: &State| gauges.into_iter().filter(|of| state.wants(of, now)).collect::<Vec<_>>();
            let news = self.log.with_state(news);
            if !news.is_empty()
                && let Err(Deposed) = self.propose(Action::Gauges(news)).await
            {
                return;
            }
            if none && applied.changed().await.is_err() {
                return;
            }
            sleep(GLANCE).await;
        }
    }
}

/// Every region with a table but the active one, whose own table the heartbeats are written through.
fn candidates(state: &State) -> Vec<Candidate> {
    let of_service = |(name, service): (&ServiceName, &ServiceState)| {
        let through = service.target().and_then(|active| service.service.region(active));
        let Some((through, source)) = through.and_then(|of| Some((&of.name, of.dynamodb.as_ref()?))) else {
            return vec![];
        };
        let others = service.service.regions.iter().filter(|region| region.name != *through);
        let candidate = |(region, sink): (&RegionName, &Table)| Candidate {
            service: name.clone(),
            region: region.clone(),
            through: through.clone(),
            link: Link { table: source.table.clone(), through: source.region.clone(), read: sink.region.clone() },
        };
        others.filter_map(|region| Some(candidate((&region.name, region.dynamodb.as_ref()?)))).collect()
    };
    state.services.iter().flat_map(of_service).collect()
}
