//! `AdminService`: everything that changes something, proposed under the name in the caller's certificate.
//!
//! What is allowed is decided in `core`, when the proposal is applied. A dry run asks the same code: it applies the proposal
//! to a copy of the state and throws it away.

use std::{collections::BTreeSet, sync::Arc};

use tonic::{Code, Request, Response, Status};

use super::{
    audit,
    auth::caller,
    cluster::{Cluster, ClusterError, Consistency, Member, Violation},
    convert, drill,
    errors::{EPOCH, forbidden, invalid, invalid_field, status},
    providers,
};
use crate::{
    core::{
        audit::{Actor, MemberAct},
        names::{Epoch, LogTime, RegionName, ServiceName},
        safety::Rule,
        service::Service,
        state::{Action, Command, Freeze, Position, Response as Applied, State},
        switch::{Cause, Intent},
    },
    diagnostic::{Diagnostic, Problems},
    proto::v1::{self, admin_service_server::AdminService},
    service_file,
};

/// The longest reason that is kept, in bytes.
const REASON_LIMIT: usize = 500;
/// The largest service file, in bytes.
const FILE_LIMIT: usize = 1 << 20;
/// How many members a cluster may have.
const MEMBERS_LIMIT: usize = 15;

/// The server.
#[derive(Clone)]
pub struct Admin {
    pub(super) cluster: Arc<dyn Cluster>,
}

