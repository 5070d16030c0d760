//! A leader against a log and a provider that fail at every step in turn.

mod accounts;
mod clock;
mod halfway;
mod provider;
mod serving;

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    core::{
        names::Epoch,
        record::{Fence, RecordValue},
        state::{Refusal, ServiceState},
        switch::{Cause, Intent, SwitchStatus},
        tests::service,
    },
    dns::{Change, FenceReading, Grade, Provider, ProviderError, Reading, Receipt},
    dynamodb::NoTables,
};
use provider::{Fate, TestProvider};

/// What a step does when it is its turn to fail.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The leader is gone before the step takes effect.
    Before,
    /// The step takes effect, but the leader never learns of it.
    After,
}

const LEASE: Duration = Duration::from_secs(1);

/// Counts the steps of a leader down to the one that fails.
#[derive(Debug)]
struct Fuse {
    left: AtomicU32,
    fault: Fault,
}

impl Fuse {
    fn blows(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1))) == Ok(1)
    }

    fn burnt(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

/// What a confirmation says after the one that the office began with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Later {
    /// The same again.
    Same,
    /// Somebody else was elected.
    AnotherTerm,
    /// Nothing: no quorum answers, and no refusal comes either.
    Silence,
}

/// A log with one node: applies at once, answers only the leader of its term, and only until the fuse blows.
struct TestLog {
    state: Mutex<(State, u64, u64)>,
    applied: watch::Sender<Position>,
    fuse: Arc<Fuse>,
    later: Mutex<(Later, u32)>,
    /// How long the next entry of reports waits for its quorum.
    slow: Mutex<Duration>,
}

impl TestLog {
    fn commit(&self, command: &Command) -> (Position, Response) {
        let mut state = self.state.lock().unwrap();
        state.2 += 1;
        let position = Position { term: state.1, index: state.2 };
        let response = state.0.apply(position, command);
        drop(state);
        self.applied.send_replace(position);
        (position, response)
    }

    fn term(&self) -> u64 {
        self.state.lock().unwrap().1
    }
}

impl Log for TestLog {
    fn with_state<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.state.lock().unwrap().0)
    }

    fn applied(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    async fn propose(&self, term: u64, command: Command) -> Result<(Position, Response), Deposed> {
        if self.fuse.burnt() || term != self.term() {
            return Err(Deposed);
        }
        if matches!(command.action, Action::Reports(_)) {
            let slow = std::mem::take(&mut *self.slow.lock().unwrap());
            tokio::time::sleep(slow).await;
        }
        if !self.fuse.blows() {
            return Ok(self.commit(&command));
        }
        if self.fuse.fault == Fault::After {
            self.commit(&command);
        }
        Err(Deposed)
    }

    async fn confirm(&self) -> Result<Lease, Deposed> {
        if self.fuse.burnt() || self.fuse.blows() {
            return Err(Deposed);
        }
        let (later, asked) = {
            let mut later = self.later.lock().unwrap();
            later.1 += 1;
            *later
        };
        let term = match later {
            Later::AnotherTerm if asked > 1 => self.term() + 1,
            // The second confirmation begins the write, the third would renew it.
            Later::Silence if asked > 2 => std::future::pending().await,
            _ => self.term(),
        };
        Ok(Lease { term, until: Instant::now() + LEASE })
    }
}

struct NoNameservers;

#[async_trait]
impl Nameservers for NoNameservers {
    async fn settle(&self, _: &Record, _: &RrSet, _: Duration) -> Vec<NameserverLine> {
        vec![]
    }
}

struct World {
    log: Arc<TestLog>,
    provider: Arc<TestProvider>,
}

