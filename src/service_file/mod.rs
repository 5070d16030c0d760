//! The service file: TOML to [`Draft`] to [`Service`].
//!
//! Every problem is told at once, each at its line. What a file means is decided in [`crate::core::draft`]; here is only how
//! it is written.

mod write;

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::{
    core::{
        draft::{
            Draft, ItemDraft, Path, PolicyDraft, ProbeDraft, Problem, QueryDraft, QuorumDraft, RecordDraft,
            RegionDraft, StatusDraft, TableDraft,
        },
        record::Record,
        service::{Policy, Region, Scalar, Service},
    },
    diagnostic::{Diagnostic, Problems},
    reader::{Document, Table, Value},
};

pub use write::write;

/// Reads a service file: the service, and the warnings in it.
///
/// # Errors
/// Every problem, in the order of the text.
pub fn parse(text: &str) -> Result<(Service, Vec<Diagnostic>), Problems> {
    let document = Document::parse(text, None)?;
    let draft = document.read(draft);
    let validated = document.validated(draft.validate());
    let placed = validated
        .map(|(service, warnings)| (service, warnings.into_iter().map(|warning| document.place(warning)).collect()));
    document.finish(placed)
}

/// Says at its place in the text of `service` what of it `other` has as well, which stands in the file `theirs`.
///
/// # Errors
/// Every record of which that is so.
pub fn check_apart(text: &str, service: &Service, other: &Service, theirs: &str) -> Result<(), Problems> {
    let problem = |(i, record, other_record): (usize, &Record, &Record)| Problem {
        path: Path::default().key("record").index(i),
        message: format!(
            "service `{}` ({theirs}) has {other_record} already, and {record} would share its fence",
            other.name
        ),
        hint: Some("put both into one service, or take one of them out".to_owned()),
        because: vec![],
    };
    let problems: Vec<_> = service.clashes(other).map(problem).collect();
    if service.name == other.name || problems.is_empty() {
        return Ok(());
    }
    let document = Document::parse(text, None)?;
    let told = document.validated(Err(problems));
    document.finish(told)
}

/// Whether a text is `[policy]` and nothing else, as far as it is TOML at all.
#[must_use]
pub fn is_policy_alone(text: &str) -> bool {
    let keys = toml::from_str::<toml::Table>(text);
    keys.is_ok_and(|table| !table.is_empty() && table.keys().all(|key| key == "policy"))
}

/// Reads a file that is `[policy]` and nothing else, for a service with these regions. What is not written has its default.
///
/// # Errors
/// Every problem, in the order of the text.
pub fn parse_policy(text: &str, regions: &[Region]) -> Result<Policy, Problems> {
    let document = Document::parse(text, None)?;
    let draft = document.read(|file| file.table("policy", policy).unwrap_or_default());
    let validated = document.validated(draft.validate(regions));
    document.finish(validated.map(|(policy, _)| policy))
}

fn draft(file: &Table<'_, '_>) -> Draft {
    Draft {
        name: file.text("name"),
        records: file.tables("record", record),
        regions: file.tables("region", region),
        policy: file.table("policy", policy).unwrap_or_default(),
    }
}

fn record(table: &Table<'_, '_>) -> RecordDraft {
    RecordDraft {
        provider: table.text("provider"),
        zone: table.text("zone"),
        name: table.text("name"),
        rtype: table.text("type"),
        ttl: table.integer("ttl"),
    }
}

fn region(table: &Table<'_, '_>) -> RegionDraft {
    let values = |values: &Table<'_, '_>| -> BTreeMap<String, Vec<String>> {
        values.entries().into_iter().map(|(rtype, texts)| (rtype, texts.texts())).collect()
    };
    RegionDraft {
        name: table.text("name"),
        values: table.table("values", values).unwrap_or_default(),
        probes: table.tables("probe", probe),
        dynamodb: table
            .table("dynamodb", |table| TableDraft { table: table.text("table"), region: table.text("region") }),
    }
}

/// Reads one probe; also those of a node's controls.
pub(crate) fn probe(table: &Table<'_, '_>) -> ProbeDraft {
    ProbeDraft {
        http: table.text("http"),
        tcp: table.text("tcp"),
        dns: table.text("dns"),
        grpc: table.text("grpc"),
        interval: table.duration("interval"),
        timeout: table.duration("timeout"),
        host: table.text("host"),
        sni: table.text("sni"),
        insecure: table.boolean("insecure"),
        min_cert_validity: table.duration("min_cert_validity"),
        method: table.text("method"),
        status: table.get("status").map(|value| statuses(&value)),
        json: table.table("json", |json| pairs(json, scalar)).unwrap_or_default(),
        headers: table.table("headers", |headers| pairs(headers, header)).unwrap_or_default(),
        body: table.text("body"),
        redirects: table.integer("redirects"),
        send: table.text("send"),
        expect: table.text("expect"),
        query: table.table("query", |query| QueryDraft {
            name: query.text("name"),
            rtype: query.text("type"),
            values: query.texts("values"),
        }),
        service: table.text("service"),
        dynamodb: table.table("dynamodb", |item| ItemDraft {
            at: TableDraft { table: item.text("table"), region: item.text("region") },
            key: item.table("key", |key| pairs(key, scalar)).unwrap_or_default(),
        }),
    }
}

/// A table whose keys are data; what cannot be read is refused and left out.
fn pairs<T>(table: &Table<'_, '_>, read: impl for<'d, 't> Fn(&Value<'d, 't>) -> Option<T>) -> BTreeMap<String, T> {
    table.entries().into_iter().filter_map(|(key, value)| Some((key, read(&value)?))).collect()
}

fn statuses(value: &Value<'_, '_>) -> Vec<StatusDraft> {
    let status = |item: Value<'_, '_>| match item.raw() {
        DeValue::String(text) => StatusDraft::Range(text.clone().into_owned()),
        _ => StatusDraft::Code(item.integer().unwrap_or(0)),
    };
    value.items("a list of status codes").into_iter().map(status).collect()
}

fn scalar(value: &Value<'_, '_>) -> Option<Scalar> {
    match value.raw() {
        DeValue::Boolean(boolean) => Some(Scalar::Bool(*boolean)),
        DeValue::Integer(_) => value.integer().map(Scalar::Integer),
        DeValue::String(text) => Some(Scalar::Text(text.clone().into_owned())),
        _ => {
            value.refuse("only a text, a whole number, true or false can be compared", None);
            None
        }
    }
}

fn header(value: &Value<'_, '_>) -> Option<String> {
    value.text()
}

fn policy(table: &Table<'_, '_>) -> PolicyDraft {
    let quorum = |value: Value<'_, '_>| match value.raw() {
        DeValue::Integer(_) => value.integer().map(QuorumDraft::Sites),
        DeValue::String(word) => Some(QuorumDraft::Word(word.clone().into_owned())),
        _ => {
            value.refuse("this is not a quorum", Some("use \"majority\", \"all\" or a number of sites"));
            None
        }
    };
    PolicyDraft {
        fall: table.integer("fall"),
        rise: table.integer("rise"),
        quorum: table.get("quorum").and_then(quorum),
        cooldown: table.duration("cooldown"),
        budget: table.integer("budget"),
        budget_window: table.duration("budget_window"),
        failback: table.text("failback"),
        dwell: table.duration("dwell"),
        opinion_ttl: table.duration("opinion_ttl"),
        max_replication_lag: table.duration("max_replication_lag"),
        gate_unknown: table.text("gate_unknown"),
        drift: table.text("drift"),
        reconcile: table.duration("reconcile"),
        windows: table.texts("windows"),
    }
}
