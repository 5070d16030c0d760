//! What only a leader does: propose what is due, and carry out the intents that the log holds.
//!
//! ```text
//! due ─▶ propose the intent ─▶ (committed) ─▶ ReadIndex ─▶ read ─▶ conditional write ─▶ read back ─▶ ask every nameserver
//!        `apply` checks again                 └────────── under a lease that is renewed ─────────┘
//! ```
//! Believing to lead decides nothing here: proposals carry the term and the log refuses another's; a write begins only
//! after a quorum confirmed the leadership, goes on only while it is confirmed anew, and names a committed intent
//! (invariant 2). Whoever loses leadership drops everything; the successor finds the intent in the state and goes on under
//! the same epoch (invariant 10).

mod execute;
mod measure;
pub mod plan;
pub mod reconcile;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    core::{
        names::{ClusterId, LogTime, NodeId, ServiceName},
        record::{Record, RrSet},
        report::Report,
        sabotage::Sabotage,
        state::{Action, Command, Position, Response, State},
        switch::NameserverLine,
    },
    dns::Providers,
    dynamodb::Tables,
    surroundings::WallClock,
};

/// How many reports may wait for the next entry.
const REPORTS_WAITING: usize = 64;

/// Leadership is gone, or could not be confirmed: whatever was under way is the successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node does not lead, or no quorum confirms it")]
pub struct Deposed;

/// A confirmed leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The term in which a quorum confirmed it.
    pub term: u64,
    /// Until when no other leader can have been elected.
    pub until: Instant,
}

/// What a leader needs of consensus.
pub trait Log: Send + Sync + 'static {
    /// Reads the applied state.
    fn with_state<R>(&self, read: impl FnOnce(&State) -> R) -> R;

    /// Changes whenever something was applied.
    fn applied(&self) -> watch::Receiver<Position>;

    /// Commits and applies a command as the leader of exactly `term`.
    fn propose(
        &self,
        term: u64,
        command: Command,
    ) -> impl Future<Output = Result<(Position, Response), Deposed>> + Send;

    /// Has a quorum confirm the leadership (ReadIndex) and waits until what was committed then is applied.
    fn confirm(&self) -> impl Future<Output = Result<Lease, Deposed>> + Send;
}

/// Who asks the authoritative nameservers.
#[async_trait]
pub trait Nameservers: Send + Sync {
    /// Asks every nameserver of the record's zone until all answer `wanted` or the time is over.
    async fn settle(&self, record: &Record, wanted: &RrSet, within: Duration) -> Vec<NameserverLine>;
}

/// What a leader works with.
#[derive(Clone)]
pub struct Tools {
    /// Written into every fence.
    pub cluster: ClusterId,
    /// Where records are written.
    pub providers: Providers,
    /// Who is asked whether the world sees it.
    pub nameservers: Arc<dyn Nameservers>,
    /// How long nameservers may take before the laggards are reported.
    pub settle_within: Duration,
    /// What is put on commands as the time of day.
    pub wall: WallClock,
    /// Where replication is measured.
    pub tables: Arc<dyn Tables>,
    /// From one heartbeat in a table to the next.
    pub heartbeat: Duration,
}

/// What a reporter is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportReply {
    /// Send a full report, numbered above this.
    pub needs_full: Option<u64>,
}

/// One term of leadership.
pub struct Office<L> {
    log: Arc<L>,
    tools: Tools,
    term: u64,
    clock: LogClock,
    /// Of the switches that a worker left when no quorum confirmed the leadership.
    accounts: Mutex<BTreeMap<ServiceName, execute::Accounts>>,
    reports: mpsc::Sender<Waiting>,
}

/// A report in hand.
struct Waiting {
    report: Report,
    since: Instant,
    reply: oneshot::Sender<ReportReply>,
}

impl Waiting {
    /// The report as it is put on the log now: a leader that was cut off must not take for fresh what came in before.
    fn now(self) -> (Report, oneshot::Sender<ReportReply>) {
        let waited = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        (Report { waited, ..self.report }, self.reply)
    }
}

