//! Carrying out one intent: conditional writes under a renewed lease, then the nameservers' answers.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{
    Deposed, Log, Office,
    plan::{Step, Wanted, may_act, step},
};
use crate::{
    core::{
        names::{Epoch, ServiceName},
        record::{Fence, Record, RrSet},
        sabotage::Sabotage,
        safety::Rule,
        service::DriftPolicy,
        state::{Action, Response, ServiceState},
    },
    dns::{Grade, Provider, ProviderError, Reading},
};

/// Attempts at one record before its trouble is told and a pause is made.
const ATTEMPTS: u32 = 3;
/// The first pause after trouble; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Why a record could not be brought to what it shall be.
#[derive(Debug)]
pub(super) enum Halt {
    /// Leadership is gone.
    Deposed,
    /// A later epoch was authorised, or a switch opened, meanwhile: it goes first.
    Overtaken,
    /// Somebody must do something, or time must pass.
    Trouble { text: String, retry_after: Option<Duration> },
}

impl From<Deposed> for Halt {
    fn from(_: Deposed) -> Self {
        Self::Deposed
    }
}

impl From<String> for Halt {
    fn from(text: String) -> Self {
        Self::Trouble { text, retry_after: None }
    }
}

/// What the open switch of a service asks for.
struct Job {
    epoch: Epoch,
    written: bool,
    records: Vec<(Record, RrSet)>,
    overwrite: bool,
    service: ServiceState,
}

impl Job {
    fn of(service: &ServiceState) -> Option<Self> {
        let open = service.open.as_ref()?;
        Some(Self {
            epoch: open.epoch,
            written: open.written.is_some(),
            records: service.answers(&open.to),
            overwrite: may_overwrite(service) || open.cause.overrides(Rule::Drift),
            service: service.clone(),
        })
    }
}

pub(super) fn may_overwrite(service: &ServiceState) -> bool {
    service.service.policy.drift == DriftPolicy::Correct
}

