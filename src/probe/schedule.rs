//! When each endpoint is probed: on a fixed phase of its interval, by one task for all of them.
//!
//! The phase is the endpoint's own (a hash, the same at every site, so that endpoints spread over the interval) plus the
//! site's rank × interval / sites (so that the sites' probes of one endpoint interleave and a quorum sees a death sooner).
//! The wall clock, taken modulo the interval, places only the first probe; everything after follows the monotonic clock, so
//! that a jump of the wall clock neither stops nor bunches probes. A probe never waits for another, and no endpoint is
//! probed twice at once.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    Phase, Shared,
    check::{self, Client},
};
use crate::{
    core::{
        names::EndpointId,
        report::{Catalogue, Endpoint, Observation},
    },
    surroundings::WallClock,
};

/// The shortest interval that is kept to. Shorter ones, which no validated service has, are stretched.
const SHORTEST: Duration = Duration::from_millis(10);

/// Probes what the catalogue names for as long as it is polled; ends when nobody can change the catalogue any more.
pub(super) async fn run(
    shared: Arc<Shared>,
    client: Arc<Client>,
    mut catalogue: watch::Receiver<Arc<Catalogue>>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut schedule = Schedule::new(shared, client, *phase.borrow_and_update());
    let first = Arc::clone(&catalogue.borrow_and_update());
    schedule.follow(&first);
    loop {
        let due = schedule.next_due();
        tokio::select! {
            changed = catalogue.changed() => {
                if changed.is_err() {
                    return;
                }
                let new = Arc::clone(&catalogue.borrow_and_update());
                schedule.follow(&new);
            }
            Ok(()) = phase.changed() => {
                let new = *phase.borrow_and_update();
                schedule.rephase(new);
            }
            Some(done) = schedule.tasks.join_next() => schedule.finish(done),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => schedule.start_due(),
        }
    }
}

struct Schedule {
    shared: Arc<Shared>,
    client: Arc<Client>,
    phase: Phase,
    slots: BTreeMap<EndpointId, Slot>,
    /// When each slot is due. An entry whose turn is not the slot's is out of date and skipped.
    due: BinaryHeap<Reverse<(Instant, EndpointId, u64)>>,
    turn: u64,
    tasks: JoinSet<Done>,
}

struct Slot {
    endpoint: Arc<Endpoint>,
    turn: u64,
    running: Option<AbortHandle>,
}

struct Done {
    id: EndpointId,
    started: std::time::Instant,
    seen: Option<Observation>,
}

impl Schedule {
    fn new(shared: Arc<Shared>, client: Arc<Client>, phase: Phase) -> Self {
        let (slots, due) = (BTreeMap::new(), BinaryHeap::new());
        Self { shared, client, phase, slots, due, turn: 0, tasks: JoinSet::new() }
    }

    /// Starts and stops what changed; what did not change keeps its time and its run.
    fn follow(&mut self, catalogue: &Catalogue) {
        let named: BTreeMap<EndpointId, &Endpoint> = catalogue.endpoints.iter().map(|e| (e.id, e)).collect();
        let mut ledger = self.shared.ledger();
        self.slots.retain(|id, slot| {
            let named = named.get(id);
            let stays = named.is_some_and(|endpoint| endpoint.probe == slot.endpoint.probe);
            if !stays {
                slot.running.take().inspect(AbortHandle::abort);
                // A changed probe has a new number, so this restarts nothing as long as the state keeps to that.
                if named.is_some() { ledger.restart(*id) } else { ledger.forget(*id) }
            }
            stays
        });
        for endpoint in named.values() {
            ledger.watch(endpoint);
        }
        drop(ledger);
        for (id, endpoint) in named {
            let endpoint = Arc::new(endpoint.clone());
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.endpoint = endpoint;
            } else {
                self.slots.insert(id, Slot { endpoint, turn: 0, running: None });
                self.place(id, Duration::ZERO);
            }
        }
    }

    /// The site's rank or the number of sites changed: every endpoint moves to its new phase, after half an interval at
    /// least, so that none is asked twice in a row.
    fn rephase(&mut self, phase: Phase) {
        if self.phase == phase {
            return;
        }
        self.phase = phase;
        let ids: Vec<EndpointId> = self.slots.keys().copied().collect();
        for id in ids {
            let pause = self.slots[&id].endpoint.probe.interval / 2;
            self.place(id, pause);
        }
    }

    /// Plans the next probe on the endpoint's phase by the wall clock, no sooner than after `pause`.
    fn place(&mut self, id: EndpointId, pause: Duration) {
        let Some(slot) = self.slots.get(&id) else { return };
        let wall = WallClock::default().now();
        let wait = until_phase(wall + pause, interval(&slot.endpoint), offset(&slot.endpoint, self.phase));
        self.plan(id, Instant::now() + pause + wait);
    }

    fn plan(&mut self, id: EndpointId, at: Instant) {
        self.turn += 1;
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.turn = self.turn;
            self.due.push(Reverse((at, id, self.turn)));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Starts every probe that is due and plans the next of each.
    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, id, turn))) = self.due.peek().copied().filter(|Reverse((at, ..))| *at <= now) {
            self.due.pop();
            let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.turn == turn) else { continue };
            let endpoint = Arc::clone(&slot.endpoint);
            if slot.running.is_none() {
                let client = Arc::clone(&self.client);
                slot.running = Some(self.tasks.spawn(probe(client, Arc::clone(&endpoint))));
            }
            self.plan(id, following(at, now, interval(&endpoint)));
        }
    }

    /// Counts a result. A probe without one was aborted, because the catalogue dropped it.
    fn finish(&mut self, done: Result<Done, JoinError>) {
        let Ok(Done { id, started, seen }) = done else { return };
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.running = None;
        }
        if let Some(seen) = seen {
            self.shared.observe(id, seen, started);
        }
    }
}

