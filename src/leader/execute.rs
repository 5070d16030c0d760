//! Carrying out one intent: conditional writes under a renewed lease, then the nameservers' answers.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{
    Deposed, Log, Office,
    plan::{Step, Wanted, may_act, may_replace, step},
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
    dns::{Grade, Provider, ProviderError, Reading, Receipt, serving},
};

/// Writes of one record before its trouble is told and a pause is made.
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

/// The accounts of one epoch's records.
pub(super) type Accounts = (Epoch, BTreeMap<Record, Account>);

/// What became of the writes of one record under one epoch, as this leader saw it, over all its attempts: the evidence has it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Account(Option<String>);

impl Account {
    fn took(&mut self, receipt: Receipt) {
        self.0 = Some(receipt.0);
    }

    /// A write begins. If nothing more is heard of it, it was given up.
    fn begun(&mut self) {
        self.lost("the write was given up when no quorum confirmed the leader");
    }

    /// It may have been applied, and its receipt is lost whatever becomes of it.
    fn lost(&mut self, why: &str) {
        let why: String = why.chars().take(300).collect();
        self.0 = Some(format!("reads back as written; the provider's own receipt was lost: {why}"));
    }

    /// A write without a receipt: in doubt, or one that changed nothing.
    fn ended(&mut self, before: Self, error: &ProviderError) {
        match error {
            ProviderError::Indeterminate(why) | ProviderError::Unfinished { message: why, .. } => self.lost(why),
            ProviderError::Stale(_) | ProviderError::Transient { .. } | ProviderError::Permanent { .. } => {
                *self = before;
            }
        }
    }

