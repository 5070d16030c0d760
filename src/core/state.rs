//! The replicated state, the commands that change it, and the questions that it answers. How it changes: `apply.rs`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    audit::{Actor, Audit, MemberAct, Outcome},
    calm::Calm,
    gauge::{Gauge, Gauged},
    names::{EndpointId, Epoch, LogTime, NodeId, RegionName, ServiceName, Site},
    opinion::{Opinion, View},
    record::{Record, RrSet},
    report::{Catalogue, Endpoint, Report},
    sabotage::Sabotage,
    seal::Hash,
    service::{Probe, Service},
    switch::{Intent, NameserverLine, Stamp, Switch},
    verdict::{Tally, Verdict},
};

pub use super::refusal::Refusal;

/// How many ended switches of a service are kept with their evidence.
pub const HISTORY: usize = 32;
/// How many endpoints a cluster takes, all services together.
pub const ENDPOINTS_LIMIT: usize = 10_000;

/// Where an entry stands in the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// An action with the leader's stamps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The leader's log time; `apply` takes the maximum.
    #[serde(rename = "t")]
    pub at: LogTime,
    /// Wall time in ms since 1970: for people, and for the maintenance windows (see [`super::window`] for how far).
    #[serde(rename = "w")]
    pub wall: u64,
    /// What to do.
    #[serde(rename = "a")]
    pub action: Action,
}

/// What a command does. New kinds are added at the end; a kind is never given another meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Moves log time and nothing else.
    Tick,
    /// Reports that arrived together.
    #[serde(rename = "R")]
    Reports(Vec<Report>),
    /// Creates or replaces a service.
    ApplyService {
        /// Validated.
        service: Box<Service>,
        /// The file it was read from.
        source: String,
        /// The name in the certificate of who applied it.
        by: String,
        /// Whether it is refused when another service has one of its records. Entries of before that rule do not ask for it, so that
        /// they make of the state what they made of it then.
        #[serde(default)]
        exclusive: bool,
    },
    /// Forgets a service; its record is left as it is.
    RemoveService {
        /// Which one.
        service: ServiceName,
    },
    /// Authorises a switch.
    Authorise(Intent),
    /// The provider has accepted every record of the open switch.
    Written {
        /// Whose switch.
        service: ServiceName,
        /// Which switch.
        epoch: Epoch,
        /// By record: what the provider said.
        receipts: BTreeMap<String, String>,
    },
    /// The nameservers have been asked: the switch is over.
    Observed {
        /// Whose switch.
        service: ServiceName,
        /// Which switch.
        epoch: Epoch,
        /// What they answered.
        answers: Vec<NameserverLine>,
    },
    /// What keeps a switch or an adoption from settling; `None` when nothing does any more.
    Trouble {
        /// Whose.
        service: ServiceName,
        /// In words.
        text: Option<String>,
    },
    /// What the provider answers that nobody here wrote; `None` when it is in order again.
    Drift {
        /// Whose record.
        service: ServiceName,
        /// In words.
        text: Option<String>,
    },
    /// Holds automatic switches.
    Freeze {
        /// Of one service, or of all.
        service: Option<ServiceName>,
        /// Who and why.
        freeze: Freeze,
    },
    /// Ends the hold.
    Unfreeze {
        /// Of one service, or of all.
        service: Option<ServiceName>,
    },
    /// An administrative act: done like the action in it, and taken down with what came of it.
    Asked {
        /// Who asked for it.
        by: Actor,
        /// For what.
        what: Box<Action>,
    },
    /// What consensus is about to do beside the log; inside of [`Action::Asked`] only, for it changes nothing itself.
    Begin(MemberAct),
    /// What came of it.
    Came {
        /// The entry in which it was begun.
        begun: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// What was measured of the replicas of tables.
    #[serde(rename = "G")]
    Gauges(Vec<Gauge>),
}

