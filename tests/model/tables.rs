//! The product's pure functions, each asked once: whatever they answer is kept under a small number, so that a state of the
//! model is a handful of numbers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use quorate::{
    core::{
        names::{ClusterId, EndpointId, Epoch, LogTime, ServiceName},
        record::{Fence, Record, RrSet},
        report::{Outcome, Report, Run},
        safety::Rule,
        state::{Action, Command, Position, Response, ServiceState, State},
        switch::{Cause, Evidence, Intent},
    },
    dns::{Change, FenceReading, Grade, Reading},
    leader::{
        plan::{Step, Wanted, step},
        reconcile::{Standing, compare},
    },
};

pub const COOLDOWN: Duration = Duration::from_mins(10);
/// The regions in the order of preference. The first is down, as all three sites see it; the second is up.
pub const REGIONS: [&str; 2] = ["west", "east"];

/// Values under numbers; equal ones have one number.
pub struct Numbered<T> {
    items: Vec<Arc<T>>,
    numbers: HashMap<String, u16>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { items: vec![], numbers: HashMap::new() }
    }
}

impl<T> Numbered<T> {
    pub fn number(&mut self, key: String, item: T) -> u16 {
        let next = u16::try_from(self.items.len()).expect("too many values for the model's numbers");
        *self.numbers.entry(key).or_insert_with(|| {
            self.items.push(Arc::new(item));
            next
        })
    }

    pub fn get(&self, number: u16) -> Arc<T> {
        self.items[usize::from(number)].clone()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }
}

/// What is appended to the log. The rest of the command follows from the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// All three sites report; `late`: after the cooldown.
    Hear { late: bool },
    /// A proposal of the leader that was due when it was made.
    Proposal(u16),
    /// An operator asks, and overrides cooldown and verdict by name.
    Manual { to: u8 },
    /// An operator changes his mind.
    Abort,
    /// The provider accepted.
    Written(u8),
    /// The nameservers were asked.
    Observed,
}

/// What a leader works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    pub epoch: u8,
    pub to: u8,
    /// No switch is open: what stands is compared with what should.
    pub look: bool,
}

/// What the leader does about a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// It stands as wanted: told to the log.
    Stands,
    /// This change is sent.
    Write(u16),
    /// Nothing: it is another's, or newer, or the product refuses by itself.
    Nothing,
}

/// What the model asks of a state of the core again and again.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The last epoch.
    pub epoch: u8,
    /// What the leader would work on.
    pub job: Option<Job>,
    /// The open switch waits for the nameservers.
    pub observes: bool,
    /// It was authorised in this term.
    pub authorised: Option<u64>,
    /// The open switch can be aborted.
    pub aborts: bool,
    /// Where the record is, or is going.
    pub target: Option<u8>,
    /// Region and epoch that the log last called written.
    pub written: Option<(u8, u8)>,
    /// The invariant, of 1 and 11, that the state violates.
    pub wrong: Option<&'static str>,
}

impl Facts {
    fn of(state: &State) -> Self {
        let of = service_of(state);
        let small = |epoch: Epoch| u8::try_from(epoch.0).unwrap();
        let job = match &of.open {
            Some(open) if open.written.is_some() => None,
            Some(open) => Some(Job { epoch: small(of.epoch), to: region_number(open.to.as_str()), look: false }),
            None => {
                of.active.as_ref().map(|at| Job { epoch: small(of.epoch), to: region_number(at.as_str()), look: true })
            }
        };
        let written = of.switches().find(|switch| switch.written.is_some());
        Self {
            epoch: small(of.epoch),
            job,
            observes: of.open.as_ref().is_some_and(|open| open.written.is_some()),
            authorised: of.open.as_ref().map(|open| open.authorised.term),
            aborts: of.before_open().is_ok(),
            target: of.target().map(|region| region_number(region.as_str())),
            written: written.map(|switch| (region_number(switch.to.as_str()), small(switch.epoch))),
            wrong: super::judge::judge(state),
        }
    }
}