impl Admin {
    /// Proposes to `cluster`.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>) -> Self {
        Self { cluster }
    }

    /// Proposes what somebody asked for, so that it is taken down; what the state forbids becomes an error.
    async fn propose(&self, by: Actor, action: Action) -> Result<Applied, Status> {
        match self.cluster.propose(Action::Asked { by, what: Box::new(action) }).await? {
            Applied::Refused(refusal) => Err(refusal.into()),
            done => Ok(done),
        }
    }

    fn members(&self) -> Response<v1::MembershipResponse> {
        let members = self.cluster.membership().members.iter().map(convert::member_status).collect();
        Response::new(v1::MembershipResponse { members })
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn apply_service(
        &self,
        request: Request<v1::ApplyServiceRequest>,
    ) -> Result<Response<v1::ApplyServiceResponse>, Status> {
        let by = caller(&request)?;
        let v1::ApplyServiceRequest { toml, dry_run, skip_provider_check } = request.into_inner();
        let (service, warnings) = parse(&toml)?;
        self.cluster.check_providers(&service, !skip_provider_check).await.map_err(unsuitable)?;
        let name = service.name.clone();
        let action =
            Action::ApplyService { service: Box::new(service), source: toml, by: by.name.clone(), exclusive: true };
        let rehearse = dry_run.then(|| action.clone());
        let look =
            |state: &State| (state.services.contains_key(&name), rehearse.map(|action| rehearsed(state, action)));
        let ((known, rehearsal), _) = self.cluster.read(Consistency::Linearizable, look).await?;
        let applied = match rehearsal {
            Some(Applied::Refused(refusal)) => return Err(refusal.into()),
            Some(done) => done,
            None => self.propose(by, action).await?,
        };
        Ok(Response::new(v1::ApplyServiceResponse {
            service: name.to_string(),
            created: !known,
            unchanged: applied == Applied::Unchanged,
            warnings: warnings.iter().map(|of| format!("{}: {}", place(of), described(of))).collect(),
        }))
    }

    async fn remove_service(
        &self,
        request: Request<v1::RemoveServiceRequest>,
    ) -> Result<Response<v1::RemoveServiceResponse>, Status> {
        let by = caller(&request)?;
        let service = convert::name("service", &request.into_inner().service)?;
        self.propose(by, Action::RemoveService { service }).await?;
        Ok(Response::new(v1::RemoveServiceResponse {}))
    }

    async fn list_services(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Result<Response<v1::ListServicesResponse>, Status> {
        let consistency = convert::consistency(request.into_inner().consistency);
        let look = |state: &State| {
            let applied = state.services.iter();
            applied.map(|(name, of)| v1::AppliedService { name: name.to_string(), toml: of.source.clone() }).collect()
        };
        let (services, read) = self.cluster.read(consistency, look).await?;
        Ok(Response::new(v1::ListServicesResponse { services, read: Some(convert::read_info(read)) }))
    }

    async fn switch(&self, request: Request<v1::SwitchRequest>) -> Result<Response<v1::SwitchResponse>, Status> {
        let by = caller(&request)?;
        let v1::SwitchRequest { service, to, r#override, expected_epoch, reason } = request.into_inner();
        let service: ServiceName = convert::name("service", &service)?;
        let to: RegionName = convert::name("to", &to)?;
        let overrides: BTreeSet<Rule> =
            r#override.iter().map(|rule| convert::name("override", rule)).collect::<Result<_, _>>()?;
        let reason = bounded(reason)?;
        let look = |state: &State| state.services.get(&service).map(|of| of.epoch);
        let (current, _) = self.cluster.read(Consistency::Linearizable, look).await?;
        // `apply` refuses it unless the epoch is still the next one: what came between would be fenced unseen. It is left to
        // refuse the rest too, so that what was refused is taken down.
        let expected = expected_epoch.map(Epoch).or(current).unwrap_or_default();
        let cause = Cause::Manual { by: by.name.clone(), reason, overrides };
        let intent = Intent { service, epoch: expected.next(), to, cause };
        match self.propose(by, Action::Authorise(intent)).await? {
            Applied::Authorised(epoch) => Ok(Response::new(v1::SwitchResponse { epoch: epoch.0 })),
            other => {
                let message = format!("the log answered {other:?} to a switch");
                Err(status(Code::Internal, "INTERNAL", message, [(EPOCH, expected.to_string())]))
            }
        }
    }

    async fn abort_switch(
        &self,
        request: Request<v1::AbortSwitchRequest>,
    ) -> Result<Response<v1::AbortSwitchResponse>, Status> {
        let by = caller(&request)?;
        let v1::AbortSwitchRequest { service, expected_epoch, reason } = request.into_inner();
        let service: ServiceName = convert::name("service", &service)?;
        let reason = bounded(reason)?;
        let look = |state: &State| {
            let of = state.services.get(&service);
            let back = of.and_then(|of| of.before_open().ok().or(of.target()).cloned());
            (of.map(|of| of.epoch), back)
        };
        let ((current, back), _) = self.cluster.read(Consistency::Linearizable, look).await?;
        // `apply` looks again and refuses, so that it is taken down: a switch that is observed, or superseded, meanwhile is not
        // aborted. Where there is nothing to go back to it does not come to the region, and any name will do.
        let epoch = expected_epoch.map(Epoch).or(current).unwrap_or_default().next();
        let to = back.map_or_else(|| convert::name("service", service.as_str()), Ok)?;
        let intent = Intent { service, epoch, to: to.clone(), cause: Cause::Abort { by: by.name.clone(), reason } };
        self.propose(by, Action::Authorise(intent)).await?;
        Ok(Response::new(v1::AbortSwitchResponse { epoch: epoch.0, to: to.to_string() }))
    }

    async fn freeze(&self, request: Request<v1::FreezeRequest>) -> Result<Response<v1::FreezeResponse>, Status> {
        let by = caller(&request)?;
        let v1::FreezeRequest { service, reason } = request.into_inner();
        let service = optional_service(&service)?;
        let reason = bounded(reason)?;
        if reason.trim().is_empty() {
            return Err(invalid_field("reason", "say why, for whoever finds it held"));
        }
        let freeze = Freeze { by: by.name.clone(), reason };
        self.propose(by, Action::Freeze { service, freeze }).await?;
        Ok(Response::new(v1::FreezeResponse {}))
    }

    async fn unfreeze(&self, request: Request<v1::UnfreezeRequest>) -> Result<Response<v1::UnfreezeResponse>, Status> {
        let by = caller(&request)?;
        let service = optional_service(&request.into_inner().service)?;
        self.propose(by, Action::Unfreeze { service }).await?;
        Ok(Response::new(v1::UnfreezeResponse {}))
    }

    type DrillStream = drill::Messages<v1::DrillResponse>;

    async fn drill(&self, request: Request<v1::DrillRequest>) -> Result<Response<Self::DrillStream>, Status> {
        drill::drill(self.cluster.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn list_providers(
        &self,
        _: Request<v1::ListProvidersRequest>,
    ) -> Result<Response<v1::ListProvidersResponse>, Status> {
        Ok(Response::new(providers::list(self.cluster.clone()).await))
    }

    type CheckProvidersStream = drill::Messages<v1::CheckProvidersResponse>;

    async fn check_providers(
        &self,
        request: Request<v1::CheckProvidersRequest>,
    ) -> Result<Response<Self::CheckProvidersStream>, Status> {
        providers::check(self.cluster.clone(), request.into_inner()).map(Response::new)
    }

    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterResponse>, Status> {
        let by = caller(&request)?;
        let members = request.into_inner().members;
        if members.is_empty() || members.len() > MEMBERS_LIMIT {
            return Err(invalid_field("members", format!("1 to {MEMBERS_LIMIT} are possible, 3 or 5 are usual")));
        }
        let members: Vec<_> = members.into_iter().map(|of| convert::member(Some(of))).collect::<Result<_, _>>()?;
        let ids: BTreeSet<_> = members.iter().map(|of| of.id).collect();
        let addresses: BTreeSet<_> = members.iter().map(|of| &of.address).collect();
        if ids.len() < members.len() || addresses.len() < members.len() {
            return Err(invalid_field("members", "an id or an address is given twice"));
        }
        let formed = members.iter().map(|of| (of.id, of.site.clone(), of.address.clone())).collect();
        self.cluster.init(members).await?;
        self.formed(by, MemberAct::Init { members: formed });
        Ok(Response::new(v1::InitClusterResponse {}))
    }

    async fn list_members(
        &self,
        _: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let mut answered_by = 0;
        self.cluster.with_state(&mut |_, read| answered_by = read.answered_by);
        Ok(Response::new(convert::membership(&self.cluster.membership(), answered_by)))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::MembershipResponse>, Status> {
        let by = caller(&request)?;
        let member = convert::member(request.into_inner().member)?;
        self.beside(by, MemberAct::Add { id: member.id, site: member.site, address: member.address }).await?;
        Ok(self.members())
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::MembershipResponse>, Status> {
        let by = caller(&request)?;
        let id = request.into_inner().id;
        self.beside(by, MemberAct::Promote { id }).await?;
        Ok(self.members())
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::MembershipResponse>, Status> {
        let by = caller(&request)?;
        let id = request.into_inner().id;
        self.beside(by, MemberAct::Remove { id }).await?;
        Ok(self.members())
    }

    async fn replace_member(
        &self,
        request: Request<v1::ReplaceMemberRequest>,
    ) -> Result<Response<v1::MembershipResponse>, Status> {
        let by = caller(&request)?;
        let v1::ReplaceMemberRequest { old_id, member } = request.into_inner();
        let member = convert::member(member)?;
        if member.id == old_id {
            let why =
                "ids are never used twice: what the old store acknowledged is lost, and a new one must not vote for it";
            return Err(invalid_field("member.id", why));
        }
        let Member { id, site, address } = member;
        self.beside(by, MemberAct::Replace { old: old_id, id, site, address }).await?;
        Ok(self.members())
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let by = caller(&request)?;
        let to = request.into_inner().to;
        self.beside(by, MemberAct::Transfer { to }).await?;
        match self.cluster.membership().leader {
            Some(leader) => Ok(Response::new(v1::TransferLeadershipResponse { leader })),
            None => Err(ClusterError::Unavailable { why: "no leader is known yet".into(), leader: None }.into()),
        }
    }

    async fn list_audit_log(
        &self,
        request: Request<v1::ListAuditLogRequest>,
    ) -> Result<Response<v1::ListAuditLogResponse>, Status> {
        audit::list(self.cluster.as_ref(), request.into_inner()).await.map(Response::new)
    }
}

fn place(of: &Diagnostic) -> String {
    let path = of.path.to_string();
    let path = if path.is_empty() { path } else { format!(" ({path})") };
    format!("line {}, column {}{path}", of.line, of.column)
}

fn described(of: &Diagnostic) -> String {
    match &of.hint {
        Some(hint) => format!("{}; hint: {hint}", of.message),
        None => of.message.clone(),
    }
}

/// A service file, or every problem in it.
pub(super) fn parse(toml: &str) -> Result<(Service, Vec<Diagnostic>), Status> {
    if toml.len() > FILE_LIMIT {
        return Err(invalid_field("toml", format!("{} bytes, {FILE_LIMIT} are the most", toml.len())));
    }
    let wrong = |problems: Problems| {
        let violation = |of: &Diagnostic| Violation { field: place(of), description: described(of) };
        let count = problems.count();
        let message = format!("{count} {} in the service file", if count == 1 { "problem" } else { "problems" });
        invalid(message, problems.iter().map(violation).collect())
    };
    service_file::parse(toml).map_err(wrong)
}

fn unsuitable(problems: Vec<String>) -> Status {
    let violation = |description| Violation { field: "provider".into(), description };
    forbidden(
        "PROVIDER_CHECK",
        "the providers of its records do not let it work",
        problems.into_iter().map(violation).collect(),
    )
}

/// What would become of an action now.
fn rehearsed(state: &State, action: Action) -> Applied {
    let Position { term, index } = state.position;
    let command = Command { at: LogTime::default(), wall: 0, action };
    state.clone().apply(Position { term, index: index + 1 }, &command)
}

fn optional_service(name: &str) -> Result<Option<ServiceName>, Status> {
    if name.is_empty() { Ok(None) } else { convert::name("service", name).map(Some) }
}

pub(super) fn bounded(reason: String) -> Result<String, Status> {
    if reason.len() > REASON_LIMIT || reason.contains(char::is_control) {
        return Err(invalid_field("reason", format!("one line of at most {REASON_LIMIT} bytes")));
    }
    Ok(reason)
}
