//! The JSON of `quoratectl --output json` and of `/v1/verdicts`: stable names, lower-case words, times in ms of log time.
//!
//! Fields are only ever added. A field that is not known is `null`, never left out.

pub mod inspect;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::proto::v1;

mod audit;
mod replication;
mod sight;

pub use audit::AuditEntry;
pub use replication::{LostWrites, Replication, Replications};
pub use sight::Sight;

/// The lower-case word of a protobuf enum value: `VERDICT_UP` is `up`. What this version does not know is `unrecognised`.
fn word<E: TryFrom<i32>>(value: i32, name: impl Fn(&E) -> &'static str, prefix: &str) -> String {
    let Ok(known) = E::try_from(value) else { return "unrecognised".into() };
    let name = name(&known);
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// RFC 3339; nothing for what no clock says.
fn wall(at: prost_types::Timestamp) -> Option<String> {
    let since = Duration::new(u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?);
    OffsetDateTime::UNIX_EPOCH.checked_add(since.try_into().ok()?)?.format(&Rfc3339).ok()
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// What an answer was read from.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Read {
    /// The last entry applied.
    pub applied_index: u64,
    /// The term of that state.
    pub term: u64,
    /// Its log time.
    pub log_time_ms: u64,
    /// Stale reads only: how long ago the node last heard from a leader.
    pub age_ms: Option<u64>,
    /// The node.
    pub answered_by: u64,
}

impl From<v1::ReadInfo> for Read {
    fn from(read: v1::ReadInfo) -> Self {
        Self {
            applied_index: read.applied_index,
            term: read.term,
            log_time_ms: read.log_time_ms,
            age_ms: read.age_ms,
            answered_by: read.answered_by,
        }
    }
}

/// What a site holds.
#[derive(Debug, Clone, Serialize)]
pub struct Opinion {
    /// The site.
    pub site: String,
    /// `up`, `down` or `unknown`.
    pub opinion: String,
    /// Why, in words.
    pub reason: String,
}

/// A region as the cluster sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Region {
    /// Its name.
    pub region: String,
    /// `up`, `down` or `undecided`.
    pub verdict: String,
    /// For how long.
    pub since_ms: u64,
    /// Sites that hold it up.
    pub sites_up: u32,
    /// Sites that hold it down.
    pub sites_down: u32,
    /// Sites in the electorate.
    pub sites_total: u32,
    /// How many make a verdict.
    pub sites_needed: u32,
    /// One a site.
    pub opinions: Vec<Opinion>,
    /// What the region's endpoints call failing.
    pub failing_dependencies: Vec<String>,
}

impl From<v1::RegionVerdict> for Region {
    fn from(region: v1::RegionVerdict) -> Self {
        let opinion = |of: v1::SiteOpinion| Opinion {
            opinion: word(of.opinion, v1::Opinion::as_str_name, "OPINION_"),
            site: of.site,
            reason: of.reason,
        };
        Self {
            verdict: word(region.verdict, v1::Verdict::as_str_name, "VERDICT_"),
            region: region.region,
            since_ms: region.since_ms,
            sites_up: region.sites_up,
            sites_down: region.sites_down,
            sites_total: region.sites_total,
            sites_needed: region.sites_needed,
            opinions: region.opinions.into_iter().map(opinion).collect(),
            failing_dependencies: region.failing_dependencies,
        }
    }
}

/// A service as the cluster sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Its name.
    pub service: String,
    /// `adopting`, `serving`, `authorised` or `written`.
    pub phase: String,
    /// The region that the record answers, or shall.
    pub active_region: Option<String>,
    /// The number of the last switch.
    pub epoch: u64,
    /// In order of preference.
    pub regions: Vec<Region>,
    /// Why automatic switches are held.
    pub frozen: Option<String>,
    /// What the provider answers that nobody here wrote.
    pub drift: Option<String>,
    /// What keeps a switch or the adoption from settling.
    pub trouble: Option<String>,
}

