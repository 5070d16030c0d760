//! Who may call what: by client certificate, checked once for everything that the listener serves.
//!
//! It fails closed: a method that the table does not name is refused, and a handler that needs the caller's name finds none
//! unless this layer let the call through. A node may call its peers, and read as a viewer; it can never change anything
//! through the public API.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::future::Either;
use tonic::{Code, Request, Status, metadata::MetadataMap};
use tower::{Layer, Service};
use tracing::warn;

use super::errors::status;
use crate::{
    core::{audit::Actor, names::ClusterId},
    tls::{Identity, Role, identity_of},
};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever has at least this role; a node counts as a viewer.
    Role(Role),
    /// Nodes of the cluster only.
    Peer,
}

/// Who may call the method of this path (`/package.Service/Method`); nobody when `None`.
#[must_use]
pub fn access(path: &str) -> Option<Access> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let role = match (service, method) {
        (
            "quorate.v1.VerdictService",
            "GetVerdict" | "ListVerdicts" | "WatchVerdicts" | "Explain" | "ListSwitches" | "GetEvidence"
            | "ExportEvidence" | "ListReplication",
        )
        | ("quorate.v1.AdminService", "ListServices" | "ListMembers" | "ListAuditLog" | "ListProviders")
        | ("quorate.v1.HistoryService", "ExportHistory")
        | ("grpc.health.v1.Health", "Check" | "List" | "Watch")
        | (
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
            "ServerReflectionInfo",
        ) => Role::Viewer,
        (
            "quorate.v1.AdminService",
            "Switch" | "AbortSwitch" | "Freeze" | "Unfreeze" | "TransferLeadership" | "Drill" | "CheckProviders",
        ) => Role::Operator,
        (
            "quorate.v1.AdminService",
            "ApplyService" | "RemoveService" | "InitCluster" | "AddMember" | "PromoteMember" | "RemoveMember"
            | "ReplaceMember",
        ) => Role::Admin,
        ("quorate.raft.v1.PeerService", _) => return Some(Access::Peer),
        _ => return None,
    };
    Some(Access::Role(role))
}

/// Lets an identity call a path, or says why not.
fn check(cluster: &ClusterId, identity: &Identity, path: &str) -> Result<(), Box<Status>> {
    let denied = |why: String| Box::new(status(Code::PermissionDenied, "PERMISSION", why, []));
    if identity.cluster() != cluster {
        return Err(denied(format!("{identity} is of another cluster than this one, {cluster}")));
    }
    match (access(path), identity) {
        (None, _) => Err(denied(format!("nobody may call {path}"))),
        (Some(Access::Peer), Identity::Node { .. }) => Ok(()),
        (Some(Access::Peer), Identity::Person { .. }) => Err(denied(format!("only nodes may call {path}"))),
        (Some(Access::Role(needed)), identity) => {
            let has = match identity {
                Identity::Node { .. } => Role::Viewer,
                Identity::Person { role, .. } => *role,
            };
            let message = || format!("{path} needs the role {needed}, {identity} has the role {has}");
            if has >= needed { Ok(()) } else { Err(denied(message())) }
        }
    }
}

/// The name and role of whoever calls, as they are kept with what they did.
pub fn caller<T>(request: &Request<T>) -> Result<Actor, Status> {
    match request.extensions().get::<Identity>() {
        Some(Identity::Person { name, role, .. }) => Ok(Actor { name: name.clone(), role: role.to_string() }),
        Some(Identity::Node { id, .. }) => Ok(Actor { name: format!("node {id}"), role: "node".to_owned() }),
        None => Err(status(Code::Unauthenticated, "NO_CERTIFICATE", "the caller was not identified", [])),
    }
}

/// Puts the check before every service of a listener.
#[derive(Debug, Clone)]
pub struct AuthLayer {
    cluster: ClusterId,
}

impl AuthLayer {
    /// For the nodes and people of this cluster.
    #[must_use]
    pub fn new(cluster: ClusterId) -> Self {
        Self { cluster }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, cluster: self.cluster.clone() }
    }
}

