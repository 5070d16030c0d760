//! OVH's IP load balancers: records of type POOL, whose values are the servers of a farm that take traffic. Grade C.
//!
//! Edits are staged, and `refresh` makes a task of publishing them. A write goes
//!
//! ```text
//! no task under way ─▶ read ── as expected? ──▶ nothing staged by others? ──▶ mark ─▶ read back ─▶ new servers on ─▶
//!                        │ no                     │ something
//!                        ▼                        ▼
//!                      Stale                   refused
//!
//! ─▶ old servers off ─▶ read back ─▶ refresh ─▶ its task is done ─▶ fence in place of the mark ─▶ read back ─▶ refresh
//! ```
//!
//! * Only one refresh carries the traffic over: each instance of the load balancer takes a whole new configuration at once.
//!   Somebody else may publish in the middle, though, and so new servers are on before old ones are off: whatever part is
//!   published, the farm is never without a server (invariant 5).
//! * The fence stands in the farm's name (see [`caption`]), behind what people called it. It comes last and by a refresh of
//!   its own, because a reading shows what is staged: a fence of epoch *e* proves that the values of *e* were deployed.
//! * Before the first edit of a server, the name is marked with what is about to be changed. Whoever finds the mark knows that
//!   nothing of other people's was staged when it was set, and finishes the write, however much of it was done; while a farm
//!   is marked it reads as what the write is for, under the old fence. So a writer lost at any step costs time only.
//! * `refresh` publishes everything that is staged at the load balancer, of everybody and of every farm; unlike DNS zones,
//!   load balancers say how much that is (`pendingChanges`). Where something is staged that is not ours, nothing is written.
//!   What others stage while a write is under way, which is seconds, goes out with it: OVH has no partial refresh.
//! * Two farms of one load balancer are written one after the other.
//!
//! Where a refresh of the fence alone was lost, its edit stays staged until the next write, which knows it for its own: it is
//! the one change, and no task published anything since the one that the name quotes.

mod caption;
mod farm;
#[cfg(feature = "testing")]
pub(super) mod fuzz;
mod rights;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{join, try_join_all};
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Ovh, after_publication, client::CallError, json};
use crate::{
    core::{
        names::ClusterId,
        record::{DomainName, Fence, Record, RecordValue},
        sabotage::Sabotage,
    },
    dns::{Change, FenceReading, ProviderError, Reading, Receipt, http::Effect},
};
use caption::{Caption, Ids, Mark, Standing};
use farm::{Farm, Named, Pending, Place, Rename, Server, Task, TaskStatus};
pub(super) use rights::{calls, iam_actions};

/// How many servers are looked at: more than a farm that fails over has.
const SERVERS_LIMIT: usize = 100;
/// How long a deployment is followed. OVH's own Terraform provider waits ten minutes for one; a task that takes longer than
/// this is left to the next attempt.
pub(super) const DEPLOY_WITHIN: Duration = Duration::from_mins(2);
/// Between two looks at a task: the first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// Refuses a record that no farm can be.
pub(super) fn check(record: &Record) -> Result<(), String> {
    Place::of(record).map(drop).map_err(|error| error.to_string())
}

fn transient(message: String) -> ProviderError {
    ProviderError::Transient { message, retry_after: None }
}

/// What stands between a change and its first edit.
struct Ready {
    place: Place,
    before: Farm,
    /// The servers that shall take traffic.
    wanted: Ids,
    /// The newest task that published the load balancer; it is over.
    latest: Option<Task>,
    /// Something is staged: by an earlier attempt of ours.
    staged: bool,
}

impl Ready {
    /// The servers to switch on, and those to switch off.
    fn turns(&self) -> (Ids, Ids) {
        let taking = self.before.taking();
        (&self.wanted - &taking, &taking - &self.wanted)
    }

    /// The farm takes traffic as wanted, and that was deployed.
    fn stands(&self) -> bool {
        let deployed = !self.staged && self.latest.as_ref().is_some_and(|task| task.status == TaskStatus::Done);
        self.before.taking() == self.wanted && (self.before.caption.mark().is_none() || deployed)
    }
}