impl<L: Log> Office<L> {
    /// Works on the open switch until it is observed, superseded, or leadership is lost.
    pub(super) async fn carry_out(&self, name: &ServiceName) -> Result<(), Deposed> {
        let mut pause = FIRST_PAUSE;
        let mut receipts = (Epoch(0), BTreeMap::new());
        while let Some(job) = self.log.with_state(|state| state.services.get(name).and_then(Job::of)) {
            let epoch = job.epoch;
            if receipts.0 != epoch {
                receipts = (epoch, BTreeMap::new());
            }
            let done = if job.written {
                // Nothing is written any more, so that nothing need be waited for once a later epoch is authorised.
                tokio::select! {
                    done = self.observe(name, &job) => done,
                    () = self.superseded(name, epoch) => Err(Halt::Overtaken),
                }
            } else {
                self.write_all(name, &job, &mut receipts.1).await
            };
            match done {
                Ok(()) | Err(Halt::Overtaken) => pause = FIRST_PAUSE,
                Err(Halt::Deposed) => return Err(Deposed),
                Err(Halt::Trouble { text, retry_after }) => {
                    warn!(service = %name, %epoch, trouble = %text, "the switch does not settle");
                    self.tell_trouble(name, Some(text)).await?;
                    self.pause(name, epoch, retry_after.unwrap_or(pause).max(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// Waits, but not for a switch that was superseded meanwhile: the new one begins at once.
    async fn pause(&self, name: &ServiceName, epoch: Epoch, span: Duration) {
        tokio::select! {
            () = sleep(span) => {}
            () = self.superseded(name, epoch) => {}
        }
    }

    /// Ends when `epoch` is not the service's last one any more.
    async fn superseded(&self, name: &ServiceName, epoch: Epoch) {
        let mut applied = self.log.applied();
        while self.stands(name, epoch) {
            if applied.changed().await.is_err() {
                // The node stops, and with it whoever asks.
                return std::future::pending().await;
            }
        }
    }

    fn stands(&self, name: &ServiceName, epoch: Epoch) -> bool {
        self.log.with_state(|state| state.services.get(name).is_some_and(|service| service.epoch == epoch))
    }

    /// Replicates what stands in the way, when that has changed.
    pub(super) async fn tell_trouble(&self, name: &ServiceName, text: Option<String>) -> Result<(), Deposed> {
        let text = text.map(|text| text.chars().take(500).collect::<String>());
        if self.log.with_state(|state| state.services.get(name).is_none_or(|s| s.trouble == text)) {
            return Ok(());
        }
        self.propose(Action::Trouble { service: name.clone(), text }).await.map(drop)
    }

    /// Brings every record to what the switch wants; each provider on its own, so that a slow one delays nobody else. Those that
    /// do not get there are told of by name, beside those that stand.
    ///
    /// `receipts` are what providers said in this round and those before: what they took once stands already the next time.
    async fn write_all(
        &self,
        name: &ServiceName,
        job: &Job,
        receipts: &mut BTreeMap<String, String>,
    ) -> Result<(), Halt> {
        let mut groups: BTreeMap<_, Vec<&(Record, RrSet)>> = BTreeMap::new();
        for wanted in &job.records {
            // Records of one name share a fence: one after the other.
            groups.entry((&wanted.0.provider, &wanted.0.name)).or_default().push(wanted);
        }
        let fence = Fence { cluster: self.tools.cluster.clone(), epoch: job.epoch };
        let group = async |records: Vec<&(Record, RrSet)>| {
            let mut receipts = vec![];
            for (record, rrset) in records {
                match self.bring(&job.service, record, rrset, &fence, job.overwrite).await {
                    Ok(receipt) => receipts.push((record.to_string(), receipt)),
                    // What stands of this group stands, whatever became of the rest.
                    Err(halt) => return (receipts, Err(halt)),
                }
            }
            (receipts, Ok(()))
        };
        let mut troubles: Vec<String> = vec![];
        let mut stand = vec![];
        let mut wait = None;
        for (done, end) in join_all(groups.into_values().map(group)).await {
            for (record, receipt) in done {
                stand.push(record.clone());
                receipts.entry(record).or_insert(receipt);
            }
            match end {
                Ok(()) => {}
                Err(halt @ (Halt::Deposed | Halt::Overtaken)) => return Err(halt),
                Err(Halt::Trouble { text, retry_after }) => {
                    troubles.push(text);
                    wait = wait.max(retry_after);
                }
            }
        }
        if !troubles.is_empty() {
            let stand = if stand.is_empty() { String::new() } else { format!(" (as wanted: {})", stand.join(", ")) };
            return Err(Halt::Trouble { text: troubles.join("; ") + &stand, retry_after: wait });
        }
        let written = Action::Written { service: name.clone(), epoch: job.epoch, receipts: receipts.clone() };
        match self.propose(written).await? {
            Response::Refused(why) => info!(service = %name, epoch = %job.epoch, %why, "written too late"),
            _ => info!(service = %name, epoch = %job.epoch, "the provider accepted"),
        }
        Ok(())
    }

    /// Reads and writes one record until it stands; says what happened for the evidence.
    ///
    /// A later epoch ends it. Where the provider refuses a stale write (grades A and B) one under way is let go at once: the
    /// later epoch fences it. Where it does not (grade C) its end is awaited, so that the two cannot interleave.
    pub(super) async fn bring(
        &self,
        service: &ServiceState,
        record: &Record,
        rrset: &RrSet,
        fence: &Fence,
        overwrite: bool,
    ) -> Result<String, Halt> {
        let provider = self.provider(record)?;
        // Some providers raise a TTL: what reads back is compared with what they will make of it.
        let rrset = &provider.published(rrset);
        let mut receipt = String::from("stood already");
        let mut last = None;
        let name = &service.service.name;
        for _ in 0..ATTEMPTS {
            if !self.stands(name, fence.epoch) {
                return Err(Halt::Overtaken);
            }
            let attempt = self.under_lease(async {
                let found = provider.read(record).await?;
                let may_replace = overwrite || found.rrset.as_ref().is_none_or(|found| service.is_ours(record, found));
                match step(Wanted { record, rrset, fence, may_replace }, found) {
                    Step::Write(change) => provider.write(&change).await.map(Attempt::Wrote),
                    step => Ok(Attempt::Not(step)),
                }
            });
            let attempt = tokio::select! {
                attempt = attempt => attempt?,
                () = self.superseded(name, fence.epoch), if provider.grade() != Grade::C => return Err(Halt::Overtaken),
            };
            match attempt {
                // What was written is read back before it counts: the next round finds it standing.
                Ok(Attempt::Wrote(said)) => receipt = said.0,
                Ok(Attempt::Not(Step::Stands)) => return Ok(receipt),
                Ok(Attempt::Not(Step::Hold(why))) => return Err(why.into()),
                Ok(Attempt::Not(Step::Behind(epoch))) => {
                    return Err(
                        format!("{record} stands under epoch {epoch} already, this is epoch {}", fence.epoch).into()
                    );
                }
                Ok(Attempt::Not(Step::Write(_))) => {}
                Err(error @ (ProviderError::Stale(_) | ProviderError::Indeterminate(_))) => {
                    info!(service = %name, epoch = %fence.epoch, %record, %error, "read anew, and written again if need be");
                    last = Some(error);
                }
                Err(error) => return Err(trouble(record, &error)),
            }
        }
        let why = last.map_or_else(|| "it does not read back as written".into(), |error| error.to_string());
        Err(format!("{record}: {why}").into())
    }

    /// Runs `work` while a quorum goes on confirming this leadership; drops it when the last confirmation runs out.
    ///
    /// The deadline of a write is thus never longer than what remains of the lease, and a provider that needs longer than
    /// one lease for its answer is still served by a leader that stays.
    async fn under_lease<T>(&self, work: impl Future<Output = T>) -> Result<T, Deposed> {
        if Sabotage::NoReadIndex.active() {
            return Ok(work.await);
        }
        let confirm = || async {
            let lease = self.log.confirm().await?;
            if may_act(self.term, Some(lease)) { Ok(lease) } else { Err(Deposed) }
        };
        let mut lease = confirm().await?;
        tokio::pin!(work);
        loop {
            let renewed = async {
                sleep(lease.until.saturating_duration_since(Instant::now()) / 2).await;
                confirm().await
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(lease.until) => return Err(Deposed),
                renewed = renewed => lease = renewed?,
            }
        }
    }

    /// Asks the nameservers and ends the switch; a laggard is reported, not waited for without end.
    async fn observe(&self, name: &ServiceName, job: &Job) -> Result<(), Halt> {
        let within = self.tools.settle_within;
        let asked = job.records.iter().map(async |(record, rrset)| {
            let published = self.provider(record)?.published(rrset);
            Ok::<_, Halt>(self.tools.nameservers.settle(record, &published, within).await)
        });
        let answers = join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let observed = Action::Observed { service: name.clone(), epoch: job.epoch, answers };
        match self.propose(observed).await? {
            Response::Refused(why) => info!(service = %name, epoch = %job.epoch, %why, "observed too late"),
            _ => info!(service = %name, epoch = %job.epoch, "the nameservers were asked: the switch is over"),
        }
        Ok(())
    }

    pub(super) fn provider(&self, record: &Record) -> Result<&Arc<dyn Provider>, Halt> {
        let missing =
            || format!("the leader has no provider `{}`: add it to every node's configuration", record.provider);
        self.tools.providers.get(&record.provider).ok_or_else(|| missing().into())
    }

    pub(super) async fn read(&self, record: &Record) -> Result<Reading, Halt> {
        self.provider(record)?.read(record).await.map_err(|error| trouble(record, &error))
    }
}

enum Attempt {
    Wrote(crate::dns::Receipt),
    Not(Step),
}

fn trouble(record: &Record, error: &ProviderError) -> Halt {
    let retry_after = match error {
        ProviderError::Transient { retry_after, .. } => *retry_after,
        _ => None,
    };
    Halt::Trouble { text: format!("{record}: {error}"), retry_after }
}