#[derive(Default)]
pub struct Tables {
    pub states: Numbered<State>,
    facts: Vec<Facts>,
    pub readings: Numbered<Reading>,
    pub changes: Numbered<Change>,
    pub proposals: Numbered<Action>,
    applied: HashMap<(u16, u8, Entry, bool), u16>,
    due: HashMap<(u16, u8), Option<(u16, u16)>>,
    deeds: HashMap<(u8, Job, u16), Deed>,
    standing: HashMap<(u8, u8, Option<u8>), u16>,
    regions: HashMap<u16, bool>,
    /// The clusters as they began.
    first: Vec<u16>,
}

pub fn service_of(state: &State) -> &ServiceState {
    state.services.values().next().expect("one service")
}

pub fn region_number(name: &str) -> u8 {
    u8::try_from(REGIONS.iter().position(|region| *region == name).expect("a known region")).unwrap()
}

/// The clusters that may share the record.
pub fn cluster_id(cluster: u8) -> ClusterId {
    ["prod", "rival"][usize::from(cluster)].parse().unwrap()
}

/// The service file of a cluster: both claim the values of `west`, each has its own of `east`.
pub fn source(cluster: u8, policy: &str) -> String {
    let mut text = String::from(
        "name = 'app'\n[[record]]\nprovider = 'main'\nzone = 'example.com'\nname = 'app'\ntype = 'A'\nttl = 60\n",
    );
    for (i, region) in REGIONS.iter().enumerate() {
        let value = format!("192.0.2.{}", 1 + i * usize::from(1 + cluster));
        let _ = writeln!(text, "[[region]]\nname = '{region}'\nvalues = {{ A = ['{value}'] }}");
        let _ = writeln!(text, "[region.probe]\ntcp = '{value}:443'\ninterval = '2s'\ntimeout = '1s'");
    }
    text + "[policy]\n" + policy
}

impl Tables {
    /// A cluster whose service is adopted and stands in `west` under epoch 1, or, unadopted, wants to be.
    pub fn cluster(&mut self, cluster: u8, adopted: bool) -> u16 {
        let mut state = State::default();
        let at = Position { term: 1, index: 1 };
        state.set_voters(at, (1..=3).zip(["a", "b", "c"].map(|site| site.parse().unwrap())).collect());
        let text = source(cluster, "fall = 1\nrise = 1\n");
        let (service, _) = quorate::service_file::parse(&text).unwrap();
        let name = service.name.clone();
        let intent =
            Intent { service: name.clone(), epoch: Epoch(1), to: REGIONS[0].parse().unwrap(), cause: Cause::Adopt };
        let mut actions = vec![
            Action::ApplyService { service: Box::new(service), source: text, by: "ada".into(), exclusive: true },
            Action::Authorise(intent),
        ];
        if adopted {
            actions.push(Action::Written { service: name.clone(), epoch: Epoch(1), receipts: BTreeMap::new() });
            actions.push(Action::Observed { service: name, epoch: Epoch(1), answers: vec![] });
        }
        for action in actions {
            let response = state.apply(at, &Command { at: LogTime(0), wall: 0, action });
            assert!(!matches!(response, Response::Refused(_)), "{response:?}");
        }
        let first = self.state(state);
        self.first.push(first);
        first
    }

    /// Numbers a state, without what nothing rests on: states that differ in nothing else are one.
    fn state(&mut self, mut state: State) -> u16 {
        state.services.values_mut().for_each(forget_the_past);
        let facts = Facts::of(&state);
        let number = self.states.number(serde_json::to_string(&state).expect("a state is JSON"), state);
        if self.facts.len() < self.states.len() {
            self.facts.push(facts);
        }
        number
    }

    pub fn facts(&self, log: u16) -> Facts {
        self.facts[usize::from(log)]
    }

