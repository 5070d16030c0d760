//! `PowerDNS`' HTTP API. Grade C: the API knows no condition (`If-Match` is ignored), so a stale write is detected, not refused.
//!
//! One `PATCH` replaces the record and its fence; the server applies both or, if one of them is invalid, neither (422). A write
//! reads both just before, and the leader reads them back after. Where the server takes signed updates as well
//! (`dnsupdate=yes`), the type `rfc2136` has grade A with the same server and is the better choice.
//!
//! Shapes are those of the documentation of the authoritative server's API (`/api/v1/servers/{server}/zones/{zone}`), and were
//! seen at version 4.7. Values that are disabled are nobody's answer: a reading by name does not show them, and whoever
//! replaces the RRset removes them.
//!
//! What this never does: send a `PATCH` twice.

#[cfg(feature = "testing")]
pub(crate) mod fuzz;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Change, FenceReading, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt, clip,
    http::{self, Answer, BaseUrl, Effect},
    inspect::{
        self,
        subject::{CREDENTIALS, RIGHTS, ZONE},
    },
    text::{quote, unquote},
};
use crate::{
    core::record::{DomainName, Record, RecordValue, RrSet},
    secret::Secret,
};

/// How often a reading is taken anew when the fence changed while the record was being read.
const READ_ROUNDS: usize = 3;
/// For how long the server may still carry out a request after the connection to it was lost: an assumption. It answers
/// within milliseconds unless its database hangs.
const LONGEST_REQUEST: Duration = Duration::from_mins(1);

/// What it takes to reach a server.
#[derive(Debug, Clone)]
pub struct PowerDnsConfig {
    /// Where its web server is, without `/api/v1`.
    pub base_url: BaseUrl,
    /// The name of the server in the API: `localhost` unless a front end manages several.
    pub server: String,
    /// The API key.
    pub api_key: Secret,
    /// How long each request may take.
    pub timeout: Duration,
}

impl PowerDnsConfig {
    /// The name of the server, unless configured.
    pub const SERVER: &str = "localhost";
    /// The time each request may take, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// One `PowerDNS` server.
pub struct PowerDns {
    http: reqwest::Client,
    base: BaseUrl,
    server: String,
    api_key: Secret,
}

impl std::fmt::Debug for PowerDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PowerDns").field("base", &self.base).field("server", &self.server).finish_non_exhaustive()
    }
}

/// A zone, as far as it was asked for.
#[derive(Debug, Deserialize)]
struct Zone {
    rrsets: Vec<WireSet>,
    /// How a change through the API moves the zone's serial; empty when it does not.
    #[serde(default)]
    soa_edit_api: String,
}

#[derive(Debug, Deserialize)]
struct WireSet {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    ttl: u32,
    records: Vec<WireValue>,
}

#[derive(Debug, Clone, Deserialize)]
struct WireValue {
    content: String,
    #[serde(default)]
    disabled: bool,
}

/// An RRset as the server has it.
#[derive(Debug, Default)]
struct Found {
    ttl: u32,
    values: Vec<String>,
    soa_edit_api: String,
}

impl PowerDns {
    /// Checks the key's form. Does not connect.
    ///
    /// # Errors
    /// The key is empty, or no HTTP client could be made.
    pub fn new(config: &PowerDnsConfig) -> Result<Self, String> {
        if config.api_key.expose().is_empty() {
            return Err("the API key is empty".to_owned());
        }
        Ok(Self {
            http: http::client(config.timeout)?,
            base: config.base_url.clone(),
            server: config.server.clone(),
            api_key: config.api_key.clone(),
        })
    }

    fn path(&self, zone: &DomainName) -> String {
        format!("/api/v1/servers/{}/zones/{zone}.", self.server)
    }

    async fn send(&self, call: &str, request: RequestBuilder, effect: Effect) -> Result<Answer, ProviderError> {
        let failed = |error: http::CallError| error.into_provider_error("PowerDNS", effect);
        let key = http::sensitive(self.api_key.expose()).map_err(failed)?;
        let request = request.header("X-API-Key", key).header("Accept", "application/json");
        let answer = http::send(call, request).await.map_err(failed)?;
        if answer.is_success() { Ok(answer) } else { Err(refused(&answer, call, effect)) }
    }