impl From<v1::ServiceVerdict> for Service {
    fn from(of: v1::ServiceVerdict) -> Self {
        Self {
            service: of.service,
            phase: word(of.phase, v1::Phase::as_str_name, "PHASE_"),
            active_region: text(of.active_region),
            epoch: of.epoch,
            regions: of.regions.into_iter().map(Region::from).collect(),
            frozen: text(of.frozen),
            drift: text(of.drift),
            trouble: text(of.trouble),
        }
    }
}

impl Service {
    /// The verdict on the active region: `undecided` while there is none.
    #[must_use]
    pub fn active_verdict(&self) -> &str {
        let active = self.regions.iter().find(|region| Some(&region.region) == self.active_region.as_ref());
        active.map_or("undecided", |region| &region.verdict)
    }
}

/// A rule's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub rule: String,
    /// `pass`, `fail` or `unknown`.
    pub outcome: String,
    /// In words.
    pub figure: String,
    /// Until it passes by itself.
    pub clears_in_ms: Option<u64>,
    /// It holds, but it was overridden.
    pub overridden: bool,
    /// Until it could pass if the sites observe what it takes from now on; of `explain` only.
    #[serde(default)]
    pub earliest_in_ms: Option<u64>,
}

impl From<v1::RuleReading> for Rule {
    fn from(of: v1::RuleReading) -> Self {
        Self {
            outcome: word(of.outcome, v1::RuleOutcome::as_str_name, "RULE_OUTCOME_"),
            rule: of.rule,
            figure: of.figure,
            clears_in_ms: of.clears_in_ms,
            overridden: of.overridden,
            earliest_in_ms: of.earliest_in_ms,
        }
    }
}

/// Why a switch is or is not due.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// One sentence.
    pub conclusion: String,
    /// A switch would be authorised now.
    pub due: bool,
    /// Until it could be; `null` when time alone does not bring it.
    pub due_in_ms: Option<u64>,
    /// Until it could be if the sites observe what it takes from now on; `null` while it waits for a person or an event.
    pub earliest_in_ms: Option<u64>,
    /// The rule that holds it longest.
    pub held_by: Option<String>,
    /// The region it would go to.
    pub candidate: Option<String>,
    /// Every rule.
    pub rules: Vec<Rule>,
    /// The service.
    pub verdict: Service,
    /// What was read.
    pub read: Read,
}

impl From<v1::ExplainResponse> for Explanation {
    fn from(of: v1::ExplainResponse) -> Self {
        Self {
            conclusion: of.conclusion,
            due: of.due,
            due_in_ms: of.due_in_ms,
            earliest_in_ms: of.earliest_in_ms,
            held_by: text(of.held_by),
            candidate: text(of.candidate),
            rules: of.rules.into_iter().map(Rule::from).collect(),
            verdict: of.verdict.unwrap_or_default().into(),
            read: of.read.unwrap_or_default().into(),
        }
    }
}

/// A switch.
#[derive(Debug, Clone, Serialize)]
pub struct Switch {
    /// Whose.
    pub service: String,
    /// Its number.
    pub epoch: u64,
    /// `null` for the first.
    pub from: Option<String>,
    /// The region made active.
    pub to: String,
    /// `adopt`, `failover`, `failback`, `manual`, `revise` or `abort`.
    pub cause: String,
    /// Who asked; `null` for the cluster itself.
    pub by: Option<String>,
    /// `authorised`, `written`, `observed` or `superseded`.
    pub status: String,
    /// Wall time, RFC 3339.
    pub authorised_at: Option<String>,
    /// Log time.
    pub authorised_log_ms: u64,
    /// Log time.
    pub written_log_ms: Option<u64>,
    /// Log time.
    pub observed_log_ms: Option<u64>,
    /// Where the intent stands in the log.
    pub term: u64,
    /// Where the intent stands in the log.
    pub index: u64,
}

impl From<v1::Switch> for Switch {
    fn from(of: v1::Switch) -> Self {
        Self {
            service: of.service,
            epoch: of.epoch,
            from: text(of.from),
            to: of.to,
            cause: of.cause,
            by: text(of.by),
            status: word(of.status, v1::SwitchStatus::as_str_name, "SWITCH_STATUS_"),
            authorised_at: of.authorised_at.and_then(wall),
            authorised_log_ms: of.authorised_log_ms,
            written_log_ms: of.written_log_ms,
            observed_log_ms: of.observed_log_ms,
            term: of.term,
            index: of.index,
        }
    }
}