/// Log time of a leader in its term: what it took over, and its own monotonic clock since.
///
/// It outlives the office: a leader that no quorum confirmed for a while, and that takes office again in the same term, would
/// else let log time stand still meanwhile, and what was observed before would be as fresh as ever (invariant 4).
#[derive(Debug, Clone, Copy)]
pub struct LogClock {
    term: u64,
    taken_over: LogTime,
    since: Instant,
}

impl LogClock {
    /// The clock of this term: the one that runs already, or one that goes on from the log's time.
    fn of(term: u64, running: Option<Self>, log_time: LogTime) -> Self {
        running.filter(|clock| clock.term == term).unwrap_or(Self { term, taken_over: log_time, since: Instant::now() })
    }

    fn now(self) -> LogTime {
        self.taken_over.after(self.since.elapsed())
    }
}

impl<L: Log> Office<L> {
    /// Takes office and works until leadership is lost or `cancel` is triggered. Publishes itself in `desk` meanwhile. `clock`
    /// is that of the office before, if there was one in this process, and becomes this one's.
    pub async fn hold(
        log: Arc<L>,
        tools: Tools,
        term: u64,
        clock: &mut Option<LogClock>,
        desk: watch::Sender<Option<Arc<Self>>>,
        cancel: CancellationToken,
    ) {
        // Everything that earlier terms committed is applied once this returns: the log time taken over is theirs.
        let confirm = async { Sabotage::NoReadIndex.active() || plan::may_act(term, log.confirm().await.ok()) };
        let confirmed = tokio::select! {
            confirmed = confirm => confirmed,
            () = cancel.cancelled() => return,
        };
        if confirmed {
            let clock = *clock.insert(LogClock::of(term, *clock, log.with_state(|state| state.log_time)));
            let (reports, inbox) = mpsc::channel(REPORTS_WAITING);
            let office = Arc::new(Self { log, tools, term, clock, accounts: Mutex::default(), reports });
            desk.send_replace(Some(office.clone()));
            info!(term, "took office");
            tokio::select! {
                () = office.clone().coalesce(inbox) => {}
                () = office.clone().dispatch() => {}
                () = office.clone().measure() => {}
                () = cancel.cancelled() => {}
            }
            desk.send_replace(None);
            info!(term, "left office");
        }
    }

    /// The term held.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Stamps an action and has it committed and applied.
    pub async fn propose(&self, action: Action) -> Result<Response, Deposed> {
        self.commit(action).await.map(|(_, response)| response)
    }

    /// The same, with the place in the log.
    pub async fn commit(&self, action: Action) -> Result<(Position, Response), Deposed> {
        let wall = u64::try_from(self.tools.wall.now().as_millis()).unwrap_or(u64::MAX);
        self.log.propose(self.term, Command::stamped(self.clock.now(), wall, action)).await
    }

    /// Hands in a report; answers once it is committed.
    pub async fn report(&self, report: Report) -> Result<ReportReply, Deposed> {
        let (reply, answer) = oneshot::channel();
        self.reports.send(Waiting { report, since: Instant::now(), reply }).await.map_err(|_| Deposed)?;
        answer.await.map_err(|_| Deposed)
    }

    /// Reports that arrive while an entry is being committed share the next one.
    async fn coalesce(self: Arc<Self>, mut inbox: mpsc::Receiver<Waiting>) {
        let mut waiting = Vec::with_capacity(REPORTS_WAITING);
        while inbox.recv_many(&mut waiting, REPORTS_WAITING).await > 0 {
            // Whoever gave up on an answer sends anew.
            let kept = waiting.drain(..).filter(|waiting: &Waiting| !waiting.reply.is_closed());
            let (reports, replies): (Vec<_>, Vec<_>) = kept.map(Waiting::now).unzip();
            if reports.is_empty() {
                continue;
            }
            let nodes: Vec<NodeId> = reports.iter().map(|report| report.node).collect();
            let Ok(Response::Reports { needs_full }) = self.propose(Action::Reports(reports)).await else { return };
            for (node, reply) in nodes.into_iter().zip(replies) {
                let refused = needs_full.iter().find(|(refused, _)| *refused == node).map(|(_, last)| *last);
                let _ = reply.send(ReportReply { needs_full: refused });
            }
        }
    }

