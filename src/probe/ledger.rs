//! What a node knows, and what of it the cluster was told: observations go in, reports come out.
//!
//! Pure: it takes `Instant`s as data and does no I/O. It never judges (rise, fall and blindness of others are the state's
//! affair) and never counts what was gathered blind. The protocol is that of [`crate::core::report`]: at most one report
//! is in flight, and after one whose fate is unknown the next is full.
//!
//! ```text
//!             next_report            acked
//!   Idle ─────────────────▶ InFlight ──────▶ Idle, the next is a delta on it
//!                              │ refused / unanswered
//!                              └───────────▶ Idle, the next is full
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::core::{
    names::{EndpointId, NodeId},
    report::{self, Endpoint, Observation, Outcome, Report, Run, SIGHT_LIMIT, Sight},
};

/// How many ended runs of one endpoint are remembered until a report that tells them is acknowledged. Older ones are
/// forgotten: an endpoint that flaps through more than this in one leaderless spell has formed no opinion by them.
pub const ENDED_LIMIT: usize = 8;

/// All runs of one node.
#[derive(Debug)]
pub struct Ledger {
    node: NodeId,
    tracks: BTreeMap<EndpointId, Track>,
    blind: Option<String>,
    /// Observations begun earlier than this were gathered blind.
    seeing_since: Option<Instant>,
    /// The number of the last report handed out.
    seq: u64,
    /// The report that the next delta would be based on; `None`: the next one is full.
    base: Option<u64>,
    in_flight: Option<InFlight>,
    urgent: bool,
    /// What the controls say, and which peers are reached.
    sight: Sight,
    /// What of that the state holds.
    told_sight: Option<Sight>,
}

/// What becomes true of the tracks once the report is acknowledged.
#[derive(Debug)]
struct InFlight {
    seq: u64,
    /// Tracks named in the report; a full report also un-tells every other.
    told: Vec<(EndpointId, Option<Told>)>,
    full: bool,
    sight: Option<Sight>,
}

/// How far the state was told of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    number: u32,
    count: u32,
    dependencies: Vec<String>,
}

/// One endpoint.
#[derive(Debug)]
struct Track {
    settle: u32,
    patience: Duration,
    /// Number of the last run that began; 0 before the first.
    number: u32,
    run: Option<Current>,
    /// The runs before `run`, oldest first, numbered without a gap up to it.
    ended: VecDeque<Ended>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Current {
    outcome: Outcome,
    count: u32,
    reason: String,
    dependencies: Vec<String>,
    last: Instant,
}

#[derive(Debug)]
struct Ended {
    number: u32,
    outcome: Outcome,
    count: u32,
}

impl Ledger {
    /// An empty ledger; its first report is full.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            tracks: BTreeMap::new(),
            blind: None,
            seeing_since: None,
            seq: 0,
            base: None,
            in_flight: None,
            urgent: false,
            sight: Sight::default(),
            told_sight: None,
        }
    }

    /// Follows an endpoint from now on; one that is followed already keeps its run.
    pub fn watch(&mut self, endpoint: &Endpoint) {
        let track = self.tracks.entry(endpoint.id).or_insert_with(|| Track {
            settle: 0,
            patience: Duration::ZERO,
            number: 0,
            run: None,
            ended: VecDeque::new(),
            told: None,
        });
        (track.settle, track.patience) = (endpoint.settle, endpoint.patience());
    }

    /// Forgets an endpoint without a word: the state removed it first.
    pub fn forget(&mut self, id: EndpointId) {
        self.tracks.remove(&id);
    }

    /// Starts anew with an endpoint that is asked in another way from now on: its run says nothing of that.
    pub fn restart(&mut self, id: EndpointId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.drop_run();
        }
    }

    /// Drops all that was gathered, when the node turns blind (`Some`: why) and again when it sees, so that counting starts
    /// anew. A changed reason alone drops nothing that is not dropped already.
    pub fn set_blind(&mut self, blind: Option<String>, now: Instant) {
        if blind.is_some() != self.blind.is_some() {
            self.tracks.values_mut().for_each(Track::drop_run);
            self.seeing_since = blind.is_none().then_some(now);
            self.urgent = true;
        }
        self.blind = blind;
    }

    /// What each control says by now. It travels with the next report, if it is news.
    pub fn set_controls(&mut self, controls: Vec<(String, Option<String>)>) {
        let cut = |(name, why): (String, Option<String>)| (report::cut(&name), why.map(|why| report::cut(&why)));
        self.sight.controls = controls.into_iter().take(SIGHT_LIMIT).map(cut).collect();
    }

    /// Which peers are reached by now. It travels with the next report, if it is news.
    pub fn set_peers(&mut self, peers: &BTreeMap<NodeId, bool>) {
        self.sight.peers = peers.iter().take(SIGHT_LIMIT).map(|(peer, reached)| (*peer, *reached)).collect();
    }

    /// Why the node calls itself blind.
    #[must_use]
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Counts the result of a probe that began at `started`. Ignored while blind, when it began blind, and when nobody
    /// follows the endpoint any more.
    pub fn observe(&mut self, id: EndpointId, observation: Observation, started: Instant, now: Instant) {
        let gathered_blind = self.blind.is_some() || self.seeing_since.is_some_and(|since| started < since);
        if gathered_blind {
            return;
        }
        if let Some(track) = self.tracks.get_mut(&id) {
            self.urgent |= track.observe(observation, now);
        }
    }

    /// The outcome and count of the endpoint's current run.
    #[must_use]
    pub fn run(&self, id: EndpointId) -> Option<(Outcome, u32)> {
        self.tracks.get(&id)?.run.as_ref().map(|run| (run.outcome, run.count))
    }

    /// Whether something is worth a report before the next tick: a failing run up to its settling count, any change of
    /// outcome, blindness or sight, a refusal. Taken back by [`Ledger::next_report`].
    #[must_use]
    pub fn urgent(&self) -> bool {
        self.urgent && self.in_flight.is_none()
    }

    /// The report to send now. If another one is still in flight its fate counts as unknown.
    pub fn next_report(&mut self, now: Instant, force_full: bool) -> Report {
        self.unanswered();
        let base = if force_full { None } else { self.base };
        let full = base.is_none();
        self.seq += 1;
        self.urgent = false;
        let (mut runs, mut lost, mut told, mut unchanged) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (&id, track) in &mut self.tracks {
            track.expire(now);
            match &track.run {
                // The blind report itself un-tells everything.
                _ if self.blind.is_some() => told.push((id, None)),
                None if track.told.is_some() => {
                    told.push((id, None));
                    if !full {
                        lost.push(id);
                    }
                }
                None => {}
                Some(run) if full || track.is_news(run) => {
                    told.push((id, Some(track.telling(run))));
                    track.tell(id, run, &mut runs);
                }
                Some(_) => unchanged += 1,
            }
        }
        // A steady state does not tell it again: it costs as much as a few runs.
        let sight = Some(&self.sight).filter(|sight| full || self.told_sight.as_ref() != Some(sight)).cloned();
        self.in_flight = Some(InFlight { seq: self.seq, told, full, sight: sight.clone() });
        Report {
            node: self.node,
            seq: self.seq,
            base,
            blind: self.blind.clone(),
            runs,
            lost,
            unchanged,
            sight,
            waited: 0,
        }
    }

    /// The state accepted report `seq`. An answer to any but the one in flight is ignored.
    pub fn acked(&mut self, seq: u64) {
        let Some(report) = self.in_flight.take_if(|report| report.seq == seq) else { return };
        if report.full {
            // A track that was added since the report was made holds no told run anyway.
            self.tracks.values_mut().for_each(|track| track.told = None);
        }
        for (id, told) in report.told {
            if let Some(track) = self.tracks.get_mut(&id) {
                track.accepted(told);
            }
        }
        if report.sight.is_some() {
            self.told_sight = report.sight;
        }
        self.base = Some(seq);
    }

    /// The state refused report `seq`; `last` is the last one that it accepted. The next report is full, numbered above.
    pub fn refused(&mut self, seq: u64, last: u64) {
        if self.in_flight.take_if(|report| report.seq == seq).is_some() {
            self.seq = self.seq.max(last);
            self.base = None;
            self.urgent = true;
        }
    }

    /// Nobody answered: the report in flight may or may not take effect. The next report is full.
    pub fn unanswered(&mut self) {
        if self.in_flight.take().is_some() {
            self.base = None;
        }
    }
}

