//! A node's own configuration: TOML to a validated [`Config`].
//!
//! Every error is told at once with its line, unknown keys are refused, and credentials are loaded here, so that a node
//! either starts with all that it needs or not at all. What is configured here is this node's alone; services and members
//! are the cluster's, and live in its log.

mod dynamodb;
mod provider;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use dynamodb::DynamodbSection;

use crate::{
    core::{
        draft::{self, ProbeDraft, Warning, url},
        names::{ClusterId, NodeId, ProviderName, Site},
        service::{Probe, Target},
    },
    diagnostic::{Diagnostic, Problems},
    dns::config::ProviderConfig,
    history,
    reader::{Document, MAX_BYTES, Table, Value},
    secret::Environment,
    service_file,
};

/// What one node needs to know to run.
#[derive(Debug)]
pub struct Config {
    /// `[node]`
    pub node: NodeSection,
    /// `[tls]`
    pub tls: TlsSection,
    /// `[timing]`
    pub timing: Timing,
    /// `[[control]]`: independent endpoints that this site must reach, or else it is blind.
    pub controls: Vec<Probe>,
    /// `[provider.NAME]`
    pub providers: BTreeMap<ProviderName, ProviderConfig>,
    /// `[log]`
    pub log: LogSection,
    /// `[dynamodb]`
    pub dynamodb: DynamodbSection,
    /// `[history]`; `None` when it is off.
    pub history: Option<history::Settings>,
}

/// Who and where this node is.
#[derive(Debug)]
pub struct NodeSection {
    /// The cluster's identity, the same on all its nodes; written into every fence.
    pub cluster: ClusterId,
    /// This node's number, never reused.
    pub id: NodeId,
    /// Where it runs; votes are counted by site.
    pub site: Site,
    /// The directory of its store, absolute.
    pub data: PathBuf,
    /// Where peers and clients are served (gRPC, mTLS).
    pub listen: SocketAddr,
    /// How peers and clients reach it.
    pub advertise: Target,
    /// Where metrics and health are served (HTTP, no TLS); `None` when off.
    pub http: Option<SocketAddr>,
}

