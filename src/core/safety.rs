//! The rules that a switch must pass, each with a name, an outcome and the figure it rests on.
//!
//! A rule never acts: `State::due` and `State::apply` ask for the readings, `explain` prints them. An automatic switch needs
//! every rule that applies to it; a manual one may override a rule, but only by its name.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    explain::words,
    names::{LogTime, RegionName, ServiceName},
    sabotage::Sabotage,
    service::{DriftPolicy, Failback, GateUnknown, Region},
    state::{ServiceState, State},
    switch::{Cause, Intent},
    verdict::Verdict,
    window,
};

/// At least this many services must want to leave at once before the breaker thinks of it.
const BREAKER_LEAST: usize = 3;

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $word:literal,)*) => {
        /// The rules by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Rule {
            $($(#[$doc])* $rule,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// Its name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$rule => $word,)*
                }
            }
        }
    };
}

rules! {
    /// The active region is down: a quorum of sites says so.
    ActiveDown = "active-down",
    /// A quorum of sites says that the candidate is up.
    CandidateUp = "candidate-up",
    /// No freeze, on the service or on the cluster.
    Frozen = "frozen",
    /// The last switch was long enough ago.
    Cooldown = "cooldown",
    /// Automatic switches are left in the window.
    Budget = "budget",
    /// Not most services want to move out of different regions at once: the fault would probably be ours.
    Breaker = "breaker",
    /// No dependency fails in both regions.
    SharedDependency = "shared-dependency",
    /// The record is what the cluster wrote.
    Drift = "drift",
    /// The policy leaves failback to the cluster.
    Failback = "failback",
    /// The preferred region has been up long enough.
    Dwell = "dwell",
    /// No maintenance window is open.
    Window = "window",
    /// The candidate's replica of the table is active.
    GateReplica = "gate:dynamodb-replica",
    /// The candidate's replica is not too far behind.
    GateLag = "gate:dynamodb-lag",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that no rule has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rule; the rules are {list}", list = Rule::ALL.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownRule(String);

impl FromStr for Rule {
    type Err = UnknownRule;
    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        let found = Self::ALL.iter().find(|rule| rule.as_str() == text);
        found.copied().ok_or_else(|| UnknownRule(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Rule {
    type Error = UnknownRule;
    fn try_from(text: String) -> Result<Self, UnknownRule> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.as_str().to_owned()
    }
}

/// What a rule says. Missing is not "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleOutcome {
    /// It does not stand in the way.
    Pass,
    /// It holds the switch.
    Fail,
    /// Nothing is known; the policy says what that means.
    Unknown,
}

/// A rule's answer for one switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReading {
    /// Which rule.
    pub rule: Rule,
    /// What it says.
    pub outcome: RuleOutcome,
    /// The figure, in words.
    pub figure: String,
    /// The log time at which it passes by itself, if time alone brings that.
    pub clears_at: Option<LogTime>,
    /// It holds, but the operator named it, or the policy lets its unknown pass.
    pub overridden: bool,
}

impl RuleReading {
    pub(super) fn new(rule: Rule, pass: bool, figure: impl Into<String>) -> Self {
        let outcome = if pass { RuleOutcome::Pass } else { RuleOutcome::Fail };
        Self { rule, outcome, figure: figure.into(), clears_at: None, overridden: false }
    }

    /// A rule that holds until `until`.
    fn timed(rule: Rule, now: LogTime, until: LogTime, over: &str) -> Self {
        if now >= until {
            return Self::new(rule, true, over);
        }
        let figure = format!("{} left", words(until.since(now)));
        Self { clears_at: Some(until), ..Self::new(rule, false, figure) }
    }

    /// Whether it lets the switch through.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.outcome == RuleOutcome::Pass || self.overridden
    }
}

