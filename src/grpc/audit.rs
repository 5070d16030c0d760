//! The record of administrative acts: taking down what consensus does beside the log, and listing.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tonic::Status;
use tracing::warn;

use super::{
    admin::Admin,
    cluster::{Cluster, ClusterError, Member},
    convert,
};
use crate::{
    core::{
        audit::{Act, Actor, AuditEntry, MemberAct, Outcome},
        names::ServiceName,
        state::{Action, Response as Applied, State},
    },
    proto::v1,
};

/// How many entries a page has unless said otherwise.
const PAGE: usize = 50;
/// How many it has at most.
const PAGE_LIMIT: usize = crate::core::audit::AUDIT_LIMIT;
/// How long the end of an act is tried to be taken down: a new leader may just be taking office.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the first leader of a cluster is waited for.
const FIRST_LEADER: Duration = Duration::from_mins(10);
/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(250);

impl Admin {
    /// Has something done that consensus does beside the log: taken down before it is tried, and again when its end is known.
    ///
    /// What cannot be taken down is not tried. It goes on when the caller does not wait for its end any more.
    pub(super) async fn beside(&self, by: Actor, act: MemberAct) -> Result<(), Status> {
        let done = tokio::spawn(carry_out(self.cluster.clone(), by, act)).await;
        done.map_err(|error| Status::internal(format!("it ended in the middle: {error}")))?
    }

    /// Takes down who formed the cluster, as soon as it has a leader. Before it is formed there is no log to say so in.
    pub(super) fn formed(&self, by: Actor, act: MemberAct) {
        let cluster = Arc::downgrade(&self.cluster);
        tokio::spawn(async move {
            let until = Instant::now() + FIRST_LEADER;
            while Instant::now() < until {
                let Some(alive) = cluster.upgrade() else { return };
                if carry_out(alive, by.clone(), act.clone()).await.is_ok() {
                    return;
                }
                sleep(PAUSE).await;
            }
            warn!("nobody led for {} minutes: who formed the cluster is not taken down", FIRST_LEADER.as_secs() / 60);
        });
    }
}

async fn carry_out(cluster: Arc<dyn Cluster>, by: Actor, act: MemberAct) -> Result<(), Status> {
    let about_to = Action::Asked { by, what: Box::new(Action::Begin(act.clone())) };
    let begun = match cluster.propose(about_to).await {
        Ok(Applied::Begun(index)) => index,
        Ok(other) => return Err(Status::internal(format!("the log answered {other:?} to an act that begins"))),
        Err(ClusterError::OutcomeUnknown { .. }) => {
            let why = "it could not be taken down that this begins: nothing was changed".to_owned();
            return Err(ClusterError::Unavailable { why, leader: None }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let ended = match act {
        MemberAct::Init { .. } => Ok(()),
        MemberAct::Add { id, site, address } => cluster.add_member(Member { id, site, address }).await,
        MemberAct::Promote { id } => cluster.promote_member(id).await,
        MemberAct::Remove { id } => cluster.remove_member(id).await,
        MemberAct::Replace { old, id, site, address } => {
            cluster.replace_member(old, Member { id, site, address }).await
        }
        MemberAct::Transfer { to } => cluster.transfer_leadership(to).await,
    };
    let outcome = match &ended {
        Ok(()) => Outcome::Done,
        Err(error @ (ClusterError::OutcomeUnknown { .. } | ClusterError::Internal(_))) => {
            Outcome::Unknown(error.to_string())
        }
        Err(error) => Outcome::Refused(error.to_string()),
    };
    let came = Action::Came { begun, outcome };
    if !settled(&Arc::downgrade(&cluster), &came, SETTLE).await {
        warn!(begun, ?came, "the end of an administrative act could not be taken down: it stays `begun`");
    }
    Ok(ended?)
}

/// Proposes until it is applied; telling twice changes nothing.
async fn settled(cluster: &Weak<dyn Cluster>, came: &Action, within: Duration) -> bool {
    let until = Instant::now() + within;
    while let Some(alive) = cluster.upgrade() {
        if alive.propose(came.clone()).await.is_ok() {
            return true;
        }
        drop(alive);
        if Instant::now() >= until {
            break;
        }
        sleep(PAUSE).await;
    }
    false
}

/// One page, the newest first.
pub(super) async fn list(
    cluster: &dyn Cluster,
    request: v1::ListAuditLogRequest,
) -> Result<v1::ListAuditLogResponse, Status> {
    let look = |state: &State| page(state, &request).map_err(Box::new);
    let (page, read) = cluster.read(convert::consistency(request.consistency), look).await?;
    Ok(v1::ListAuditLogResponse { read: Some(convert::read_info(read)), ..page.map_err(|status| *status)? })
}

/// The page that is asked for; `read` is filled in by the caller.
pub(super) fn page(state: &State, request: &v1::ListAuditLogRequest) -> Result<v1::ListAuditLogResponse, Status> {
    let v1::ListAuditLogRequest { service, limit, before_index, since_wall_ms, .. } = request;
    let service: Option<ServiceName> = if service.is_empty() { None } else { Some(convert::name("service", service)?) };
    let limit = if *limit == 0 { PAGE } else { (*limit as usize).min(PAGE_LIMIT) };
    let wanted = |of: &&AuditEntry| {
        (*before_index == 0 || of.at.index < *before_index)
            && of.at.wall >= *since_wall_ms
            && (service.is_none() || of.act.service() == service.as_ref())
    };
    let mut wanted = state.audit.entries.iter().rev().filter(wanted);
    let entries: Vec<_> = wanted.by_ref().take(limit).map(entry).collect();
    let next_before_index = wanted.next().and_then(|_| entries.last()).map_or(0, |last| last.index);
    Ok(v1::ListAuditLogResponse { entries, next_before_index, forgotten: state.audit.forgotten, read: None })
}

fn entry(of: &AuditEntry) -> v1::AuditEntry {
    let (epoch, to, overrides) = match &of.act {
        Act::Switch { epoch, to, overrides, .. } => (Some(*epoch), to.to_string(), overrides.clone()),
        Act::Abort { epoch, to, .. } => (Some(*epoch), to.to_string(), vec![]),
        _ => (None, String::new(), vec![]),
    };
    let outcome = match of.outcome {
        Outcome::Begun => v1::AuditOutcome::Begun,
        Outcome::Done => v1::AuditOutcome::Done,
        Outcome::Unchanged => v1::AuditOutcome::Unchanged,
        Outcome::Refused(_) => v1::AuditOutcome::Refused,
        Outcome::Unknown(_) => v1::AuditOutcome::Unknown,
    };
    v1::AuditEntry {
        index: of.at.index,
        term: of.at.term,
        log_ms: of.at.at.0,
        at: convert::timestamp(of.at.wall),
        by: of.by.name.clone(),
        role: of.by.role.clone(),
        act: of.act.word().to_owned(),
        service: of.act.service().map(ServiceName::to_string).unwrap_or_default(),
        detail: of.act.to_string(),
        reason: of.act.reason().to_owned(),
        outcome: outcome.into(),
        why: of.outcome.why().to_owned(),
        epoch: epoch.map(|epoch| epoch.0),
        to,
        overrides: overrides.iter().map(ToString::to_string).collect(),
    }
}
