//! A fake of OVH's DNS API, and of the nameservers behind it, in the process of the test.
//!
//! It keeps what makes OVH hard: edits are staged until `refresh` publishes everyone's, a TTL below 60 becomes 60 in silence, the
//! filters of `GET record` are patterns, and nothing is conditional. Faults are injected per call. Its DNS side answers
//! from what is published, so that `dig @fake.dns` shows what the world would see.
//!
//! It shares no code with the client under test; python-ovh, OVH's own client, passes against it (`ovh_client_check.py`).
#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

pub const APPLICATION_KEY: &str = "fake-application-key";
pub const APPLICATION_SECRET: &str = "fake-application-secret";
pub const CONSUMER_KEY: &str = "fake-consumer-key";
/// The TTL that 0 stands for.
const DEFAULT_TTL: u32 = 3600;
/// By how many seconds a timestamp may be off.
const SKEW_LIMIT: i64 = 30;

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An error as OVH words it; nothing is done.
    Error { status: u16, code: &'static str, retry_after: Option<u32> },
    /// A gateway's timeout: 408 with HTML, after the call was carried out or not.
    Html408 { applied: bool },
    /// 502 with HTML, after the call was carried out or not.
    Html502 { applied: bool },
    /// The connection closes without an answer, after the call was carried out or not.
    Drop { applied: bool },
    /// No answer, ever; nothing is done.
    Hang,
    /// 200 and bytes that are no JSON; the call is carried out.
    Garbage,
    /// 200 and a megabyte of JSON; the call is carried out.
    Flood,
    /// Somebody else changes a staged record just before the call, which goes well.
    Meddle { id: u64, target: &'static str },
}

/// A record: staged or published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRecord {
    pub id: u64,
    pub field_type: String,
    pub sub_domain: String,
    pub target: String,
    pub ttl: u32,
}

#[derive(Debug, Default)]
struct Zone {
    staged: BTreeMap<u64, FakeRecord>,
    published: Vec<FakeRecord>,
    serial: u64,
    /// What `status` complains of; while there is something, `refresh` succeeds and publishes nothing.
    errors: Vec<String>,
}

struct State {
    zones: BTreeMap<String, Zone>,
    /// What our clock is ahead of the machine's, in seconds.
    skew: i64,
    grants: Vec<(String, String)>,
    /// Which calls go wrong, the first match first; each once.
    faults: Vec<(String, String, Fault)>,
    log: Vec<String>,
    published_sets: Vec<Vec<FakeRecord>>,
    next_id: u64,
    /// Somebody publishes the zone after every single edit.
    impatient: bool,
}

type Shared = Arc<Mutex<State>>;