/// What a switch rested on: `GetEvidenceResponse.evidence_json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evidence {
    /// The index at which the service was applied as it then stood.
    pub revision: u64,
    /// In an operator's words, for a manual switch and an abort.
    pub reason: Option<String>,
    /// The voting members and their sites.
    pub electorate: BTreeMap<u64, String>,
    /// What was held of each region.
    pub regions: Vec<RegionEvidence>,
    /// Every rule with its figure.
    pub rules: Vec<Rule>,
    /// By record: what the provider said.
    pub receipts: BTreeMap<String, String>,
    /// What each nameserver answered.
    pub answers: Vec<Answer>,
    /// The SHA-256 of the service file, with regions and policy.
    #[serde(default)]
    pub file: Option<String>,
    /// What each node's controls said, and which peers it reached.
    #[serde(default)]
    pub sight: Vec<Sight>,
    /// What the table's replica may lack; `null` where there is no table.
    #[serde(default)]
    pub lost_writes: Option<LostWrites>,
}

/// What was held of a region.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegionEvidence {
    /// Its name.
    pub region: String,
    /// Sites that held it up.
    pub sites_up: u32,
    /// Sites that held it down.
    pub sites_down: u32,
    /// Sites in the electorate.
    pub sites_total: u32,
    /// How many made a verdict.
    pub sites_needed: u32,
    /// One a node.
    pub votes: Vec<Vote>,
}

/// A node's opinion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vote {
    /// The node.
    pub node: u64,
    /// Its site.
    pub site: String,
    /// `up`, `down` or `unknown`.
    pub opinion: String,
    /// Why, in words.
    pub reason: String,
    /// What it rests on.
    pub runs: Vec<Run>,
}

/// Consecutive equal observations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Which of the region's probes, from 0.
    pub probe: usize,
    /// `pass` or `fail`.
    pub outcome: String,
    /// How many, when last told.
    pub count: u32,
    /// The term in which it was logged.
    pub term: u64,
    /// The entry that told of it last.
    pub index: u64,
    /// Why the last one failed.
    pub reason: String,
}

/// A nameserver's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The record.
    pub record: String,
    /// The nameserver.
    pub server: String,
    /// What it answered, or why it did not.
    pub answer: String,
    /// Whether that is what was written.
    pub agrees: bool,
}

/// A member as the node that answers sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Its site.
    pub site: String,
    /// `host:port`.
    pub address: String,
    /// `voter` or `learner`.
    pub role: String,
    /// Believed to lead.
    pub leader: bool,
    /// The last log index that it has, if the leader answers.
    pub matched_index: Option<u64>,
    /// For how long it has not answered, if the leader answers.
    pub silent_ms: Option<u64>,
}

impl From<v1::MemberStatus> for Member {
    fn from(of: v1::MemberStatus) -> Self {
        let member = of.member.unwrap_or_default();
        Self {
            id: member.id,
            site: member.site,
            address: member.address,
            role: if of.voter { "voter" } else { "learner" }.into(),
            leader: of.leader,
            matched_index: of.matched_index,
            silent_ms: of.silent_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_are_words() {
        assert_eq!(word(v1::Verdict::Up.into(), v1::Verdict::as_str_name, "VERDICT_"), "up");
        assert_eq!(word(v1::RuleOutcome::Unknown.into(), v1::RuleOutcome::as_str_name, "RULE_OUTCOME_"), "unknown");
        assert_eq!(word(99, v1::Phase::as_str_name, "PHASE_"), "unrecognised");
    }

    #[test]
    fn nothing_on_the_wire_can_panic() {
        let odd = v1::Switch {
            authorised_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 }),
            ..v1::Switch::default()
        };
        assert_eq!(Switch::from(odd).authorised_at, None);
        assert_eq!(Service::from(v1::ServiceVerdict::default()).active_verdict(), "undecided");
    }
}