/// A service behind the check.
#[derive(Debug, Clone)]
pub struct Auth<S> {
    inner: S,
    cluster: ClusterId,
}

impl<S, B, R> Service<http::Request<B>> for Auth<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let seen = Request::from_parts(MetadataMap::new(), request.extensions().clone(), ());
        let identity = identity_of(&seen).map_err(|status| Box::new(no_identity(&status)));
        let checked = identity.and_then(|identity| {
            check(&self.cluster, &identity, request.uri().path())?;
            Ok(identity)
        });
        match checked {
            Ok(identity) => {
                request.extensions_mut().insert(identity);
                Either::Left(self.inner.call(request))
            }
            Err(status) => {
                // Not in the replicated record: whoever has no rights could fill it.
                warn!(path = request.uri().path(), why = status.message(), "a call was denied");
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}

fn no_identity(why: &Status) -> Status {
    status(Code::Unauthenticated, "NO_CERTIFICATE", why.message(), [])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PROTOS: [(&str, &str); 3] = [
        ("VerdictService", include_str!("../../proto/quorate/v1/verdict.proto")),
        ("AdminService", include_str!("../../proto/quorate/v1/admin.proto")),
        ("HistoryService", include_str!("../../proto/quorate/v1/history.proto")),
    ];

    /// Every method of the public API, and the role that its comment names; verdicts all need the viewer's.
    fn documented() -> BTreeMap<String, Role> {
        let mut methods = BTreeMap::new();
        for (service, text) in PROTOS {
            let mut role = None;
            for line in text.lines().map(str::trim) {
                if let Some((_, rest)) = line.split_once("Role: ") {
                    role = Some(rest.trim_end_matches('.').parse().unwrap());
                }
                if let Some(rest) = line.strip_prefix("rpc ") {
                    let method = rest.split_once('(').unwrap().0;
                    let role = role.take().unwrap_or(Role::Viewer);
                    assert!(service == "VerdictService" || line.contains("rpc"), "{line}");
                    methods.insert(format!("/quorate.v1.{service}/{method}"), role);
                }
            }
        }
        methods
    }

    fn person(role: Role) -> Identity {
        Identity::Person { cluster: "c".parse().unwrap(), role, name: "ada".into() }
    }

    #[test]
    fn the_table_is_what_the_protocol_documents() {
        let documented = documented();
        assert!(documented.len() >= 19, "{}", documented.len());
        for (path, role) in documented {
            assert_eq!(access(&path), Some(Access::Role(role)), "{path}");
        }
    }

    #[test]
    fn each_role_may_do_what_the_ones_below_it_may() {
        let cluster: ClusterId = "c".parse().unwrap();
        for path in documented().keys() {
            let allowed = |role| check(&cluster, &person(role), path).is_ok();
            assert!(allowed(Role::Admin), "{path}");
            assert!(!allowed(Role::Viewer) || allowed(Role::Operator), "{path}");
        }
        let switch = "/quorate.v1.AdminService/Switch";
        assert!(check(&cluster, &person(Role::Viewer), switch).is_err());
        assert!(check(&cluster, &person(Role::Operator), switch).is_ok());
    }

    #[test]
    fn it_fails_closed() {
        let cluster: ClusterId = "c".parse().unwrap();
        let node = Identity::Node { cluster: cluster.clone(), id: 1 };
        for path in ["", "/", "/quorate.v1.AdminService/", "/quorate.v1.AdminService/Backup", "/other.Service/Get", "x"]
        {
            assert!(check(&cluster, &person(Role::Admin), path).is_err(), "{path}");
            assert!(check(&cluster, &node, path).is_err(), "{path}");
        }
        assert!(check(&"d".parse().unwrap(), &person(Role::Admin), "/quorate.v1.VerdictService/GetVerdict").is_err());
        assert!(check(&cluster, &person(Role::Admin), "/quorate.raft.v1.PeerService/Vote").is_err());
        assert!(check(&cluster, &node, "/quorate.raft.v1.PeerService/Vote").is_ok());
        assert!(check(&cluster, &node, "/quorate.v1.AdminService/Freeze").is_err());
        assert!(caller(&Request::new(())).is_err());
    }
}