/// The running fake; it stops when dropped.
pub struct FakeOvh {
    pub http: SocketAddr,
    pub dns: SocketAddr,
    state: Shared,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for FakeOvh {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl FakeOvh {
    /// Starts with one zone, all rights, and no records.
    pub async fn start(zone: &str) -> Self {
        let grants = ["GET", "PUT", "POST", "DELETE"].map(|method| (method.to_owned(), "/*".to_owned())).into();
        let zones = BTreeMap::from([(zone.to_owned(), Zone { serial: 2_026_010_101, ..Zone::default() })]);
        let state: Shared = Arc::new(Mutex::new(State {
            zones,
            skew: 0,
            grants,
            faults: Vec::new(),
            log: Vec::new(),
            published_sets: Vec::new(),
            next_id: 5_386_578_361,
            impatient: false,
        }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let http = listener.local_addr().expect("its address");
        let (udp, tcp) = bind_dns().await;
        let dns = udp.local_addr().expect("its address");
        let tasks = vec![
            tokio::spawn(serve_http(listener, Arc::clone(&state))),
            tokio::spawn(serve_udp(udp, Arc::clone(&state))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&state))),
        ];
        Self { http, dns, state, tasks }
    }

    /// The API's base URL.
    pub fn url(&self) -> String {
        format!("http://{}/1.0", self.http)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Stages and publishes a record, as if it had always been there.
    pub fn seed(&self, zone: &str, sub_domain: &str, field_type: &str, target: &str, ttl: u32) -> u64 {
        let id = self.stage(zone, sub_domain, field_type, target, ttl);
        self.publish(zone);
        id
    }

    /// Stages a record without publishing it: another person's half-done work.
    pub fn stage(&self, zone: &str, sub_domain: &str, field_type: &str, target: &str, ttl: u32) -> u64 {
        let mut state = self.state();
        state.next_id += 1;
        let id = state.next_id;
        let (sub_domain, field_type, target) = (sub_domain.to_owned(), field_type.to_owned(), target.to_owned());
        let record = FakeRecord { id, field_type, sub_domain, target, ttl };
        state.zones.get_mut(zone).expect("the zone").staged.insert(id, record);
        id
    }

    /// Changes a staged record behind everybody's back.
    pub fn restage(&self, zone: &str, id: u64, target: &str) {
        let mut state = self.state();
        let record = state.zones.get_mut(zone).and_then(|zone| zone.staged.get_mut(&id)).expect("the record");
        target.clone_into(&mut record.target);
    }

    /// Publishes what is staged, as `refresh` does.
    pub fn publish(&self, zone: &str) {
        publish(&mut self.state(), zone);
    }

    /// What is staged, by id.
    pub fn staged(&self, zone: &str) -> Vec<FakeRecord> {
        self.state().zones[zone].staged.values().cloned().collect()
    }

    /// What is published.
    pub fn published(&self, zone: &str) -> Vec<FakeRecord> {
        self.state().zones[zone].published.clone()
    }

    /// The zone as it was after each publication so far.
    pub fn publications(&self) -> Vec<Vec<FakeRecord>> {
        self.state().published_sets.clone()
    }

    /// Makes the next call whose method and path match (`*`: any method; the path by a part of it) go wrong, once.
    pub fn fail_next(&self, method: &str, path: &str, fault: Fault) {
        self.state().faults.push((method.to_owned(), path.to_owned(), fault));
    }

    /// Sets what `status` complains of.
    pub fn set_errors(&self, zone: &str, errors: &[&str]) {
        let errors = errors.iter().map(|&error| error.to_owned()).collect();
        self.state().zones.get_mut(zone).expect("the zone").errors = errors;
    }

    /// Moves OVH's clock against the machine's, in seconds.
    pub fn set_skew(&self, skew: i64) {
        self.state().skew = skew;
    }

    /// Replaces the access rules: method and path, where a final `*` stands for anything.
    pub fn set_grants(&self, grants: &[(&str, &str)]) {
        self.state().grants = grants.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    }

    /// From now on somebody else publishes the zone after every single edit.
    pub fn publish_after_each_edit(&self) {
        self.state().impatient = true;
    }

    /// How many calls were made since the log was last taken.
    pub fn peek_log(&self) -> usize {
        self.state().log.len()
    }

    /// Every call since the last time: `PUT /domain/zone/…`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }
}

fn publish(state: &mut State, zone: &str) {
    let zone = state.zones.get_mut(zone).expect("the zone");
    if zone.errors.is_empty() {
        zone.published = zone.staged.values().cloned().collect();
        zone.serial += 1;
        let set = zone.published.clone();
        state.published_sets.push(set);
    }
}

// The API.

/// An answer in the making: status, JSON.
type Answer = (u16, Value);

async fn serve_http(listener: TcpListener, state: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, Arc::clone(&state)));
            // An error here is a connection that a fault closed, or a client that went away.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(request: Request<Incoming>, state: Shared) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = parts.uri.path().strip_prefix("/1.0").unwrap_or("/").to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let call = Call {
        method: &parts.method,
        url: format!("http://{}{}", header("host"), parts.uri),
        url_without_port: format!("http://{}{}", header("host").split(':').next().unwrap_or_default(), parts.uri),
        path: &path,
        query,
        body: &body,
        application: header("x-ovh-application"),
        consumer: header("x-ovh-consumer"),
        timestamp: header("x-ovh-timestamp"),
        signature: header("x-ovh-signature"),
    };
    let fault = {
        let mut state = state.lock().expect("no panic under the lock");
        state.log.push(format!("{} {path}", parts.method));
        let matches = |(method, part, _): &(String, String, Fault)| {
            (method == "*" || method == parts.method.as_str()) && path.contains(part.as_str())
        };
        let position = state.faults.iter().position(matches);
        position.map(|position| state.faults.remove(position).2)
    };
    let carry_out = || answer(&call, &mut state.lock().expect("no panic under the lock"));
    let html = |status, applied: bool| {
        if applied {
            drop(carry_out());
        }
        Ok(respond(status, "text/html", "<html><h1>Request timeout</h1></html>".into(), None))
    };
    match fault {
        None => {
            let (status, value) = carry_out();
            Ok(respond(status, "application/json", value.to_string(), None))
        }
        Some(Fault::Error { status, code, retry_after }) => {
            Ok(respond(status, "application/json", error(status, code, "injected").1.to_string(), retry_after))
        }
        Some(Fault::Html408 { applied }) => html(408, applied),
        Some(Fault::Html502 { applied }) => html(502, applied),
        Some(Fault::Drop { applied }) => {
            if applied {
                drop(carry_out());
            }
            Err(io::Error::other("the connection is dropped on purpose"))
        }
        Some(Fault::Meddle { id, target }) => {
            let mut locked = state.lock().expect("no panic under the lock");
            let record = locked.zones.values_mut().find_map(|zone| zone.staged.get_mut(&id)).expect("the record");
            target.clone_into(&mut record.target);
            drop(locked);
            let (status, value) = carry_out();
            Ok(respond(status, "application/json", value.to_string(), None))
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Garbage) => {
            drop(carry_out());
            Ok(respond(200, "application/json", "\u{0}not json".into(), None))
        }
        Some(Fault::Flood) => {
            drop(carry_out());
            Ok(respond(200, "application/json", format!("[{}1]", "1,".repeat(500_000)), None))
        }
    }
}