    /// One RRset. Servers before 4.7 ignore the filter and show the zone.
    async fn look_up(&self, zone: &DomainName, name: &DomainName, rtype: &str) -> Result<Found, ProviderError> {
        let path = self.path(zone);
        let absolute = format!("{name}.");
        let query = [("rrset_name", absolute.as_str()), ("rrset_type", rtype)];
        let url = self.base.join(&path, &query).map_err(|error| error.into_provider_error("PowerDNS", Effect::None))?;
        let call = format!("GET {path}");
        let answer = self.send(&call, self.http.get(url), Effect::None).await?;
        found(&answer.body, name, rtype).map_err(|error| ProviderError::Transient {
            message: format!("{call}: the answer is not what PowerDNS documents: {error}"),
            retry_after: None,
        })
    }

    /// The record and its fence as they stood in one moment: the fence is read before and after the record.
    async fn find(&self, record: &Record) -> Result<(Found, Found), ProviderError> {
        super::only_dns(record)?;
        let (fence_name, rtype) = (record.fence_name(), record.rtype.to_string());
        let mut before = self.look_up(&record.zone, &fence_name, "TXT").await?;
        for _ in 0..READ_ROUNDS {
            let found = self.look_up(&record.zone, &record.name, &rtype).await?;
            let after = self.look_up(&record.zone, &fence_name, "TXT").await?;
            if before.values == after.values {
                return Ok((found, after));
            }
            before = after;
        }
        Err(ProviderError::Transient { message: format!("{record} changed with every reading"), retry_after: None })
    }
}

/// One RRset out of a zone, or none.
fn found(body: &[u8], name: &DomainName, rtype: &str) -> serde_json::Result<Found> {
    let zone: Zone = serde_json::from_slice(body)?;
    let at = |set: &WireSet| set.name.trim_end_matches('.').eq_ignore_ascii_case(name.as_str()) && set.rtype == rtype;
    let soa_edit_api = zone.soa_edit_api;
    let Some(set) = zone.rrsets.into_iter().find(at) else { return Ok(Found { soa_edit_api, ..Found::default() }) };
    let values = set.records.into_iter().filter(|value| !value.disabled).map(|value| value.content).collect();
    Ok(Found { ttl: set.ttl, values, soa_edit_api })
}

/// What the server answered with: `{"error": …}`, or a text.
fn refused(answer: &Answer, call: &str, effect: Effect) -> ProviderError {
    let json = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let said = json["error"].as_str().map_or_else(|| String::from_utf8_lossy(&answer.body).into_owned(), str::to_owned);
    let message = format!("PowerDNS answered {} to {call}: {}", answer.status, clip(&said));
    let hint = match answer.status {
        408 | 500.. if effect == Effect::Change => return ProviderError::Indeterminate(message),
        408 | 409 | 429 | 500.. => {
            return ProviderError::Transient { message, retry_after: http::retry_after(&answer.headers) };
        }
        401 => "the API key is not the server's `api-key`",
        403 => "the server's `webserver-allow-from` leaves this node out, or a front end denies it",
        404 => "check that the server has the zone, and that `server` is its name in the API (usually localhost)",
        422 => "the message names what the server refused; a record of another type may stand at the same name",
        300..=399 => "the base URL redirects: name the final one",
        _ => "check that `base_url` is the server's web server, without /api/v1",
    };
    ProviderError::Permanent { message, hint: hint.to_owned() }
}

fn reading(record: &Record, found: &Found, fence: &Found) -> Result<Reading, ProviderError> {
    let values: Result<BTreeSet<_>, _> =
        found.values.iter().map(|value| RecordValue::parse(record.rtype, value)).collect();
    let values = values.map_err(|error| ProviderError::Permanent {
        message: format!("{record} holds a value that Quorate cannot write: {error}"),
        hint: "replace it by hand".to_owned(),
    })?;
    let rrset = (!values.is_empty()).then_some(RrSet { ttl: found.ttl, values });
    Ok(Reading { rrset, fence: FenceReading::of(fence.values.iter().map(|text| unquote(text)).collect()) })
}