impl Ovh {
    /// Reads what is staged of a farm; the fence proves that its epoch's values were deployed.
    pub(super) async fn read_farm(&self, record: &Record) -> Result<Reading, ProviderError> {
        let place = Place::of(record)?;
        self.farm(&place).await?.reading(&place)
    }

    pub(super) async fn write_farm(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check_values(|value| matches!(value, RecordValue::Member(_)))?;
        let _alone = self.alone_at(&change.record.zone).await;
        let ready = self.ready(change).await?;
        let Ready { place, before, wanted, latest, .. } = &ready;
        // An edit that fails in here has been staged at most: traffic still goes where it went.
        let deployed = if ready.stands() { None } else { Some(self.switch_servers(change, &ready).await?) };
        let task = deployed.as_ref().or(latest.as_ref()).map(|task| task.id);
        let caption = before.caption.with(Standing { fence: change.fence.clone(), mark: None, task });
        let fenced =
            self.fence(place, &caption, wanted).await.map_err(|error| after_publication(&change.fence, error))?;
        let moved = deployed.map_or_else(|| "no server changed".to_owned(), |task| format!("task {} is done", task.id));
        Ok(Receipt(format!("{} switched the {place}: {moved}, {fenced}", self.client.endpoint())))
    }

    /// Whoever writes to a load balancer waits for whoever does.
    async fn alone_at(&self, balancer: &DomainName) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.balancers.lock().expect("nobody panics with the lock");
            Arc::clone(locks.entry(balancer.clone()).or_insert_with(|| Arc::new(Mutex::new(()))))
        };
        lock.lock_owned().await
    }

    /// Everything that is refused before anything is edited.
    async fn ready(&self, change: &Change) -> Result<Ready, ProviderError> {
        let record = &change.record;
        let place = Place::of(record)?;
        let latest = self.settled(&place).await?;
        let before = self.farm(&place).await?;
        let found = before.reading(&place)?;
        if !change.holds_at(&found) {
            return Err(ProviderError::Stale(format!("{record} is not what was read: {found}")));
        }
        let newer = before.caption.mark().filter(|mark| mark.next > change.fence.epoch && change.condition().is_some());
        if let Some(mark) = newer {
            let message =
                format!("{record}: epoch {} is being written, this is epoch {}", mark.next, change.fence.epoch);
            return Err(ProviderError::Stale(message));
        }
        let wanted = before.servers_of(&place, &change.rrset)?;
        let pending = self.pending(&place).await?;
        let staged = !pending.is_empty();
        if staged && !is_ours(&before.caption, &change.fence.cluster, &pending, latest.as_ref()) {
            return Err(ProviderError::Permanent {
                message: format!(
                    "load balancer {} has changes that somebody staged and nobody published ({}): a refresh would publish them",
                    place.balancer,
                    counted(&pending)
                ),
                hint: "apply the configuration at OVH, or undo them; Quorate tries again by itself".to_owned(),
            });
        }
        Ok(Ready { place, before, wanted, latest, staged })
    }

    /// Stages the mark and the servers, publishes them and waits until they are deployed.
    async fn switch_servers(&self, change: &Change, ready: &Ready) -> Result<Task, ProviderError> {
        let Ready { place, before, wanted, latest, .. } = ready;
        let (on, off) = ready.turns();
        let fence = match before.caption.fence() {
            FenceReading::Present(fence) if fence.cluster == change.fence.cluster => fence,
            _ => Fence { cluster: change.fence.cluster.clone(), epoch: crate::core::names::Epoch(0) },
        };
        let mark = Mark { next: change.fence.epoch, on: on.clone(), off: off.clone() };
        let task = latest.as_ref().map(|task| task.id);
        let marked = before.caption.with(Standing { fence, mark: Some(mark), task });
        self.rename(place, &marked).await?;
        let now = self.farm(place).await?;
        if now.caption != marked {
            return Err(self.unkept(place, &before.caption, &marked, &now.caption).await);
        }
        if now.servers != before.servers && !Sabotage::NoFence.active() {
            return Err(meddled(place, &now));
        }
        for (ids, to) in [(&on, true), (&off, false)] {
            for server in ids.iter().filter_map(|id| now.servers.get(id)) {
                self.edit(&place.server(server.id), &server.turned(to)).await?;
            }
        }
        self.confirm_farm(place, &marked, wanted).await?;
        let task = self.refresh_balancer(place).await?;
        self.follow(place, task).await.map_err(|error| after_publication(&change.fence, error))
    }

    /// Puts the fence in place of the mark and publishes it; says what was done for it.
    async fn fence(&self, place: &Place, caption: &Caption, wanted: &Ids) -> Result<String, ProviderError> {
        self.rename(place, caption).await?;
        self.confirm_farm(place, caption, wanted).await?;
        if self.pending(place).await?.is_empty() {
            return Ok("the fence needs no publication".to_owned());
        }
        let task = self.refresh_balancer(place).await?;
        Ok(format!("task {} publishes the fence", task.id))
    }

    /// Looks at what the next refresh will publish of ours, the last thing before it.
    async fn confirm_farm(&self, place: &Place, caption: &Caption, wanted: &Ids) -> Result<(), ProviderError> {
        let now = self.farm(place).await?;
        if Sabotage::NoFence.active() || now.caption == *caption && now.taking() == *wanted {
            return Ok(());
        }
        Err(meddled(place, &now))
    }

    /// The name does not read back. If OVH cut it, the old one is put back, and a person must make room.
    async fn unkept(&self, place: &Place, old: &Caption, marked: &Caption, found: &Caption) -> ProviderError {
        let (wanted, found) = (marked.to_string(), found.to_string());
        if !wanted.starts_with(&found) {
            return ProviderError::Indeterminate(format!("the {place} is being renamed by somebody else"));
        }
        let back =
            self.rename(place, old).await.err().map(|error| format!("; putting the old name back failed: {error}"));
        ProviderError::Permanent {
            message: format!(
                "OVH keeps {} of {} characters of the name of the {place}, where the fence stands{}",
                found.chars().count(),
                wanted.chars().count(),
                back.unwrap_or_default()
            ),
            hint: "give the farm a shorter name at OVH, and apply the configuration".to_owned(),
        }
    }

    async fn look<T: DeserializeOwned>(
        &self,
        place: &Place,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ProviderError> {
        self.get(path, query).await.map_err(|error| match error {
            CallError::Refused(refusal) if refusal.status == 404 && path.contains("/server/") => {
                transient(format!("a server went away while it was being read: {refusal}"))
            }
            CallError::Refused(refusal) if refusal.status == 404 => ProviderError::Permanent {
                message: format!("there is no {place}: {refusal}"),
                hint: "the record's zone is the load balancer's service name, its name the farm's kind and number"
                    .to_owned(),
            },
            other => other.into_provider_error(Effect::None),
        })
    }

    /// What is staged of the farm.
    async fn farm(&self, place: &Place) -> Result<Farm, ProviderError> {
        let (path, list) = (place.path(), format!("{}/server", place.path()));
        let (named, ids) = join(self.look::<Named>(place, &path, &[]), self.look::<Vec<u64>>(place, &list, &[])).await;
        let (named, ids) = (named?, ids?);
        if ids.len() > SERVERS_LIMIT {
            return Err(ProviderError::Permanent {
                message: format!("the {place} has {} servers", ids.len()),
                hint: format!("remove all but a few; more than {SERVERS_LIMIT} are not looked at"),
            });
        }
        let paths: Vec<_> = ids.iter().map(|id| place.server(*id)).collect();
        let servers = try_join_all(paths.iter().map(|path| self.look::<Server>(place, path, &[]))).await?;
        Ok(Farm::new(&named, servers))
    }

    /// What is staged at the load balancer and not published, zones without anything left out.
    async fn pending(&self, place: &Place) -> Result<Vec<Pending>, ProviderError> {
        let pending: Vec<Pending> = self.look(place, &place.at_balancer("pendingChanges"), &[]).await?;
        Ok(pending.into_iter().filter(|zone| zone.number > 0).collect())
    }

    /// The newest task that publishes or published.
    async fn latest(&self, place: &Place) -> Result<Option<Task>, ProviderError> {
        let ids: Vec<u64> = self.look(place, &place.at_balancer("task"), &[("action", "refreshIplb")]).await?;
        match ids.into_iter().max() {
            Some(id) => self.look(place, &place.at_balancer(&format!("task/{id}")), &[]).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same once it is over: two deployments at a time are not asked for.
    async fn settled(&self, place: &Place) -> Result<Option<Task>, ProviderError> {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            match self.latest(place).await? {
                Some(task) if !task.status.is_over() => {
                    if began.elapsed() + pause >= self.deploy_within {
                        let message = format!(
                            "load balancer {} is being deployed (task {}: {})",
                            place.balancer, task.id, task.status
                        );
                        return Err(transient(message));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                latest => return Ok(latest),
            }
        }
    }

    /// Follows a deployment to its end.
    async fn follow(&self, place: &Place, task: Task) -> Result<Task, ProviderError> {
        let path = place.at_balancer(&format!("task/{}", task.id));
        let (began, mut pause, mut task) = (Instant::now(), PAUSES.0, task);
        while !task.status.is_over() {
            if began.elapsed() + pause >= self.deploy_within {
                let waited = began.elapsed().as_secs();
                let message = format!("task {} is {} after {waited} s", task.id, task.status);
                return Err(ProviderError::Indeterminate(message));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            match self.look::<Task>(place, &path, &[]).await {
                Ok(found) => task = found,
                Err(error) if error.retryable() => {
                    tracing::warn!(task = task.id, %error, "OVH does not say how far the deployment is");
                }
                Err(error) => return Err(error),
            }
        }
        if task.status == TaskStatus::Done {
            return Ok(task);
        }
        Err(ProviderError::Permanent {
            message: format!(
                "OVH did not deploy load balancer {}: task {} is {}",
                place.balancer, task.id, task.status
            ),
            hint: "look at the load balancer's tasks and configuration at OVH".to_owned(),
        })
    }

    async fn rename(&self, place: &Place, caption: &Caption) -> Result<(), ProviderError> {
        self.edit(&place.path(), &Rename { display_name: &caption.to_string() }).await
    }

    /// A call that stages. What is gone was removed by somebody since it was read.
    async fn edit(&self, path: &str, body: &impl Serialize) -> Result<(), ProviderError> {
        match self.client.call(Method::PUT, path, &[], Some(&json(body)?)).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(refusal)) if refusal.status == 404 => {
                Err(ProviderError::Stale(format!("a farm or server went away since it was read: {refusal}")))
            }
            Err(error) => Err(error.into_provider_error(Effect::Change)),
        }
    }

    /// Publishes the load balancer. An error here is an error of the write, and so is an answer without a task.
    async fn refresh_balancer(&self, place: &Place) -> Result<Task, ProviderError> {
        let path = place.at_balancer("refresh");
        let body = self.client.call(Method::POST, &path, &[], None).await;
        let body = body.map_err(|error| error.into_provider_error(Effect::Change))?;
        serde_json::from_slice(&body).map_err(|error| {
            ProviderError::Indeterminate(format!("POST {path}: the answer is not what OVH documents: {error}"))
        })
    }
}

/// Where the fence of a farm's record stands, in words.
pub(super) fn fence_place(record: &Record) -> Option<String> {
    Place::of(record).ok().map(|place| format!("what follows `_quorate` in the name of the {place}"))
}

/// Whether what is staged at the load balancer can only be an earlier attempt of ours.
fn is_ours(caption: &Caption, cluster: &ClusterId, pending: &[Pending], latest: Option<&Task>) -> bool {
    let Some(standing) = caption.standing().filter(|standing| standing.fence.cluster == *cluster) else { return false };
    if standing.mark.is_some() {
        return true;
    }
    // The name alone, if nothing was deployed since it was staged.
    let published = latest.is_some_and(|task| task.status == TaskStatus::Done && Some(task.id) > standing.task);
    !published && pending.iter().all(|zone| zone.number == 1)
}

fn counted(pending: &[Pending]) -> String {
    let zones: Vec<_> = pending.iter().map(|of| format!("{} in {}", of.number, super::super::clip(&of.zone))).collect();
    zones.join(", ")
}

fn meddled(place: &Place, now: &Farm) -> ProviderError {
    let names: Vec<_> = now.servers.values().filter(|server| server.takes_traffic()).map(Server::name).collect();
    ProviderError::Indeterminate(format!(
        "the {place} is being edited by somebody else: staged is `{}` with {}; this write did not publish it",
        super::super::clip(&now.caption.to_string()),
        super::super::clip(&names.join(", "))
    ))
}
