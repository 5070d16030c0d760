//! A fake of AWS Global Accelerator: accelerators with listeners, endpoint groups, tags, a status that is `IN_PROGRESS` for a while
//! after each update, and access keys with rights.
//!
//! It shares no code with the client under test; boto3 passes against it and holds its answers to AWS' own model of the API
//! (`tests/boto3_accelerator_check.py`).
#![allow(dead_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

use crate::fake_http::{Call, FakeHttp, Reply};

pub const ACCOUNT: &str = "123456789012";
pub const KEY: &str = "test";
pub const SECRET: &str = "shown-to-nobody";
/// The accelerator that begins with two listeners.
pub const ACCELERATOR: &str = "1234abcd-abcd-1234-abcd-1234abcdefab";
/// Its groups are at 100, 0 and 0.
pub const LISTENER: &str = "0123abcd";
/// None of its groups takes traffic.
pub const IDLE: &str = "4567ef01";
pub const REGIONS: [&str; 3] = ["eu-west-3", "us-east-1", "ap-southeast-2"];

const TARGET: &str = "GlobalAccelerator_V20180706.";
/// More accelerators than a page of the fake has, so that the one that is looked for is not on the first.
const OTHERS: usize = 5;

/// An endpoint group; what Quorate has no business with is here to be seen unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeGroup {
    pub arn: String,
    pub region: String,
    pub dial: f64,
    pub port: u64,
    pub endpoint: String,
    pub weight: u64,
}

struct State {
    /// By ARN; the value is for how many more questions it is `IN_PROGRESS`.
    accelerators: BTreeMap<String, usize>,
    /// By the listener's ARN.
    listeners: BTreeMap<String, Vec<FakeGroup>>,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    denied: BTreeSet<String>,
    key: &'static str,
    /// For how many questions an update is under way.
    deploying: usize,
    /// What takes traffic at [`LISTENER`] after each update.
    history: Vec<Vec<String>>,
    /// The most entries that a page has, whatever is asked for.
    page: usize,
}

/// The running fake; it stops when dropped.
pub struct FakeAccelerator {
    http: FakeHttp,
    state: Arc<Mutex<State>>,
}

pub fn arn(accelerator: &str) -> String {
    format!("arn:aws:globalaccelerator::{ACCOUNT}:accelerator/{accelerator}")
}

pub fn listener_arn(listener: &str) -> String {
    format!("{}/listener/{listener}", arn(ACCELERATOR))
}

