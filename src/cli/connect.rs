//! Which nodes to ask and how: options, environment, context file; then mTLS to one node after the other until one answers.
//!
//! Private keys are read here and go nowhere but into rustls.

use std::{
    collections::VecDeque,
    env, fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::failure::{Attempt, Exit, Failure};
use crate::{core::explain::words, grpc::errors::LEADER_ADDRESS, proto::v1};

/// The name that every node's certificate carries, whatever its address.
const NODE_NAME: &str = "node.quorate.internal";
/// How long an answer may take unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that connecting may take: an unreachable node must not spend what the next one needs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest context file or certificate, in bytes.
const FILE_LIMIT: u64 = 1 << 20;
/// The largest answer, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// How old an answer may be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Not older than the question: needs a leader and a quorum
    #[default]
    Linearizable,
    /// What the node that answers has applied, with its age
    Stale,
}

/// How to reach the cluster.
#[derive(Debug, Args)]
pub struct Options {
    /// Nodes to ask, in this order, until one answers
    #[arg(
        long = "node",
        value_name = "HOST:PORT",
        env = "QUORATE_NODES",
        value_delimiter = ',',
        global = true,
        help_heading = "Connection"
    )]
    nodes: Vec<String>,
    /// The cluster's CA certificate, PEM
    #[arg(long, value_name = "FILE", env = "QUORATE_CA", global = true, help_heading = "Connection")]
    ca: Option<PathBuf>,
    /// Your certificate, PEM
    #[arg(long, value_name = "FILE", env = "QUORATE_CERT", global = true, help_heading = "Connection")]
    cert: Option<PathBuf>,
    /// Your private key, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "QUORATE_KEY",
        hide_env_values = true,
        global = true,
        help_heading = "Connection"
    )]
    key: Option<PathBuf>,
    /// How long one node may take to answer [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, global = true, help_heading = "Connection")]
    timeout: Option<Duration>,
    /// How old an answer may be [default: linearizable]
    #[arg(long, value_enum, global = true, help_heading = "Connection")]
    consistency: Option<Consistency>,
    /// The context file [default: ~/.config/quorate/config.toml]
    #[arg(long, value_name = "FILE", env = "QUORATE_CONFIG", global = true, help_heading = "Connection")]
    config: Option<PathBuf>,
}

/// The context file: the same keys as the options. Relative paths are relative to the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    #[serde(default)]
    nodes: Vec<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    consistency: Option<Consistency>,
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |error: io::Error| usage(format!("cannot read {}: {error}", path.display()));
    let length = fs::metadata(path).map_err(cannot)?.len();
    if length > FILE_LIMIT {
        return Err(usage(format!("{} has {length} bytes, {FILE_LIMIT} are the most", path.display())));
    }
    fs::read_to_string(path).map_err(cannot)
}

/// Reads the context file.
pub(super) fn context(text: &str) -> Result<Context, toml::de::Error> {
    toml::from_str(text)
}

impl Context {
    fn load(explicit: Option<&Path>) -> Result<Self, Failure> {
        let by_default = || {
            let home = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".config")))?;
            Some(home.join("quorate/config.toml")).filter(|path| path.exists())
        };
        let Some(path) = explicit.map(Path::to_path_buf).or_else(by_default) else { return Ok(Self::default()) };
        let mut context = context(&read(&path)?)
            .map_err(|error| usage(format!("{}: {}", path.display(), error.to_string().trim_end())))?;
        let here = path.parent().unwrap_or(Path::new("."));
        for file in [&mut context.ca, &mut context.cert, &mut context.key].into_iter().flatten() {
            *file = here.join(&*file);
        }
        Ok(context)
    }
}

impl Options {
    /// Everything that a call needs, checked as far as it can be without a network.
    pub fn session(self) -> Result<Session, Failure> {
        let context = Context::load(self.config.as_deref())?;
        let nodes = if self.nodes.is_empty() { context.nodes } else { self.nodes };
        let nodes: Vec<_> =
            nodes.into_iter().map(|node| node.trim().to_owned()).filter(|node| !node.is_empty()).collect();
        if nodes.is_empty() {
            return Err(usage("no node to ask").hint(
                "give --node HOST:PORT, set QUORATE_NODES, or write `nodes` into ~/.config/quorate/config.toml",
            ));
        }
        for node in &nodes {
            let port = node.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                return Err(usage(format!("`{node}` is no HOST:PORT")));
            }
        }
        let hint = "`quoratectl pki issue` makes certificates; set QUORATE_CA, QUORATE_CERT and QUORATE_KEY";
        let ca = self.ca.or(context.ca).ok_or_else(|| usage("no --ca: nodes speak mutual TLS only").hint(hint))?;
        let own = match (self.cert.or(context.cert), self.key.or(context.key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            // The node says whether it takes that: this is no place to know its rules.
            (None, None) => None,
            (Some(_), None) => return Err(usage("--cert without --key").hint(hint)),
            (None, Some(_)) => return Err(usage("--key without --cert").hint(hint)),
        };
        let tls = tls_config(&ca, own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path())))?;
        Ok(Session {
            nodes,
            tls: TlsConnector::from(Arc::new(tls)),
            timeout: self.timeout.or(context.timeout).unwrap_or(TIMEOUT).max(Duration::from_millis(1)),
            consistency: self.consistency.or(context.consistency).unwrap_or_default(),
        })
    }
}

