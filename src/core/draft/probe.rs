//! The rules for probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    MAX_PROBES, MAX_VALUES, Path, ProbeDraft, QueryDraft, StatusDraft,
    problem::{Findings, Human},
    record::Records,
    region, url,
};
use crate::core::{
    record::{DomainName, RecordType, RecordValue},
    service::{Check, DnsCheck, DynamodbCheck, GrpcCheck, HttpCheck, Probe, Scalar, Target, TcpCheck, Tls},
};

/// From one probe to the next when nothing is written.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
/// How long an answer may take when nothing is written and the interval leaves room for it.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const INTERVALS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(5));
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_VALIDITY: Duration = Duration::from_hours(366 * 24);
/// The longest text that is compared or sent, in bytes.
const MAX_TEXT: usize = 4096;
/// How many JSON pointers, headers or status ranges one probe may compare.
const MAX_MATCHES: usize = 32;
const MAX_REDIRECTS: u8 = 10;

/// Where a check connects to, if the service file says so.
pub(super) fn target(check: &Check) -> Option<&Target> {
    match check {
        Check::Http(check) => Some(&check.target),
        Check::Tcp(check) => Some(&check.target),
        Check::Dns(check) => Some(&check.target),
        Check::Grpc(check) => Some(&check.target),
        Check::Dynamodb(_) => None,
    }
}

pub(super) fn validate(
    list: &Path,
    drafts: &[ProbeDraft],
    records: &Records,
    found: &mut Findings,
) -> Option<Vec<Probe>> {
    if drafts.is_empty() {
        found.problem(list, "the region has no probe: nobody could tell whether it is up").hint =
            Some("add probe = { http = \"https://…\" }, or tcp, dns, grpc or dynamodb".to_owned());
    }
    if drafts.len() > MAX_PROBES {
        found.problem(list, format!("{} probes are more than the {MAX_PROBES} that a region may have", drafts.len()));
    }
    let before = found.count();
    let mut probes: Vec<Probe> = Vec::new();
    for (i, draft) in drafts.iter().enumerate().take(MAX_PROBES) {
        let at = list.index(i);
        let Some(probe) = one(&at, draft, found) else { continue };
        if let Some(target) = target(&probe.check) {
            asks_the_region_itself(&at, draft, target, records, found);
        }
        if let Some(j) = probes.iter().position(|earlier| earlier.check == probe.check) {
            found.problem(&at, "the region has this probe already").because = vec![list.index(j)];
        }
        probes.push(probe);
    }
    (found.count() == before && !probes.is_empty()).then_some(probes)
}

pub(super) fn one(at: &Path, draft: &ProbeDraft, found: &mut Findings) -> Option<Probe> {
    let (interval, timeout) = times(at, draft, found);
    let check = check(at, draft, found)?;
    Some(Probe { interval, timeout, check })
}

fn times(at: &Path, draft: &ProbeDraft, found: &mut Findings) -> (Duration, Duration) {
    let (low, high) = INTERVALS;
    let interval = found.span(&at.key("interval"), draft.interval, DEFAULT_INTERVAL, low, high);
    let timeout_at = at.key("timeout");
    let timeout = draft.timeout.unwrap_or(DEFAULT_TIMEOUT.min(interval / 2));
    if timeout < MIN_TIMEOUT {
        found.problem(&timeout_at, format!("{} is less than {}", Human(timeout), Human(MIN_TIMEOUT)));
    } else if timeout >= interval {
        let written = if draft.interval.is_some() { "" } else { " (the default)" };
        let message = format!(
            "the timeout of {} is not less than the interval of {}{written}: probes would pile up",
            Human(timeout),
            Human(interval),
        );
        let problem = found.problem(&timeout_at, message);
        problem.hint = Some(format!("use {} or less, or a longer interval", Human(interval / 2)));
        problem.because = vec![at.key("interval")];
    }
    (interval, timeout)
}

/// A probe through a name that fails over asks whichever region is active, so that it passes for one that is dead and fails
/// for all once the active one is.
fn asks_the_region_itself(at: &Path, draft: &ProbeDraft, target: &Target, records: &Records, found: &mut Findings) {
    if records.names().any(|name| name.as_str() == target.host) {
        let (key, _) = kind(draft);
        let message =
            format!("`{}` is the name that fails over: the probe would ask whichever region is active", target.host);
        let problem = found.problem(&at.key(key), message);
        problem.hint = Some("ask the region's own address, and set `host` to the name".to_owned());
        problem.because = vec![Path::default().key("record")];
    }
}

