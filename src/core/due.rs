//! What a leader should propose now. A proposal authorises nothing: `apply` checks it again.

use super::{
    names::{LogTime, RegionName, ServiceName},
    sabotage::Sabotage,
    safety::{Rule, RuleReading},
    state::{Action, Command, Freeze, ServiceState, State},
    switch::{Cause, Intent},
    verdict::Verdict,
};

impl Command {
    /// An action as a leader proposes it, with its two clocks. Only log time is ever decided on.
    #[must_use]
    pub fn stamped(log_time: LogTime, wall: u64, action: Action) -> Self {
        let at = if Sabotage::WallClock.active() { LogTime(wall) } else { log_time };
        Self { at, wall, action }
    }
}

impl State {
    /// The proposals that are due, at most one a service, in the order of the services' names.
    #[must_use]
    pub fn due(&self) -> Vec<Action> {
        self.services.iter().filter_map(|(name, state)| self.due_for(name, state)).collect()
    }

    fn due_for(&self, name: &ServiceName, state: &ServiceState) -> Option<Action> {
        let intent = self.wanted(name, state)?;
        let readings = self.assess(&intent);
        if readings.iter().all(RuleReading::permits) {
            return Some(Action::Authorise(intent));
        }
        // An exhausted budget freezes instead of switching, so that a person looks before the window lets it go on.
        let mut holding = readings.iter().filter(|reading| !reading.permits());
        let (first, second) = (holding.next()?, holding.next());
        (first.rule == Rule::Budget && second.is_none()).then(|| Action::Freeze {
            service: Some(name.clone()),
            freeze: Freeze { by: "quorate".into(), reason: format!("{}: unfreeze when you know why", first.figure) },
        })
    }

    /// The automatic switch that the verdicts ask for, rules aside.
    fn wanted(&self, name: &ServiceName, state: &ServiceState) -> Option<Intent> {
        let target = state.target()?;
        let intent =
            |to: &RegionName, cause| Intent { service: name.clone(), epoch: state.epoch.next(), to: to.clone(), cause };
        if state.verdict(target) == Verdict::Down {
            return self.candidate(name, state).map(|to| intent(&to, Cause::Failover));
        }
        let preferred = state.service.regions.iter().map(|region| &region.name).take_while(|region| *region != target);
        let mut back = preferred.filter(|region| state.verdict(region) == Verdict::Up);
        let to = back.next().filter(|_| state.open.is_none())?;
        Some(intent(to, Cause::Failback))
    }

    /// Where a failover would go: the first region by preference that is up and passes its gates, else the first that is
    /// up (its gates hold it, and say so).
    fn candidate(&self, name: &ServiceName, state: &ServiceState) -> Option<RegionName> {
        let up: Vec<_> = state.others().filter(|region| state.verdict(region) == Verdict::Up).collect();
        let gates_pass = |region: &&&RegionName| {
            let intent = Intent {
                service: name.clone(),
                epoch: state.epoch.next(),
                to: (**region).clone(),
                cause: Cause::Failover,
            };
            let gate = |reading: &&RuleReading| matches!(reading.rule, Rule::GateReplica | Rule::GateLag);
            self.assess(&intent).iter().filter(gate).all(RuleReading::permits)
        };
        up.iter().find(gates_pass).or(up.first()).map(|region| (*region).clone())
    }

    /// The failover that a rehearsal is about: to `to`, or to where one would go now. `None` without a second region.
    #[must_use]
    pub fn rehearsed(&self, name: &ServiceName, to: Option<&RegionName>) -> Option<Intent> {
        let state = self.services.get(name)?;
        let to = to.cloned().or_else(|| self.candidate(name, state)).or_else(|| state.others().next().cloned())?;
        Some(Intent { service: name.clone(), epoch: state.epoch.next(), to, cause: Cause::Failover })
    }

    /// The rules for a failover as if the active region were down.
    #[must_use]
    pub fn rehearse(&self, intent: &Intent) -> Vec<RuleReading> {
        self.assess(intent).into_iter().filter(|reading| reading.rule != Rule::ActiveDown).collect()
    }

    /// The switch to explain: the one that the verdicts ask for, else the failover that would come first.
    pub(super) fn in_question(
        &self,
        name: &ServiceName,
        state: &ServiceState,
        to: Option<&RegionName>,
    ) -> Option<Intent> {
        let wanted = self.wanted(name, state);
        if let Some(to) = to {
            let failback = state.prefers(to) && state.target().is_some_and(|t| state.verdict(t) != Verdict::Down);
            let cause = if failback { Cause::Failback } else { Cause::Failover };
            return Some(Intent { service: name.clone(), epoch: state.epoch.next(), to: to.clone(), cause });
        }
        let to = || self.candidate(name, state).or_else(|| state.others().next().cloned());
        wanted.or_else(|| {
            Some(Intent { service: name.clone(), epoch: state.epoch.next(), to: to()?, cause: Cause::Failover })
        })
    }
}

impl ServiceState {
    /// The regions other than the target, by preference.
    pub(super) fn others(&self) -> impl Iterator<Item = &RegionName> {
        let target = self.target();
        self.service.regions.iter().map(|region| &region.name).filter(move |region| Some(*region) != target)
    }
}
