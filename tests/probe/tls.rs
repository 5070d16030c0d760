//! HTTPS endpoints: verification, names, remaining validity.

use std::{sync::Arc, time::Duration};

use quorate::{
    core::{
        report::Outcome,
        service::{Check, GrpcCheck, Tls},
    },
    probe::check::Client,
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

use super::{
    ask_with, get,
    servers::{Behaviour, Server, answer, response, serve},
    target,
};

const LONG: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_hours(24);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A certificate for app.example.com that expires then, and its key.
    fn issue(&self, expires: OffsetDateTime) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["app.example.com".to_owned()]).unwrap();
        params.not_before = OffsetDateTime::now_utc() - 400 * DAY;
        params.not_after = expires;
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// An HTTPS server with such a certificate.
    async fn server(&self, expires: OffsetDateTime) -> Server {
        let (certificate, key) = self.issue(expires);
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let named = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
                answer(stream, Behaviour::Reply(response("200 OK", "text/plain", &format!("for {named}")))).await;
            }
        })
        .await
    }
}

fn tls(server_name: &str) -> Tls {
    Tls { server_name: server_name.into(), insecure: false, min_validity: Duration::ZERO }
}

/// The reason, or `pass`.
async fn verdict(client: &Client, server: &Server, tls: Tls) -> String {
    let mut check = get(server.address);
    check.body = Some(format!("for {}", tls.server_name));
    check.tls = Some(tls);
    let seen = ask_with(client, Check::Http(check), LONG).await;
    if seen.outcome == Outcome::Pass { "pass".into() } else { seen.reason }
}

#[tokio::test]
async fn certificates_are_verified_and_their_life_is_looked_at() {
    let ours = Authority::new("ours");
    let client = Client::new(ours.roots());
    let now = OffsetDateTime::now_utc();
    let good = ours.server(now + 30 * DAY).await;
    assert_eq!(verdict(&client, &good, tls("app.example.com")).await, "pass");

    let seen = verdict(&client, &good, tls("other.example.com")).await;
    assert!(seen.starts_with("TLS: invalid peer certificate: certificate not valid for name"), "{seen}");
    let mut wanted = tls("app.example.com");
    wanted.min_validity = 29 * DAY;
    assert_eq!(verdict(&client, &good, wanted.clone()).await, "pass");
    wanted.min_validity = 45 * DAY;
    assert_eq!(verdict(&client, &good, wanted.clone()).await, "the certificate expires in 29 days, 45 days wanted");
    wanted.insecure = true;
    assert_eq!(verdict(&client, &good, wanted).await, "the certificate expires in 29 days, 45 days wanted");

    let expired = ours.server(now - 3 * DAY).await;
    let seen = verdict(&client, &expired, tls("app.example.com")).await;
    assert!(seen.starts_with("TLS: invalid peer certificate: certificate expired"), "{seen}");
    let insecure = |name| Tls { insecure: true, ..tls(name) };
    assert_eq!(verdict(&client, &expired, insecure("app.example.com")).await, "the certificate expired 3 days ago");

    let theirs = Authority::new("theirs").server(now + 30 * DAY).await;
    let seen = verdict(&client, &theirs, tls("app.example.com")).await;
    assert_eq!(seen, "TLS: invalid peer certificate: UnknownIssuer");
    assert_eq!(verdict(&client, &theirs, insecure("another.example.com")).await, "pass");
}

#[tokio::test]
async fn what_is_no_tls_fails_in_words() {
    let client = Client::new(RootCertStore::empty());
    let plain = super::servers::http(Behaviour::Reply(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec())).await;
    let mut check = get(plain.address);
    check.tls = Some(tls("app.example.com"));
    let seen = ask_with(&client, Check::Http(check), Duration::from_millis(500)).await;
    assert_eq!(seen.outcome, Outcome::Fail);
    let words = ["TLS: ", "no whole answer within 500ms (in the TLS handshake)"];
    assert!(words.iter().any(|words| seen.reason.starts_with(words)), "{}", seen.reason);
}

#[tokio::test]
async fn grpc_health_over_tls() {
    let ours = Authority::new("ours");
    let (certificate, key) = ours.issue(OffsetDateTime::now_utc() + 30 * DAY);
    let identity = tonic::transport::Identity::from_pem(certificate.pem(), key.serialize_pem());
    let config = tonic::transport::ServerTlsConfig::new().identity(identity);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_reporter, service) = tonic_health::server::health_reporter();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let mut server = tonic::transport::Server::builder().tls_config(config).unwrap();
    let server = tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
    let client = Client::new(ours.roots());
    let ask = async |tls: Tls| {
        let check = GrpcCheck { target: target(address), tls: Some(tls), service: String::new() };
        let seen = ask_with(&client, Check::Grpc(check), LONG).await;
        if seen.outcome == Outcome::Pass { "pass".to_owned() } else { seen.reason }
    };
    assert_eq!(ask(tls("app.example.com")).await, "pass");
    let seen = ask(tls("other.example.com")).await;
    assert!(seen.starts_with("TLS: invalid peer certificate: certificate not valid for name"), "{seen}");
    server.abort();
}
