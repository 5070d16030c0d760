//! RFC 2136 dynamic updates, TSIG-signed: BIND, Knot, `PowerDNS` and whatever else speaks the standard. Grade A.
//!
//! One UPDATE message carries the condition and the change: the prerequisites name the whole old RRset of the record and of
//! the fence (or demand that there is none), and the update section replaces both. The server applies all of it or nothing
//! (RFC 2136 §3.4.2.7), so a write that was delayed past a newer one is refused by the server itself (invariant 6), and
//! nobody ever sees the record empty (invariant 5).
//!
//! Prerequisites compare values, never TTLs (§2.4.2), so a change of the TTL alone goes through. They compare what stands
//! in the zone: a name that only a wildcard answers for has no RRset, and is refused until it gets one of its own.
//!
//! What this never does: send a message twice, send it to another address once a byte has left, or take an answer for
//! success that was not signed with the key.

mod rights;

use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record as WireRecord, RecordType as WireType, rdata, rdata::tsig::TsigError},
};
use tokio::time::Instant;

pub use rights::policy;

use super::{
    Change, FenceReading, Finding, Grade, Grant, Provider, ProviderError, Reading, Receipt,
    tsig::{Algorithm, Key, KeyError, Reply},
    wire::{self, Connection, Found, ServerAddress, Unusable},
};
use crate::{
    core::record::{Record, RecordType, RrSet},
    secret::Secret,
};

/// How often a reading is taken anew when the fence changed while the record was being read.
const READ_ROUNDS: usize = 3;

/// What it takes to reach a server.
#[derive(Debug, Clone)]
pub struct Rfc2136Config {
    /// The zone's primary server, which both takes the updates and answers the reads.
    pub server: ServerAddress,
    /// The key's name, as the server knows it.
    pub key_name: crate::core::record::DomainName,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The key's secret in base64.
    pub secret: Secret,
    /// How long one read or write may take in all.
    pub timeout: Duration,
}

impl Rfc2136Config {
    /// The time one read or write may take in all, unless configured.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
}

/// A server that takes RFC 2136 updates.
#[derive(Debug)]
pub struct Rfc2136 {
    server: ServerAddress,
    key: Key,
    timeout: Duration,
}

impl Rfc2136 {
    /// Checks the key. Does not connect.
    pub fn new(config: &Rfc2136Config) -> Result<Self, KeyError> {
        let key = Key::new(&config.key_name, config.algorithm, &config.secret)?;
        Ok(Self { server: config.server.clone(), key, timeout: config.timeout })
    }