    /// Proposes what is due and keeps one worker a service that has something to do with its provider.
    async fn dispatch(self: Arc<Self>) {
        let mut applied = self.log.applied();
        let mut workers: JoinSet<(ServiceName, Result<(), Deposed>)> = JoinSet::new();
        let mut busy: BTreeSet<ServiceName> = BTreeSet::new();
        let mut next_look = self.first_looks();
        loop {
            applied.mark_unchanged();
            for action in self.log.with_state(State::due) {
                match self.propose(action.clone()).await {
                    Ok(Response::Refused(why)) => warn!(?action, %why, "the log refused a proposal of ours"),
                    Ok(_) => info!(?action, "proposed"),
                    Err(Deposed) => return,
                }
            }
            let now = Instant::now();
            for (service, interval) in self.errands() {
                if busy.contains(&service) || next_look.get(&service).is_some_and(|at| *at > now && interval.is_some())
                {
                    continue;
                }
                next_look.insert(service.clone(), now + interval.unwrap_or_default());
                busy.insert(service.clone());
                workers.spawn(self.clone().work(service));
            }
            let wake = next_look.iter().filter(|(service, _)| !busy.contains(*service)).map(|(_, at)| *at).min();
            tokio::select! {
                changed = applied.changed() => if changed.is_err() { return },
                Some(done) = workers.join_next() => match done {
                    Ok((service, Ok(()))) => drop(busy.remove(&service)),
                    // Unconfirmed just now: if it stays so another will be elected, and this office ends.
                    Ok((service, Err(Deposed))) => {
                        busy.remove(&service);
                        sleep(UNCONFIRMED_PAUSE).await;
                    }
                    // A worker that panicked is a fault of ours: leave office rather than go on half blind.
                    Err(panic) => {
                        warn!(%panic, "a worker failed");
                        return;
                    }
                },
                () = sleep_until(wake.unwrap_or(now + ADOPT_EVERY)) => {
                    next_look.retain(|service, _| self.log.with_state(|s| s.services.contains_key(service)));
                }
            }
        }
    }

    /// A new leader's first looks, spread over each service's interval: providers limit how fast they are asked.
    fn first_looks(&self) -> BTreeMap<ServiceName, Instant> {
        let now = Instant::now();
        let errands = self.errands();
        let share = u32::try_from(errands.len()).unwrap_or(u32::MAX);
        let spread = |(i, (service, interval)): (u32, (ServiceName, Option<Duration>))| {
            (service, now + interval.unwrap_or_default() / share * i)
        };
        (0..).zip(errands).map(spread).collect()
    }

    /// The services that need a look at their provider: at once when a switch is open (`None`), else every so often.
    fn errands(&self) -> Vec<(ServiceName, Option<Duration>)> {
        self.log.with_state(|state| {
            let errand = |(name, service): (&ServiceName, &crate::core::state::ServiceState)| {
                let interval = service.service.policy.reconcile;
                // Until it is adopted, a service is looked at often: somebody is probably waiting for it.
                let interval = if service.active.is_none() { interval.min(ADOPT_EVERY) } else { interval };
                (name.clone(), service.open.is_none().then_some(interval))
            };
            state.services.iter().map(errand).collect()
        })
    }

    async fn work(self: Arc<Self>, service: ServiceName) -> (ServiceName, Result<(), Deposed>) {
        let open = self.log.with_state(|state| state.services.get(&service).is_some_and(|s| s.open.is_some()));
        let done = if open { self.carry_out(&service).await } else { self.look(&service).await };
        (service, done)
    }
}

/// The pause after a leadership that no quorum confirmed.
const UNCONFIRMED_PAUSE: Duration = Duration::from_millis(200);
/// How often an unadopted service's provider is read.
const ADOPT_EVERY: Duration = Duration::from_secs(2);