fn respond(status: u16, kind: &str, body: String, retry_after: Option<u32>) -> Response<Full<Bytes>> {
    let mut response =
        Response::builder().status(status).header("content-type", kind).header("x-ovh-queryid", "EU.ext-1.fake.0815");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Full::from(body)).expect("a response")
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let class = match status {
        404 => "Client::NotFound",
        409 => "Client::Conflict",
        403 => "Client::Forbidden",
        500.. => "Server::InternalServerError",
        _ => "Client::BadRequest",
    };
    let mut body = json!({ "message": message, "httpCode": format!("{status} {class}"), "class": class });
    if !code.is_empty() {
        body["errorCode"] = code.into();
    }
    (status, body)
}

struct Call<'a> {
    method: &'a Method,
    url: String,
    url_without_port: String,
    path: &'a str,
    query: &'a str,
    body: &'a [u8],
    application: &'a str,
    consumer: &'a str,
    timestamp: &'a str,
    signature: &'a str,
}

fn now(state: &State) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the year 292e9") + state.skew
}

fn answer(call: &Call<'_>, state: &mut State) -> Answer {
    if call.path == "/auth/time" && call.method == Method::GET {
        return (200, now(state).into());
    }
    if let Err(refusal) = authorise(call, state) {
        return refusal;
    }
    let segments: Vec<&str> = call.path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["domain", "zone"] => (200, state.zones.keys().cloned().collect()),
        ["domain", "zone", zone, rest @ ..] if state.zones.contains_key(*zone) => {
            let answer = in_zone(call, state, zone, rest);
            if state.impatient && call.method != Method::GET {
                publish(state, zone);
            }
            answer
        }
        _ => error(404, "", "The requested object does not exist"),
    }
}

