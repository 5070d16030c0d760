//! The gRPC probe: `grpc.health.v1.Health/Check` on a new connection.
//!
//! The connection is made as for HTTP, so that addresses, SNI, certificate life and stages are the same; tonic speaks the
//! rest.

use std::sync::Mutex;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::either::Either;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    check::{Answer, BODY_LIMIT, Client, Failure, Progress, Stage},
    connect::connect,
    tls::Alpn,
};
use crate::core::service::GrpcCheck;

/// Passes when the service is SERVING.
pub(super) async fn check(client: &Client, check: &GrpcCheck, progress: &Progress) -> Result<Answer, Failure> {
    let stream = connect(&client.resolver, &check.target, progress).await?;
    let stream = match &check.tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(client.tls.secure(stream, tls, Alpn::Http2, progress).await?),
    };
    progress.enter(Stage::Waiting);
    ask(stream, check).await
}

/// Asks on a connection that is open.
pub(super) async fn ask<S>(stream: S, check: &GrpcCheck) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The connection exists: the connector hands it out once, and a second call is an error, not a second connection.
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let taken = stream.lock().ok().and_then(|mut stream| stream.take());
        async move { taken.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
    });
    // tonic refuses to dial `https` without a TLS of its own; what the requests say is the origin.
    let endpoint = Endpoint::from_static("http://connected").origin(origin(check)?);
    let endpoint = endpoint.user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")));
    let endpoint = endpoint.map_err(|error| Failure::Unsendable(error.to_string()))?;
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|_| Failure::Grpc("the server does not speak HTTP/2".to_owned()))?;
    let mut health = HealthClient::new(channel).max_decoding_message_size(BODY_LIMIT);
    let asked = health.check(HealthCheckRequest { service: check.service.clone() }).await;
    // A status' message is the server's text, of any length and content: its code says enough.
    let status = asked.map_err(|status| Failure::Grpc(format!("status {:?}", status.code())))?.into_inner().status();
    Ok(Answer::new(
        (status != ServingStatus::Serving).then(|| Failure::Grpc(format!("{}, SERVING wanted", status.as_str_name()))),
    ))
}

/// What `:scheme` and `:authority` say: over TLS the name that is verified, else the target.
fn origin(check: &GrpcCheck) -> Result<Uri, Failure> {
    let (scheme, host) = check.tls.as_ref().map_or(("http", &check.target.host), |tls| ("https", &tls.server_name));
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let text = format!("{scheme}://{host}:{}/", check.target.port);
    text.parse().map_err(|_| Failure::Unsendable("the server name is no host name or address".to_owned()))
}