impl World {
    /// One node, one service, whose record stands as given.
    fn new(found: Option<u8>, fence: FenceReading, fails_at: u32, fault: Fault) -> Self {
        let fuse = Arc::new(Fuse { left: AtomicU32::new(fails_at), fault });
        let mut state = State::default();
        state.set_voters(Position { term: 1, index: 1 }, [(1, "a".parse().unwrap())].into());
        let log = TestLog {
            state: Mutex::new((state, 1, 1)),
            applied: watch::channel(Position::default()).0,
            fuse: fuse.clone(),
            later: Mutex::new((Later::Same, 0)),
            slow: Mutex::default(),
        };
        let mut app = service("app", &["eu", "us"]);
        app.policy.cooldown = Duration::ZERO;
        let stands = Mutex::new(Reading { rrset: found.map(rrset), fence });
        let provider = TestProvider {
            stands,
            taken: Mutex::default(),
            fuse,
            fates: Mutex::default(),
            hangs: false,
            begun: Arc::default(),
            ends: Arc::default(),
            grade: Grade::A,
            goes_in_steps: false,
            dropped: Arc::default(),
        };
        let world = Self { log: Arc::new(log), provider: Arc::new(provider) };
        world.commit(Action::ApplyService {
            service: Box::new(app),
            source: String::new(),
            by: String::new(),
            exclusive: true,
        });
        world
    }

    fn commit(&self, action: Action) -> Response {
        self.log.commit(&Command { at: LogTime(0), wall: 0, action }).1
    }

    /// Adopted in eu under epoch 1, and a switch to us authorised under epoch 2.
    fn switching(fails_at: u32, fault: Fault) -> Self {
        let world = Self::new(Some(0), FenceReading::Present(fence("prod", 1)), fails_at, fault);
        let to = |to: &str, epoch, cause| {
            Action::Authorise(Intent {
                service: "app".parse().unwrap(),
                epoch: Epoch(epoch),
                to: to.parse().unwrap(),
                cause,
            })
        };
        world.commit(to("eu", 1, Cause::Adopt));
        let (service, epoch) = ("app".parse::<ServiceName>().unwrap(), Epoch(1));
        world.commit(Action::Written { service: service.clone(), epoch, receipts: BTreeMap::new() });
        world.commit(Action::Observed { service, epoch, answers: vec![] });
        let cause = Cause::Manual {
            by: "ann".into(),
            reason: String::new(),
            overrides: ["candidate-up".parse().unwrap()].into(),
        };
        assert_eq!(world.commit(to("us", 2, cause)), Response::Authorised(Epoch(2)));
        world
    }

    fn tools(provider: Arc<dyn Provider>) -> Tools {
        Tools {
            cluster: "prod".parse().unwrap(),
            providers: Arc::new([("main".parse().unwrap(), provider)].into()),
            nameservers: Arc::new(NoNameservers),
            settle_within: Duration::from_secs(1),
            wall: crate::surroundings::WallClock::default(),
            tables: Arc::new(NoTables),
            heartbeat: Duration::from_secs(1),
        }
    }

    async fn lead(&self, until: impl Fn(&ServiceState) -> bool + Send + 'static) {
        self.lead_with(self.provider.clone(), until).await;
    }

    async fn lead_with(&self, provider: Arc<dyn Provider>, until: impl Fn(&ServiceState) -> bool + Send + 'static) {
        let (mut clock, desk, cancel) = (None, watch::channel(None).0, CancellationToken::new());
        let (log, tools) = (self.log.clone(), Self::tools(provider));
        let office = Office::hold(log, tools, self.log.term(), &mut clock, desk, cancel.clone());
        let mut applied = self.log.applied();
        let seen = async {
            while !self.log.fuse.burnt() && !self.log.with_state(|state| until(&state.services["app"])) {
                let _ = tokio::time::timeout(Duration::from_secs(1), applied.changed()).await;
            }
        };
        // The clock is paused: this bound is reached at once when nothing can happen any more.
        tokio::select! {
            () = office => {}
            () = seen => {}
            () = tokio::time::sleep(Duration::from_secs(300)) => panic!("the leader does not get on"),
        }
    }

    fn next_term(&self) {
        let mut state = self.log.state.lock().unwrap();
        state.1 += 1;
        self.log.fuse.left.store(u32::MAX, Ordering::SeqCst);
    }

    fn taken(&self) -> Vec<(u64, RrSet)> {
        self.provider.taken.lock().unwrap().clone()
    }
}

fn rrset(last: u8) -> RrSet {
    RrSet { ttl: 60, values: [RecordValue::A([192, 0, 2, last].into())].into() }
}

fn fence(cluster: &str, epoch: u64) -> Fence {
    Fence { cluster: cluster.parse().unwrap(), epoch: Epoch(epoch) }
}

