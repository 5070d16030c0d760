//! What is looked at, what is never done, and what a rehearsal makes of it.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use async_trait::async_trait;

use super::{
    drill::{Check, Rehearsal, conclusion},
    *,
};
use crate::{
    aws::{Access, Settings},
    core::{
        names::Epoch,
        record::{Fence, RecordValue},
        report::Outcome::Fail,
        safety::RuleOutcome,
        state::{Action, Freeze},
        tests::{Cluster, service},
    },
    dns::{Change, FenceReading, Provider, ProviderError, Reading, Receipt, inspect::read_only},
    dynamodb::DynamoDb,
};

/// Counts what is asked of it.
#[derive(Debug)]
struct Counting {
    grade: Grade,
    least_ttl: u32,
    reads: AtomicUsize,
    rights: AtomicUsize,
    writes: AtomicUsize,
    mute: AtomicBool,
    stands: Mutex<Reading>,
}

#[async_trait]
impl Provider for Counting {
    fn grade(&self) -> Grade {
        self.grade
    }

    fn longest_request(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn published(&self, wanted: &RrSet) -> RrSet {
        RrSet { ttl: wanted.ttl.max(self.least_ttl), ..wanted.clone() }
    }

    async fn read(&self, _: &Record) -> Result<Reading, ProviderError> {
        self.reads.fetch_add(1, Relaxed);
        if self.mute.load(Relaxed) {
            return Err(ProviderError::Transient { message: "no answer in time".into(), retry_after: None });
        }
        Ok(self.stands.lock().unwrap().clone())
    }

    async fn write(&self, _: &Change) -> Result<Receipt, ProviderError> {
        self.writes.fetch_add(1, Relaxed);
        Ok(Receipt("written".into()))
    }

    async fn rights(&self, _: &Record) -> Vec<Finding> {
        self.rights.fetch_add(1, Relaxed);
        vec![Finding::pass(subject::RIGHTS, "may")]
    }
}

#[derive(Debug)]
struct Agreeing;

#[async_trait]
impl Nameservers for Agreeing {
    async fn settle(&self, record: &Record, wanted: &RrSet, _: Duration) -> Vec<NameserverLine> {
        let (record, server, answer) = (record.to_string(), "ns1".into(), wanted.to_string());
        vec![NameserverLine { record, server, answer, agrees: true }]
    }
}

fn rrset(last: u8, ttl: u32) -> RrSet {
    RrSet { ttl, values: [RecordValue::A([192, 0, 2, last].into())].into() }
}

fn fence(cluster: &str, epoch: u64) -> FenceReading {
    FenceReading::Present(Fence { cluster: cluster.parse().unwrap(), epoch: Epoch(epoch) })
}

/// Three sites, `app` active in `west` under epoch 1, and a provider where it stands so.
struct World {
    cluster: Cluster,
    provider: Arc<Counting>,
    tools: Tools,
}

impl World {
    fn new(grade: Grade, least_ttl: u32) -> Self {
        let mut app = service("app", &["west", "east"]);
        app.policy.cooldown = Duration::ZERO;
        let cluster = Cluster::serving(&[app]);
        let stands = Mutex::new(Reading { rrset: Some(rrset(0, 60.max(least_ttl))), fence: fence("prod", 1) });
        let counters = || AtomicUsize::new(0);
        let (reads, rights, writes) = (counters(), counters(), counters());
        let provider = Arc::new(Counting { grade, least_ttl, reads, rights, writes, mute: false.into(), stands });
        let providers = Arc::new([("main".parse().unwrap(), provider.clone() as Arc<dyn Provider>)].into());
        let tools = Tools {
            node: 1,
            cluster: "prod".parse().unwrap(),
            providers: read_only(&providers),
            nameservers: Arc::new(Agreeing),
            prober: check::Client::new(rustls::RootCertStore::empty()),
            tables: DynamoDb::new(Access::new(Settings::default())),
        };
        Self { cluster, provider, tools }
    }

    async fn look(&self) -> Inspected {
        let inspection = Inspection {
            service: Some("app".parse().unwrap()),
            ask: true,
            candidate: Some("east".parse().unwrap()),
            nameservers: true,
            ..Inspection::default()
        };
        // What travels between nodes is what comes back.
        let mut bytes = vec![];
        ciborium::into_writer(&inspection, &mut bytes).unwrap();
        let inspection: Inspection = ciborium::from_reader(&*bytes).unwrap();
        let inspected = self.tools.inspect(Subject::of(&self.cluster.state, &inspection), &inspection).await;
        let mut bytes = vec![];
        ciborium::into_writer(&inspected, &mut bytes).unwrap();
        assert_eq!(ciborium::from_reader::<Inspected, _>(&*bytes).unwrap(), inspected);
        inspected
    }

    async fn finding(&self, of: &str) -> Finding {
        let inspected = self.look().await;
        let all = &inspected.providers[0].records[0].findings;
        all.iter().find(|found| found.subject == of).unwrap_or_else(|| panic!("no {of} in {all:?}")).clone()
    }

