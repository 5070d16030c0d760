//! Between switches: adopting a record that was never written, and comparing provider and state.

use tracing::{info, warn};

use super::{
    Deposed, Log, Office,
    execute::{Account, Halt, may_overwrite},
    plan::{Step, Wanted, may_replace, step},
};
use crate::{
    core::{
        names::{Epoch, RegionName, ServiceName},
        record::{Fence, Record, RrSet},
        state::{Action, Response, ServiceState},
        switch::{Cause, Intent},
    },
    dns::{FenceReading, Grade, Reading},
};

impl<L: Log> Office<L> {
    /// One look at a service's records.
    pub(super) async fn look(&self, name: &ServiceName) -> Result<(), Deposed> {
        let Some(service) = self.log.with_state(|state| state.services.get(name).cloned()) else { return Ok(()) };
        let done = match service.active.clone() {
            None => self.adopt(name, &service).await,
            Some(active) => self.reconcile(name, &service, &active).await,
        };
        match done {
            Ok(()) | Err(Halt::Overtaken) => Ok(()),
            Err(Halt::Deposed) => Err(Deposed),
            Err(Halt::Trouble { text, .. }) => {
                warn!(service = %name, trouble = %text, "the provider cannot be read");
                self.tell_trouble(name, Some(text)).await
            }
        }
    }

    /// Reads every record, unless a switch opens meanwhile: that must not wait for a slow answer.
    async fn read_all(
        &self,
        name: &ServiceName,
        records: impl Iterator<Item = &Record>,
    ) -> Result<Vec<(Record, Reading)>, Halt> {
        let read = async {
            let mut found = vec![];
            for record in records {
                found.push((record.clone(), self.read(name, record).await?));
            }
            Ok(found)
        };
        tokio::select! {
            found = read => found,
            () = self.switch_opens(name) => Err(Halt::Overtaken),
        }
    }