fn authorise(call: &Call<'_>, state: &State) -> Result<(), Answer> {
    if call.application != APPLICATION_KEY {
        return Err(error(403, "INVALID_KEY", "This application key is invalid"));
    }
    if call.consumer.is_empty() {
        return Err(error(403, "INVALID_CREDENTIAL", "This credential is not valid"));
    }
    if call.consumer != CONSUMER_KEY {
        return Err(error(403, "NOT_CREDENTIAL", "This credential does not exist"));
    }
    let timestamp: i64 = call.timestamp.parse().map_err(|_| error(400, "QUERY_TIME_OUT", "Query out of time"))?;
    if (timestamp - now(state)).abs() > SKEW_LIMIT {
        return Err(error(400, "QUERY_TIME_OUT", "Query out of time"));
    }
    let signed = |url: &str| {
        let mut hash = Sha1::new();
        for (i, part) in [APPLICATION_SECRET, CONSUMER_KEY, call.method.as_str(), url].into_iter().enumerate() {
            hash.update(if i == 0 { "" } else { "+" });
            hash.update(part);
        }
        hash.update("+");
        hash.update(call.body);
        hash.update("+");
        hash.update(call.timestamp);
        let digest = hash.finalize();
        digest.iter().fold("$1$".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    };
    // node-ovh leaves the port out of the URL that it signs.
    if signed(&call.url) != call.signature && signed(&call.url_without_port) != call.signature {
        return Err(error(400, "INVALID_SIGNATURE", "Invalid signature"));
    }
    let granted = state.grants.iter().any(|(method, pattern)| {
        method == call.method.as_str()
            && pattern.strip_suffix('*').map_or(call.path == pattern, |prefix| call.path.starts_with(prefix))
    });
    if granted { Ok(()) } else { Err(error(403, "NOT_GRANTED_CALL", "This call has not been granted")) }
}

fn in_zone(call: &Call<'_>, state: &mut State, name: &str, rest: &[&str]) -> Answer {
    let done = (200, Value::Null);
    match (call.method.as_str(), rest) {
        ("GET", ["record"]) => (200, list(&state.zones[name], call.query)),
        ("POST", ["record"]) => create(call, state, name),
        ("GET", ["record", id]) => with_record(state, name, id, |_, record| (200, shown(name, record))),
        ("PUT", ["record", id]) => {
            let Ok(Value::Object(body)) = serde_json::from_slice(call.body) else {
                return error(400, "INVALID_SIGNATURE", "the body is no object");
            };
            with_record(state, name, id, |_, record| {
                for (field, value) in &body {
                    match (field.as_str(), value) {
                        ("target", Value::String(target)) => record.target.clone_from(target),
                        ("subDomain", Value::String(sub_domain)) => record.sub_domain.clone_from(sub_domain),
                        ("ttl", Value::Number(ttl)) => record.ttl = floor(ttl.as_u64()),
                        _ => return error(400, "INVALID_SIGNATURE", "a field has a wrong type"),
                    }
                }
                done
            })
        }
        ("DELETE", ["record", id]) => {
            let found = with_record(state, name, id, |id, _| (200, id.into()));
            if let Some(id) = found.1.as_u64() {
                state.zones.get_mut(name).expect("the zone").staged.remove(&id);
                return done;
            }
            found
        }
        ("POST", ["refresh"]) => {
            publish(state, name);
            done
        }
        ("GET", ["soa"]) => {
            let serial = state.zones[name].serial;
            (
                200,
                json!({ "serial": serial, "ttl": 3600, "refresh": 3600, "expire": 604_800, "nxDomainTtl": 300,
                          "server": "dns200.anycast.me.", "email": "tech.ovh.net." }),
            )
        }
        ("GET", ["status"]) => {
            let zone = &state.zones[name];
            (200, json!({ "isDeployed": zone.errors.is_empty(), "errors": zone.errors, "warnings": [] }))
        }
        _ => error(404, "", "Got an invalid (or empty) URL"),
    }
}

fn floor(ttl: Option<u64>) -> u32 {
    match u32::try_from(ttl.unwrap_or(0)).unwrap_or(0) {
        ttl @ 1..60 => ttl.max(60),
        other => other,
    }
}

fn with_record(state: &mut State, zone: &str, id: &str, act: impl FnOnce(u64, &mut FakeRecord) -> Answer) -> Answer {
    let record = id.parse().ok().and_then(|id: u64| {
        let record = state.zones.get_mut(zone)?.staged.get_mut(&id)?;
        Some((id, record))
    });
    record.map_or_else(|| error(404, "", "This service does not exist"), |(id, record)| act(id, record))
}

fn shown(zone: &str, record: &FakeRecord) -> Value {
    json!({ "id": record.id, "zone": zone, "fieldType": record.field_type, "subDomain": record.sub_domain,
            "target": record.target, "ttl": record.ttl })
}

/// SQL's LIKE, as OVH's documentation calls the filters, without `%`.
fn like(pattern: &str, text: &str) -> bool {
    pattern.len() == text.len() && pattern.bytes().zip(text.bytes()).all(|(p, t)| p == b'_' || p == t)
}

fn list(zone: &Zone, query: &str) -> Value {
    let url: reqwest::Url = format!("http://x/?{query}").parse().expect("a URL");
    let filter: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let matches =
        |key: &str, text: &str| filter.get(key).is_none_or(|pattern| pattern.is_empty() || like(pattern, text));
    let found = zone.staged.values();
    let found = found.filter(|r| matches("fieldType", &r.field_type) && matches("subDomain", &r.sub_domain));
    found.map(|record| record.id).collect()
}

fn create(call: &Call<'_>, state: &mut State, name: &str) -> Answer {
    let Ok(Value::Object(body)) = serde_json::from_slice(call.body) else {
        return error(400, "INVALID_SIGNATURE", "the body is no object");
    };
    let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    let (Some(field_type), Some(target)) = (text("fieldType"), text("target")) else {
        return error(400, "INVALID_SIGNATURE", "a field is missing or has a wrong type");
    };
    let sub_domain = text("subDomain").unwrap_or_default();
    let zone = state.zones.get_mut(name).expect("the zone");
    let alone = |a: &str, b: &str| a == "CNAME" || b == "CNAME";
    if zone.staged.values().any(|r| r.sub_domain == sub_domain && alone(&r.field_type, &field_type)) {
        return error(409, "", "A CNAME cannot stand beside another record");
    }
    state.next_id += 1;
    let record = FakeRecord {
        id: state.next_id,
        field_type,
        sub_domain,
        target,
        ttl: floor(body.get("ttl").and_then(Value::as_u64)),
    };
    let answer = shown(name, &record);
    zone.staged.insert(record.id, record);
    (200, answer)
}

// The nameserver.

async fn bind_dns() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("its address")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for TCP and UDP");
}

