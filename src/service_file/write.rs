//! Writes a service as a file again: every default spelled out, nothing relative.

use std::time::Duration;

use toml::{Table, Value};

use crate::core::{
    record::Record,
    service::{
        Check, DriftPolicy, Failback, GateUnknown, HttpCheck, Policy, Probe, Quorum, Region, Scalar, Service, Target,
        Tls,
    },
};

/// The file that [`super::parse`] reads as this very service.
#[must_use]
pub fn write(service: &Service) -> String {
    let file = Table::new()
        .with("name", service.name.to_string())
        .with("record", service.records.iter().map(record).collect::<Vec<_>>())
        .with("region", service.regions.iter().map(region).collect::<Vec<_>>())
        .with("policy", policy(&service.policy));
    file.to_string()
}

/// Builds a table in one expression.
trait With: Sized {
    fn with(self, key: &str, value: impl Into<Value>) -> Self;

    fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

impl With for Table {
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.insert(key.to_owned(), value.into());
        self
    }
}

fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

fn texts(texts: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    texts.into_iter().map(|text| text.to_string()).collect()
}

fn record(record: &Record) -> Table {
    Table::new()
        .with("provider", record.provider.to_string())
        .with("zone", record.zone.to_string())
        .with("name", format!("{}.", record.name))
        .with("type", record.rtype.to_string())
        .with("ttl", record.ttl)
}

fn region(region: &Region) -> Table {
    let values: Table = region.values.iter().map(|(rtype, values)| (rtype.to_string(), texts(values).into())).collect();
    let dynamodb = region
        .dynamodb
        .as_ref()
        .map(|at| Table::new().with("table", at.table.clone()).with("region", at.region.clone()));
    Table::new()
        .with("name", region.name.to_string())
        .with_some("dynamodb", dynamodb)
        .with("values", values)
        .with("probe", region.probes.iter().map(probe).collect::<Vec<_>>())
}

fn probe(probe: &Probe) -> Table {
    let check = match &probe.check {
        Check::Http(check) => http(check),
        Check::Tcp(check) => Table::new()
            .with("tcp", authority(&check.target))
            .with_some("send", check.send.clone())
            .with_some("expect", check.expect.clone()),
        Check::Dns(check) => {
            let query = Table::new()
                .with("name", check.name.to_string())
                .with("type", check.rtype.to_string())
                .with("values", texts(&check.values));
            Table::new().with("dns", authority(&check.target)).with("query", query)
        }
        Check::Grpc(check) => with_tls(Table::new(), check.tls.as_ref())
            .with("grpc", url(check.tls.as_ref(), &check.target, ""))
            .with_some("service", Some(check.service.clone()).filter(|service| !service.is_empty())),
        Check::Dynamodb(check) => {
            let key: Table = check.key.iter().map(|(name, value)| (name.clone(), scalar(value))).collect();
            let at = Table::new().with("table", check.table.table.clone()).with("region", check.table.region.clone());
            Table::new().with("dynamodb", at.with("key", key))
        }
    };
    check.with("interval", span(probe.interval)).with("timeout", span(probe.timeout))
}

fn scalar(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Bool(boolean) => Value::Boolean(*boolean),
        Scalar::Integer(integer) => Value::Integer(*integer),
        Scalar::Text(text) => Value::String(text.clone()),
    }
}

fn http(check: &HttpCheck) -> Table {
    let json: Table = check.json.iter().map(|(pointer, value)| (pointer.clone(), scalar(value))).collect();
    let headers: Table = check.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    with_tls(Table::new(), check.tls.as_ref())
        .with("http", url(check.tls.as_ref(), &check.target, &check.path))
        .with_some("host", check.host.clone())
        .with("method", check.method.clone())
        .with("status", status(check.statuses.iter().copied()))
        .with_some("body", check.body.clone())
        .with("redirects", u32::from(check.redirects))
        .with("json", json)
        .with("headers", headers)
}

/// Codes in a row become a range, so that `2xx` does not come back as a hundred numbers.
fn status(codes: impl Iterator<Item = u16>) -> Vec<Value> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for code in codes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            _ => runs.push((code, code)),
        }
    }
    let write = |(low, high): (u16, u16)| {
        if low == high {
            Value::from(u32::from(low))
        } else if low % 100 == 0 && high == low + 99 {
            Value::from(format!("{}xx", low / 100))
        } else {
            Value::from(format!("{low}-{high}"))
        }
    };
    runs.into_iter().map(write).collect()
}

fn with_tls(table: Table, tls: Option<&Tls>) -> Table {
    let Some(tls) = tls else { return table };
    table
        .with("sni", tls.server_name.clone())
        .with("insecure", tls.insecure)
        .with("min_cert_validity", span(tls.min_validity))
}

fn url(tls: Option<&Tls>, target: &Target, path: &str) -> String {
    format!("{}://{}{path}", if tls.is_some() { "https" } else { "http" }, authority(target))
}

fn authority(target: &Target) -> String {
    let Target { host, port } = target;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn policy(policy: &Policy) -> Table {
    let quorum = match policy.quorum {
        Quorum::Majority => Value::from("majority"),
        Quorum::All => Value::from("all"),
        Quorum::AtLeast(sites) => Value::from(sites),
    };
    let failback = match policy.failback {
        Failback::Manual => "manual",
        Failback::Automatic => "automatic",
    };
    let gate_unknown = match policy.gate_unknown {
        GateUnknown::Hold => "hold",
        GateUnknown::Pass => "pass",
    };
    let drift = match policy.drift {
        DriftPolicy::Alarm => "alarm",
        DriftPolicy::Correct => "correct",
    };
    Table::new()
        .with("fall", policy.fall)
        .with("rise", policy.rise)
        .with("quorum", quorum)
        .with("cooldown", span(policy.cooldown))
        .with("budget", policy.budget)
        .with("budget_window", span(policy.budget_window))
        .with("failback", failback)
        .with("dwell", span(policy.dwell))
        .with_some("opinion_ttl", policy.opinion_ttl.map(span))
        .with_some("max_replication_lag", policy.max_replication_lag.map(span))
        .with("gate_unknown", gate_unknown)
        .with("drift", drift)
        .with("reconcile", span(policy.reconcile))
        .with("windows", texts(&policy.windows))
}
