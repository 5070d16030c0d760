//! One probe of one endpoint: the deadline around it and the words for what went wrong.
//!
//! A result is plain: it passed, or it failed and why. Nothing here counts, retries or remembers.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::{connect::Resolver, dns, dynamodb, grpc, http, tcp, tls::TlsClients};
use crate::{
    aws::{Access, Settings},
    core::{
        names::RegionName,
        report::Observation,
        service::{Check, Probe},
    },
    dynamodb::DynamoDb,
};

/// How much of a body or of a TCP answer is read, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// A failure that comes this long after its deadline says that this process stood still (stopped, starved), not that the
/// endpoint did: it is dropped.
const LATE: Duration = Duration::from_millis(500);

/// What all probes of a node share.
#[derive(Debug)]
pub struct Client {
    pub(super) resolver: Resolver,
    pub(super) tls: TlsClients,
    pub(super) dynamodb: DynamoDb,
}

impl Client {
    /// A client that trusts the given roots.
    #[must_use]
    pub fn new(roots: rustls::RootCertStore) -> Arc<Self> {
        Self::with(roots, DynamoDb::new(Access::new(Settings::default())))
    }

    /// The same, and tables are reached like this.
    #[must_use]
    pub fn with(roots: rustls::RootCertStore, dynamodb: DynamoDb) -> Arc<Self> {
        Arc::new(Self { resolver: Resolver::default(), tls: TlsClients::new(roots), dynamodb })
    }
}

/// Asks once. `region` is whose answer is expected, where the answer can tell. Done by `probe.timeout` at the latest;
/// `None` when the failure is this process' own and says nothing of the endpoint: it stood still meanwhile, the code that
/// reads answers panicked, or this node has no right to ask.
pub async fn run(client: &Client, probe: &Probe, region: Option<&RegionName>) -> Option<Observation> {
    let deadline = Instant::now() + probe.timeout;
    let progress = Progress::default();
    let asked = async {
        match &probe.check {
            Check::Http(check) => http::check(client, check, region, &progress).await,
            Check::Tcp(check) => tcp::check(client, check, &progress).await,
            Check::Dns(check) => dns::check(client, check, &progress).await,
            Check::Grpc(check) => grpc::check(client, check, &progress).await,
            Check::Dynamodb(check) => dynamodb::check(client, check, &progress).await,
        }
    };
    let Ok(answer) = AssertUnwindSafe(timeout_at(deadline, asked)).catch_unwind().await else {
        tracing::error!("a probe panicked");
        return None;
    };
    let answer = answer.unwrap_or_else(|_| Err(Failure::Timeout { limit: probe.timeout, stage: progress.stage() }));
    let (failure, dependencies) = match answer {
        Ok(answer) => (answer.mismatch, answer.dependencies),
        Err(Failure::Ours(why)) => {
            tracing::warn!(%why, "a probe says nothing of the region: this node lacks what it needs");
            return None;
        }
        Err(failure) => (Some(failure), Vec::new()),
    };
    if failure.is_some() && Instant::now() > deadline + LATE {
        tracing::warn!("a probe ended long after its deadline: this process stood still");
        return None;
    }
    let observation = failure.map_or_else(Observation::pass, |failure| Observation::fail(&failure.to_string()));
    Some(observation.with_dependencies(dependencies.iter().map(String::as_str)))
}

/// An endpoint answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The first thing that was not as configured.
    pub mismatch: Option<Failure>,
    /// The dependencies that the endpoint itself calls failing.
    pub dependencies: Vec<String>,
}

impl Answer {
    /// An answer without dependencies.
    pub fn new(mismatch: Option<Failure>) -> Self {
        Self { mismatch, dependencies: Vec::new() }
    }
}

/// Why a probe failed. Displayed as an observation's reason: short, with figures, without a body or a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no whole answer within {} ({})", humantime::format_duration(*limit), stage.doing())]
    Timeout { limit: Duration, stage: Stage },
    #[error("the name does not resolve: {0}")]
    Resolve(String),
    #[error("cannot connect: {}", io_words(.0))]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the certificate expired {} ago", days(*.0))]
    Expired(Duration),
    #[error("the certificate expires in {}, {} wanted", days(*left), days(*wanted))]
    Expiring { left: Duration, wanted: Duration },
    #[error("the connection broke: {}", io_words(.0))]
    Broken(io::Error),
    #[error("not HTTP: {0}")]
    NotHttp(String),
    #[error("status {got}, {wanted} wanted")]
    Status { got: u16, wanted: String },
    #[error("redirects to {0}, which is not followed")]
    RedirectAway(String),
    #[error("redirects more than {0} times")]
    RedirectLoop(u8),
    #[error("header {0} is missing")]
    HeaderMissing(String),
    #[error("header {0} has another value than the one wanted")]
    Header(String),
    #[error("the body does not contain the text wanted{}", if *.cut { " in its first 64 KiB" } else { "" })]
    Body { cut: bool },
    #[error("the body is longer than 64 KiB: JSON that long is not read")]
    JsonTooLong,
    #[error("the body is not JSON")]
    NotJson,
    #[error("JSON: nothing stands at {0}")]
    JsonMissing(String),
    #[error("JSON: {pointer} is not {wanted}")]
    Json { pointer: String, wanted: String },
    #[error("answers for region {0} (wrong backend)")]
    WrongRegion(String),
    #[error("the answer ({} bytes) does not contain the text wanted", .0)]
    TcpAnswer(usize),
    #[error("DNS: {0}")]
    Dns(String),
    #[error("gRPC: {0}")]
    Grpc(String),
    #[error("DynamoDB: {0}")]
    Dynamodb(String),
    #[error("{0}")]
    Ours(String),
    #[error("the probe cannot be sent: {0}")]
    Unsendable(String),
}

/// What a probe is doing, for the reason of a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Resolving,
    Connecting,
    Securing,
    Waiting,
    Reading,
}

impl Stage {
    fn doing(self) -> &'static str {
        match self {
            Self::Resolving => "resolving the name",
            Self::Connecting => "connecting",
            Self::Securing => "in the TLS handshake",
            Self::Waiting => "waiting for an answer",
            Self::Reading => "reading the answer",
        }
    }
}

/// Where a probe has got to; outlives the probe when its deadline cuts it off.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    pub fn enter(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        let stages = [Stage::Resolving, Stage::Connecting, Stage::Securing, Stage::Waiting, Stage::Reading];
        stages[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// An I/O error in a few words, without the system's error number.
fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData => error.to_string(),
        kind => kind.to_string(),
    }
}

fn days(span: Duration) -> String {
    let hours = span.as_secs() / 3600;
    if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} h") }
}
