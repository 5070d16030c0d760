//! Regions that die, hang, flap and become half-reachable, with the ground truth in the history.

use std::time::{Duration, Instant};

use quorate::demo::region::Health;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    edn::{Edn, key, map, vector},
    netns::Cut,
    services::{FALL, INTERVAL, Service},
    world::{Outage, World},
};

/// Dead for whoever asks, nodes that come later too.
const EVERYBODY: std::ops::Range<u64> = 1..100;
/// How long a region stays dead when nothing leaves it.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connections are reset.
    Die,
    /// Connections are taken, and nothing is answered.
    Hang,
    /// A majority of the sites does not reach it.
    MostlyUnreachable,
    /// One site does not reach it: no outage, and nothing may switch.
    HalfReachable,
    /// Down for less than `fall` probes, up, down …: no outage either.
    Flap,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Die, Self::Hang, Self::MostlyUnreachable, Self::HalfReachable, Self::Flap];

    pub fn word(self) -> &'static str {
        match self {
            Self::Die => "region-dies",
            Self::Hang => "region-hangs",
            Self::MostlyUnreachable => "region-mostly-unreachable",
            Self::HalfReachable => "region-half-reachable",
            Self::Flap => "region-flaps",
        }
    }
}

/// One service's regions, until the run is over.
pub struct Outages<'w> {
    world: &'w World,
    service: &'static Service,
    /// The name of its cuts.
    cut: Cut,
    random: StdRng,
    bag: Vec<Kind>,
}

impl<'w> Outages<'w> {
    pub fn new(world: &'w World, service: &'static Service, cut: u8, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { world, service, cut: Cut::Region(cut), random, bag: vec![] }
    }

    pub fn run(mut self) {
        while !self.world.is_over() {
            let Some(active) = self.quiet() else {
                self.world.rest(Duration::from_millis(300));
                continue;
            };
            self.world.rest(Duration::from_millis(self.random.random_range(0..2500)));
            if self.bag.is_empty() {
                self.bag = Kind::ALL.into();
                self.bag.shuffle(&mut self.random);
            }
            if let Some(kind) = self.bag.pop().filter(|_| !self.world.is_over()) {
                self.one(kind, active);
            }
        }
    }

    /// The active region, when the service serves it, both are up, and the cooldown is over in log time.
    fn quiet(&self) -> Option<usize> {
        let name = self.service.name;
        let app = self.world.verdict(name)?;
        let all_up = app["regions"].as_array()?.iter().all(|region| region["verdict"] == "up");
        let held = !app["drift"].is_null() || !app["trouble"].is_null() || !app["frozen"].is_null();
        if app["phase"] != "serving" || !all_up || held {
            return None;
        }
        let listed = self.world.fleet.any(&["--timeout", "3s", "switch", "list", name, "--limit", "1"]);
        let now = listed.json["read"]["log_time_ms"].as_u64()?;
        let last = &listed.json["switches"][0];
        let cooled = last["observed_log_ms"].as_u64()? + u64::try_from(self.service.cooldown.as_millis()).ok()?;
        let standing = self.world.witness.standing(name)?;
        let active = self.service.region_of(&standing.values)?;
        (now > cooled + 200 && app["active_region"] == self.service.regions[active].0).then_some(active)
    }

    fn tell(&self, active: usize, dead_for: impl IntoIterator<Item = u64>, outage: bool, kind: Kind) {
        let value = map([
            ("service", self.service.name.into()),
            ("region", self.service.regions[active].0.into()),
            ("dead-for", vector(dead_for)),
            ("outage", outage.into()),
            ("kind", key(kind.word())),
        ]);
        self.world.history.nemesis("region", value);
    }

    fn one(&mut self, kind: Kind, active: usize) {
        let region = &self.world.regions[self.service.name][active];
        match kind {
            Kind::Die | Kind::Hang => {
                self.tell(active, EVERYBODY, true, kind);
                region.set(if kind == Kind::Die { Health::Closed } else { Health::BlackHole });
                self.until_switched(kind, active);
                region.set(Health::Up);
                self.tell(active, [], false, kind);
            }
            Kind::Flap => {
                for _ in 0..4 {
                    // No site can see `fall` failures in a row.
                    let down = (INTERVAL * (FALL - 1))
                        .saturating_sub(Duration::from_millis(self.random.random_range(700..1200)));
                    self.tell(active, EVERYBODY, false, kind);
                    region.set(Health::Closed);
                    std::thread::sleep(down);
                    region.set(Health::Up);
                    self.tell(active, [], false, kind);
                    std::thread::sleep(INTERVAL + Duration::from_millis(self.random.random_range(400..900)));
                }
            }
            Kind::HalfReachable | Kind::MostlyUnreachable => {
                let members = self.world.membership.read().expect("no panic under the lock");
                let mut voters = self.world.voters();
                voters.shuffle(&mut self.random);
                let outage = kind == Kind::MostlyUnreachable;
                let cut = if outage { voters.len() / 2 + 1 } else { 1 };
                voters.truncate(cut);
                self.tell(active, voters.iter().copied(), outage, kind);
                let slots: Vec<u8> = voters.iter().map(|node| self.world.fleet.slot(*node)).collect();
                for slot in &slots {
                    self.world.fleet.net.cut_to_as(self.cut, *slot, region.address());
                }
                if outage {
                    self.until_switched(kind, active);
                } else {
                    self.world.rest(INTERVAL * (FALL + 3));
                }
                for slot in slots {
                    self.world.fleet.net.heal(slot, self.cut);
                }
                self.tell(active, [], false, kind);
                drop(members);
            }
        }
        self.world.history.nemesis("region-fault", Edn::Vector(vec![key(kind.word())]));
    }

    /// Waits until the record has left the region, and a little more.
    fn until_switched(&mut self, kind: Kind, active: usize) {
        let began = Instant::now();
        let left = || {
            let standing = self.world.witness.standing(self.service.name)?;
            (self.service.region_of(&standing.values) != Some(active)).then_some(standing.since)
        };
        let mut switched = left();
        while switched.is_none() && began.elapsed() < PATIENCE && !self.world.is_over() {
            std::thread::sleep(Duration::from_millis(20));
            switched = left();
        }
        if switched.is_some() || began.elapsed() >= PATIENCE {
            let outage = Outage { service: self.service.name, kind: kind.word(), began, switched };
            self.world.outages.lock().expect("no panic under the lock").push(outage);
        }
        self.world.rest(Duration::from_millis(self.random.random_range(0..1500)));
    }
}
