//! The ledger against a dumb receiver, under lost, late and repeated reports.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use quorate::{
    core::{
        names::{EndpointId, NodeId},
        report::{Endpoint, Observation, Outcome, Report, Run},
        service::{Check, Probe, Target, TcpCheck},
    },
    probe::ledger::{ENDED_LIMIT, Ledger},
};

const NODE: NodeId = 1;
const INTERVAL: Duration = Duration::from_secs(2);

fn endpoint(id: u32) -> Endpoint {
    let check = TcpCheck { target: Target { host: "127.0.0.1".into(), port: 1 }, send: None, expect: None };
    let probe = Probe { interval: INTERVAL, timeout: INTERVAL / 2, check: Check::Tcp(check) };
    let (service, region) = ("app".parse().unwrap(), "eu".parse().unwrap());
    Endpoint { id: EndpointId(id), service, region, probe, settle: 3 }
}

/// A ledger with its clock: every call takes place at `now`.
struct Node {
    ledger: Ledger,
    now: Instant,
}

impl Node {
    fn new(endpoints: u32) -> Self {
        let mut ledger = Ledger::new(NODE);
        (0..endpoints).for_each(|id| ledger.watch(&endpoint(id)));
        Self { ledger, now: Instant::now() }
    }

    fn see(&mut self, id: u32, outcomes: &str) {
        for outcome in outcomes.chars() {
            let seen = if outcome == 'P' { Observation::pass() } else { Observation::fail("refused") };
            self.ledger.observe(EndpointId(id), seen, self.now, self.now);
        }
    }

    fn report(&mut self) -> Report {
        self.ledger.next_report(self.now, false)
    }

    /// A report that is accepted.
    fn tell(&mut self) -> Report {
        let report = self.report();
        self.ledger.acked(report.seq);
        report
    }
}

#[test]
fn what_the_controls_say_travels_once_and_with_every_full_report() {
    let mut node = Node::new(1);
    let lines = |why: Option<&str>| vec![("peers".to_owned(), None), ("dns".to_owned(), why.map(str::to_owned))];
    node.ledger.set_controls(lines(None));
    node.ledger.set_peers(&[(2, true)].into());
    let told = node.tell().sight.expect("the first report is full");
    assert_eq!((told.controls, told.peers), (lines(None), [(2, true)].into()));
    assert_eq!(node.tell().sight, None, "a steady state does not tell it again");
    node.ledger.set_controls(lines(Some("timeout")));
    assert_eq!(node.report().sight.map(|of| of.controls), Some(lines(Some("timeout"))));
    // Nobody answered: it is told again, for the next report is full.
    assert!(node.tell().sight.is_some());
    assert_eq!(node.tell().sight, None);
    node.ledger.set_peers(&[(2, false)].into());
    assert_eq!(node.tell().sight.map(|of| of.peers), Some([(2, false)].into()));
    // However many there are and however long they are, a report stays small.
    node.ledger.set_controls(vec![("x".repeat(5_000), Some("y\n".repeat(5_000))); 5_000]);
    let told = node.tell().sight.expect("it is news").controls;
    assert_eq!((told.len(), told[0].0.len(), told[0].1.as_ref().map(String::len)), (64, 160, Some(160)));
}

/// `0:P3` endpoint 0's run of three passes; `<2` the run before ended with two.
fn words(report: &Report) -> String {
    let mut words = vec![if report.base.is_some() { "delta" } else { "full" }.to_owned()];
    words.extend(report.blind.iter().map(|reason| format!("blind:{reason}")));
    words.extend(report.runs.iter().map(|run| {
        let outcome = if run.outcome == Outcome::Pass { 'P' } else { 'F' };
        let before = run.before.map(|count| format!("<{count}")).unwrap_or_default();
        let dependencies = if run.dependencies.is_empty() { String::new() } else { format!("{:?}", run.dependencies) };
        format!("{}:{outcome}{}{before}{dependencies}", run.endpoint, run.count)
    }));
    words.extend(report.lost.iter().map(|id| format!("lost:{id}")));
    if report.unchanged > 0 {
        words.push(format!("={}", report.unchanged));
    }
    words.join(" ")
}

