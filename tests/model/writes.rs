//! The side of the writes: leaders that are lost at every step, deposed leaders that go on, and requests that the network
//! keeps back, brings twice, in another order or not at all.
//!
//! Consensus is taken for granted: there is one log a cluster, its last term's leader alone appends to it, and nobody else
//! is confirmed by a quorum. Which of the three nodes holds a term makes no difference and is not told apart; that a node may
//! hold an old term while others elected a new one is the point of it. What is decided (`State::apply`, `State::due`), what is
//! done about a reading (`plan::step`, `reconcile::compare`), what may be sent (`plan::may_act`, `Change::check`) and when a
//! condition holds (`Change::holds_at`) are the product's own functions.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard},
};

use quorate::{
    dns::Grade,
    leader::{Lease, plan::may_act},
};
use stateright::{Model, Property};

use super::{
    rules,
    tables::{Deed, Entry, Job, Tables, cluster_id},
};

/// How large a world is gone through.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Terms a cluster.
    pub terms: u8,
    /// Switches besides the adoption.
    pub intents: u8,
    /// Clusters that claim the record: one or two.
    pub clusters: u8,
    /// Requests on the way at once.
    pub flight: usize,
    /// Time may pass between the quorum's answer and the reading, too. Without it the two are one step, and a deposed leader
    /// has read before it was deposed: one that reads later finds the same, or a newer epoch that ends its attempt.
    pub late_reading: bool,
    /// How the provider refuses.
    pub grade: Grade,
    /// Hold grade C to what A and B promise.
    pub as_if_refused: bool,
}

/// One term's leader, as far as its work goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Office {
    /// Nobody was elected to it yet.
    Vacant,
    /// Has nothing under way.
    Idle,
    /// Deposed, does not know it, and would act on the state as it was then: allowed only if belief is enough.
    Believes { job: Option<Job> },
    /// Took on a job; `confirmed`: a quorum confirmed it after the job's intent was committed.
    Sure { job: Job, confirmed: bool },
    /// Has read the provider.
    Read { job: Job, confirmed: bool, reading: u16, generation: u8 },
    /// Grade C: the values are on their way, the fence is to follow.
    Half { change: u16 },
    /// Dead, or told that it is deposed.
    Gone,
}

/// A cluster: its log and its leaders.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    pub log: u16,
    pub term: u8,
    pub offices: Vec<Office>,
    /// A proposal of the present leader that is not appended yet.
    pub proposed: Option<u16>,
}

/// What part of a change a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Values and fence, with the condition.
    Whole,
    /// Grade C: the values.
    Values,
    /// Grade C: the fence.
    Fence,
}

/// A request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    pub cluster: u8,
    pub change: u16,
    /// Grade B: the identity of what was read.
    pub generation: u8,
    pub part: Part,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub clusters: Vec<Cluster>,
    pub reading: u16,
    pub generation: u8,
    pub flight: BTreeSet<Request>,
    /// The invariant that the last step broke.
    pub fault: Option<&'static str>,
}

/// One step. Leaders are named by cluster and place in `offices`, the deposed ones in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Somebody else of the cluster is elected; the leader before does not know it.
    Elect(u8),
    /// The holder of a term dies, or learns that it is deposed.
    Dies(u8, u8),
    /// The leader appends an entry.
    Append(u8, Entry),
    /// The leader finds a switch due and makes the proposal; it is appended later.
    Propose(u8),
    /// The holder of a term asks a quorum and takes up what is to do.
    Confirm(u8, u8),
    /// It reads the provider.
    Reads(u8, u8),
    /// It does what follows from the reading.
    Acts(u8, u8),
    /// Grade C: the values were answered, the fence follows.
    Follows(u8, u8),
    /// It lets go: superseded, or the answer never came.
    LetsGo(u8, u8),
    /// The provider carries a request out, or refuses it; `again`: the network will bring it once more.
    Arrives { request: Request, again: bool },
    /// A request is lost.
    Lost(Request),
}