/// The key that says of which kind a probe is, and its text.
fn kind(draft: &ProbeDraft) -> (&'static str, Option<&str>) {
    let kinds = [("http", &draft.http), ("tcp", &draft.tcp), ("dns", &draft.dns), ("grpc", &draft.grpc)];
    if draft.dynamodb.is_some() {
        return ("dynamodb", Some(""));
    }
    kinds.into_iter().find_map(|(key, text)| Some((key, Some(text.as_deref()?)))).unwrap_or(("http", None))
}

fn check(at: &Path, draft: &ProbeDraft, found: &mut Findings) -> Option<Check> {
    let texts = [&draft.http, &draft.tcp, &draft.dns, &draft.grpc].map(Option::is_some);
    let kinds = texts.into_iter().chain([draft.dynamodb.is_some()]);
    let (key, Some(text)) = kind(draft) else {
        let problem = found.problem(at, "the probe does not say what to ask");
        problem.hint = Some("give it one of http, tcp, dns, grpc and dynamodb".to_owned());
        problem.because = ["http", "tcp", "dns", "grpc", "dynamodb"].map(|key| at.key(key)).to_vec();
        return None;
    };
    if kinds.filter(|given| *given).count() > 1 {
        found.problem(at, "a probe asks one thing: give it one of http, tcp, dns, grpc and dynamodb").hint =
            Some("use a list of probes for several: probe = [{ … }, { … }]".to_owned());
        return None;
    }
    let before = found.count();
    refuse_foreign_keys(at, key, draft, found);
    let check = match key {
        "http" => http(at, draft, text, found).map(Check::Http),
        "tcp" => tcp(at, draft, text, found).map(Check::Tcp),
        "dns" => dns(at, draft, text, found).map(Check::Dns),
        "dynamodb" => dynamodb(at, draft, found).map(Check::Dynamodb),
        _ => grpc(at, draft, text, found).map(Check::Grpc),
    };
    check.filter(|_| found.count() == before)
}

/// A key of another kind of probe would be ignored in silence.
fn refuse_foreign_keys(at: &Path, kind: &str, draft: &ProbeDraft, found: &mut Findings) {
    const HTTP: &[&str] = &["http"];
    const TLS: &[&str] = &["http", "grpc"];
    let keys = [
        ("host", HTTP, draft.host.is_some()),
        ("sni", TLS, draft.sni.is_some()),
        ("insecure", TLS, draft.insecure.is_some()),
        ("min_cert_validity", TLS, draft.min_cert_validity.is_some()),
        ("method", HTTP, draft.method.is_some()),
        ("status", HTTP, draft.status.is_some()),
        ("json", HTTP, !draft.json.is_empty()),
        ("headers", HTTP, !draft.headers.is_empty()),
        ("body", HTTP, draft.body.is_some()),
        ("redirects", HTTP, draft.redirects.is_some()),
        ("send", &["tcp"], draft.send.is_some()),
        ("expect", &["tcp"], draft.expect.is_some()),
        ("query", &["dns"], draft.query.is_some()),
        ("service", &["grpc"], draft.service.is_some()),
    ];
    for (key, kinds, given) in keys {
        if given && !kinds.contains(&kind) {
            found.problem(&at.key(key), format!("`{key}` means nothing to a {kind} probe"));
        }
    }
}

fn parsed<T>(at: &Path, result: Result<T, String>, found: &mut Findings) -> Option<T> {
    result.map_err(|message| found.problem(at, message)).ok()
}

fn text(at: &Path, written: Option<&String>, found: &mut Findings) -> Option<String> {
    let text = written?;
    if text.is_empty() {
        found.problem(at, "an empty text matches everything: leave it out");
    } else if text.len() > MAX_TEXT {
        found.problem(at, format!("longer than {MAX_TEXT} bytes"));
    }
    Some(text.clone())
}

fn http(at: &Path, draft: &ProbeDraft, text_of: &str, found: &mut Findings) -> Option<HttpCheck> {
    let url = parsed(&at.key("http"), url::parse(text_of), found);
    let host = draft.host.as_ref().and_then(|host| {
        let target = parsed(&at.key("host"), url::target(host, Some(0)), found)?;
        Some((host.clone(), target.host))
    });
    let method = draft.method.clone().unwrap_or_else(|| "GET".to_owned());
    if method != "GET" && method != "HEAD" {
        found.problem(&at.key("method"), format!("`{}` is not a method of probes: use GET or HEAD", cut(&method)));
    }
    let body = text(&at.key("body"), draft.body.as_ref(), found);
    for (key, given) in [("json", !draft.json.is_empty()), ("body", body.is_some())] {
        if given && method == "HEAD" {
            found.problem(&at.key(key), "the answer to HEAD has no body").because = vec![at.key("method")];
        }
    }
    let check = HttpCheck {
        statuses: statuses(&at.key("status"), draft.status.as_deref(), found),
        json: json(&at.key("json"), &draft.json, found),
        headers: headers(&at.key("headers"), &draft.headers, found),
        redirects: found.number(&at.key("redirects"), draft.redirects, 0, 0, MAX_REDIRECTS),
        tls: tls(at, "http", draft, url.as_ref(), host.as_ref().map(|(_, name)| name.as_str()), found),
        host: host.map(|(host, _)| host),
        method,
        body,
        path: String::new(),
        target: Target { host: String::new(), port: 0 },
    };
    let url = url?;
    Some(HttpCheck { target: url.target, path: url.path, ..check })
}