/// The files of mutual TLS (PEM), absolute paths.
#[derive(Debug)]
pub struct TlsSection {
    /// Whose certificates are believed.
    pub ca: PathBuf,
    /// This node's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How fast the cluster notices and agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// From one heartbeat of the leader to the next.
    pub heartbeat: Duration,
    /// How long a follower hears nothing before it stands for election: a random time from here …
    pub election_min: Duration,
    /// … to here.
    pub election_max: Duration,
    /// From one report of this node to the next while nothing changes.
    pub report: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_secs(1),
            election_max: Duration::from_secs(2),
            report: Duration::from_secs(1),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// The least severe level that is logged.
    pub level: tracing::Level,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: tracing::Level::INFO, format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Wrong(#[from] Problems),
}

/// Loads the configuration and the credentials that it names, and gives the warnings in it.
///
/// # Errors
/// The file cannot be read, or every problem in it.
pub fn load(path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    // One byte more than may be read, so that a longer file is refused and not cut.
    io::Read::read_to_string(&mut io::Read::take(file, MAX_BYTES as u64 + 1), &mut text).map_err(unreadable)?;
    parse(&text, &|name| std::env::var(name).ok())
        .map_err(|problems| problems.in_file(path.display().to_string()).into())
}

/// Reads a configuration and the credentials that it names, and gives the warnings in it.
///
/// # Errors
/// Every problem, in the order of the text.
pub fn parse(text: &str, environment: Environment<'_>) -> Result<(Config, Vec<Diagnostic>), Problems> {
    let document = Document::parse(text, Some("provider"))?;
    let (parts, controls) = document.read(|file| {
        let node = file.need("node").and_then(|value| value.table(node)).flatten();
        let tls = file.need("tls").and_then(|value| value.table(tls)).flatten();
        let timing = file.table("timing", timing).unwrap_or_default();
        let providers = file.table("provider", |table| provider::all(table, environment)).unwrap_or_default();
        let log = file.table("log", log).unwrap_or_default();
        let dynamodb = file.table("dynamodb", |table| dynamodb::read(table, environment));
        let dynamodb = dynamodb.unwrap_or_else(|| Some(DynamodbSection::default()));
        let history = file.table("history", history).unwrap_or_else(|| Some(history::Settings::default()));
        (
            node.zip(tls)
                .zip(dynamodb)
                .map(|((node, tls), dynamodb)| (node, tls, timing, providers, log, (history, dynamodb))),
            file.tables("control", service_file::probe),
        )
    });
    let mut warnings = Vec::new();
    let controls = self::controls(&document, &controls, &mut warnings);
    let config = parts.zip(controls).map(|((node, tls, timing, providers, log, (history, dynamodb)), controls)| {
        (Config { node, tls, timing, controls, providers, log, dynamodb, history }, warnings)
    });
    document.finish(config)
}

/// Validated once the whole was read: only then is it known which keys could not be.
fn controls(document: &Document<'_>, drafts: &[ProbeDraft], warnings: &mut Vec<Diagnostic>) -> Option<Vec<Probe>> {
    let list = draft::Path::default().key("control");
    if drafts.is_empty() {
        let message = "without [[control]] a node tells its own isolation from an outage by its peers alone".to_owned();
        warnings.push(document.place(Warning { path: list.clone(), message }));
    }
    let mut probes = Vec::new();
    for (i, draft) in drafts.iter().enumerate() {
        let validated = document.validated(draft.validate(&list.index(i)));
        probes.push(validated.map(|(probe, found)| {
            warnings.extend(found.into_iter().map(|warning| document.place(warning)));
            probe
        }));
    }
    probes.into_iter().collect()
}

fn node(table: &Table<'_, '_>) -> Option<NodeSection> {
    let cluster = table.need("cluster").and_then(|value| value.parse());
    let id = table.need("id").and_then(|value| node_id(&value));
    let site = table.need("site").and_then(|value| value.parse());
    let data = table.need("data").and_then(|value| absolute(&value));
    let listen = table.need("listen").and_then(|value| socket(&value));
    let written = table.get("advertise");
    let advertise = written.as_ref().map(|value| value.read(|text| url::target(text, None)));
    let advertise = match (advertise, listen) {
        (Some(written), _) => written,
        (None, Some(listen)) if listen.ip().is_unspecified() => {
            table.need_one_of(
                &["advertise"],
                format!("`advertise` is missing: nobody can connect to {}", listen.ip()),
                Some("add advertise = \"host:port\", as peers and clients reach this node"),
            );
            None
        }
        (None, listen) => listen.map(|listen| Target { host: listen.ip().to_string(), port: listen.port() }),
    };
    let http = match table.get("http") {
        None => Some(Some(SocketAddr::from(([127, 0, 0, 1], 7701)))),
        Some(value) if value.raw().as_str() == Some("off") => Some(None),
        Some(value) => socket(&value).map(Some),
    };
    if let (Some(listen), Some(Some(http))) = (listen, http)
        && listen.port() == http.port()
        && (listen.ip() == http.ip() || listen.ip().is_unspecified() || http.ip().is_unspecified())
    {
        table.refuse(format!("listen ({listen}) and http ({http}) cannot share a port"), None);
    }
    Some(NodeSection {
        cluster: cluster?,
        id: id?,
        site: site?,
        data: data?,
        listen: listen?,
        advertise: advertise?,
        http: http?,
    })
}

fn node_id(value: &Value<'_, '_>) -> Option<NodeId> {
    let id = value.integer()?;
    let id = u64::try_from(id).ok().filter(|id| *id > 0);
    if id.is_none() {
        value.refuse("a node's id is 1 or more", None);
    }
    id
}

/// A relative path would mean another file wherever the node is started.
fn absolute(value: &Value<'_, '_>) -> Option<PathBuf> {
    let path = PathBuf::from(value.text()?);
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        value.refuse("this is not an absolute path", Some("begin it with /"));
        return None;
    }
    Some(path)
}

fn socket(value: &Value<'_, '_>) -> Option<SocketAddr> {
    let address = value.text()?.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    if address.is_none() {
        value.refuse("this is not an address and a port", Some("write \"0.0.0.0:7700\" or \"[::]:7700\""));
    }
    address
}