fn tls_config(ca: &Path, own: Option<(&Path, &Path)>) -> Result<ClientConfig, Failure> {
    let wrong = |path: &Path, why: String| usage(format!("{}: {why}", path.display()));
    let certificates = |path: &Path| {
        let text = read(path)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match found {
            Ok(found) if found.is_empty() => Err(wrong(path, "no certificate in it".into())),
            Ok(found) => Ok(found),
            Err(error) => Err(wrong(path, format!("no PEM: {error}"))),
        }
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(ca)? {
        roots.add(root).map_err(|error| wrong(ca, error.to_string()))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert)?;
            let secret = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes())
                .map_err(|_| wrong(key, "no private key in it (PEM)".into()))?;
            let fit = config.with_client_auth_cert(chain, secret);
            fit.map_err(|error| usage(format!("{} and {} do not fit: {error}", cert.display(), key.display())))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// What a call does to the cluster: it decides whether a broken connection leaves doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads: any other node may be asked instead.
    Read,
    /// Changes: once it may have arrived, it is not sent again.
    Write,
}

/// Ready to ask.
pub struct Session {
    nodes: Vec<String>,
    tls: TlsConnector,
    timeout: Duration,
    consistency: Consistency,
}

/// Why a node gave no answer that counts.
enum NoAnswer {
    /// Not connected, so nothing was sent.
    Connect { error: String, certificate: bool },
    /// It answered that it cannot do it now.
    Unavailable(Box<Status>),
    /// The connection broke, or nothing came in time.
    Lost(String),
}

impl Session {
    /// What reads shall ask for.
    pub fn consistency(&self) -> i32 {
        match self.consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable.into(),
            Consistency::Stale => v1::Consistency::Stale.into(),
        }
    }

    /// Asks each node in turn until one answers; a leader that one of them names is asked next.
    pub async fn call<M: Clone, T, F>(
        &self,
        kind: Kind,
        message: M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut attempts: Vec<(Attempt, NoAnswer)> = vec![];
        let mut next: VecDeque<String> = self.nodes.iter().cloned().collect();
        while let Some(node) = next.pop_front() {
            let error = match self.ask(&node, message.clone(), &call).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => return Err(Failure::from_status(&status)),
                Err(NoAnswer::Lost(error)) if kind == Kind::Write => return Err(in_doubt(&node, &error)),
                Err(error) => error,
            };
            let leader = error.leader();
            attempts.push((Attempt { node, error: error.to_string() }, error));
            // Each is asked once, so that two nodes that name each other are no endless loop.
            if let Some(leader) = leader.filter(|leader| attempts.iter().all(|(tried, _)| tried.node != *leader)) {
                next.retain(|node| *node != leader);
                next.push_front(leader);
            }
        }
        Err(no_answer(attempts))
    }

    async fn ask<M, T, F>(
        &self,
        node: &str,
        message: M,
        call: &impl Fn(Channel, Request<M>) -> F,
    ) -> Result<Result<T, Status>, NoAnswer>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let channel = self.connect(node).await?;
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let late = || NoAnswer::Lost(format!("no answer within {}", words(self.timeout)));
        let status = match timeout(self.timeout, call(channel, request)).await {
            Err(_) => return Err(late()),
            Ok(Ok(answer)) => return Ok(Ok(answer.into_inner())),
            Ok(Err(status)) => status,
        };
        // Only a status with its reason was made by a node; without one, the transport made it up.
        match (status.code(), status.get_details_error_info()) {
            (Code::Unavailable, Some(_)) => Err(NoAnswer::Unavailable(Box::new(status))),
            (Code::Unavailable, None) => Err(NoAnswer::Lost(innermost(&status))),
            (Code::Cancelled | Code::DeadlineExceeded, None) => Err(late()),
            (Code::Unknown, None) if std::error::Error::source(&status).is_some() => {
                Err(NoAnswer::Lost(innermost(&status)))
            }
            _ => Ok(Err(status)),
        }
    }

    async fn connect(&self, node: &str) -> Result<Channel, NoAnswer> {
        let limit = self.timeout.min(CONNECT_TIMEOUT);
        let stream = timeout(limit, handshake(self.tls.clone(), node))
            .await
            .map_err(|_| NoAnswer::connect(format!("no connection within {}", words(limit))))?
            .map_err(|error| NoAnswer::of_io(&error))?;
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_: http::Uri| {
            let stream = stream.take().ok_or_else(|| io::Error::other("the connection broke"));
            std::future::ready(stream)
        });
        // The scheme is `http` because TLS is spoken below; the name is what virtual hosts would see.
        Endpoint::from_shared(format!("http://{NODE_NAME}"))
            .map_err(|error| NoAnswer::connect(error.to_string()))?
            .connect_with_connector(connector)
            .await
            .map_err(|error| NoAnswer::connect(innermost(&error)))
    }

    /// A stream of answers from the first node that gives one, without an end in time.
    pub async fn stream<M: Clone, T, F>(
        &self,
        message: M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<tonic::Streaming<T>, Failure>
    where
        F: Future<Output = Result<tonic::Response<tonic::Streaming<T>>, Status>>,
    {
        let without_deadline = |channel, mut request: Request<M>| {
            request.metadata_mut().remove("grpc-timeout");
            call(channel, request)
        };
        self.call(Kind::Read, message, without_deadline).await
    }
}