/// TLS is spoken to https only; its keys elsewhere would be ignored in silence.
fn tls(
    at: &Path,
    key: &str,
    draft: &ProbeDraft,
    url: Option<&url::Url>,
    host: Option<&str>,
    found: &mut Findings,
) -> Option<Tls> {
    let sni = draft.sni.as_ref().and_then(|name| parsed(&at.key("sni"), url::host(name), found));
    let zero = Duration::ZERO;
    let min_validity = found.span(&at.key("min_cert_validity"), draft.min_cert_validity, zero, zero, MAX_VALIDITY);
    let url = url?;
    if !url.tls {
        let given = [
            ("sni", draft.sni.is_some()),
            ("insecure", draft.insecure == Some(true)),
            ("min_cert_validity", draft.min_cert_validity.is_some()),
        ];
        for (option, _) in given.into_iter().filter(|(_, given)| *given) {
            found.problem(&at.key(option), format!("`{option}` needs an https URL")).because = vec![at.key(key)];
        }
        return None;
    }
    let insecure = draft.insecure.unwrap_or(false);
    let server_name = sni.or_else(|| host.map(str::to_owned));
    if insecure {
        found.warn(&at.key("insecure"), "whoever answers at this address is believed: the certificate is not verified");
    } else if server_name.is_none() && url.target.host.parse::<std::net::IpAddr>().is_ok() {
        let message = format!("the certificate must be valid for the address {}: set `host` or `sni`", url.target.host);
        found.warn(&at.key(key), message);
    }
    Some(Tls { server_name: server_name.unwrap_or_else(|| url.target.host.clone()), insecure, min_validity })
}

fn statuses(at: &Path, drafts: Option<&[StatusDraft]>, found: &mut Findings) -> BTreeSet<u16> {
    let Some(drafts) = drafts else { return BTreeSet::from([200]) };
    if drafts.is_empty() {
        found.problem(at, "no status would ever pass");
    }
    if drafts.len() > MAX_MATCHES {
        found.problem(at, format!("more than {MAX_MATCHES} codes or ranges"));
    }
    let mut statuses = BTreeSet::new();
    for (i, draft) in drafts.iter().enumerate().take(MAX_MATCHES) {
        let range = match draft {
            StatusDraft::Code(code) => u16::try_from(*code).ok().map(|code| code..=code),
            StatusDraft::Range(text) => status_range(text),
        };
        match range.filter(|range| range.start() <= range.end() && *range.start() >= 100 && *range.end() <= 599) {
            Some(range) => statuses.extend(range),
            None => {
                found.problem(&at.index(i), "this is no status: write 204, \"2xx\" or \"200-204\" (100 to 599)");
            }
        }
    }
    statuses
}

fn status_range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    if let Some(class) = text.strip_suffix("xx") {
        let low = number(class).filter(|class| (1..=5).contains(class))? * 100;
        return Some(low..=low + 99);
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some(number(low)?..=number(high)?)
}

/// RFC 6901: empty for the whole, else `/`-separated; `~` only as `~0` or `~1`.
fn json(at: &Path, drafts: &BTreeMap<String, Scalar>, found: &mut Findings) -> BTreeMap<String, Scalar> {
    if drafts.len() > MAX_MATCHES {
        found.problem(at, format!("more than {MAX_MATCHES} JSON pointers"));
    }
    for pointer in drafts.keys().take(MAX_MATCHES) {
        let escapes_ok = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if !(pointer.is_empty() || pointer.starts_with('/')) || !escapes_ok {
            let problem =
                found.problem(&at.key(pointer), format!("`{}` is not a JSON pointer (RFC 6901)", cut(pointer)));
            problem.hint = Some("write \"/status\" for the field `status`".to_owned());
        }
    }
    drafts.clone()
}