/// Invariant 10: a leader lost at any step costs time, never a second epoch, a half-written record or a stuck service.
#[tokio::test(start_paused = true)]
async fn a_successor_finishes_the_same_epoch_whatever_the_step_that_failed() {
    let mut failed_steps = 0;
    for fault in [Fault::Before, Fault::After] {
        for step in 1.. {
            let world = World::switching(step, fault);
            world.lead(|app| app.open.is_none()).await;
            let finished_first = !world.log.fuse.burnt();
            world.next_term();
            world.lead(|app| app.open.is_none()).await;
            world.log.with_state(|state| {
                let app = &state.services["app"];
                assert_eq!((app.epoch, app.active.as_ref().unwrap().as_str()), (Epoch(2), "us"), "{fault:?} at {step}");
                assert_eq!(app.switches().next().unwrap().status(), SwitchStatus::Observed, "{fault:?} at {step}");
            });
            let wanted = Reading { rrset: Some(rrset(1)), fence: FenceReading::Present(fence("prod", 2)) };
            assert_eq!(*world.provider.stands.lock().unwrap(), wanted, "{fault:?} at {step}");
            assert_eq!(world.taken(), [(2, rrset(1))], "{fault:?} at {step}: written once, under the one epoch");
            if finished_first {
                break;
            }
            failed_steps += 1;
        }
    }
    assert!(failed_steps >= 10, "only {failed_steps} steps were made to fail");
}