    /// Asks for one RRset on an open connection; nothing is `None`.
    async fn look_up(
        &self,
        connection: &mut Connection,
        record: &Record,
        name: &Name,
        rtype: WireType,
        deadline: Instant,
    ) -> Result<Option<(u32, Vec<RData>)>, ProviderError> {
        let mut question = wire::question(name.clone(), rtype, false);
        let (bytes, mac) = self.key.sign(&mut question)?;
        let answer = connection.ask(&bytes, deadline).await.map_err(|error| self.transient(&error))?;
        let reply = self.key.verify(&answer, &mac).map_err(|error| self.transient(&error))?;
        match wire::read_answer(&question, &reply.message, true) {
            Ok(_) if !reply.authentic => Err(self.transient("the answer is not signed although the question was")),
            Ok(Found::Records { ttl, data }) => Ok(Some((ttl, data))),
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Alias(target)) => Err(ProviderError::Permanent {
                message: format!("{name} is a CNAME to {target} at {}", self.server),
                hint: format!("delete the CNAME, or make the record's type CNAME; no {rtype} can stand beside one"),
            }),
            Err(Unusable::Code(_)) => Err(self.refusal(&reply, record)),
            Err(Unusable::NotAuthoritative) => Err(ProviderError::Permanent {
                message: format!("{} is not an authority for {name}", self.server),
                hint: format!("name the primary server of zone {} as `server`", record.zone),
            }),
            Err(Unusable::Mismatch(error)) => Err(self.transient(&error)),
            Err(Unusable::Truncated) => Err(self.transient("the answer was cut short")),
        }
    }

    /// The TXT strings at the fence's name.
    async fn look_up_fence(
        &self,
        connection: &mut Connection,
        record: &Record,
        deadline: Instant,
    ) -> Result<FenceReading, ProviderError> {
        let name = wire::wire_name(&record.fence_name()).map_err(unspeakable)?;
        let found = self.look_up(connection, record, &name, WireType::TXT, deadline).await?;
        let data = found.map(|(_, data)| data).unwrap_or_default();
        let texts: Result<Vec<_>, _> = data.iter().map(wire::read_text).collect();
        Ok(FenceReading::of(texts.map_err(|error| self.transient(&error))?))
    }

    /// What stands at the record's name.
    async fn look_up_rrset(
        &self,
        connection: &mut Connection,
        record: &Record,
        deadline: Instant,
    ) -> Result<Option<RrSet>, ProviderError> {
        let name = wire::wire_name(&record.name).map_err(unspeakable)?;
        let rtype = wire::wire_type(record.rtype).map_err(unspeakable)?;
        let found = self.look_up(connection, record, &name, rtype, deadline).await?;
        let Some((ttl, data)) = found else { return Ok(None) };
        let values: Result<_, _> = data.iter().map(wire::read_value).collect();
        let values = values.map_err(|error| ProviderError::Permanent {
            message: format!("{} holds a value that Quorate cannot write: {error}", record.name),
            hint: "replace it by hand".to_owned(),
        })?;
        Ok(Some(RrSet { ttl, values }))
    }

    fn transient(&self, error: &str) -> ProviderError {
        ProviderError::Transient { message: format!("{}: {error}", self.server), retry_after: None }
    }

    fn permanent(&self, said: &str, hint: String) -> ProviderError {
        ProviderError::Permanent { message: format!("{} answered {said}", self.server), hint }
    }

    /// What an answer other than success means. RFC 2136 §2.2 and RFC 8945 §5.3 name the codes.
    pub(super) fn refusal(&self, reply: &Reply, record: &Record) -> ProviderError {
        if let Some(error) = reply.error {
            return self.bad_signature(error, reply.skew, record);
        }
        let code = reply.message.metadata.response_code;
        let stale = |why: &str| ProviderError::Stale(format!("{} answered {code:?}: {why}", self.server));
        match code {
            // A prerequisite's verdict turns the write down for good, so it must come from the server itself.
            ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain
                if !reply.authentic =>
            {
                ProviderError::Indeterminate(format!("{} answered {code:?} without a signature", self.server))
            }
            ResponseCode::NXRRSet | ResponseCode::NXDomain => {
                stale("the record or its fence is not what was read (or only a wildcard answers for it)")
            }
            ResponseCode::YXRRSet => stale("the record, its fence or a CNAME at their names has come into being"),
            ResponseCode::YXDomain => self.permanent(
                "YXDOMAIN",
                format!("delete the other records at {}: no CNAME can stand beside them", record.name),
            ),
            ResponseCode::Refused => self.permanent("REFUSED", self.grant(record)),
            ResponseCode::NotAuth => self.permanent(
                "NOTAUTH",
                format!("name the primary server of zone {} as `server`; or {}", record.zone, self.grant(record)),
            ),
            ResponseCode::NotZone => self.permanent("NOTZONE", format!("check that {} is the zone", record.zone)),
            ResponseCode::NotImp | ResponseCode::FormErr => {
                self.permanent(&format!("{code:?}"), "the server must take RFC 2136 updates with TSIG".to_owned())
            }
            other => self.transient(&format!("answered {other:?}")),
        }
    }

    fn bad_signature(&self, error: TsigError, skew: Option<i64>, record: &Record) -> ProviderError {
        let key = self.key.name();
        match error {
            // Knot answers so, too, when the key exists and its access list does not name the record.
            TsigError::BadKey => self.permanent(
                "BADKEY",
                format!("give the server a key `{key}` with the same algorithm; and {}", self.grant(record)),
            ),
            TsigError::BadSig | TsigError::BadTrunc => self
                .permanent("BADSIG", format!("the server holds another secret for the key `{key}`: make them equal")),
            TsigError::BadTime => {
                let by = skew.map_or(String::new(), |skew| {
                    let direction = if skew >= 0 { "ahead of" } else { "behind" };
                    format!(" (its clock is {} s {direction} ours)", skew.unsigned_abs())
                });
                self.permanent(&format!("BADTIME{by}"), "set both clocks by NTP: TSIG allows 300 s".to_owned())
            }
            TsigError::Unknown(code) => self.permanent(
                &format!("TSIG error {code}"),
                format!("check the key `{key}` and its algorithm at the server"),
            ),
        }
    }

    /// What the server's configuration lacks.
    fn grant(&self, record: &Record) -> String {
        let (key, name, rtype, fence) = (self.key.name(), &record.name, record.rtype, record.fence_name());
        format!(
            "allow the key to query and update zone {}: BIND `update-policy {{ grant {key} name {name}. {rtype}; grant {key} name {fence}. TXT; }};`, \
             Knot an `acl` with `key: {key}`, `action: update`, `update-owner: name`, `update-owner-match: equal`, \
             `update-owner-name: [ {name}., {fence}. ]`, `update-type: [ {rtype}, TXT ]`",
            record.zone
        )
    }
}

