//! One policy on its way through the recording: a state of its own, in which the recorded inputs meet its own decisions.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Step,
    past::{Happened, Past, note_targets},
    retell::Retell,
    sight::Sight,
};
use crate::{
    core::{
        names::{Epoch, LogTime, RegionName, ServiceName},
        service::Policy,
        state::{Action, Command, Position, Refusal, Response, ServiceState, State},
        switch::{Cause, Intent, Stamp},
    },
    history::Record,
};

/// How long after a switch became due its recorded authorisation may stand in the log: proposing and committing take a while.
const COMMIT: Duration = Duration::from_secs(2);
/// The name under which the cluster itself freezes.
const OURSELVES: &str = "quorate";

/// A switch of this lane.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub service: ServiceName,
    pub epoch: Epoch,
    pub from: Option<RegionName>,
    pub to: RegionName,
    pub cause: Cause,
    pub authorised: Stamp,
    /// When the first failing observation was made that the deciding sites had then.
    pub failing_since: Option<LogTime>,
}

/// What is done when its time has come.
#[derive(Debug)]
struct Planned {
    at: LogTime,
    /// The entry after which it was planned.
    since: u64,
    /// The recorded entry in whose place it stands.
    index: Option<u64>,
    action: Action,
}

/// A policy, its state, and what it decided.
pub(super) struct Lane {
    state: State,
    /// The policies that take the place of the recorded ones.
    tried: BTreeMap<ServiceName, Policy>,
    /// How far the nodes told the counts of each service's runs.
    settled: BTreeMap<ServiceName, u32>,
    write: Duration,
    observe: Duration,
    planned: Vec<Planned>,
    /// The epochs here of switches that are taken from the recording.
    epochs: BTreeMap<(ServiceName, Epoch), Epoch>,
    retell: Retell,
    catalogue_at: Option<u64>,
    /// The last entry, and its wall time.
    last: Option<Stamp>,
    pub moved: Vec<Moved>,
    pub targets: BTreeMap<ServiceName, Vec<(Stamp, Option<RegionName>)>>,
    /// Freezes for a spent budget.
    pub frozen: Vec<(Stamp, ServiceName, String)>,
    pub notes: Vec<String>,
}

