//! Controls: what a node probes to learn whether it can see at all.
//!
//! The controls are independent well-known endpoints and the node's peers. As soon as more than half of the last results
//! are failures the node is blind; it sees again when at most half of the controls lack [`RISE`] successes in a row. Before
//! they have answered once it is blind too: nothing is believed of a node that was never seen to see. Without controls a
//! node is never blind, and says so once in its log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::check::{self, Client};
use crate::core::{report::Outcome, service::Probe};

/// How many successes in a row a control needs after a blindness.
pub const RISE: u32 = 2;
/// How often a control that others look after is read.
const EXTERNAL_INTERVAL: Duration = Duration::from_millis(500);
/// How many failing controls a reason names.
const NAMED: usize = 3;

/// One control.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a node has a handful of them")]
pub enum Control {
    /// Probed by the node itself.
    Probe {
        /// What it is called in the reason of a blindness.
        name: String,
        /// How it is asked. Interval plus timeout bound how long a blindness goes unnoticed, so keep them below the time in
        /// which endpoints form an opinion: (fall − 1) × interval.
        probe: Probe,
    },
    /// Looked after by others, such as the connection to a peer: true while it works.
    External {
        /// What it is called in the reason of a blindness.
        name: String,
        /// Its state.
        works: watch::Receiver<bool>,
    },
}

impl Control {
    fn name(&self) -> &str {
        match self {
            Self::Probe { name, .. } | Self::External { name, .. } => name,
        }
    }
}

/// One result of one control: its place in the list, and why it failed.
type Seen = (usize, Result<(), String>);

/// What is told when something changed.
pub(super) enum Told {
    /// `None` when the node sees, the reason when it becomes blind or that reason changes. It is blind to begin with; that is
    /// not said again.
    Blind(Option<String>, Instant),
    /// What each control says.
    Controls(Vec<(String, Option<String>)>),
}

/// Runs every control for as long as it is polled, and calls `change` with what is news.
pub(super) async fn watch_controls(client: Arc<Client>, controls: Vec<Control>, mut change: impl FnMut(Told)) {
    let mut sight = Sight::new(controls.iter().map(|control| control.name().to_owned()).collect());
    let (sender, mut results) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    for (index, control) in controls.into_iter().enumerate() {
        tasks.spawn(run_control(Arc::clone(&client), control, index, sender.clone()));
    }
    drop(sender);
    let mut before = (sight.blind(), vec![]);
    while let Some((index, result)) = results.recv().await {
        sight.see(index, result);
        let now = (sight.blind(), sight.lines());
        // First what it rests on, so that the report of a blindness carries it.
        if now.1 != before.1 {
            change(Told::Controls(now.1.clone()));
        }
        if now.0 != before.0 {
            change(Told::Blind(now.0.clone(), super::now()));
        }
        before = now;
    }
    // Only without any controls do the results end.
    std::future::pending::<()>().await;
}

