//! From the domain to the protocol and back. Nothing on the wire is trusted: names are parsed, enums looked up.

use tonic::Status;

use super::{
    cluster::{Consistency, Member, MemberStatus, Membership, ReadInfo},
    errors::invalid_field,
};
use crate::{
    core::{
        explain::{Explained, Explanation},
        names::{Epoch, LogTime, RegionName, ServiceName},
        opinion::Opinion,
        report::Outcome,
        safety::{RuleOutcome, RuleReading},
        service::Region,
        state::{Freeze, ServiceState, State},
        switch::{RegionEvidence, Switch, SwitchStatus, Vote},
        verdict::Verdict,
    },
    proto::v1,
    view,
};

/// Whole milliseconds.
pub fn ms(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What was read.
pub fn read_info(of: ReadInfo) -> v1::ReadInfo {
    v1::ReadInfo {
        applied_index: of.position.index,
        term: of.position.term,
        log_time_ms: of.log_time.0,
        age_ms: of.age.map(ms),
        answered_by: of.answered_by,
    }
}

/// How old an answer may be. What this version does not know is read as the stricter.
pub fn consistency(value: i32) -> Consistency {
    match v1::Consistency::try_from(value) {
        Ok(v1::Consistency::Stale) => Consistency::Stale,
        Ok(v1::Consistency::Linearizable | v1::Consistency::Unspecified) | Err(_) => Consistency::Linearizable,
    }
}

/// A name, or which field is wrong and why.
pub fn name<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| invalid_field(field, error.to_string()))
}

fn opinion(of: Opinion) -> v1::Opinion {
    match of {
        Opinion::Up => v1::Opinion::Up,
        Opinion::Down => v1::Opinion::Down,
        Opinion::Unknown => v1::Opinion::Unknown,
    }
}

fn verdict(of: Verdict) -> v1::Verdict {
    match of {
        Verdict::Up => v1::Verdict::Up,
        Verdict::Down => v1::Verdict::Down,
        Verdict::Undecided => v1::Verdict::Undecided,
    }
}

fn frozen(state: &State, service: &ServiceState) -> String {
    let words = |what: &str, freeze: &Freeze| format!("{what} frozen by {}: {}", freeze.by, freeze.reason);
    match (&service.frozen, &state.freeze) {
        (Some(freeze), _) => words("service", freeze),
        (None, Some(freeze)) => words("cluster", freeze),
        (None, None) => String::new(),
    }
}

