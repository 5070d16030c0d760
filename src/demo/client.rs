//! The demo's calls to the nodes: the public API over mTLS, as an admin, like any other client.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::{
    proto::v1::{admin_service_client::AdminServiceClient, verdict_service_client::VerdictServiceClient},
    tls::ANY_NODE,
};

/// How long one call may take, unless it is a stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A node on loopback that takes longer to connect to is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Calls to one node. The connection is made with the first call, and again after a loss.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Prepares calls to the node at `address`.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(address: SocketAddr, tls: &ClientTlsConfig) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_config(tls.clone().domain_name(ANY_NODE))
            .context("the admin's certificate cannot be used")?;
        Ok(Self { channel: endpoint.connect_lazy() })
    }

    /// The verdicts.
    pub fn verdicts(&self) -> VerdictServiceClient<Channel> {
        VerdictServiceClient::new(self.channel.clone())
    }

    /// The administration.
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }
}

/// A request with the usual deadline.
pub fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}
