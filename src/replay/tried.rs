//! The policies that are tried: read, checked, and held against the recording.

use std::collections::BTreeMap;

use crate::{
    core::{
        names::ServiceName,
        service::{Policy, Region, Service},
        window::Window,
    },
    diagnostic::Problems,
    service_file,
};

/// Policy files, one after the other.
#[derive(Debug, Default)]
pub struct Tried {
    files: Vec<TriedFile>,
    /// The services that a file without a name is for; all of the recording when empty.
    only: Vec<ServiceName>,
}

#[derive(Debug)]
struct TriedFile {
    name: String,
    text: String,
}

/// Why a policy cannot be tried on this recording.
#[derive(Debug, thiserror::Error)]
pub enum TriedError {
    /// The file is wrong.
    #[error("{0}")]
    Wrong(Problems),
    /// The recording has no such service.
    #[error("the recording has no service `{wanted}`; it has {}", list(.known))]
    NoService {
        /// The one that was named.
        wanted: ServiceName,
        /// Those of the recording.
        known: Vec<ServiceName>,
    },
    /// The observations would have been others.
    #[error(
        "service {service}: {what}. Observations cannot be made again: a replay tries another [policy] on the regions and probes that \
         were recorded"
    )]
    OtherProbes {
        /// Which.
        service: ServiceName,
        /// What is not as recorded.
        what: String,
    },
}

fn list(services: &[ServiceName]) -> String {
    if services.is_empty() {
        "none".into()
    } else {
        services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Tried {
    /// The texts of policy files by name: service files, or files with nothing but `[policy]`, which are for `only`, or for every
    /// service when that is empty.
    #[must_use]
    pub fn new(files: Vec<(String, String)>, only: Vec<ServiceName>) -> Self {
        Self { files: files.into_iter().map(|(name, text)| TriedFile { name, text }).collect(), only }
    }

    /// What each service of the recording shall be run under, where that is another policy than its own.
    pub(super) fn for_services(
        &self,
        services: &BTreeMap<ServiceName, Service>,
    ) -> Result<BTreeMap<ServiceName, Policy>, TriedError> {
        let known = || services.keys().cloned().collect::<Vec<_>>();
        let mut policies = BTreeMap::new();
        for file in &self.files {
            let wrong = |problems: Problems| TriedError::Wrong(problems.in_file(file.name.clone()));
            if service_file::is_policy_alone(&file.text) {
                for name in &self.only {
                    if !services.contains_key(name) {
                        return Err(TriedError::NoService { wanted: name.clone(), known: known() });
                    }
                }
                let wanted = |name: &&ServiceName| self.only.is_empty() || self.only.contains(name);
                for name in services.keys().filter(wanted) {
                    let policy = service_file::parse_policy(&file.text, &services[name].regions).map_err(wrong)?;
                    policies.insert(name.clone(), policy);
                }
                continue;
            }
            let (service, _) = service_file::parse(&file.text).map_err(wrong)?;
            let Some(recorded) = services.get(&service.name) else {
                return Err(TriedError::NoService { wanted: service.name, known: known() });
            };
            if let Some(what) = other_probes(&recorded.regions, &service.regions) {
                return Err(TriedError::OtherProbes { service: service.name, what });
            }
            policies.insert(service.name, service.policy);
        }
        Ok(policies)
    }
}

/// What is asked in another way than was recorded.
fn other_probes(recorded: &[Region], tried: &[Region]) -> Option<String> {
    let names = |regions: &[Region]| regions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
    if names(recorded) != names(tried) {
        return Some(format!("its regions are {}, recorded were {}", names(tried), names(recorded)));
    }
    for (old, new) in recorded.iter().zip(tried) {
        if old.probes.len() != new.probes.len() {
            let (new_count, old_count) = (new.probes.len(), old.probes.len());
            return Some(format!("region {} has {new_count} probes, recorded were {old_count}", old.name));
        }
        for (i, (old_probe, new_probe)) in old.probes.iter().zip(&new.probes).enumerate() {
            let what = match () {
                () if old_probe.interval != new_probe.interval => {
                    format!("has an interval of {:?}, recorded was {:?}", new_probe.interval, old_probe.interval)
                }
                () if old_probe.timeout != new_probe.timeout => {
                    format!("has a timeout of {:?}, recorded was {:?}", new_probe.timeout, old_probe.timeout)
                }
                () if old_probe.check != new_probe.check => "asks something else than the recorded one".to_owned(),
                () => continue,
            };
            return Some(format!("probe {i} of region {} {what}", old.name));
        }
        if old.dynamodb != new.dynamodb {
            return Some(format!("the table of region {} is not the recorded one", old.name));
        }
    }
    None
}

/// Every key of `[policy]` in which the two differ, as words.
pub(super) fn differences(old: &Policy, new: &Policy) -> Vec<(&'static str, String, String)> {
    use crate::core::explain::words;
    let quorum = |policy: &Policy| match policy.quorum {
        crate::core::service::Quorum::Majority => "majority".to_owned(),
        crate::core::service::Quorum::AtLeast(n) => n.to_string(),
        crate::core::service::Quorum::All => "all".to_owned(),
    };
    let span = |span: Option<std::time::Duration>| span.map_or_else(|| "from the probes".to_owned(), words);
    let windows = |windows: &[Window]| {
        let all: Vec<_> = windows.iter().map(ToString::to_string).collect();
        if all.is_empty() { "none".to_owned() } else { all.join("; ") }
    };
    let of = |policy: &Policy| {
        // Taken apart whole, so that the compiler asks for a key that is added.
        let Policy {
            fall,
            rise,
            quorum: _,
            cooldown,
            budget,
            budget_window,
            failback,
            dwell,
            opinion_ttl,
            max_replication_lag,
            gate_unknown,
            drift,
            reconcile,
            windows: planned,
        } = policy;
        [
            ("fall", fall.to_string()),
            ("rise", rise.to_string()),
            ("quorum", quorum(policy)),
            ("cooldown", words(*cooldown)),
            ("budget", budget.to_string()),
            ("budget_window", words(*budget_window)),
            ("failback", format!("{failback:?}").to_lowercase()),
            ("dwell", words(*dwell)),
            ("opinion_ttl", span(*opinion_ttl)),
            ("max_replication_lag", max_replication_lag.map_or_else(|| "none".to_owned(), words)),
            ("gate_unknown", format!("{gate_unknown:?}").to_lowercase()),
            ("drift", format!("{drift:?}").to_lowercase()),
            ("reconcile", words(*reconcile)),
            ("windows", windows(planned)),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    pairs.filter(|((_, old), (_, new))| old != new).map(|((key, old), (_, new))| (key, old, new)).collect()
}