#[tokio::test(start_paused = true)]
async fn adoption_takes_the_record_as_it_stands() {
    for (found, fence_found, region, epoch) in [
        (Some(1), FenceReading::Absent, "us", 1),
        (None, FenceReading::Absent, "eu", 1),
        (Some(0), FenceReading::Present(fence("prod", 41)), "eu", 42),
    ] {
        let world = World::new(found, fence_found, u32::MAX, Fault::Before);
        world.lead(|app| app.active.is_some()).await;
        world.log.with_state(|state| {
            let app = &state.services["app"];
            assert_eq!((app.active.as_ref().unwrap().as_str(), app.epoch), (region, Epoch(epoch)));
        });
        assert_eq!(world.taken().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_left_alone_and_named() {
    let unreadable = FenceReading::Unreadable(vec!["hello".into()]);
    for (found, fence_found, says) in [
        (Some(9), FenceReading::Absent, "192.0.2.9 (TTL 60 s): no region's values"),
        (Some(0), FenceReading::Present(fence("other", 3)), "belongs to cluster `other` (its fence says epoch 3)"),
        (Some(0), unreadable, "is no fence: `hello`"),
    ] {
        let world = World::new(found, fence_found, u32::MAX, Fault::Before);
        let said = |app: &ServiceState| format!("{:?} {:?}", app.trouble, app.drift);
        world.lead(move |app| said(app).contains(says)).await;
        assert!(world.taken().is_empty());
        assert_eq!(world.log.with_state(|state| state.services["app"].epoch), Epoch(0));
    }
}

#[tokio::test(start_paused = true)]
async fn reconcile_asserts_older_epochs_again_and_only_tells_of_a_strange_hand() {
    let world = World::switching(u32::MAX, Fault::Before);
    world.lead(|app| app.open.is_none()).await;
    let strange = Reading { rrset: Some(rrset(9)), fence: FenceReading::Present(fence("prod", 2)) };
    *world.provider.stands.lock().unwrap() = strange.clone();
    world.lead(|app| app.drift.as_ref().is_some_and(|drift| drift.contains("answers 192.0.2.9"))).await;
    assert_eq!(*world.provider.stands.lock().unwrap(), strange, "nothing was written");
    // A superseded write of epoch 1 that came through late, as grade C cannot exclude.
    *world.provider.stands.lock().unwrap() =
        Reading { rrset: Some(rrset(0)), fence: FenceReading::Present(fence("prod", 1)) };
    world.lead(|app| app.drift.is_none()).await;
    let wanted = Reading { rrset: Some(rrset(1)), fence: FenceReading::Present(fence("prod", 2)) };
    assert_eq!(*world.provider.stands.lock().unwrap(), wanted);
    assert_eq!(world.taken(), [(2, rrset(1)), (2, rrset(1))]);
}

/// Invariant 2: the office was confirmed once; the write is not.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_confirmation_is_of_another_term_writes_nothing() {
    let world = World::switching(u32::MAX, Fault::Before);
    world.log.later.lock().unwrap().0 = Later::AnotherTerm;
    let began = Instant::now();
    let over = tokio::time::timeout(Duration::from_secs(60), world.lead(|app| app.open.is_none())).await;
    assert!(over.is_err() && began.elapsed() >= Duration::from_secs(60), "the switch stays open");
    assert_eq!(world.taken(), []);
}

/// A write's deadline is never longer than what remains of the last confirmed lease.
#[tokio::test(start_paused = true)]
async fn a_write_is_dropped_when_its_lease_is_not_renewed() {
    let mut world = World::switching(u32::MAX, Fault::Before);
    let provider = Arc::get_mut(&mut world.provider).unwrap();
    provider.hangs = true;
    world.log.later.lock().unwrap().0 = Later::Silence;
    let dropped = world.provider.dropped.clone();
    let began = Instant::now();
    let office = world.lead(|_| false);
    let watched = async {
        while dropped.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = office => unreachable!("nobody ends it"),
        () = watched => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the write goes on without a lease"),
    }
    let held = dropped.lock().unwrap().unwrap() - began;
    assert!(held <= LEASE + Duration::from_millis(100), "{held:?}");
}

fn abort(world: &World) -> Response {
    let cause = Cause::Abort { by: "ann".into(), reason: String::new() };
    let (service, to) = ("app".parse().unwrap(), "eu".parse().unwrap());
    world.commit(Action::Authorise(Intent { service, epoch: Epoch(3), to, cause }))
}

/// Whatever a leader got done of a switch before it was lost, its successor carries out the abort.
#[tokio::test(start_paused = true)]
async fn an_abort_ends_in_the_region_before_whatever_the_step_that_failed() {
    let mut aborted = 0;
    for fault in [Fault::Before, Fault::After] {
        for step in 1.. {
            let world = World::switching(step, fault);
            world.lead(|app| app.open.is_none()).await;
            if !world.log.fuse.burnt() {
                break;
            }
            world.next_term();
            // The last step's answer was lost, not the step: the switch is over.
            if world.log.with_state(|state| state.services["app"].open.is_none()) {
                assert_eq!(abort(&world), Response::Refused(Refusal::NothingToAbort(Epoch(2))));
                continue;
            }
            assert_eq!(abort(&world), Response::Authorised(Epoch(3)), "{fault:?} at {step}");
            let taken = world.taken().len();
            world.lead(|app| app.open.is_none()).await;
            let wanted = Reading { rrset: Some(rrset(0)), fence: FenceReading::Present(fence("prod", 3)) };
            assert_eq!(*world.provider.stands.lock().unwrap(), wanted, "{fault:?} at {step}");
            assert_eq!(world.taken()[taken..], [(3, rrset(0))], "{fault:?} at {step}: nothing of epoch 2 any more");
            aborted += 1;
        }
    }
    assert!(aborted >= 8, "only {aborted} steps were aborted");
}

/// A write that hangs holds no abort up where the provider refuses stale ones, and is not raced where it does not.
#[tokio::test(start_paused = true)]
async fn a_write_under_way_is_let_go_only_where_the_fence_refuses_it() {
    for grade in [Grade::A, Grade::C] {
        let mut world = World::switching(u32::MAX, Fault::Before);
        let provider = Arc::get_mut(&mut world.provider).unwrap();
        (provider.hangs, provider.grade) = (true, grade);
        let dropped = world.provider.dropped.clone();
        let (begun, ends) = (world.provider.begun.clone(), world.provider.ends.clone());
        let operator = async {
            begun.notified().await;
            assert_eq!(abort(&world), Response::Authorised(Epoch(3)));
            tokio::time::sleep(LEASE * 20).await;
            assert_eq!(dropped.lock().unwrap().is_some(), grade == Grade::A, "{grade:?}");
            assert_eq!(world.taken().is_empty(), grade == Grade::C, "{grade:?}: the abort waits only at grade C");
            ends.notify_one();
        };
        tokio::join!(world.lead(|app| app.open.is_none()), operator);
        assert_eq!(world.taken(), [(3, rrset(0))], "{grade:?}: the lost write is not tried again");
    }
}
