//! The side of the observations: sites that see differently, go blind or fall silent, elections, and wall clocks that jump.
//!
//! What a switch rested on is counted a second time here, from what truly happened: which site reported what, in which term,
//! and how long ago by a clock that nothing disturbs. The reports, the stamps, the verdicts, `due` and `apply` are the
//! product's.

use std::{collections::HashMap, sync::Mutex};

use quorate::core::{
    names::{Epoch, LogTime, NodeId},
    report::{Outcome, Report, Run},
    state::{Action, Command, Position, Response, State},
    switch::{Cause, Evidence, Intent},
};
use stateright::{Model, Property};

use super::tables::{Numbered, REGIONS, region_number, service_of};

/// One step of time in ms: an opinion counts for one, and the cooldown is two.
const STEP: u64 = 10_000;
const WALL: u64 = 1_795_392_000_000;
const HOUR: u64 = 3_600_000;

/// What a site says of the two regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sight {
    /// The region of this number is down, the other one up.
    Down(u8),
    /// Its own controls fail.
    Blind,
}

/// What truly was reported last by a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Told {
    sight: Sight,
    term: u8,
    at: u8,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sky {
    core: u16,
    term: u8,
    /// The leader's clock.
    now: u64,
    /// Steps of time that truly passed.
    passed: u8,
    /// What the wall clock is off by, in hours.
    jumped: i8,
    sites: [Option<Told>; 3],
    reports: u8,
    /// When the last automatic switch was over, and how many there were.
    switched: Option<u8>,
    switches: u8,
    fault: Option<&'static str>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A site reports, and the leader has it committed.
    Reports(u8, Sight),
    /// Time passes.
    Passes,
    /// Another leader.
    Elect,
    /// The leader's wall clock jumps by hours.
    WallJumps(i8),
    /// The leader proposes what is due; the provider and the nameservers take it at once.
    Due,
}

/// How much of each there is, and the states of the core under numbers.
pub struct Sights {
    pub reports: u8,
    pub passes: u8,
    pub terms: u8,
    states: Mutex<Numbered<State>>,
    due: Mutex<HashMap<u16, bool>>,
}

impl Sights {
    pub fn new(reports: u8, passes: u8, terms: u8) -> Self {
        Self { reports, passes, terms, states: Mutex::default(), due: Mutex::default() }
    }

    fn keep(&self, mut state: State) -> u16 {
        for view in state.views.values_mut() {
            view.seq = 1;
        }
        for of in state.services.values_mut() {
            of.history.clear();
            for standing in of.verdicts.values_mut() {
                standing.since = LogTime(0);
            }
            if let Some(open) = &mut of.open {
                open.evidence = Evidence::default();
            }
        }
        self.states.lock().unwrap().number(serde_json::to_string(&state).expect("a state is JSON"), state)
    }

    fn core(&self, number: u16) -> State {
        (*self.states.lock().unwrap().get(number)).clone()
    }
}

impl Sky {
    fn command(&self, action: Action) -> Command {
        let off = i64::from(self.jumped) * i64::try_from(HOUR).unwrap();
        let wall = (WALL + u64::from(self.passed) * STEP).saturating_add_signed(off);
        Command::stamped(LogTime(self.now), wall, action)
    }

    fn apply(&self, state: &mut State, action: Action) -> Response {
        state.apply(Position { term: self.term.into(), index: 1 }, &self.command(action))
    }

    /// How many sites truly say that a region is down, or up: heard in this term, not too long ago, and not blind.
    fn count(&self, wanted: Sight) -> usize {
        let fresh = |told: &&Told| told.term == self.term && self.passed - told.at <= 1;
        self.sites.iter().flatten().filter(fresh).filter(|told| told.sight == wanted).count()
    }

    fn switches_now(&mut self, state: &mut State) {
        for action in state.due() {
            let Action::Authorise(intent) = &action else { continue };
            let (service, epoch, to) = (intent.service.clone(), intent.epoch, region_number(intent.to.as_str()));
            let Response::Authorised(_) = self.apply(state, action.clone()) else { continue };
            // Of two regions one is down and the other up, so that one count is enough.
            if self.count(Sight::Down(1 - to)) < 2 {
                self.fault = Some("3");
            } else if self.switched.is_some_and(|at| self.passed - at < 2) {
                self.fault = Some("11");
            }
            (self.switched, self.switches) = (Some(self.passed), self.switches + 1);
            let receipts = std::collections::BTreeMap::new();
            self.apply(state, Action::Written { service: service.clone(), epoch, receipts });
            self.apply(state, Action::Observed { service, epoch, answers: vec![] });
        }
    }
}

impl Model for Sights {
    type State = Sky;
    type Action = Event;