/// Header names in lower case (RFC 9110 §5.1: they compare without regard to case).
fn headers(at: &Path, drafts: &BTreeMap<String, String>, found: &mut Findings) -> BTreeMap<String, String> {
    if drafts.len() > MAX_MATCHES {
        found.problem(at, format!("more than {MAX_MATCHES} headers"));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in drafts.iter().take(MAX_MATCHES) {
        let at = at.key(name);
        let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
            found.problem(&at, format!("`{}` is not the name of a header", cut(name)));
        } else if !value.bytes().all(|c| c == b'\t' || (b' '..=b'~').contains(&c)) || value.len() > MAX_TEXT {
            found.problem(&at, "a header's value is one line of ASCII");
        } else if headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()).is_some() {
            found.problem(&at, format!("`{name}` is there already in other letters"));
        }
    }
    headers
}

fn tcp(at: &Path, draft: &ProbeDraft, target: &str, found: &mut Findings) -> Option<TcpCheck> {
    let target = parsed(&at.key("tcp"), url::target(target, None), found);
    let send = text(&at.key("send"), draft.send.as_ref(), found);
    let expect = text(&at.key("expect"), draft.expect.as_ref(), found);
    Some(TcpCheck { target: target?, send, expect })
}

fn dns(at: &Path, draft: &ProbeDraft, target: &str, found: &mut Findings) -> Option<DnsCheck> {
    let target = parsed(&at.key("dns"), url::target(target, Some(53)), found);
    let at = at.key("query");
    let Some(QueryDraft { name, rtype, values: texts }) = &draft.query else {
        found.problem(&at, "`query` is missing").hint =
            Some("add query = { name = \"app.example.com\", type = \"A\" }".to_owned());
        return None;
    };
    let name = found.required::<DomainName>(&at.key("name"), name.as_deref());
    let rtype = rtype.as_deref().map_or(Some(RecordType::A), |text| found.parsed(&at.key("type"), text));
    if rtype.is_some_and(|rtype| !rtype.is_in_dns()) {
        found.problem(&at.key("type"), "no nameserver answers for a POOL").hint =
            Some("use A, AAAA or CNAME".to_owned());
        return None;
    }
    let values_at = at.key("values");
    if texts.len() > MAX_VALUES {
        found.problem(&values_at, format!("more than {MAX_VALUES} values"));
    }
    let mut values = BTreeSet::new();
    for (i, text) in texts.iter().enumerate().take(MAX_VALUES) {
        match rtype.map(|rtype| RecordValue::parse(rtype, text)) {
            Some(Ok(RecordValue::Alias(alias))) => {
                found.problem(&values_at.index(i), format!("{alias} is nothing that a nameserver answers with"));
            }
            Some(Ok(value)) => drop(values.insert(value)),
            Some(Err(error)) => drop(found.problem(&values_at.index(i), error.to_string())),
            None => {}
        }
    }
    Some(DnsCheck { target: target?, name: name?, rtype: rtype?, values })
}

fn grpc(at: &Path, draft: &ProbeDraft, text: &str, found: &mut Findings) -> Option<GrpcCheck> {
    let key = at.key("grpc");
    let url = parsed(&key, url::parse(text), found);
    if url.as_ref().is_some_and(|url| url.path != "/") {
        found.problem(&key, "a gRPC server is named without a path").hint =
            Some("the service asked for goes into `service`".to_owned());
    }
    let tls = tls(at, "grpc", draft, url.as_ref(), None, found);
    let service = draft.service.clone().unwrap_or_default();
    if !service.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-/".contains(&c)) || service.len() > 255 {
        found.problem(&at.key("service"), "this is not the name of a gRPC service such as shop.v1.Cart");
    }
    Some(GrpcCheck { target: url?.target, tls, service })
}

/// The limits of keys are those of DynamoDB: names and texts of 1 to 255 bytes here, which is what a probe needs.
fn dynamodb(at: &Path, draft: &ProbeDraft, found: &mut Findings) -> Option<DynamodbCheck> {
    let draft = draft.dynamodb.as_ref()?;
    let at = at.key("dynamodb");
    let table = region::dynamodb(&at, &draft.at, found);
    let at = at.key("key");
    if draft.key.is_empty() || draft.key.len() > 2 {
        found.problem(&at, "the probe reads one item: give its whole key").hint =
            Some("write key = { pk = \"…\" }, with the names of the table's keys".to_owned());
    }
    for (name, value) in draft.key.iter().take(2) {
        let at = at.key(name);
        let text_fits = |text: &String| (1..=255).contains(&text.len());
        if !text_fits(name) {
            found.problem(&at, "the name of a key has 1 to 255 bytes");
        }
        match value {
            Scalar::Text(text) if text_fits(text) => {}
            Scalar::Integer(_) => {}
            Scalar::Text(_) | Scalar::Bool(_) => {
                found.problem(&at, "a key is a text of 1 to 255 bytes, or a whole number");
            }
        }
    }
    Some(DynamodbCheck { table: table?, key: draft.key.clone() })
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