#[test]
fn a_run_is_news_until_it_settles_and_when_it_ends() {
    let mut node = Node::new(2);
    node.see(1, "PPPPP");
    let mut said = Vec::new();
    for outcomes in ["P", "P", "P", "P", "P", "F", "FFFFF", "F", "PFP", ""] {
        node.see(0, outcomes);
        said.push(words(&node.tell()));
    }
    assert_eq!(
        said,
        [
            "full 0:P1 1:P5",
            "delta 0:P2 =1",
            "delta 0:P3 =1",
            "delta =2",
            "delta =2",
            "delta 0:F1<5 =1",
            "delta 0:F6 =1",
            "delta =2",
            "delta 0:P1<7 0:F1<1 0:P1<1 =1",
            "delta =2",
        ]
    );
}

#[test]
fn a_failing_dependency_is_news_once() {
    let mut node = Node::new(1);
    node.see(0, "PPPP");
    node.tell();
    let seen = || Observation::pass().with_dependencies(["db"]);
    node.ledger.observe(EndpointId(0), seen(), node.now, node.now);
    assert_eq!(words(&node.tell()), r#"delta 0:P5["db"]"#);
    node.ledger.observe(EndpointId(0), seen(), node.now, node.now);
    assert_eq!(words(&node.tell()), "delta =1");
    node.see(0, "P");
    assert_eq!(words(&node.tell()), "delta 0:P7");
}

#[test]
fn after_silence_or_refusal_the_next_is_full_and_numbered_above() {
    let mut node = Node::new(1);
    node.see(0, "PPPP");
    let first = node.report();
    node.ledger.unanswered();
    let second = node.report();
    assert_eq!((words(&second).as_str(), second.seq), ("full 0:P4", first.seq + 1));
    node.ledger.acked(first.seq);
    node.ledger.refused(first.seq, 99);
    node.ledger.acked(second.seq);
    assert_eq!(words(&node.tell()), "delta =1", "an answer to an older report changes nothing");
    let report = node.report();
    node.ledger.refused(report.seq, 500);
    assert!(node.ledger.urgent());
    let full = node.tell();
    assert_eq!((words(&full).as_str(), full.seq), ("full 0:P4", 501));
    // Asking again while one is in flight gives it up.
    node.report();
    assert_eq!(words(&node.report()), "full 0:P4");
}

#[test]
fn what_stalls_is_lost_and_counts_anew() {
    let mut node = Node::new(2);
    node.see(0, "FFFF");
    node.see(1, "PPPP");
    node.tell();
    node.now += endpoint(0).patience();
    node.see(1, "P");
    assert_eq!(words(&node.tell()), "delta =2", "patience has not run out yet");
    node.now += Duration::from_millis(1);
    assert_eq!(words(&node.tell()), "delta lost:0 =1");
    assert_eq!(words(&node.tell()), "delta =1");
    node.see(0, "F");
    assert_eq!(words(&node.tell()), "delta 0:F1 =1");
    // Lost and seen again between two reports: the new run replaces the old one, whose end nobody saw.
    node.now += endpoint(0).patience() + Duration::from_millis(1);
    node.see(0, "F");
    node.see(1, "P");
    assert_eq!(words(&node.tell()), "delta 0:F1 1:P1");
    assert_eq!(words(&node.tell()), "delta =2");
}

#[test]
fn what_was_gathered_blind_never_counts() {
    let mut node = Node::new(1);
    node.see(0, "FFFF");
    node.tell();
    node.ledger.set_blind(Some("3 of 4 controls fail".into()), node.now);
    assert!(node.ledger.urgent());
    node.see(0, "FFFF");
    assert_eq!(words(&node.tell()), "delta blind:3 of 4 controls fail");
    let begun_blind = node.now;
    node.now += Duration::from_millis(1);
    node.ledger.set_blind(None, node.now);
    node.ledger.observe(EndpointId(0), Observation::fail("begun blind"), begun_blind, node.now);
    assert_eq!(words(&node.tell()), "delta");
    node.see(0, "F");
    assert_eq!(words(&node.tell()), "delta 0:F1");
    // Blind and seeing again between two reports: what was told is taken back.
    node.ledger.set_blind(Some("again".into()), node.now);
    node.ledger.set_blind(None, node.now);
    assert_eq!(words(&node.tell()), "delta lost:0");
}

#[test]
fn removed_endpoints_leave_without_a_word() {
    let mut node = Node::new(2);
    node.see(0, "PPPP");
    node.see(1, "PPPP");
    node.tell();
    node.ledger.forget(EndpointId(0));
    node.see(0, "F");
    assert_eq!(words(&node.tell()), "delta =1");
}

#[test]
fn urgent_is_what_may_change_a_verdict() {
    let mut node = Node::new(1);
    // (seen, urgent) with a report after each.
    let cases = [("P", false), ("P", false), ("P", false), ("F", true), ("F", true), ("F", true), ("F", false)];
    for (i, (outcomes, urgent)) in cases.into_iter().chain([("P", true), ("P", false)]).enumerate() {
        node.see(0, outcomes);
        assert_eq!(node.ledger.urgent(), urgent, "step {i}");
        node.tell();
        assert!(!node.ledger.urgent());
    }
    let report = node.report();
    node.see(0, "F");
    assert!(!node.ledger.urgent(), "one report at a time");
    node.ledger.acked(report.seq);
    assert!(node.ledger.urgent());
}

#[test]
fn a_steady_state_of_a_thousand_endpoints_costs_a_few_bytes() {
    let mut node = Node::new(1000);
    for _ in 0..5 {
        (0..1000).for_each(|id| node.see(id, "P"));
    }
    node.tell();
    (0..1000).for_each(|id| node.see(id, "P"));
    let mut bytes = Vec::new();
    ciborium::into_writer(&node.tell(), &mut bytes).unwrap();
    assert!(bytes.len() <= 60, "{} bytes", bytes.len());
}

/// What the state does with reports (the rules in `core::report`), and all the history that it can know.
#[derive(Default)]
struct Receiver {
    last: u64,
    /// Deltas are refused until the next full report.
    forgot: bool,
    held: BTreeMap<EndpointId, u32>,
    /// By endpoint and the run's number: outcome, count, whether that is final.
    history: BTreeMap<(EndpointId, u32), (Outcome, u32, bool)>,
}

impl Receiver {
    /// `Err` names the last one accepted.
    fn receive(&mut self, report: &Report) -> Result<(), u64> {
        let named = |id: &EndpointId| report.lost.contains(id) || report.runs.iter().any(|run| run.endpoint == *id);
        let going_on = self.held.keys().filter(|id| !named(id)).count();
        let fits =
            report.base.is_none_or(|base| base == self.last && !self.forgot && going_on <= report.unchanged as usize);
        if report.seq <= self.last || !fits {
            return Err(self.last);
        }
        self.last = report.seq;
        self.forgot = false;
        if report.base.is_none() || report.blind.is_some() {
            self.held.clear();
        }
        self.held.retain(|id, _| !report.lost.contains(id));
        report.runs.iter().for_each(|run| self.note(run));
        Ok(())
    }

    fn note(&mut self, run: &Run) {
        if let Some(before) = run.before {
            let other = if run.outcome == Outcome::Pass { Outcome::Fail } else { Outcome::Pass };
            self.history.insert((run.endpoint, run.number - 1), (other, before, true));
        }
        self.held.insert(run.endpoint, run.number);
        self.history.insert((run.endpoint, run.number), (run.outcome, run.count, false));
    }
}

/// What was really observed.
#[derive(Default)]
struct Truth {
    runs: BTreeMap<u32, Vec<(Outcome, u32)>>,
    /// How many runs of an endpoint were acknowledged, the current one of then included.
    acknowledged: BTreeMap<u32, usize>,
}

impl Truth {
    /// Lets the node see that, unless the endpoint would end more runs than the ledger remembers.
    fn see(&mut self, node: &mut Node, id: u32, pass: bool) {
        let outcome = if pass { Outcome::Pass } else { Outcome::Fail };
        let runs = self.runs.entry(id).or_default();
        let ended = runs.len() - self.acknowledged.get(&id).map_or(0, |count| count - 1);
        match runs.last_mut() {
            Some((last, count)) if *last == outcome => *count += 1,
            _ if ended > ENDED_LIMIT => return,
            _ => runs.push((outcome, 1)),
        }
        node.see(id, if pass { "P" } else { "F" });
    }

    fn answered(&mut self, report: &Report) {
        for run in &report.runs {
            self.acknowledged.insert(run.endpoint.0, run.number as usize);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Endpoint, pass?
    See(u32, bool),
    /// The node reports, and sees this before it learns the report's fate.
    Report(Fate, Vec<(u32, bool)>),
    /// An old report arrives late.
    Late(prop::sample::Index),
    /// The state forgets the node's runs, as at a new term.
    Forget,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    Lost,
    /// It takes effect, but the answer is lost.
    AnswerLost,
    /// It takes effect twice.
    Repeated,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        4 => Just(Fate::Answered), 1 => Just(Fate::Lost), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::Repeated)
    ];
    let see = || (0..3_u32, prop::bool::weighted(0.7));
    let meanwhile = prop::collection::vec(see(), 0..3);
    let step = prop_oneof![
        12 => see().prop_map(|(id, pass)| Step::See(id, pass)),
        6 => (fate, meanwhile).prop_map(|(fate, seen)| Step::Report(fate, seen)),
        1 => any::<prop::sample::Index>().prop_map(Step::Late),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// However reports are lost, delayed and repeated, the receiver ends up with every run's exact length, as long as no
    /// endpoint turns more often between two answers than the ledger remembers.
    #[test]
    fn the_receiver_reconstructs_every_run(steps in steps()) {
        let mut node = Node::new(3);
        let mut receiver = Receiver::default();
        let mut truth = Truth::default();
        let mut sent = Vec::new();
        for step in steps {
            match step {
                Step::See(id, pass) => truth.see(&mut node, id, pass),
                Step::Report(fate, meanwhile) => {
                    let report = node.report();
                    sent.push(report.clone());
                    for (id, pass) in meanwhile {
                        truth.see(&mut node, id, pass);
                    }
                    let answer = if matches!(fate, Fate::Lost) { None } else { Some(receiver.receive(&report)) };
                    if matches!(fate, Fate::Repeated) {
                        prop_assert!(receiver.receive(&report).is_err());
                    }
                    match answer.filter(|_| !matches!(fate, Fate::AnswerLost)) {
                        None => node.ledger.unanswered(),
                        Some(Err(last)) => node.ledger.refused(report.seq, last),
                        Some(Ok(())) => {
                            truth.answered(&report);
                            node.ledger.acked(report.seq);
                        }
                    }
                }
                Step::Late(which) if !sent.is_empty() => {
                    let late: &Report = which.get(&sent);
                    let _ = receiver.receive(late);
                }
                Step::Late(_) => {}
                Step::Forget => {
                    receiver.forgot = true;
                    receiver.held.clear();
                }
            }
        }
        // Within two reports both agree again, and a full one brings the counts up to date.
        for _ in 0..2 {
            let report = node.ledger.next_report(node.now, true);
            match receiver.receive(&report) {
                Ok(()) => node.ledger.acked(report.seq),
                Err(last) => node.ledger.refused(report.seq, last),
            }
        }
        for (id, runs) in truth.runs {
            let told: Vec<(Outcome, u32)> = (1..)
                .map_while(|number| receiver.history.get(&(EndpointId(id), number)))
                .map(|(outcome, count, _)| (*outcome, *count))
                .collect();
            prop_assert_eq!(told, runs, "endpoint {}", id);
        }
    }
}