#[async_trait]
impl Provider for Rfc2136 {
    fn kind(&self) -> &'static str {
        "rfc2136"
    }

    fn grade(&self) -> Grade {
        Grade::A
    }

    /// The server answers an update when it has applied it; nothing goes on after that.
    fn longest_request(&self) -> Duration {
        self.timeout
    }

    /// Asks the primary for fence, record and fence again, so that no other write falls between the two unseen.
    async fn read(&self, record: &Record) -> Result<Reading, ProviderError> {
        let deadline = Instant::now() + self.timeout;
        let mut connection = Connection::open(&self.server, deadline).await.map_err(|error| self.transient(&error))?;
        let mut before = self.look_up_fence(&mut connection, record, deadline).await?;
        for _ in 0..READ_ROUNDS {
            let rrset = self.look_up_rrset(&mut connection, record, deadline).await?;
            let fence = self.look_up_fence(&mut connection, record, deadline).await?;
            if fence == before {
                return Ok(Reading { rrset, fence });
            }
            before = fence;
        }
        Err(self.transient("the fence changes faster than the record can be read"))
    }

    async fn rights(&self, record: &Record) -> Vec<Finding> {
        self.look_at_rights(record).await
    }

    fn policy(&self, records: &[Record]) -> Vec<Grant> {
        self.least_privilege(records)
    }

    async fn write(&self, change: &Change) -> Result<Receipt, ProviderError> {
        change.check()?;
        let mut message = update(change).map_err(unspeakable)?;
        let (bytes, mac) = self.key.sign(&mut message)?;
        let deadline = Instant::now() + self.timeout;
        let mut connection = Connection::open(&self.server, deadline).await.map_err(|error| self.transient(&error))?;
        // From here on the message may be on its way, and every failure leaves open whether it was applied.
        let indeterminate = |error: String| ProviderError::Indeterminate(format!("{}: {error}", self.server));
        let answer = connection.ask(&bytes, deadline).await.map_err(indeterminate)?;
        let reply = self.key.verify(&answer, &mac).map_err(indeterminate)?;
        if reply.message.metadata.id != message.metadata.id {
            return Err(indeterminate("the answer is to another message".to_owned()));
        }
        match (reply.message.metadata.response_code, reply.authentic) {
            (ResponseCode::NoError, true) if reply.error.is_none() => {
                Ok(Receipt(format!("{} answered NOERROR, signed by {}", self.server, self.key.name())))
            }
            (ResponseCode::NoError, _) => Err(indeterminate("the answer is not signed".to_owned())),
            _ => Err(self.refusal(&reply, &change.record)),
        }
    }
}

/// A record or value that DNS cannot carry.
fn unspeakable(error: String) -> ProviderError {
    let hint = "give the record a type of DNS, or a provider that switches pools";
    ProviderError::Permanent { message: error, hint: hint.to_owned() }
}