impl Action {
    /// The action itself, whoever asked for it.
    #[must_use]
    pub fn plain(&self) -> &Self {
        let mut plain = self;
        while let Self::Asked { what, .. } = plain {
            plain = what;
        }
        plain
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_plain(self) -> Self {
        let mut plain = self;
        while let Self::Asked { what, .. } = plain {
            plain = *what;
        }
        plain
    }
}

/// The hold on automatic switches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// The name in the operator's certificate, or `quorate`.
    pub by: String,
    /// In the operator's words.
    pub reason: String,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It took effect.
    Done,
    /// It changed nothing, there was nothing to change.
    Unchanged,
    /// Which reporters must send a full report, numbered above the number given.
    Reports {
        /// Node and the number of its last report that was taken.
        needs_full: Vec<(NodeId, u64)>,
    },
    /// A switch is authorised under this epoch.
    Authorised(Epoch),
    /// The state forbids it; nothing was changed.
    Refused(Refusal),
    /// It is taken down under this index that something is about to be done.
    Begun(u64),
}

/// Everything that the cluster agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The clock.
    pub log_time: LogTime,
    /// The last entry's term and index.
    pub position: Position,
    /// The voting members and their sites: the electorate.
    pub voters: BTreeMap<NodeId, Site>,
    /// The hold on the whole cluster.
    pub freeze: Option<Freeze>,
    /// The services.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// What each voter reported.
    pub views: BTreeMap<NodeId, View>,
    /// Which probe each endpoint is: service, region and probe by position.
    /// The index at which the catalogue of endpoints changed last.
    pub catalogue_at: u64,
    pub(super) endpoints: BTreeMap<EndpointId, (ServiceName, usize, usize)>,
    pub(super) next_endpoint: u32,
    /// The last epochs of services that were removed: an epoch is never given twice (invariant 1).
    pub(super) retired: BTreeMap<ServiceName, Epoch>,
    /// The hashes of their last switches, so that their chains go on as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) anchors: BTreeMap<ServiceName, Hash>,
    /// The wall stamp of the last command, kept while a service has maintenance windows; 0 while none has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall: u64,
    /// Who did what to the cluster.
    #[serde(default, skip_serializing_if = "Audit::is_empty")]
    pub audit: Audit,
    #[serde(skip)]
    pub(super) calm: Calm,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(wall: &u64) -> bool {
    *wall == 0
}

/// A service and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// As applied.
    pub service: Service,
    /// The file it was read from.
    pub source: String,
    /// The index at which it was applied.
    pub revision: u64,
    /// By region and probe.
    pub endpoints: Vec<Vec<EndpointId>>,
    /// The number of the last switch authorised.
    pub epoch: Epoch,
    /// The region that the record was last observed to answer; `None` until adopted.
    pub active: Option<RegionName>,
    /// The switch that is neither observed nor superseded.
    pub open: Option<Switch>,
    /// The hold on this service.
    pub frozen: Option<Freeze>,
    /// No automatic switch before.
    pub cooldown_until: LogTime,
    /// When automatic switches were authorised, within the budget's window.
    pub automatic: Vec<LogTime>,
    /// The verdict on each region and since when it stands.
    pub verdicts: BTreeMap<RegionName, Standing>,
    /// What the records were last written to answer.
    pub written: Vec<(Record, RrSet)>,
    /// What keeps a switch or the adoption from settling.
    pub trouble: Option<String>,
    /// What the provider answers that nobody here wrote.
    pub drift: Option<String>,
    /// Switches that ended, the oldest first.
    pub history: VecDeque<Switch>,
    /// The hash of the last switch that was forgotten: what the first of `history` is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Hash>,
    /// The service files that the switches rest on, by SHA-256.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<Hash, String>,
    /// What was last measured of each region's table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<RegionName, Gauged>,
}

/// A verdict and the log time since which it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The verdict.
    pub verdict: Verdict,
    /// Since when.
    pub since: LogTime,
}

impl ServiceState {
    /// The region that the record answers, or shall answer once the open switch is through.
    #[must_use]
    pub fn target(&self) -> Option<&RegionName> {
        self.open.as_ref().map(|open| &open.to).or(self.active.as_ref())
    }