impl Lane {
    pub(super) fn new(tried: Option<&BTreeMap<ServiceName, Policy>>, write: Duration, observe: Duration) -> Self {
        Self {
            state: State::default(),
            tried: tried.cloned().unwrap_or_default(),
            settled: BTreeMap::new(),
            write,
            observe,
            planned: vec![],
            epochs: BTreeMap::new(),
            retell: Retell::default(),
            catalogue_at: None,
            last: None,
            moved: vec![],
            targets: BTreeMap::new(),
            frozen: vec![],
            notes: vec![],
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Takes what the recording says next.
    pub(super) fn take(&mut self, step: &Step, past: &Past) {
        match step {
            Step::State(Record::State { wall, state }) => self.begin(state, *wall),
            Step::Next(Record::Entry { position, command }) => self.entry(*position, command, past),
            Step::Next(Record::Term { position }) => self.state.enter_term(*position),
            Step::Next(Record::Voters { position, voters }) => self.state.set_voters(*position, voters.clone()),
            _ => return,
        }
        if self.catalogue_at != Some(self.state.catalogue_at) {
            self.catalogue_at = Some(self.state.catalogue_at);
            let settled = &self.settled;
            self.retell.follow(&self.state, |service| settled.get(service).copied());
        }
    }

    /// Proposes what is due, as a leader would. What becomes due where it did under the recorded policy, in the lane `recorded`, is
    /// authorised where it was; without that lane it is this one.
    pub(super) fn decide(&mut self, past: &Past, sight: &Sight, recorded: Option<&Self>) {
        let Some(last) = self.last else { return };
        for action in self.state.due() {
            match action {
                Action::Authorise(intent) => {
                    let waits =
                        |of: &Planned| matches!(&of.action, Action::Authorise(of) if of.service == intent.service);
                    if self.planned.iter().any(waits) {
                        continue;
                    }
                    let there = match recorded {
                        None => past.matching(&intent, last.at, last.index, COMMIT).map(|of| of.authorised),
                        Some(recorded) => recorded.becomes_due(&intent, last.index),
                    };
                    match there {
                        Some(stamp) => self.plan(stamp.at, Some(stamp.index), Action::Authorise(intent)),
                        None => self.authorise(last, intent, past),
                    }
                }
                Action::Freeze { service: Some(service), freeze } => {
                    self.frozen.push((last, service.clone(), freeze.reason.clone()));
                    self.act(last, Action::Freeze { service: Some(service), freeze });
                }
                other => drop(self.act(last, other)),
            }
        }
        // What was authorised just now rests on what the sites see just now.
        for moved in self.moved.iter_mut().rev().take_while(|moved| moved.authorised.index == last.index) {
            if let (None, Some(from)) = (moved.failing_since, &moved.from) {
                moved.failing_since = sight.failing_since(&self.state, &moved.service, from);
            }
        }
    }

    /// Where a switch is authorised that becomes due with the entry `index`, and waits.
    fn becomes_due(&self, intent: &Intent, index: u64) -> Option<Stamp> {
        let same = |of: &Intent| of.service == intent.service && of.to == intent.to && of.cause == intent.cause;
        let waits = self.planned.iter().find(|of| matches!(&of.action, Action::Authorise(of) if same(of)));
        let planned = waits.filter(|planned| planned.since == index)?;
        Some(Stamp { at: planned.at, wall: 0, term: 0, index: planned.index? })
    }

    fn begin(&mut self, state: &State, wall: u64) {
        let mut next = state.clone();
        for (name, service) in &mut next.services {
            self.settled.insert(name.clone(), service.service.policy.fall.max(service.service.policy.rise));
            if let Some(policy) = self.tried.get(name) {
                service.service.policy = policy.clone();
            }
            // After a hole what this lane decided stands on.
            if let Some(before) = self.state.services.remove(name).filter(|_| self.last.is_some()) {
                carry_over(service, before);
            }
        }
        self.retell.forget();
        self.catalogue_at = None;
        let stamp = Stamp { at: next.log_time, wall, term: next.position.term, index: next.position.index };
        self.state = next;
        self.last = Some(stamp);
        // A policy with another quorum may read the same opinions otherwise: anything but silence has the verdicts counted.
        self.act(stamp, Action::Reports(vec![]));
        note_targets(&mut self.targets, &self.state, stamp);
    }

    fn entry(&mut self, position: Position, command: &Command, past: &Past) {
        let at = self.state.log_time.max(command.at);
        let stamp = Stamp { at, wall: command.wall, term: position.term, index: position.index };
        self.keep_appointments(stamp, past);
        let happened = past.at(position.index);
        match command.action.plain() {
            Action::Reports(reports) if !self.retell.is_idle() => {
                let reports = reports.iter().map(|of| self.retell.retold(of, at, position.index, past)).collect();
                self.act(stamp, Action::Reports(reports));
            }
            Action::Authorise(intent) => match (&intent.cause, happened) {
                // The recording's own decisions are not inputs, nor is what had no effect.
                (Cause::Failover | Cause::Failback, _) | (_, None) => drop(self.act(stamp, Action::Tick)),
                _ => self.by_hand(stamp, intent, past),
            },
            Action::ApplyService { service, source, by, exclusive } => {
                self.settle_now(stamp, &service.name, past);
                let mut service = service.clone();
                self.settled.insert(service.name.clone(), service.policy.fall.max(service.policy.rise));
                if let Some(policy) = self.tried.get(&service.name) {
                    service.policy = policy.clone();
                }
                let name = service.name.clone();
                let (source, by, exclusive) = (source.clone(), by.clone(), *exclusive);
                let applied = self.act(stamp, Action::ApplyService { service, source, by, exclusive });
                if let Response::Refused(why) = applied {
                    self.note(stamp, &format!("service {name} cannot be changed as it was: {why}"));
                }
                self.revised(stamp, &name, happened.map(|of| of.epoch));
            }
            Action::RemoveService { service } => {
                self.settle_now(stamp, service, past);
                self.act(stamp, Action::RemoveService { service: service.clone() });
            }
            Action::Written { service, epoch, receipts } => {
                let action = |epoch| Action::Written { service: service.clone(), epoch, receipts: receipts.clone() };
                self.of_recorded(stamp, service, *epoch, action);
            }
            Action::Observed { service, epoch, answers } => {
                let action = |epoch| Action::Observed { service: service.clone(), epoch, answers: answers.clone() };
                self.of_recorded(stamp, service, *epoch, action);
            }
            Action::Trouble { .. } => drop(self.act(stamp, Action::Tick)),
            Action::Freeze { freeze, .. } if freeze.by == OURSELVES => drop(self.act(stamp, Action::Tick)),
            Action::Unfreeze { service } if !self.is_frozen(service.as_ref()) => drop(self.act(stamp, Action::Tick)),
            // As it was. A kind that this knows nothing of is an input too.
            _ => {
                let stamped = Position { term: stamp.term, index: stamp.index };
                self.state.apply(stamped, command);
            }
        }
        self.last = Some(stamp);
    }

    fn act(&mut self, stamp: Stamp, action: Action) -> Response {
        let position = Position { term: stamp.term, index: stamp.index };
        self.state.apply(position, &Command { at: stamp.at, wall: stamp.wall, action })
    }

    fn plan(&mut self, at: LogTime, index: Option<u64>, action: Action) {
        let since = self.last.map_or(0, |last| last.index);
        self.planned.push(Planned { at, since, index, action });
        self.planned.sort_by_key(|of| of.at);
    }

    /// Does what is planned for before the entry, or in its place.
    fn keep_appointments(&mut self, entry: Stamp, past: &Past) {
        let ready = |of: &Planned| match of.index {
            Some(index) => index <= entry.index,
            None => of.at <= entry.at,
        };
        while let Some(i) = self.planned.iter().position(ready) {
            let Planned { at, index, action, .. } = self.planned.remove(i);
            let position = self.state.position;
            let wall = entry.wall.saturating_sub(u64::try_from(entry.at.since(at).as_millis()).unwrap_or(0));
            let at = at.max(self.state.log_time);
            let (term, index) = index.map_or((position.term, position.index), |index| (entry.term, index));
            let stamp = Stamp { at, wall, term, index };
            match action {
                Action::Authorise(intent) => self.authorise(stamp, intent, past),
                other => drop(self.act(stamp, other)),
            }
        }
    }

    /// Authorises and plans what follows; the log may refuse it, as it may a leader.
    fn authorise(&mut self, stamp: Stamp, intent: Intent, past: &Past) {
        let matching = past.at(stamp.index).filter(|of| of.service == intent.service && of.to == intent.to);
        let (service, cause) = (intent.service.clone(), intent.cause.clone());
        let Response::Authorised(epoch) = self.act(stamp, Action::Authorise(intent)) else { return };
        self.opened(stamp, &service, epoch, cause);
        match matching {
            Some(recorded) => self.plan_as_recorded(recorded, epoch, past),
            None => self.plan_at_pace(stamp, &service, epoch),
        }
    }

    /// Written and observed where it was. One that hung there until another took over hangs here as long, and is over if that one is
    /// refused here; one that hung until the end of the recording stays open.
    fn plan_as_recorded(&mut self, recorded: &Happened, epoch: Epoch, past: &Past) {
        let taken_over = past.next_after(recorded).map(|next| (next.authorised.at, Some(next.authorised.index + 1)));
        let at = |stamp: Option<Stamp>| stamp.map(|stamp| (stamp.at, Some(stamp.index))).or(taken_over);
        if let (Some(written), Some(observed)) = (at(recorded.written), at(recorded.observed)) {
            self.plan_settling(&recorded.service, epoch, written, observed);
        }
    }

    fn plan_at_pace(&mut self, stamp: Stamp, service: &ServiceName, epoch: Epoch) {
        let written = stamp.at.after(self.write);
        self.plan_settling(service, epoch, (written, None), (written.after(self.observe), None));
    }

    fn plan_settling(
        &mut self,
        service: &ServiceName,
        epoch: Epoch,
        written: (LogTime, Option<u64>),
        observed: (LogTime, Option<u64>),
    ) {
        let service = service.clone();
        self.plan(written.0, written.1, Action::Written { service: service.clone(), epoch, receipts: BTreeMap::new() });
        self.plan(observed.0, observed.1, Action::Observed { service, epoch, answers: vec![] });
    }

    fn opened(&mut self, stamp: Stamp, service: &ServiceName, epoch: Epoch, cause: Cause) {
        let open = self.state.services.get(service).and_then(|of| of.open.as_ref());
        if let Some(open) = open {
            let (from, to) = (open.from.clone(), open.to.clone());
            let (service, authorised) = (service.clone(), stamp);
            self.moved.push(Moved { service, epoch, from, to, cause, authorised, failing_since: None });
        }
        note_targets(&mut self.targets, &self.state, stamp);
    }

    /// A switch by a person, or an adoption: under the epoch that follows here.
    fn by_hand(&mut self, stamp: Stamp, intent: &Intent, past: &Past) {
        let next = self.state.services.get(&intent.service).map_or(intent.epoch, |of| of.epoch.next());
        let epoch = if intent.cause == Cause::Adopt { intent.epoch.max(next) } else { next };
        match self.act(stamp, Action::Authorise(Intent { epoch, ..intent.clone() })) {
            Response::Authorised(epoch) => {
                self.epochs.insert((intent.service.clone(), intent.epoch), epoch);
                self.opened(stamp, &intent.service, epoch, intent.cause.clone());
                // Its writes are recorded, unless another took over there.
                if let Some(hung) = past.at(stamp.index).filter(|of| of.observed.is_none()) {
                    self.plan_as_recorded(hung, epoch, past);
                }
            }
            Response::Refused(Refusal::AlreadyActive(_) | Refusal::UnderWay { .. }) => {}
            Response::Refused(why) => {
                let what = match &intent.cause {
                    Cause::Abort { .. } => format!("the abort of the switch of {}", intent.service),
                    _ => format!("the switch of {} to {} by hand", intent.service, intent.to),
                };
                let text = format!("{what} is refused here: {why}");
                self.note(stamp, &text);
            }
            _ => {}
        }
    }

    /// A changed service file may have opened a switch, here, there, or both.
    fn revised(&mut self, stamp: Stamp, service: &ServiceName, recorded: Option<Epoch>) {
        let open = self.state.services.get(service).and_then(|of| of.open.as_ref());
        let Some(open) = open.filter(|open| open.authorised.index == stamp.index) else {
            note_targets(&mut self.targets, &self.state, stamp);
            return;
        };
        let (epoch, cause) = (open.epoch, open.cause.clone());
        self.opened(stamp, service, epoch, cause);
        match recorded {
            Some(recorded) => drop(self.epochs.insert((service.clone(), recorded), epoch)),
            None => self.plan_at_pace(stamp, service, epoch),
        }
    }

    /// What became of a switch that was taken from the recording; time passes in any case.
    fn of_recorded(&mut self, stamp: Stamp, service: &ServiceName, epoch: Epoch, action: impl Fn(Epoch) -> Action) {
        let here = self.epochs.get(&(service.clone(), epoch)).copied();
        // One that was open when the recording began is the same here.
        let begun = self.first_open(service, epoch);
        let action = here.or(begun).map_or(Action::Tick, action);
        self.act(stamp, action);
        note_targets(&mut self.targets, &self.state, stamp);
    }

    fn first_open(&self, service: &ServiceName, epoch: Epoch) -> Option<Epoch> {
        let open = self.state.services.get(service)?.open.as_ref()?;
        let ours = self.moved.iter().any(|moved| moved.service == *service && moved.epoch == open.epoch);
        (open.epoch == epoch && !ours).then_some(epoch)
    }

    /// Ends the open switch before its time: something follows that was done after it.
    fn settle_now(&mut self, stamp: Stamp, service: &ServiceName, past: &Past) {
        let of = |action: &Action| match action {
            Action::Written { service: of, .. } | Action::Observed { service: of, .. } => of == service,
            _ => false,
        };
        for planned in self.planned.iter_mut().filter(|planned| of(&planned.action)) {
            (planned.at, planned.index) = (stamp.at, None);
        }
        self.keep_appointments(stamp, past);
    }

    fn is_frozen(&self, service: Option<&ServiceName>) -> bool {
        match service {
            None => self.state.freeze.is_some(),
            Some(service) => self.state.services.get(service).is_some_and(|of| of.frozen.is_some()),
        }
    }

    fn note(&mut self, stamp: Stamp, text: &str) {
        self.notes.push(format!("at entry {}: {text}", stamp.index));
    }
}

/// What a lane decided outlives a stretch of which nothing is known.
fn carry_over(service: &mut ServiceState, before: ServiceState) {
    let still_there = |region: &Option<RegionName>| region.as_ref().is_none_or(|r| service.service.region(r).is_some());
    if !still_there(&before.active) || before.open.as_ref().is_some_and(|open| !still_there(&Some(open.to.clone()))) {
        return;
    }
    service.epoch = before.epoch;
    service.active = before.active;
    service.open = before.open;
    service.cooldown_until = before.cooldown_until;
    service.automatic = before.automatic;
    service.frozen = before.frozen;
}