fn tls(table: &Table<'_, '_>) -> Option<TlsSection> {
    let file = |key| table.need(key).and_then(|value| absolute(&value));
    let (ca, certificate, key) = (file("ca"), file("certificate"), file("key"));
    Some(TlsSection { ca: ca?, certificate: certificate?, key: key? })
}

fn timing(table: &Table<'_, '_>) -> Timing {
    let default = Timing::default();
    let within = |key, default, low, high| {
        let value = table.get(key);
        let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
        value.map_or(Some(default), |value| value.duration_within(low, high))
    };
    let heartbeat = within("heartbeat", default.heartbeat, 10, 5_000);
    let report = within("report", default.report, 100, 10_000);
    let election = table.get("election").map(|value| election(&value, heartbeat)).unwrap_or_default();
    let heartbeat = heartbeat.unwrap_or(default.heartbeat);
    let (election_min, election_max) = election.unwrap_or((default.election_min, default.election_max));
    if election_min < 3 * heartbeat && table.get("election").is_none() {
        table.refuse("a heartbeat this slow needs a longer election timeout", Some("add election = [\"…\", \"…\"]"));
    }
    Timing { heartbeat, election_min, election_max, report: report.unwrap_or(default.report) }
}

/// Two durations: fewer than three heartbeats would make one lost packet an election.
fn election(value: &Value<'_, '_>, heartbeat: Option<Duration>) -> Option<(Duration, Duration)> {
    let items = value.items("a list of two durations");
    let [min, max] = items.as_slice() else {
        if value.raw().is_array() {
            value.refuse("the election timeout is a list of two durations", Some("write [\"1s\", \"2s\"]"));
        }
        return None;
    };
    let (low, high) = (Duration::from_millis(30), Duration::from_mins(1));
    let (shortest, longest) = (min.duration_within(low, high), max.duration_within(low, high));
    let (shortest, longest, heartbeat) = (shortest?, longest?, heartbeat?);
    if shortest >= longest {
        value.refuse("the first is not less than the second: nodes would stand for election together", None);
    }
    if shortest < 3 * heartbeat {
        let heartbeat = humantime::format_duration(heartbeat);
        min.refuse(format!("less than three heartbeats of {heartbeat}"), None);
    }
    Some((shortest, longest))
}

fn log(table: &Table<'_, '_>) -> LogSection {
    let level = |value: &Value<'_, '_>| {
        value.read(|text| match text {
            "error" => Ok(tracing::Level::ERROR),
            "warn" => Ok(tracing::Level::WARN),
            "info" => Ok(tracing::Level::INFO),
            "debug" => Ok(tracing::Level::DEBUG),
            "trace" => Ok(tracing::Level::TRACE),
            _ => Err("the levels are error, warn, info, debug and trace".to_owned()),
        })
    };
    let format = |value: &Value<'_, '_>| {
        value.read(|text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("the formats are text and json".to_owned()),
        })
    };
    LogSection {
        level: table.get("level").as_ref().and_then(level).unwrap_or(tracing::Level::INFO),
        format: table.get("format").as_ref().and_then(format).unwrap_or(LogFormat::Text),
    }
}

/// What is kept of the past, on this node.
fn history(table: &Table<'_, '_>) -> Option<history::Settings> {
    let default = history::Settings::default();
    let enabled = table.boolean("enabled").unwrap_or(true);
    let keep = table.get("keep");
    let (shortest, longest) = (Duration::from_hours(1), Duration::from_hours(400 * 24));
    let keep = keep.map_or(Some(default.keep), |value| value.duration_within(shortest, longest));
    let bytes = table.get("size_mib").map_or(Some(default.bytes), |value| {
        let mib = value.integer().and_then(|mib| u64::try_from(mib).ok()).filter(|mib| (8..=65_536).contains(mib));
        if mib.is_none() {
            value.refuse("the history takes from 8 to 65536 MiB", Some("write enabled = false to have none"));
        }
        mib.map(|mib| mib << 20)
    });
    Some(history::Settings { keep: keep?, bytes: bytes? }).filter(|_| enabled)
}