async fn serve_udp(socket: UdpSocket, state: Shared) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = resolve(&buffer[..length], &state) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(tokio::time::timeout(Duration::from_secs(10), converse(stream, Arc::clone(&state))));
    }
}

async fn converse(mut stream: TcpStream, state: Shared) -> Option<Infallible> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.ok()?;
        let answer = resolve(&message, &state)?;
        stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
        stream.write_all(&answer).await.ok()?;
    }
}

fn resolve(bytes: &[u8], state: &Shared) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    let [query] = question.queries.as_slice() else { return None };
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.add_query(query.clone());
    let state = state.lock().expect("no panic under the lock");
    let name = query.name().to_ascii().to_ascii_lowercase();
    let zone = state.zones.iter().find(|(zone, _)| {
        name.strip_suffix(&format!("{zone}.")).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    match zone {
        Some((zone, content)) => fill(&mut answer, query, &name, zone, content),
        None => answer.metadata.response_code = ResponseCode::Refused,
    }
    answer.to_vec().ok()
}

fn fill(answer: &mut Message, query: &Query, name: &str, zone: &str, content: &Zone) {
    answer.metadata.authoritative = true;
    let relative = name.strip_suffix(&format!("{zone}.")).unwrap_or_default().trim_end_matches('.');
    let at_name: Vec<_> =
        content.published.iter().filter(|record| record.sub_domain.eq_ignore_ascii_case(relative)).collect();
    let wanted = query.query_type().to_string();
    for record in &at_name {
        if record.field_type != wanted && record.field_type != "CNAME" {
            continue;
        }
        if let Some(data) = data(record, zone) {
            let ttl = if record.ttl == 0 { DEFAULT_TTL } else { record.ttl };
            answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
        }
    }
    let origin = Name::from_ascii(format!("{zone}.")).expect("the zone's name");
    let host = |label: &str| Name::from_ascii(format!("{label}.anycast.me.")).expect("a name");
    let serial = u32::try_from(content.serial).unwrap_or(u32::MAX);
    let soa = RData::SOA(rdata::SOA::new(host("dns200"), host("tech"), serial, 3600, 900, 604_800, 300));
    let soa = Record::from_rdata(origin, 3600, soa);
    if relative.is_empty() && query.query_type() == RecordType::SOA {
        answer.add_answer(soa);
    } else if answer.answers.is_empty() {
        answer.add_authority(soa);
        if at_name.is_empty() && !relative.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
    }
}

fn data(record: &FakeRecord, zone: &str) -> Option<RData> {
    let target = record.target.as_str();
    Some(match record.field_type.as_str() {
        "A" => RData::A(rdata::A(target.parse().ok()?)),
        "AAAA" => RData::AAAA(rdata::AAAA(target.parse().ok()?)),
        "CNAME" if target.ends_with('.') => RData::CNAME(rdata::CNAME(Name::from_ascii(target).ok()?)),
        "CNAME" => RData::CNAME(rdata::CNAME(Name::from_ascii(format!("{target}.{zone}.")).ok()?)),
        "TXT" => RData::TXT(rdata::TXT::new(vec![target.trim_matches('"').to_owned()])),
        _ => return None,
    })
}