    pub fn reading(&mut self, reading: Reading) -> u16 {
        self.readings.number(format!("{reading:?}"), reading)
    }

    fn change(&mut self, change: Change) -> u16 {
        self.changes.number(format!("{change:?}"), change)
    }

    /// What the record of a cluster reads as when `to` is active under `epoch`; without an epoch, without a fence.
    pub fn standing(&mut self, cluster: u8, to: u8, epoch: Option<u8>) -> u16 {
        if let Some(known) = self.standing.get(&(cluster, to, epoch)) {
            return *known;
        }
        let (_, rrset) = answers(&self.states.get(self.first[usize::from(cluster)]), to);
        let fence = epoch.map(|epoch| Fence { cluster: cluster_id(cluster), epoch: Epoch(epoch.into()) });
        let fence = fence.map_or(FenceReading::Absent, FenceReading::Present);
        let number = self.reading(Reading { rrset: Some(rrset), fence });
        self.standing.insert((cluster, to, epoch), number);
        number
    }

    /// Whether a reading is a region's values, and not nothing.
    pub fn is_a_regions(&mut self, reading: u16) -> bool {
        if let Some(known) = self.regions.get(&reading) {
            return *known;
        }
        let found = self.readings.get(reading).rrset.clone();
        let is = |(log, to): (&u16, u8)| Some(answers(&self.states.get(*log), to).1) == found;
        let known = self.first.iter().any(|log| is((log, 0)) || is((log, 1)));
        let known = known && found.is_some_and(|rrset| !rrset.values.is_empty());
        self.regions.insert(reading, known);
        known
    }

    /// Commits an entry: `State::apply`. Index and wall time stand still: nothing rests on them. What the sites reported is
    /// kept while a proposal waits to be checked against it, and `forget`: else it is reported again before it counts.
    pub fn commit(&mut self, log: u16, term: u8, entry: Entry, forget: bool) -> u16 {
        if let Some(known) = self.applied.get(&(log, term, entry, forget)) {
            return *known;
        }
        let mut state = (*self.states.get(log)).clone();
        let position = Position { term: term.into(), index: 1 };
        let at = if entry == (Entry::Hear { late: true }) { state.log_time.after(COOLDOWN) } else { state.log_time };
        let action = self.action(&state, entry);
        state.apply(position, &Command::stamped(at, 0, action));
        if forget {
            state.views.clear();
            state.position = Position { term: 1, index: 1 };
            for of in state.services.values_mut() {
                of.verdicts.clear();
            }
        }
        let number = self.state(state);
        let (before, after) = (self.facts(log).epoch, self.facts(number).epoch);
        if after != before && after != before + 1 {
            self.facts[usize::from(number)].wrong = Some("1: the epochs do not rise by exactly one");
        }
        self.applied.insert((log, term, entry, forget), number);
        number
    }

    /// All sites report, and what is due then: at once, or else after the cooldown. The log after the reports, the proposal.
    pub fn due(&mut self, log: u16, term: u8) -> Option<(u16, u16)> {
        if let Some(known) = self.due.get(&(log, term)) {
            return *known;
        }
        let due = [false, true].into_iter().find_map(|late| {
            let heard = self.commit(log, term, Entry::Hear { late }, false);
            let action = self.states.get(heard).due().pop()?;
            Some((heard, self.proposals.number(format!("{action:?}"), action)))
        });
        self.due.insert((log, term), due);
        due
    }