    fn init_states(&self) -> Vec<Sky> {
        let mut state = State::default();
        let sites = (1..=3).zip(["a", "b", "c"].map(|site| site.parse().unwrap())).collect();
        state.set_voters(Position { term: 1, index: 1 }, sites);
        let policy = "fall = 1\nrise = 1\ncooldown = '20s'\nopinion_ttl = '10s'\n";
        let text = super::tables::source(0, policy);
        let (service, _) = quorate::service_file::parse(&text).unwrap();
        let name = service.name.clone();
        let mut sky = Sky {
            core: 0,
            term: 1,
            now: 0,
            passed: 0,
            jumped: 0,
            sites: [None; 3],
            reports: 0,
            switched: None,
            switches: 0,
            fault: None,
        };
        let to = REGIONS[0].parse().unwrap();
        let adopt = Intent { service: name.clone(), epoch: Epoch(1), to, cause: Cause::Adopt };
        for action in [
            Action::ApplyService { service: Box::new(service), source: text, by: "ada".into(), exclusive: true },
            Action::Authorise(adopt),
            Action::Written { service: name.clone(), epoch: Epoch(1), receipts: std::collections::BTreeMap::new() },
            Action::Observed { service: name, epoch: Epoch(1), answers: vec![] },
        ] {
            assert!(!matches!(sky.apply(&mut state, action), Response::Refused(_)));
        }
        sky.core = self.keep(state);
        vec![sky]
    }

    fn actions(&self, sky: &Sky, events: &mut Vec<Event>) {
        if sky.reports < self.reports {
            for site in 0..3 {
                // The sites are alike: whoever never spoke does so in their order.
                if site == 0 || sky.sites[usize::from(site) - 1].is_some() {
                    events.extend([Sight::Down(0), Sight::Down(1), Sight::Blind].map(|s| Event::Reports(site, s)));
                }
            }
        }
        if sky.passed < self.passes {
            events.push(Event::Passes);
        }
        if sky.term < self.terms {
            events.push(Event::Elect);
        }
        if sky.jumped == 0 {
            events.extend([Event::WallJumps(-1), Event::WallJumps(1)]);
        }
        let known = self.due.lock().unwrap().get(&sky.core).copied();
        let due = known.unwrap_or_else(|| !self.core(sky.core).due().is_empty());
        self.due.lock().unwrap().insert(sky.core, due);
        if due {
            events.push(Event::Due);
        }
    }

    fn next_state(&self, sky: &Sky, event: Event) -> Option<Sky> {
        let mut next = sky.clone();
        let mut state = self.core(sky.core);
        match event {
            Event::Passes => {
                next.passed += 1;
                next.now += STEP;
                return Some(next);
            }
            Event::WallJumps(hours) => {
                next.jumped = hours;
                return Some(next);
            }
            Event::Elect => {
                next.term += 1;
                // Log time stood still since the last entry.
                next.now = state.log_time.0;
                state.enter_term(Position { term: next.term.into(), index: 1 });
            }
            Event::Reports(site, sight) => {
                next.reports += 1;
                next.sites[usize::from(site)] = Some(Told { sight, term: sky.term, at: sky.passed });
                let report = report(&state, u64::from(site) + 1, sight);
                next.apply(&mut state, Action::Reports(vec![report]));
            }
            Event::Due => next.switches_now(&mut state),
        }
        next.core = self.keep(state);
        (next != *sky).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("3 and 4: a quorum of distinct, seeing, fresh sites of this term", |_, sky: &Sky| {
                sky.fault != Some("3")
            }),
            Property::always("11: no automatic switch within the cooldown", |_, sky: &Sky| sky.fault != Some("11")),
            Property::sometimes("reached: a switch under a second leader", |_, sky: &Sky| {
                sky.term == 2 && sky.switches == 1 && sky.sites.iter().flatten().all(|told| told.term == 2)
            }),
            Property::sometimes("reached: back after the cooldown", |_, sky: &Sky| sky.switches == 2),
            Property::sometimes("reached: a switch although one site is blind", |_, sky: &Sky| {
                sky.switches == 1 && sky.sites.iter().flatten().any(|told| told.sight == Sight::Blind)
            }),
        ]
    }
}

fn report(state: &State, node: NodeId, sight: Sight) -> Report {
    let run = |(region, ids): (u8, &Vec<_>)| Run {
        endpoint: ids[0],
        outcome: if sight == Sight::Down(region) { Outcome::Fail } else { Outcome::Pass },
        number: 1,
        count: 1,
        before: None,
        reason: String::new(),
        dependencies: vec![],
    };
    let blind = (sight == Sight::Blind).then(|| "most controls fail".to_owned());
    let runs = (0..).zip(&service_of(state).endpoints).map(run).filter(|_| blind.is_none()).collect();
    let seq = state.views.get(&node).map_or(0, |view| view.seq) + 1;
    Report { node, seq, base: None, blind, runs, lost: vec![], unchanged: 0, sight: None, waited: 0 }
}