/// One RRset of a `PATCH`. Comments that stand beside it stay, because none are named.
fn replace(name: &DomainName, rtype: &str, ttl: u32, values: Vec<String>) -> Value {
    let records: Vec<_> = values.into_iter().map(|content| json!({ "content": content, "disabled": false })).collect();
    json!({ "name": format!("{name}."), "type": rtype, "ttl": ttl, "changetype": "REPLACE", "records": records })
}

#[async_trait]
impl Provider for PowerDns {
    fn kind(&self) -> &'static str {
        "powerdns"
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn longest_request(&self) -> Duration {
        LONGEST_REQUEST
    }

    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        let (found, fence) = self.find(record).await?;
        reading(record, &found, &fence)
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check()?;
        let record = &change.record;
        let (found, fence) = self.find(record).await?;
        let before = reading(record, &found, &fence)?;
        if !change.holds_at(&before) {
            return Err(ProviderError::Stale(format!("{record} is not what was read: {before}")));
        }
        let values = change.rrset.values.iter().map(|value| match value {
            RecordValue::Cname(name) => format!("{name}."),
            other => other.to_string(),
        });
        let ttl = change.rrset.ttl;
        let body = json!({ "rrsets": [
            replace(&record.name, &record.rtype.to_string(), ttl, values.collect()),
            replace(&record.fence_name(), "TXT", ttl, vec![quote(&change.fence.to_string())]),
        ] });
        let path = self.path(&record.zone);
        let url = self.base.join(&path, &[]).map_err(|error| error.into_provider_error("PowerDNS", Effect::Change))?;
        let request = self.http.request(Method::PATCH, url).json(&body);
        let answer = self.send(&format!("PATCH {path}"), request, Effect::Change).await?;
        // Success is 204 without a body: whatever else says that all is well is something else than PowerDNS.
        if answer.status != 204 || !answer.body.is_empty() {
            return Err(ProviderError::Indeterminate(format!(
                "PATCH {path}: the answer is not what PowerDNS documents"
            )));
        }
        let serial = answer.headers.get("x-pdns-new-serial").and_then(|value| value.to_str().ok()).map(clip);
        Ok(Receipt(format!("PowerDNS replaced both RRsets: serial {}", serial.as_deref().unwrap_or("unknown"))))
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        match self.find(record).await {
            Ok((found, _)) => vec![
                Finding::pass(CREDENTIALS, "the server takes the API key"),
                Finding::pass(ZONE, format!("{} serves {}", self.base, record.zone)),
                Finding::pass(RIGHTS, "an API key of PowerDNS may do anything, the record and its fence included"),
                serial(&record.zone, &found.soa_edit_api),
            ],
            Err(error @ ProviderError::Permanent { .. }) if error.to_string().contains(" answered 40") => {
                let subject = if error.to_string().contains(" answered 404") { ZONE } else { CREDENTIALS };
                vec![Finding::of_error(subject, &error)]
            }
            Err(error) => vec![Finding::of_error(CREDENTIALS, &error)],
        }
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        policy(records)
    }
}

/// Whether secondaries learn of a switch.
fn serial(zone: &DomainName, soa_edit_api: &str) -> Finding {
    const SERIAL: &str = "serial";
    if soa_edit_api.is_empty() {
        let figure = "the zone has no SOA-EDIT-API: its serial stays, and secondaries that transfer it learn nothing of a switch";
        return Finding::unknown(
            SERIAL,
            figure,
            format!("`pdnsutil set-meta {zone} SOA-EDIT-API DEFAULT`, if it has such"),
        );
    }
    Finding::pass(SERIAL, format!("a switch moves the zone's serial (SOA-EDIT-API is {})", clip(soa_edit_api)))
}

/// What its configuration needs, and why an API key is no least privilege.
#[must_use]
pub fn policy(records: &[Record]) -> Vec<Grant> {
    let zones: Vec<_> = inspect::zones(records).into_iter().map(ToString::to_string).collect();
    vec![Grant {
        place: "pdns.conf, if the API must be used".to_owned(),
        text: format!(
            "# An API key may do anything to any zone of the server. What confines a node to {} is the\n\
                 # type rfc2136 with TSIG-ALLOW-DNSUPDATE, whose grade is A as well.\n\
                 api=yes\nwebserver=yes\nwebserver-address=127.0.0.1\n\
                 webserver-allow-from=127.0.0.1        # TLS ends in a proxy on this machine\n",
            zones.join(", ")
        ),
    }]
}