    async fn switch_opens(&self, name: &ServiceName) {
        let mut applied = self.log.applied();
        while !self.log.with_state(|state| state.services.get(name).is_some_and(|service| service.open.is_some())) {
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes over a record as it stands: the region that it answers is the active one. Nothing there yet: the first region.
    async fn adopt(&self, name: &ServiceName, service: &ServiceState) -> Result<(), Halt> {
        let found = self.read_all(name, service.service.records.iter()).await?;
        let place = |record: &Record| {
            self.provider(name, record).map_or_else(|_| record.fence_place(), |provider| provider.fence_place(record))
        };
        match adoption(service, &self.tools.cluster, &found, &place) {
            Ok((to, epoch)) => {
                self.clear(name, service).await?;
                let intent = Intent { service: name.clone(), epoch, to, cause: Cause::Adopt };
                match self.propose(Action::Authorise(intent)).await? {
                    Response::Refused(why) => warn!(service = %name, %why, "the adoption was refused"),
                    _ => info!(service = %name, %epoch, "adopted"),
                }
                Ok(())
            }
            // A person decides: `switch start --override drift` writes over what stands there.
            Err(NotOurs::Values(text)) => Ok(self.tell_drift(name, service, Some(text)).await?),
            Err(NotOurs::Fence(text)) => Err(text.into()),
        }
    }

    /// Compares the provider's answer with the committed state.
    async fn reconcile(&self, name: &ServiceName, service: &ServiceState, active: &RegionName) -> Result<(), Halt> {
        let wanted = service.answers(active);
        let fence = Fence { cluster: self.tools.cluster.clone(), epoch: service.epoch };
        let found = self.read_all(name, wanted.iter().map(|(record, _)| record)).await?;
        // The state may have moved on while the provider was read.
        if self.log.with_state(|s| s.services.get(name).is_none_or(|s| s.open.is_some() || s.epoch != fence.epoch)) {
            return Ok(());
        }
        let mut drifts = vec![];
        for ((record, rrset), (_, reading)) in wanted.iter().zip(found) {
            let provider = self.provider(name, record)?;
            let rrset = &provider.published(rrset);
            // Where nothing refuses a late write, another region's values under our own fence are one that came through.
            let cluster = &self.tools.cluster;
            let late = provider.grade() == Grade::C
                && reading.rrset.is_some()
                && may_replace(service, record, cluster, provider.goes_in_steps(), &reading);
            match compare(record, rrset, &fence, &reading, late) {
                Standing::AsWritten => {}
                Standing::Older(epoch) => {
                    warn!(service = %name, %record, found = epoch, epoch = %fence.epoch, "an older epoch stands: written again");
                    let mut account = Account::default();
                    self.bring(service, record, rrset, &fence, may_overwrite(service), &mut account).await?;
                }
                Standing::Drift(text) if may_overwrite(service) => {
                    warn!(service = %name, drift = %text, "corrected, as the policy says");
                    match self.bring(service, record, rrset, &fence, true, &mut Account::default()).await {
                        Ok(()) => {}
                        Err(Halt::Trouble { text, .. }) => drifts.push(text),
                        Err(halt) => return Err(halt),
                    }
                }
                Standing::Drift(text) => drifts.push(text),
            }
        }
        self.tell_drift(name, service, (!drifts.is_empty()).then(|| drifts.join("; "))).await?;
        Ok(())
    }

    async fn tell_drift(&self, name: &ServiceName, was: &ServiceState, text: Option<String>) -> Result<(), Deposed> {
        let text = text.map(|text| text.chars().take(500).collect::<String>());
        if was.drift != text {
            match &text {
                Some(drift) => warn!(service = %name, %drift, "drift"),
                None => info!(service = %name, "the record is as written again"),
            }
            self.propose(Action::Drift { service: name.clone(), text }).await?;
        }
        // What could not be read before is read now; a laggard of the last switch has been given an interval to follow.
        if was.trouble.is_some() { self.tell_trouble(name, None).await } else { Ok(()) }
    }

    async fn clear(&self, name: &ServiceName, was: &ServiceState) -> Result<(), Deposed> {
        self.tell_drift(name, was, None).await
    }
}

#[derive(Debug, PartialEq, Eq)]
enum NotOurs {
    /// The values are no region's.
    Values(String),
    /// The fence is another cluster's, or no fence.
    Fence(String),
}

/// Which region the records answer, and the epoch under which they are taken over.
fn adoption(
    service: &ServiceState,
    cluster: &crate::core::names::ClusterId,
    found: &[(Record, Reading)],
    place: &dyn Fn(&Record) -> String,
) -> Result<(RegionName, Epoch), NotOurs> {
    let mut highest = service.epoch;
    for (record, reading) in found {
        let place = &place(record);
        if let FenceReading::Present(fence) = &reading.fence {
            highest = highest.max(fence.epoch);
            if fence.cluster == *cluster && fence.epoch >= Epoch::LAST_ADOPTED {
                let text = format!("{place} says epoch {}, which no cluster reaches: remove it by hand", fence.epoch);
                return Err(NotOurs::Fence(text));
            }
        }
        // With no condition on the values, only the fence can hold.
        let fence = Fence { cluster: cluster.clone(), epoch: Epoch(u64::MAX) };
        let Some(rrset) = service.answers(&service.service.regions[0].name).into_iter().find(|(r, _)| r == record)
        else {
            continue;
        };
        if let Step::Hold(text) =
            step(Wanted { record, rrset: &rrset.1, fence: &fence, place, may_replace: true }, reading.clone())
        {
            return Err(NotOurs::Fence(text));
        }
    }
    let answered = |region: &RegionName| {
        let answers = service.answers(region);
        found.iter().all(|(record, reading)| {
            let Some(rrset) = &reading.rrset else { return true };
            answers.iter().any(|(of, wanted)| of == record && wanted.values == rrset.values)
        })
    };
    let region = service.service.regions.iter().map(|region| &region.name).find(|region| answered(region));
    let said = || {
        let one = |(record, reading): &(Record, Reading)| {
            reading.rrset.as_ref().map(|rrset| format!("{record} answers {rrset}"))
        };
        let all: Vec<_> = found.iter().filter_map(one).collect();
        format!("{}: no region's values; nothing was written", all.join(", "))
    };
    region.map(|region| (region.clone(), highest.next())).ok_or_else(|| NotOurs::Values(said()))
}

/// How a provider's answer compares with the committed state.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// Values and fence are what the state says.
    AsWritten,
    /// Our own fence of an earlier epoch: a superseded write came through late (grade C), or the zone was restored.
    Older(u64),
    /// Somebody else's hand, in words.
    Drift(String),
}

/// Compares what was read with what the state says. `late`: the values are our own, and the provider refuses no late write.
#[must_use]
pub fn compare(record: &Record, rrset: &RrSet, fence: &Fence, found: &Reading, late: bool) -> Standing {
    match &found.fence {
        FenceReading::Present(theirs) if theirs.cluster == fence.cluster && theirs.epoch < fence.epoch => {
            return Standing::Older(theirs.epoch.0);
        }
        FenceReading::Present(theirs) if theirs == fence && found.rrset.as_ref() == Some(rrset) => {
            return Standing::AsWritten;
        }
        FenceReading::Present(theirs) if theirs == fence && late => return Standing::Older(theirs.epoch.0),
        FenceReading::Present(theirs) if theirs != fence => {
            return Standing::Drift(format!("the fence of {record} says `{theirs}`, not `{fence}`"));
        }
        FenceReading::Unreadable(_) => return Standing::Drift(format!("the fence of {record} is no fence any more")),
        _ => {}
    }
    match &found.rrset {
        None => Standing::Drift(format!("{record} is gone")),
        Some(found) if found != rrset => Standing::Drift(format!("{record} answers {found}, not {rrset}")),
        Some(_) => Standing::Drift(format!("the fence of {record} is gone")),
    }
}