/// A refusal: status, exception, message.
type Refusal = (u16, &'static str, String);

impl FakeAccelerator {
    /// Starts with [`ACCELERATOR`], its two listeners and accelerators that are nobody's business.
    pub async fn start() -> Self {
        let group = |listener: &str, i: usize, dial: f64| FakeGroup {
            arn: format!("{}/endpoint-group/{i:012x}", listener_arn(listener)),
            region: REGIONS[i].to_owned(),
            dial,
            port: 443,
            endpoint: format!("eipalloc-{i:017x}"),
            weight: 128,
        };
        let groups =
            |listener: &str, first| (0..3).map(|i| group(listener, i, if i == 0 { first } else { 0.0 })).collect();
        let mut accelerators: BTreeMap<_, _> = (0..OTHERS).map(|i| (arn(&format!("0000000{i}-0000")), 0)).collect();
        accelerators.insert(arn(ACCELERATOR), 0);
        let listeners = [(LISTENER, 100.0), (IDLE, 0.0)];
        let state = Arc::new(Mutex::new(State {
            accelerators,
            listeners: listeners.into_iter().map(|(id, first)| (listener_arn(id), groups(id, first))).collect(),
            tags: [(arn(ACCELERATOR), [("team".to_owned(), "web".to_owned())].into())].into(),
            denied: BTreeSet::new(),
            key: "active",
            deploying: 2,
            history: vec![],
            page: 2,
        }));
        let shared = Arc::clone(&state);
        let http = FakeHttp::start(move |call| {
            let mut state = shared.lock().expect("no panic under the lock");
            match answer(call, &mut state) {
                Ok(Some(body)) => reply(200, &body.to_string()),
                Ok(None) => reply(200, ""),
                Err((status, exception, message)) => {
                    reply(status, &json!({ "__type": exception, "Message": message }).to_string())
                }
            }
        })
        .await;
        Self { http, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.http.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.http.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    pub fn groups(&self, listener: &str) -> Vec<FakeGroup> {
        self.state().listeners[&listener_arn(listener)].clone()
    }

    /// The regions that take traffic at [`LISTENER`], sorted, with the dial where it is not 100.
    pub fn open(&self) -> Vec<String> {
        open(&self.state())
    }

    /// Turns a dial as a person does in the console.
    pub fn turn(&self, region: &str, dial: f64) {
        let mut state = self.state();
        let groups = state.listeners.get_mut(&listener_arn(LISTENER)).expect("the listener");
        groups.iter_mut().find(|group| group.region == region).expect("the group").dial = dial;
    }

    /// A tag of the accelerator.
    pub fn tag(&self, key: &str) -> Option<String> {
        self.state().tags.get(&arn(ACCELERATOR))?.get(key).cloned()
    }

    pub fn set_tag(&self, key: &str, value: Option<&str>) {
        let mut state = self.state();
        let tags = state.tags.entry(arn(ACCELERATOR)).or_default();
        match value {
            Some(value) => drop(tags.insert(key.to_owned(), value.to_owned())),
            None => drop(tags.remove(key)),
        }
    }

    /// Takes the right to make this call away.
    pub fn deny(&self, operation: &str) {
        self.state().denied.insert(operation.to_owned());
    }

    /// `active`, `expired` or `unknown`.
    pub fn set_key(&self, key: &'static str) {
        self.state().key = key;
    }

    /// For how many questions an update is `IN_PROGRESS`.
    pub fn set_deploying(&self, questions: usize) {
        self.state().deploying = questions;
    }

    /// What took traffic after each update since the last time.
    pub fn take_history(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.state().history)
    }
}

fn open(state: &State) -> Vec<String> {
    let groups = state.listeners[&listener_arn(LISTENER)].iter().filter(|group| group.dial > 0.0);
    let member = |group: &FakeGroup| match group.dial {
        dial if dial >= 100.0 => group.region.clone(),
        dial => format!("{}@{dial}", group.region),
    };
    let mut open: Vec<_> = groups.map(member).collect();
    open.sort();
    open
}

fn reply(status: u16, body: &str) -> Reply {
    let headers = vec![
        ("content-type", "application/x-amz-json-1.1".to_owned()),
        ("x-amzn-requestid", "00000000-fake-4000-8000-000000000000".to_owned()),
    ];
    Reply { status, headers, body: body.to_owned() }
}

/// Who is asking and may they; then what.
fn answer(call: &Call, state: &mut State) -> Result<Option<Value>, Refusal> {
    let refuse = |exception, message: &str| Err((400, exception, message.to_owned()));
    let Some(operation) = call.header("x-amz-target").strip_prefix(TARGET) else {
        return refuse("UnknownOperationException", "no such target");
    };
    if call.method != "POST" || call.path != "/" || call.header("content-type") != "application/x-amz-json-1.1" {
        return refuse("SerializationException", "this is not the JSON 1.1 protocol");
    }
    let credential = call.header("authorization").split_once("Credential=").map_or("", |(_, rest)| rest);
    let mut scope = credential.split([',', ' ']).next().unwrap_or_default().split('/');
    let (key, _, region, service) = (scope.next(), scope.next(), scope.next(), scope.next());
    if (region, service) != (Some("us-west-2"), Some("globalaccelerator")) {
        return refuse("InvalidSignatureException", "Credential should be scoped to a valid region and service.");
    }
    match (key, state.key) {
        (Some(KEY), "active") => {}
        (Some(KEY), "expired") => return refuse("ExpiredTokenException", "The security token is expired"),
        _ => return refuse("UnrecognizedClientException", "The security token included in the request is invalid."),
    }
    if state.denied.contains(operation) {
        let message = format!("User is not authorized to perform: globalaccelerator:{operation}");
        return Err((400, "AccessDeniedException", message));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&call.body) else {
        return refuse("SerializationException", "this is no JSON");
    };
    match operation {
        "ListAccelerators" => {
            let all: Vec<_> = state.accelerators.iter().map(|(arn, pending)| accelerator(arn, *pending)).collect();
            page(&body, state.page, "Accelerators", all).map(Some)
        }
        "DescribeAccelerator" => describe(&body, state).map(Some),
        "ListEndpointGroups" => {
            let listener = text(&body, "ListenerArn")?;
            let Some(groups) = state.listeners.get(listener) else {
                return refuse("ListenerNotFoundException", listener);
            };
            page(&body, state.page, "EndpointGroups", groups.iter().map(endpoint_group).collect()).map(Some)
        }
        "UpdateEndpointGroup" => update(&body, state).map(Some),
        "ListTagsForResource" => {
            let tags = state.tags.get(known(text(&body, "ResourceArn")?, state)?);
            let tags = tags.into_iter().flatten().map(|(key, value)| json!({ "Key": key, "Value": value }));
            Ok(Some(json!({ "Tags": tags.collect::<Vec<_>>() })))
        }
        "TagResource" => tag(&body, state).map(|()| None),
        _ => refuse("UnknownOperationException", operation),
    }
}

fn text<'b>(body: &'b Value, key: &str) -> Result<&'b str, Refusal> {
    body[key]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| (400, "ValidationException", format!("{key} is missing")))
}