/// The world and what is remembered of the product's answers.
pub struct Writes {
    pub limits: Limits,
    tables: Mutex<Tables>,
    now: tokio::time::Instant,
}

impl Writes {
    pub fn new(limits: Limits) -> Self {
        Self { limits, tables: Mutex::default(), now: tokio::time::Instant::now() }
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Says a step with the words of the product.
    pub fn say(&self, step: Step) -> String {
        let tables = self.tables();
        match step {
            Step::Append(cluster, Entry::Proposal(number)) => {
                format!("{} appends {:?}", cluster_id(cluster), tables.proposals.get(number))
            }
            Step::Arrives { request, again } => {
                let change = tables.changes.get(request.change);
                let twice = if again { " (and will arrive again)" } else { "" };
                let part = words(request.part);
                format!("the provider carries out {part} of `{}`: {}{twice}", change.fence, change.rrset)
            }
            Step::Lost(request) => {
                format!("lost: {:?} of `{}`", request.part, tables.changes.get(request.change).fence)
            }
            step => format!("{step:?}"),
        }
    }
}

fn words(part: Part) -> &'static str {
    match part {
        Part::Whole => "the write",
        Part::Values => "the values",
        Part::Fence => "the fence",
    }
}

impl Cluster {
    fn holder(&mut self, term: u8) -> &mut Office {
        &mut self.offices[usize::from(term) - 1]
    }
}

