//! A proxy in front of one region of `ministack`: its replica is as old as the test says, its statuses are what the test says,
//! and it hangs, fails or is gone when the test says so.
//!
//! Lag is no slow answer: a read answers what stood there so long ago. For that the proxy reads every item that was once asked
//! for all the time, and remembers what it found.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, UNIX_EPOCH},
};

use aws_smithy_types::{DateTime, date_time::Format};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::Value;

/// How often a known item is read.
const SAMPLE: Duration = Duration::from_millis(50);
/// How long it is remembered what it was.
const MEMORY: Duration = Duration::from_secs(30);

/// How the region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Well,
    /// Takes every request and answers none.
    Hangs,
    /// Answers 500.
    Fails,
    /// Answers that the caller has no right.
    Denies,
    /// Answers that the caller's credentials are out of date.
    Expired,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    state: Mutex<Settings>,
}

struct Settings {
    health: Health,
    lag: Duration,
    /// Replaces the status of the table itself.
    own: Option<String>,
    /// Replaces the status of every replica, with its percentage.
    replicas: Option<(String, Option<String>)>,
    items: HashMap<Vec<u8>, VecDeque<(Instant, Vec<u8>)>>,
    targets: Vec<String>,
    /// The access keys that asked.
    keys: BTreeSet<String>,
    /// How many reads did not ask for consistency.
    stale_reads: usize,
    /// By how many seconds its clock is ahead.
    ahead: i64,
}

/// The proxy; it serves as long as the runtime runs.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub async fn start(upstream: String) -> Self {
        let state = Settings {
            health: Health::Well,
            lag: Duration::ZERO,
            own: None,
            replicas: None,
            items: HashMap::new(),
            targets: vec![],
            keys: BTreeSet::new(),
            stale_reads: 0,
            ahead: 0,
        };
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let shared = Arc::new(Shared { upstream, client, state: Mutex::new(state) });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(serve).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set_health(&self, health: Health) {
        self.shared.settings().health = health;
    }

    pub fn set_lag(&self, lag: Duration) {
        self.shared.settings().lag = lag;
    }

    /// Its answers are dated so far ahead.
    pub fn set_clock(&self, ahead: i64) {
        self.shared.settings().ahead = ahead;
    }

    /// How many reads did not ask for consistency.
    pub fn stale_reads(&self) -> usize {
        self.shared.settings().stale_reads
    }

    /// Which access keys have asked.
    pub fn keys(&self) -> BTreeSet<String> {
        self.shared.settings().keys.clone()
    }

    pub fn set_own_status(&self, status: Option<&str>) {
        self.shared.settings().own = status.map(str::to_owned);
    }

    pub fn set_replica_status(&self, status: Option<(&str, Option<&str>)>) {
        self.shared.settings().replicas =
            status.map(|(status, percent)| (status.to_owned(), percent.map(str::to_owned)));
    }

    /// How often this operation was asked for.
    pub fn asked(&self, operation: &str) -> usize {
        self.shared.settings().targets.iter().filter(|target| target.ends_with(operation)).count()
    }
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn forward(&self, headers: &HeaderMap, body: Vec<u8>) -> Option<(u16, Vec<u8>)> {
        let wanted = ["authorization", "content-type", "x-amz-target", "x-amz-date"];
        let mut request = self.client.post(&self.upstream).body(body);
        for name in wanted {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.bytes().await.ok()?.to_vec()))
    }

    /// What stood there `lag` ago; nothing as long as that is not known.
    fn as_of_then(self: &Arc<Self>, headers: &HeaderMap, body: Vec<u8>, lag: Duration) -> Vec<u8> {
        let known = self.settings().items.contains_key(&body);
        if !known {
            self.settings().items.insert(body.clone(), VecDeque::new());
            let (shared, headers, body) = (self.clone(), headers.clone(), body.clone());
            tokio::spawn(async move { shared.remember(headers, body).await });
        }
        let settings = self.settings();
        let then = Instant::now().checked_sub(lag).expect("the machine is up for that long");
        let samples = settings.items[&body].iter();
        samples.rev().find(|(at, _)| *at <= then).map_or_else(|| b"{}".to_vec(), |(_, answer)| answer.clone())
    }

    async fn remember(&self, headers: HeaderMap, body: Vec<u8>) {
        loop {
            // Read before it is dated: the answer is at least as new as its date.
            let at = Instant::now();
            if let Some((200, answer)) = self.forward(&headers, body.clone()).await {
                let mut settings = self.settings();
                let samples = settings.items.get_mut(&body).expect("it was made");
                samples.push_back((at, answer));
                while samples.front().is_some_and(|(at, _)| at.elapsed() > MEMORY) {
                    samples.pop_front();
                }
            }
            tokio::time::sleep(SAMPLE).await;
        }
    }

    fn rewritten(&self, answer: Vec<u8>) -> Vec<u8> {
        let settings = self.settings();
        let Ok(mut json) = serde_json::from_slice::<Value>(&answer) else { return answer };
        if let Some(own) = &settings.own {
            json["Table"]["TableStatus"] = own.clone().into();
        }
        if let (Some((status, percent)), Some(replicas)) =
            (&settings.replicas, json["Table"]["Replicas"].as_array_mut())
        {
            for replica in replicas {
                replica["ReplicaStatus"] = status.clone().into();
                if let Some(percent) = percent {
                    replica["ReplicaStatusPercentProgress"] = percent.clone().into();
                }
            }
        }
        json.to_string().into_bytes()
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a small body").to_vec();
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let signed = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = signed.split_once("Credential=").and_then(|(_, of)| of.split_once('/')).map(|(key, _)| key.to_owned());
    let (health, lag, ahead) = {
        let mut settings = shared.settings();
        settings.targets.push(target.clone());
        settings.keys.extend(key);
        let consistent = || serde_json::from_slice::<Value>(&body).is_ok_and(|asked| asked["ConsistentRead"] == true);
        if target.ends_with("GetItem") && !consistent() {
            settings.stale_reads += 1;
        }
        (settings.health, settings.lag, settings.ahead)
    };
    let now = UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs().cast_signed() + ahead;
    let date = DateTime::from_secs(now).fmt(Format::HttpDate).expect("a date");
    let json = |status: u16, body: Vec<u8>| {
        let status = StatusCode::from_u16(status).expect("a status");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("date", &date)];
        (status, headers, Body::from(body)).into_response()
    };
    match health {
        Health::Hangs => std::future::pending().await,
        Health::Fails => {
            json(500, br#"{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"down"}"#.to_vec())
        }
        Health::Denies => {
            json(400, br#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no right"}"#.to_vec())
        }
        Health::Expired => {
            json(400, br#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"too old"}"#.to_vec())
        }
        Health::Well if target.ends_with("GetItem") && !lag.is_zero() => {
            json(200, shared.as_of_then(&parts.headers, body, lag))
        }
        Health::Well => match shared.forward(&parts.headers, body).await {
            Some((status, answer)) if target.ends_with("DescribeTable") => json(status, shared.rewritten(answer)),
            Some((status, answer)) => json(status, answer),
            None => StatusCode::BAD_GATEWAY.into_response(),
        },
    }
}