fn region_verdict(state: &State, service: &ServiceState, region: &Region) -> v1::RegionVerdict {
    let tally = state.tally(service, &region.name);
    let since = service.verdicts.get(&region.name).map(|standing| standing.since);
    let votes = state.site_votes(service, &region.name).into_iter();
    v1::RegionVerdict {
        region: region.name.to_string(),
        verdict: verdict(service.verdict(&region.name)).into(),
        since_ms: since.map_or(0, |since| ms(state.log_time.since(since))),
        sites_up: tally.up,
        sites_down: tally.down,
        sites_total: tally.sites,
        sites_needed: tally.needed,
        opinions: votes
            .map(|vote| v1::SiteOpinion {
                site: vote.site.to_string(),
                opinion: opinion(vote.opinion).into(),
                reason: vote.reason,
            })
            .collect(),
        failing_dependencies: state
            .failing_dependencies(service, &region.name)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// A service as the cluster sees it.
pub fn service_verdict(state: &State, service: &ServiceState) -> v1::ServiceVerdict {
    let phase = match (&service.open, &service.active) {
        (Some(open), _) if open.written.is_some() => v1::Phase::Written,
        (Some(_), _) => v1::Phase::Authorised,
        (None, Some(_)) => v1::Phase::Serving,
        (None, None) => v1::Phase::Adopting,
    };
    v1::ServiceVerdict {
        service: service.service.name.to_string(),
        phase: phase.into(),
        active_region: service.target().map(RegionName::to_string).unwrap_or_default(),
        epoch: service.epoch.0,
        regions: service.service.regions.iter().map(|region| region_verdict(state, service, region)).collect(),
        frozen: frozen(state, service),
        drift: service.drift.clone().unwrap_or_default(),
        trouble: service.trouble.clone().unwrap_or_default(),
    }
}

pub fn rule_outcome(of: RuleOutcome) -> v1::RuleOutcome {
    match of {
        RuleOutcome::Pass => v1::RuleOutcome::Pass,
        RuleOutcome::Fail => v1::RuleOutcome::Fail,
        RuleOutcome::Unknown => v1::RuleOutcome::Unknown,
    }
}

/// A rule's answer, its times counted from `now`.
pub fn rule(now: LogTime, of: RuleReading) -> v1::RuleReading {
    explained(now, Explained { reading: of, earliest: None })
}

fn explained(now: LogTime, of: Explained) -> v1::RuleReading {
    let Explained { reading: of, earliest } = of;
    v1::RuleReading {
        rule: of.rule.as_str().to_owned(),
        outcome: rule_outcome(of.outcome).into(),
        figure: of.figure,
        clears_in_ms: of.clears_at.map(|at| ms(at.since(now))),
        overridden: of.overridden,
        earliest_in_ms: earliest.map(|at| ms(at.since(now))),
    }
}

/// Why a switch is or is not due. `read` is filled in by the caller.
pub fn explanation(state: &State, service: &ServiceState, of: Explanation) -> v1::ExplainResponse {
    let now = state.log_time;
    v1::ExplainResponse {
        verdict: Some(service_verdict(state, service)),
        candidate: of.intent.map(|intent| intent.to.to_string()).unwrap_or_default(),
        rules: of.rules.into_iter().map(|rule| explained(now, rule)).collect(),
        due: of.due,
        due_in_ms: of.due_at.map(|at| ms(at.since(now))),
        earliest_in_ms: of.earliest.map(|at| ms(at.since(now))),
        held_by: of.held_by.map(|rule| rule.to_string()).unwrap_or_default(),
        conclusion: of.conclusion,
        read: None,
    }
}

pub(super) fn timestamp(wall_ms: u64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(wall_ms % 1000 * 1_000_000).ok()?;
    Some(prost_types::Timestamp { seconds: i64::try_from(wall_ms / 1000).ok()?, nanos })
}

/// A switch of a service.
pub fn switch(service: &ServiceName, of: &Switch) -> v1::Switch {
    let status = match of.status() {
        SwitchStatus::Authorised => v1::SwitchStatus::Authorised,
        SwitchStatus::Written => v1::SwitchStatus::Written,
        SwitchStatus::Observed => v1::SwitchStatus::Observed,
        SwitchStatus::Superseded => v1::SwitchStatus::Superseded,
    };
    v1::Switch {
        service: service.to_string(),
        epoch: of.epoch.0,
        from: of.from.as_ref().map(RegionName::to_string).unwrap_or_default(),
        to: of.to.to_string(),
        cause: of.cause.word().to_owned(),
        by: of.cause.by().to_owned(),
        status: status.into(),
        authorised_at: timestamp(of.authorised.wall),
        authorised_log_ms: of.authorised.at.0,
        written_log_ms: of.written.map(|stamp| stamp.at.0),
        observed_log_ms: of.observed.map(|stamp| stamp.at.0),
        term: of.authorised.term,
        index: of.authorised.index,
    }
}

/// What a switch rested on, as it is published.
pub fn evidence(of: &Switch) -> view::Evidence {
    let authorised = of.authorised.at;
    let evidence = &of.evidence;
    view::Evidence {
        revision: evidence.revision,
        reason: Some(of.cause.reason()).filter(|reason| !reason.is_empty()).map(str::to_owned),
        electorate: evidence.electorate.iter().map(|(node, site)| (*node, site.to_string())).collect(),
        regions: evidence.regions.iter().map(|(name, region)| region_evidence(name, region)).collect(),
        rules: evidence.rules.iter().map(|reading| rule(authorised, reading.clone()).into()).collect(),
        receipts: evidence.receipts.clone(),
        lost_writes: evidence
            .lost_writes
            .as_ref()
            .map(|lost| view::LostWrites { bound_ms: lost.bound.map(ms), text: lost.text.clone() }),
        answers: evidence
            .answers
            .iter()
            .map(|line| view::Answer {
                record: line.record.clone(),
                server: line.server.clone(),
                answer: line.answer.clone(),
                agrees: line.agrees,
            })
            .collect(),
        file: Some(evidence.file.clone()).filter(|file| !file.is_empty()),
        sight: evidence.sight.iter().map(|(node, sight)| view::Sight::of(*node, sight)).collect(),
    }
}

fn region_evidence(name: &RegionName, of: &RegionEvidence) -> view::RegionEvidence {
    let vote = |vote: &Vote| view::Vote {
        node: vote.node,
        site: vote.site.to_string(),
        opinion: match vote.opinion {
            Opinion::Up => "up",
            Opinion::Down => "down",
            Opinion::Unknown => "unknown",
        }
        .into(),
        reason: vote.reason.clone(),
        runs: vote
            .runs
            .iter()
            .map(|run| view::Run {
                probe: run.probe,
                outcome: if run.outcome == Outcome::Pass { "pass" } else { "fail" }.into(),
                count: run.count,
                term: run.term,
                index: run.index,
                reason: run.reason.clone(),
            })
            .collect(),
    };
    view::RegionEvidence {
        region: name.to_string(),
        sites_up: of.tally.up,
        sites_down: of.tally.down,
        sites_total: of.tally.sites,
        sites_needed: of.tally.needed,
        votes: of.votes.iter().map(vote).collect(),
    }
}

/// A switch of that epoch; the newest for epoch 0.
pub fn find_switch(service: &ServiceState, epoch: Epoch) -> Option<&Switch> {
    service.switches().find(|switch| epoch == Epoch(0) || switch.epoch == epoch)
}

/// A member that a caller names.
pub fn member(of: Option<v1::Member>) -> Result<Member, Status> {
    let of = of.ok_or_else(|| invalid_field("member", "is missing"))?;
    if of.id == 0 {
        return Err(invalid_field("member.id", "must be from 1"));
    }
    let site = name("member.site", &of.site)?;
    let port = of.address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) || of.address.len() > 300 || of.address.contains(char::is_control) {
        return Err(invalid_field("member.address", "must be HOST:PORT"));
    }
    Ok(Member { id: of.id, site, address: of.address })
}

/// A member as this node sees it.
pub fn member_status(of: &MemberStatus) -> v1::MemberStatus {
    v1::MemberStatus {
        member: Some(v1::Member {
            id: of.member.id,
            site: of.member.site.to_string(),
            address: of.member.address.clone(),
        }),
        voter: of.voter,
        leader: of.leader,
        matched_index: of.matched_index,
        silent_ms: of.silent.map(ms),
    }
}

/// The cluster as this node sees it.
pub fn membership(of: &Membership, answered_by: u64) -> v1::ListMembersResponse {
    v1::ListMembersResponse {
        cluster: of.cluster.to_string(),
        members: of.members.iter().map(member_status).collect(),
        leader: of.leader.unwrap_or_default(),
        term: of.term,
        last_log_index: of.last_log_index,
        applied_index: of.applied_index,
        state_hash: of.state_hash.clone(),
        answered_by,
    }
}