    /// What is said of it once it stands. Without a write of this leader it stood under this epoch when it was first read.
    fn told(&self) -> String {
        self.0.clone().unwrap_or_else(|| "stood already, as an earlier leader wrote it under this epoch".to_owned())
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
    /// Works on the open switch until it is observed, superseded, or leadership is lost. Where it is only not confirmed for a
    /// while, the same office goes on, and still knows what it wrote.
    pub(super) async fn carry_out(&self, name: &ServiceName) -> Result<(), Deposed> {
        let kept = || self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut accounts = kept().remove(name).unwrap_or_default();
        let done = self.carry_on(name, &mut accounts).await;
        if done.is_err() {
            kept().insert(name.clone(), accounts);
        }
        done
    }

    async fn carry_on(&self, name: &ServiceName, accounts: &mut Accounts) -> Result<(), Deposed> {
        let mut pause = FIRST_PAUSE;
        while let Some(job) = self.log.with_state(|state| state.services.get(name).and_then(Job::of)) {
            let epoch = job.epoch;
            if accounts.0 != epoch {
                *accounts = (epoch, BTreeMap::new());
            }
            let done = if job.written {
                // Nothing is written any more, so that nothing need be waited for once a later epoch is authorised.
                tokio::select! {
                    done = self.observe(name, &job) => done,
                    () = self.superseded(name, epoch) => Err(Halt::Overtaken),
                }
            } else {
                self.write_all(name, &job, &mut accounts.1).await
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
    /// `accounts` are of this round and those before: what was written once stands already the next time.
    async fn write_all(
        &self,
        name: &ServiceName,
        job: &Job,
        accounts: &mut BTreeMap<Record, Account>,
    ) -> Result<(), Halt> {
        let mut groups: BTreeMap<_, Vec<(&Record, &RrSet, Account)>> = BTreeMap::new();
        for (record, rrset) in &job.records {
            let account = accounts.get(record).cloned().unwrap_or_default();
            // Records of one name share a fence: one after the other.
            groups.entry((&record.provider, &record.name)).or_default().push((record, rrset, account));
        }
        let fence = Fence { cluster: self.tools.cluster.clone(), epoch: job.epoch };
        let group = async |records: Vec<(&Record, &RrSet, Account)>| {
            let (mut stand, mut kept) = (vec![], vec![]);
            for (record, rrset, mut account) in records {
                let end = self.bring(&job.service, record, rrset, &fence, job.overwrite, &mut account).await;
                kept.push((record.clone(), account));
                match end {
                    Ok(()) => stand.push(record.to_string()),
                    // What stands of this group stands, whatever became of the rest.
                    Err(halt) => return (stand, kept, Err(halt)),
                }
            }
            (stand, kept, Ok(()))
        };
        let mut troubles: Vec<String> = vec![];
        let mut stand = vec![];
        let (mut wait, mut gone) = (None, None);
        for (done, kept, end) in join_all(groups.into_values().map(group)).await {
            stand.extend(done);
            accounts.extend(kept);
            match end {
                Ok(()) => {}
                Err(halt @ (Halt::Deposed | Halt::Overtaken)) => gone = Some(halt),
                Err(Halt::Trouble { text, retry_after }) => {
                    troubles.push(text);
                    wait = wait.max(retry_after);
                }
            }
        }
        if let Some(halt) = gone {
            return Err(halt);
        }
        if !troubles.is_empty() {
            let stand = if stand.is_empty() { String::new() } else { format!(" (as wanted: {})", stand.join(", ")) };
            return Err(Halt::Trouble { text: troubles.join("; ") + &stand, retry_after: wait });
        }
        let receipts = accounts.iter().map(|(record, account)| (record.to_string(), account.told())).collect();
        let written = Action::Written { service: name.clone(), epoch: job.epoch, receipts };
        match self.propose(written).await? {
            Response::Refused(why) => info!(service = %name, epoch = %job.epoch, %why, "written too late"),
            _ => info!(service = %name, epoch = %job.epoch, "the provider accepted"),
        }
        Ok(())
    }

    /// Reads and writes one record until it reads back as wanted; what happened goes into the account.
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
        account: &mut Account,
    ) -> Result<(), Halt> {
        let name = &service.service.name;
        let provider = self.provider(name, record)?;
        // Some providers raise a TTL: what reads back is compared with what they will make of it.
        let (rrset, place) = (&provider.published(rrset), &provider.fence_place(record));
        let mut last = None;
        // One reading more than writes: what the last of them wrote is read back as well.
        for attempt in 0..=ATTEMPTS {
            if !self.stands(name, fence.epoch) {
                return Err(Halt::Overtaken);
            }
            let before = account.clone();
            let attempt = self.under_lease(async {
                let found = provider.read(record).await?;
                let unasked = may_replace(service, record, &fence.cluster, provider.goes_in_steps(), &found);
                let may_replace = overwrite || unasked;
                match step(Wanted { record, rrset, fence, place, may_replace }, found) {
                    Step::Write(change) if attempt < ATTEMPTS => {
                        account.begun();
                        provider.write(&change).await.map(Attempt::Wrote)
                    }
                    step => Ok(Attempt::Not(step)),
                }
            });
            let attempt = tokio::select! {
                attempt = attempt => attempt?,
                () = self.superseded(name, fence.epoch), if provider.grade() != Grade::C => return Err(Halt::Overtaken),
            };
            match attempt {
                // What was written is read back before it counts: the next round finds it standing.
                Ok(Attempt::Wrote(receipt)) => {
                    account.took(receipt);
                    last = None;
                }
                Ok(Attempt::Not(Step::Stands)) => return Ok(()),
                Ok(Attempt::Not(Step::Hold(why))) => return Err(why.into()),
                Ok(Attempt::Not(Step::Behind(epoch))) => {
                    return Err(
                        format!("{record} stands under epoch {epoch} already, this is epoch {}", fence.epoch).into()
                    );
                }
                Ok(Attempt::Not(Step::Write(change))) => {
                    let found = || format!("it does not read back as written: {}", change.expected);
                    last = last.or_else(|| Some(found()));
                }
                Err(error @ (ProviderError::Stale(_) | ProviderError::Indeterminate(_))) => {
                    info!(service = %name, epoch = %fence.epoch, %record, %error, "read anew, and written again if need be");
                    account.ended(before, &error);
                    last = Some(error.to_string());
                }
                Err(error) => {
                    account.ended(before, &error);
                    return Err(trouble(record, &error));
                }
            }
        }
        Err(format!("{record}: {}", last.unwrap_or_else(|| "it was never read as wanted".to_owned())).into())
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
            let published = self.provider(name, record)?.published(rrset);
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

    /// The record's provider, as it is asked for this service.
    pub(super) fn provider(&self, service: &ServiceName, record: &Record) -> Result<Arc<dyn Provider>, Halt> {
        let missing =
            || format!("the leader has no provider `{}`: add it to every node's configuration", record.provider);
        let provider = self.tools.providers.get(&record.provider).ok_or_else(missing)?;
        Ok(serving(provider, service))
    }

    pub(super) async fn read(&self, service: &ServiceName, record: &Record) -> Result<Reading, Halt> {
        self.provider(service, record)?.read(record).await.map_err(|error| trouble(record, &error))
    }
}

enum Attempt {
    Wrote(Receipt),
    Not(Step),
}

fn trouble(record: &Record, error: &ProviderError) -> Halt {
    let retry_after = match error {
        ProviderError::Transient { retry_after, .. } | ProviderError::Unfinished { retry_after, .. } => *retry_after,
        _ => None,
    };
    Halt::Trouble { text: format!("{record}: {error}"), retry_after }
}