/// The one UPDATE message of a change (RFC 2136 §2).
fn update(change: &Change) -> Result<Message, String> {
    let name = wire::wire_name(&change.record.name)?;
    let fence_name = wire::wire_name(&change.record.fence_name())?;
    let rtype = wire::wire_type(change.record.rtype)?;
    let rdata = |rrset: &RrSet| rrset.values.iter().map(wire::wire_value).collect::<Result<Vec<_>, _>>();
    let text = |fence: &dyn ToString| RData::TXT(rdata::TXT::new(vec![fence.to_string()]));

    // The zone section is the query section (§2.3), prerequisites are the answers, updates the authorities.
    let mut message = Message::query();
    message.metadata.id = rand::random();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(wire::wire_name(&change.record.zone)?, WireType::SOA));

    if let Some(condition) = change.condition() {
        match &condition.rrset {
            Some(old) => message.add_answers(equal_to(&name, rdata(old)?)),
            None => message.add_answers(vacant(&name, rtype, change.record.rtype == RecordType::Cname)),
        };
        match &condition.fence {
            FenceReading::Present(old) => message.add_answers(equal_to(&fence_name, vec![text(old)])),
            FenceReading::Absent => message.add_answers(vacant(&fence_name, WireType::TXT, false)),
            FenceReading::Unreadable(_) => return Err("the fence is unreadable".to_owned()),
        };
    }
    message.add_authorities(replace(&name, rtype, change.rrset.ttl, rdata(&change.rrset)?));
    message.add_authorities(replace(&fence_name, WireType::TXT, change.rrset.ttl, vec![text(&change.fence)]));
    Ok(message)
}

/// "RRset exists (value dependent)", §2.4.2: exactly these values, whatever their TTL.
fn equal_to(name: &Name, data: Vec<RData>) -> Vec<WireRecord> {
    data.into_iter().map(|data| WireRecord::from_rdata(name.clone(), 0, data)).collect()
}

/// "RRset does not exist", §2.4.3. A server ignores in silence what cannot stand beside a CNAME (§3.4.2.2), so that case
/// is a prerequisite too: no CNAME at the name, or, for a CNAME to come, nothing at all (§2.4.5).
fn vacant(name: &Name, rtype: WireType, alias: bool) -> Vec<WireRecord> {
    let other = if alias { WireType::ANY } else { WireType::CNAME };
    let none = |rtype| {
        let mut record = WireRecord::update0(name.clone(), 0, rtype);
        record.dns_class = DNSClass::NONE;
        record
    };
    vec![none(rtype), none(other)]
}

/// "Delete an RRset", §2.5.2, and "add to an RRset", §2.5.1, for each new value.
fn replace(name: &Name, rtype: WireType, ttl: u32, data: Vec<RData>) -> Vec<WireRecord> {
    let mut delete = WireRecord::update0(name.clone(), 0, rtype);
    delete.dns_class = DNSClass::ANY;
    let add = data.into_iter().map(|data| WireRecord::from_rdata(name.clone(), ttl, data));
    std::iter::once(delete).chain(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Rfc2136 {
        let config = Rfc2136Config {
            server: "192.0.2.53".parse().unwrap(),
            key_name: "quorate-key".parse().unwrap(),
            algorithm: Algorithm::HmacSha256,
            secret: Secret::new("MDEyMzQ1Njc4OWFiY2RlZg=="),
            timeout: Rfc2136Config::TIMEOUT,
        };
        Rfc2136::new(&config).unwrap()
    }

    fn record() -> Record {
        Record {
            provider: "main".parse().unwrap(),
            zone: "example.test".parse().unwrap(),
            name: "www.example.test".parse().unwrap(),
            rtype: RecordType::A,
            ttl: 60,
        }
    }

    fn reply(response_code: ResponseCode, authentic: bool) -> Reply {
        let mut message = Message::query();
        message.metadata.response_code = response_code;
        Reply { message, authentic, error: None, skew: None }
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let said = |skew| provider().bad_signature(TsigError::BadTime, skew, &record()).to_string();
        assert!(said(Some(-301)).contains("(its clock is 301 s behind ours); set both clocks by NTP"));
        assert!(said(Some(400)).contains("400 s ahead of ours"));
        assert!(said(None).contains("BADTIME; set both clocks"));
    }

    #[test]
    fn each_code_means_stale_wait_or_mend() {
        let meaning = |code, authentic| provider().refusal(&reply(code, authentic), &record());
        for code in [ResponseCode::NXRRSet, ResponseCode::YXRRSet] {
            assert!(matches!(meaning(code, true), ProviderError::Stale(_)));
            assert!(matches!(meaning(code, false), ProviderError::Indeterminate(_)));
        }
        for code in [ResponseCode::Refused, ResponseCode::NotAuth, ResponseCode::NotZone, ResponseCode::NotImp] {
            assert!(matches!(meaning(code, false), ProviderError::Permanent { .. }));
        }
        assert!(matches!(meaning(ResponseCode::ServFail, true), ProviderError::Transient { .. }));
    }
}
