//! What a node finds out without changing anything: probes, credentials, rights, records, nameservers.
//!
//! Each node looks with its own eyes and its own credentials; the one that was asked puts the answers together ([`drill`]).
//! There is no way to write in here: of the providers there are [`Inspectors`] only, and nothing is proposed to the log.

pub mod drill;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod record;
mod tables;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::{
    core::{
        names::{ClusterId, NodeId, ProviderName, RegionName, ServiceName, Site},
        record::{Record, RecordType, RrSet},
        service::Region,
        state::{ServiceState, State},
        switch::NameserverLine,
    },
    dns::{
        Finding, Grade, Grant,
        inspect::{Inspectors, subject},
    },
    dynamodb::DynamoDb,
    leader::Nameservers,
    probe::check,
};

/// How long one record may take at its provider.
const RECORD_PATIENCE: Duration = Duration::from_secs(15);
/// How long the nameservers may take.
const NAMESERVERS_PATIENCE: Duration = Duration::from_secs(4);
/// How many records of one provider are looked at, so that an inspection ends.
const RECORDS_LIMIT: usize = 64;
/// How long a node may take in all, the way included; a part of it that takes longer is said to be unknown.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// What shall be found out.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Of this service only.
    pub service: Option<ServiceName>,
    /// Of this provider only.
    pub provider: Option<ProviderName>,
    /// A record that no service has yet, in place of the services' records.
    pub record: Option<Record>,
    /// Whether providers are asked; otherwise it is only said which there are.
    pub ask: bool,
    /// The region to which a switch is rehearsed.
    pub candidate: Option<RegionName>,
    /// Whether the nameservers are asked.
    pub nameservers: bool,
}

/// What one node found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspected {
    /// Every provider that it is configured for or that a service names.
    pub providers: Vec<ProviderSeen>,
    /// One fresh probe of each endpoint of the candidate.
    pub probes: Vec<ProbeSeen>,
    /// What the nameservers answer now.
    pub nameservers: Vec<NameserverLine>,
    /// The `DynamoDB` tables of the regions.
    #[serde(default)]
    pub tables: Vec<RecordSeen>,
    /// The least that must be allowed there.
    #[serde(default)]
    pub table_policy: Vec<Grant>,
}

/// A provider as one node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderSeen {
    /// Its name.
    pub name: ProviderName,
    /// How this node reaches it; `None` when it is not configured here.
    pub access: Option<AccessSeen>,
    /// Whose records are there.
    pub services: BTreeSet<ServiceName>,
    /// The records that were looked at.
    pub records: Vec<RecordSeen>,
    /// The least that the credentials must be allowed.
    pub policy: Vec<Grant>,
}

/// What a provider is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessSeen {
    /// The `type` in the configuration.
    pub kind: String,
    /// How strongly it refuses a stale write.
    pub grade: Grade,
    /// The longest that a write may go on after it was sent.
    pub longest_request: Duration,
    /// The least TTL that it publishes, in seconds.
    pub least_ttl: u32,
}

/// A record, looked at from one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSeen {
    /// Whose it is, if a service has it.
    pub service: Option<ServiceName>,
    /// Which.
    pub record: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// One fresh probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSeen {
    /// Which of the region's probes, from 0.
    pub probe: usize,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What a node answered, or why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswer {
    /// Which node.
    pub node: NodeId,
    /// Its site.
    pub site: Site,
    /// Whether it can become leader.
    pub voter: bool,
    /// What it found.
    pub found: Result<Inspected, String>,
    /// How long it took.
    pub took: Duration,
}

/// What a node looks with.
#[derive(Clone)]
pub struct Tools {
    /// Which node.
    pub node: NodeId,
    /// Written into every fence.
    pub cluster: ClusterId,
    /// The providers, without the way to write.
    pub providers: Inspectors,
    /// Who asks the nameservers.
    pub nameservers: Arc<dyn Nameservers>,
    /// What probes share.
    pub prober: Arc<check::Client>,
    /// How tables are reached.
    pub tables: DynamoDb,
}

/// What of the state an inspection is about, copied out of it.
#[derive(Debug, Default)]
pub struct Subject {
    services: Vec<ServiceState>,
}

impl Subject {
    /// The services that are meant.
    #[must_use]
    pub fn of(state: &State, inspection: &Inspection) -> Self {
        let meant = |of: &&ServiceState| inspection.service.as_ref().is_none_or(|name| *name == of.service.name);
        // Their history is of no use here, and may be large.
        let bare = |of: &ServiceState| ServiceState { history: [].into(), ..of.clone() };
        Self { services: state.services.values().filter(meant).map(bare).collect() }
    }
}

impl Tools {
    /// Looks. Bounded in time: what does not end is unknown.
    pub async fn inspect(&self, subject: Subject, inspection: &Inspection) -> Inspected {
        let (providers, probes, nameservers, tables) = tokio::join!(
            self.see_providers(&subject, inspection),
            self.probe(&subject, inspection),
            self.ask_nameservers(&subject, inspection),
            self.see_tables(&subject, inspection)
        );
        let table_policy = tables::policy(&self.cluster, &subject);
        Inspected { providers, probes, nameservers, tables, table_policy }
    }

    async fn see_tables(&self, subject: &Subject, inspection: &Inspection) -> Vec<RecordSeen> {
        if !inspection.ask || inspection.provider.is_some() {
            return vec![];
        }
        tables::look(&self.tables, &self.cluster, subject).await
    }

