//! What can be found out about a provider without changing anything there: findings, and the rights to ask for.
//!
//! An [`Inspector`] is all that a drill and `quoratectl provider check` ever hold of a provider. It has no way to write, so
//! that whatever is built on it cannot write either.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Grade, Provider, ProviderError, Providers, Reading};
use crate::core::{
    names::{ProviderName, RegionName, ServiceName},
    record::{DomainName, Record, RrSet},
    safety::RuleOutcome,
};

/// One thing that was looked at, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: one of [`subject`], or a word of the provider's own.
    pub subject: Cow<'static, str>,
    /// Whether a switch can rely on it. Unknown where it could not be found out without writing.
    pub outcome: RuleOutcome,
    /// What was seen, in words and figures. Never a credential, nor a part of one.
    pub figure: String,
    /// What to do about it; empty when nothing is to be done.
    pub hint: String,
}

/// The subjects that every provider's findings share.
pub mod subject {
    /// The node has the provider's credentials, and the provider knows them.
    pub const CREDENTIALS: &str = "credentials";
    /// The two clocks agree as far as the provider asks for it.
    pub const CLOCK: &str = "clock";
    /// The provider serves the zone.
    pub const ZONE: &str = "zone";
    /// The record stands there.
    pub const RECORD: &str = "record";
    /// The provider has what the regions' values name.
    pub const VALUES: &str = "values";
    /// The provider publishes the TTL that the service file asks for.
    pub const TTL: &str = "ttl";
    /// The fence is ours, or there is none yet.
    pub const FENCE: &str = "fence";
    /// The credentials may change the record and its fence.
    pub const RIGHTS: &str = "rights";
}

impl Finding {
    /// Nothing stands in the way.
    pub fn pass(subject: impl Into<Cow<'static, str>>, figure: impl Into<String>) -> Self {
        Self { subject: subject.into(), outcome: RuleOutcome::Pass, figure: figure.into(), hint: String::new() }
    }

    /// This would stop a switch.
    pub fn fail(subject: impl Into<Cow<'static, str>>, figure: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { subject: subject.into(), outcome: RuleOutcome::Fail, figure: figure.into(), hint: hint.into() }
    }

    /// It could not be found out; the hint says how a person can.
    pub fn unknown(subject: impl Into<Cow<'static, str>>, figure: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { subject: subject.into(), outcome: RuleOutcome::Unknown, figure: figure.into(), hint: hint.into() }
    }

    /// What a failure to ask means: a permanent one fails, any other leaves it unknown.
    pub fn of_error(subject: impl Into<Cow<'static, str>>, error: &ProviderError) -> Self {
        match error {
            ProviderError::Permanent { message, hint } => Self::fail(subject, message, hint),
            other => Self::unknown(
                subject,
                other.to_string(),
                "ask again; if only this node finds it so, look at its network, else at the provider's status page",
            ),
        }
    }
}

/// A part of the least-privilege policy: what to paste, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where it goes: `named.conf, in the zone's block`.
    pub place: String,
    /// What to paste or open there.
    pub text: String,
}

/// The zones of some records, each once and in order.
pub(super) fn zones<'r>(records: impl IntoIterator<Item = &'r Record>) -> BTreeSet<&'r DomainName> {
    records.into_iter().map(|record| &record.zone).collect()
}

/// A provider that can be asked and not written to.
#[derive(Debug, Clone)]
pub struct Inspector(Arc<dyn Provider>);

/// The configured providers, none of which can be written to through this.
pub type Inspectors = BTreeMap<ProviderName, Inspector>;

/// The same providers without the way to write.
#[must_use]
pub fn read_only(providers: &Providers) -> Inspectors {
    providers.iter().map(|(name, provider)| (name.clone(), Inspector(provider.clone()))).collect()
}

impl Inspector {
    /// As [`super::serving`].
    #[must_use]
    pub fn serving(&self, service: &ServiceName) -> Self {
        Self(super::serving(&self.0, service))
    }

    /// As [`Provider::goes_in_steps`].
    #[must_use]
    pub fn goes_in_steps(&self) -> bool {
        self.0.goes_in_steps()
    }

    /// As [`Provider::fence_place`].
    #[must_use]
    pub fn fence_place(&self, record: &Record) -> String {
        self.0.fence_place(record)
    }

    /// As [`Provider::kind`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// As [`Provider::grade`].
    #[must_use]
    pub fn grade(&self) -> Grade {
        self.0.grade()
    }

    /// As [`Provider::longest_request`].
    #[must_use]
    pub fn longest_request(&self) -> Duration {
        self.0.longest_request()
    }

    /// As [`Provider::published`].
    #[must_use]
    pub fn published(&self, wanted: &RrSet) -> RrSet {
        self.0.published(wanted)
    }

    /// As [`Provider::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        self.0.read(record).await
    }

    /// As [`Provider::rights`].
    pub async fn rights(&self, record: &Record) -> Vec<Finding> {
        self.0.rights(record).await
    }

    /// As [`Provider::values`].
    pub async fn values(&self, record: &Record, regions: &[(RegionName, RrSet)]) -> Vec<Finding> {
        self.0.values(record, regions).await
    }

    /// As [`Provider::policy`].
    #[must_use]
    pub fn policy(&self, records: &[Record]) -> Vec<Grant> {
        self.0.policy(records)
    }
}