    /// Where an abort of the open switch leads: the region that was active before it.
    ///
    /// # Errors
    /// [`Refusal::NothingToAbort`], and [`Refusal::NothingToGoBackTo`] for an adoption, a revision and an abort.
    pub fn before_open(&self) -> Result<&RegionName, Refusal> {
        let open = self.open.as_ref().ok_or(Refusal::NothingToAbort(self.epoch))?;
        self.active.as_ref().filter(|active| **active != open.to).ok_or(Refusal::NothingToGoBackTo(open.epoch))
    }

    /// The verdict that stands on a region.
    #[must_use]
    pub fn verdict(&self, region: &RegionName) -> Verdict {
        self.verdicts.get(region).map(|standing| standing.verdict).unwrap_or_default()
    }

    /// What each record answers while `region` is active.
    #[must_use]
    pub fn answers(&self, region: &RegionName) -> Vec<(Record, RrSet)> {
        let Some(region) = self.service.region(region) else { return vec![] };
        let of = |record: &Record| Some((record.clone(), self.service.rrset(record, region)?));
        self.service.records.iter().filter_map(of).collect()
    }

    /// Whether these values are a region's, or the ones that the cluster wrote last: what it may write over unasked.
    #[must_use]
    pub fn is_ours(&self, record: &Record, found: &RrSet) -> bool {
        let last = self.written.iter().find(|(of, _)| of == record);
        let regions = self.service.regions.iter().filter_map(|region| region.values.get(&record.rtype));
        last.map(|(_, rrset)| &rrset.values).into_iter().chain(regions).any(|values| *values == found.values)
    }

    /// Whether each of these values is one that the cluster writes, be it of different regions.
    #[must_use]
    pub fn is_between(&self, record: &Record, found: &RrSet) -> bool {
        let last = self.written.iter().filter(|(of, _)| of == record).map(|(_, rrset)| &rrset.values);
        let regions = self.service.regions.iter().filter_map(|region| region.values.get(&record.rtype));
        let known: BTreeSet<_> = last.chain(regions).flatten().collect();
        found.values.iter().all(|value| known.contains(value))
    }

    /// The open switch and those that ended, the newest first.
    pub fn switches(&self) -> impl Iterator<Item = &Switch> {
        self.open.iter().chain(self.history.iter().rev())
    }

    /// Whether `region` comes before the target in the order of preference.
    #[must_use]
    pub fn prefers(&self, region: &RegionName) -> bool {
        let place = |name: &RegionName| self.service.regions.iter().position(|region| region.name == *name);
        let target = self.target().and_then(place);
        target.is_some_and(|target| place(region).is_some_and(|place| place < target))
    }

    /// Log time for which an observation of a probe counts.
    #[must_use]
    pub fn ttl(&self, probe: &Probe) -> Duration {
        self.service.policy.opinion_ttl.unwrap_or(probe.interval * 3 + probe.timeout)
    }

    pub(super) fn keep(&mut self, switch: Switch) {
        if self.history.len() == HISTORY {
            self.forget_oldest();
        }
        self.history.push_back(switch);
    }

    pub(super) fn supersede(&mut self, stamp: Stamp) {
        if let Some(mut open) = self.open.take() {
            open.superseded = Some(stamp);
            self.keep(open);
        }
    }
}