impl State {
    /// Every rule for a switch to `intent.to`, in the order in which they are explained.
    #[must_use]
    pub fn assess(&self, intent: &Intent) -> Vec<RuleReading> {
        let Some(service) = self.services.get(&intent.service) else { return vec![] };
        let Some(to) = service.service.region(&intent.to) else { return vec![] };
        let mut readings = match intent.cause {
            Cause::Adopt | Cause::Revise { .. } => vec![],
            Cause::Failover => {
                let mut readings = vec![self.active_down(service)];
                readings.extend(self.automatic(&intent.service, service, to));
                readings
            }
            Cause::Failback => {
                let mut readings = vec![failback(service), self.dwell(service, to)];
                readings.extend(self.automatic(&intent.service, service, to));
                readings
            }
            Cause::Abort { .. } => {
                let mut readings = vec![self.candidate_up(service, to)];
                readings.extend(self.gates(service, to));
                readings
            }
            Cause::Manual { .. } => {
                let mut readings = vec![self.candidate_up(service, to), self.cooldown(service), drift(service)];
                readings.extend(self.gates(service, to));
                readings
            }
        };
        for reading in &mut readings {
            let lenient = service.service.policy.gate_unknown == GateUnknown::Pass;
            let waived = reading.outcome == RuleOutcome::Unknown && lenient;
            reading.overridden =
                reading.outcome != RuleOutcome::Pass && (waived || intent.cause.overrides(reading.rule));
        }
        readings
    }

    fn automatic(&self, name: &ServiceName, service: &ServiceState, to: &Region) -> Vec<RuleReading> {
        let mut readings = vec![
            self.candidate_up(service, to),
            self.frozen(service),
            self.cooldown(service),
            self.budget(service),
            self.breaker(name),
            self.shared_dependency(service, to),
            drift(service),
            self.window(service),
        ];
        readings.extend(self.gates(service, to));
        readings
    }

    fn verdict_is(&self, rule: Rule, service: &ServiceState, region: &RegionName, wanted: Verdict) -> RuleReading {
        let tally = self.tally(service, region);
        let (count, word) = if wanted == Verdict::Down { (tally.down, "down") } else { (tally.up, "up") };
        let figure = format!("{count} of {} sites say {region} is {word}, {} needed", tally.sites, tally.needed);
        RuleReading::new(rule, tally.verdict() == wanted, figure)
    }

    fn active_down(&self, service: &ServiceState) -> RuleReading {
        match service.target() {
            Some(active) => self.verdict_is(Rule::ActiveDown, service, active, Verdict::Down),
            None => RuleReading::new(Rule::ActiveDown, false, "no region is active yet: the record is not adopted"),
        }
    }

    fn candidate_up(&self, service: &ServiceState, to: &Region) -> RuleReading {
        self.verdict_is(Rule::CandidateUp, service, &to.name, Verdict::Up)
    }

    fn frozen(&self, service: &ServiceState) -> RuleReading {
        match service.frozen.as_ref().map(|freeze| ("service", freeze)).or(self.freeze.as_ref().map(|f| ("cluster", f)))
        {
            Some((what, freeze)) => {
                RuleReading::new(Rule::Frozen, false, format!("{what} frozen by {}: {}", freeze.by, freeze.reason))
            }
            None => RuleReading::new(Rule::Frozen, true, "not frozen"),
        }
    }

    fn cooldown(&self, service: &ServiceState) -> RuleReading {
        // While a switch is open its own cooldown has not begun; one to a region that died meanwhile still has to wait it out.
        let until = match &service.open {
            Some(open) => open.authorised.at.after(service.service.policy.cooldown),
            None => service.cooldown_until,
        };
        let until = if Sabotage::NoCooldown.active() { self.log_time } else { until };
        RuleReading::timed(Rule::Cooldown, self.log_time, until, "over")
    }

    fn budget(&self, service: &ServiceState) -> RuleReading {
        let policy = &service.service.policy;
        let spent: Vec<_> = service.automatic.iter().filter(|at| self.in_window(**at, policy.budget_window)).collect();
        let figure =
            format!("{} of {} automatic switches in {}", spent.len(), policy.budget, words(policy.budget_window));
        let mut reading = RuleReading::new(Rule::Budget, spent.len() < policy.budget as usize, figure);
        if !reading.permits() {
            reading.clears_at = spent.first().map(|at| at.after(policy.budget_window));
        }
        reading
    }