impl Model for Writes {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut tables = self.tables();
        let alone = self.limits.clusters == 1;
        let logs: Vec<u16> = (0..self.limits.clusters).map(|cluster| tables.cluster(cluster, alone)).collect();
        let reading = tables.standing(0, 0, alone.then_some(1));
        let mut offices = vec![Office::Vacant; self.limits.terms.into()];
        offices[0] = Office::Idle;
        let clusters =
            logs.into_iter().map(|log| Cluster { log, term: 1, offices: offices.clone(), proposed: None }).collect();
        vec![World { clusters, reading, generation: 0, flight: BTreeSet::new(), fault: None }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let mut tables = self.tables();
        for id in 0..self.limits.clusters {
            let cluster = &world.clusters[usize::from(id)];
            self.appends(&mut tables, id, cluster, steps);
            for term in 1..=cluster.term {
                self.office_steps(&mut tables, world, (id, term), steps);
            }
            if cluster.term < self.limits.terms {
                steps.push(Step::Elect(id));
            }
        }
        for request in &world.flight {
            // What is refused changes nothing, as if it were lost.
            if self.takes(&tables, world, *request) {
                steps.push(Step::Arrives { request: *request, again: false });
                steps.push(Step::Arrives { request: *request, again: true });
            }
            steps.push(Step::Lost(*request));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut tables = self.tables();
        let mut next = world.clone();
        match step {
            Step::Elect(id) => elect(&tables, &mut next.clusters[usize::from(id)]),
            Step::Dies(id, term) => *next.clusters[usize::from(id)].holder(term) = Office::Gone,
            Step::LetsGo(id, term) => {
                let cluster = &mut next.clusters[usize::from(id)];
                *cluster.holder(term) = at_rest(cluster, term);
            }
            Step::Propose(id) => {
                let cluster = &mut next.clusters[usize::from(id)];
                let (log, proposal) = tables.due(cluster.log, cluster.term)?;
                (cluster.log, cluster.proposed) = (log, Some(proposal));
            }
            Step::Append(id, entry) => {
                let cluster = &mut next.clusters[usize::from(id)];
                if matches!(entry, Entry::Proposal(_)) {
                    cluster.proposed = None;
                }
                cluster.log = tables.commit(cluster.log, cluster.term, entry, cluster.proposed.is_none());
            }
            Step::Confirm(id, term) => {
                let cluster = &mut next.clusters[usize::from(id)];
                let job = match *cluster.holder(term) {
                    Office::Believes { job } => job,
                    _ => tables.facts(cluster.log).job,
                };
                // A quorum confirms the present leader alone, and then everything committed before is applied.
                let confirmed = cluster.term == term && job == tables.facts(cluster.log).job;
                let (job, reading, generation) = (job?, next.reading, next.generation);
                *cluster.holder(term) = if self.limits.late_reading {
                    Office::Sure { job, confirmed }
                } else {
                    Office::Read { job, confirmed, reading, generation }
                };
            }
            Step::Reads(id, term) => {
                let (reading, generation) = (next.reading, next.generation);
                let office = next.clusters[usize::from(id)].holder(term);
                let Office::Sure { job, confirmed } = *office else { return None };
                *office = Office::Read { job, confirmed, reading, generation };
            }
            Step::Acts(id, term) => self.acts(&mut tables, &mut next, id, term)?,
            Step::Follows(id, term) => Self::follows(&tables, &mut next, id, term)?,
            Step::Arrives { request, again } => {
                if !again {
                    next.flight.remove(&request);
                }
                self.arrives(&mut tables, &mut next, request);
            }
            Step::Lost(request) => drop(next.flight.remove(&request)),
        }
        drop(tables);
        // Which term a deposed leader once held makes no difference to what it can do.
        for cluster in &mut next.clusters {
            let present = usize::from(cluster.term) - 1;
            cluster.offices[..present].sort_unstable();
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::properties(self.limits)
    }
}

/// A new leader; whoever led before goes on with what it has begun, and takes up nothing new unless belief is enough.
fn elect(tables: &Tables, cluster: &mut Cluster) {
    let (term, job) = (cluster.term, tables.facts(cluster.log).job);
    let believes = may_act(u64::from(term), None);
    let old = cluster.holder(term);
    if *old == Office::Idle {
        *old = if believes { Office::Believes { job } } else { Office::Gone };
    }
    cluster.term += 1;
    cluster.proposed = None;
    *cluster.holder(term + 1) = Office::Idle;
}

/// Between two attempts.
fn at_rest(cluster: &Cluster, term: u8) -> Office {
    if cluster.term == term { Office::Idle } else { Office::Gone }
}

impl Writes {
    /// What the present leader of a cluster may append.
    fn appends(&self, tables: &mut Tables, id: u8, cluster: &Cluster, steps: &mut Vec<Step>) {
        let facts = tables.facts(cluster.log);
        if facts.observes {
            steps.push(Step::Append(id, Entry::Observed));
        }
        if let Some(proposal) = cluster.proposed {
            steps.push(Step::Append(id, Entry::Proposal(proposal)));
        }
        if self.limits.clusters > 1 || facts.epoch > self.limits.intents {
            return;
        }
        if cluster.proposed.is_none() && tables.due(cluster.log, cluster.term).is_some() {
            steps.push(Step::Propose(id));
        }
        let elsewhere = (0..2).filter(|to| facts.target != Some(*to));
        steps.extend(elsewhere.map(|to| Step::Append(id, Entry::Manual { to })));
        if facts.aborts {
            steps.push(Step::Append(id, Entry::Abort));
        }
    }

    fn office_steps(&self, tables: &mut Tables, world: &World, (id, term): (u8, u8), steps: &mut Vec<Step>) {
        let cluster = &world.clusters[usize::from(id)];
        let present = cluster.term == term;
        let office = cluster.offices[usize::from(term) - 1];
        let lease = present.then_some(Lease { term: term.into(), until: self.now });
        match office {
            Office::Vacant | Office::Gone => return,
            Office::Idle | Office::Believes { .. } => {
                let job = if let Office::Believes { job } = office { job } else { tables.facts(cluster.log).job };
                let job = job.filter(|_| may_act(term.into(), lease));
                let grade = self.limits.grade;
                if job.is_some_and(|job| tables.deed(id, job, world.reading, grade) != Deed::Nothing) {
                    steps.push(Step::Confirm(id, term));
                }
            }
            Office::Sure { job, .. } => {
                steps.push(Step::Reads(id, term));
                if present && tables.facts(cluster.log).job != Some(job) {
                    steps.push(Step::LetsGo(id, term));
                }
            }
            Office::Read { .. } => {
                if world.flight.len() < self.limits.flight {
                    steps.push(Step::Acts(id, term));
                }
                steps.push(Step::LetsGo(id, term));
            }
            Office::Half { change } => {
                let under_way = world.flight.iter().any(|r| r.change == change && r.part == Part::Values);
                if !under_way {
                    steps.push(Step::Follows(id, term));
                }
                steps.push(Step::LetsGo(id, term));
            }
        }
        if !present {
            steps.push(Step::Dies(id, term));
        }
    }

    fn acts(&self, tables: &mut Tables, next: &mut World, id: u8, term: u8) -> Option<()> {
        let standing = next.reading;
        let cluster = &mut next.clusters[usize::from(id)];
        let Office::Read { job, confirmed, reading, generation } = *cluster.holder(term) else { return None };
        let mut after = at_rest(cluster, term);
        match tables.deed(id, job, reading, self.limits.grade) {
            Deed::Nothing => {}
            Deed::Stands if cluster.term == term => {
                let forget = cluster.proposed.is_none();
                cluster.log = tables.commit(cluster.log, term, Entry::Written(job.epoch), forget);
            }
            // The log takes nothing from a leader of another term.
            Deed::Stands => {}
            Deed::Write(change) => {
                let whole = self.limits.grade != Grade::C;
                // Grade C looks once more before it edits, which is all that it can do.
                if whole || tables.changes.get(change).holds_at(&tables.readings.get(standing)) {
                    let part = if whole { Part::Whole } else { Part::Values };
                    let generation = if self.limits.grade == Grade::B { generation } else { 0 };
                    if !confirmed {
                        next.fault = Some("2: a write without a committed intent and a confirmed leader");
                    }
                    next.flight.insert(Request { cluster: id, change, generation, part });
                    after = if whole { after } else { Office::Half { change } };
                }
            }
        }
        *cluster.holder(term) = after;
        Some(())
    }

    /// Grade C: the values were answered; they are looked at once more, and the fence follows.
    fn follows(tables: &Tables, next: &mut World, id: u8, term: u8) -> Option<()> {
        let cluster = &mut next.clusters[usize::from(id)];
        let Office::Half { change } = *cluster.holder(term) else { return None };
        *cluster.holder(term) = at_rest(cluster, term);
        let (wanted, found) = (tables.changes.get(change), tables.readings.get(next.reading));
        if found.rrset.as_ref() == Some(&wanted.rrset) && found.fence == wanted.expected.fence {
            next.flight.insert(Request { cluster: id, change, generation: 0, part: Part::Fence });
        }
        Some(())
    }

    /// Whether the provider carries a request out: its grade in three lines.
    fn takes(&self, tables: &Tables, world: &World, request: Request) -> bool {
        let change = tables.changes.get(request.change);
        match self.limits.grade {
            Grade::A => change.holds_at(&tables.readings.get(world.reading)),
            Grade::B => change.condition().is_none() || request.generation == world.generation,
            Grade::C => true,
        }
    }

    fn arrives(&self, tables: &mut Tables, next: &mut World, request: Request) {
        let (change, mut found) = (tables.changes.get(request.change), (*tables.readings.get(next.reading)).clone());
        if self.limits.grade != Grade::C || self.limits.as_if_refused {
            next.fault = next.fault.or(rules::overwrites(&change, &found));
        }
        if request.part != Part::Fence {
            found.rrset = Some(change.rrset.clone());
        }
        if request.part != Part::Values {
            found.fence = quorate::dns::FenceReading::Present(change.fence.clone());
        }
        next.reading = tables.reading(found);
        if self.limits.grade == Grade::B {
            next.generation += 1;
        }
    }
}