    /// A rehearsal in which nodes 1 and 2 found this and node 3 did not answer; every probe passed.
    fn judge(&self, found: &Inspected, failing: &[NodeId]) -> Vec<Check> {
        let node = |node: NodeId, site: &str| {
            let failure = failing.contains(&node).then(|| "timeout".to_owned());
            let probes = vec![ProbeSeen { probe: 0, failure, took: Duration::from_millis(12) }];
            let found = if node == 3 { Err("it is gone".into()) } else { Ok(Inspected { probes, ..found.clone() }) };
            NodeAnswer { node, site: site.parse().unwrap(), voter: true, found, took: Duration::ZERO }
        };
        let answers = [node(1, "a"), node(2, "b"), node(3, "c")];
        let intent = self.cluster.state.rehearsed(&"app".parse().unwrap(), None).unwrap();
        let confirmed = Ok(Duration::from_millis(3));
        let rehearsal =
            Rehearsal { state: &self.cluster.state, intent: &intent, leader: Some(1), confirmed, answers: &answers };
        let checks = rehearsal.judge();
        let said = conclusion(&intent, &checks);
        assert_eq!(said.starts_with("nothing would stop"), checks.iter().all(|check| !check.stops), "{said}");
        checks
    }
}

fn stopping(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| check.stops).map(|check| &*check.finding.subject).collect()
}

#[tokio::test]
async fn looking_reads_and_never_writes() {
    let world = World::new(Grade::A, 0);
    let inspected = world.look().await;
    let provider = &world.provider;
    assert_eq!((provider.reads.load(Relaxed), provider.rights.load(Relaxed)), (1, 1));
    assert_eq!(provider.writes.load(Relaxed), 0, "a drill must not write");
    assert_eq!(stopping(&world.judge(&inspected, &[])), [] as [&str; 0]);
    let only = Inspection::default();
    world.tools.inspect(Subject::of(&world.cluster.state, &only), &only).await;
    assert_eq!((provider.reads.load(Relaxed), provider.rights.load(Relaxed)), (1, 1), "a list asks nobody");
}

#[tokio::test]
async fn what_stands_is_judged_against_the_state() {
    type Stand = fn(&mut Reading);
    let table: [(&str, Stand, RuleOutcome, &str); 12] = [
        ("record", |_| {}, RuleOutcome::Pass, "as the cluster wrote it"),
        ("record", |of| of.rrset = Some(rrset(9, 60)), RuleOutcome::Fail, "the cluster's state says 192.0.2.0"),
        ("record", |of| of.rrset = None, RuleOutcome::Fail, "is gone"),
        ("ttl", |_| {}, RuleOutcome::Pass, "for up to 60 s"),
        ("ttl", |of| of.rrset = Some(rrset(0, 300)), RuleOutcome::Fail, "300 s at the provider, 60 s wanted"),
        ("fence", |_| {}, RuleOutcome::Pass, "ours, epoch 1"),
        ("fence", |of| of.fence = fence("prod", 7), RuleOutcome::Fail, "it says epoch 7, the cluster's state 1"),
        ("fence", |of| of.fence = fence("other", 1), RuleOutcome::Fail, "cluster `other` owns the record, at epoch 1"),
        ("fence", |of| of.fence = FenceReading::Absent, RuleOutcome::Fail, "is gone"),
        ("fence", |of| of.fence = FenceReading::Unreadable(vec!["x".into()]), RuleOutcome::Fail, "is no fence: x"),
        ("write", |_| {}, RuleOutcome::Pass, "under epoch 2, refused by the provider if anything differs"),
        ("write", |of| of.rrset = Some(rrset(9, 60)), RuleOutcome::Fail, "no region's value"),
    ];
    for (subject, stand, outcome, said) in table {
        let world = World::new(Grade::A, 0);
        stand(&mut world.provider.stands.lock().unwrap());
        let found = world.finding(subject).await;
        assert_eq!(found.outcome, outcome, "{found:?}");
        assert!(found.figure.contains(said), "`{said}` is not in {found:?}");
        assert_eq!(found.hint.is_empty(), outcome == RuleOutcome::Pass, "what to do is said: {found:?}");
    }
}

#[tokio::test]
async fn a_provider_without_a_condition_needs_a_cooldown_that_outlasts_a_late_write() {
    let mut world = World::new(Grade::C, 60);
    let late = world.finding("late-write").await;
    assert_eq!(
        (late.outcome, late.figure.as_str()),
        (RuleOutcome::Fail, "a write may live for 2 m, the cooldown is 0 ms")
    );
    world.cluster.state.services.get_mut("app").unwrap().service.policy.cooldown = Duration::from_secs(120);
    assert_eq!(world.finding("late-write").await.outcome, RuleOutcome::Pass);
    // The record is written with 60 s and read back with the same; a wish for 30 would be raised.
    world.cluster.state.services.get_mut("app").unwrap().service.records[0].ttl = 30;
    let ttl = world.finding("ttl").await;
    assert!(
        ttl.outcome == RuleOutcome::Pass && ttl.figure.contains("30 s asked for, the provider makes it 60 s"),
        "{ttl:?}"
    );
}

