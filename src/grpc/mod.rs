//! The public API (`quorate.v1`): who may call what, and the cluster behind it.
//!
//! ```text
//! TLS ─▶ role of the certificate (auth) ─▶ verdict / admin: proto to domain and back (convert) ─▶ dyn Cluster
//!                                              every refusal becomes a canonical code (errors)
//! ```
//! The servers hold no state and decide nothing: they read a state through [`Cluster`] and propose actions to it. They
//! never see the consensus engine, nor a provider's credentials. `grpc.health.v1` and reflection stand beside them, behind
//! the same check.

pub mod admin;
mod audit;
pub mod auth;
pub mod cluster;
mod convert;
mod drill;
pub mod errors;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
pub mod history;
mod providers;
mod replication;
pub mod verdict;

use std::{future::Future, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, ServerTlsConfig},
};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use cluster::{Cluster, ClusterError, Consistency, ReadInfo, Violation};

use crate::{
    core::{explain::words, names::ClusterId},
    proto::v1::{
        FILE_DESCRIPTOR_SET, admin_service_server::AdminServiceServer, history_service_server::HistoryServiceServer,
        verdict_service_server::VerdictServiceServer,
    },
    surroundings::Incoming,
    view,
};

/// The names under which `grpc.health.v1` answers; the empty one is the node as a whole.
pub const HEALTH_NAMES: [&str; 3] = ["", "quorate.v1.VerdictService", "quorate.v1.AdminService"];
/// The largest request headers, in bytes.
const HEADERS_LIMIT: u32 = 16 * 1024;
/// How many calls one connection may have open.
const STREAMS_LIMIT: u32 = 256;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// A node that heard nothing from a leader for longer than this does not call itself ready.
const STALE: Duration = Duration::from_secs(10);

/// The API of one node, ready to be served.
pub struct Api {
    /// Everything public; the peers' service may be added.
    pub routes: Routes,
    /// What `grpc.health.v1` answers: set it with [`set_health`].
    pub health: HealthReporter,
}

/// The API in front of `cluster`, not yet serving as far as `grpc.health.v1` says. Streams end when `shutdown` is cancelled.
///
/// # Errors
/// The descriptors that the build put in are broken.
pub async fn api(
    cluster: Arc<dyn Cluster>,
    shutdown: CancellationToken,
) -> Result<Api, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (health, health_server) = tonic_health::server::health_reporter();
    set_health(&health, false).await;
    let routes = Routes::default()
        .add_service(VerdictServiceServer::new(verdict::Verdicts::new(cluster.clone(), shutdown.clone())))
        .add_service(HistoryServiceServer::new(history::Histories::new(cluster.clone(), shutdown)))
        .add_service(AdminServiceServer::new(admin::Admin::new(cluster)))
        .add_service(health_server)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(Api { routes, health })
}

/// Whether the node can do what it is there for: it has a state and a leader.
pub async fn set_health(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}

/// Serves routes over mutual TLS, each call checked against the table in [`auth`], until `shutdown`; then lets what is
/// under way end.
///
/// # Errors
/// The certificates do not fit, or the listener broke.
pub async fn serve(
    incoming: Incoming,
    tls: ServerTlsConfig,
    cluster: ClusterId,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .tls_config(tls.timeout(HANDSHAKE))?
        .max_concurrent_streams(STREAMS_LIMIT)
        .http2_max_header_list_size(HEADERS_LIMIT)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .layer(auth::AuthLayer::new(cluster))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

/// Whether this node follows a leader: its state is fresh.
///
/// # Errors
/// Why not, in words.
pub fn ready(cluster: &dyn Cluster) -> Result<(), String> {
    let mut age = None;
    cluster.with_state(&mut |_, read| age = read.age);
    match age {
        None => Err("nothing was heard from a leader yet".into()),
        Some(age) if age > STALE => Err(format!("nothing was heard from a leader for {}", words(age))),
        Some(_) => Ok(()),
    }
}

/// Every verdict as `/v1/verdicts` shows it: what this node has applied.
#[must_use]
pub fn verdicts_json(cluster: &dyn Cluster) -> serde_json::Value {
    let mut shown = serde_json::Value::Null;
    cluster.with_state(&mut |state, read| {
        let verdicts: Vec<view::Service> =
            state.services.values().map(|of| convert::service_verdict(state, of).into()).collect();
        shown = serde_json::json!({ "verdicts": verdicts, "read": view::Read::from(convert::read_info(read)) });
    });
    shown
}
