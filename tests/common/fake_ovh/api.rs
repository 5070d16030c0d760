//! The fake's API: signatures, rights, records, faults.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::net::TcpListener;

use super::{
    APPLICATION_KEY, APPLICATION_SECRET, CLIENT_ID, CLIENT_SECRET, CONSUMER_KEY, FakeRecord, Fault, Shared, State,
    Zone, publish,
};

/// By how many seconds a timestamp may be off.
const SKEW_LIMIT: i64 = 30;

/// An answer in the making: status, JSON.
pub(super) type Answer = (u16, Value);

pub async fn serve(listener: TcpListener, state: Shared) {
    while let Ok((stream, peer)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, peer.ip(), Arc::clone(&state)));
            // An error here is a connection that a fault closed, or a client that went away.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(request: Request<Incoming>, caller: IpAddr, state: Shared) -> Result<Response<Full<Bytes>>, io::Error> {
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
        authorization: header("authorization"),
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
    let carry_out = || {
        let mut state = state.lock().expect("no panic under the lock");
        state.caller = caller;
        answer(&call, &mut state)
    };
    let html = |status, applied: bool| {
        if applied {
            drop(carry_out());
        }
        Ok(respond(status, "text/html", "<html><h1>Request timeout</h1></html>".into(), None))
    };
    match fault {
        None | Some(Fault::Pass) => {
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
        Some(Fault::Switch { server, active }) => {
            let mut locked = state.lock().expect("no panic under the lock");
            let mut farms = locked.balancers.values_mut().flat_map(|balancer| balancer.staged.values_mut());
            let server = farms.find_map(|farm| farm.servers.get_mut(&server)).expect("the server");
            server.active = active;
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

pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
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

pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    url: String,
    url_without_port: String,
    path: &'a str,
    pub(super) query: &'a str,
    pub(super) body: &'a [u8],
    authorization: &'a str,
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
    if call.path == "/auth/oauth2/token" && call.method == Method::POST {
        return grant(call, state);
    }
    if let Err(refusal) = authorise(call, state) {
        return refusal;
    }
    if call.path == "/auth/currentCredential" && call.method == Method::GET {
        return current_credential(state);
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
        ["ipLoadbalancing"] => (200, state.balancers.keys().cloned().collect()),
        ["ipLoadbalancing", name, rest @ ..] if state.balancers.contains_key(*name) => {
            state.balancers.get_mut(*name).expect("it was found").answer(call, name, rest)
        }
        _ => error(404, "", "The requested object does not exist"),
    }
}

/// A token for the client of a service account (RFC 6749 §4.4), who proves itself in the form or with HTTP Basic.
fn grant(call: &Call<'_>, state: &mut State) -> Answer {
    let form = String::from_utf8_lossy(call.body);
    let has = |pair: &str| form.split('&').any(|part| part == pair);
    // fake-client:fake-client-secret
    let basic = call.authorization == "Basic ZmFrZS1jbGllbnQ6ZmFrZS1jbGllbnQtc2VjcmV0";
    let known = basic || (has(&format!("client_id={CLIENT_ID}")) && has(&format!("client_secret={CLIENT_SECRET}")));
    if !known {
        return (401, json!({ "error": "invalid_client", "error_description": "Client authentication failed" }));
    }
    if !has("grant_type=client_credentials") || !has("scope=all") {
        return (400, json!({ "error": "invalid_request", "error_description": "grant_type or scope" }));
    }
    state.next_id += 1;
    state.token = Some(format!("fake-token-{}", state.next_id));
    (200, json!({ "access_token": state.token, "token_type": "Bearer", "expires_in": 3599, "scope": "all" }))
}

fn authorise(call: &Call<'_>, state: &State) -> Result<(), Answer> {
    if let Some(token) = call.authorization.strip_prefix("Bearer ") {
        let known = state.token.as_deref() == Some(token);
        return if known { Ok(()) } else { Err(error(401, "", "Invalid or expired token")) };
    }
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
    // Any key may read itself.
    if call.path == "/auth/currentCredential" && state.reads_itself {
        return Ok(());
    }
    let granted = state.grants.iter().any(|(method, pattern)| {
        method == call.method.as_str()
            && pattern.strip_suffix('*').map_or(call.path == pattern, |prefix| call.path.starts_with(prefix))
    });
    if granted { Ok(()) } else { Err(error(403, "NOT_GRANTED_CALL", "This call has not been granted")) }
}

fn current_credential(state: &State) -> Answer {
    let rules: Vec<Value> =
        state.grants.iter().map(|(method, path)| json!({ "method": method, "path": path })).collect();
    (
        200,
        json!({ "credentialId": 4711, "applicationId": 815, "status": state.credential_status, "ovhSupport": false,
                "allowedIPs": null, "creation": "2026-01-01T00:00:00+01:00", "lastUse": "2026-01-02T00:00:00+01:00",
                "expiration": null, "rules": rules }),
    )
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