/// Connects and waits for the server's first bytes. In TLS 1.3 a client is done before the server has looked at its
/// certificate; only what comes next says whether it was accepted. An HTTP/2 server speaks first (RFC 9113 §3.4).
async fn handshake(tls: TlsConnector, node: &str) -> io::Result<BufReader<TlsStream<TcpStream>>> {
    let tcp = TcpStream::connect(node).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(NODE_NAME).map_err(io::Error::other)?;
    let mut stream = BufReader::new(tls.connect(name, tcp).await?);
    if stream.fill_buf().await?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection"));
    }
    Ok(stream)
}

/// The largest answers that are read: `list` of everything fits, a flood does not.
pub fn verdicts(channel: Channel) -> v1::verdict_service_client::VerdictServiceClient<Channel> {
    v1::verdict_service_client::VerdictServiceClient::new(channel).max_decoding_message_size(ANSWER_LIMIT)
}

/// As [`verdicts`], for the admin service.
pub fn admin(channel: Channel) -> v1::admin_service_client::AdminServiceClient<Channel> {
    v1::admin_service_client::AdminServiceClient::new(channel).max_decoding_message_size(ANSWER_LIMIT)
}

/// As [`verdicts`], for the recordings.
pub fn histories(channel: Channel) -> v1::history_service_client::HistoryServiceClient<Channel> {
    v1::history_service_client::HistoryServiceClient::new(channel)
}

impl NoAnswer {
    fn connect(error: String) -> Self {
        Self::Connect { error, certificate: false }
    }

    /// The address of the leader that the node named.
    fn leader(&self) -> Option<String> {
        let Self::Unavailable(status) = self else { return None };
        status.get_details_error_info()?.metadata.get(LEADER_ADDRESS).cloned()
    }

    fn of_io(error: &io::Error) -> Self {
        use rustls::{AlertDescription as Alert, Error};
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::connect(error.to_string());
        };
        let (certificate, why) = match tls {
            Error::InvalidCertificate(why) => {
                (true, format!("the node's certificate was not accepted: {why:?} (is --ca this cluster's?)"))
            }
            Error::AlertReceived(Alert::CertificateRequired) => (true, "the node wants a client certificate".into()),
            Error::AlertReceived(
                alert @ (Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::DecryptError
                | Alert::AccessDenied),
            ) => (true, format!("the node did not accept your certificate: {alert:?}")),
            other => (false, format!("TLS: {other}")),
        };
        Self::Connect { error: why, certificate }
    }
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect { error, .. } | Self::Lost(error) => f.write_str(error),
            Self::Unavailable(status) => f.write_str(status.message()),
        }
    }
}

/// The cause at the end of an error's chain: the outer ones only say `transport error`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn in_doubt(node: &str, error: &str) -> Failure {
    Failure::new(Exit::OutcomeUnknown, format!("the request was sent to {node}, then: {error}; the outcome is unknown"))
        .hint("read the state before trying again")
}

fn no_answer(attempts: Vec<(Attempt, NoAnswer)>) -> Failure {
    let certificate = |of: &NoAnswer| matches!(of, NoAnswer::Connect { certificate: true, .. });
    let exit = if attempts.iter().any(|(_, why)| certificate(why)) { Exit::Forbidden } else { Exit::Unreachable };
    let answered = attempts.iter().find_map(|(_, why)| match why {
        NoAnswer::Unavailable(status) => Some(Failure::from_status(status)),
        _ => None,
    });
    let (attempts, reasons): (Vec<_>, Vec<_>) = attempts.into_iter().unzip();
    let message = match (&exit, answered.is_some()) {
        (Exit::Forbidden, _) => "certificates were not accepted",
        (_, true) => "the cluster cannot do it now",
        (_, false) => "no node answered",
    };
    let mut failure = Failure::new(exit, message);
    if let Some(answered) = answered {
        failure.more = answered.more;
    }
    failure.more.attempts = attempts;
    let hint = match exit {
        Exit::Forbidden => {
            "check --ca, --cert and --key; `quoratectl pki issue` makes certificates of this cluster's CA"
        }
        _ if reasons.iter().any(|why| matches!(why, NoAnswer::Unavailable(_))) => {
            "try again in a few seconds; `--consistency stale` reads what one node knows"
        }
        _ => "is `quorated` running there, and may you reach its port?",
    };
    failure.hint(hint)
}