async fn run_control(client: Arc<Client>, control: Control, index: usize, results: mpsc::Sender<Seen>) {
    match control {
        Control::Probe { probe, .. } => {
            let mut ticks = interval(probe.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let result = match check::run(&client, &probe, None).await {
                    Some(seen) if seen.outcome == Outcome::Pass => Ok(()),
                    Some(seen) => Err(seen.reason),
                    // A node that stands still cannot vouch for what it saw around then.
                    None => Err("this process stood still".to_owned()),
                };
                if results.send((index, result)).await.is_err() {
                    return;
                }
            }
        }
        Control::External { mut works, .. } => {
            let mut ticks = interval(EXTERNAL_INTERVAL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    // A closed one stays what it was last; reading it on the tick is enough.
                    Ok(()) = works.changed() => {}
                }
                let result = if *works.borrow_and_update() { Ok(()) } else { Err("does not answer".to_owned()) };
                if results.send((index, result)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether the node sees, from the results of its controls. Pure.
#[derive(Debug)]
struct Sight {
    controls: Vec<State>,
    /// How many successes in a row count as working; 1 until the node first saw.
    rise: u32,
    sees: bool,
}

#[derive(Debug)]
struct State {
    name: String,
    /// `None`: no result yet.
    last: Option<Result<(), String>>,
    successes: u32,
}

impl Sight {
    fn new(names: Vec<String>) -> Self {
        let state = |name| State { name, last: None, successes: 0 };
        let sees = names.is_empty();
        Self { controls: names.into_iter().map(state).collect(), rise: 1, sees }
    }

    fn see(&mut self, index: usize, result: Result<(), String>) {
        let Some(control) = self.controls.get_mut(index) else { return };
        control.successes = if result.is_ok() { control.successes.saturating_add(1) } else { 0 };
        control.last = Some(result);
        let failing = self.controls.iter().filter(|control| matches!(control.last, Some(Err(_)))).count();
        let lacking = self.controls.iter().filter(|control| control.successes < self.rise).count();
        let half = self.controls.len() / 2;
        if self.sees {
            self.sees = failing <= half;
        } else if lacking <= half {
            (self.sees, self.rise) = (true, RISE);
        }
    }

    /// Each control and what keeps it from working.
    fn lines(&self) -> Vec<(String, Option<String>)> {
        let why = |last: &Option<Result<(), String>>| match last {
            None => Some("has not answered yet".to_owned()),
            Some(result) => result.as_ref().err().cloned(),
        };
        self.controls.iter().map(|control| (control.name.clone(), why(&control.last))).collect()
    }

    /// Why the node is blind, in words that stay the same while the same controls fail.
    fn blind(&self) -> Option<String> {
        if self.sees {
            return None;
        }
        let failing: Vec<&State> =
            self.controls.iter().filter(|control| matches!(control.last, Some(Err(_)))).collect();
        if failing.len() <= self.controls.len() / 2 {
            return Some("too few of the controls have answered well for long enough".to_owned());
        }
        let mut words = format!("{} of {} controls fail", failing.len(), self.controls.len());
        for (i, control) in failing.iter().take(NAMED).enumerate() {
            let reason = control.last.as_ref().and_then(|last| last.as_ref().err()).map_or("", String::as_str);
            words.push_str(if i == 0 { ": " } else { ", " });
            words.extend([&control.name, " (", reason, ")"]);
        }
        if failing.len() > NAMED {
            words.push_str(" …");
        }
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds results (`+1` control 1 succeeds, `-1` it fails) and returns after each whether the node sees.
    fn sight(controls: usize, results: &str) -> String {
        let mut sight = Sight::new((0..controls).map(|i| format!("c{i}")).collect());
        let step = |result: &str| {
            let (sign, index) = result.split_at(1);
            sight.see(index.parse().unwrap(), if sign == "+" { Ok(()) } else { Err("refused".into()) });
            if sight.blind().is_none() { 's' } else { 'b' }
        };
        results.split(' ').map(step).collect()
    }

    #[test]
    fn a_node_is_blind_when_most_of_its_controls_fail() {
        let cases = [
            // It starts blind and sees as soon as enough have answered once.
            (1, "+0 -0 +0 +0", "sbbs"),
            (3, "+0 +1 -2", "bss"),
            (3, "-0 -1 +2 +0", "bbbs"),
            // More than half fail: blind at once. Two successes in a row of all but half: it sees.
            (3, "+0 +1 +2 -0 -1 +0 +0 +2", "bsssbbbs"),
            // A failure in between starts the counting anew.
            (1, "+0 -0 +0 -0 +0 +0", "sbbbbs"),
            // Half is not most, and a dead peer among two does not keep the node blind.
            (2, "+0 +1 -1 -0 +0 +0", "sssbbs"),
            (4, "+0 +1 -2 -3 -0", "bsssb"),
        ];
        for (controls, results, expected) in cases {
            assert_eq!(sight(controls, results), expected, "{controls} controls: {results}");
        }
    }

    #[test]
    fn without_controls_a_node_is_never_blind_and_with_some_it_starts_blind() {
        assert_eq!(Sight::new(vec![]).blind(), None);
        assert!(Sight::new(vec!["a".into()]).blind().is_some());
    }

    #[test]
    fn the_reason_names_who_fails() {
        let mut sight = Sight::new((0..5).map(|i| format!("c{i}")).collect());
        for index in 0..4 {
            sight.see(index, Err("refused".into()));
        }
        assert_eq!(sight.blind().as_deref(), Some("4 of 5 controls fail: c0 (refused), c1 (refused), c2 (refused) …"));
    }
}