impl Track {
    /// Counts one observation and says whether that is urgent.
    fn observe(&mut self, seen: Observation, now: Instant) -> bool {
        self.expire(now);
        let Observation { outcome, reason, dependencies } = seen;
        let turned = match &mut self.run {
            Some(run) if run.outcome == outcome => {
                run.count = run.count.saturating_add(1);
                (run.reason, run.dependencies, run.last) = (reason, dependencies, now);
                false
            }
            run => {
                let before = run.replace(Current { outcome, count: 1, reason, dependencies, last: now });
                let turned = before.is_some();
                if let Some(Current { outcome, count, .. }) = before {
                    if self.ended.len() == ENDED_LIMIT {
                        self.ended.pop_front();
                    }
                    self.ended.push_back(Ended { number: self.number, outcome, count });
                }
                self.number = self.number.saturating_add(1);
                turned
            }
        };
        let counting = self.run.as_ref().is_some_and(|run| run.count <= self.settle);
        turned || (counting && outcome == Outcome::Fail)
    }

    /// Drops a run whose last observation is too long ago to say that it goes on.
    fn expire(&mut self, now: Instant) {
        if self.run.as_ref().is_some_and(|run| now.saturating_duration_since(run.last) > self.patience) {
            self.drop_run();
        }
    }

    fn drop_run(&mut self) {
        self.run = None;
        self.ended.clear();
    }

    fn telling(&self, run: &Current) -> Told {
        Told { number: self.number, count: run.count, dependencies: run.dependencies.clone() }
    }

    /// Whether the state does not know enough of the run.
    fn is_news(&self, run: &Current) -> bool {
        self.told.as_ref().is_none_or(|told| {
            told.number != self.number
                || told.count < run.count.min(self.settle)
                || told.dependencies != run.dependencies
        })
    }

    /// Appends every run that the state does not know of, the current one last.
    fn tell(&self, id: EndpointId, run: &Current, runs: &mut Vec<Run>) {
        let known = self.told.as_ref().map_or(0, |told| told.number);
        let mut before = None;
        for ended in &self.ended {
            if ended.number > known {
                runs.push(Run {
                    endpoint: id,
                    outcome: ended.outcome,
                    number: ended.number,
                    count: ended.count,
                    before,
                    reason: String::new(),
                    dependencies: Vec::new(),
                });
            }
            before = Some(ended.count);
        }
        runs.push(Run {
            endpoint: id,
            outcome: run.outcome,
            number: self.number,
            count: run.count,
            before,
            reason: run.reason.clone(),
            dependencies: run.dependencies.clone(),
        });
    }

    /// The state holds this much from now on.
    fn accepted(&mut self, told: Option<Told>) {
        if let Some(told) = &told {
            // The run told last ends after the report was made, if at all: its final count stays to be told.
            self.ended.retain(|ended| ended.number >= told.number);
        }
        self.told = told;
    }
}