#[tokio::test]
async fn a_provider_that_is_not_configured_is_a_finding() {
    let mut world = World::new(Grade::A, 0);
    world.tools.providers.clear();
    let inspected = world.look().await;
    let seen = &inspected.providers[0];
    assert_eq!((seen.access.as_ref(), seen.records[0].findings[0].outcome), (None, RuleOutcome::Fail), "{seen:?}");
    let checks = world.judge(&inspected, &[]);
    assert_eq!(stopping(&checks), ["credentials", "credentials"], "at the leader, and at a node that may lead next");
    assert!(checks.iter().any(|check| check.finding.figure.starts_with("if it led: node 1 has no provider `main`")));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_stops_a_switch() {
    let world = World::new(Grade::A, 0);
    world.provider.mute.store(true, Relaxed);
    assert_eq!(world.finding("record").await.outcome, RuleOutcome::Unknown, "whether it stands is not known");
    let found = world.look().await;
    let checks = world.judge(&found, &[]);
    assert_eq!(stopping(&checks), ["write", "write"], "at the leader, and at a node that may lead next: {checks:#?}");
    let figures: Vec<_> = checks.iter().filter(|of| of.stops).map(|of| &of.finding.figure).collect();
    assert!(figures[0].ends_with("could not now: no answer in time"), "{figures:?}");
    assert!(figures[1].starts_with("if it led: "), "{figures:?}");
    // Nothing is rehearsed, so nothing is said of a switch.
    let only = Inspection { ask: true, ..Inspection::default() };
    let seen = world.tools.inspect(Subject::of(&world.cluster.state, &only), &only).await;
    assert!(seen.providers[0].records[0].findings.iter().all(|of| of.subject != "write"), "{seen:?}");
}

#[tokio::test]
async fn nobody_is_told_to_override_what_cannot_be_overridden() {
    type Stand = fn(&mut Reading);
    let table: [(Stand, bool); 3] = [
        (|of| of.fence = fence("other", 9), false),
        (|of| of.fence = FenceReading::Unreadable(vec!["in use".into()]), false),
        (|of| of.rrset = Some(rrset(9, 60)), true),
    ];
    for (stand, overridden) in table {
        let world = World::new(Grade::A, 0);
        stand(&mut world.provider.stands.lock().unwrap());
        let write = world.finding("write").await;
        assert_eq!((write.outcome, write.hint.contains("--override")), (RuleOutcome::Fail, overridden), "{write:?}");
    }
}

#[tokio::test]
async fn a_nameserver_that_does_not_answer_stops_nothing_and_is_shown() {
    let world = World::new(Grade::A, 0);
    let mut found = world.look().await;
    let line = &mut found.nameservers[0];
    (line.agrees, line.answer) = (false, format!("{}timed out", NameserverLine::SILENT));
    let checks = world.judge(&found, &[]);
    assert_eq!(stopping(&checks), [] as [&str; 0]);
    let silent = checks.iter().find(|of| of.finding.subject == "nameservers").unwrap();
    assert_eq!(silent.finding.outcome, RuleOutcome::Unknown);
    assert_eq!(silent.finding.figure, "ns1: no usable answer: timed out");
}

#[tokio::test]
async fn each_thing_that_would_stop_a_switch_is_named_once() {
    type Hold = fn(&mut World);
    let freeze = |by: &str| Freeze { by: by.into(), reason: "migration".into() };
    let held = Action::Freeze { service: None, freeze: freeze("ann") };
    let table: [(&[NodeId], Hold, &[&str]); 4] = [
        (&[], |_| {}, &[]),
        (&[2], |_| {}, &["probe"]),
        (&[], |world| drop((world.cluster.sees(1, 1, Fail, 3), world.cluster.sees(2, 1, Fail, 3))), &["candidate-up"]),
        (&[], |world| world.cluster.state.services.get_mut("app").unwrap().drift = Some("x".into()), &["drift"]),
    ];
    for (failing, hold, wanted) in table {
        let mut world = World::new(Grade::A, 0);
        let found = world.look().await;
        hold(&mut world);
        let checks = world.judge(&found, failing);
        assert_eq!(stopping(&checks), wanted, "{checks:#?}");
        assert!(checks.iter().all(|check| !check.stops || !check.finding.hint.is_empty()), "what to do is said");
    }
    let mut world = World::new(Grade::A, 0);
    let mut found = world.look().await;
    world.cluster.apply(held);
    found.nameservers[0].agrees = false;
    found.providers[0].records[0].findings[0].outcome = RuleOutcome::Unknown;
    let checks = world.judge(&found, &[]);
    assert_eq!(stopping(&checks), ["frozen", "nameservers"], "what is unknown stops nothing: {checks:#?}");
    let silent: Vec<_> = checks.iter().filter(|check| check.finding.subject == "node").collect();
    assert!(silent.len() == 1 && silent[0].finding.outcome == RuleOutcome::Unknown, "{silent:?}");
}