    fn in_window(&self, at: LogTime, window: Duration) -> bool {
        self.log_time < at.after(window)
    }

    /// One region's death moves any number of services at once, and should. Deaths of most services in different regions
    /// are more likely a fault of the observers than of the observed.
    fn breaker(&self, name: &ServiceName) -> RuleReading {
        let leaving: Vec<&RegionName> = self
            .services
            .values()
            .filter_map(|service| service.target().filter(|active| service.verdict(active) == Verdict::Down))
            .collect();
        let regions: BTreeSet<_> = leaving.iter().collect();
        let all = self.services.len();
        let open = leaving.len() >= BREAKER_LEAST && leaving.len() * 2 > all && regions.len() > 1;
        let figure = format!("{} of {all} services want to leave {} regions", leaving.len(), regions.len());
        let figure = if open { format!("{figure}: the fault is probably ours; {name} stays") } else { figure };
        RuleReading::new(Rule::Breaker, !open, figure)
    }

    fn shared_dependency(&self, service: &ServiceState, to: &Region) -> RuleReading {
        let Some(from) = service.target() else {
            return RuleReading::new(Rule::SharedDependency, true, "no region is active");
        };
        let failing = self.failing_dependencies(service, from);
        let there = self.failing_dependencies(service, &to.name);
        let shared: Vec<_> = failing.intersection(&there).copied().collect();
        let figure =
            if shared.is_empty() { "none fails in both".into() } else { format!("{} in both", shared.join(", ")) };
        RuleReading::new(Rule::SharedDependency, shared.is_empty(), figure)
    }

    fn dwell(&self, service: &ServiceState, to: &Region) -> RuleReading {
        match service.verdicts.get(&to.name) {
            Some(standing) if standing.verdict == Verdict::Up => {
                let until = standing.since.after(service.service.policy.dwell);
                let over = format!("{} up for {}", to.name, words(self.log_time.since(standing.since)));
                RuleReading::timed(Rule::Dwell, self.log_time, until, &over)
            }
            _ => RuleReading::new(Rule::Dwell, false, format!("{} is not up", to.name)),
        }
    }
}

impl State {
    /// By the leader's wall stamp, which is all that is known of wall time here.
    fn window(&self, service: &ServiceState) -> RuleReading {
        let windows = &service.service.policy.windows;
        if windows.is_empty() {
            return RuleReading::new(Rule::Window, true, "no maintenance windows");
        }
        if self.wall == 0 {
            let unknown = RuleReading::new(Rule::Window, false, "no wall time is known yet");
            return RuleReading { outcome: RuleOutcome::Unknown, ..unknown };
        }
        let Some((open, until)) = window::open_at(windows, self.wall) else {
            let next = windows.iter().filter_map(|window| window.opens_after(self.wall)).min();
            let figure = next.map_or_else(
                || "all maintenance windows are over".into(),
                |at| format!("none open, the next at {}", window::instant(at)),
            );
            return RuleReading::new(Rule::Window, true, figure);
        };
        let left = Duration::from_millis(until.saturating_sub(self.wall));
        let figure = format!("`{open}` is open until {}, {} left", window::instant(until), words(left));
        let clears_at = Some(self.log_time.after(left));
        RuleReading { clears_at, ..RuleReading::new(Rule::Window, false, figure) }
    }
}

fn failback(service: &ServiceState) -> RuleReading {
    let automatic = service.service.policy.failback == Failback::Automatic;
    RuleReading::new(
        Rule::Failback,
        automatic,
        if automatic { "automatic" } else { "manual: `quoratectl switch start`" },
    )
}

fn drift(service: &ServiceState) -> RuleReading {
    let correct = service.service.policy.drift == DriftPolicy::Correct;
    match &service.drift {
        None => RuleReading::new(Rule::Drift, true, "the record is as written"),
        Some(drift) => RuleReading::new(Rule::Drift, correct, drift.clone()),
    }
}