/// Only accelerators have tags.
fn known<'a>(arn: &'a str, state: &State) -> Result<&'a str, Refusal> {
    let there = state.accelerators.contains_key(arn);
    if there { Ok(arn) } else { Err((400, "AcceleratorNotFoundException", arn.to_owned())) }
}

fn page(body: &Value, most: usize, key: &str, all: Vec<Value>) -> Result<Value, Refusal> {
    let asked = body["MaxResults"].as_u64().unwrap_or(10);
    if !(1..=100).contains(&asked) {
        return Err((400, "ValidationException", "MaxResults must be 1 to 100".to_owned()));
    }
    let from = match body["NextToken"].as_str() {
        None => 0,
        Some(token) => match token.strip_prefix("from-").and_then(|from| from.parse().ok()) {
            Some(from) => from,
            None => return Err((400, "InvalidNextTokenException", token.to_owned())),
        },
    };
    let size = most.min(usize::try_from(asked).unwrap_or(most));
    let mut answer = json!({ key: all.iter().skip(from).take(size).collect::<Vec<_>>() });
    if from + size < all.len() {
        answer["NextToken"] = json!(format!("from-{}", from + size));
    }
    Ok(answer)
}

fn describe(body: &Value, state: &mut State) -> Result<Value, Refusal> {
    let arn = known(text(body, "AcceleratorArn")?, state)?;
    let pending = state.accelerators.get_mut(arn).expect("it is known");
    let answer = json!({ "Accelerator": accelerator(arn, *pending) });
    *pending = pending.saturating_sub(1);
    Ok(answer)
}

fn accelerator(arn: &str, pending: usize) -> Value {
    json!({
        "AcceleratorArn": arn, "Name": "web", "IpAddressType": "IPV4", "Enabled": true,
        "IpSets": [{ "IpFamily": "IPv4", "IpAddresses": ["192.0.2.250", "198.51.100.52"], "IpAddressFamily": "IPv4" }],
        "DnsName": "a1234567890abcdef.awsglobalaccelerator.com",
        "Status": if pending > 0 { "IN_PROGRESS" } else { "DEPLOYED" },
        "CreatedTime": 1_542_394_847.0, "LastModifiedTime": 1_542_395_013.0,
    })
}

fn endpoint_group(group: &FakeGroup) -> Value {
    json!({
        "EndpointGroupArn": group.arn, "EndpointGroupRegion": group.region, "TrafficDialPercentage": group.dial,
        "EndpointDescriptions": [{ "EndpointId": group.endpoint, "Weight": group.weight, "HealthState": "HEALTHY" }],
        "HealthCheckPort": group.port, "HealthCheckProtocol": "TCP", "HealthCheckIntervalSeconds": 30, "ThresholdCount": 3,
    })
}

/// Only what is named changes.
fn update(body: &Value, state: &mut State) -> Result<Value, Refusal> {
    let arn = text(body, "EndpointGroupArn")?;
    let group = state.listeners.values_mut().flatten().find(|group| group.arn == arn);
    let Some(group) = group else { return Err((400, "EndpointGroupNotFoundException", arn.to_owned())) };
    if !body["TrafficDialPercentage"].is_null() {
        let dial = body["TrafficDialPercentage"].as_f64().filter(|dial| (0.0..=100.0).contains(dial));
        group.dial = dial.ok_or((400, "InvalidArgumentException", "a dial is 0 to 100".to_owned()))?;
    }
    if let Some(port) = body["HealthCheckPort"].as_u64() {
        group.port = port;
    }
    let answer = json!({ "EndpointGroup": endpoint_group(group) });
    let accelerator = arn.split("/listener/").next().unwrap_or_default();
    state.accelerators.insert(accelerator.to_owned(), state.deploying);
    let open = open(state);
    state.history.push(open);
    Ok(answer)
}

fn tag(body: &Value, state: &mut State) -> Result<(), Refusal> {
    let arn = known(text(body, "ResourceArn")?, state)?;
    let mut new = BTreeMap::new();
    for tag in body["Tags"].as_array().ok_or((400, "ValidationException", "Tags is missing".to_owned()))? {
        let (key, value) = (text(tag, "Key")?, tag["Value"].as_str().unwrap_or_default());
        let word = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
        if key.len() > 128 || value.len() > 256 || !(key.chars().chain(value.chars()).all(word)) {
            return Err((400, "InvalidArgumentException", format!("{key}={value} is no tag")));
        }
        new.insert(key.to_owned(), value.to_owned());
    }
    let tags = state.tags.entry(arn.to_owned()).or_default();
    tags.extend(new);
    if tags.len() > 50 { Err((400, "LimitExceededException", "50 tags".to_owned())) } else { Ok(()) }
}