async fn probe(client: Arc<Client>, endpoint: Arc<Endpoint>) -> Done {
    let started = Instant::now().into_std();
    let seen = check::run(&client, &endpoint.probe, Some(&endpoint.region)).await;
    Done { id: endpoint.id, started, seen }
}

fn interval(endpoint: &Endpoint) -> Duration {
    endpoint.probe.interval.max(SHORTEST)
}

/// Where in its interval the endpoint is probed from this site.
fn offset(endpoint: &Endpoint, phase: Phase) -> Duration {
    let identity = format!("{}/{}/{}", endpoint.service, endpoint.region, endpoint.id);
    let digest = Sha256::digest(identity.as_bytes());
    let hash = digest.iter().take(4).fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
    let interval = nanos(interval(endpoint));
    // The hash has 32 bits, so the product of an interval of at most 136 years fits 128.
    let own = (u128::from(interval) * u128::from(hash)) >> 32;
    let sites = u128::from(phase.sites.max(1));
    let site = u128::from(interval) * (u128::from(phase.rank) % sites) / sites;
    Duration::from_nanos(u64::try_from((own + site) % u128::from(interval)).unwrap_or(0))
}

/// How long from `wall` until the wall clock modulo `interval` is `offset`.
fn until_phase(wall: Duration, interval: Duration, offset: Duration) -> Duration {
    let (interval, offset) = (interval.as_nanos(), offset.as_nanos());
    let wait = (offset + interval - wall.as_nanos() % interval) % interval;
    Duration::from_nanos(u64::try_from(wait).unwrap_or(0))
}

/// The first time after `now` on the phase of `at`: what was slept through is skipped, not caught up with.
fn following(at: Instant, now: Instant, interval: Duration) -> Instant {
    let late = nanos(now.saturating_duration_since(at));
    at + interval + Duration::from_nanos(late - late % nanos(interval))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::service::{Check, Probe, Target, TcpCheck};

    fn endpoint(id: u32, interval: Duration) -> Endpoint {
        let target = Target { host: "127.0.0.1".into(), port: 1 };
        let check = Check::Tcp(TcpCheck { target, send: None, expect: None });
        let probe = Probe { interval, timeout: interval / 2, check };
        Endpoint {
            id: EndpointId(id),
            service: "app".parse().unwrap(),
            region: "eu".parse().unwrap(),
            probe,
            settle: 3,
        }
    }

    #[test]
    fn endpoints_spread_over_the_interval() {
        let interval = Duration::from_secs(2);
        let mut tenths = [0; 10];
        for id in 0..1000 {
            let at = offset(&endpoint(id, interval), Phase { rank: 0, sites: 3 });
            tenths[usize::try_from(at.as_millis() / 200).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }

    #[test]
    fn sites_interleave() {
        let interval = Duration::from_secs(3);
        for id in 0..50 {
            let at = |rank| offset(&endpoint(id, interval), Phase { rank, sites: 3 }).as_millis();
            let mut times = [at(0), at(1), at(2)];
            times.sort_unstable();
            for gap in [times[1] - times[0], times[2] - times[1], 3000 + times[0] - times[2]] {
                assert!((999..=1001).contains(&gap), "{times:?}");
            }
        }
    }

    #[test]
    fn a_phase_is_fixed_for_good() {
        // What this pins must not change between releases: sites of different releases run together.
        let at = offset(&endpoint(7, Duration::from_secs(2)), Phase { rank: 1, sites: 3 });
        assert_eq!(at.as_millis(), 563);
    }

    #[test]
    fn waits_end_on_the_phase() {
        let ms = Duration::from_millis;
        for (wall, offset, expected) in
            [(0, 0, 0), (0, 300, 300), (10_300, 300, 0), (10_301, 300, 999), (10_299, 300, 1)]
        {
            assert_eq!(until_phase(ms(wall), ms(1000), ms(offset)), ms(expected), "{wall} {offset}");
        }
    }

    #[test]
    fn what_was_slept_through_is_skipped() {
        let (at, ms) = (Instant::now(), Duration::from_millis);
        for (late, expected) in [(0, 1000), (1, 1000), (999, 1000), (1000, 2000), (5500, 6000)] {
            assert_eq!(following(at, at + ms(late), ms(1000)), at + ms(expected), "{late}");
        }
    }
}