    fn action(&self, state: &State, entry: Entry) -> Action {
        let of = service_of(state);
        let service: ServiceName = of.service.name.clone();
        let intent = |to: &str, cause| {
            let to = to.parse().unwrap();
            Action::Authorise(Intent { service: service.clone(), epoch: of.epoch.next(), to, cause })
        };
        match entry {
            Entry::Hear { .. } => Action::Reports(reports(state)),
            Entry::Proposal(number) => (*self.proposals.get(number)).clone(),
            Entry::Manual { to } => {
                let overrides = [Rule::Cooldown, Rule::CandidateUp].into();
                intent(
                    REGIONS[usize::from(to)],
                    Cause::Manual { by: "ada".into(), reason: "wants it".into(), overrides },
                )
            }
            Entry::Abort => {
                let back = of.before_open().map_or(REGIONS[0], |region| region.as_str());
                intent(back, Cause::Abort { by: "ada".into(), reason: "regrets it".into() })
            }
            Entry::Written(epoch) => Action::Written { service, epoch: Epoch(epoch.into()), receipts: BTreeMap::new() },
            Entry::Observed => Action::Observed { service, epoch: of.epoch, answers: vec![] },
        }
    }

    /// What the leader of a cluster does about `reading`.
    pub fn deed(&mut self, cluster: u8, job: Job, reading: u16, grade: Grade) -> Deed {
        let key = (cluster, job, reading);
        if let Some(known) = self.deeds.get(&key) {
            return *known;
        }
        let (state, found) = (self.states.get(self.first[usize::from(cluster)]), self.readings.get(reading));
        let (record, rrset) = answers(&state, job.to);
        let fence = Fence { cluster: cluster_id(cluster), epoch: Epoch(job.epoch.into()) };
        let ours = found.rrset.as_ref().is_none_or(|found| service_of(&state).is_ours(&record, found));
        let looked = job.look.then(|| compare(&record, &rrset, &fence, &found, grade == Grade::C && ours));
        let deed = if matches!(looked, Some(Standing::AsWritten | Standing::Drift(_))) {
            Deed::Nothing
        } else {
            let wanted = Wanted { record: &record, rrset: &rrset, fence: &fence, place: "", may_replace: ours };
            match step(wanted, (*found).clone()) {
                Step::Stands if job.look => Deed::Nothing,
                Step::Stands => Deed::Stands,
                Step::Write(change) if change.check().is_ok() => Deed::Write(self.change(*change)),
                Step::Write(_) | Step::Behind(_) | Step::Hold(_) => Deed::Nothing,
            }
        };
        self.deeds.insert(key, deed);
        deed
    }
}

/// Evidence, and of ended switches but the last all that is not about the budget: no rule asks for them.
fn forget_the_past(of: &mut ServiceState) {
    for standing in of.verdicts.values_mut() {
        standing.since = LogTime(0);
    }
    if let Some(open) = &mut of.open {
        open.evidence = Evidence::default();
    }
    let last = of.history.back().map(|last| last.epoch);
    of.history.retain(|switch| switch.cause.is_automatic() || Some(switch.epoch) == last);
    for switch in &mut of.history {
        switch.evidence = Evidence::default();
        switch.from = None;
        switch.authorised.term = 0;
        for at in [&mut switch.written, &mut switch.observed, &mut switch.superseded].into_iter().flatten() {
            at.term = 0;
        }
    }
}

/// What the one record answers while a region is active.
pub fn answers(state: &State, to: u8) -> (Record, RrSet) {
    let region = REGIONS[usize::from(to)].parse().unwrap();
    service_of(state).answers(&region).pop().expect("one record")
}

/// All three sites see `west` down and `east` up.
fn reports(state: &State) -> Vec<Report> {
    let of = service_of(state);
    let run = |(region, ids): (usize, &Vec<EndpointId>)| Run {
        endpoint: ids[0],
        outcome: if region == 0 { Outcome::Fail } else { Outcome::Pass },
        number: 1,
        count: 1,
        before: None,
        reason: String::new(),
        dependencies: vec![],
    };
    let report = |node: &u64| Report {
        node: *node,
        seq: state.views.get(node).map_or(0, |view| view.seq) + 1,
        base: None,
        blind: None,
        runs: of.endpoints.iter().enumerate().map(run).collect(),
        lost: vec![],
        unchanged: 0,
        sight: None,
        waited: 0,
    };
    state.voters.keys().map(report).collect()
}