    async fn see_providers(&self, subject: &Subject, inspection: &Inspection) -> Vec<ProviderSeen> {
        let named = subject.services.iter().flat_map(|of| of.service.records.iter().map(|record| &record.provider));
        let every = named.chain(inspection.record.iter().map(|record| &record.provider));
        let every = every.chain(self.providers.keys().filter(|_| inspection.service.is_none()));
        let all: BTreeSet<_> = every.cloned().collect();
        let meant = |name: &&ProviderName| inspection.provider.as_ref().is_none_or(|only| only == *name);
        join_all(all.iter().filter(meant).map(|name| self.see_provider(name, subject, inspection))).await
    }

    async fn see_provider(&self, name: &ProviderName, subject: &Subject, inspection: &Inspection) -> ProviderSeen {
        let mut records: Vec<(Option<&ServiceState>, &Record)> = match &inspection.record {
            Some(record) => vec![(None, record)],
            None => {
                subject.services.iter().flat_map(|of| of.service.records.iter().map(move |r| (Some(of), r))).collect()
            }
        };
        records.retain(|(_, record)| record.provider == *name);
        records.truncate(RECORDS_LIMIT);
        let services = records.iter().filter_map(|(of, _)| Some(of.as_ref()?.service.name.clone())).collect();
        let Some(inspector) = self.providers.get(name) else {
            return ProviderSeen {
                name: name.clone(),
                access: None,
                services,
                records: self.missing(name, &records),
                policy: vec![],
            };
        };
        let mut seen = vec![];
        if inspection.ask {
            // One after the other: a provider that limits how often it is asked must not be provoked.
            for (service, record) in &records {
                let inspector = service.map_or_else(|| inspector.clone(), |of| inspector.serving(&of.service.name));
                let looked = record::look(&inspector, &self.cluster, *service, record, inspection.candidate.as_ref());
                let findings = timeout(RECORD_PATIENCE, looked).await.unwrap_or_else(|_| {
                    let figure = format!("no answer within {} s", RECORD_PATIENCE.as_secs());
                    let stops = inspection.candidate.as_ref().map(|_| record::unread(&figure));
                    let hint = "check that this node may reach the provider";
                    [Finding::unknown(subject::RECORD, figure, hint)].into_iter().chain(stops).collect()
                });
                seen.push(record_seen(*service, record, findings));
            }
        }
        let all: Vec<Record> = records.iter().map(|(_, record)| (*record).clone()).collect();
        let access = AccessSeen {
            kind: inspector.kind().to_owned(),
            grade: inspector.grade(),
            longest_request: inspector.longest_request(),
            least_ttl: inspector.published(&RrSet { ttl: 1, values: BTreeSet::new() }).ttl,
        };
        let policy = inspector.policy(&all);
        ProviderSeen { name: name.clone(), access: Some(access), services, records: seen, policy }
    }

    fn missing(&self, name: &ProviderName, records: &[(Option<&ServiceState>, &Record)]) -> Vec<RecordSeen> {
        let known: Vec<_> = self.providers.keys().map(ToString::to_string).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let finding = || {
            let figure = format!("node {} has no provider `{name}` (it has: {known})", self.node);
            let hint = format!("add [provider.{name}] with its credentials to this node's configuration");
            Finding::fail(subject::CREDENTIALS, figure, hint)
        };
        records.iter().map(|(service, record)| record_seen(*service, record, vec![finding()])).collect()
    }

    async fn probe(&self, subject: &Subject, inspection: &Inspection) -> Vec<ProbeSeen> {
        let Some(candidate) = &inspection.candidate else { return vec![] };
        let region = subject.services.iter().find_map(|of| of.service.region(candidate));
        let probes = region.into_iter().flat_map(|region: &Region| region.probes.iter().enumerate());
        join_all(probes.map(|(i, probe)| async move {
            let began = Instant::now();
            let seen = check::run(&self.prober, probe, Some(candidate)).await;
            let failure = match seen {
                Some(seen) if seen.outcome == crate::core::report::Outcome::Pass => None,
                Some(seen) => Some(seen.reason),
                None => Some("this node stood still meanwhile".to_owned()),
            };
            ProbeSeen { probe: i, failure, took: began.elapsed() }
        }))
        .await
    }

    async fn ask_nameservers(&self, subject: &Subject, inspection: &Inspection) -> Vec<NameserverLine> {
        if !inspection.nameservers {
            return vec![];
        }
        let answers =
            subject.services.iter().flat_map(|of| of.target().map(|active| of.answers(active)).unwrap_or_default());
        let asked = answers.map(|(record, rrset)| async move {
            let wanted = self.providers.get(&record.provider).map_or(rrset.clone(), |of| of.published(&rrset));
            self.nameservers.settle(&record, &wanted, NAMESERVERS_PATIENCE).await
        });
        join_all(asked).await.concat()
    }
}

fn record_seen(service: Option<&ServiceState>, record: &Record, findings: Vec<Finding>) -> RecordSeen {
    RecordSeen { service: service.map(|of| of.service.name.clone()), record: record.to_string(), findings }
}

/// A record that no service has, as a caller names it.
#[must_use]
pub fn lone_record(
    provider: ProviderName,
    zone: crate::core::record::DomainName,
    name: crate::core::record::DomainName,
    rtype: RecordType,
) -> Record {
    Record { provider, zone, name, rtype, ttl: 60 }
}

#[cfg(test)]
mod tests;
