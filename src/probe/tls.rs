//! TLS to endpoints: one set of configurations for all probes, and the certificate's remaining life.
//!
//! Sessions are never resumed: what is probed is what a new user gets, and a resumed session would show the certificate of
//! the one before.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::check::{Failure, Progress, Stage};
use crate::{core::service::Tls, surroundings::Connection};

/// What is spoken inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    Http1,
    Http2,
}

/// The configurations of all TLS probes.
#[derive(Debug)]
pub(super) struct TlsClients {
    verified_http1: Arc<ClientConfig>,
    verified_http2: Arc<ClientConfig>,
    insecure_http1: Arc<ClientConfig>,
    insecure_http2: Arc<ClientConfig>,
}

impl TlsClients {
    pub fn new(roots: RootCertStore) -> Self {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let build = |insecure: bool, alpn: &[u8]| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("ring supports the default protocol versions");
            let mut config = if insecure {
                let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            } else {
                builder.with_root_certificates(Arc::clone(&roots)).with_no_client_auth()
            };
            config.alpn_protocols = vec![alpn.to_vec()];
            config.resumption = Resumption::disabled();
            Arc::new(config)
        };
        Self {
            verified_http1: build(false, b"http/1.1"),
            verified_http2: build(false, b"h2"),
            insecure_http1: build(true, b"http/1.1"),
            insecure_http2: build(true, b"h2"),
        }
    }

    /// Shakes hands and looks at the certificate.
    pub async fn secure(
        &self,
        stream: Connection,
        tls: &Tls,
        alpn: Alpn,
        progress: &Progress,
    ) -> Result<TlsStream<Connection>, Failure> {
        progress.enter(Stage::Securing);
        let config = match (tls.insecure, alpn) {
            (false, Alpn::Http1) => &self.verified_http1,
            (false, Alpn::Http2) => &self.verified_http2,
            (true, Alpn::Http1) => &self.insecure_http1,
            (true, Alpn::Http2) => &self.insecure_http2,
        };
        let name = ServerName::try_from(tls.server_name.clone())
            .map_err(|_| Failure::Unsendable("the server name is no DNS name or address".to_owned()))?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(handshake_failure)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.ok_or_else(|| Failure::Tls("no certificate was shown".to_owned()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        check_life(certificate, now, tls.min_validity)?;
        Ok(stream)
    }
}

fn handshake_failure(error: io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(reason) => Failure::Tls(reason.to_string()),
        None => Failure::Broken(error),
    }
}

/// Fails when the certificate is past its `notAfter` (RFC 5280 §4.1.2.5) or will be within `wanted`.
pub(super) fn check_life(certificate: &CertificateDer<'_>, now: Duration, wanted: Duration) -> Result<(), Failure> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| Failure::Tls("the certificate cannot be read".to_owned()))?;
    let not_after = Duration::from_secs(u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0));
    match not_after.checked_sub(now) {
        None => Err(Failure::Expired(now.saturating_sub(not_after))),
        Some(left) if left < wanted => Err(Failure::Expiring { left, wanted }),
        Some(_) => Ok(()),
    }
}

/// Accepts any certificate whose key the server holds: the operator asked for it with `insecure`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
