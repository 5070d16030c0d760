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
pub mod auth;
pub mod cluster;
mod convert;
pub mod errors;
pub mod verdict;

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use cluster::{Cluster, ClusterError, Consistency, ReadInfo, Violation};

use crate::{
    core::explain::words,
    proto::{
        raft::peer_service_server::{PeerService, PeerServiceServer},
        v1::{
            FILE_DESCRIPTOR_SET, admin_service_server::AdminServiceServer, verdict_service_server::VerdictServiceServer,
        },
    },
    tls::{IdentityError, PeerTls},
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

/// A node whose state is older than this does not call itself ready.
const STALE: Duration = Duration::from_secs(10);
/// How often `grpc.health.v1` is told.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The node's certificate is nobody's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The descriptors that the build put in are broken.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The certificates do not fit, or the listener broke.
    #[error("{}", source_of(.0))]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the public API and the peers' over mutual TLS until `stop`; each call is checked against the table in [`auth`].
///
/// # Errors
/// [`ServeError`]; once it listens, only a broken listener.
pub async fn serve(
    cluster: Arc<dyn Cluster>,
    peers: PeerServiceServer<impl PeerService>,
    tls: &PeerTls,
    listener: TcpListenerStream,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let id = tls.identity()?.cluster().clone();
    let (health, health_server) = tonic_health::server::health_reporter();
    let routes = routes(cluster.clone(), stop.clone())?.add_service(health_server).add_service(peers);
    let server = Server::builder()
        .tls_config(tls.server().timeout(HANDSHAKE))?
        .max_concurrent_streams(STREAMS_LIMIT)
        .http2_max_header_list_size(HEADERS_LIMIT)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .tcp_nodelay(true)
        .layer(auth::AuthLayer::new(id))
        .add_routes(routes)
        .serve_with_incoming_shutdown(listener, stop.clone().cancelled_owned());
    tokio::select! {
        ended = server => Ok(ended?),
        () = report_health(cluster, health) => Ok(()),
    }
}

/// The public services without health.
fn routes(cluster: Arc<dyn Cluster>, stop: CancellationToken) -> Result<Routes, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::default()
        .add_service(VerdictServiceServer::new(verdict::Verdicts::new(cluster.clone(), stop)))
        .add_service(AdminServiceServer::new(admin::Admin::new(cluster)))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// Keeps `grpc.health.v1` true; never ends.
async fn report_health(cluster: Arc<dyn Cluster>, health: HealthReporter) {
    let mut every = tokio::time::interval(HEALTH_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let status = match ready(&*cluster) {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        for name in HEALTH_NAMES {
            health.set_service_status(name, status).await;
        }
    }
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

/// tonic's own text is `transport error`; the cause says which.
fn source_of(error: &tonic::transport::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
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