impl State {
    /// Whether the parts fit together, which everything here takes for granted: a state that was built by `apply` does,
    /// and one out of a file or off a wire must before it is used.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), String> {
        for (name, of) in &self.services {
            let probes = of.service.regions.iter().map(|region| region.probes.len());
            if of.service.name != *name || !probes.eq(of.endpoints.iter().map(Vec::len)) {
                return Err(format!("service `{name}` does not fit its own endpoints"));
            }
        }
        let mut count = 0;
        for (name, of) in &self.services {
            for (region, ids) in of.endpoints.iter().enumerate() {
                count += ids.len();
                let known = |(probe, id): (usize, &EndpointId)| {
                    self.endpoints.get(id).is_some_and(|at| (&at.0, at.1, at.2) == (name, region, probe))
                };
                if !ids.iter().enumerate().all(known) {
                    return Err(format!("an endpoint of service `{name}` is another's"));
                }
            }
        }
        if count != self.endpoints.len() {
            return Err("an endpoint is of no service".to_owned());
        }
        match self.endpoints.last_key_value() {
            Some((last, _)) if last.0 >= self.next_endpoint => {
                Err("an endpoint's number would be given twice".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Every endpoint that the nodes shall probe.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        let endpoint = |(id, (service, region, probe)): (&EndpointId, &(ServiceName, usize, usize))| {
            let service = &self.services.get(service)?.service;
            let region = service.regions.get(*region)?;
            Some(Endpoint {
                id: *id,
                service: service.name.clone(),
                region: region.name.clone(),
                probe: region.probes.get(*probe)?.clone(),
                settle: service.policy.fall.max(service.policy.rise),
            })
        };
        Catalogue { endpoints: self.endpoints.iter().filter_map(endpoint).collect() }
    }

    /// The count of the sites' opinions on a region.
    #[must_use]
    pub fn tally(&self, service: &ServiceState, region: &RegionName) -> Tally {
        Tally::of(&self.site_opinions(service, region), service.service.policy.quorum)
    }

    /// What each site of the electorate holds of a region.
    #[must_use]
    pub fn site_opinions(&self, service: &ServiceState, region: &RegionName) -> BTreeMap<&Site, Opinion> {
        let mut by_site: BTreeMap<&Site, Vec<Opinion>> = BTreeMap::new();
        let reports = |node: &NodeId| self.current_view(*node).is_some();
        // Whoever is silent stays in the electorate.
        let counts = |node: &NodeId| !Sabotage::QuorumOfReachable.active() || reports(node);
        for (node, site) in self.voters.iter().filter(|(node, _)| counts(node)) {
            by_site.entry(site).or_default().push(self.node_opinion(*node, service, region));
        }
        by_site.into_iter().map(|(site, opinions)| (site, Opinion::agreed(opinions))).collect()
    }

    /// What one node holds of a region: unknown unless heard in this term, seeing, and fresh (invariants 3 and 4).
    #[must_use]
    pub fn node_opinion(&self, node: NodeId, service: &ServiceState, region: &RegionName) -> Opinion {
        let Some(view) = self.current_view(node) else { return Opinion::Unknown };
        let Some((i, region)) = service.service.regions.iter().enumerate().find(|(_, r)| r.name == *region) else {
            return Opinion::Unknown;
        };
        Opinion::all_must_pass(region.probes.iter().zip(&service.endpoints[i]).map(|(probe, id)| {
            let fresh = self.log_time <= view.logged.after(service.ttl(probe)) || Sabotage::ExpiredOpinions.active();
            view.runs.get(id).filter(|_| fresh).map_or(Opinion::Unknown, |held| held.opinion)
        }))
    }

    /// A node's view, if it counts at all: of this term and not blind.
    #[must_use]
    pub fn current_view(&self, node: NodeId) -> Option<&View> {
        let of_this_term = |view: &View| view.term == self.position.term || Sabotage::KeepOpinions.active();
        self.views.get(&node).filter(|view| of_this_term(view) && view.blind.is_none())
    }

    /// The dependencies that any site's observations of a region call failing.
    #[must_use]
    pub fn failing_dependencies(&self, service: &ServiceState, region: &RegionName) -> BTreeSet<&str> {
        let Some(i) = service.service.regions.iter().position(|r| r.name == *region) else { return BTreeSet::new() };
        let views = self.voters.keys().filter_map(|node| self.current_view(*node));
        let held = views.flat_map(|view| service.endpoints[i].iter().filter_map(|id| view.runs.get(id)));
        held.flat_map(|held| held.dependencies.iter().map(String::as_str)).collect()
    }
}
